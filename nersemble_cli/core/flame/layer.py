"""FLAME in PyTorch: a differentiable head model, and the tracked meshes of a sequence.

Model space: metres, y up, the face towards +z, the person's left at +x. The head's rigid motion is not part of
FLAME here: the tracking turns about the origin of model space, where FLAME itself would turn about the neck.
Source: Li et al., "Learning a model of facial shape and expression from 4D scans", 2017; linear blend skinning
as in Loper et al., "SMPL", 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nersemble_cli.core.errors import missing_extra
from nersemble_cli.core.flame.model import (
    JOINTS,
    N_EXPRESSION,
    N_SHAPE,
    FlameModel,
)

try:
    import torch
except ImportError:
    raise missing_extra("PyTorch", "flame") from None

if TYPE_CHECKING:
    from torch import Tensor

_EYE_ANGLES = 6


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """(…, 3, 3) rotations of (…, 3) axis-angle vectors in radians; differentiable everywhere, zero included."""
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < 1e-12
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / (angle * angle))
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    rotations: Tensor = identity + sine * cross + cosine * (cross @ cross)
    return rotations


class Flame(torch.nn.Module):
    """FLAME 2023 for any batch of parameters, on any device, with gradients to every parameter.

    `Flame(load_flame_model())` is float32 on the CPU; `.to(device)` and `.double()` as for any module.
    """

    template: Tensor
    directions: Tensor
    pose_directions: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    skin_weights: Tensor

    def __init__(self, model: FlameModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # Coordinates come first and vertices last, so that each coordinate of all vertices is one run of memory.
        # Joints are linear in the vertices, so that their own basis saves a product with all vertices.
        buffers = {
            "template": model.v_template.T.flatten(),
            "directions": model.shapedirs.transpose(2, 1, 0).reshape(N_SHAPE + N_EXPRESSION, -1),
            "pose_directions": model.posedirs.transpose(2, 1, 0).reshape(model.posedirs.shape[2], -1),
            "joint_template": (model.joint_regressor @ model.v_template).flatten(),
            "joint_directions": np.einsum("jv,vck->kjc", model.joint_regressor, model.shapedirs).reshape(
                N_SHAPE + N_EXPRESSION, -1
            ),
            "skin_weights": model.weights.T,
        }
        for name, array in buffers.items():
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)
        self.register_buffer("faces", torch.tensor(model.faces), persistent=False)
        self.parents = model.parents

    def forward(
        self,
        shape: Tensor,
        expression: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """The vertices (B, V, 3) in model space, metres.

        `shape` (B or 1, ≤300) and `expression` (B or 1, ≤100) coefficients, the missing ones being zero; `neck`,
        `jaw` (B or 1, 3), `eyes` (B or 1, 6: left, right) axis-angle in radians, and `rotation` (B or 1, 3)
        FLAME's own global one about its neck, which the benchmark's tracking does not use. None is zero.
        """
        pose = self._pose(rotation, neck, jaw, eyes, like=expression)
        n_batch = max(len(shape), len(expression), len(pose))
        # The shape comes first, as it is usually one for the whole batch.
        n_shape, n_expression = shape.shape[1], expression.shape[1]
        own = self.template + shape @ self.directions[:n_shape]
        joints = self.joint_template + shape @ self.joint_directions[:n_shape]
        expressions = slice(N_SHAPE, N_SHAPE + n_expression)
        joints = (joints + expression @ self.joint_directions[expressions]).view(-1, len(JOINTS), 3)

        identity = torch.eye(3, dtype=pose.dtype, device=pose.device)
        features = (pose[:, 1:] - identity).flatten(1)
        coefficients = torch.cat([expression.expand(n_batch, -1), features.expand(n_batch, -1)], dim=1)
        basis = torch.cat([self.directions[expressions], self.pose_directions])
        posed = torch.addmm(own.expand(n_batch, -1), coefficients, basis).view(n_batch, 1, 3, -1)

        rotations, offsets = self._chain(pose, joints)
        # Σ_j w_j (R_j v + t_j): the weighted transforms of each vertex, applied to it.
        transforms = torch.cat([rotations, offsets[..., None]], -1).flatten(2).mT  # (B, 12, 5)
        blended = (transforms @ self.skin_weights).view(len(transforms), 3, 4, -1)  # (B, 3, 4, V)
        vertices: Tensor = ((blended[:, :, :3] * posed).sum(2) + blended[:, :, 3]).mT.contiguous()
        return vertices

    def _pose(
        self, rotation: Tensor | None, neck: Tensor | None, jaw: Tensor | None, eyes: Tensor | None, like: Tensor
    ) -> Tensor:
        """The joints' rotations (B, 5, 3, 3) from their axis-angle vectors."""
        given = [
            like.new_zeros(1, size) if part is None else part
            for part, size in ((rotation, 3), (neck, 3), (jaw, 3), (eyes, _EYE_ANGLES))
        ]
        n_batch = max(len(part) for part in given)
        angles = torch.cat([part.expand(n_batch, -1) for part in given], dim=1)
        return axis_angle_to_matrix(angles.view(n_batch, -1, 3))

    def _chain(self, pose: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Each joint's transform from the rest pose: (B, 5, 3, 3) rotations and (B, 5, 3) offsets."""
        n_batch = max(len(pose), len(joints))
        pose, joints = pose.expand(n_batch, -1, -1, -1), joints.expand(n_batch, -1, -1)
        rotations = [pose[:, 0]]
        places = [joints[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = (joints[:, joint] - joints[:, parent])[..., None]
            places.append((rotations[parent] @ bone)[..., 0] + places[parent])
            rotations.append(rotations[parent] @ pose[:, joint])
        turned = torch.stack(rotations, 1)
        return turned, torch.stack(places, 1) - (turned @ joints[..., None])[..., 0]

"""The tracked FLAME meshes of a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import MissingFileError, UsageError, missing_extra
from nersemble_cli.core.flame.layer import Flame, axis_angle_to_matrix
from nersemble_cli.core.flame.model import (
    DYNAMIC_EMBEDDING,
    EMBEDDINGS_PAGE,
    STATIC_EMBEDDING,
    Embedding,
    FlameModel,
    load_flame_model,
)
from nersemble_cli.core.flame.tracking import FlameTracking

try:
    import torch
except ImportError:
    raise missing_extra("PyTorch", "flame") from None

if TYPE_CHECKING:
    import trimesh
    from torch import Tensor

# Of the 51 static landmarks: the outer and inner corners of both eyes, below the nose, the corners of the mouth.
NOW_LANDMARKS = (19, 22, 25, 28, 16, 31, 37)

# Timesteps skinned at once: enough to keep a processor busy, few enough to stay in its cache's reach.
_CHUNK = 64
# Beyond this yaw (degrees) the contour stays where it is: 79 bins, 0…39 and then -1…-39.
_MAX_YAW = 39


class FlameProvider:
    """The tracked FLAME meshes of a sequence, in world space: aligned with the benchmark's cameras, in metres.

    `flame_model` is the model's file, else it is found as `load_flame_model` does. A timestep is a position in
    the sequence, 0 to T-1; where it says so, also a slice or an array of them, computed in one pass.
    """

    def __init__(
        self,
        flame_tracking: FlameTracking,
        flame_model: str | Path | FlameModel | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._tracking = flame_tracking
        self._model = flame_model if isinstance(flame_model, FlameModel) else load_flame_model(flame_model)
        self._flame = Flame(self._model).to(device)
        self._device = device
        self._model_to_world = flame_tracking.model_to_world()

    @property
    def faces(self) -> NDArray[np.int64]:
        """(F, 3) the triangles of every mesh, as indices of vertices."""
        return self._model.faces

    def has_mesh(self, timestep: int) -> bool:
        """Whether the sequence has this timestep."""
        return 0 <= timestep < self._tracking.n_timesteps

    def _timesteps(self, timestep: int | slice | NDArray[Any] | list[int]) -> tuple[NDArray[np.int64], bool]:
        """The timesteps that are meant, and whether it is a single one; `UsageError` if one does not exist."""
        n = self._tracking.n_timesteps
        if isinstance(timestep, slice):
            return np.arange(n)[timestep], False
        wanted = np.asarray(timestep)
        if wanted.dtype == bool and wanted.shape == (n,):
            return np.flatnonzero(wanted), False
        if wanted.ndim > 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise UsageError(
                f"{wanted.dtype} {wanted.shape} are not timesteps.",
                "Give an integer, a slice or a list of integers.",
            )
        unknown = wanted[(wanted < 0) | (wanted >= n)]
        if unknown.size:
            raise UsageError(f"The tracking has no timestep {unknown.flat[0]}.", f"It has {n}: 0 to {n - 1}.")
        return np.atleast_1d(wanted).astype(np.int64), wanted.ndim == 0

    def _parameters(self, timesteps: NDArray[np.int64]) -> Iterator[Tensor]:
        track = self._tracking
        for array in (track.expression, track.neck, track.jaw, track.eyes):
            yield torch.as_tensor(array[timesteps], dtype=torch.float32, device=self._device)

    def get_vertices(self, timestep: int | slice | NDArray[Any] | list[int]) -> NDArray[np.float32]:
        """(V, 3) float32 world coordinates in metres; (n, V, 3) for a slice or an array of n timesteps."""
        timesteps, single = self._timesteps(timestep)
        vertices = np.empty((len(timesteps), *self._model.v_template.shape), np.float32)
        shape = torch.as_tensor(self._tracking.shape, dtype=torch.float32, device=self._device)
        pose = torch.as_tensor(self._model_to_world, dtype=torch.float32, device=self._device)
        with torch.inference_mode():
            for start in range(0, len(timesteps), _CHUNK):
                chunk = timesteps[start : start + _CHUNK]
                in_model = self._flame(shape, *self._parameters(chunk))
                in_world = in_model @ pose[chunk, :3, :3].mT + pose[chunk, None, :3, 3]
                vertices[start : start + len(chunk)] = in_world.cpu().numpy()
        return vertices[0] if single else vertices

    def get_mesh(self, timestep: int) -> trimesh.Trimesh:
        """The mesh in world space, with FLAME's vertices and triangles in their order."""
        return self.create_mesh(self.get_vertices(int(timestep)))

    def create_mesh(self, vertices: NDArray[Any]) -> trimesh.Trimesh:
        """A mesh of (V, 3) vertices with FLAME's triangles; none is merged or dropped."""
        import trimesh

        return trimesh.Trimesh(vertices, self._model.faces, process=False)

    def get_model_to_world_transformation(self, timestep: int) -> NDArray[np.float32]:
        """(4, 4) float32: FLAME's model space → world, with the tracking's rotation, scale and translation."""
        timesteps, _ = self._timesteps(int(timestep))
        pose: NDArray[np.float32] = self._model_to_world[timesteps[0]].astype(np.float32)
        return pose

    def apply_model_to_world_transformation(self, points: Tensor, timestep: int) -> Tensor:
        """(…, 3) points of model space in the world; differentiable."""
        pose = torch.as_tensor(
            self.get_model_to_world_transformation(timestep), dtype=points.dtype, device=points.device
        )
        return points @ pose[:3, :3].T + pose[:3, 3]

    def get_landmarks(self, timestep: int | slice | NDArray[Any] | list[int]) -> NDArray[np.float32]:
        """(68, 3) float32 world coordinates, or (n, 68, 3): the face's contour, 17 points, then the 51 inside it.

        The contour follows the neck's turn. Raises `MissingFileError` without the two embedding files.
        """
        static = _required(self._model.static, STATIC_EMBEDDING)
        dynamic = _required(self._model.dynamic, DYNAMIC_EMBEDDING)
        timesteps, single = self._timesteps(timestep)
        vertices = self.get_vertices(timesteps)
        bins = _yaw_bins(self._tracking.neck[timesteps])
        rows = np.arange(len(timesteps))[:, None]
        contour = self._on_mesh(vertices, rows, dynamic.faces[bins], dynamic.barycentric[bins])
        inner = self._on_mesh(vertices, rows, static.faces[None], static.barycentric[None])
        landmarks = np.concatenate([contour, inner], axis=1)
        return landmarks[0] if single else landmarks

    def get_now_landmarks(self, timestep: int | slice | NDArray[Any] | list[int]) -> NDArray[np.float32]:
        """(7, 3) float32 world coordinates, or (n, 7, 3): the landmarks of the NoW benchmark, in its order."""
        static = _required(self._model.static, STATIC_EMBEDDING)
        timesteps, single = self._timesteps(timestep)
        seven = list(NOW_LANDMARKS)
        landmarks = self._on_mesh(
            self.get_vertices(timesteps),
            np.arange(len(timesteps))[:, None],
            static.faces[None, seven],
            static.barycentric[None, seven],
        )
        return landmarks[0] if single else landmarks

    def _on_mesh(
        self, vertices: NDArray[Any], rows: NDArray[Any], faces: NDArray[Any], barycentric: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Points (n, k, 3) on meshes (n, V, 3), given by (n or 1, k) triangles and their coordinates."""
        corners = vertices[rows[..., None], self._model.faces[faces]]
        points: NDArray[np.float32] = np.einsum(
            "nkcx,nkc->nkx", corners, np.broadcast_to(barycentric, (len(vertices), *barycentric.shape[1:]))
        ).astype(np.float32)
        return points


def _required(embedding: Embedding | None, name: str) -> Embedding:
    if embedding is None:
        raise MissingFileError(
            f"Landmarks need {name} beside the FLAME model.",
            f"Download it from {EMBEDDINGS_PAGE}",
        )
    return embedding


def _yaw_bins(neck: NDArray[Any]) -> NDArray[np.int64]:
    """The bin of the dynamic embedding for each (T, 3) neck rotation: its turn to the side in whole degrees."""
    matrices = axis_angle_to_matrix(torch.from_numpy(np.asarray(neck, np.float64))).numpy()
    across = np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    yaw = np.round(np.degrees(-np.arctan2(-matrices[:, 2, 0], across))).astype(np.int64)
    yaw = yaw.clip(-_MAX_YAW, _MAX_YAW)
    bins: NDArray[np.int64] = np.where(yaw >= 0, yaw, _MAX_YAW - yaw)
    return bins

"""The FLAME tracking of the Mono benchmark: loading and checking it, and the head's rigid motion."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError
from nersemble_cli.core.formats.npz import read_npz

# The shape of each array; T is the number of frames.
TRACKING_SHAPES: Mapping[str, tuple[int | str, ...]] = {
    "shape": (1, 300),
    "expression": ("T", 100),
    "rotation": ("T", 3),
    "rotation_matrices": ("T", 3, 3),
    "translation": ("T", 3),
    "jaw": ("T", 3),
    "frames": ("T",),
    "scale": (1, 1),
    "neck": ("T", 3),
    "eyes": ("T", 6),
}
CURRENT_VERSION = 2

# In FLAME's model space, metres.
HEAD_CENTER = (0.0, 0.015, -0.01)  # between the chin and the crown
HEAD_SIZE = (0.16, 0.24, 0.2)  # an adult head's breadth, height and length
NECK = (0.0, -0.09, -0.025)  # about where a head turns


@dataclass(frozen=True, eq=False)
class FlameTracking:
    """FLAME 2023 parameters of a sequence of T frames.

    `shape` (1, 300) and `expression` (T, 100) coefficients. `jaw` (T, 3), `neck` (T, 3) and `eyes` (T, 6: left,
    right) axis-angle, radians. The head's rigid motion takes FLAME's model space to the world, in metres:
    `rotation` (T, 3) intrinsic XYZ Euler angles in radians (not axis-angle), the same as `rotation_matrices`
    (T, 3, 3), `translation` (T, 3), `scale` (1, 1). `frames` (T,) are the frames' numbers in the recording.
    `version` is the tracking's: only 2 counts on the leaderboard.
    """

    shape: NDArray[Any]
    expression: NDArray[Any]
    rotation: NDArray[Any]
    rotation_matrices: NDArray[Any]
    translation: NDArray[Any]
    jaw: NDArray[Any]
    frames: NDArray[Any]
    scale: NDArray[Any]
    neck: NDArray[Any]
    eyes: NDArray[Any]
    version: int = CURRENT_VERSION

    @property
    def n_timesteps(self) -> int:
        """T, the number of frames."""
        return len(self.expression)

    def model_to_world(self) -> NDArray[np.float64]:
        """(T, 4, 4) float64: FLAME's model space → world, the scale included."""
        pose = np.zeros((self.n_timesteps, 4, 4))
        pose[:, :3, :3] = float(self.scale.item()) * euler_xyz_to_matrix(self.rotation)
        pose[:, :3, 3] = self.translation
        pose[:, 3, 3] = 1
        return pose


def euler_xyz_to_matrix(angles: ArrayLike) -> NDArray[np.float64]:
    """(…, 3, 3) rotations of (…, 3) intrinsic XYZ Euler angles, radians: about x, the new y, then the new z."""
    angles = np.asarray(angles, np.float64)
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(angles), -1, 0), np.moveaxis(np.sin(angles), -1, 0)
    return np.stack(
        [
            np.stack([cy * cz, -cy * sz, sy], axis=-1),
            np.stack([cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy], axis=-1),
            np.stack([sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy], axis=-1),
        ],
        axis=-2,
    )


def load_flame_tracking(path: Path, version: int = CURRENT_VERSION) -> FlameTracking:
    """Reads a tracking `.npz`. Nothing in it is unpickled.

    Warns (UserWarning) of version 1. Raises `InvalidInputError` if an array is missing, pickled, not finite or of
    another shape; FileNotFoundError if the file is missing.
    """
    try:
        arrays = read_npz(path, TRACKING_SHAPES)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} is not a FLAME tracking: it {error.message}.", DAMAGED_HINT) from error
    n_frames = len(arrays["expression"]) if arrays["expression"].ndim else 0
    for name, template in TRACKING_SHAPES.items():
        expected = tuple(n_frames if size == "T" else size for size in template)
        array = arrays[name]
        if array.shape != expected or array.dtype.kind not in "fiu":
            raise InvalidInputError(
                f"{path}: {name} is {array.dtype} {array.shape}, expected numbers {expected}.", DAMAGED_HINT
            )
        if not np.isfinite(array).all():
            raise InvalidInputError(f"{path}: {name} has values that are not finite.", DAMAGED_HINT)
    if version != CURRENT_VERSION:
        warnings.warn(
            f"{path} is version {version} of the FLAME tracking. Submissions must use version {CURRENT_VERSION}.",
            stacklevel=3,
        )
    return FlameTracking(**arrays, version=version)

"""Cameras: the benchmark's calibration, and the conversions between conventions.

Conventions: `world_2_cam` maps world to camera coordinates, in metres, with OpenCV axes (x right, y down,
z forward). `intrinsics` map camera coordinates to pixels (x to the right, y down); the centre of the first
pixel is at (0, 0) unless a function's `pixel_center` says otherwise. All functions take single matrices or
any batch of them, and keep float32 and float64 as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError, unknown_name
from nersemble_cli.core.formats.documents import read_json

_RIGID_TOLERANCE = 1e-3


class _BySerial(dict[str, Any]):
    """Serial → matrix; an unknown serial is answered with the known ones."""

    def __missing__(self, serial: str) -> None:
        raise unknown_name("camera in the calibration", serial, self)


@dataclass(frozen=True)
class CameraCalibration:
    """The calibrated cameras of a participant, hold-out cameras included.

    `world_2_cam[serial]` is (4, 4) float32: world → camera, OpenCV axes, metres. `intrinsics[serial]` is (3, 3)
    float32 in pixels of the benchmark's videos. An unknown serial raises `UsageError`, which lists the known ones.
    """

    world_2_cam: Mapping[str, NDArray[np.float32]]
    intrinsics: Mapping[str, NDArray[np.float32]]

    @property
    def serials(self) -> list[str]:
        """The cameras, in the order of the file."""
        return list(self.world_2_cam)

    def cam_2_world(self, serial: str) -> NDArray[np.float32]:
        """(4, 4) float32: camera → world, OpenCV axes. Its last column is the camera's centre."""
        return invert_pose(self.world_2_cam[serial])


def _matrix(value: Any, size: int, name: str, path: Path) -> NDArray[np.float64]:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{path}: {name} is not a matrix of numbers.", DAMAGED_HINT) from error
    # float32, as which it is handed out, holds less than float64.
    finite = np.abs(matrix) < np.finfo(np.float32).max
    if matrix.shape != (size, size) or not finite.all():
        raise InvalidInputError(
            f"{path}: {name} has shape {matrix.shape} and {np.count_nonzero(~finite)} values that are not finite,"
            f" expected finite numbers ({size}, {size}).",
            DAMAGED_HINT,
        )
    return matrix


def is_rigid(pose: ArrayLike) -> bool:
    """Whether a (4, 4) pose is a rotation and a translation: no scale, no shear, no mirror, to 1e-3."""
    pose = np.asarray(pose, dtype=np.float64)
    rotation = pose[:3, :3]
    return bool(
        np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        and np.linalg.det(rotation) > 0
        and np.allclose(pose[3], [0, 0, 0, 1], atol=_RIGID_TOLERANCE)
    )


class CameraMatrices(NamedTuple):
    """What a calibration has for one camera: `world_2_cam` (4, 4) and `intrinsics` (3, 3), float64."""

    world_2_cam: NDArray[np.float64]
    intrinsics: NDArray[np.float64]


def read_calibration(path: Path) -> dict[str, CameraMatrices]:
    """The finite matrices in a `camera_params.json` by serial, whatever transform or camera they stand for.

    Raises `InvalidInputError` if it has not the benchmark's form; FileNotFoundError if it is missing.
    """
    try:
        document = read_json(path.read_bytes())
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} {error.message}.", DAMAGED_HINT) from None
    poses, intrinsics = document.get("world_2_cam"), document.get("intrinsics")
    if not isinstance(poses, dict) or not isinstance(intrinsics, dict):
        raise InvalidInputError(
            f"{path} is not a calibration: it needs the tables world_2_cam and intrinsics.", DAMAGED_HINT
        )
    if missing := sorted(poses.keys() ^ intrinsics.keys()):
        raise InvalidInputError(
            f"{path}: camera {missing[0]} is in only one of world_2_cam and intrinsics.", DAMAGED_HINT
        )
    return {
        serial: CameraMatrices(
            _matrix(poses[serial], 4, f"world_2_cam of camera {serial}", path),
            _matrix(intrinsics[serial], 3, f"intrinsics of camera {serial}", path),
        )
        for serial in poses
    }


def load_calibration(path: Path) -> CameraCalibration:
    """Reads a `camera_params.json`.

    Raises `InvalidInputError` if it does not have the benchmark's form, a pose is not rigid, or intrinsics are not
    those of a pinhole camera; FileNotFoundError if it is missing.
    """
    calibration = CameraCalibration(_BySerial(), _BySerial())
    for serial, (pose, k) in read_calibration(path).items():
        if not is_rigid(pose):
            raise InvalidInputError(
                f"{path}: world_2_cam of camera {serial} is not a rigid transform: determinant"
                f" {np.linalg.det(pose[:3, :3]):.4g} (expected 1), last row {pose[3].tolist()}.",
                DAMAGED_HINT,
            )
        if not (k[0, 0] > 0 and k[1, 1] > 0 and np.allclose(k[2], [0, 0, 1])):
            raise InvalidInputError(
                f"{path}: intrinsics of camera {serial} are {k.tolist()}, expected positive focal lengths and"
                " a last row 0 0 1.",
                DAMAGED_HINT,
            )
        calibration.world_2_cam[serial] = pose.astype(np.float32)  # type: ignore[index]
        calibration.intrinsics[serial] = k.astype(np.float32)  # type: ignore[index]
    return calibration


def invert_pose(pose: NDArray[Any]) -> NDArray[Any]:
    """The inverse of rigid (…, 4, 4) poses: world_2_cam ↔ cam_2_world."""
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse: NDArray[Any] = np.zeros_like(pose)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ pose[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def swap_opencv_opengl(pose: NDArray[Any], *, is_cam_2_world: bool) -> NDArray[Any]:
    """(…, 4, 4) poses with the camera's axes changed from OpenCV's (x right, y down, z forward) to OpenGL's
    (x right, y up, z backward), or back: the same change both ways. The world stays as it is.

    It must be known which way the poses map, as the axes belong to the camera's side.
    """
    flip = np.array([1, -1, -1, 1], dtype=pose.dtype)
    swapped: NDArray[Any] = pose * (flip if is_cam_2_world else flip[:, None])
    return swapped


def rescale_intrinsics(
    intrinsics: NDArray[Any], scale_x: float, scale_y: float | None = None, pixel_center: float = 0.0
) -> NDArray[Any]:
    """(…, 3, 3) intrinsics for images resized by `scale_x` (and `scale_y`, else the same).

    `pixel_center` is where the first pixel's centre lies: 0 for OpenCV's convention, in which the image begins
    at -0.5; 0.5 if it begins at 0, so that the principal point is simply multiplied.
    """
    scale = np.array([scale_x, scale_x if scale_y is None else scale_y], dtype=intrinsics.dtype)
    shift = np.asarray(0.5 - pixel_center, dtype=intrinsics.dtype)
    rescaled: NDArray[Any] = intrinsics.copy()
    rescaled[..., :2, :2] *= scale[:, None]
    rescaled[..., :2, 2] = (intrinsics[..., :2, 2] + shift) * scale - shift
    return rescaled


def crop_intrinsics(intrinsics: NDArray[Any], left: float, top: float) -> NDArray[Any]:
    """(…, 3, 3) intrinsics for images of which `left` columns and `top` rows were cut off. Negative: padded."""
    cropped: NDArray[Any] = intrinsics.copy()
    cropped[..., :2, 2] -= np.array([left, top], dtype=intrinsics.dtype)
    return cropped


class Projection(NamedTuple):
    """Points in an image: `pixels` (…, 2), x then y, NaN where not in front of the camera; `depth` (…) along
    the optical axis, metres."""

    pixels: NDArray[Any]
    depth: NDArray[Any]


def project_points(points: NDArray[Any], world_2_cam: NDArray[Any], intrinsics: NDArray[Any]) -> Projection:
    """Projects (…, 3) world points with one camera's (4, 4) pose and (3, 3) intrinsics."""
    in_camera = points @ world_2_cam[:3, :3].T + world_2_cam[:3, 3]
    depth = in_camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        rays = in_camera[..., :2] / np.where(depth > 0, depth, np.nan)[..., None]
    return Projection(rays @ intrinsics[:2, :2].T + intrinsics[:2, 2], depth)


def unproject_pixels(
    pixels: NDArray[Any], depth: NDArray[Any], world_2_cam: NDArray[Any], intrinsics: NDArray[Any]
) -> NDArray[Any]:
    """The (…, 3) world points that are seen at (…, 2) pixels in (…) depth: the inverse of `project_points`."""
    rays = (pixels - intrinsics[:2, 2]) @ np.linalg.inv(intrinsics[:2, :2]).T
    in_camera = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * depth[..., None]
    points: NDArray[Any] = (in_camera - world_2_cam[:3, 3]) @ world_2_cam[:3, :3]
    return points


def visible_points(
    projection: Projection, height: int, width: int, tolerance: float = 0.01, cell: int = 4
) -> NDArray[np.bool_]:
    """(N,) whether each of (N, 2) projected points is inside the image and not behind another one.

    A point is behind if another in the same `cell`×`cell` pixels is more than `tolerance` metres nearer, so the
    points should be dense: at least one in each cell of a surface.
    """
    pixels, depth = projection
    with np.errstate(invalid="ignore"):
        corner = np.floor(pixels + 0.5)
        inside = ((corner >= 0) & (corner < [width, height])).all(axis=-1)
    column, row = (corner[inside].astype(np.int64) // cell).T
    place = row * (width // cell + 1) + column
    nearest = np.full((height // cell + 1) * (width // cell + 1), np.inf, dtype=depth.dtype)
    np.minimum.at(nearest, place, depth[inside])
    visible: NDArray[np.bool_] = np.array(inside)
    visible[inside] = depth[inside] <= nearest[place] + tolerance
    return visible

"""Cameras: projections, and the conversions between conventions.

Conventions: `world_2_cam` maps world to camera coordinates, in metres, with OpenCV axes (x right, y down,
z forward). `intrinsics` map camera coordinates to pixels (x to the right, y down); the centre of the first
pixel is at (0, 0) unless a function's `pixel_center` says otherwise. All functions take single matrices or
any batch of them, and keep float32 and float64 as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RIGID_TOLERANCE = 1e-3


def is_rigid(pose: ArrayLike) -> bool:
    """Whether a (4, 4) pose is a rotation and a translation: no scale, no shear, no mirror, to 1e-3."""
    pose = np.asarray(pose, dtype=np.float64)
    rotation = pose[:3, :3]
    return bool(
        np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        and np.linalg.det(rotation) > 0
        and np.allclose(pose[3], [0, 0, 0, 1], atol=_RIGID_TOLERANCE)
    )


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

    `pixel_center` is where the first pixel's centre is: 0 for OpenCV's convention, in which the image begins
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

"""What a camera should see, from what others see: a visual hull of silhouettes, in the colours of nearby views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraMatrices
from nersemble_cli.core.data.cameras import invert_pose, project_points, unproject_pixels

COARSE, FINE = 40, 88  # voxels along an edge of the grid
INSIDE = 77  # of 255: thin hair covers a small pixel only in part
MARGIN = 0.03  # of the box around the hull
N_COLOR_VIEWS = 2
DEPTHS = 8  # voxels along a ray from where it meets the grid's hull: one is inside all silhouettes, if the ray is

Silhouette = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """Voxel centres: a cube with corner `origin` (3,) and `n` voxels of edge `step`, in the world's unit."""

    origin: NDArray[np.float64]
    step: float
    n: int

    def centers(self) -> NDArray[np.float32]:
        """(n³, 3), the last axis varying fastest."""
        axes = [start + self.step * (np.arange(self.n) + 0.5) for start in self.origin]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def focus(cameras: Sequence[CameraMatrices]) -> NDArray[np.float64]:
    """The (3,) world point nearest to all optical axes, by least squares; the mean centre if they are parallel."""
    poses = np.stack([invert_pose(camera.world_2_cam) for camera in cameras])
    centers, axes = poses[:, :3, 3], poses[:, :3, 2]
    off_axis = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    solution: NDArray[np.float64] = np.linalg.lstsq(
        off_axis.sum(0), (off_axis @ centers[..., None]).sum(0)[:, 0], rcond=None
    )[0]
    return solution


def pixel_indices(
    points: NDArray[np.float32], camera: CameraMatrices, height: int, width: int
) -> NDArray[np.int32]:
    """(N,) the pixel that each point falls on, counted row by row; -1 outside of the image."""
    matrix = camera.intrinsics @ camera.world_2_cam[:3]
    x, y, depth = matrix[:, :3].astype(np.float32) @ points.T + matrix[:, 3:].astype(np.float32)
    ahead = np.maximum(depth, np.float32(1e-6))
    x, y = x / ahead + np.float32(0.5), y / ahead + np.float32(0.5)
    inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # What is outside may be too large for an integer.
    index = np.where(inside, y, 0).astype(np.int32) * width + np.where(inside, x, 0).astype(np.int32)
    return np.where(inside, index, np.int32(-1))


@dataclass(frozen=True)
class Carver:
    """A grid, and where each of its voxels is seen: `places[i]` as from `pixel_indices`, for up to 16 cameras."""

    grid: Grid
    places: tuple[NDArray[np.int32], ...]

    def carve(self, silhouettes: Sequence[Silhouette]) -> NDArray[np.uint16]:
        """(n³,) bit i is set where camera i sees the voxel to be empty; all are where too few cameras see it."""
        outside = np.zeros(self.grid.n**3, np.uint16)
        n_views = np.zeros(self.grid.n**3, np.uint8)
        for i, (place, silhouette) in enumerate(zip(self.places, silhouettes, strict=True)):
            empty = np.append(silhouette.ravel() < INSIDE, False)  # place -1 is the last: not seen, so not empty
            outside |= empty[place].astype(np.uint16) << i
            n_views += place >= 0
        outside[n_views * 2 < len(self.places)] = 0xFFFF
        return outside


def make_carver(cameras: Sequence[CameraMatrices], silhouettes: Sequence[Sequence[Silhouette]]) -> Carver | None:
    """A carver with a fine grid around what the silhouettes (per timestep, one per camera) enclose; None if they
    enclose nothing. `cameras` have intrinsics for pictures of the silhouettes' size."""
    height, width = silhouettes[0][0].shape
    center = focus(cameras)
    distances = [float(np.linalg.norm(invert_pose(c.world_2_cam)[:3, 3] - center)) for c in cameras]
    # Half of what the cameras overlook there, and some more.
    half = 0.6 * float(
        np.median([max(height, width) / c.intrinsics[1, 1] * d for c, d in zip(cameras, distances, strict=True)])
    )
    coarse = Grid(center - half, 2 * half / COARSE, COARSE)

    def carver(grid: Grid) -> Carver:
        centers = grid.centers()
        return Carver(grid, tuple(pixel_indices(centers, camera, height, width) for camera in cameras))

    rough = carver(coarse)
    occupied = np.zeros(COARSE**3, bool)
    for views in silhouettes:
        # A voxel's centre may miss what a part of it holds: one camera may err, that is, one bit may be set.
        outside = rough.carve(views)
        occupied |= outside & (outside - np.uint16(1)) == 0
    if not occupied.any():
        return None
    places = np.argwhere(occupied.reshape(COARSE, COARSE, COARSE))
    low, high = places.min(0) - 1, places.max(0) + 2
    edge = float((high - low).max() * coarse.step) * (1 + 2 * MARGIN)
    middle = coarse.origin + coarse.step * (low + high) / 2
    return carver(Grid(middle - edge / 2, edge / FINE, FINE))


def surface(grid: Grid, occupied: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(N, 3) the centres of occupied voxels that have an empty neighbour along an axis."""
    solid = np.pad(occupied.reshape(grid.n, grid.n, grid.n), 1)
    inner = np.ones((grid.n,) * 3, bool)
    for axis in range(3):
        for shift in (-1, 1):
            inner &= np.roll(solid, shift, axis)[1:-1, 1:-1, 1:-1]
    shell = np.argwhere(solid[1:-1, 1:-1, 1:-1] & ~inner)
    points: NDArray[np.float32] = (grid.origin + grid.step * (shell + 0.5)).astype(np.float32)
    return points


def depth_map(
    points: NDArray[np.float32], step: float, camera: CameraMatrices, height: int, width: int
) -> NDArray[np.float32]:
    """(H, W) depth of the nearest of `points`, each as large as a voxel of edge `step`; infinity where none is."""
    pixels, depth = project_points(points, camera.world_2_cam, camera.intrinsics)
    seen = depth > 0
    pixels, depth = pixels[seen], depth[seen].astype(np.float32)
    image = np.full((height, width), np.inf, np.float32)
    if not len(depth):
        return image
    # One pixel more than a voxel's edge, as their grid lies askew.
    size = 1 + int(np.ceil(step * camera.intrinsics[0, 0] / float(np.median(depth))))
    corner = np.floor(pixels - (size - 1) / 2 + 0.5).astype(np.int64)
    for dy in range(size):
        for dx in range(size):
            column, row = corner[:, 0] + dx, corner[:, 1] + dy
            on = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            np.minimum.at(image, (row[on], column[on]), depth[on])
    return image


class SeenBy(NamedTuple):
    """A camera, and what it sees: `image` (h, w, 3) RGB on white, `silhouette` (h, w) 0–255."""

    camera: CameraMatrices
    image: NDArray[np.uint8]
    silhouette: Silhouette


def color_from_views(
    depth: NDArray[np.float32], step: float, camera: CameraMatrices, views: Sequence[SeenBy]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """What `camera` sees of a surface of the given depth: (h, w, 3) RGB on white, in the colours of those `views`
    that look in nearly the same direction; and the mask (h, w) of what no view has outside of its silhouette. The
    depth is true to about the `step` of a grid."""
    mask = np.isfinite(depth)
    row, column = np.nonzero(mask)
    pixels = np.stack([column, row], axis=1).astype(np.float64)
    distance = depth[row, column].astype(np.float64)

    def at(distance: NDArray[np.float64]) -> NDArray[np.float32]:
        return unproject_pixels(pixels, distance, camera.world_2_cam, camera.intrinsics).astype(np.float32)

    points, rays = at(distance), np.concatenate([at(distance + i * step) for i in range(DEPTHS)])
    colors, weights = np.zeros((len(row), 3), np.float32), np.full((len(row), 1), 1e-6, np.float32)
    inside = np.ones(len(rays), bool)
    axis = camera.world_2_cam[2, :3]
    for i, view in enumerate(sorted(views, key=lambda view: -float(view.camera.world_2_cam[2, :3] @ axis))):
        silhouette = view.silhouette.ravel() >= INSIDE
        place = pixel_indices(rays, view.camera, *view.silhouette.shape)
        inside &= silhouette[place] | (place < 0)
        if i < N_COLOR_VIEWS:
            angle = np.arccos(np.clip(view.camera.world_2_cam[2, :3] @ axis, -1, 1)) + 0.01
            place = pixel_indices(points, view.camera, *view.silhouette.shape)
            hit = silhouette[place] & (place >= 0)
            colors[hit] += view.image.reshape(-1, 3)[place[hit]] / np.float32(angle)
            weights[hit] += np.float32(1 / angle)
    solid = inside.reshape(DEPTHS, -1).any(axis=0)
    mask[row, column] = solid
    colored = solid & (weights[:, 0] > 1e-3)
    image = np.full((*depth.shape, 3), 255, np.uint8)
    if colored.any():
        image[mask] = (colors[colored].mean(0) / weights[colored].mean()).round()  # where no view has any
        image[row[colored], column[colored]] = (colors[colored] / weights[colored]).round()
    return image, mask


def predict(
    carver: Carver,
    outside: NDArray[np.uint16],
    cameras: Mapping[str, CameraMatrices],
    train: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    silhouettes: Sequence[Silhouette],
    serial: str,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """What camera `serial` should see at a timestep: (h, w, 3) RGB on white, and the mask (h, w) of the hull.

    `train` are the cameras of `images` and `silhouettes`, in the order of the bits of `outside`. If `serial` is
    one of them, its own view is not used.
    """
    height, width = silhouettes[0].shape
    others = [i for i, other in enumerate(train) if other != serial]
    bits = np.uint16(sum(1 << i for i in others))
    occupied = (outside & bits == 0) & (outside != 0xFFFF)
    depth = depth_map(surface(carver.grid, occupied), carver.grid.step, cameras[serial], height, width)
    views = [SeenBy(cameras[train[i]], images[i], silhouettes[i]) for i in others]
    return color_from_views(depth, carver.grid.step, cameras[serial], views)

"""Where things go in a scene: frustums, points of view, splats, labels that do not overlap. Plain numpy, no VTK.

World coordinates in metres; cameras with OpenCV axes, as in `core.data.cameras`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import project_points, unproject_pixels
from nersemble_cli.core.flame.tracking import HEAD_CENTER, HEAD_SIZE

VIEW_ANGLE = 30.0  # degrees, from the bottom of a picture to its top
# Pairs of the points that `frustum` gives.
FRUSTUM_RAYS = ((0, 1), (0, 2), (0, 3), (0, 4))
FRUSTUM_FRAME = ((1, 2), (2, 3), (3, 4), (4, 1))
_MARGIN = 0.07  # of the picture, on each side
# A frustum is as deep as this part of the way to what the cameras look at, or less if neighbours would collide.
_DEPTH = 0.38
_GAP = 0.9
# Of Arial, VTK's font: the width of a digit and the height of a line, in font sizes.
_DIGIT, _LINE = 0.56, 1.0
_SPLAT_CELL = 12  # points per cell of a surface, where the density of points is measured
# How often splats cover the surface that their points were drawn from. exp(-12) of it, 6 parts in a million,
# stays uncovered if the points are scattered at random.
_SPLAT_COVER = 12
_POINTS_PER_PIXEL = 1.0
_ORBIT_RINGS = 64
_ORBIT_ANGLES = 72
# Azimuths and elevations, in degrees, to look at a rig from, the best first.
_RIG_AZIMUTHS = (24, 16, 32, 8, 40, -24, -16, -32, -8, -40)
_RIG_ELEVATIONS = (34, 40, 28, 46, 52, 58)


@dataclass(frozen=True, eq=False)
class Rig:
    """What the cameras of a calibration have in common, in world coordinates.

    `target` (3,) is where their optical axes come closest to each other; `up` (3,) and `front` (3,) are unit
    vectors, perpendicular: upwards as the cameras see it, and from the target to the cameras. `depth` is how far
    from its camera a frustum's image is drawn, in metres.
    """

    target: NDArray[np.float64]
    up: NDArray[np.float64]
    front: NDArray[np.float64]
    depth: float


def _unit(vector: NDArray[Any]) -> NDArray[Any]:
    length = np.linalg.norm(vector)
    unit: NDArray[Any] = vector / length if length > 0 else vector
    return unit


def measure_rig(calibration: CameraCalibration, width: int) -> Rig:
    """The rig of a calibration whose images are `width` pixels wide."""
    poses = np.stack([calibration.cam_2_world(serial) for serial in calibration.serials]).astype(np.float64)
    centers, forward = poses[:, :3, 3], poses[:, :3, 2]
    # The point with the smallest sum of squared distances to all axes. Axes that are parallel, or a single one,
    # leave the distance open; it is a metre then.
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    system, right_side = across.sum(0), (across @ centers[..., None]).sum(0)[:, 0]
    target = np.linalg.solve(system, right_side) if np.linalg.cond(system) < 1e6 else (centers + forward).mean(0)
    up = _unit(-poses[:, :3, 1].mean(0))
    outward = centers.mean(0) - target
    front = _unit(outward - (outward @ up) * up)
    if not front.any():  # cameras all around
        front = _unit(poses[0, :3, 0] - (poses[0, :3, 0] @ up) * up)
    distance = np.median(np.linalg.norm(centers - target, axis=1))
    between = np.linalg.norm(centers[:, None] - centers, axis=-1)
    nearest = between[between > 0].min(initial=distance)
    widest = max(width / calibration.intrinsics[serial][0, 0] for serial in calibration.serials)
    # Neighbours come closer to each other on their way to the target.
    room = _GAP * max(nearest, 0.1 * distance)
    return Rig(target, up, front, float(min(_DEPTH * distance, room / (widest + room / distance))))


def sample_frustums(frustums: NDArray[Any], n: int = 24) -> NDArray[np.float64]:
    """(M, 3) points on the edges and in the images of (C, 5, 3) frustums."""
    part = np.linspace(0, 1, n)[:, None]
    edges = [
        frustums[:, a, None] * (1 - part) + frustums[:, b, None] * part for a, b in FRUSTUM_RAYS + FRUSTUM_FRAME
    ]
    u, v = (g.reshape(-1, 1) for g in np.meshgrid(np.linspace(0.1, 0.9, 6), np.linspace(0.1, 0.9, 6)))
    origin, right, down = frustums[:, 1, None], frustums[:, 2, None], frustums[:, 4, None]
    images = origin + u * (right - origin) + v * (down - origin)
    return np.concatenate([*edges, images], axis=1).reshape(-1, 3)


def frustum(
    world_2_cam: NDArray[Any], intrinsics: NDArray[Any], height: int, width: int, depth: float
) -> NDArray[np.float64]:
    """(5, 3) world points: the camera's centre, then the corners of its image at `depth` metres: top left, top
    right, bottom right, bottom left, as the camera sees them."""
    left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    pose, k = world_2_cam.astype(np.float64), intrinsics.astype(np.float64)
    center = -pose[:3, :3].T @ pose[:3, 3]
    return np.vstack([center, unproject_pixels(corners, np.full(4, depth), pose, k)])


@dataclass(frozen=True, eq=False)
class View:
    """A point of view: `position` and `focus` (3,) in the world, `up` (3,) a unit vector; for a picture of
    `width` × `height` pixels."""

    position: NDArray[np.float64]
    focus: NDArray[np.float64]
    up: NDArray[np.float64]
    width: int
    height: int

    def as_camera(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`world_2_cam` (4, 4) and `intrinsics` (3, 3) of a pinhole camera that sees the same."""
        forward = _unit(self.focus - self.position)
        right = _unit(np.cross(forward, self.up))
        rotation = np.stack([right, np.cross(forward, right), forward])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ self.position
        focal = self.height / 2 / np.tan(np.radians(VIEW_ANGLE / 2))
        center = (self.width - 1) / 2, (self.height - 1) / 2
        return pose, np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1.0]])

    @property
    def pixel(self) -> float:
        """The size of a pixel at the focus, in metres."""
        distance = float(np.linalg.norm(self.focus - self.position))
        return 2 * distance * float(np.tan(np.radians(VIEW_ANGLE / 2))) / self.height


def direction(rig: Rig, azimuth: float, elevation: float) -> NDArray[np.float64]:
    """(3,) unit vector from the rig's target to where one looks from: `azimuth` degrees to the right of its front,
    `elevation` degrees above it."""
    right = np.cross(rig.up, rig.front)
    a, e = np.radians(azimuth), np.radians(elevation)
    there: NDArray[np.float64] = np.cos(e) * (np.cos(a) * rig.front + np.sin(a) * right) + np.sin(e) * rig.up
    return there


def fit_view(
    points: NDArray[Any], towards: NDArray[Any], up: NDArray[Any], width: int, height: int, about: NDArray[Any]
) -> View:
    """The nearest point of view in the direction `towards` from which all (N, 3) `points` are in the picture. Its
    focus is as far away as the point `about` (3,)."""
    towards = _unit(np.asarray(towards, np.float64))
    right = _unit(np.cross(up, towards))
    upward = np.cross(towards, right)
    x, y, z = np.asarray(points, np.float64) @ right, points @ upward, points @ towards
    half = np.tan(np.radians(VIEW_ANGLE / 2)) * (1 - 2 * _MARGIN)
    # A point is in the picture if |x - center| ≤ (distance - z) · half; so for the outermost on either side.
    sides = []
    for offset, slope in ((x, half * width / height), (y, half)):
        low, high = (-offset + slope * z).max(), (offset + slope * z).max()
        sides.append(((high - low) / 2, (high + low) / 2 / slope))
    (center_x, far_x), (center_y, far_y) = sides
    across = center_x * right + center_y * upward
    position, focus = across + max(far_x, far_y) * towards, across + (about @ towards) * towards
    return View(position, focus, _unit(np.asarray(up, np.float64)), width, height)


def clear_direction(rig: Rig, frustums: NDArray[Any], head: NDArray[Any]) -> NDArray[np.float64]:
    """(3,) unit vector to look at a rig from, over the cameras, such that as little as possible of the (N, 3)
    points of a `head` is behind the images of the (C, 5, 3) `frustums`."""
    head = np.asarray(head, np.float64)[:: max(1, len(head) // 200)]
    distance = 3 * float(np.linalg.norm(frustums[:, 0] - rig.target, axis=1).max())

    def hidden(angles: tuple[int, int]) -> float:
        eye = rig.target + distance * direction(rig, *angles)
        # The ray to a point of the head meets an image where it is on the inner side of all four edges: the sign
        # of the volume that the ray spans with each edge.
        rays, corners = head - eye, frustums[:, 1:] - eye
        normals = np.cross(corners, np.roll(corners, -1, axis=1))
        sides = np.einsum("cki,ni->nck", normals, rays)
        inside = (sides > 0).all(-1) | (sides < 0).all(-1)
        nearer = np.linalg.norm(corners, axis=-1).mean(-1) < np.linalg.norm(rays, axis=-1)[:, None]
        return float((inside & nearer).any(1).mean())

    candidates = [(azimuth, elevation) for elevation in _RIG_ELEVATIONS for azimuth in _RIG_AZIMUTHS]
    first_azimuth, first_elevation = candidates[0]
    # 20 degrees more are worth a tenth of the head.
    best = min(
        candidates,
        key=lambda c: hidden(c) + 0.005 * (abs(c[0] - first_azimuth) + abs(c[1] - first_elevation)),
    )
    return direction(rig, *best)


def nearest_cameras(
    calibration: CameraCalibration, serial: str, candidates: Sequence[str], n: int
) -> list[tuple[str, float]]:
    """The `n` candidates whose optical axes differ least from that of camera `serial`, with the angles between
    them in degrees, the smallest first."""
    axis = calibration.cam_2_world(serial)[:3, 2]
    cosines = {other: float(axis @ calibration.cam_2_world(other)[:3, 2]) for other in candidates}
    angles = {other: float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) for other, cosine in cosines.items()}
    return sorted(angles.items(), key=lambda item: item[1])[:n]


def head_ellipsoid(model_to_world: NDArray[Any]) -> NDArray[np.float64]:
    """(V, 3) world points on an ellipsoid of a head's size, where a (4, 4) FLAME pose puts the head."""
    rig = Rig(np.array(HEAD_CENTER), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), 0)
    points, _ = ellipsoid(rig)
    in_world: NDArray[np.float64] = points @ model_to_world[:3, :3].T + model_to_world[:3, 3]
    return in_world


def ellipsoid(rig: Rig, n: int = 24) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(V, 3) vertices and (F, 3) triangles of an ellipsoid of a head's size, where the cameras look."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, n + 1), np.linspace(0, 2 * np.pi, 2 * n + 1), indexing="ij")
    ball = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    axes = np.stack([np.cross(rig.up, rig.front), rig.up, rig.front])
    vertices: NDArray[np.float64] = rig.target + (ball.reshape(-1, 3) * HEAD_SIZE / 2) @ axes
    corner = (np.arange(n)[:, None] * (2 * n + 1) + np.arange(2 * n)).reshape(-1, 1)
    below = corner + 2 * n + 1
    faces = np.concatenate([np.hstack([corner, below, below + 1]), np.hstack([corner, below + 1, corner + 1])])
    return vertices, faces


def _cube_side(points: NDArray[Any]) -> float:
    """The side of a cube around the points, but for outliers; its surface is about as large as theirs."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    return float(np.linalg.norm(high - low) / np.sqrt(3))


def thin_out(points: NDArray[Any], pixel: float) -> NDArray[np.int64]:
    """The indices of as many of (N, 3) points as can be told apart where a pixel is `pixel` metres wide: all of
    them, or a random choice that is always the same."""
    n = round(_POINTS_PER_PIXEL * 6 * (_cube_side(points) / pixel) ** 2) + 1
    if n >= len(points):
        return np.arange(len(points))
    return np.sort(np.random.default_rng(0).choice(len(points), n, replace=False))


def splat_radii(points: NDArray[Any]) -> NDArray[np.float32]:
    """(N,) float32 radii in metres with which discs at (N, 3) points close the surface through the points.

    A disc is as large as the points around it are sparse, so that neither is the back of the surface seen through
    gaps nor is detail lost where the points are dense.
    """
    side = _cube_side(points)
    size = max(np.sqrt(6 * side**2 * _SPLAT_CELL / len(points)) / 2, 1e-6 * side, 1e-9)
    cells = np.clip((points - np.median(points, axis=0)) / size, -1e6, 1e6).astype(np.int64)
    cells -= cells.min(0) - 1
    dims = cells.max(0) + 2
    strides = np.array([dims[1] * dims[2], dims[2], 1])
    keys, cell_of, counts = np.unique(cells @ strides, return_inverse=True, return_counts=True)
    around = np.zeros(len(keys))
    for step in np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3):
        wanted = keys + step @ strides
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        around += np.where(keys[found] == wanted, counts[found], 0)
    # 3×3×3 cells hold a piece of surface of at least 3×3 cells. A point that is alone stays small.
    radii = np.sqrt(_SPLAT_COVER * 9 * size**2 / (np.pi * around))
    return np.asarray(np.minimum(radii, 1.5 * size)[cell_of.reshape(-1)], np.float32)


def swept_points(points: NDArray[Any], center: NDArray[Any], up: NDArray[Any]) -> NDArray[np.float64]:
    """(M, 3) points that enclose what (N, 3) `points` sweep when they turn around the axis `up` through
    `center`: rings, each as wide as the widest point at its height."""
    up = _unit(np.asarray(up, np.float64))
    offsets = np.asarray(points, np.float64) - center
    heights = offsets @ up
    widths = np.linalg.norm(offsets - heights[:, None] * up, axis=1)
    edges = np.linspace(heights.min(), heights.max(), _ORBIT_RINGS + 1)
    ring = np.clip(np.searchsorted(edges, heights, side="right") - 1, 0, _ORBIT_RINGS - 1)
    widest = np.zeros(_ORBIT_RINGS)
    np.maximum.at(widest, ring, widths)
    right = _unit(np.cross(up, np.eye(3)[np.argmin(np.abs(up))]))
    angles = np.linspace(0, 2 * np.pi, _ORBIT_ANGLES, endpoint=False)
    circle = np.cos(angles)[:, None] * right + np.sin(angles)[:, None] * np.cross(up, right)
    rings = widest[:, None, None] * circle / np.cos(np.pi / _ORBIT_ANGLES)
    both = [rings + edge[:, None, None] * up for edge in (edges[:-1], edges[1:])]
    swept: NDArray[np.float64] = center + np.concatenate(both).reshape(-1, 3)
    return swept


def orbit(view: View, center: NDArray[Any], angle: float) -> View:
    """The view after `angle` degrees of a turn to the right around the vertical axis through `center` (3,)."""
    a, k = np.radians(angle), view.up

    def turn(point: NDArray[Any]) -> NDArray[np.float64]:
        v = point - center
        # Rodrigues' rotation formula.
        turned: NDArray[np.float64] = (
            center + v * np.cos(a) + np.cross(k, v) * np.sin(a) + k * (k @ v) * (1 - np.cos(a))
        )
        return turned

    return replace(view, position=turn(view.position), focus=turn(view.focus))


def place_labels(
    anchors: NDArray[Any],
    away_from: NDArray[Any],
    texts: list[str],
    view: View,
    font_size: int,
    obstacles: NDArray[Any] | None = None,
    reserved: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """(N, 3) world points for the centres of labels at (N, 3) `anchors`, such that none covers another.

    Each is near its anchor, on the side that leads away from (N, 3) `away_from`, as deep in the picture as the
    anchor, outside of the `reserved` (K, 4) boxes of pixels (left, top, right, bottom), and on as few as possible
    of the `obstacles`: (M, 3) points, sampled from what should stay visible.
    """
    camera = view.as_camera()
    places, depth = project_points(np.asarray(anchors, np.float64), *camera)
    outward = places - project_points(np.asarray(away_from, np.float64), *camera).pixels
    sizes = np.array([[len(text) * _DIGIT * font_size, _LINE * font_size] for text in texts])
    dots = np.empty((0, 2))
    if obstacles is not None:
        dots = project_points(np.asarray(obstacles, np.float64).reshape(-1, 3), *camera).pixels
    angles = np.radians(np.arange(0, 360, 15))
    # The steps are wider than high, as labels are.
    ring = np.stack([1.6 * np.cos(angles), np.sin(angles)], 1)
    steps = np.concatenate([ring * font_size * r for r in np.arange(1.0, 12, 0.5)])
    lengths = np.linalg.norm(steps, axis=1)
    taken = np.empty((0, 4)) if reserved is None else np.asarray(reserved, np.float64)
    found = np.empty_like(places)
    picture = np.array([view.width, view.height])
    for i in np.argsort(places[:, 1]):
        half = sizes[i] / 2
        candidates = places[i] + steps
        boxes = np.concatenate([candidates - half, candidates + half], axis=1)
        away = 1 - (steps / lengths[:, None]) @ _unit(outward[i])
        outside = np.maximum(-boxes[:, :2], 0).sum(1) + np.maximum(boxes[:, 2:] - picture, 0).sum(1)
        near = dots[(np.abs(dots - places[i]) < lengths.max() + half).all(1)]
        hits = ((near > boxes[:, None, :2] - 1) & (near < boxes[:, None, 2:] + 1)).all(-1).sum(1)
        cost = 1.3 * lengths / font_size + 1.5 * away + np.minimum(0.8 * hits, 12)
        cost += 1e3 * _overlap(boxes, taken, gap=2) / sizes[i].prod() + outside
        best = int(np.argmin(cost))
        found[i] = candidates[best]
        taken = np.vstack([taken, boxes[best]])
    return unproject_pixels(found, depth, *camera)


def visible_labels(
    places: NDArray[Any], texts: Sequence[str], view: View, font_size: int, reserved: NDArray[Any] | None = None
) -> NDArray[np.bool_]:
    """(N,) which of the labels with their centres at (N, 3) world points to show in a view, such that none covers
    another or the `reserved` (K, 4) boxes of pixels (left, top, right, bottom): the nearest come first."""
    pixels, depth = project_points(np.asarray(places, np.float64), *view.as_camera())
    half = np.array([[len(text) * _DIGIT * font_size, _LINE * font_size] for text in texts]) / 2
    boxes = np.concatenate([pixels - half, pixels + half], axis=1)
    taken = np.empty((0, 4)) if reserved is None else np.asarray(reserved, np.float64)
    visible = np.zeros(len(texts), bool)
    for i in np.argsort(depth):
        visible[i] = depth[i] > 0 and not _overlap(boxes[i : i + 1], taken).any()
        if visible[i]:
            taken = np.vstack([taken, boxes[i]])
    return visible


def _overlap(boxes: NDArray[Any], others: NDArray[Any], gap: float = 0) -> NDArray[Any]:
    """(N,) the area that each of (N, 4) boxes shares with (M, 4) others, which are `gap` larger on each side."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2] - gap)
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:] + gap)
    area: NDArray[Any] = np.maximum(high - low, 0).prod(-1).sum(-1)
    return area


def round_length(extent: float) -> float:
    """The largest of …, 0.1, 0.2, 0.5, 1, … metres that is not longer than `extent`."""
    power = 10.0 ** np.floor(np.log10(extent))
    return float(max(step * power for step in (1, 2, 5) if step * power <= extent * (1 + 1e-9)))

"""Where things go in a scene: frustums, the point of view, labels that do not overlap. Plain numpy, no VTK.

World coordinates in metres; cameras with OpenCV axes, as in `core.cameras`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import CameraCalibration, project_points, unproject_pixels

VIEW_ANGLE = 30.0  # degrees, from the bottom of a picture to its top
# Pairs of the points that `frustum` gives.
FRUSTUM_RAYS = ((0, 1), (0, 2), (0, 3), (0, 4))
FRUSTUM_FRAME = ((1, 2), (2, 3), (3, 4), (4, 1))
_MARGIN = 0.07  # of the picture, on each side
# A frustum is as deep as this part of the way to what the cameras look at, or less if neighbours would collide.
_DEPTH = 0.38
_GAP = 0.9
# Of Arial, which VTK writes with: the width of a digit and the height of a line, in sizes of the font.
_DIGIT, _LINE = 0.56, 1.0


@dataclass(frozen=True, eq=False)
class Rig:
    """What a set of cameras has in common, in world coordinates.

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


def place_labels(
    anchors: NDArray[Any],
    away_from: NDArray[Any],
    texts: list[str],
    view: View,
    font_size: int,
    obstacles: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """(N, 3) world points for the centres of labels at (N, 3) `anchors`, such that none covers another.

    Each goes where it is near, on the side that leads away from (N, 3) `away_from`, and covers little of the
    `obstacles` (M, K, 3), polygons; as deep in the picture as its anchor.
    """
    camera = view.as_camera()
    places, depth = project_points(np.asarray(anchors, np.float64), *camera)
    outward = places - project_points(np.asarray(away_from, np.float64), *camera).pixels
    sizes = np.array([[len(text) * _DIGIT * font_size, _LINE * font_size] for text in texts])
    shapes = (
        np.empty((0, 4)) if obstacles is None else _boxes(project_points(np.asarray(obstacles), *camera).pixels)
    )
    angles = np.radians(np.arange(0, 360, 15))
    # The steps are wider than high, as labels are.
    ring = np.stack([1.6 * np.cos(angles), np.sin(angles)], 1)
    steps = np.concatenate([ring * font_size * r for r in np.arange(1.0, 12, 0.75)])
    taken = np.empty((0, 4))
    found = np.empty_like(places)
    picture = np.array([view.width, view.height])
    for i in np.argsort(places[:, 1]):
        half = sizes[i] / 2
        candidates = places[i] + steps
        boxes = np.concatenate([candidates - half, candidates + half], axis=1)
        area = sizes[i].prod()
        away = 1 - (steps / np.linalg.norm(steps, axis=1, keepdims=True)) @ _unit(outward[i])
        outside = np.maximum(-boxes[:, :2], 0).sum(1) + np.maximum(boxes[:, 2:] - picture, 0).sum(1)
        cost = np.linalg.norm(steps, axis=1) / font_size + 1.5 * away
        cost += 6 * _overlap(boxes, shapes) / area + 1e3 * _overlap(boxes, taken, gap=2) / area + outside
        best = int(np.argmin(cost))
        found[i] = candidates[best]
        taken = np.vstack([taken, boxes[best]])
    return unproject_pixels(found, depth, *camera)


def _boxes(polygons: NDArray[Any]) -> NDArray[Any]:
    """(M, 4) left, top, right, bottom of (M, K, 2) polygons."""
    boxes: NDArray[Any] = np.concatenate([polygons.min(1), polygons.max(1)], axis=1)
    return boxes


def _overlap(boxes: NDArray[Any], others: NDArray[Any], gap: float = 0) -> NDArray[Any]:
    """(N,) how much of (M, 4) others, `gap` larger on each side, each of (N, 4) boxes covers, as an area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2] - gap)
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:] + gap)
    area: NDArray[Any] = np.maximum(high - low, 0).prod(-1).sum(-1)
    return area


def round_length(extent: float) -> float:
    """The largest of …, 0.1, 0.2, 0.5, 1, … metres that is not longer than `extent`."""
    power = 10.0 ** np.floor(np.log10(extent))
    return float(max(step * power for step in (1, 2, 5) if step * power <= extent * (1 + 1e-9)))

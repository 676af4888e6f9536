"""What a camera should see of a tracked head: points of its surface, in the colours of training frames.

The tracking says how the head lies in the world. With the user's FLAME model the points are its vertices; without,
they lie on an ellipsoid that moves with the head, of the size that explains the training frames best.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraMatrices
from nersemble_cli.core.data.cameras import invert_pose, project_points
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, MissingLibraryError
from nersemble_cli.core.flame.model import FlameModel, load_flame_model
from nersemble_cli.core.flame.tracking import HEAD_CENTER, HEAD_SIZE, NECK, FlameTracking
from nersemble_cli.core.settings import find_flame_model
from nersemble_cli.core.submission.compare.hull import INSIDE, pixel_indices

N_POINTS = 6000
SPACING = 0.005  # metres between neighbouring points, about
FACING = 0.2  # cosine: a surface that is seen more askew than that lends no colour
RIM = 0.4  # … and than that is not compared: where a head ends is known least
OFTEN = 0.5  # of the frames that a point faces must show it inside the silhouette


class Points(NamedTuple):
    """Points of the surface in the world, metres, and the surface's normals there: (N, 3) each."""

    places: NDArray[np.float32]
    normals: NDArray[np.float32]


class Surface(NamedTuple):
    """`points` gives the same points of a head at timesteps of a tracking; `name` says what they lie on."""

    name: str
    points: Callable[[FlameTracking, Sequence[int]], list[Points]]


def head_to_world(tracking: FlameTracking) -> NDArray[np.float64]:
    """(T, 4, 4) poses of the skull, scale included: the tracking's rigid motion, after the turn on the neck."""
    import cv2

    turn = np.tile(np.eye(4), (tracking.n_timesteps, 1, 1))
    turn[:, :3, :3] = [cv2.Rodrigues(np.asarray(neck, np.float64))[0] for neck in tracking.neck]
    turn[:, :3, 3] = NECK - turn[:, :3, :3] @ NECK
    poses: NDArray[np.float64] = tracking.model_to_world() @ turn
    return poses


def _turned(normals: NDArray[np.floating], pose: NDArray[np.float64]) -> NDArray[np.float32]:
    turned = normals @ pose[:3, :3].T
    turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    return turned.astype(np.float32)


def _on_ellipsoid(size: float, tracking: FlameTracking, timesteps: Sequence[int]) -> list[Points]:
    i = np.arange(N_POINTS) + 0.5
    height, angle = 1 - 2 * i / N_POINTS, np.pi * (1 + 5**0.5) * i
    around = np.sqrt(1 - height**2)
    ball = np.stack([around * np.cos(angle), height, around * np.sin(angle)], axis=1)
    radii = np.array(HEAD_SIZE) / 2 * size
    points, outward = ball * radii + HEAD_CENTER, ball / radii
    poses = head_to_world(tracking)
    return [
        Points((points @ poses[t, :3, :3].T + poses[t, :3, 3]).astype(np.float32), _turned(outward, poses[t]))
        for t in timesteps
    ]


ELLIPSOIDS = tuple(
    Surface(f"ellipsoid × {size}", functools.partial(_on_ellipsoid, size)) for size in (0.84, 0.88, 0.92, 0.96, 1)
)
"""They know nothing of a person but where the head is."""


def describe_flame() -> tuple[object, ...]:
    """What tells whether `find_surfaces` would give other surfaces than before; the model is not loaded for it."""
    path = find_flame_model()
    if not path.is_file():
        return ()
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns, importlib.util.find_spec("torch") is not None


def find_surfaces() -> tuple[Surface, ...]:
    """The surface of the user's FLAME model, or ellipsoids of several sizes if there is no usable one."""
    try:
        return (_flame_surface(load_flame_model()),)
    except (MissingLibraryError, MissingFileError, InvalidInputError):
        return ELLIPSOIDS


@functools.lru_cache(maxsize=1)
def _flame_surface(model: FlameModel) -> Surface:
    from nersemble_cli.core.flame.provider import FlameProvider

    # Expressions turn normals a little; what matters here is which side faces the camera.
    corners = model.v_template[model.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = np.zeros_like(model.v_template)
    for corner in range(3):
        np.add.at(outward, model.faces[:, corner], across)

    def points(tracking: FlameTracking, timesteps: Sequence[int]) -> list[Points]:
        vertices = FlameProvider(tracking, model).get_vertices(list(timesteps))
        poses = head_to_world(tracking)
        return [Points(places, _turned(outward, poses[t])) for places, t in zip(vertices, timesteps, strict=True)]

    return Surface("FLAME", points)


def _facing(points: Points, camera: CameraMatrices) -> NDArray[np.float32]:
    """(N,) the cosine between each normal and the direction to the camera."""
    center = invert_pose(camera.world_2_cam)[:3, 3].astype(np.float32)
    towards = center - points.places
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    cosines: NDArray[np.float32] = (towards * points.normals).sum(axis=1)
    return cosines


class Photo(NamedTuple):
    """A training frame: `image` (h, w, 3) RGB on white, `silhouette` (h, w) 0–255, and which one it is."""

    image: NDArray[np.uint8]
    silhouette: NDArray[np.uint8]
    tracking: FlameTracking
    timestep: int


class Paint(NamedTuple):
    """The colour (N, 3) of each point in levels, and which points have one (N,)."""

    colors: NDArray[np.float32]
    known: NDArray[np.bool_]


def paint(photos: Sequence[Photo], points: Sequence[Points], camera: CameraMatrices) -> Paint:
    """The colours of points from photos of one camera, in which they are at `points`; those that look straight at
    a point count most."""
    n = len(points[0].places)
    colors, weights = np.zeros((n, 3), np.float32), np.full(n, 1e-6, np.float32)
    faced, inside = np.zeros(n), np.zeros(n)
    for photo, its in zip(photos, points, strict=True):
        height, width = photo.silhouette.shape
        place = pixel_indices(its.places, camera, height, width)
        cosine = np.where(place >= 0, _facing(its, camera), np.float32(0))
        hit = (cosine > FACING) & (photo.silhouette.ravel()[place] >= INSIDE)
        faced += cosine > FACING
        inside += hit
        weight = np.where(hit, cosine**4, np.float32(0))
        colors += photo.image.reshape(-1, 3)[place] * weight[:, None]
        weights += weight
    return Paint(colors / weights[:, None], (inside > OFTEN * faced) & (inside > 0))


def draw(
    points: Points, its: Paint, camera: CameraMatrices, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """What a camera sees of painted points: (h, w, 3) RGB on white, and the mask (h, w) of where that is sure."""
    cosine = _facing(points, camera)
    shown = its.known & (cosine > 0)
    pixels, depth = project_points(points.places[shown], camera.world_2_cam, camera.intrinsics)
    order = np.argsort(-depth)  # the nearest is drawn last
    pixels, depth, colors = pixels[order], depth[order], its.colors[shown][order]
    is_sure = cosine[shown][order] > RIM
    image = np.full((height, width, 3), 255, np.uint8)
    mask = np.zeros((height, width), bool)
    if not len(depth) or depth[-1] <= 0:
        return image, mask
    size = max(1, round(SPACING * float(camera.intrinsics[0, 0] / np.median(depth)) + 0.5))
    corner = np.floor(pixels - (size - 1) / 2 + 0.5).astype(np.int64)
    for dy in range(size):
        for dx in range(size):
            column, row = corner[:, 0] + dx, corner[:, 1] + dy
            on = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            image[row[on], column[on]] = colors[on]
            mask[row[on], column[on]] = is_sure[on]
    return image, mask

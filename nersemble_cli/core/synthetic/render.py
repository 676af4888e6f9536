"""The made-up rig of 16 cameras, and a small rasteriser for meshes with coloured vertices. World: metres, y up,
the rig at +z in front of the head."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import SERIALS
from nersemble_cli.core.data.cameras import project_points, rescale_intrinsics
from nersemble_cli.core.video.pixels import convert

_DISTANCE = 1.15
_TARGET = (0.0, -0.01, 0.0)
# Cameras from the viewer's left to the right, in the order of SERIALS; the hold-out ones at the head's height.
_AZIMUTH_STEP = 6.0
_CENTER = SERIALS.index("222200037")
_ELEVATIONS = (14, -12, 0, 8, -10, 15, 5, -14, 0, 15, -12, 10, -6, 0, 14, -10)
_LIGHT = (0.35, 0.55, 0.76)
_AMBIENT = 0.45


def make_rig(
    height: int, width: int, focal: float
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """16 cameras on an arc that look at the head: `world_2_cam` (4, 4) and `intrinsics` (3, 3) per serial.

    `focal` is in pixels. No two cameras have the same intrinsics.
    """
    poses, intrinsics = {}, {}
    for i, serial in enumerate(SERIALS):
        azimuth, elevation = np.radians((i - _CENTER) * _AZIMUTH_STEP), np.radians(_ELEVATIONS[i])
        backward = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
        rotation = np.stack([right, np.cross(right, backward), -backward])
        center = np.array(_TARGET) + _DISTANCE * backward
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
        poses[serial] = pose
        f = focal * (1 + 0.004 * ((i * 5) % 7 - 3))
        cx, cy = width / 2 + 0.01 * width * ((i * 3) % 5 - 2), height / 2 + 0.006 * height * ((i * 7) % 5 - 2)
        intrinsics[serial] = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]])
    return poses, intrinsics


def vertex_normals(vertices: NDArray[Any], faces: NDArray[Any]) -> NDArray[np.float64]:
    """(V, 3) unit normals."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    normals = np.stack(
        [
            sum(np.bincount(faces[:, corner], across[:, axis], len(vertices)) for corner in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    unit: NDArray[np.float64] = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    return unit


def shade(colors: NDArray[Any], normals: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 3) colours under the rig's fixed, diffuse light: the same from every camera."""
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    lit: NDArray[np.float64] = colors * (_AMBIENT + (1 - _AMBIENT) * (normals @ light).clip(0))[:, None]
    return lit


def rasterize(
    pixels: NDArray[Any], depth: NDArray[Any], faces: NDArray[Any], colors: NDArray[Any], height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draws triangles with interpolated colours and a depth test.

    `pixels` (V, 2) and `depth` (V,) as from `project_points`, `colors` (V, 3). Returns (H, W, 3) colours on white
    and the (H, W) mask of what is covered. Triangles that turn their back are left out.
    """
    corners = pixels[faces]
    (ax, ay), (bx, by), (cx, cy) = corners.transpose(1, 2, 0)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    low = np.floor(corners.min(1)).astype(np.int64)
    sizes = np.ceil(corners.max(1)).astype(np.int64) - low + 1
    # Outward triangles run counterclockwise, but pixels count downwards.
    ahead = (area < -1e-9) & (depth[faces] > 0).all(1)
    on_image = (low < [width, height]).all(1) & (low + sizes > 0).all(1)
    samples = []
    done = ~(ahead & on_image)
    # Triangles of like size are drawn together, each on a square of pixels that just holds it.
    for size in (2, 4, 8, 16, 32, 64, 128, 256):
        chosen = np.flatnonzero(~done & (sizes.max(1) <= size))
        done[chosen] = True
        x = low[chosen, 0, None, None] + np.arange(size)
        y = low[chosen, 1, None, None] + np.arange(size)[:, None]

        def side(i: NDArray[Any], j: NDArray[Any], x: Any, y: Any, chosen: Any) -> NDArray[np.float64]:
            """How far pixels are inside of the edge from corner i to corner j, times the edge's length."""
            (ix, iy), (jx, jy) = pixels[i[chosen]].T[..., None, None], pixels[j[chosen]].T[..., None, None]
            inside: NDArray[np.float64] = (jx - ix) * (y - iy) - (jy - iy) * (x - ix)
            return inside

        a, b, c = faces.T
        wa, wb, wc = (side(i, j, x, y, chosen) for i, j in ((b, c), (c, a), (a, b)))
        covered = (wa <= 0) & (wb <= 0) & (wc <= 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        which, row, column = np.nonzero(covered)
        weights = np.stack([w[covered] for w in (wa, wb, wc)], 1) / area[chosen[which], None]
        place = (low[chosen[which], 1] + row) * width + low[chosen[which], 0] + column
        samples.append((place, chosen[which], weights))
    place, triangle, weights = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    # The nearest one is written last.
    order = np.argsort(-(depth[faces[triangle]] * weights).sum(1), kind="stable")
    winner = np.full(height * width, -1)
    winner[place[order]] = order
    covered_places = np.flatnonzero(winner >= 0)
    chosen = winner[covered_places]
    image = np.ones((height * width, 3))
    image[covered_places] = (colors[faces[triangle[chosen]]] * weights[chosen][..., None]).sum(1)
    return image.reshape(height, width, 3), (winner >= 0).reshape(height, width)


def render(
    vertices: NDArray[Any],
    faces: NDArray[Any],
    colors: NDArray[Any],
    world_2_cam: NDArray[Any],
    intrinsics: NDArray[Any],
    height: int,
    width: int,
    detail: float = 1.0,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What a camera sees of a mesh: (H, W, 3) uint8 RGB on white and the (H, W, 3) uint8 alpha map.

    It is drawn at `detail` times the size (0.5: a quarter of the work) and enlarged, which makes the edges soft.
    """
    if detail == 1:
        small_height, small_width = height, width
    else:
        small_height, small_width = max(1, round(height * detail)), max(1, round(width * detail))
        intrinsics = rescale_intrinsics(intrinsics, small_width / width, small_height / height)
    pixels, depth = project_points(vertices, world_2_cam, intrinsics)
    image, mask = rasterize(pixels, depth, faces, colors, small_height, small_width)
    rgb = (image * 255).round().clip(0, 255).astype(np.uint8)
    alpha = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    if detail == 1:
        return rgb, alpha

    def enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return np.array(convert(frame, "rgb24", (width, height), "bilinear").to_ndarray())

    return enlarged(rgb), enlarged(alpha)

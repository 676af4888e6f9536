"""Pictures in pictures, with OpenCV: thumbnails for textures, and vertices drawn over an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import project_points, rescale_intrinsics

DOT_COLOR = (0, 200, 255)  # no skin, hair or shirt has it
_DOT = 0.0014  # radius, of the picture's longer side
_SHIFT = 4  # OpenCV takes coordinates in 1/16 of a pixel


def shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB with its longer side cut down to `longest` pixels, if it is longer."""
    import cv2

    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarge(
    image: NDArray[np.uint8], intrinsics: NDArray[Any], longest: int
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """An image whose longer side has at least `longest` pixels, and the intrinsics that belong to it."""
    import cv2

    scale = -(-longest // max(image.shape[:2]))
    if scale <= 1:
        return image, intrinsics
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8), rescale_intrinsics(intrinsics, scale)


def draw_vertices(
    image: NDArray[np.uint8],
    vertices: NDArray[Any],
    normals: NDArray[Any],
    world_2_cam: NDArray[Any],
    intrinsics: NDArray[Any],
) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB image with a dot on each of the (V, 3) world `vertices` that faces the camera.

    `normals` (V, 3) point outwards; what turns its back is left out, as it would only clutter.
    """
    import cv2

    center = -world_2_cam[:3, :3].T @ world_2_cam[:3, 3]
    faces_camera = ((center - vertices) * normals).sum(-1) > 0
    pixels = project_points(vertices[faces_camera], world_2_cam, intrinsics).pixels
    height, width = image.shape[:2]
    # NaN is behind the camera, and what lies far outside would not fit into OpenCV's integers.
    inside = ((pixels > -1) & (pixels < [width, height])).all(-1)
    drawn: NDArray[np.uint8] = image.copy()
    radius = max(1.0, _DOT * max(height, width))
    for x, y in (pixels[inside] * (1 << _SHIFT)).round().astype(int).tolist():
        cv2.circle(drawn, (x, y), round(radius * (1 << _SHIFT)), DOT_COLOR, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return drawn

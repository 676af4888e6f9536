"""Pictures in pictures, with OpenCV: thumbnails for textures, and meshes drawn over an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import invert_pose, project_points, rescale_intrinsics
from nersemble_cli.core.scenes.display import require

if TYPE_CHECKING:
    import trimesh

Overlay = Literal["points", "wireframe", "shaded"]
OVERLAYS: tuple[Overlay, ...] = ("points", "wireframe", "shaded")

DOT_COLOR = (0, 200, 255)  # no skin, hair or shirt has it
SHADED_COLOR = (236, 224, 212)
_DOT = 0.0014  # radius, of the picture's longer side
_SHIFT = 4  # OpenCV takes coordinates in 1/16 of a pixel
_WHITE = 238  # from here on, a pixel belongs to the background, white but for what coding leaves around edges
_SPECK = 0.0005  # of the picture; what is smaller has no outline
_FAR_OUT = 4  # pictures away from the picture: farther, OpenCV's integers may overflow


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
    opacity: float = 1.0,
) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB image with a dot on each of the (V, 3) world `vertices` that faces the camera.

    `normals` (V, 3) point outwards.
    """
    import cv2

    center = invert_pose(world_2_cam)[:3, 3]
    faces_camera = ((center - vertices) * normals).sum(-1) > 0
    pixels = project_points(vertices[faces_camera], world_2_cam, intrinsics).pixels
    height, width = image.shape[:2]
    # NaN is behind the camera, and what is far outside would not fit into OpenCV's integers.
    inside = ((pixels > -1) & (pixels < [width, height])).all(-1)
    drawn: NDArray[np.uint8] = image.copy()
    radius = max(1.0, _DOT * max(height, width))
    for x, y in (pixels[inside] * (1 << _SHIFT)).round().astype(int).tolist():
        cv2.circle(drawn, (x, y), round(radius * (1 << _SHIFT)), DOT_COLOR, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return _blend(image, drawn, opacity)


def draw_mesh(
    image: NDArray[np.uint8],
    mesh: trimesh.Trimesh,
    world_2_cam: NDArray[Any],
    intrinsics: NDArray[Any],
    style: Literal["wireframe", "shaded"] = "shaded",
    opacity: float = 1.0,
) -> NDArray[np.uint8]:
    """The (H, W, 3) uint8 RGB image with a mesh in world space over it: shaded by a light at the camera, or the
    edges of the triangles that the camera sees.

    Hidden surfaces are removed by painting from back to front, which is right for meshes of small triangles.
    """
    import cv2

    pixels, depth = project_points(np.asarray(mesh.vertices), world_2_cam, intrinsics)
    height, width = image.shape[:2]
    size = np.array([width, height])
    towards = invert_pose(world_2_cam)[:3, 3] - mesh.triangles_center
    cosine = (mesh.face_normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
    with np.errstate(invalid="ignore"):
        drawable = (np.abs(pixels[mesh.faces] - size / 2) < _FAR_OUT * size).all((1, 2))
    seen = np.flatnonzero(drawable & (cosine > 0))
    seen = seen[np.argsort(-depth[mesh.faces[seen]].mean(1))]
    polygons = (pixels[mesh.faces[seen]] * (1 << _SHIFT)).round().astype(np.int32)
    if style == "shaded":
        drawn: NDArray[np.uint8] = image.copy()
        colors = (0.35 + 0.65 * cosine[seen, None]) * np.array(SHADED_COLOR)
        for polygon, color in zip(polygons, colors.tolist(), strict=True):
            cv2.fillConvexPoly(drawn, polygon, color, cv2.LINE_8, _SHIFT)
        return _blend(image, drawn, opacity)
    lines = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        cv2.fillConvexPoly(lines, polygon, 0, cv2.LINE_8, _SHIFT)
        cv2.polylines(lines, [polygon], True, 255, 1, cv2.LINE_AA, _SHIFT)
    return _blend(image, np.full_like(image, DOT_COLOR), opacity * (lines[..., None] / np.float32(255)))


def silhouette(image: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """The outlines, (P, 2) pixels each, of everything that is not white in a (H, W, 3) uint8 RGB image."""
    import cv2

    return _outlines(cv2.medianBlur((image.min(2) < _WHITE).astype(np.uint8), 3))


def mesh_silhouette(pixels: NDArray[Any], faces: NDArray[Any], height: int, width: int) -> list[NDArray[np.int32]]:
    """The outlines, (P, 2) pixels each, of a mesh whose (V, 2) vertices were projected and whose triangles are the
    (F, 3) faces. Triangles that reach behind the camera (NaN) or far out of the picture are left out."""
    import cv2

    size = np.array([width, height])
    with np.errstate(invalid="ignore"):
        drawable = (np.abs(pixels[faces] - size / 2) < _FAR_OUT * size).all((1, 2))
    mask = np.zeros((height, width), np.uint8)
    for triangle in (pixels[faces[drawable]] * (1 << _SHIFT)).round().astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1, cv2.LINE_8, _SHIFT)
    return _outlines(mask)


def convex_outline(pixels: NDArray[Any]) -> list[NDArray[np.int32]]:
    """The outline around (N, 2) projected points of something convex; none if a point is behind the camera."""
    import cv2

    if not np.isfinite(pixels).all() or np.abs(pixels).max() > 1e6:
        return []
    hull = cv2.convexHull(pixels.astype(np.float32))
    return [np.asarray(hull[:, 0].round(), np.int32)]


def _outlines(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    import cv2

    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [contour for contour in found if cv2.contourArea(contour) > _SPECK * mask.size]
    return [np.asarray(cv2.approxPolyDP(contour, 0.7, closed=True)[:, 0], np.int32) for contour in large]


def draw_overlay(
    image: NDArray[np.uint8],
    mesh: trimesh.Trimesh,
    world_2_cam: NDArray[Any],
    intrinsics: NDArray[Any],
    style: Overlay = "points",
    opacity: float = 1.0,
) -> NDArray[np.uint8]:
    """A mesh in world space over the (H, W, 3) uint8 RGB image of a camera."""
    require("cv2")
    if style == "points":
        return draw_vertices(image, mesh.vertices, mesh.vertex_normals, world_2_cam, intrinsics, opacity)
    return draw_mesh(image, mesh, world_2_cam, intrinsics, style, opacity)


def _blend(image: NDArray[np.uint8], drawn: NDArray[np.uint8], opacity: Any) -> NDArray[np.uint8]:
    """`drawn` over `image`; `opacity` from 0 to 1, for all or for each pixel."""
    if np.isscalar(opacity) and opacity == 1:
        return drawn
    mixed = image + (drawn.astype(np.float32) - image) * opacity
    return np.asarray(mixed.round().clip(0, 255), np.uint8)

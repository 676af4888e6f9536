"""Exact distances from a few points to a triangle mesh, with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def lengths(vectors: Array) -> Array:
    """The lengths (…) of vectors (…, 3), several times as fast as `np.linalg.norm`."""
    found: Array = np.sqrt(np.einsum("...x,...x->...", vectors, vectors))
    return found


def surface_distances(points: Array, vertices: Array, faces: NDArray[np.int64]) -> Array:
    """The distance (N,) from each of `points` (N, 3) to the surface of a mesh, (V, 3) and (F, 3) with F ≥ 1.

    Exact. A triangle lies within a ball around its centre; only those whose ball reaches as near as the nearest
    centre are measured.
    """
    # By coordinate, corner and face: numpy is several times as fast along the last axis.
    corners = np.ascontiguousarray(vertices.T).take(faces.T.ravel(), axis=1).reshape(3, 3, -1)
    centers = (corners[:, 0] + corners[:, 1] + corners[:, 2]) / 3
    reach = corners - centers[:, None]
    radii = np.sqrt(np.einsum("xcf,xcf->cf", reach, reach).max(axis=0))
    candidates = []
    for point in points:
        away = centers - point[:, None]
        distance = np.sqrt(np.einsum("xf,xf->f", away, away))
        candidates.append(np.flatnonzero(distance - radii <= distance.min()))
    counts = [len(near) for near in candidates]
    triangles = corners.take(np.concatenate(candidates), axis=2).transpose(2, 1, 0)
    distances = _distances(np.repeat(points, counts, axis=0), triangles)
    return np.minimum.reduceat(distances, np.cumsum([0, *counts[:-1]]))


def _distances(points: Array, triangles: Array) -> Array:
    """The distance (N,) of each point to its triangle (3, 3): to the plane over the inside, else to the edges."""
    sides = triangles[:, [1, 2, 0]] - triangles
    to_point = points[:, None] - triangles
    squares = np.einsum("fix,fix->fi", sides, sides)
    along = np.einsum("fix,fix->fi", to_point, sides)
    along = np.divide(along, squares, out=np.zeros_like(squares), where=squares > 0).clip(0, 1)
    edges = lengths(to_point - along[..., None] * sides).min(axis=1)
    normals = np.cross(sides[:, 0], -sides[:, 2])
    sizes = lengths(normals)
    inside = (np.einsum("fix,fx->fi", np.cross(sides, to_point), normals) >= 0).all(axis=1) & (sizes > 0)
    height = np.abs(np.einsum("fx,fx->f", to_point[:, 0], normals))
    found: Array = np.where(inside, np.divide(height, sizes, out=edges.copy(), where=sizes > 0), edges)
    return found

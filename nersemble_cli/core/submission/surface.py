"""Exact distances from a few points to a triangle mesh, with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def surface_distances(points: Array, triangles: Array) -> Array:
    """The distance (N,) from each of `points` (N, 3) to the nearest of `triangles` (F, 3 corners, 3), F ≥ 1.

    Exact. A triangle lies within a ball around its centre; only those whose ball reaches as near as the nearest
    centre are measured.
    """
    centers = triangles.mean(axis=1)
    radii = np.sqrt(np.square(triangles - centers[:, None]).sum(axis=2).max(axis=1))
    found = np.empty(len(points))
    for i, point in enumerate(points):
        distance = np.linalg.norm(centers - point, axis=1)
        found[i] = _distances(point, triangles[distance - radii <= distance.min()]).min()
    return found


def _distances(point: Array, triangles: Array) -> Array:
    """The distance (F,) from one point (3,) to each triangle: to its plane over its inside, else to its edges."""
    a, sides = triangles[:, 0], np.roll(triangles, -1, axis=1) - triangles
    to_point = point - triangles
    squares = np.square(sides).sum(axis=2)
    along = np.divide((to_point * sides).sum(axis=2), squares, out=np.zeros_like(squares), where=squares > 0)
    nearest = to_point - along.clip(0, 1)[..., None] * sides
    edges = np.sqrt(np.square(nearest).sum(axis=2)).min(axis=1)
    normals = np.cross(sides[:, 0], -sides[:, 2])
    lengths = np.linalg.norm(normals, axis=1)
    inside = (np.einsum("fij,fj->fi", np.cross(sides, to_point), normals) >= 0).all(axis=1) & (lengths > 0)
    height = np.abs(((point - a) * normals).sum(axis=1))
    return np.where(inside, np.divide(height, lengths, out=edges.copy(), where=lengths > 0), edges)

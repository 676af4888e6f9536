"""How alike shapes are, wherever they are, however they are turned, and whatever their unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a shape's size: rounding to float32 or six digits is below it, two reconstructions differ by 1e-3.
SAME_SHAPE = 3e-5
_CANDIDATES = 6  # shapes of which the most usual one starts the alignment
_STEPS = 4


@dataclass(frozen=True, eq=False)
class Shapes:
    """N shapes of K points each, aligned to what is usual.

    `points` (N, K, 3) aligned, `weights` (K,) with a sum of 1: points that move with pose and expression weigh
    less. x → (x - `offsets`[n]) @ `matrices`[n] aligns shape n. `turned` and `reflected` (N,) are the root mean
    square residuals with a rotation and with a reflection, relative to the shape's size; `mirrored` (N,) says
    where the reflection fits clearly better, and it was used.
    """

    points: Array
    weights: Array
    offsets: Array
    matrices: Array
    turned: Array
    reflected: Array
    mirrored: NDArray[np.bool_]


def align(stack: NDArray[np.floating]) -> Shapes:
    """Aligns shapes (N, K, 3) to their median by similarities, weighting points by how steady they are.

    Source: Gower (1975), generalised Procrustes analysis; Umeyama (1991) for the single fit.
    """
    points = stack.astype(np.float64)
    n, k, _ = points.shape
    weights = np.full(k, 1 / k)
    candidates = np.unique(np.linspace(0, n - 1, _CANDIDATES).astype(int))
    fits = [_fit(points, points[i], weights) for i in candidates]
    best = int(np.argmin([np.median(np.minimum(f.turned, f.reflected)) for f in fits]))
    reference = points[candidates[best]]
    for _ in range(_STEPS):
        shapes = _fit(points, reference, weights)
        reference = np.median(shapes.points, axis=0)
        moved = np.median(np.square(shapes.points - reference).sum(axis=2), axis=0)
        weights = 1 / (moved + np.median(moved) + 1e-12)
        weights /= weights.sum()
    return _fit(points, reference, weights)


def _fit(points: Array, reference: Array, weights: Array) -> Shapes:
    offsets = np.einsum("k,nkx->nx", weights, points)
    centered = points - offsets[:, None]
    variance = np.maximum(np.einsum("k,nkx,nkx->n", weights, centered, centered), 1e-30)
    target = reference - weights @ reference
    target = target / max(float(np.sqrt(weights @ np.square(target).sum(axis=1))), 1e-15)
    covariance = centered.transpose(0, 2, 1) @ (weights[:, None] * target) / np.sqrt(variance)[:, None, None]
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    plain = singular[:, 0] + singular[:, 1]
    turned = np.sqrt(np.clip(1 - (plain + sign * singular[:, 2]) ** 2, 0, None))
    reflected = np.sqrt(np.clip(1 - (plain - sign * singular[:, 2]) ** 2, 0, None))
    mirrored = reflected < 0.5 * turned
    sign = np.where(mirrored, -sign, sign)
    scale = (plain + sign * singular[:, 2]) / np.sqrt(variance)
    u = u * np.stack([np.ones_like(sign), np.ones_like(sign), sign], axis=1)[:, None]
    matrices = scale[:, None, None] * (u @ vt)
    return Shapes(centered @ matrices, weights, offsets, matrices, turned, reflected, mirrored)


def place(shapes: Shapes, n: int, points: Array) -> Array:
    """Other points (…, 3) of shape `n`, aligned as it is."""
    placed: Array = (points - shapes.offsets[n]) @ shapes.matrices[n]
    return placed


def shape_distances(shapes: Shapes) -> Array:
    """The weighted root mean square distances (N, N) between aligned shapes, of a size of about 1."""
    weighted = shapes.points * np.sqrt(shapes.weights)[:, None]
    flat = weighted.reshape(len(weighted), -1)
    flat = flat - flat.mean(axis=0)
    squares = np.square(flat).sum(axis=1)
    found: Array = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0))
    return found

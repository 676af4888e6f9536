"""Rotations as other programs write them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def matrix_to_quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) unit quaternion w, x, y, z with w ≥ 0, of a (3, 3) rotation.

    The eigenvector of the largest eigenvalue of a symmetric matrix: Bar-Itzhack, "New method for extracting the
    quaternion from a rotation matrix", 2000. Of a rotation that was rounded, it finds the nearest one.
    """
    m = rotation
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], 0, 0, 0],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], 0, 0],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    quaternion: NDArray[np.float64] = np.linalg.eigh(k)[1][:, -1]  # eigh reads the lower triangle
    return quaternion if quaternion[0] >= 0 else -quaternion


def matrix_to_axis_angle(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) axis times angle in radians, 0 to π, of a (3, 3) rotation."""
    w, *vector = matrix_to_quaternion(rotation)
    sine = float(np.linalg.norm(vector))
    if sine < 1e-12:
        return np.zeros(3)
    axis_angle: NDArray[np.float64] = np.array(vector) * (2 * np.arctan2(sine, w) / sine)
    return axis_angle

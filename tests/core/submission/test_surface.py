"""Distances to surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trimesh.triangles import closest_point

from nersemble_cli.core.submission.surface import surface_distances


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_distance_is_to_the_closest_point_of_all_triangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, points = rng.normal(size=(40, 3)), 3 * rng.normal(size=(7, 3))
    faces = rng.permuted(np.tile(np.arange(40), (60, 1)), axis=1)[:, :3]
    nearest = [closest_point(vertices[faces], np.tile(point, (60, 1))) - point for point in points]
    expected = np.linalg.norm(nearest, axis=2).min(axis=1)
    assert surface_distances(points, vertices, faces) == pytest.approx(expected, abs=1e-12)


def test_triangle_without_area_is_its_edge() -> None:
    line = np.array([[0.0, 0, 0], [2, 0, 0], [1, 0, 0]])
    points = np.array([[0.5, 1, 0], [4, 0, 0]])
    assert surface_distances(points, line, np.array([[0, 1, 2], [1, 1, 1]])) == pytest.approx([1, 2])


def test_inside_of_a_large_triangle_is_on_the_surface() -> None:
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = np.array([[0.3, 0.3, 0], [0.3, 0.3, 0.25], [-2, 0, 0]])
    assert surface_distances(points, triangle, np.array([[0, 1, 2]])) == pytest.approx([0, 0.25, 2])

"""Checks of meshes and landmarks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.submission.mesh_checks import check_landmarks, count_coincident
from tests import made_up


@given(hnp.arrays(np.float64, (40, 3), elements=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])))
@settings(max_examples=30, deadline=None)
def test_coincident_vertices_are_counted_as_trimesh_merges_them(vertices: np.ndarray) -> None:
    # Neighbours along one direction are compared, so exact equals are always beside each other.
    assert count_coincident(vertices) == 40 - len(np.unique(vertices, axis=0))


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_landmark_order_is_judged_in_any_space(seed: int, scale: float) -> None:
    moved = scale * made_up.now_landmarks() @ rotation(seed).T + seed
    assert check_landmarks("x", moved, None) == []
    mirrored = moved * [-1, 1, 1]
    assert [f.code for f in check_landmarks("x", mirrored, None)] == ["landmarks_mirrored"]

"""Checks of meshes and landmarks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.benchmarks import SVFR
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.members import FileMember
from nersemble_cli.core.submission.mesh_checks import (
    check_geometry,
    check_landmarks,
    check_mesh,
    count_coincident,
)
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


@pytest.mark.parametrize("direction", [[1, 0, 0], [1, 2, -3]])
def test_landmarks_on_one_line_are_no_face(direction: list[float]) -> None:
    steps = np.array([-4, -2, 2, 4, 5, 6, 7.0])[:, None]
    noise = 1e-9 * np.random.default_rng(0).normal(size=(7, 3))
    (finding,) = check_landmarks("x", steps * direction + noise + 3, None)
    assert (finding.code, finding.message) == ("landmarks_mirrored", "Eyes and mouth lie on one line.")


def test_seven_points_around_one_eye_are_not_the_landmarks() -> None:
    # Points 36 to 42 of 68: the right eye, and the inner corner of the left one.
    eye = np.array([[-45, 0, 0], [-37, 4, 2], [-28, 4, 2], [-20, 0, 1], [-28, -4, 2], [-37, -4, 2], [20, 0, 1.0]])
    (finding,) = check_landmarks("x", eye, None)
    assert (finding.code, finding.severity, "not the points of NoW" in finding.message) == (
        "landmarks_mirrored",
        "error",
        True,
    )


def test_open_mouth_and_smile_are_a_face() -> None:
    landmarks = made_up.now_landmarks()
    for change in ([0, -0.04, -0.02], [0, 0.02, 0]):
        moved = landmarks.copy()
        moved[5:] += change
        assert check_landmarks("x", moved, None) == []
    landmarks[5:, 0] *= 1.8
    assert check_landmarks("x", landmarks, None) == []


def test_landmarks_inside_large_triangles_are_on_the_mesh() -> None:
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    square = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    assert check_landmarks("x", 5 * made_up.now_landmarks() * [1, 1, 0.1], square) == []
    codes = [f.code for f in check_landmarks("x", 1 + made_up.now_landmarks(), square)]
    assert codes == ["landmarks_off_mesh"]


def test_mesh_that_is_one_point_is_an_error() -> None:
    (finding,) = check_geometry("x", Mesh(np.ones((9, 3)), np.array([[0, 1, 2]])), has_landmarks=True)
    assert (finding.code, finding.severity) == ("incomplete_mesh", "error")


# Counted from 1, as iBUG 300-W numbers its points: the corners of the eyes, below the nose, the corners of the mouth.
IBUG = [37, 40, 43, 46, 34, 49, 55]


def among(n: int, numbers: list[int]) -> np.ndarray:
    points = np.full((n, 3), np.nan)
    points[np.array(numbers) - 1] = made_up.now_landmarks()
    return points


@pytest.mark.parametrize(
    "landmarks",
    [
        among(68, IBUG),
        among(51, [number - 17 for number in IBUG]),
        made_up.now_landmarks().T,
        made_up.now_landmarks()[None],
    ],
    ids=["68", "51", "transposed", "batch"],
)
def test_the_line_that_gives_the_seven_landmarks_is_right(landmarks: np.ndarray, tmp_path: Path) -> None:
    mesh, beside = tmp_path / "mesh.ply", tmp_path / "landmarks.npy"
    mesh.write_bytes(made_up.ply(2000))
    np.save(beside, landmarks)
    report = check_mesh(SVFR.slots[0], FileMember("mesh.ply", mesh), FileMember("landmarks.npy", beside))
    (finding,) = report.findings
    assert finding.code == "wrong_landmarks"
    expression = re.fullmatch(r"np\.save\(path, (landmarks.*)\.astype\('float32'\)\)", finding.hint)
    assert expression and expression[1] in finding.message
    seven = eval(expression[1], {"landmarks": landmarks})
    assert np.array_equal(seven, made_up.now_landmarks())

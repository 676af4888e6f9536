from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.score.svfr import Mesh, Similarity, against, align, closest, fit, load_landmarks, spread
from nersemble_cli.core.synthetic.head import make_flame_model

pytest.importorskip("igl")


@pytest.fixture(scope="module")
def head() -> Mesh:
    model = make_flame_model()
    return Mesh(model.v_template, model.faces)


def move(scale: float = 1.0) -> Similarity:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Similarity(scale, turn, np.array([0.1, -0.2, 0.3]))


def points_on(mesh: Mesh, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Points on the surface and its normals there."""
    rng = np.random.default_rng(0)
    corners = mesh.vertices[mesh.faces[rng.choice(len(mesh.faces), n)]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    points = (rng.dirichlet([1, 1, 1], n)[..., None] * corners).sum(axis=1)
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_a_transform_is_found_again(scale: float) -> None:
    points = np.random.default_rng(0).normal(size=(7, 3))
    found = fit(points, move(scale).apply(points), with_scale=True)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.rotation, move().rotation, atol=1e-12)
    mirrored = fit(points, points * [-1, 1, 1], with_scale=False)
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_distances_are_to_the_surface_not_to_vertices() -> None:
    mesh = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    distance, faces, found = closest(np.array([[0.25, 0.25, 0.5], [2.0, 0, 0]]), mesh)
    np.testing.assert_allclose(distance, [0.5, 1])
    np.testing.assert_allclose(found, [[0.25, 0.25, 0], [1, 0, 0]])
    assert faces.tolist() == [0, 0]


def test_meshes_that_differ_by_a_motion_coincide(head: Mesh) -> None:
    moved = Mesh(move().apply(head.vertices), head.faces)
    found = spread({"a": head, "b": moved})
    assert found.num_meshes == 2
    assert found.rigid_mm == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_a_wrong_size_shows_rigidly_and_not_with_scale(head: Mesh) -> None:
    found = spread({"a": head, "b": Mesh(move(1.05).apply(head.vertices), head.faces)})
    assert found.rigid_mm is not None
    assert found.similarity_mm is not None
    assert found.rigid_mm > 1
    assert found.similarity_mm < 0.01
    assert found.as_json()["lower_bound_mm"] == found.rigid_mm / 2


def test_one_mesh_has_no_spread(head: Mesh) -> None:
    assert spread({"a": head}).as_json()["rigid_mm"] is None


@pytest.mark.slow
def test_a_known_offset_is_measured(head: Mesh) -> None:
    points, normals = points_on(head)
    marks = head.vertices[:: len(head.vertices) // 7][:7]
    mesh = Mesh(move().apply(head.vertices), head.faces)
    near = against(mesh, move().apply(marks), points, marks, False, normals)
    assert near.l2_mm < 0.01
    assert near.normals == pytest.approx(1, abs=1e-2)
    assert near.recall["1"] == 1
    noisy = points + 0.003 * normals * np.random.default_rng(1).choice([-1, 1], len(points))[:, None]
    off = against(head, marks, noisy, marks, False)
    assert off.l2_mm == pytest.approx(3, abs=0.6)
    assert off.l1_mm > off.l2_mm
    assert off.recall["10"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("with_scale", [False, True])
def test_inexact_landmarks_and_stray_points_do_not_turn_a_mesh(head: Mesh, with_scale: bool) -> None:
    rng = np.random.default_rng(2)
    truth = move(1.03 if with_scale else 1.0)
    stray = rng.uniform(-0.1, 0.1, (200, 3))
    points = truth.apply(np.vstack([points_on(head, 8000)[0], stray]))
    marks = head.vertices[:: len(head.vertices) // 7][:7]
    start = fit(marks, truth.apply(marks) + rng.normal(scale=0.003, size=(7, 3)), with_scale)

    def error(found: Similarity) -> float:
        return float(np.linalg.norm(found.apply(head.vertices) - truth.apply(head.vertices), axis=1).mean())

    found = align(head, points, start, with_scale)
    assert error(start) > 0.001
    assert error(found) < 0.00005
    assert found.scale == pytest.approx(truth.scale, abs=0.001)


def test_a_plane_is_not_slid_along_itself() -> None:
    rng = np.random.default_rng(3)
    plane = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.column_stack([rng.uniform(0.2, 0.8, (500, 2)), np.full(500, 0.1)])
    found = align(plane, points, Similarity(1.0, np.eye(3), np.zeros(3)), True)
    np.testing.assert_allclose(found.apply(plane.vertices), plane.vertices + np.array([0, 0, 0.1]), atol=1e-9)


def test_landmarks_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"a": np.zeros((7, 3)).tolist()}))
    assert load_landmarks(path)["a"].shape == (7, 3)
    for text in ("[", "[]", '{"a": [[1, 2, 3]]}', '{"a": "x"}'):
        path.write_text(text)
        with pytest.raises(InvalidInputError):
            load_landmarks(path)

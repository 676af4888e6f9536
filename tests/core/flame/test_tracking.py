"""The FLAME tracking files and the head's rigid motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.flame.tracking import TRACKING_SHAPES, euler_xyz_to_matrix, load_flame_tracking
from nersemble_cli.core.synthetic.benchmark import make_tracking

angles = st.lists(st.floats(-7, 7), min_size=3, max_size=3)


def _arrays(n: int = 4) -> dict[str, Any]:
    tracking = make_tracking(393, "FREE", n)
    return {name: getattr(tracking, name) for name in TRACKING_SHAPES}


def _save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "flame2023_tracking_v2.npz"
    np.savez(path, **arrays)
    return path


@given(angles)
def test_euler_angles_are_intrinsic_xyz(angles: list[float]) -> None:
    assert np.allclose(euler_xyz_to_matrix(angles), Rotation.from_euler("XYZ", angles).as_matrix())


def test_euler_angles_are_not_an_axis_and_an_angle() -> None:
    angles = np.array([0.4, -0.5, 0.6])
    assert not np.allclose(euler_xyz_to_matrix(angles), Rotation.from_rotvec(angles).as_matrix(), atol=0.05)


def test_the_model_is_scaled_and_turned_about_the_origin_and_then_moved() -> None:
    arrays = _arrays()
    arrays["scale"] = np.full((1, 1), 1.7)
    tracking = type(make_tracking(393, "FREE", 1))(**arrays)
    point = np.array([0.1, 0.2, 0.3])
    for t, pose in enumerate(tracking.model_to_world()):
        moved = 1.7 * arrays["rotation_matrices"][t] @ point + arrays["translation"][t]
        assert np.allclose(pose @ [*point, 1], [*moved, 1])


def test_a_tracking_file_is_read_as_it_is(tmp_path: Path) -> None:
    arrays = _arrays()
    tracking = load_flame_tracking(_save(tmp_path, **arrays))
    assert tracking.n_timesteps == 4
    for name, array in arrays.items():
        assert np.array_equal(getattr(tracking, name), array)


@pytest.mark.parametrize("name", TRACKING_SHAPES)
def test_a_missing_array_is_named(tmp_path: Path, name: str) -> None:
    arrays = _arrays()
    del arrays[name]
    with pytest.raises(InvalidInputError, match=f"has no array {name};"):
        load_flame_tracking(_save(tmp_path, **arrays))


def test_a_pickled_array_is_not_unpickled(tmp_path: Path) -> None:
    arrays = _arrays() | {"jaw": np.array([{"a": 1}], dtype=object)}
    with pytest.raises(InvalidInputError, match="pickled objects in its array jaw"):
        load_flame_tracking(_save(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("eyes", np.zeros((4, 3)), r"eyes is float64 \(4, 3\), expected numbers \(4, 6\)"),
        ("jaw", np.zeros((5, 3)), r"jaw is float64 \(5, 3\), expected numbers \(4, 3\)"),
        ("scale", np.float64(1), r"scale is float64 \(\)"),
        ("neck", np.full((4, 3), np.nan), "neck has values that are not finite"),
        ("shape", np.full((1, 300), "x"), "shape is <U1"),
    ],
)
def test_an_array_of_the_wrong_kind_is_refused(tmp_path: Path, name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_flame_tracking(_save(tmp_path, **{**_arrays(), name: value}))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 but no more", b"<html></html>"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tracking.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="not a FLAME tracking"):
        load_flame_tracking(path)


def test_an_npy_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tracking.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidInputError, match="not a FLAME tracking"):
        load_flame_tracking(path)


def test_version_1_is_noticed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Submissions must use version 2"):
        tracking = load_flame_tracking(_save(tmp_path, **_arrays()), version=1)
    assert tracking.version == 1

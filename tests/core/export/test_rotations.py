from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nersemble_cli.core.export.rotations import matrix_to_axis_angle, matrix_to_quaternion

angles = st.tuples(*[st.floats(-3.2, 3.2)] * 3)


@given(angles)
def test_a_quaternion_turns_as_its_matrix_does(euler: tuple[float, float, float]) -> None:
    matrix = Rotation.from_euler("XYZ", euler).as_matrix()
    w, *xyz = matrix_to_quaternion(matrix)
    assert w >= 0
    assert np.allclose(Rotation.from_quat([*xyz, w]).as_matrix(), matrix, atol=1e-12)


@given(angles)
def test_an_axis_angle_turns_as_its_matrix_does(euler: tuple[float, float, float]) -> None:
    matrix = Rotation.from_euler("XYZ", euler).as_matrix()
    assert np.allclose(Rotation.from_rotvec(matrix_to_axis_angle(matrix)).as_matrix(), matrix, atol=1e-7)


@pytest.mark.parametrize("axis_angle", [(0, 0, 0), (np.pi, 0, 0), (0, -np.pi, 0), (1e-9, 0, 0)])
def test_turns_of_nothing_and_of_half_a_circle(axis_angle: tuple[float, float, float]) -> None:
    matrix = Rotation.from_rotvec(axis_angle).as_matrix()
    assert np.allclose(Rotation.from_rotvec(matrix_to_axis_angle(matrix)).as_matrix(), matrix, atol=1e-9)

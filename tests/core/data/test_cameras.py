"""Calibration files and the geometry that people get wrong every week."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nersemble_cli.core.data.calibration import load_calibration
from nersemble_cli.core.data.cameras import (
    Projection,
    crop_intrinsics,
    invert_pose,
    is_rigid,
    project_points,
    rescale_intrinsics,
    swap_opencv_opengl,
    unproject_pixels,
    visible_points,
)
from nersemble_cli.core.errors import InvalidInputError, UsageError

Array = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def pose_of(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
    pose[:3, 3] = rng.normal(size=3)
    return pose


def intrinsics_of(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    fx, fy = rng.uniform(500, 5000, 2)
    cx, cy = rng.uniform(100, 1500, 2)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def points_before(pose: Array, seed: int, n: int = 20) -> Array:
    """World points in front of a camera."""
    rng = np.random.default_rng(seed)
    in_camera = np.column_stack([rng.uniform(-1, 1, (n, 2)), rng.uniform(0.5, 3, n)])
    return (in_camera - pose[:3, 3]) @ pose[:3, :3]


@given(seeds)
def test_inverting_a_pose_twice_gives_it_back(seed: int) -> None:
    pose = pose_of(seed)
    assert np.allclose(invert_pose(invert_pose(pose)), pose)


@given(seeds)
def test_the_inverse_of_a_pose_is_the_matrix_inverse(seed: int) -> None:
    pose = pose_of(seed)
    assert np.allclose(invert_pose(pose), np.linalg.inv(pose))


def test_batches_of_poses_are_inverted_one_by_one() -> None:
    poses = np.stack([pose_of(i) for i in range(6)]).reshape(2, 3, 4, 4)
    assert np.allclose(invert_pose(poses) @ poses, np.eye(4))


@given(seeds, st.booleans())
def test_opengl_axes_and_back_is_where_it_began(seed: int, is_cam_2_world: bool) -> None:
    pose = pose_of(seed)
    there = swap_opencv_opengl(pose, is_cam_2_world=is_cam_2_world)
    assert is_rigid(there)
    assert np.allclose(swap_opencv_opengl(there, is_cam_2_world=is_cam_2_world), pose)


@given(seeds)
def test_both_ways_of_a_pose_get_the_same_opengl_axes(seed: int) -> None:
    pose = pose_of(seed)
    opengl = swap_opencv_opengl(pose, is_cam_2_world=False)
    assert np.allclose(invert_pose(opengl), swap_opencv_opengl(invert_pose(pose), is_cam_2_world=True))


def test_opengl_cameras_look_along_minus_z_with_y_up() -> None:
    world_2_cam = swap_opencv_opengl(np.eye(4), is_cam_2_world=False)
    assert np.allclose(world_2_cam @ [1, 2, 3, 1], [1, -2, -3, 1])


@given(seeds)
def test_a_camera_does_not_move_when_its_axes_change(seed: int) -> None:
    cam_2_world = pose_of(seed)
    assert np.allclose(swap_opencv_opengl(cam_2_world, is_cam_2_world=True)[:3, 3], cam_2_world[:3, 3])


@given(seeds, st.floats(0.1, 10))
def test_a_point_on_the_optical_axis_lands_on_the_principal_point(seed: int, distance: float) -> None:
    pose, k = pose_of(seed), intrinsics_of(seed)
    on_axis = invert_pose(pose) @ [0, 0, distance, 1]
    pixels, depth = project_points(on_axis[:3], pose, k)
    assert np.allclose(pixels, k[:2, 2], atol=1e-6)
    assert depth == pytest.approx(distance)


@given(seeds)
def test_projected_points_are_unprojected_to_where_they_were(seed: int) -> None:
    pose, k = pose_of(seed), intrinsics_of(seed)
    points = points_before(pose, seed)
    assert np.allclose(unproject_pixels(*project_points(points, pose, k), pose, k), points)


@given(seeds, st.floats(0.1, 4), st.floats(0.1, 4), st.sampled_from([0.0, 0.5]))
def test_rescaled_intrinsics_hit_the_same_place_of_the_resized_image(
    seed: int, scale_x: float, scale_y: float, center: float
) -> None:
    pose, k = pose_of(seed), intrinsics_of(seed)
    points = points_before(pose, seed)
    before = project_points(points, pose, k).pixels
    after = project_points(points, pose, rescale_intrinsics(k, scale_x, scale_y, center)).pixels
    # Measured from the image's corner, which is half a pixel before the first pixel's centre.
    assert np.allclose(after + 0.5 - center, (before + 0.5 - center) * [scale_x, scale_y], atol=1e-6)


def test_the_corner_convention_multiplies_the_principal_point() -> None:
    k = np.array([[1000, 0, 300], [0, 900, 200], [0, 0, 1.0]])
    assert np.allclose(rescale_intrinsics(k, 0.5, pixel_center=0.5), [[500, 0, 150], [0, 450, 100], [0, 0, 1]])


@given(seeds, st.floats(0.2, 5))
def test_rescaling_back_gives_the_intrinsics_back(seed: int, scale: float) -> None:
    k = intrinsics_of(seed)
    assert np.allclose(rescale_intrinsics(rescale_intrinsics(k, scale), 1 / scale), k)


@given(seeds)
def test_a_crop_moves_pixels_by_what_was_cut_off(seed: int) -> None:
    pose, k = pose_of(seed), intrinsics_of(seed)
    points = points_before(pose, seed)
    moved = project_points(points, pose, crop_intrinsics(k, 30, 12)).pixels
    assert np.allclose(moved, project_points(points, pose, k).pixels - [30, 12])


def test_conversions_leave_their_input_and_its_type_alone() -> None:
    k = intrinsics_of(0).astype(np.float32)
    before = k.copy()
    assert rescale_intrinsics(k, 2).dtype == crop_intrinsics(k, 1, 1).dtype == np.float32
    assert np.array_equal(k, before)


def test_points_behind_the_camera_have_no_pixel() -> None:
    pixels, depth = project_points(np.array([[0, 0, -1.0], [0, 0, 0], [0, 0, 1]]), np.eye(4), intrinsics_of(1))
    assert np.isnan(pixels[:2]).all()
    assert not np.isnan(pixels[2]).any()
    assert depth.tolist() == [-1, 0, 1]


def test_a_point_behind_another_is_not_visible() -> None:
    projection = Projection(np.array([[10, 10], [10.5, 10], [50, 50]]), np.array([1.0, 1.5, 1.5]))
    assert visible_points(projection, 100, 100).tolist() == [True, False, True]


def test_points_outside_of_the_image_are_not_visible() -> None:
    pixels = np.array([[-1.0, 5], [-0.4, 5], [99.4, 5], [99.6, 5], [5, 200], [np.nan, np.nan]])
    visible = visible_points(Projection(pixels, np.ones(6)), 100, 100)
    assert visible.tolist() == [False, True, True, False, False, False]


def test_of_a_sphere_half_is_visible() -> None:
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(100_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    pose = np.eye(4)
    pose[2, 3] = 20
    k = np.array([[2000, 0, 150], [0, 2000, 150], [0, 0, 1.0]])
    visible = visible_points(project_points(sphere, pose, k), 300, 300, tolerance=0.1)
    assert not visible[sphere[:, 2] > 0.2].any()
    assert visible[sphere[:, 2] < -0.5].all()


# Calibration files

RIGID = pose_of(3).tolist()
K = intrinsics_of(3).tolist()


def _write(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "camera_params.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def _changed(matrix: list[list[float]], row: int, column: int, value: Any) -> list[list[Any]]:
    changed: list[list[Any]] = [list(r) for r in matrix]
    changed[row][column] = value
    return changed


def test_a_calibration_is_read_as_float32(tmp_path: Path) -> None:
    path = _write(tmp_path, {"world_2_cam": {"7": RIGID}, "intrinsics": {"7": K}})
    calibration = load_calibration(path)
    assert calibration.serials == ["7"]
    assert calibration.world_2_cam["7"].dtype == calibration.intrinsics["7"].dtype == np.float32
    assert np.allclose(calibration.world_2_cam["7"], RIGID, atol=1e-6)
    assert np.allclose(calibration.cam_2_world("7") @ calibration.world_2_cam["7"], np.eye(4), atol=1e-5)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a JSON array, expected a JSON object"),
        ({"world_2_cam": {}}, "is not a calibration"),
        ({"world_2_cam": {"7": RIGID}, "intrinsics": {}}, "camera 7 is in only one"),
        ({"world_2_cam": {"7": RIGID[:3]}, "intrinsics": {"7": K}}, r"shape \(3, 4\)"),
        ({"world_2_cam": {"7": "x"}, "intrinsics": {"7": K}}, "not a matrix"),
        (
            {"world_2_cam": {"7": _changed(RIGID, 0, 3, float("nan"))}, "intrinsics": {"7": K}},
            "has 1 values that are not finite",
        ),
        ({"world_2_cam": {"7": (2 * np.array(RIGID)).tolist()}, "intrinsics": {"7": K}}, "not a rigid transform"),
        ({"world_2_cam": {"7": np.diag([1, 1, -1, 1]).tolist()}, "intrinsics": {"7": K}}, "determinant -1"),
        ({"world_2_cam": {"7": RIGID}, "intrinsics": {"7": _changed(K, 0, 0, -5)}}, "positive focal lengths"),
    ],
)
def test_a_wrong_calibration_is_refused_with_the_reason(tmp_path: Path, document: Any, message: str) -> None:
    path = _write(tmp_path, document)
    with pytest.raises(InvalidInputError, match=message) as error:
        load_calibration(path)
    assert "nersemble inspect --verify" in str(error.value)


def test_an_unknown_camera_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    path = _write(tmp_path, {"world_2_cam": {"7": RIGID, "9": RIGID}, "intrinsics": {"7": K, "9": K}})
    calibration = load_calibration(path)
    with pytest.raises(UsageError, match=r"Unknown camera in the calibration '8'\.\nValid: 7, 9"):
        calibration.world_2_cam["8"]


@pytest.mark.parametrize("value", [10**400, 1e39, "1e999"])
def test_numbers_that_no_float32_holds_are_refused(tmp_path: Path, value: Any) -> None:
    document = {"world_2_cam": {"7": _changed(RIGID, 0, 3, value)}, "intrinsics": {"7": K}}
    with pytest.raises(InvalidInputError, match="world_2_cam of camera 7"):
        load_calibration(_write(tmp_path, document))


def test_a_calibration_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, {"world_2_cam": {"7": RIGID}, "intrinsics": {"7": K}})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_calibration(path).serials == ["7"]

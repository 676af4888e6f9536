"""Poses and intrinsics with the methods of dreifus. Where dreifus is installed, its results are the reference."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import rescale_intrinsics, swap_opencv_opengl
from nersemble_cli.core.data.poses import CameraCoordinateConvention, Intrinsics, Pose, PoseType
from nersemble_cli.core.errors import UsageError
from tests.core.data.test_cameras import intrinsics_of, pose_of, seeds

W2C, C2W, C2C = PoseType.WORLD_2_CAM, PoseType.CAM_2_WORLD, PoseType.CAM_2_CAM
OPEN_CV, OPEN_GL = CameraCoordinateConvention.OPEN_CV, CameraCoordinateConvention.OPEN_GL
conventions = st.sampled_from(CameraCoordinateConvention)
sides = st.sampled_from([W2C, C2W])


def plain(array: Any) -> NDArray[Any]:
    """The array, if it is a plain one."""
    assert type(array) is np.ndarray
    return array


def close(a: Any, b: Any) -> bool:
    return np.allclose(np.asarray(a), np.asarray(b), atol=1e-5)


@pytest.fixture
def pose() -> Pose:
    return Pose(pose_of(1))


@pytest.fixture
def k() -> Intrinsics:
    return Intrinsics([[1000, 0, 250], [0, 1100, 260], [0, 0, 1]])


def test_a_pose_says_what_it_is(pose: Pose) -> None:
    assert (pose.shape, pose.dtype) == ((4, 4), np.float32)
    assert (pose.pose_type, pose.camera_coordinate_convention) == (W2C, OPEN_CV)
    assert "WORLD_2_CAM, OPEN_CV" in repr(pose)
    assert np.array_equal(pose.numpy(), pose_of(1).astype(np.float32))


def test_a_pose_of_a_rotation_and_a_translation() -> None:
    matrix = pose_of(2)
    assert np.array_equal(Pose(matrix[:3, :3], matrix[:3, 3]), Pose(matrix))
    assert np.array_equal(Pose(), np.eye(4))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.eye(3),), "cannot be made of \\(3, 3\\)"),
        ((np.eye(4), [1, 2, 3]), "cannot be made of \\(4, 4\\)"),
        ((np.diag([2, 2, 2, 1]),), "determinant is 8"),
        ((np.diag([1, 1, -1, 1]),), "determinant is -1"),
        ((np.eye(4), None, "OPENGL"), "Unknown CameraCoordinateConvention 'OPENGL'"),
        ((np.eye(4), None, OPEN_GL, "CAM2WORLD"), "Unknown PoseType 'CAM2WORLD'"),
    ],
)
def test_what_is_not_a_pose_is_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Pose(*arguments)


def test_a_scaled_pose_can_be_inverted() -> None:
    matrix = np.diag([2, 2, 2, 1.0])
    matrix[:3, 3] = 1, 2, 3
    pose = Pose(matrix, disable_rotation_check=True)
    assert close(pose.invert() @ matrix, np.eye(4))


@given(seeds, sides)
def test_inverting_turns_the_type(seed: int, side: PoseType) -> None:
    pose = Pose(pose_of(seed), pose_type=side)
    inverse = pose.invert()
    assert close(inverse @ pose, np.eye(4))
    assert {pose.pose_type, inverse.pose_type} == {W2C, C2W}
    assert pose.invert(inplace=True) is pose
    assert np.array_equal(pose, inverse) and pose.pose_type == inverse.pose_type


@given(seeds, sides, sides)
def test_changing_the_type_keeps_the_camera(seed: int, old: PoseType, new: PoseType) -> None:
    pose = Pose(pose_of(seed), pose_type=old)
    changed = pose.change_pose_type(new, inplace=False)
    assert changed is not pose and changed.pose_type == new and pose.pose_type == old
    assert close(changed, pose if old == new else np.linalg.inv(pose_of(seed)))
    assert pose.change_pose_type(new.name) is pose and np.array_equal(pose, changed)


@given(seeds, sides, conventions, conventions)
def test_conventions_change_and_come_back(
    seed: int, side: PoseType, one: CameraCoordinateConvention, other: CameraCoordinateConvention
) -> None:
    pose = Pose(pose_of(seed), camera_coordinate_convention=one, pose_type=side)
    changed = pose.change_camera_coordinate_convention(other, inplace=False)
    assert changed.camera_coordinate_convention == other and pose.camera_coordinate_convention == one
    assert close(changed.get_look_direction(), pose.get_look_direction())
    assert close(changed.get_up_direction(), pose.get_up_direction())
    assert changed.change_camera_coordinate_convention(one) is changed
    assert np.array_equal(changed, pose)


@given(seeds, st.booleans())
def test_opengl_is_that_of_swap_opencv_opengl(seed: int, is_cam_2_world: bool) -> None:
    pose = Pose(pose_of(seed), pose_type=C2W if is_cam_2_world else W2C)
    expected = swap_opencv_opengl(pose.numpy(), is_cam_2_world=is_cam_2_world)
    assert np.array_equal(pose.change_camera_coordinate_convention(OPEN_GL), expected)


def test_the_look_and_up_directions_of_a_camera() -> None:
    pose = Pose(np.diag([1, -1, -1, 1]), pose_type=C2W)  # y and z of the camera against those of the world
    assert plain(pose.get_look_direction()).tolist() == [0, 0, -1]
    assert plain(pose.get_up_direction()).tolist() == [0, 1, 0]


def test_neither_type_nor_axes_change_between_two_cameras(pose: Pose) -> None:
    between = pose.calculate_rigid_transformation_to(pose)
    assert between.pose_type == C2C
    with pytest.raises(UsageError, match="cannot change from CAM_2_CAM"):
        between.change_pose_type(W2C)
    with pytest.raises(UsageError, match="axes of two cameras"):
        between.change_camera_coordinate_convention(OPEN_GL)


@given(seeds, seeds, sides, sides)
def test_a_rigid_transformation_moves_a_camera_to_another(a: int, b: int, one: PoseType, two: PoseType) -> None:
    here, there = Pose(pose_of(a), pose_type=one), Pose(pose_of(b), pose_type=two)
    motion = here.calculate_rigid_transformation_to(there)
    moved = motion @ here.change_pose_type(C2W, inplace=False)
    assert np.allclose(moved, there.change_pose_type(C2W, inplace=False), atol=1e-4)


def test_parts_are_plain_and_set_in_place(pose: Pose) -> None:
    rotation, translation = plain(pose.get_rotation_matrix()), plain(pose.get_translation())
    rotation[:] = translation[:] = 0
    assert close(pose, pose_of(1))  # those were copies
    pose.set_translation(1, 2, 3)
    pose.set_translation(y=9)
    assert pose.get_translation().tolist() == [1, 9, 3]
    assert pose.move([1, 1, 1], inplace=False).get_translation().tolist() == [2, 10, 4]
    assert pose.move(z=1) is pose and pose.get_translation().tolist() == [1, 9, 4]
    pose.set_rotation_matrix(np.eye(3))
    assert np.array_equal(pose.get_rotation_matrix(), np.eye(3))


COMPUTED = {
    "product": lambda a: a @ a,
    "product with a vector": lambda a: a @ np.ones(len(a)),
    "points": lambda a: np.ones((5, len(a))) @ a.T,
    "sum": lambda a: a + 1,
    "comparison": lambda a: a == a,
    "part": lambda a: a[:3, :3],
    "row": lambda a: a[0],
    "transposed": lambda a: a.T,
    "double": lambda a: a.astype(np.float64),
    "reshaped": lambda a: a.reshape(1, *a.shape),
    "flat": lambda a: a.ravel(),
    "dot": lambda a: np.dot(a, a),
    "einsum": lambda a: np.einsum("ij,jk->ik", a, a),
    "inverse": np.linalg.inv,
    "stack": lambda a: np.stack([a, a]),
    "zeros": np.zeros_like,
    "rounded": lambda a: np.round(a, 2),
    "absolute": abs,
    "maxima": lambda a: a.max(axis=0),
    "out": lambda a: np.add(a, 1, out=np.empty_like(np.asarray(a))),
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("matrix", [Pose(pose_of(3)), Intrinsics(intrinsics_of(3))], ids=["pose", "intrinsics"])
def test_computing_gives_plain_and_exact_arrays(name: str, matrix: Pose | Intrinsics) -> None:
    result, expected = plain(COMPUTED[name](matrix)), COMPUTED[name](matrix.numpy())
    assert result.dtype == expected.dtype and np.array_equal(result, expected)


def test_scalars_are_scalars(pose: Pose, k: Intrinsics) -> None:
    assert type(pose[0, 0]) is np.float32 and type(k.sum()) is np.float32


def test_computing_in_place_keeps_the_matrix(k: Intrinsics) -> None:
    same = k
    k *= 2
    assert k is same and k.fx == 2000
    k[:2] /= 2
    assert k is same and k.fx == 1000


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda p: p.copy(), lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_are_whole(again: Any, k: Intrinsics) -> None:
    pose = Pose(pose_of(4), camera_coordinate_convention=OPEN_GL, pose_type=C2W)
    same = again(pose)
    assert type(same) is Pose and np.array_equal(same, pose)
    assert (same.pose_type, same.camera_coordinate_convention) == (C2W, OPEN_GL)
    assert not np.shares_memory(same, pose)
    assert type(again(k)) is Intrinsics and np.array_equal(again(k), k)


def test_torch_takes_them(pose: Pose, k: Intrinsics) -> None:
    torch = pytest.importorskip("torch")
    data = pytest.importorskip("torch.utils.data")
    assert torch.equal(torch.from_numpy(pose), torch.from_numpy(pose.numpy()))
    assert torch.equal(torch.as_tensor(k), torch.tensor(k))
    assert data.default_collate([{"k": k}, {"k": k}])["k"].shape == (2, 3, 3)


def test_intrinsics_by_name(k: Intrinsics) -> None:
    assert (k.fx, k.fy, k.cx, k.cy, k.s) == (1000, 1100, 250, 260, 0)
    assert np.array_equal(Intrinsics(1000, 1100, 250, 260), k)
    assert Intrinsics(1, 2, 3, 4, 5).tolist() == [[1, 5, 3], [0, 2, 4], [0, 0, 1]]
    assert k.get_fovx(2000) == pytest.approx(np.pi / 2)
    assert k.get_fovy(2200) == pytest.approx(np.pi / 2)
    with pytest.raises(UsageError, match="cannot be made of"):
        Intrinsics(np.eye(4))


def test_intrinsics_rescale_and_crop(k: Intrinsics) -> None:
    half = k.rescale(0.5, inplace=False)
    assert type(half) is Intrinsics and half is not k
    assert np.array_equal(half, rescale_intrinsics(k.numpy(), 0.5, pixel_center=0.5))
    assert k.crop(10, 20, inplace=False).tolist() == [[1000, 0, 240], [0, 1100, 240], [0, 0, 1]]
    assert k.rescale(0.5, 0.25) is k and (k.fx, k.fy, k.cx, k.cy) == (500, 275, 125, 65)
    assert k.crop(25) is k and k.cx == 100


def test_intrinsics_as_a_transform(k: Intrinsics) -> None:
    assert close(plain(k.invert()) @ k, np.eye(3))
    assert close(plain(k.homogenize()) @ k.homogenize(invert=True), np.eye(4))
    assert np.array_equal(k.homogenize()[:3, :3], k)


def test_a_calibration_of_plain_arrays_has_poses_too() -> None:
    calibration = CameraCalibration({"7": pose_of(5)}, {"7": intrinsics_of(5)})  # type: ignore[dict-item]
    pose = calibration.world_2_cam["7"]
    assert type(pose) is Pose and type(calibration.intrinsics["7"]) is Intrinsics
    centre = calibration.cam_2_world("7")
    assert centre.pose_type == C2W
    pose.change_pose_type(C2W).change_camera_coordinate_convention(OPEN_GL)  # in place, as users do
    assert close(calibration.cam_2_world("7"), centre)


# Against dreifus


@pytest.fixture(scope="module")
def dreifus() -> Any:
    pytest.importorskip("dreifus")
    import dreifus.camera
    import dreifus.matrix
    import dreifus.render

    return dreifus


def of_dreifus(dreifus: Any, pose: Pose) -> Any:
    # Our enumerations' members are found by the names of theirs, and theirs by the names of ours.
    convention = dreifus.camera.CameraCoordinateConvention[pose.camera_coordinate_convention.name]
    side = dreifus.camera.PoseType[pose.pose_type.name]
    return dreifus.matrix.Pose(pose.numpy(), camera_coordinate_convention=convention, pose_type=side)


def same(ours: Pose, theirs: Any) -> bool:
    return (
        np.allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
        and ours.pose_type == theirs.pose_type
        and theirs.camera_coordinate_convention == ours.camera_coordinate_convention
    )


@pytest.mark.parametrize("convention", CameraCoordinateConvention, ids=lambda c: c.name)
@pytest.mark.parametrize("side", [W2C, C2W], ids=lambda s: s.name)
def test_poses_are_those_of_dreifus(dreifus: Any, convention: CameraCoordinateConvention, side: PoseType) -> None:
    ours = Pose(pose_of(6), camera_coordinate_convention=OPEN_CV, pose_type=side)
    other = Pose(pose_of(7), pose_type=side)
    theirs = of_dreifus(dreifus, ours)
    assert same(ours, theirs) and same(ours.invert(), theirs.invert())
    assert same(
        ours.calculate_rigid_transformation_to(other),
        theirs.calculate_rigid_transformation_to(of_dreifus(dreifus, other)),
    )
    # dreifus takes our members and we take theirs.
    for change in (C2W, dreifus.camera.PoseType.CAM_2_WORLD):
        assert same(ours.change_pose_type(change, inplace=False), theirs.change_pose_type(change, inplace=False))
    ours.change_pose_type(C2W)
    theirs.change_pose_type(dreifus.camera.PoseType.CAM_2_WORLD)
    theirs.change_camera_coordinate_convention(dreifus.camera.CameraCoordinateConvention[convention.name])
    assert same(ours.change_camera_coordinate_convention(convention), theirs)
    assert close(ours.get_look_direction(), theirs.get_look_direction())
    assert close(ours.get_up_direction(), theirs.get_up_direction())
    assert close(ours.get_translation(), theirs.get_translation())
    assert close(ours.get_rotation_matrix(), theirs.get_rotation_matrix())
    assert close(ours.move(1, 2, 3), theirs.move(1, 2, 3))
    for direction in ("forward_direction", "up_direction"):
        ours_axis, theirs_axis = (
            getattr(convention, direction),
            getattr(theirs.camera_coordinate_convention, direction),
        )
        assert ours_axis == theirs_axis and ours_axis.sign() == theirs_axis.sign()


def test_intrinsics_are_those_of_dreifus(dreifus: Any, k: Intrinsics) -> None:
    theirs = dreifus.matrix.Intrinsics(k.numpy())
    assert (k.fx, k.fy, k.cx, k.cy, k.s) == (theirs.fx, theirs.fy, theirs.cx, theirs.cy, theirs.s)
    assert close(k.rescale(0.3, 0.4, inplace=False), theirs.rescale(0.3, 0.4, inplace=False))
    assert close(k.crop(3, 4, inplace=False), theirs.crop(3, 4, inplace=False))
    assert close(k.invert(), theirs.invert())
    assert close(k.homogenize(), theirs.homogenize()) and close(k.homogenize(True), theirs.homogenize(True))
    assert k.get_fovx(512) == pytest.approx(theirs.get_fovx(512))
    assert k.get_fovy(512) == pytest.approx(theirs.get_fovy(512))


def test_dreifus_projects_with_our_cameras(dreifus: Any, k: Intrinsics) -> None:
    from nersemble_cli import project

    points = np.random.default_rng(0).normal(size=(20, 3))
    for side in (W2C, C2W):
        pose = Pose(pose_of(8), camera_coordinate_convention=OPEN_CV, pose_type=side)
        theirs = dreifus.render.project(points, pose, k)
        assert np.allclose(project(points, pose, k), theirs, rtol=1e-4, atol=1e-2)

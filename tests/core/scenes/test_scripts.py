"""What the official toolkit's scripts draw with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.data.poses import CameraCoordinateConvention, Intrinsics, Pose, PoseType
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.scenes.scripts import add_camera_frustum, add_coordinate_axes, draw_onto_image, project
from tests.core.data.test_cameras import intrinsics_of, points_before, pose_of


@pytest.mark.parametrize("side", [PoseType.WORLD_2_CAM, PoseType.CAM_2_WORLD])
@pytest.mark.parametrize("convention", CameraCoordinateConvention)
def test_project_takes_any_pose(side: PoseType, convention: CameraCoordinateConvention) -> None:
    points = points_before(pose_of(1), 1)
    pixels, depth = project_points(points, pose_of(1), intrinsics_of(1))
    pose = Pose(pose_of(1)).change_pose_type(side).change_camera_coordinate_convention(convention)
    projected = project(points, pose, Intrinsics(intrinsics_of(1)))
    assert np.allclose(projected, np.column_stack([pixels, depth]), rtol=1e-4)
    assert pose.pose_type == side and pose.camera_coordinate_convention == convention


def test_points_behind_the_camera_have_a_negative_depth() -> None:
    assert project([[0, 0, -2]], Pose(), Intrinsics(100, 100, 50, 40)).tolist() == [[50, 40, -2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_points_are_drawn_where_they_round_to_and_only_inside(dtype: Any) -> None:
    image = np.zeros((80, 100, 3), dtype)
    points = [[10.4, 20.6], [99.4, 79.4], [99.6, 20], [-0.4, 5], [-0.6, 6], [np.nan, 3]]
    draw_onto_image(image, points, (0, 255, 7))
    assert np.argwhere(image.any(-1)).tolist() == [[5, 0], [21, 10], [79, 99]]
    assert image[5, 0].tolist() == [0, 255, 7]


def test_each_point_can_have_a_colour() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    draw_onto_image(image, [[1, 2, 0.5], [99, 0, 0.5], [3, 4, 0.5]], [[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    assert image[2, 1].tolist() == [1, 1, 1] and image[4, 3].tolist() == [3, 3, 3] and image.sum() == 12


@pytest.mark.slow
def test_axes_need_a_length() -> None:
    with pytest.raises(UsageError, match="above zero"):
        add_coordinate_axes(None, ticks_frequency=0)  # type: ignore[arg-type]


@pytest.fixture
def plotter(drawing: None) -> Any:
    import pyvista as pv

    from nersemble_cli.core.scenes.display import prepare_rendering

    prepare_rendering()
    plotter = pv.Plotter(off_screen=True, window_size=(220, 320))
    yield plotter
    plotter.close()


@pytest.mark.slow
@pytest.mark.parametrize("as_uint8", [True, False])
def test_a_frustum_ends_in_its_image(plotter: Any, synthetic: Path, as_uint8: bool) -> None:
    """From the camera's centre, the picture is its image."""
    data = NVSDataManager(synthetic, 388)
    image = data.load_image("GLASSES", "222200044", 0, as_uint8=as_uint8)
    k = Intrinsics(300, 300, 54.5, 79.5)
    pose = Pose(pose_of(9))
    add_camera_frustum(plotter, pose, k, image=image, color="white")
    centre = pose.change_pose_type(PoseType.CAM_2_WORLD, inplace=False)
    plotter.camera_position = [
        centre.get_translation(), centre.get_translation() + pose.get_look_direction(), pose.get_up_direction(),
    ]  # fmt: skip
    plotter.camera.view_angle = np.degrees(k.get_fovy(160))
    seen = np.asarray(plotter.screenshot(return_img=True))[::2, ::2].astype(int)
    expected = data.load_image("GLASSES", "222200044", 0, as_uint8=True).astype(int)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(seen[inner] - expected[inner]).mean() < 6
    assert expected[inner].std() > 30


@pytest.mark.slow
def test_axes_and_a_labelled_frustum_are_drawn(plotter: Any) -> None:
    add_coordinate_axes(plotter, scale=0.1)
    before = len(plotter.actors)
    add_camera_frustum(
        plotter, Pose(pose_of(9)), Intrinsics(300, 300, 55, 80), color="red", label=7, look_vector_length=0.2
    )
    assert before == 9 and len(plotter.actors) == 12  # an axis is its line, head and name
    picture = np.asarray(plotter.screenshot(return_img=True)).astype(int)
    assert ((picture[..., 0] > 180) & (picture[..., 1:] < 60).all(-1)).any()

"""COLMAP models, read back by pycolmap, and by the rules of the Inria trainer's reader where that is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
import trimesh

from nersemble_cli import NVSDataManager
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.export.colmap import make_export
from nersemble_cli.core.formats.png import read_rgb
from tests.core.export.conftest import Write
from tests.made_up import RECIPE

POINTS = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 3))
TEXT = ("cameras.bin", "images.bin", "points3D.bin")


@pytest.fixture
def nvs(synthetic: Path) -> NVSDataManager:
    return NVSDataManager(synthetic, 388)


def _project(image: Any, points: Any) -> Any:
    in_camera = image.cam_from_world() * points
    return image.camera.img_from_cam(in_camera)


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_pycolmap_projects_points_to_the_same_pixels(
    write: Write, nvs: NVSDataManager, tmp_path: Path, kind: str
) -> None:
    write(make_export)
    model = tmp_path / "out" / "sparse" / "0"
    for name in TEXT:
        (model / (name if kind == "text" else name.replace(".bin", ".txt"))).unlink()
    found = pycolmap.Reconstruction(model)
    assert {image.name for image in found.images.values()} == {"cam_222200042.png", "cam_222200044.png"}
    calibration = nvs.load_camera_calibration()
    for image in found.images.values():
        serial = image.name.removeprefix("cam_").removesuffix(".png")
        pose, intrinsics = calibration.world_2_cam[serial], calibration.intrinsics[serial]
        expected = project_points(POINTS, pose.astype(np.float64), intrinsics.astype(np.float64)).pixels
        assert np.abs(_project(image, POINTS) - expected).max() < 0.01
        assert (image.camera.model.name, image.camera.height, image.camera.width) == ("PINHOLE", 160, 110)


def test_points_are_those_of_the_cloud(write: Write, nvs: NVSDataManager, tmp_path: Path) -> None:
    write(make_export, n_points=500)
    found = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    cloud = nvs.load_pointcloud("GLASSES", 0)
    known = {tuple(point): color for point, color in zip(cloud.points.tolist(), cloud.colors, strict=True)}
    assert len(found.points3D) == 500
    for point in found.points3D.values():
        assert np.allclose(known[tuple(point.xyz.tolist())] * 255, point.color, atol=0.51)
    ply = trimesh.load(tmp_path / "out" / "sparse" / "0" / "points3D.ply")
    assert len(ply.vertices) == 500


def test_images_are_those_of_the_videos(write: Write, nvs: NVSDataManager, tmp_path: Path) -> None:
    write(make_export, timesteps="2")
    image = read_rgb(tmp_path / "out" / "images" / "cam_222200044.png")
    assert np.array_equal(image, nvs.load_image("GLASSES", "222200044", 2, as_uint8=True))


def test_a_scaled_export_projects_to_scaled_pixels(write: Write, nvs: NVSDataManager, tmp_path: Path) -> None:
    write(make_export, scale=0.5)
    found = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    calibration = nvs.load_camera_calibration()
    for image in found.images.values():
        serial = image.name.removeprefix("cam_").removesuffix(".png")
        full = project_points(POINTS, calibration.world_2_cam[serial], calibration.intrinsics[serial]).pixels
        assert (image.camera.width, image.camera.height) == (55, 80)
        assert np.abs(_project(image, POINTS) - ((full + 0.5) / 2 - 0.5)).max() < 0.01


def test_centered_images_have_a_central_principal_point(write: Write, nvs: NVSDataManager, tmp_path: Path) -> None:
    write(make_export, center=True)
    found = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    calibration = nvs.load_camera_calibration()
    for image in found.images.values():
        serial = image.name.removeprefix("cam_").removesuffix(".png")
        camera = image.camera
        fx, fy, _, _ = camera.params
        x, y, z = (image.cam_from_world() * POINTS).T
        as_inria = np.stack([fx * x / z + camera.width / 2, fy * y / z + camera.height / 2], axis=1)
        pixels = read_rgb(tmp_path / "out" / "images" / image.name)
        original = nvs.load_image("GLASSES", serial, 0, as_uint8=True)
        left, top = _place_of(original, pixels)
        expected = project_points(POINTS, calibration.world_2_cam[serial], calibration.intrinsics[serial]).pixels
        assert np.abs(as_inria - (expected + np.array([left, top]))).max() <= 0.5
        assert pixels.shape != original.shape


def _place_of(small: Any, large: Any) -> tuple[int, int]:
    """Where an image lies in a padded one."""
    height, width = small.shape[:2]
    for top in range(large.shape[0] - height + 1):
        for left in range(large.shape[1] - width + 1):
            if np.array_equal(large[top : top + height, left : left + width], small):
                return left, top
    raise AssertionError("the image is not inside the other")


def test_held_out_cameras_are_a_model_of_their_own(write: Write, tmp_path: Path) -> None:
    done = write(make_export, hold_out=("222200044",))
    train = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    held_out = pycolmap.Reconstruction(tmp_path / "out" / "held_out" / "sparse" / "0")
    assert [image.name for image in train.images.values()] == ["cam_222200042.png"]
    assert [image.name for image in held_out.images.values()] == ["cam_222200044.png"]
    assert (tmp_path / "out" / "held_out" / "images" / "cam_222200044.png").is_file()
    assert not (tmp_path / "out" / "images" / "cam_222200044.png").exists()
    assert done.held_out == ("222200044",)


def test_each_timestep_is_a_model(write: Write, nvs: NVSDataManager, tmp_path: Path) -> None:
    done = write(make_export, timesteps="0-4:2", image_format="jpg")
    folders = sorted(path.name for path in (tmp_path / "out").glob("colmap_*"))
    assert folders == ["colmap_0", "colmap_2", "colmap_4"]
    for folder in folders:
        found = pycolmap.Reconstruction(tmp_path / "out" / folder / "sparse" / "0")
        for image in found.images.values():
            assert (tmp_path / "out" / folder / "images" / image.name).is_file()
    assert any("2 of 3 timesteps have no point cloud here" in note for note in done.notes)


def test_without_points_the_model_is_whole(write: Write, tmp_path: Path) -> None:
    write(make_export, n_points=0)
    found = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    assert (len(found.images), len(found.points3D)) == (2, 0)


def test_every_made_up_frame_can_be_exported(write: Write) -> None:
    assert write(make_export, timesteps="all", dry_run=True).num_images == 2 * RECIPE.n_frames

"""nerfstudio's transforms.json and D-NeRF's, read back by the rules of their parsers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from nersemble_cli import NVSDataManager
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.errors import MissingFileError
from nersemble_cli.core.export.nerfstudio import make_export
from tests.core.export.conftest import Write

POINTS = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 3))


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def _project(pose: Any, fx: float, fy: float, cx: float, cy: float) -> Any:
    """Pixels by OpenGL's axes: x right, y up, looking along -z; rows count from the top."""
    pose = np.array(pose)
    x, y, z = ((POINTS - pose[:3, 3]) @ pose[:3, :3]).T
    return np.stack([cx + fx * x / -z, cy - fy * y / -z], axis=1)


def test_frames_project_points_to_the_same_pixels(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, timesteps="0,5")
    calibration = NVSDataManager(synthetic, 388).load_camera_calibration()
    document = _read(tmp_path / "out" / "transforms.json")
    assert len(document["frames"]) == 4
    assert not {"fl_x", "cx", "w"} & document.keys()  # at the top, they would rule for all cameras
    for frame in document["frames"]:
        world_2_cam, k = (
            t[frame["camera"]].astype(float) for t in (calibration.world_2_cam, calibration.intrinsics)
        )
        pixels = _project(frame["transform_matrix"], frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"])
        assert np.abs(pixels - project_points(POINTS, world_2_cam, k).pixels).max() < 0.01


def test_files_are_there_and_fit(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, timesteps="0,5")
    nvs = NVSDataManager(synthetic, 388)
    for frame in _read(tmp_path / "out" / "transforms.json")["frames"]:
        place = ("GLASSES", frame["camera"], frame["timestep"])
        with Image.open(tmp_path / "out" / frame["file_path"]) as image:
            assert image.size == (frame["w"], frame["h"]) and image.mode == "RGB"
            assert np.array_equal(np.asarray(image), nvs.load_image(*place, as_uint8=True))
        with Image.open(tmp_path / "out" / frame["mask_path"]) as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), nvs.load_alpha_map(*place)[..., 0])


def test_time_runs_from_0_to_1(write: Write, tmp_path: Path) -> None:
    write(make_export, timesteps="1-5:2")
    frames = _read(tmp_path / "out" / "transforms.json")["frames"]
    assert {frame["timestep"]: frame["time"] for frame in frames} == {1: 0.0, 3: 0.5, 5: 1.0}


def test_splits_are_all_there_and_held_out_cameras_only_in_val_and_test(write: Write, tmp_path: Path) -> None:
    write(make_export, hold_out=("222200042",))
    document = _read(tmp_path / "out" / "transforms.json")
    assert document["train_filenames"] == ["images/cam_222200044/00000.png"]
    assert document["val_filenames"] == document["test_filenames"] == ["images/cam_222200042/00000.png"]
    for split, serial in (("train", "222200044"), ("val", "222200042"), ("test", "222200042")):
        frames = _read(tmp_path / "out" / f"transforms_{split}.json")["frames"]
        assert [frame["file_path"] for frame in frames] == [f"./images/cam_{serial}/00000"]


def test_no_split_is_empty_without_hold_outs(write: Write, tmp_path: Path) -> None:
    done = write(make_export)
    document = _read(tmp_path / "out" / "transforms.json")
    assert [len(document[f"{split}_filenames"]) for split in ("train", "val", "test")] == [2, 1, 1]
    assert any("No camera is held out" in loss for loss in done.losses)


def test_the_axes_stay_and_points_lie_in_the_same_world(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, n_points=400)
    document = _read(tmp_path / "out" / "transforms.json")
    assert document["orientation_override"] == "none"
    points = trimesh.load(tmp_path / "out" / document["ply_file_path"]).vertices
    cloud = NVSDataManager(synthetic, 388).load_pointcloud("GLASSES", 0).points
    assert len(points) == 400
    assert {tuple(p) for p in points.astype(np.float32).tolist()} <= {tuple(p) for p in cloud.tolist()}


def test_dnerf_readers_are_as_far_off_as_the_readme_says(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, center=True)
    calibration = NVSDataManager(synthetic, 388).load_camera_calibration()
    document = _read(tmp_path / "out" / "transforms_train.json")
    frames = _read(tmp_path / "out" / "transforms.json")["frames"]
    for frame, known in zip(document["frames"], frames, strict=True):
        with Image.open(tmp_path / "out" / f"{frame['file_path']}.png") as image:
            width, height = image.size
        focal = 0.5 * width / np.tan(document["camera_angle_x"] / 2)
        pixels = _project(frame["transform_matrix"], focal, focal, width / 2, height / 2)
        exact = _project(known["transform_matrix"], known["fl_x"], known["fl_y"], known["cx"], known["cy"])
        mean = np.mean([calibration.intrinsics[frame["camera"]][0, 0] for frame in frames])
        tolerance = 0.5 + abs(known["fl_x"] / mean - 1) * width / 2
        assert np.abs(pixels - exact).max() < tolerance


def test_jpegs_have_no_dnerf_files_which_would_look_for_png(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, image_format="jpg", masks=False)
    document = _read(tmp_path / "out" / "transforms.json")
    assert not list((tmp_path / "out").glob("transforms_*.json"))
    assert "mask_path" not in document["frames"][0]
    with Image.open(tmp_path / "out" / document["frames"][0]["file_path"]) as image:
        decoded = np.asarray(image.convert("RGB")).astype(float)
    original = NVSDataManager(synthetic, 388).load_image("GLASSES", "222200042", 0, as_uint8=True)
    assert np.square(decoded - original).mean() < 255**2 / 10 ** (38 / 10)


def test_missing_alpha_maps_are_noticed_before_anything_is_written(
    write: Write, synthetic: Path, tmp_path: Path
) -> None:
    path = Path(NVSDataManager(synthetic, 388).get_alpha_maps_path("GLASSES", "222200044"))
    path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(MissingFileError, match="--no-masks"):
            write(make_export)
        assert not (tmp_path / "out").exists()
        write(make_export, masks=False)
    finally:
        path.with_suffix(".away").rename(path)

"""GaussianAvatars' layout, read back by its reader's rules, and its FLAME parameters by smplx."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image
from smplx.lbs import lbs

from nersemble_cli import FlameProvider, MonoFlameAvatarDataManager
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.export import gaussian_avatars
from nersemble_cli.core.export.run import Export
from nersemble_cli.core.export.selection import Selection
from nersemble_cli.core.flame.model import FlameModel, load_flame_model
from tests.core.export.conftest import Write
from tests.made_up import RECIPE

T = RECIPE.n_frames
TRAIN = "EXP-1-head"


@pytest.fixture(scope="module")
def model(flame_model: Path) -> FlameModel:
    return load_flame_model(flame_model)


@pytest.fixture
def mono(synthetic: Path) -> MonoFlameAvatarDataManager:
    return MonoFlameAvatarDataManager(synthetic, 393)


@pytest.fixture
def out(write: Write, model: FlameModel, tmp_path: Path) -> Path:
    write(_exporter(model), "393", everything=True, center=True)
    return tmp_path / "out"


def _exporter(model: FlameModel) -> Any:
    def make(selection: Selection) -> Export:
        return gaussian_avatars.make_export(selection, model)

    return make


def _frames(path: Path) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["frames"]
    return frames


def _vertices(path: Path, model: FlameModel) -> Any:
    """(5023, 3) in the exported world, as GaussianAvatars computes them: FLAME turns about its root joint."""
    with np.load(path) as arrays:
        p = {name: torch.tensor(arrays[name], dtype=torch.float64) for name in arrays}
    assert p["shape"].shape == (300,)  # GaussianAvatars gives it the batch dimension itself
    betas = torch.cat([p["shape"][None], p["expr"]], 1)
    pose = torch.cat([p["rotation"], p["neck_pose"], p["jaw_pose"], p["eyes_pose"]], 1)
    vertices, _ = lbs(
        betas, pose,
        torch.tensor(model.v_template)[None], torch.tensor(model.shapedirs),
        torch.tensor(model.posedirs.reshape(-1, model.posedirs.shape[2]).T),
        torch.tensor(model.joint_regressor), torch.tensor(model.parents), torch.tensor(model.weights),
    )  # fmt: skip
    assert p["static_offset"].shape == (1, 5023, 3) and not p["static_offset"].any()
    return (vertices + p["translation"])[0].numpy()


def _as_the_reader_projects(frame: dict[str, Any], points: Any) -> Any:
    """Pixels by fields of view alone, the principal point in the centre."""
    pose = np.array(frame["transform_matrix"])
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    fx = frame["w"] / 2 / np.tan(frame["camera_angle_x"] / 2)
    fy = frame["h"] / 2 / np.tan(frame["camera_angle_y"] / 2)
    return np.stack([frame["w"] / 2 + fx * x / -z, frame["h"] / 2 - fy * y / -z], axis=1)


@pytest.mark.slow
def test_vertices_are_those_of_the_tracking(
    out: Path, mono: MonoFlameAvatarDataManager, model: FlameModel
) -> None:
    settings = json.loads((out / "export.json").read_text("utf-8"))["settings"]
    scale, center = settings["world_scale"][TRAIN], np.array(settings["world_center"])
    provider = FlameProvider(mono.load_flame_tracking(TRAIN), model)
    for frame in _frames(out / "transforms_train.json"):
        mine = scale * (_vertices(out / frame["flame_param_path"], model) + center)
        assert np.abs(mine - provider.get_vertices(frame["timestep_index_original"])).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.3])
def test_a_scaled_head_looks_the_same(
    write: Write, mono: MonoFlameAvatarDataManager, model: FlameModel, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, scale: float,
) -> None:  # fmt: skip
    load = MonoFlameAvatarDataManager.load_flame_tracking

    def larger(self: MonoFlameAvatarDataManager, sequence: str) -> Any:
        return replace(load(self, sequence), scale=np.full((1, 1), scale))

    monkeypatch.setattr(MonoFlameAvatarDataManager, "load_flame_tracking", larger)
    write(_exporter(model), "393", everything=True, center=True)
    provider = FlameProvider(mono.load_flame_tracking(TRAIN), model)
    _check_pixels(tmp_path / "out", mono, model, provider)


@pytest.mark.slow
def test_the_head_is_seen_at_the_same_pixels(
    out: Path, mono: MonoFlameAvatarDataManager, model: FlameModel
) -> None:
    _check_pixels(out, mono, model, FlameProvider(mono.load_flame_tracking(TRAIN), model))


def _check_pixels(out: Path, mono: MonoFlameAvatarDataManager, model: FlameModel, provider: FlameProvider) -> None:
    calibration = mono.load_camera_calibration()
    boxes = json.loads((out / "crop.json").read_text("utf-8"))["cameras"]
    for frame in _frames(out / "transforms_train.json"):
        serial = frame["camera_id"]
        pixels = _as_the_reader_projects(frame, _vertices(out / frame["flame_param_path"], model))
        world = provider.get_vertices(frame["timestep_index_original"]).astype(np.float64)
        w2c, k = calibration.world_2_cam[serial], calibration.intrinsics[serial]
        expected = project_points(world, w2c.astype(np.float64), k.astype(np.float64)).pixels
        box = boxes[serial]
        assert np.abs(pixels - (expected + [box["left"], box["top"]])).max() < 0.51  # noqa: RUF005


def test_cut_back_the_images_are_the_videos(out: Path, mono: MonoFlameAvatarDataManager) -> None:
    boxes = json.loads((out / "crop.json").read_text("utf-8"))["cameras"]
    for frame in _frames(out / "transforms_train.json"):
        box = boxes[frame["camera_id"]]
        place = (TRAIN, frame["camera_id"], frame["timestep_index_original"])
        rows = slice(box["top"], box["top"] + box["height"])
        columns = slice(box["left"], box["left"] + box["width"])
        with Image.open(out / frame["file_path"]) as image:
            assert image.size == (frame["w"], frame["h"]) == (box["padded_width"], box["padded_height"])
            pixels = np.asarray(image)
        assert np.array_equal(pixels[rows, columns], mono.load_image(*place, as_uint8=True))
        assert (np.delete(np.delete(pixels, np.r_[rows], 0), np.r_[columns], 1) == 255).all()
        with Image.open(out / frame["fg_mask_path"]) as mask:
            assert np.array_equal(np.asarray(mask)[rows, columns], mono.load_alpha_map(*place)[..., 0])


def test_the_reader_finds_what_it_needs(out: Path) -> None:
    frames = _frames(out / "transforms_train.json")
    assert [frame["timestep_index"] for frame in frames] == list(range(T))  # 0 must be there
    assert all({"camera_index", "camera_id", "w", "h"} <= frame.keys() for frame in frames)
    assert _frames(out / "transforms_val.json") == _frames(out / "transforms_test.json") == []
    with np.load(out / "canonical_flame_param.npz") as arrays:
        assert arrays["jaw_pose"].tolist() == [[np.float32(0.3), 0, 0]]
        assert not any(
            arrays[name].any() for name in ("rotation", "translation", "expr", "neck_pose", "eyes_pose")
        )
        assert arrays["shape"].any()


@pytest.mark.slow
def test_held_out_sequences_are_the_test_split(
    write: Write, model: FlameModel, tmp_path: Path, synthetic: Path
) -> None:
    mono = MonoFlameAvatarDataManager(synthetic, 393)
    extra = "EXP-2-eyes"
    copied: list[Path] = []
    for get in (mono.get_images_path, mono.get_alpha_maps_path):
        source, target = Path(get(TRAIN, "222200037")), Path(get(extra, "222200037"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(source)
        copied.append(target)
    tracking = Path(mono.get_flame_tracking_path(extra))
    tracking.parent.mkdir(parents=True, exist_ok=True)
    tracking.hardlink_to(mono.get_flame_tracking_path(TRAIN))
    copied.append(tracking)
    try:
        write(_exporter(model), "393", everything=True, center=True, hold_out=(extra,))
    finally:
        for path in copied:
            path.unlink()
        shutil.rmtree(tracking.parents[1])
    train, test = (_frames(tmp_path / "out" / f"transforms_{split}.json") for split in ("train", "test"))
    assert [frame["timestep_index"] for frame in train] == list(range(T))
    assert [frame["timestep_index"] for frame in test] == list(range(T, 2 * T))
    assert {frame["timestep_id"].rpartition("_")[0] for frame in test} == {extra}


@pytest.mark.slow
def test_a_submission_can_be_rendered(out: Path, mono: MonoFlameAvatarDataManager, model: FlameModel) -> None:
    target = out / "submission" / "FREE_cam_220700191"
    frames = _frames(target / "transforms_train.json")
    assert len(frames) == T and len(list((out / "submission").iterdir())) == 16
    provider = FlameProvider(mono.load_flame_tracking("FREE"), model)
    calibration = mono.load_camera_calibration()
    box = json.loads((out / "crop.json").read_text("utf-8"))["cameras"]["220700191"]
    frame = frames[2]
    pixels = _as_the_reader_projects(frame, _vertices(target / frame["flame_param_path"], model))
    w2c, k = calibration.world_2_cam["220700191"], calibration.intrinsics["220700191"]
    expected = project_points(provider.get_vertices(2).astype(np.float64), w2c.astype(np.float64), k).pixels
    assert np.abs(pixels - (expected + [box["left"], box["top"]])).max() < 0.51  # noqa: RUF005
    with Image.open(target / frame["file_path"]) as white:
        assert white.size == (frame["w"], frame["h"])
        assert np.asarray(white).min() == 255


def test_nvs_has_no_tracking(write: Write, model: FlameModel) -> None:
    with pytest.raises(UsageError, match="no FLAME tracking"):
        write(_exporter(model), "388", center=True)

"""The loops of the official toolkit's README with our imports: moving over is a change of import lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT


def test_shared_data_managers(synthetic: Path) -> None:
    from nersemble_cli import BENCHMARK_NVS_IDS_AND_SEQUENCES, BENCHMARK_NVS_TRAIN_SERIALS, NVSDataManager

    benchmark_folder = str(synthetic)
    participant_id, sequence_name = BENCHMARK_NVS_IDS_AND_SEQUENCES[0]
    serial = BENCHMARK_NVS_TRAIN_SERIALS[0]
    timestep = 0

    data_manager = NVSDataManager(benchmark_folder, participant_id)
    image = data_manager.load_image(sequence_name, serial, timestep)
    alpha = data_manager.load_alpha_map(sequence_name, serial, timestep)
    camera_params = data_manager.load_camera_calibration()
    world_2_cam_pose = camera_params.world_2_cam[serial]
    intrinsics = camera_params.intrinsics[serial]
    assert image.shape[:2] == alpha.shape[:2]
    assert world_2_cam_pose.shape == (4, 4) and intrinsics.shape == (3, 3)


def test_nvs_assets(synthetic: Path) -> None:
    from nersemble_cli import BENCHMARK_NVS_HOLD_OUT_SERIALS, BENCHMARK_NVS_IDS_AND_SEQUENCES, NVSDataManager

    participant_id, sequence_name = BENCHMARK_NVS_IDS_AND_SEQUENCES[0]
    nvs_data_manager = NVSDataManager(str(synthetic), participant_id)
    points, colors, normals = nvs_data_manager.load_pointcloud(sequence_name, 0)
    assert points.shape == colors.shape == normals.shape

    camera_params = nvs_data_manager.load_camera_calibration()
    for serial in BENCHMARK_NVS_HOLD_OUT_SERIALS:
        assert camera_params.world_2_cam[serial].shape == (4, 4)
        assert camera_params.intrinsics[serial].shape == (3, 3)


@pytest.mark.slow
def test_mono_assets(synthetic: Path, flame_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nersemble_cli import (
        BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS,
        BENCHMARK_MONO_FLAME_AVATAR_IDS,
        BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST,
        BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL,
        FlameProvider,
        MonoFlameAvatarDataManager,
    )

    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    for participant_id in BENCHMARK_MONO_FLAME_AVATAR_IDS[:1]:
        data_manager = MonoFlameAvatarDataManager(str(synthetic), participant_id)
        camera_params = data_manager.load_camera_calibration()
        for sequence_name in BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST:
            flame_tracking = data_manager.load_flame_tracking(sequence_name)
            flame_provider = FlameProvider(flame_tracking)
            mesh = flame_provider.get_mesh(0)
            assert len(mesh.vertices) == 5023
            cameras = [*BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS, BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL]
            for serial in cameras:
                assert camera_params.world_2_cam[serial].shape == (4, 4)


def test_the_tracked_mesh_is_aligned_with_the_images(synthetic: Path, flame_model: Path) -> None:
    from nersemble_cli import FlameProvider, MonoFlameAvatarDataManager
    from nersemble_cli.core.data.cameras import project_points

    serial, sequence = "222200037", "EXP-1-head"
    data_manager = MonoFlameAvatarDataManager(synthetic, 393)
    provider = FlameProvider(data_manager.load_flame_tracking(sequence), flame_model)
    calibration = data_manager.load_camera_calibration()
    for timestep in data_manager.list_timesteps(sequence):
        pixels, _ = project_points(
            provider.get_vertices(timestep), calibration.world_2_cam[serial], calibration.intrinsics[serial]
        )
        alpha = data_manager.load_alpha_map(sequence, serial, timestep)[..., 0] > 127
        rows, columns = np.nonzero(alpha)
        assert np.abs(pixels.min(0) - [columns.min(), rows.min()]).max() < 2
        assert np.abs(pixels.max(0) - [columns.max(), rows.max()]).max() < 2


def test_svfr_images(synthetic: Path) -> None:
    from nersemble_cli import BENCHMARK_SVFR_IDS, SVFRDataManager

    for participant_id in BENCHMARK_SVFR_IDS[:1]:
        svfr_data_manager = SVFRDataManager(str(synthetic), participant_id)
        image_keys = svfr_data_manager.list_image_keys()
        assert len(image_keys) == 2
        for image_key in image_keys:
            assert svfr_data_manager.load_image(image_key).shape[2] == 3


def test_training_loop(synthetic: Path) -> None:
    pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from nersemble_cli import GroupedBatchSampler, NVSDataset

    dataset = NVSDataset(synthetic, 388, "GLASSES")
    loader = DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, batch_size=4))
    for batch in loader:
        assert batch["image"].shape[1:] == (3, 160, 110) and batch["world_2_cam"].shape[1:] == (4, 4)


HEAVY = ("cv2", "torch", "trimesh", "pypcd4", "pyvista", "scipy", "requests", "typer")


def _modules_after(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after running some code."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return set(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not _modules_after("import nersemble_cli").intersection(("numpy", "av", *HEAVY))


def test_the_data_managers_need_neither_opencv_nor_torch() -> None:
    loaded = _modules_after("from nersemble_cli import NVSDataManager, CameraCalibration, FlameTracking, ImageKey")
    assert not loaded.intersection(HEAVY)


def test_loading_images_needs_neither_opencv_nor_torch(synthetic: Path) -> None:
    code = (
        "from nersemble_cli import NVSDataManager\n"
        f"m = NVSDataManager({str(synthetic)!r}, 388)\n"
        "m.load_images('GLASSES', 0, apply_alpha_map=True); m.load_pointcloud('GLASSES', 0)"
    )
    assert not _modules_after(code).intersection({"cv2", "torch", "trimesh", "pyvista", "scipy"})

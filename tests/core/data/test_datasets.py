"""The torch datasets: what they yield, in worker processes too."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from nersemble_cli import MonoFlameAvatarDataManager, NVSDataManager, SVFRDataManager
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.data.datasets import MonoDataset, NVSDataset, SVFRDataset
from nersemble_cli.core.errors import MissingFileError, UsageError
from tests.made_up import RECIPE

pytestmark = pytest.mark.slow

N = RECIPE.n_frames
METHODS = multiprocessing.get_all_start_methods()


@pytest.fixture
def dataset(synthetic: Path) -> NVSDataset:
    return NVSDataset(synthetic, 388, "GLASSES")


def test_every_camera_and_timestep_is_there_once(dataset: NVSDataset) -> None:
    places = [dataset.place(i) for i in range(len(dataset))]
    assert places == [(serial, t) for serial in ("222200042", "222200044") for t in range(N)]


def test_a_sample_is_what_the_data_manager_loads(dataset: NVSDataset, synthetic: Path) -> None:
    nvs = NVSDataManager(synthetic, 388)
    sample = dataset[N + 2]
    assert sample["serial"] == "222200044" and sample["timestep"].item() == 2
    image = nvs.load_image("GLASSES", "222200044", 2).transpose(2, 0, 1)
    assert sample["image"].dtype == torch.float32 and np.array_equal(sample["image"], image)
    alpha = nvs.load_alpha_map("GLASSES", "222200044", 2).transpose(2, 0, 1)
    assert np.allclose(sample["alpha"], alpha / np.float32(255))
    calibration = nvs.load_camera_calibration()
    assert np.array_equal(sample["world_2_cam"], calibration.world_2_cam["222200044"])
    assert np.array_equal(sample["intrinsics"], calibration.intrinsics["222200044"])


def test_cameras_and_timesteps_may_be_chosen(synthetic: Path) -> None:
    dataset = NVSDataset(synthetic, 388, "GLASSES", ["222200044"], timesteps=[1, 3], apply_alpha_map=True)
    assert [dataset.place(i) for i in range(len(dataset))] == [("222200044", 1), ("222200044", 3)]
    assert dataset[1]["image"].shape == (3, 160, 110)


def test_an_index_beyond_the_end_ends_a_loop(dataset: NVSDataset) -> None:
    with pytest.raises(IndexError):
        dataset[2 * N]


def test_a_timestep_that_does_not_exist_is_refused(synthetic: Path) -> None:
    with pytest.raises(UsageError, match="Unknown timestep"):
        NVSDataset(synthetic, 388, "GLASSES", timesteps=[N])


@pytest.mark.parametrize(("serials", "kind"), [(["222200037"], UsageError), (["222200040"], MissingFileError)])
def test_a_camera_that_is_not_there_is_refused_at_once(synthetic: Path, serials: list[str], kind: Any) -> None:
    with pytest.raises(kind):
        NVSDataset(synthetic, 388, "GLASSES", serials)


def test_nothing_downloaded_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nersemble download nvs"):
        NVSDataset(tmp_path, 388, "GLASSES")


def _seen(loader: DataLoader[Any]) -> list[tuple[str, int]]:
    return [place for batch in loader for place in zip(batch["serial"], batch["timestep"].tolist(), strict=True)]


def _is_doubled(sample: Any) -> Any:
    return {**sample, "image": 2 * sample["image"]}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process with threads, which this tests
def test_workers_of_any_kind_yield_everything_in_every_epoch(synthetic: Path, method: str) -> None:
    dataset = NVSDataset(synthetic, 388, "GLASSES", transform=_is_doubled, cache="memory")
    expected = dataset[3]["image"]  # a decoder is open when the workers are made
    loader = DataLoader(
        dataset, batch_size=4, shuffle=True, num_workers=2, multiprocessing_context=method, persistent_workers=True
    )  # fmt: skip
    for _ in range(2):
        assert sorted(_seen(loader)) == sorted(dataset.place(i) for i in range(len(dataset)))
    assert torch.equal(dataset[3]["image"], expected)


def test_a_scaled_sample_has_scaled_intrinsics(synthetic: Path, dataset: NVSDataset) -> None:
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (20, 3)).astype(np.float32)
    full, half = dataset[0], NVSDataset(synthetic, 388, "GLASSES", scale=0.5)[0]
    assert half["image"].shape == (3, 80, 55) and half["alpha"].shape == (1, 80, 55)
    projected = [
        project_points(points, s["world_2_cam"].numpy(), s["intrinsics"].numpy()).pixels for s in (full, half)
    ]
    assert np.abs((projected[0] + 0.5) / 2 - 0.5 - projected[1]).max() < 1e-2
    shrunk = torch.nn.functional.avg_pool2d(full["image"], 2)
    assert (half["image"] - shrunk).abs().mean() < 0.01


def test_a_transform_takes_the_place_of_the_sample(synthetic: Path, dataset: NVSDataset) -> None:
    changed = NVSDataset(synthetic, 388, "GLASSES", transform=_is_doubled)
    assert torch.equal(changed[1]["image"], 2 * dataset[1]["image"])


@pytest.mark.parametrize("options", [{"scale": 0}, {"cache": "memory", "cache_format": "gif"}])
def test_impossible_options_are_refused(synthetic: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        NVSDataset(synthetic, 388, "GLASSES", **options)


def test_mono_samples_have_the_parameters_of_their_timestep(synthetic: Path) -> None:
    dataset = MonoDataset(synthetic, 393)
    mono = MonoFlameAvatarDataManager(synthetic, 393)
    assert len(dataset) == N and dataset.view(2) == ("EXP-1-head", "222200037", 2)
    sample, tracking = dataset[2], mono.load_flame_tracking("EXP-1-head")
    image = mono.load_image("EXP-1-head", "222200037", 2).transpose(2, 0, 1)
    assert np.array_equal(sample["image"], image)
    assert sample["sequence"] == "EXP-1-head" and sample["timestep"].item() == 2
    for name in ("expression", "rotation_matrices", "translation", "jaw", "neck", "eyes"):
        assert sample["flame"][name].dtype == torch.float32
        assert np.allclose(sample["flame"][name], getattr(tracking, name)[2])
    assert np.allclose(sample["flame"]["shape"], tracking.shape[0]) and sample["flame"]["scale"].shape == (1,)


def test_a_whole_sequence_is_one_sample(synthetic: Path) -> None:
    frames, whole = MonoDataset(synthetic, 393), MonoDataset(synthetic, 393, per_sequence=True, every_nth_frame=2)
    (sequence,) = [whole[i] for i in range(len(whole))]
    assert sequence["timestep"].tolist() == [0, 2, 4]
    assert sequence["image"].shape == (3, *frames[0]["image"].shape)
    for position, timestep in enumerate((0, 2, 4)):
        single = frames[timestep]
        assert torch.equal(sequence["image"][position], single["image"])
        assert torch.equal(sequence["alpha"][position], single["alpha"])
        assert torch.equal(sequence["flame"]["jaw"][position], single["flame"]["jaw"])
    assert torch.equal(sequence["flame"]["shape"], frames[0]["flame"]["shape"])


def test_mono_batches_collate(synthetic: Path) -> None:
    batch = next(iter(DataLoader(MonoDataset(synthetic, 393), batch_size=4)))
    assert batch["flame"]["expression"].shape == (4, 100)
    assert batch["sequence"] == ["EXP-1-head"] * 4


@pytest.mark.parametrize(("sequence", "kind"), [("FREE", UsageError), ("EXP-2-eyes", MissingFileError)])
def test_a_mono_sequence_that_is_not_there_is_refused(synthetic: Path, sequence: str, kind: Any) -> None:
    with pytest.raises(kind):
        MonoDataset(synthetic, 393, [sequence])


def test_svfr_images_are_those_of_the_data_manager(synthetic: Path) -> None:
    dataset = SVFRDataset(synthetic)
    participant, key = dataset.place(1)
    svfr = SVFRDataManager(synthetic, participant)
    assert [dataset.place(i)[1] for i in range(len(dataset))] == svfr.list_image_keys()
    sample = dataset[1]
    assert np.allclose(sample["image"], svfr.load_image(key).transpose(2, 0, 1) / np.float32(255))
    assert (sample["participant"], sample["sequence"], sample["timestep"], sample["serial"]) == (participant, *key)
    half = SVFRDataset(synthetic, [participant], scale=0.5)[1]["image"]
    assert half.shape == (3, *[side // 2 for side in sample["image"].shape[1:]])


def test_svfr_without_data_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nersemble download svfr"):
        SVFRDataset(tmp_path)


@pytest.mark.parametrize("kind", [NVSDataset, MonoDataset, SVFRDataset])
def test_datasets_can_be_sent_to_other_processes(synthetic: Path, kind: Any) -> None:
    arguments = {NVSDataset: (388, "GLASSES"), MonoDataset: (393,), SVFRDataset: ()}[kind]
    dataset = kind(synthetic, *arguments, transform=_is_doubled)
    dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1]["image"], dataset[1]["image"])

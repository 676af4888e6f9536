"""The torch dataset: what it yields, in worker processes too, and the order that is cheap to decode."""

from __future__ import annotations

import multiprocessing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nersemble_cli import NVSDataManager
from nersemble_cli.core.data.datasets import GroupedBatchSampler, NVSDataset
from nersemble_cli.core.errors import MissingFileError, UsageError
from nersemble_cli.core.video.encode import encode_video
from nersemble_cli.core.video.reader import close_readers
from tests.made_up import RECIPE

pytestmark = pytest.mark.slow

N = RECIPE.n_frames
HAS_FORK = "fork" in multiprocessing.get_all_start_methods()


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


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process with threads, which this tests
def test_shuffled_workers_yield_everything_once(dataset: NVSDataset, method: str) -> None:
    if method == "fork" and not HAS_FORK:
        pytest.skip("no fork here")
    dataset[3]  # a decoder is open when the workers are made
    loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=2, multiprocessing_context=method)
    assert sorted(_seen(loader)) == sorted(dataset.place(i) for i in range(len(dataset)))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    """Two videos of 60 frames with a key frame every 20, and nothing else that the sampler needs."""
    import subprocess

    from nersemble_cli.core.video.encode import find_ffmpeg

    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    plain = folder / "plain.mp4"
    encode_video(frames, plain, 16, 16, Fraction(73))
    nvs = NVSDataManager(folder, 388)
    for serial in ("222200042", "222200044"):
        for target in (nvs.get_images_path("GLASSES", serial), nvs.get_alpha_maps_path("GLASSES", serial)):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            options = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "20", "-sc_threshold", "0"]
            subprocess.run([find_ffmpeg(), "-v", "error", "-i", str(plain), *options, target], check=True)
    calibration = Path(nvs.get_camera_calibration_path())
    calibration.parent.mkdir(parents=True)
    calibration.write_bytes(Path(NVSDataManager(synthetic, 388).get_camera_calibration_path()).read_bytes())
    return folder


@pytest.fixture
def long_dataset(long: Path) -> NVSDataset:
    return NVSDataset(long, 388, "GLASSES")


def test_groups_begin_at_key_frames(long_dataset: NVSDataset) -> None:
    groups = long_dataset.key_frame_groups()
    assert groups == [
        [list(range(start, start + 20)) for start in range(first, first + 60, 20)] for first in (0, 60)
    ]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_hold_every_index_once(long_dataset: NVSDataset, num_workers: int) -> None:
    sampler = GroupedBatchSampler(long_dataset, 8, num_workers)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(120))
    assert max(map(len, batches)) == 8


def test_the_length_is_the_number_of_batches(long_dataset: NVSDataset) -> None:
    sampler = GroupedBatchSampler(long_dataset, 7, 2, run_length=10)
    for _ in range(2):
        expected = len(sampler)
        assert len(list(sampler)) == expected


def test_epochs_differ_and_can_be_repeated(long_dataset: NVSDataset) -> None:
    sampler = GroupedBatchSampler(long_dataset, 8)
    first, second = list(sampler), list(sampler)
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(GroupedBatchSampler(long_dataset, 8, seed=1)) != first


def test_a_batch_has_several_cameras(long_dataset: NVSDataset) -> None:
    batch = next(iter(GroupedBatchSampler(long_dataset, 16)))
    assert {long_dataset.place(i)[0] for i in batch} == {"222200042", "222200044"}


def _decoded(dataset: NVSDataset, order: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many frames come out of the decoders when images are read in an order."""
    from nersemble_cli.core.video.reader import VideoReader

    close_readers()
    count = 0
    decode = VideoReader._decode

    def counting(self: VideoReader) -> Any:
        nonlocal count
        for item in decode(self):
            count += 1
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, "_decode", counting)
        for index in order:
            dataset[index]
    return count


def test_grouped_batches_decode_hardly_more_than_each_frame(
    long_dataset: NVSDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped = [i for batch in GroupedBatchSampler(long_dataset, 8) for i in batch]
    n_frames = 2 * len(long_dataset)  # each with its alpha map
    assert _decoded(long_dataset, grouped, monkeypatch) < 1.2 * n_frames
    shuffled = np.random.default_rng(0).permutation(len(long_dataset)).tolist()
    assert _decoded(long_dataset, shuffled, monkeypatch) > 3 * n_frames


@pytest.mark.parametrize(("batch_size", "num_workers", "run_length"), [(0, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_impossible_sizes_are_refused(
    long_dataset: NVSDataset, batch_size: int, num_workers: int, run_length: int
) -> None:
    with pytest.raises(UsageError):
        GroupedBatchSampler(long_dataset, batch_size, num_workers, run_length)

"""The order that is random and cheap to decode: every index once, shared by ranks, whatever the workers."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from nersemble_cli import GroupedBatchSampler, NVSDataManager, NVSDataset
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.video.encode import encode_video
from nersemble_cli.core.video.reader import close_readers

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
def test_batches_hold_every_index_once(long_dataset: NVSDataset, lanes: int) -> None:
    sampler = GroupedBatchSampler(long_dataset, 8, lanes)
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
    batch = next(iter(GroupedBatchSampler(long_dataset, 16, lanes=1)))
    assert {long_dataset.place(i)[0] for i in batch} == {"222200042", "222200044"}


def _decoded(dataset: NVSDataset, order: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many frames come out of the decoders when images are read in an order."""
    from nersemble_cli.core.video.reader import _Decoder

    close_readers()
    count = 0
    decode = _Decoder._decode

    def counting(self: _Decoder) -> Any:
        nonlocal count
        for item in decode(self):
            count += 1
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(_Decoder, "_decode", counting)
        for index in order:
            dataset[index]
    return count


def test_a_frame_at_a_key_frame_costs_one_decode(
    long_dataset: NVSDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _decoded(long_dataset, [40], monkeypatch) == 2  # the image and its alpha map


@pytest.mark.parametrize("lanes", [1, 2])
def test_grouped_batches_decode_hardly_more_than_each_frame(
    long_dataset: NVSDataset, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    grouped = [i for batch in GroupedBatchSampler(long_dataset, 8, lanes) for i in batch]
    n_frames = 2 * len(long_dataset)  # each with its alpha map
    assert _decoded(long_dataset, grouped, monkeypatch) < 1.2 * n_frames
    shuffled = np.random.default_rng(0).permutation(len(long_dataset)).tolist()
    assert _decoded(long_dataset, shuffled, monkeypatch) > 3 * n_frames


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_lanes_share_few_videos(long_dataset: NVSDataset, lanes: int) -> None:
    batches = list(GroupedBatchSampler(long_dataset, 5, lanes))
    read: dict[int, list[tuple[str, int]]] = {}
    for number, batch in enumerate(batches):
        read.setdefault(number % lanes, []).extend(long_dataset.place(i) for i in batch)
    n_pairs = sum(len({serial for serial, _ in places}) for places in read.values())
    assert n_pairs <= 2 + lanes - 1


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_order_is_the_same_whatever_the_number_of_workers(long_dataset: NVSDataset, num_workers: int) -> None:
    sampler = GroupedBatchSampler(long_dataset, 7)
    loader = DataLoader(
        _Numbers(), batch_sampler=sampler, num_workers=num_workers, multiprocessing_context="spawn" if num_workers else None
    )  # fmt: skip
    assert [batch.tolist() for batch in loader] == list(GroupedBatchSampler(long_dataset, 7))


class _Numbers(Dataset[int]):
    """What a dataset is asked for."""

    def __getitem__(self, index: int) -> int:
        return index


class _Groups:
    """Videos of any length, for the sampler alone."""

    def __init__(self, lengths: list[int], group: int = 10) -> None:
        self.lengths, self.group = lengths, group

    def key_frame_groups(self) -> list[list[list[int]]]:
        videos, first = [], 0
        for n in self.lengths:
            indices = list(range(first, first + n))
            videos.append([indices[i : i + self.group] for i in range(0, n, self.group)])
            first += n
        return videos


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    num_replicas=st.integers(1, 5),
    batch_size=st.integers(1, 9),
    lanes=st.integers(1, 5),
    uneven=st.sampled_from(["pad", "drop"]),
    epoch=st.integers(0, 3),
)
def test_ranks_share_the_work_evenly(
    lengths: list[int], num_replicas: int, batch_size: int, lanes: int, uneven: Any, epoch: int
) -> None:
    n = sum(lengths)
    ranks = []
    for rank in range(num_replicas):
        sampler = GroupedBatchSampler(
            _Groups(lengths), batch_size, lanes, run_length=7, rank=rank, num_replicas=num_replicas, uneven=uneven
        )  # fmt: skip
        sampler.set_epoch(epoch)
        batches = list(sampler)
        sampler.set_epoch(epoch)
        assert len(batches) == len(sampler)
        ranks.append(batches)
    assert len({len(batches) for batches in ranks}) == 1
    read = [index for batches in ranks for batch in batches for index in batch]
    if uneven == "pad":
        assert set(read) == set(range(n)) and n <= len(read) < n + num_replicas
    else:
        assert len(set(read)) == len(read) and n - num_replicas < len(read) <= n


def test_ranks_read_disjoint_runs(long_dataset: NVSDataset) -> None:
    ranks = [list(GroupedBatchSampler(long_dataset, 8, rank=rank, num_replicas=2)) for rank in range(2)]
    first, second = ({index for batch in batches for index in batch} for batches in ranks)
    assert not first & second and len(first | second) == 120


def test_what_is_dropped_changes_with_the_epoch() -> None:
    samplers = [GroupedBatchSampler(_Groups([11]), 4, rank=r, num_replicas=2, uneven="drop") for r in range(2)]
    dropped = []
    for _ in range(20):
        read = {index for sampler in samplers for batch in sampler for index in batch}
        dropped += set(range(11)) - read
    assert len(dropped) == 20 and len(set(dropped)) > 1


def _run_in_group(rank: int, num_replicas: int, folder: str, results: str) -> None:
    """One process of a group that reads an epoch, and says what it read."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{results}/rendezvous", rank=rank, world_size=num_replicas
    )
    dataset = NVSDataset(folder, 388, "GLASSES", scale=0.5)
    sampler = GroupedBatchSampler(dataset, 5)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=0)
    seen = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in loader:
            seen.append((epoch, list(zip(batch["serial"], batch["timestep"].tolist(), strict=True))))
            torch.distributed.barrier()  # hangs unless every rank has as many batches
    Path(results, f"{rank}.pickle").write_bytes(pickle.dumps(seen))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("num_replicas", [2, 4])
def test_a_process_group_reads_everything_once_an_epoch(long: Path, tmp_path: Path, num_replicas: int) -> None:
    torch.multiprocessing.spawn(_run_in_group, (num_replicas, str(long), str(tmp_path)), nprocs=num_replicas)
    ranks = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(num_replicas)]
    assert len({len(seen) for seen in ranks}) == 1
    for epoch in range(2):
        read = [place for seen in ranks for when, batch in seen if when == epoch for place in batch]
        assert len(read) == len(set(read)) == 120
    orders = [[batch for when, batch in ranks[0] if when == epoch] for epoch in range(2)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"lanes": 0}, {"run_length": 0}, {"rank": 0}, {"num_replicas": 2}, {"uneven": "x"},
     {"rank": 2, "num_replicas": 2}, {"rank": -1, "num_replicas": 2}],
)  # fmt: skip
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        GroupedBatchSampler(_Groups([5]), **{"batch_size": 4, **options})

"""The NVS benchmark as a PyTorch dataset, and an order in which to read it at random but fast."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from nersemble_cli.core.benchmarks import NVS, choose
from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.errors import UsageError, missing_extra
from nersemble_cli.core.video.reader import borrow_reader

try:
    import torch
    from torch.utils.data import Dataset, Sampler
except ImportError:
    raise missing_extra("PyTorch", "flame") from None

if TYPE_CHECKING:
    from torch import Tensor


class Sample(TypedDict):
    """One image. In a batch, each has one dimension more in front, and `serial` is a list.

    `image` (3, H, W) float32 RGB 0–1, `alpha` (1, H, W) float32 0–1, `intrinsics` (3, 3) and `world_2_cam` (4, 4)
    float32 as in `CameraCalibration`, `serial` the camera, `timestep` an int64 scalar.
    """

    image: Tensor
    alpha: Tensor
    intrinsics: Tensor
    world_2_cam: Tensor
    serial: str
    timestep: Tensor


class NVSDataset(Dataset[Sample]):
    """All images of an NVS sequence, camera by camera, each with its alpha map and camera.

    `serials` are the wanted cameras (None: all that were downloaded), `timesteps` the wanted ones (None: all).
    It can be sent to worker processes: each opens its own decoders. With `shuffle=True` every image costs the way
    from its key frame, 125 frames on average; `GroupedBatchSampler` shuffles for a fraction of that.
    """

    def __init__(
        self,
        folder: str | Path,
        participant: int,
        sequence: str,
        serials: Iterable[str] | None = None,
        timesteps: Iterable[int] | None = None,
        apply_alpha_map: bool = False,
    ) -> None:
        self.data_manager = NVSDataManager(folder, participant)
        self.sequence = sequence
        downloaded = self.data_manager.list_serials(sequence)
        self.serials = list(downloaded if serials is None else serials)
        for serial in self.serials:
            if serial not in downloaded:
                self.data_manager.load_image(sequence, serial, 0)  # says why it is not there
        if not self.serials:
            self.data_manager.load_image(sequence, NVS.train_serials[0], 0)
        every = self.data_manager.list_timesteps(sequence)
        self.timesteps = list(every if timesteps is None else choose("timestep", timesteps, every))
        self.apply_alpha_map = apply_alpha_map
        calibration = self.data_manager.load_camera_calibration()
        self._world_2_cam = {s: torch.from_numpy(calibration.world_2_cam[s]) for s in self.serials}
        self._intrinsics = {s: torch.from_numpy(calibration.intrinsics[s]) for s in self.serials}

    def __len__(self) -> int:
        return len(self.serials) * len(self.timesteps)

    def place(self, index: int) -> tuple[str, int]:
        """The camera and the timestep of an index."""
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in 0…{len(self) - 1}")
        camera, position = divmod(index, len(self.timesteps))
        return self.serials[camera], self.timesteps[position]

    def __getitem__(self, index: int) -> Sample:
        serial, timestep = self.place(index)
        manager = self.data_manager
        rgb = manager.load_image(
            self.sequence, serial, timestep, as_uint8=True, apply_alpha_map=self.apply_alpha_map
        )
        matte = manager.load_alpha_map(self.sequence, serial, timestep)
        return Sample(
            image=_to_tensor(rgb),
            alpha=_to_tensor(matte),
            intrinsics=self._intrinsics[serial],
            world_2_cam=self._world_2_cam[serial],
            serial=serial,
            timestep=torch.tensor(timestep),
        )

    def key_frame_groups(self) -> list[list[list[int]]]:
        """For each camera its groups of indices; those of a group are decoded one after the other."""
        cameras = []
        for camera, serial in enumerate(self.serials):
            with borrow_reader(Path(self.data_manager.get_images_path(self.sequence, serial))) as reader:
                index = reader.index
            groups: dict[int, list[int]] = {}
            for position, timestep in sorted(enumerate(self.timesteps), key=lambda item: item[1]):
                groups.setdefault(index.key_before(timestep), []).append(camera * len(self.timesteps) + position)
            cameras.append(list(groups.values()))
        return cameras


def _to_tensor(pixels: object) -> Tensor:
    """(H, W, C) uint8 → (C, H, W) float32 0–1."""
    return torch.as_tensor(pixels).permute(2, 0, 1).to(torch.float32).div_(255)


class GroupedBatchSampler(Sampler[list[int]]):
    """Random batches of an `NVSDataset` whose decoding is cheap:

    `DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, 8, num_workers=4), num_workers=4)`

    Each camera's timesteps are cut at key frames and into runs of at most `run_length`; the runs are shuffled,
    read from front to back, and the cameras take turns at random. A run costs the way from its key frame once,
    so long runs are faster and short ones more random. Each worker has runs of its own, as a video that two of
    them read would be decoded twice. Every index comes once an epoch; the order depends on `seed` and the epoch.
    """

    def __init__(
        self, dataset: NVSDataset, batch_size: int, num_workers: int = 0, run_length: int = 64, seed: int = 0
    ) -> None:
        if min(batch_size, run_length) < 1 or num_workers < 0:
            raise UsageError(
                f"batch_size is {batch_size}, run_length {run_length}, num_workers {num_workers}.",
                "The first two are at least 1, the last one at least 0.",
            )
        self._runs = [
            [group[start : start + run_length] for group in groups for start in range(0, len(group), run_length)]
            for groups in dataset.key_frame_groups()
        ]
        self._batch_size, self._n_queues, self._seed = batch_size, max(1, num_workers), seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass, as for a DistributedSampler; passes count on from it."""
        self._epoch = epoch

    def _queues(self, epoch: int) -> list[list[int]]:
        """What each worker reads, in its order."""
        rng = random.Random(f"{self._seed} {epoch}")
        shares: list[list[list[int]]] = [[] for _ in range(self._n_queues)]
        given = 0
        for runs in self._runs:
            own: list[list[int]] = [[] for _ in shares]
            for run in rng.sample(runs, len(runs)):
                own[given % len(own)] += run
                given += 1
            for share, indices in zip(shares, own, strict=True):
                share.append(indices)
        return [_take_turns(share, rng) for share in shares]

    def __len__(self) -> int:
        return sum(math.ceil(len(queue) / self._batch_size) for queue in self._queues(self._epoch))

    def __iter__(self) -> Iterator[list[int]]:
        queues = self._queues(self._epoch)
        self._epoch += 1
        # DataLoader gives batch i to worker i mod n.
        for start in range(0, max(map(len, queues)), self._batch_size):
            for queue in queues:
                if batch := queue[start : start + self._batch_size]:
                    yield batch


def _take_turns(videos: list[list[int]], rng: random.Random) -> list[int]:
    """Everything in `videos`, each in its order, mixed evenly at random."""
    turns = [video for video, indices in enumerate(videos) for _ in indices]
    rng.shuffle(turns)
    waiting = [iter(indices) for indices in videos]
    return [next(waiting[video]) for video in turns]

"""An order in which videos are read at random but decoded cheaply, by one process or many."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from nersemble_cli.core.errors import UsageError, missing_extra

try:
    import torch.distributed
    from torch.utils.data import Sampler
except ImportError:
    raise missing_extra("PyTorch", "flame") from None


class Grouped(Protocol):
    """A dataset that knows which of its indices are decoded together."""

    def key_frame_groups(self) -> list[list[list[int]]]:
        """For each video its groups of indices, in the order in which they are decoded."""


class GroupedBatchSampler(Sampler[list[int]]):
    """Random batches of an `NVSDataset` or `MonoDataset` whose decoding is cheap:

    `DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, 8, lanes=4), num_workers=4)`

    Each video's timesteps are cut at key frames and into runs of at most `run_length`, which are shuffled and read
    from front to back. A run costs the way from its key frame once, so long runs are faster and short ones more
    random. Batches come from `lanes` in turn; in a lane, a few videos take turns at random. The order depends on
    `seed`, the epoch, `lanes` and the ranks, never on the number of workers, but only if that divides `lanes` (as
    1, 2 and 4 divide 4) does every worker have runs of its own; a video that two of them read is decoded twice.

    With several processes, each of the `num_replicas` reads runs of its own, in as many batches as the others. If
    the two arguments are left out, they are those of the torch.distributed process group that is initialised when
    a pass begins, or 0 of 1 without one. Where the indices cannot be divided evenly, `uneven="pad"` repeats a few
    in some ranks, and "drop" leaves a few out, different ones in each epoch.

    Frameworks that put a sampler of their own in its place must be told not to: Lightning with
    `Trainer(use_distributed_sampler=False)`. With Accelerate, either do not `prepare` the loader, or give this
    sampler `rank=0, num_replicas=1`, as Accelerate deals out the batches itself. Both set the epoch.
    """

    def __init__(
        self,
        dataset: Grouped,
        batch_size: int,
        lanes: int = 4,
        run_length: int = 64,
        seed: int = 0,
        *,
        rank: int | None = None,
        num_replicas: int | None = None,
        uneven: Literal["pad", "drop"] = "pad",
    ) -> None:
        self._process = _checked(rank, num_replicas)
        if min(batch_size, run_length, lanes) < 1:
            raise UsageError(
                f"batch_size is {batch_size}, lanes {lanes}, run_length {run_length}.", "They are at least 1."
            )
        if uneven not in ("pad", "drop"):
            raise UsageError(f"uneven is '{uneven}'.", "Valid: pad, drop.")
        self._runs = [
            (video, group[start : start + run_length])
            for video, groups in enumerate(dataset.key_frame_groups())
            for group in groups
            for start in range(0, len(group), run_length)
        ]
        self._n_indices = sum(len(run) for _, run in self._runs)
        self._batch_size, self._n_lanes, self._seed, self._uneven = batch_size, lanes, seed, uneven
        self._epoch = 0

    @property
    def rank(self) -> int:
        """Which of the processes this is."""
        return (self._process or _of_group())[0]

    @property
    def num_replicas(self) -> int:
        """How many processes share the work."""
        return (self._process or _of_group())[1]

    @property
    def sampler(self) -> GroupedBatchSampler:
        """Itself: Lightning and Accelerate call `set_epoch` of a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass, as for a DistributedSampler; passes count on from it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(math.ceil(n / self._batch_size) for n in _parts(self._n_own(), self._n_lanes))

    def __iter__(self) -> Iterator[list[int]]:
        lanes = self._lanes(self._epoch)
        self._epoch += 1
        # DataLoader gives batch i to worker i mod n.
        for start in range(0, max(map(len, lanes)), self._batch_size):
            for lane in lanes:
                if batch := lane[start : start + self._batch_size]:
                    yield batch

    def _n_own(self) -> int:
        """How many indices each rank reads."""
        share = self._n_indices / self.num_replicas
        return math.ceil(share) if self._uneven == "pad" else math.floor(share)

    def _lanes(self, epoch: int) -> list[list[int]]:
        """What this rank reads in each lane, in its order."""
        rank, n_own = self.rank, self._n_own()
        order = random.Random(f"{self._seed} {epoch}")  # the same in all ranks
        line = [(video, index) for video, run in order.sample(self._runs, len(self._runs)) for index in run]
        own = [line[i % len(line)] for i in range(rank * n_own, (rank + 1) * n_own)]

        # A lane has few videos and a video few lanes, so that few decoders are needed. Runs stay together.
        rng = random.Random(f"{self._seed} {epoch} {rank}")
        videos: dict[int, list[int]] = {}
        for video, index in own:
            videos.setdefault(video, []).append(index)
        in_line = [(video, index) for video in rng.sample(sorted(videos), len(videos)) for index in videos[video]]
        lanes, first = [], 0
        for n in _parts(len(in_line), self._n_lanes):
            lane: dict[int, list[int]] = {}
            for video, index in in_line[first : first + n]:
                lane.setdefault(video, []).append(index)
            lanes.append(_take_turns(list(lane.values()), rng))
            first += n
        return lanes


def _checked(rank: int | None, num_replicas: int | None) -> tuple[int, int] | None:
    """Which process of how many the caller said that this is; None if nothing was said."""
    if rank is None and num_replicas is None:
        return None
    if rank is None or num_replicas is None:
        raise UsageError("rank and num_replicas belong together.", "Give both or neither.")
    if not 0 <= rank < num_replicas:
        raise UsageError(f"rank is {rank} of num_replicas {num_replicas}.", "It is 0 to num_replicas - 1.")
    return rank, num_replicas


def _of_group() -> tuple[int, int]:
    """Which process of how many this is in the process group, if there is one."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _parts(n: int, n_parts: int) -> list[int]:
    """`n` in `n_parts` parts that differ by 1 at most."""
    return [n * (i + 1) // n_parts - n * i // n_parts for i in range(n_parts)]


def _take_turns(videos: Sequence[list[int]], rng: random.Random) -> list[int]:
    """Everything in `videos`, each in its order, mixed evenly at random."""
    turns = [video for video, indices in enumerate(videos) for _ in indices]
    rng.shuffle(turns)
    waiting = [iter(indices) for indices in videos]
    return [next(waiting[video]) for video in turns]

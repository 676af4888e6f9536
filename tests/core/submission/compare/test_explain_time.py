"""Which videos are told to show the right subject at the wrong time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nersemble_cli.core.benchmarks import MONO
from nersemble_cli.core.submission.compare import timing
from nersemble_cli.core.submission.compare.explain_time import find_sequence, find_timing
from nersemble_cli.core.submission.compare.reference import Reference, View
from nersemble_cli.core.submission.compare.signals import VideoSignals
from nersemble_cli.core.submission.findings import Finding
from tests.core.submission.compare.test_timing import Cells, N, moving

NO_IMAGES = np.zeros((0, 2, 2, 3), np.uint8)


def expecting(cells: Sequence[Cells], is_whole: bool = True) -> Reference:
    """The reference of a sequence whose cameras should see these cells."""
    views = {
        slot.serial: View(NO_IMAGES, NO_IMAGES[..., 0] > 0, its)
        for slot, its in zip(MONO.slots[: len(cells)], cells, strict=True)
    }
    return Reference((), views, {}, {}, {}, is_whole)


def find(videos: Sequence[Cells], expected: Sequence[Cells], is_whole: bool = True) -> list[Finding | None]:
    """What is found in each video of a sequence, given what is expected of it."""
    slots = MONO.slots[: len(videos)]
    signals = {slot: VideoSignals(cells, (), NO_IMAGES) for slot, cells in zip(slots, videos, strict=True)}
    found = find_timing(signals, expecting(expected, is_whole))
    return [found.get(slot) for slot in slots]


def seen_by_another(cells: Cells, seed: int = 1) -> Cells:
    """The same motion in a poor render: dimmer, and with noise."""
    noise = np.random.default_rng(seed).normal(scale=0.5, size=cells.shape)
    return (0.8 * cells + 10 + noise).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_video_is_not_complained_about(seed: int) -> None:
    cells = moving(seed=seed)
    static = np.repeat(cells[:1], N, axis=0)
    flicker = np.random.default_rng(seed).normal(120, 3, cells.shape).astype(np.float32)
    for video in (seen_by_another(cells, seed), static, flicker):
        assert find([video], [cells]) == [None]


def order(*changes: tuple[slice | list[int], list[int]]) -> list[int]:
    frames = list(range(N))
    for where, what in changes:
        if isinstance(where, slice):
            frames[where] = what
        else:
            for place, frame in zip(where, what, strict=True):
                frames[place] = frame
    return frames[:N]


@pytest.mark.parametrize(
    ("frames", "code", "actual"),
    [
        ([min(t + 1, N - 1) for t in range(N)], "time_shift", 1),
        ([max(t - 1, 0) for t in range(N)], "time_shift", -1),
        ([min(t + 3, N - 1) for t in range(N)], "time_shift", 3),
        (list(range(N))[::-1], "reversed_video", "backwards"),
        (sorted(range(N), key=str), "disordered_frames", "0, 1, 10, …"),
        (order(([50, 51], [51, 50])), "disordered_frames", [51, 50]),
        (order((slice(48, 48), [47])), "disordered_frames", -1),
        ([*range(47), *range(48, N), N - 1], "disordered_frames", 1),
        (order(([50], [49])), "disordered_frames", 50),
    ],
    ids=["early", "late", "3 early", "reversed", "text", "swapped", "repeated", "lost", "overwritten"],
)
@pytest.mark.parametrize("seed", range(3))
def test_frames_at_the_wrong_time_are_found(frames: list[int], code: str, actual: object, seed: int) -> None:
    cells = moving(seed=seed)
    (finding,) = find([seen_by_another(cells)[frames]], [cells])
    assert finding is not None
    assert (finding.code, finding.actual) == (code, actual)
    assert all(np.isfinite(value) for value in finding.evidence.values())


def test_few_frames_say_nothing_of_time() -> None:
    cells = moving(timing.FEWEST_FRAMES - 1)
    assert find([cells[::-1]], [cells]) == [None]


def test_a_lag_that_no_part_of_the_video_shows_is_none() -> None:
    cells = moving()
    cells[1::2] += np.random.default_rng(0).normal(scale=60, size=cells[1::2].shape).astype(np.float32)
    assert find([cells], [moving()]) == [None]


def roughly(cells: Cells, seed: int) -> Cells:
    """What is expected of a head that is only about the right one: it correlates with 0.45 or so."""
    return cells + 2 * moving(len(cells), seed + 100)


def test_what_each_video_leaves_open_is_told_by_all_together() -> None:
    cells = [moving(seed=seed) for seed in range(4)]
    late = [seen_by_another(its)[np.clip(np.arange(N) + 1, 0, N - 1)] for its in cells]
    expected = [roughly(its, seed) for seed, its in enumerate(cells)]
    alone = [find([video], [view], is_whole=False)[0] for video, view in zip(late, expected, strict=True)]
    together = find(late, expected, is_whole=False)
    assert None in alone
    assert [finding and (finding.code, finding.actual) for finding in together] == [("time_shift", 1)] * 4
    assert len({finding.path for finding in together if finding}) == 4


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_video_that_is_right_is_not_blamed_for_the_others(is_whole: bool) -> None:
    cells = [moving(seed=seed) for seed in range(4)]
    videos = [seen_by_another(its) for its in cells]
    late = [video[np.clip(np.arange(N) - 2, 0, None)] for video in videos]
    assert [finding and finding.actual for finding in find([*late[:3], videos[3]], cells, is_whole)] == [
        -2
    ] * 3 + [None]
    assert [finding and finding.actual for finding in find([late[0], *videos[1:]], cells, is_whole)] == [-2] + [
        None
    ] * 3


def test_another_sequence_is_told_by_its_motion_and_a_late_video_is_none() -> None:
    slot = MONO.slots[0]
    own, other = moving(seed=1), moving(seed=2)
    others = {(slot.participant, "OTHER"): expecting([other]), (slot.participant + 1, "OWN"): expecting([own])}

    def find_in(cells: Cells) -> Finding | None:
        return find_sequence(slot, VideoSignals(cells, (), NO_IMAGES), expecting([own]), others)

    finding = find_in(seen_by_another(other))
    assert finding is not None
    assert (finding.code, finding.expected, finding.actual) == ("wrong_sequence", slot.sequence, "OTHER")
    assert find_in(seen_by_another(own)) is None
    assert find_in(seen_by_another(own)[np.clip(np.arange(N) - 5, 0, None)]) is None

"""Whether a video moves when it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare import timing
from nersemble_cli.core.submission.compare.explain import find_timing
from nersemble_cli.core.submission.compare.signals import CELL_COLUMNS, CELL_ROWS

Cells = NDArray[np.float32]
N = 96


def moving(n: int = N, seed: int = 0) -> Cells:
    """(n, C) cells that change smoothly, in ways that do not repeat."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)[:, None]
    speed, phase = rng.uniform(0.1, 0.7, (2, 6)), rng.uniform(0, 6.3, (2, 6))
    courses = np.sin(speed[0] * t + phase[0]) + np.sin(speed[1] * t + phase[1])
    return (120 + 8 * courses @ rng.normal(size=(6, CELL_ROWS * CELL_COLUMNS))).astype(np.float32)


def seen_by_another(cells: Cells, seed: int = 1) -> Cells:
    """The same motion in a poor render: dimmer, and with noise."""
    noise = np.random.default_rng(seed).normal(scale=0.5, size=cells.shape)
    return (0.8 * cells + 10 + noise).astype(np.float32)


@given(st.integers(-9, 9), st.integers(0, 5))
def test_a_lag_is_found_to_a_fraction_of_a_frame(lag: int, seed: int) -> None:
    cells = moving(N + 20, seed)
    late = cells[10 + lag : 10 + lag + N]
    found = timing.find_shift(timing.lag_curve(timing.motion(late), timing.motion(cells[10 : 10 + N])))
    assert abs(found.lag - lag) < 0.2
    assert found.spread < 0.3
    assert found.score > 0.98


def test_what_does_not_move_has_no_lag_to_speak_of() -> None:
    still = np.full((N, CELL_ROWS * CELL_COLUMNS), 100, np.float32)
    found = timing.find_shift(timing.lag_curve(timing.motion(still), timing.motion(moving())))
    assert found.score == found.own == 0


@given(st.permutations(range(12)))
def test_text_order_is_a_permutation_that_sorts_names(order: list[int]) -> None:
    assert sorted(map(str, order)) == [str(i) for i in timing.lexicographic_order(12)]


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_video_is_not_complained_about(seed: int) -> None:
    cells = moving(seed=seed)
    assert find_timing("v", seen_by_another(cells, seed), cells) is None
    assert find_timing("v", np.repeat(cells[:1], N, axis=0), cells) is None  # a static avatar
    flicker = np.random.default_rng(seed).normal(120, 3, cells.shape).astype(np.float32)
    assert find_timing("v", flicker, cells) is None


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
    finding = find_timing("v", seen_by_another(cells)[frames], cells)
    assert finding is not None
    assert (finding.code, finding.actual) == (code, actual)
    assert all(np.isfinite(value) for value in finding.evidence.values())


def test_few_frames_say_nothing_of_time() -> None:
    cells = moving(timing.FEWEST_FRAMES - 1)
    assert find_timing("v", cells[::-1], cells) is None


def test_a_lag_that_no_part_of_the_video_shows_is_none() -> None:
    cells = moving()
    cells[1::2] += np.random.default_rng(0).normal(scale=60, size=cells[1::2].shape).astype(np.float32)
    assert find_timing("v", cells, moving()) is None

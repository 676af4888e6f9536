"""Whether a video moves when it should."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare import timing
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

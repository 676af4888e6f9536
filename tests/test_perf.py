"""The arithmetic of the measurements, not the measurements."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "perf"))
import report
from measure import MEGABYTE, Ratio, Result, Row, Run, exponent, measure, ratio, run

positive = st.floats(0.01, 100)


def runs(*seconds: float) -> list[Run]:
    return [Run(s, round(s * MEGABYTE)) for s in seconds]


def test_ratio_is_of_pairs_not_of_medians() -> None:
    assert ratio([1, 2, 4], [10, 2, 8]) == Ratio(2, 1, 10)


@pytest.mark.parametrize(("found", "text"), [(Ratio(2, 2, 2), "2.00×"), (Ratio(2, 1, 10), "2.00× (1.00–10.00)")])
def test_ratio_as_text(found: Ratio, text: str) -> None:
    assert str(found) == text


@given(positive, st.floats(-3, 3))
def test_exponent_of_a_power_law(factor: float, power: float) -> None:
    sizes = [1, 2, 4, 8]
    assert exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_contestants_take_turns_and_who_is_first_changes() -> None:
    order: list[str] = []

    def work(name: str) -> Run:
        order.append(name)
        return Run(1, 1)

    row = Row("", ours=lambda: work("o"), official=lambda: work("f"), limit=lambda: work("l"), rounds=3)
    result = measure(row)
    assert "".join(order) == "oflflolof"
    assert len(result.ours) == len(result.official) == len(result.limit) == 3


def test_line_says_what_was_asked_and_missed() -> None:
    row = Row("pack", lambda: Run(1, 1), limit_is="ffmpeg", asked=1.5, asked_of_limit=1.15, n=10, unit="frame")
    line = report.line(Result(row, ours=runs(2.0), official=runs(2.8), limit=runs(1.9)))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "pack, a frame", "280 ms", "200 ms", "1.40×", "≥ 1.5× **missed**",
        "190 ms (ffmpeg)", "1.05×", "≤ 1.15×", "3 MB", "2 MB",
    ]  # fmt: skip


def test_line_without_the_official_toolkit() -> None:
    line = report.line(Result(Row("start", lambda: Run(1, 1), asked=2), ours=runs(0.25)))
    assert [cell.strip() for cell in line.split("|")][1:4] == ["start", "", "250 ms"]
    assert "missed" not in line


def test_growth_line() -> None:
    line = report.growth_line(
        "pack", [1, 2, 4], [Run(1, 7 * MEGABYTE), Run(2, 7 * MEGABYTE), Run(4, 7 * MEGABYTE)]
    )
    assert line == "| pack | 1.00 s / 2.00 s / 4.00 s | 1.00 | 7 / 7 / 7 MB | 0.00 |"


def test_what_was_written_by_hand_stays() -> None:
    before = f"# Old\n\nold table\n\n{report.BY_HAND}\n\nIt was slow.\n"
    assert report.document("# New", ["a", "b"], before) == f"# New\n\na\n\nb\n\n{report.BY_HAND}\n\nIt was slow.\n"
    assert report.document("# New", ["a"], "") == "# New\n\na\n"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the peak of memory is read from /proc")
def test_peak_memory_is_of_the_whole_tree() -> None:
    child = "import time; data = bytearray(60_000_000); time.sleep(0.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = run([sys.executable, "-c", parent])
    assert 65 * MEGABYTE < done.peak_bytes < 200 * MEGABYTE
    assert done.seconds > 0.3


def test_failed_command_ends_the_measurement() -> None:
    with pytest.raises(SystemExit, match="status 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))

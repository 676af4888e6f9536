"""The results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from measure import MEGABYTE, Ratio, Result, Run, exponent, ratio

# What is written by hand from here on stays when the rest is written anew.
BY_HAND = "## What was tried"
HEADER = (
    "| work | official | nersemble | official ÷ nersemble | asked | limit | nersemble ÷ limit | asked "
    "| memory, official | nersemble |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)

GROWTH_HEADER = "| work | time | exponent | peak memory | exponent |\n|---|---|---|---|---|"


def time_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _median(runs: Sequence[Run], n: int) -> str:
    return time_text(statistics.median(r.seconds for r in runs) / n) if runs else ""


def _peak(runs: Sequence[Run]) -> str:
    peak = max((r.peak_bytes for r in runs), default=0)
    return f"{peak / MEGABYTE:.0f} MB" if peak else ""  # what ends between two samples has none


def _asked(relation: str, wanted: float | None, found: Ratio | None, is_met: bool) -> str:
    if wanted is None or found is None:
        return ""
    return f"{relation} {wanted:g}×" + ("" if is_met else " **missed**")


def line(result: Result) -> str:
    """A line of the table."""
    row = result.row
    ours = [r.seconds for r in result.ours]
    gain = ratio(ours, [r.seconds for r in result.official]) if result.official else None
    above = ratio([r.seconds for r in result.limit], ours) if result.limit else None
    limit = f"{_median(result.limit, row.n)} ({row.limit_is})" if result.limit else ""
    cells = [
        f"{row.title}, a {row.unit}" if row.unit else row.title,
        _median(result.official, row.n),
        _median(result.ours, row.n),
        str(gain or ""),
        _asked("≥", row.asked, gain, gain is not None and gain.median >= (row.asked or 0)),
        limit,
        str(above or ""),
        _asked("≤", row.asked_of_limit, above, above is not None and above.median <= (row.asked_of_limit or 0)),
        _peak(result.official),
        _peak(result.ours),
    ]
    return f"| {' | '.join(cells)} |"


def growth_line(title: str, sizes: Sequence[int], runs: Sequence[Run]) -> str:
    """A line of the table of growth: seconds and peak memory for each size, and the exponents of both."""
    times = [time_text(r.seconds) for r in runs]
    peaks = [f"{r.peak_bytes / MEGABYTE:.0f}" for r in runs]
    powers = [exponent(sizes, costs) for costs in ([r.seconds for r in runs], [r.peak_bytes for r in runs])]
    cells = [title, " / ".join(times), f"{powers[0]:.2f}", f"{' / '.join(peaks)} MB", f"{powers[1]:.2f}"]
    return f"| {' | '.join(cells)} |"


def document(heading: str, tables: Sequence[str], before: str) -> str:
    """RESULTS.md; what was written by hand in it `before` stays."""
    _, found, tried = before.partition(BY_HAND)
    return "\n\n".join([heading, *tables, (found + tried).strip()]).strip() + "\n"

"""Times whole processes, finds the peak memory of a process and all its children, and reckons with figures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

SAMPLE_EVERY = 0.02  # seconds
MEGABYTE = 1_000_000
ROOT = Path(__file__).parents[1]
NERSEMBLE = [sys.executable, "-m", "nersemble_cli"]


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    peak_bytes: int  # resident memory of the whole process tree, sampled; pages that are shared count once each
    output: str = ""


Work = Callable[[], Run]


@dataclass(frozen=True)
class Row:
    """Something that is done in several ways, each a function that does it once.

    `asked` is how many times as long the official toolkit should take at least, `asked_of_limit` how many times as
    long as the limit we may take at most. Times are shown for each of `n` units.
    """

    title: str
    ours: Work
    official: Work | None = None
    limit: Work | None = None
    limit_is: str = ""
    asked: float | None = None
    asked_of_limit: float | None = None
    n: int = 1
    unit: str = ""
    rounds: int = 3


@dataclass
class Result:
    """What was measured of a row, a list of runs for each contestant, in the order of the rounds."""

    row: Row
    ours: list[Run] = field(default_factory=list)
    official: list[Run] = field(default_factory=list)
    limit: list[Run] = field(default_factory=list)


@dataclass(frozen=True)
class Ratio:
    """Median, smallest and largest of the ratios of pairs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.2f}×"
        return f"{self.median:.2f}× ({self.low:.2f}–{self.high:.2f})"


def ratio(shorter: Sequence[float], longer: Sequence[float]) -> Ratio:
    """How many times as long the second ones take, pair by pair."""
    ratios = [b / a for a, b in zip(shorter, longer, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The b of cost = a · size^b that fits best (least squares of the logarithms)."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(c) for c in costs]).slope


def measure(row: Row) -> Result:
    """Runs all contestants of a row in turn; who is first changes from round to round."""
    result = Result(row)
    contestants = [(row.ours, result.ours), (row.official, result.official), (row.limit, result.limit)]
    for i in range(row.rounds):
        start = i % len(contestants)
        for work, runs in contestants[start:] + contestants[:start]:
            if work is not None:
                runs.append(work())
    return result


def _children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _tree_bytes(root: int) -> int:
    """Resident memory of a process and all its descendants (Linux: read from /proc)."""
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += _children(process)
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    statuses: Sequence[int] = (0,),
) -> Run:
    """Runs a command to its end. Its output, both streams, is kept; the environment is ours plus `env`.

    Ends the program if the command ends with another exit status than `statuses`.
    """
    peak, done = 0, threading.Event()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_EVERY):
            peak = max(peak, _tree_bytes(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if process.returncode not in statuses:
        sys.exit(f"{output}\nfailed with status {process.returncode}: {command}")
    return Run(seconds, peak, output)


def run_inner(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Run:
    """`run` for a command that prints the seconds that count, as JSON in its last line."""
    done = run(command, env)
    return replace(done, seconds=json.loads(done.output.splitlines()[-1]))

"""Times whole processes, and finds the peak memory of a process with all its children."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY = 0.02  # seconds
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    peak_bytes: int  # resident memory of the whole process tree, sampled; pages that are shared count once each
    status: int
    output: str


def _tree_bytes(root: int) -> int:
    """Resident memory of a process and all its descendants (Linux: read from /proc)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def run(command: Sequence[str], env: Mapping[str, str] | None = None, sample: bool = True) -> Run:
    """Runs a command to its end. Its output, both streams, is kept; the environment is ours plus `env`."""
    peak, done = 0, threading.Event()
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_EVERY):
            peak = max(peak, _tree_bytes(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    if sample:
        watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    done.set()
    if sample:
        watcher.join()
    return Run(seconds, peak, process.returncode, output)


@dataclass(frozen=True)
class Ratio:
    """Median, smallest and largest of the ratios of pairs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f}–{self.high:.2f})"


def ratio(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """How many times as long the others take, pair by pair."""
    ratios = [other / our for our, other in zip(ours, others, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))

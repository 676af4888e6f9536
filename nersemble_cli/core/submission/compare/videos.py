"""Explains each video of a submission better than by its name, where the training data can."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from nersemble_cli.core.benchmarks import VideoBenchmark, VideoSlot
from nersemble_cli.core.errors import InvalidInputError, listing
from nersemble_cli.core.submission.compare import monocular, multiview
from nersemble_cli.core.submission.compare.explain import explain
from nersemble_cli.core.submission.compare.reference import Place, Reference, SequenceKey
from nersemble_cli.core.submission.compare.signals import SignalCollector, VideoSignals, thumbnail_size
from nersemble_cli.core.submission.findings import WARNING, Finding, Report
from nersemble_cli.core.submission.video_checks import FrameObserver
from nersemble_cli.core.video.reader import DAMAGE

FEWEST_FRAMES = 8  # of a video that is compared
NOT_COMPARED = "Not compared with the training data"
SAME = 0.5  # levels by which the cells of copies may differ after encoding


class VideoComparison:
    """Watches the videos of one submission while they are decoded, and compares them at the end.

    `folder` is the benchmark folder, or None if there is none.
    """

    def __init__(self, benchmark: VideoBenchmark, folder: Path | None) -> None:
        self._benchmark, self._folder = benchmark, folder
        self._data = monocular if monocular.applies_to(benchmark) else multiview
        self._size = thumbnail_size(benchmark)
        self._lock = threading.Lock()
        self._collectors: dict[VideoSlot, SignalCollector] = {}
        self._timesteps: dict[SequenceKey, tuple[int, ...]] = {}
        self._damaged: list[str] = []

    def observer(self, slot: VideoSlot) -> FrameObserver:
        """What is to see each decoded frame of a video, in order. Videos are decoded in several threads."""
        with self._lock:
            collector = SignalCollector(self._size, self._planned(slot))
            self._collectors[slot] = collector

        def observe(timestep: int, frame: av.VideoFrame) -> None:
            # Whatever is odd about a frame is for others to tell.
            if collector.is_usable:
                try:
                    collector(timestep, frame)
                except DAMAGE:
                    collector.is_usable = False

        return observe

    def finish(self, report: Report) -> None:
        """Adds what was found to `report`, and sets its `compared` and why."""
        signals = {
            slot: collector.signals
            for slot, collector in sorted(self._collectors.items(), key=lambda item: item[0].path)
            if collector.is_usable and len(collector) >= FEWEST_FRAMES
        }
        report.findings += find_copies(signals)
        references = self._references() if signals else {}
        n_compared = 0
        for key, reference in references.items():
            videos = {slot: its for slot, its in signals.items() if (slot.participant, slot.sequence) == key}
            n_compared += sum(slot.serial in reference.expected for slot in videos)
            others = {other: its for other, its in references.items() if other != key}
            report.findings += explain(videos, reference, others)
        n_slots = len(self._benchmark.slots)
        report.compared = "full" if n_compared == n_slots else "partly" if n_compared else "skipped"
        report.notes += self._reasons()

    def _place(self, slot: VideoSlot) -> Place | None:
        """Where the data of a video's sequence is, if there is enough of it."""
        if self._folder is None:
            return None
        place = Place(self._folder, self._benchmark, slot.participant, slot.sequence)
        return None if self._data.find_lack(place) else place

    def _planned(self, slot: VideoSlot) -> tuple[int, ...]:
        """The timesteps at which pictures of a video are compared."""
        key = slot.participant, slot.sequence
        if key not in self._timesteps:
            place = self._place(slot)
            timesteps: tuple[int, ...] = ()
            if place is not None:
                try:
                    timesteps = self._data.plan_timesteps(place)
                except (InvalidInputError, OSError) as error:
                    self._damaged.append(str(error).replace("\n", " "))
            self._timesteps[key] = timesteps
        return self._timesteps[key]

    def _references(self) -> dict[SequenceKey, Reference]:
        """By participant and sequence, for all that the folder has: a video may belong to any of them."""
        references = {}
        for slot in self._benchmark.slots:
            key, place = (slot.participant, slot.sequence), self._place(slot)
            if key in references or place is None or not (timesteps := self._planned(slot)):
                continue
            try:
                references[key] = self._data.expect(place, timesteps)
            except (InvalidInputError, OSError) as error:
                self._damaged.append(str(error).replace("\n", " "))
        return references

    def _reasons(self) -> Iterator[str]:
        """Why videos were not compared with the training data, and what to do."""
        yield from (f"{NOT_COMPARED}: {reason}" for reason in dict.fromkeys(self._damaged))
        readable = {slot.path: len(its) for slot, its in self._collectors.items() if its.is_usable and len(its)}
        short = sorted(path for path, n in readable.items() if n < FEWEST_FRAMES)
        sequences = sorted(
            {
                (slot.participant, slot.sequence)
                for slot in self._collectors
                if readable.get(slot.path, 0) >= FEWEST_FRAMES
            }
        )
        lacks: dict[str, list[SequenceKey]] = {}
        for key in sequences:
            lack = "the data"
            if self._folder is not None:
                lack = self._data.find_lack(Place(self._folder, self._benchmark, *key))
            lacks.setdefault(lack, []).append(key)
        for lack, keys in lacks.items():
            if lack:
                where = "there is no benchmark folder" if self._folder is None else f"{self._folder} lacks {lack}"
                names = listing([f"{participant:03d}/{sequence}" for participant, sequence in keys])
                yield f"{NOT_COMPARED}: {names}, as {where}. Fetch it with: {self._fetch(keys)}"
        if short:
            which = "all videos have" if len(short) == len(readable) else f"{listing(short)} have"
            yield f"{NOT_COMPARED}: {which} fewer than {FEWEST_FRAMES} frames."

    def _fetch(self, sequences: Sequence[SequenceKey]) -> str:
        words = ["nersemble", "download", self._benchmark.name]
        if self._folder is not None:
            words += ["-f", str(self._folder)]
        people = sorted({participant for participant, _ in sequences})
        words += ["-p", ",".join(f"{participant:03d}" for participant in people)]
        return shlex.join(words + [word for asset in self._data.ASSETS for word in ("-a", asset)])


def find_copies(signals: Mapping[VideoSlot, VideoSignals]) -> list[Finding]:
    """Videos that equal another one: an error if all frames do, a warning if only their encoding differs."""
    findings = []
    slots = list(signals)
    for i, slot in enumerate(slots):
        for other in slots[:i]:
            a, b = signals[other].cells, signals[slot].cells
            if a.shape != b.shape or np.abs(a[0] - b[0]).max() > 4 * SAME:
                continue
            difference = np.abs(a - b)
            if difference.max() == 0:
                message, severity = f"It equals {other.path}, frame by frame.", ""
            elif difference.mean() < SAME / 4 and difference.max() < 4 * SAME and np.ptp(a, axis=0).max() > 0:
                message, severity = f"It equals {other.path} but for its encoding.", WARNING
            else:
                continue
            findings.append(
                Finding(
                    "duplicate_video", slot.path, message, expected="a video of its own", actual=other.path,
                    severity=severity, evidence={"difference": float(difference.mean())},
                )
            )  # fmt: skip
            break
    return findings

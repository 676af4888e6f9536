"""Explains each video of a submission better than by its name, where the training data can."""

from __future__ import annotations

from pathlib import Path

from nersemble_cli.core.benchmarks import VideoBenchmark, VideoSlot
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.submission.video_checks import FrameObserver


class VideoComparison:
    """Watches the videos of one submission while they are decoded, and compares them at the end.

    `folder` is the benchmark folder, or None if there is none.
    """

    def __init__(self, benchmark: VideoBenchmark, folder: Path | None) -> None:
        self._benchmark, self._folder = benchmark, folder

    def observer(self, slot: VideoSlot) -> FrameObserver:
        """What is to see each decoded frame of a video, in order. Videos are decoded in several threads."""
        return lambda timestep, frame: None

    def finish(self, report: Report) -> None:
        """Adds what was found to `report`, and sets its `compared` and why."""

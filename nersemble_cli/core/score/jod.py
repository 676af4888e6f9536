"""JOD, the quality of a whole video by FovVideoVDP (Mantiuk and others, 2021).

The numbers are pyfvvdp's own, called as visage 0.2.18 calls it, but frame by frame: visage keeps both videos and a
map of their differences in memory. pyfvvdp's licence is CC BY-NC 4.0, so it is an extra of its own.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from itertools import repeat
from typing import TYPE_CHECKING, Any

from nersemble_cli.core.errors import install_command
from nersemble_cli.core.score.metrics import Image

if TYPE_CHECKING:
    import torch

DISPLAY = "standard_4k"
SMALLEST = 4
"""The fewest rows and columns that pyfvvdp can take apart."""
SLOWEST = 4.1
"""Frames per second below which visage does not go."""
_ESTIMATE_FRAMES = 3


def why_not() -> str | None:
    """Why JOD cannot be computed with what is installed, and what brings it; None if it can."""
    if find_spec("pyfvvdp") and find_spec("torch"):
        try:
            make_metric()
        except (ImportError, AttributeError) as error:
            return f"pyfvvdp does not work here: {error}"
        return None
    return f"pyfvvdp (CC BY-NC 4.0: not for commercial use) is not installed: {install_command('score-jod')}"


def make_metric(device: str = "cpu", **options: Any) -> Any:
    """pyfvvdp's metric for visage's display. Raises ImportError or AttributeError if SciPy or torch is too new for
    it."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses names that SciPy is about to drop
        from pyfvvdp import fvvdp

        return fvvdp(display_name=DISPLAY, device=torch.device(device), **options)


class _Stream:
    """The frames that pyfvvdp asks for: each pair once, in order."""

    def __init__(self, metric: Any, pairs: Iterator[tuple[Image, Image]], num_frames: int, fps: float) -> None:
        self._metric, self._pairs, self._num_frames, self._fps = metric, pairs, num_frames, fps
        self._number = -1
        self._frame: Any = None
        self._first = self._at(0)

    def _at(self, number: int) -> Any:
        from pyfvvdp.video_source import fvvdp_video_source_array

        if number > self._number:
            render, truth = next(self._pairs)
            # As a video of one frame it is turned into luminance by the same code, from the same strides.
            self._frame = fvvdp_video_source_array(
                render[None], truth[None], self._fps, "FHWC", self._metric.display_photometry,
                self._metric.color_space,
            )  # fmt: skip
            self._number = number
        return self._frame

    def get_video_size(self) -> tuple[int, int, int]:
        height, width, _ = self._first.get_video_size()
        return height, width, self._num_frames

    def get_frames_per_second(self) -> float:
        return self._fps

    def get_test_frame(self, frame: int, device: torch.device) -> torch.Tensor:
        luminance: torch.Tensor = self._at(frame).get_test_frame(0, device)
        return luminance

    def get_reference_frame(self, frame: int, device: torch.device) -> torch.Tensor:
        luminance: torch.Tensor = self._at(frame).get_reference_frame(0, device)
        return luminance


def measure_jod(
    pairs: Iterator[tuple[Image, Image]], num_frames: int, fps: Fraction | float, device: str = "cpu"
) -> float:
    """The JOD of a video: 10 for no visible difference, less for worse.

    `pairs` are its `num_frames` renders with their ground truths, (H, W, 3) uint8 RGB of one size, of which a
    quarter of a second is in memory at a time. Equal to what pyfvvdp makes of whole videos, to the last bit.
    """
    import torch

    metric = make_metric(device)
    with torch.inference_mode():
        jod, _ = metric.predict_video_source(_Stream(metric, pairs, num_frames, max(SLOWEST, float(fps))))
    return float(jod)


def seconds_per_frame(render: Image, truth: Image, fps: Fraction | float, device: str = "cpu") -> float:
    """How long a frame of that size takes here. Measured on the third frame, as the first ones pay for tables."""
    begun = 0.0

    def pairs() -> Iterator[tuple[Image, Image]]:
        nonlocal begun
        for pair in repeat((render, truth), _ESTIMATE_FRAMES):
            begun = time.perf_counter()
            yield pair

    measure_jod(pairs(), _ESTIMATE_FRAMES, fps, device)
    return time.perf_counter() - begun

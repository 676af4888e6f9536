"""What is kept of a video while it is decoded: enough to compare it with others, in a few megabytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoBenchmark
from nersemble_cli.core.video.pixels import convert, plane_rows, to_rgb

CELL_ROWS, CELL_COLUMNS = 24, 16
SAMPLED_ROWS = 200  # about as many rows of a frame are averaged into cells
THUMBNAIL_SIDE = 200  # the longest, in pixels
LUMA_FIRST = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "nv12")

Rgb = NDArray[np.uint8]


def thumbnail_size(benchmark: VideoBenchmark) -> tuple[int, int]:
    """Height and width of thumbnails, in the aspect ratio of the benchmark's videos."""
    scale = THUMBNAIL_SIDE / max(benchmark.height, benchmark.width)
    return round(benchmark.height * scale), round(benchmark.width * scale)


def luma_cells(frame: av.VideoFrame) -> NDArray[np.float32]:
    """(CELL_ROWS * CELL_COLUMNS,) mean luma of the cells of a grid, in levels, of a limited range as it is.

    Only every few rows are read, so that it costs little beside decoding.
    """
    if frame.format.name not in LUMA_FIRST:
        frame = convert(frame, "yuv420p")
    step = max(1, frame.height // SAMPLED_ROWS)
    return grid_means(plane_rows(frame.planes[0])[: frame.height : step, : frame.width])


def grid_means(luma: NDArray[Any]) -> NDArray[np.float32]:
    """(CELL_ROWS * CELL_COLUMNS,) the means of the cells of a grid over a picture (H, W)."""
    rows, columns = luma.shape
    row_starts = np.arange(CELL_ROWS) * rows // CELL_ROWS
    column_starts = np.arange(CELL_COLUMNS) * columns // CELL_COLUMNS
    kind = np.uint32 if luma.dtype.kind == "u" else np.float32
    sums = np.add.reduceat(np.add.reduceat(luma, row_starts, axis=0, dtype=kind), column_starts, axis=1)
    counts = np.diff(row_starts, append=rows)[:, None] * np.diff(column_starts, append=columns)
    cells: NDArray[np.float32] = (sums / counts).astype(np.float32).ravel()
    return cells


@dataclass(frozen=True)
class VideoSignals:
    """`cells` (T, C) float32 as from `luma_cells`; `timesteps` (K,) with `thumbnails` (K, h, w, 3) uint8
    RGB."""

    cells: NDArray[np.float32]
    timesteps: tuple[int, ...]
    thumbnails: NDArray[np.uint8]

    @property
    def n_frames(self) -> int:
        return len(self.cells)


@dataclass
class SignalCollector:
    """Takes the signals of a video from its frames, as `check_video`'s `on_frame`."""

    size: tuple[int, int]  # of thumbnails, height and width
    timesteps: Collection[int]  # those that get one
    is_usable: bool = True
    _cells: list[NDArray[np.float32]] = field(default_factory=list)
    _thumbnails: dict[int, Rgb] = field(default_factory=dict)

    def __call__(self, timestep: int, frame: av.VideoFrame) -> None:
        if frame.height < CELL_ROWS or frame.width < CELL_COLUMNS:
            self.is_usable = False  # no picture; its size is told elsewhere
            return
        self._cells.append(luma_cells(frame))
        if timestep in self.timesteps:
            self._thumbnails[timestep] = to_rgb(frame, size=self.size[::-1])

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def signals(self) -> VideoSignals:
        """The signals of the frames that were seen."""
        height, width = self.size
        n_cells = CELL_ROWS * CELL_COLUMNS
        thumbnails = [self._thumbnails[t] for t in sorted(self._thumbnails)]
        return VideoSignals(
            np.array(self._cells, np.float32).reshape(-1, n_cells),
            tuple(sorted(self._thumbnails)),
            np.array(thumbnails, np.uint8).reshape(-1, height, width, 3),
        )

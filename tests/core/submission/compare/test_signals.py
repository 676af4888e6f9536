"""What is kept of a video while it is decoded."""

from __future__ import annotations

import av
import numpy as np
import pytest

from nersemble_cli.core.benchmarks import MONO, NVS, VideoBenchmark
from nersemble_cli.core.submission.compare.signals import (
    CELL_COLUMNS,
    CELL_ROWS,
    SignalCollector,
    luma_cells,
    thumbnail_size,
)


def grey(values: np.ndarray) -> av.VideoFrame:
    """A yuv420p frame with these luma values."""
    height, width = values.shape
    planes = np.concatenate([values.ravel(), np.full(height * width // 2, 128)]).astype(np.uint8)
    return av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p")


@pytest.mark.parametrize(("benchmark", "size"), [(NVS, (200, 137)), (MONO, (200, 200))])
def test_thumbnails_have_the_aspect_ratio_of_the_videos(benchmark: VideoBenchmark, size: tuple[int, int]) -> None:
    assert thumbnail_size(benchmark) == size


def test_cells_are_means_of_luma() -> None:
    rows, columns = np.mgrid[:48, :32]
    cells = luma_cells(grey(rows // 2 * 4 + columns // 2)).reshape(CELL_ROWS, CELL_COLUMNS)
    expected = np.arange(CELL_ROWS)[:, None] * 4 + np.arange(CELL_COLUMNS)
    np.testing.assert_array_equal(cells, expected)


def test_cells_of_a_large_frame_cover_all_of_it() -> None:
    cells = luma_cells(grey(np.full((1604, 1100), 77)))
    np.testing.assert_array_equal(cells, np.full(CELL_ROWS * CELL_COLUMNS, 77))


def test_a_collector_keeps_cells_of_all_frames_and_pictures_of_some() -> None:
    collector = SignalCollector((20, 14), {1, 3})
    for t in range(5):
        collector(t, grey(np.full((160, 110), 40 * t + 16)))
    signals = collector.signals
    assert len(collector) == signals.n_frames == 5
    assert signals.cells[:, 0].tolist() == [16, 56, 96, 136, 176]
    assert signals.timesteps == (1, 3)
    assert signals.thumbnails.shape == (2, 20, 14, 3)


def test_no_frames_are_no_signals() -> None:
    signals = SignalCollector((20, 14), {0}).signals
    assert (signals.n_frames, signals.timesteps, signals.thumbnails.shape) == (0, (), (0, 20, 14, 3))

"""Whether a video moves when it should: its motion against that of a video of the same timesteps.

A video's cells (T, C) are the mean luma of parts of the picture, see `signals.luma_cells`. Its motion is how they
change from frame to frame, which another camera beside it sees nearly alike, and at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare.signals import CELL_COLUMNS, CELL_ROWS

FEWEST_FRAMES = 24  # that motion can be told from
LONGEST_LAG = 40  # frames
N_BLOCKS = 6
MOVING = 0.05  # of the largest motion energy of a part of the picture: what moves less is not looked at

Cells = NDArray[np.float32]


def motion(cells: Cells) -> Cells:
    """(T - 1, C / 4) changes from frame to frame of cells of twice the size, with slow and common noise smoothed
    over three frames. Cells of several videos may stand side by side."""
    parts = cells.reshape(len(cells), -1, CELL_ROWS // 2, 2, CELL_COLUMNS // 2, 2)
    large = parts.mean(axis=(3, 5)).reshape(len(cells), -1)
    padded = np.concatenate([large[:1], large, large[-1:]])
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    changes: Cells = np.diff(smooth, axis=0)
    return changes


@dataclass(frozen=True)
class Moves:
    """What videos of the same timesteps show and what is expected of them, side by side: `cells` and `expected`
    (T, V·C). `weights` (V·C / 4,) of the motion of each part are 0 where none is expected."""

    cells: Cells
    expected: Cells
    weights: NDArray[np.float32]

    @property
    def n_frames(self) -> int:
        return len(self.cells)

    @property
    def n_videos(self) -> int:
        return int(self.cells.shape[1]) // (CELL_ROWS * CELL_COLUMNS)

    def motion(self, order: NDArray[np.intp] | None = None) -> Cells:
        """The weighted motion of the videos, perhaps with their frames in another order."""
        return motion(self.cells if order is None else self.cells[order]) * self.weights

    def expected_motion(self) -> Cells:
        return motion(self.expected) * self.weights

    def score(self, order: NDArray[np.intp] | None = None) -> float:
        """The correlation of both motions."""
        return _correlation(self.motion(order), self.expected_motion())


def compared(cells: Cells, expected: Cells) -> Moves:
    """A video and what is expected of it, as far as both go."""
    n = min(len(cells), len(expected))
    moves = motion(expected[:n]) if n else np.zeros((0, expected.shape[1] // 4), np.float32)
    energy = (moves**2).sum(axis=0)
    weights = (energy > MOVING * energy.max(initial=0)) / max(float(np.sqrt(energy.sum())), 1e-9)
    return Moves(cells[:n], expected[:n], weights.astype(np.float32))


def side_by_side(videos: Sequence[Moves]) -> Moves:
    """Several videos as one, as far as the shortest goes."""
    n = min(video.n_frames for video in videos)
    return Moves(
        np.concatenate([video.cells[:n] for video in videos], axis=1),
        np.concatenate([video.expected[:n] for video in videos], axis=1),
        np.concatenate([video.weights for video in videos]),
    )


@dataclass(frozen=True)
class LagCurve:
    """Correlation over lags. `products` (L, B, 3) are sums of a·b, a² and b² for each lag and block of time."""

    lags: NDArray[np.int64]
    products: NDArray[np.float64]

    def scores(self, left_out: int | None = None) -> NDArray[np.float64]:
        """(L,) the correlation at each lag, over all blocks or all but one."""
        kept = self.products if left_out is None else np.delete(self.products, left_out, axis=1)
        ab, aa, bb = kept.sum(axis=1).T
        correlation: NDArray[np.float64] = ab / np.maximum(np.sqrt(aa * bb), 1e-9)
        return correlation

    def at(self, lag: int) -> float:
        return float(self.scores()[int(np.flatnonzero(self.lags == lag)[0])])


def lag_curve(a: Cells, b: Cells) -> LagCurve:
    """How motion `a` (T, C) agrees with motion `b` that is taken `lag` frames later: a[t] with b[t + lag].
    Lags go up to a quarter of the video and `LONGEST_LAG`."""
    n = min(len(a), len(b))
    furthest = min(LONGEST_LAG, n // 4)
    lags = np.arange(-furthest, furthest + 1)
    products = np.zeros((len(lags), N_BLOCKS, 3))
    blocks = np.arange(n) * N_BLOCKS // n
    aa, bb = (a[:n] ** 2).sum(1), (b[:n] ** 2).sum(1)
    for i, lag in enumerate(lags.tolist()):
        t = np.arange(max(0, -lag), min(n, n - lag))
        for k, values in enumerate(((a[t] * b[t + lag]).sum(1), aa[t], bb[t + lag])):
            products[i, :, k] = np.bincount(blocks[t], values, N_BLOCKS)
    return LagCurve(lags, products)


def peak(lags: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[float, float]:
    """The lag of the highest score, between frames by a parabola through its neighbours, and the score."""
    i = int(scores.argmax())
    if not 0 < i < len(lags) - 1:
        return float(lags[i]), float(scores[i])
    before, top, after = scores[i - 1 : i + 2]
    curvature = before - 2 * top + after
    offset = 0.5 * (before - after) / curvature if curvature < -1e-12 else 0.0
    return float(lags[i] + offset), float(top)


@dataclass(frozen=True)
class Shift:
    """`lag` is by how many frames the video is ahead of its timesteps, `spread` how far parts of the video differ
    in that. `score` is the correlation there, `own` the one without a lag."""

    lag: float
    spread: float
    score: float
    own: float


def find_shift(curve: LagCurve) -> Shift:
    """The lag at which all of a video agrees best, and how sure that is: each block is left out in turn."""
    lag, score = peak(curve.lags, curve.scores())
    without = [peak(curve.lags, curve.scores(block))[0] for block in range(N_BLOCKS)]
    return Shift(lag, max(without) - min(without), score, curve.at(0))


def local_lags(a: Cells, b: Cells, length: int, longest: int = 8) -> NDArray[np.float64]:
    """(N, 4) for windows of `length` frames, half overlapping: start, lag, score there, score without a lag."""
    n = min(len(a), len(b))
    found = []
    for start in range(0, n - length + 1, length // 2):
        t = np.arange(start, start + length)
        lags = np.array([lag for lag in range(-longest, longest + 1) if start + lag >= 0 and t[-1] + lag < n])
        size = float(np.linalg.norm(a[t]))
        scores = np.array(
            [
                float((a[t] * b[t + lag]).sum()) / max(size * float(np.linalg.norm(b[t + lag])), 1e-9)
                for lag in lags
            ]
        )
        found.append((start, *peak(lags, scores), scores[int(np.flatnonzero(lags == 0)[0])]))
    return np.array(found, np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Step:
    """From frame `timestep` on, the video's lag is `lag` frames, before it is 0. `score` is the correlation of
    what comes after with that lag, `own` the one without."""

    timestep: int
    lag: int
    score: float
    own: float


STEP_LAG = 3  # frames
STEP_BETTER = 0.25  # of what a step gains must be more than any lag of the whole video gains


def find_step(a: Cells, b: Cells, shortest: int, least: float) -> Step | None:
    """The place from which on motion `a` agrees better with `b` at another lag, while before it does with none; at
    least `shortest` frames from either end, and by a correlation of at least `least` of the whole."""
    n = min(len(a), len(b))
    if n < 4 * shortest:
        return None
    size = max(float(np.linalg.norm(a[:n]) * np.linalg.norm(b[:n])), 1e-9)
    best, shifted, found = least, 0.0, None
    for lag in (lag for lag in range(-STEP_LAG, STEP_LAG + 1) if lag):
        t = np.arange(max(0, -lag), min(n, n - lag))
        gains = (a[t] * (b[t + lag] - b[t])).sum(1) / size
        after = np.cumsum(gains[::-1])[::-1]  # what is gained by the lag from each frame on
        shifted = max(shifted, float(after[0]))
        k = shortest + int(after[shortest:-shortest].argmax())
        if after[k] > best:
            best, tail = float(after[k]), t[k:]
            found = Step(int(t[k]), lag, _correlation(a[tail], b[tail + lag]), _correlation(a[tail], b[tail]))
    return found if best - shifted > STEP_BETTER * best else None


def _correlation(a: Cells, b: Cells) -> float:
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


def path_ratios(cells: Cells) -> NDArray[np.float64]:
    """(T - 3,) how much longer the way through four frames t … t + 3 is than with the two in the middle swapped.
    Above 1, the frames lie more smoothly in the other order."""

    def length(*steps: tuple[int, int]) -> NDArray[np.float64]:
        n = len(cells) - 3
        lengths = np.zeros(n)
        for i, j in steps:
            lengths += np.linalg.norm(cells[j : j + n] - cells[i : i + n], axis=1)
        return lengths

    own = length((0, 1), (1, 2), (2, 3))
    swapped = length((0, 2), (2, 1), (1, 3))
    ratios: NDArray[np.float64] = own / np.maximum(swapped, 1e-9)
    return ratios


def swapped_pairs(cells: Cells, reference: Cells) -> NDArray[np.intp]:
    """The frames t that lie smoothly only if they change places with t + 1, while the reference does not."""
    n = min(len(cells), len(reference))
    if n < 4:
        return np.zeros(0, np.intp)
    return np.flatnonzero((path_ratios(cells[:n]) > 1.25) & (path_ratios(reference[:n]) < 0.85)) + 1


def repeated_frames(cells: Cells, reference: Cells) -> NDArray[np.intp]:
    """The frames that equal the one before them, while the reference moves and so do their neighbours."""
    n = min(len(cells), len(reference))
    if n < FEWEST_FRAMES:
        return np.zeros(0, np.intp)
    own, other = (np.abs(np.diff(c[:n], axis=0)).mean(1) for c in (cells, reference))

    def usual(e: NDArray[np.float32]) -> NDArray[np.float64]:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(e, 4, mode="reflect"), 9)
        medians: NDArray[np.float64] = np.median(windows, axis=1)
        return medians

    still = (own < 0.12 * usual(own)) & (other > 0.5 * usual(other)) & (usual(own) > 0.1)
    return np.flatnonzero(still) + 1


def lexicographic_order(n: int) -> NDArray[np.intp]:
    """(n,) the frames 0 … n - 1 as their numbers sort as text: 0, 1, 10, 11, …, 2, 20, …"""
    return np.array(sorted(range(n), key=str), np.intp)

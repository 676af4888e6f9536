"""MSE, PSNR, SSIM and MS-SSIM of a frame, and their averages over a video, by the conventions of the benchmark's
author.

Sources: SSIM by Wang, Bovik, Sheikh and Simoncelli (2004), MS-SSIM by Wang, Simoncelli and Bovik (2003), with the
parameters of torchmetrics ≥ 1.4.2, which visage 0.2.18 calls with its defaults. Images are (H, W, 3) uint8 RGB
and are compared with values from 0 to 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[Any]
"""float32"""
Matte = NDArray[Any]
"""(H, W) float32, from 0 to 1"""

BATCH = 16
"""Frames that are averaged together before the average over a video is taken."""
IMAGE_METRICS = ("psnr", "ssim", "ms_ssim", "mse")
"""What the base installation computes."""
SSIM_BORDER = "reflected, part of the mean (torchmetrics ≥ 1.4.2)"

_TAPS, _SIGMA = 11, 1.5
_RADIUS = _TAPS // 2
_C1, _C2 = 0.01**2, 0.03**2
_STRIP_PIXELS = 2**17
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales
SMALLEST_SSIM = _RADIUS + 1
"""The fewest rows and columns that SSIM is defined for, because its border is reflected."""
SMALLEST_MS_SSIM = _TAPS * 2 ** (len(_WEIGHTS) - 1)
"""The fewest rows and columns for MS-SSIM, 176: torchmetrics speaks of more than 160, but refuses 161 to 175
too."""


@functools.cache
def _window() -> Plane:
    """The Gaussian, (11, 11), with the very float32 values that torchmetrics uses.

    On a white background, SSIM is made of small differences of large squares, so that rounding shows in its fourth
    digit: a window of the same values, applied as one (not by rows and columns), gives what torchmetrics gives to
    six digits.
    """
    taps = np.exp(-np.square(np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32) / np.float32(_SIGMA)) / 2)
    taps /= np.float32(taps.sum(dtype=np.float64))
    window: Plane = np.outer(taps, taps)
    return window


def _blur(plane: Plane, into: Plane) -> None:
    import cv2

    cv2.filter2D(plane, cv2.CV_32F, _window(), dst=into, borderType=cv2.BORDER_REFLECT_101)


def _sum(plane: Plane, matte: Matte | None) -> float:
    if matte is None:
        return float(plane.sum(dtype=np.float64))
    return float(np.einsum("ij,ij->", plane, matte, dtype=np.float64))


def _workspace(width: int) -> Plane:
    """Room for the planes of a strip of an image of that width, used again for every strip.

    Strips stay in the processor's cache. Planes of the whole image would not, and to get new ones from the system
    at every step would take several times as long as the arithmetic.
    """
    return np.empty((7, (_strip(width) + 2 * _RADIUS) * width), np.float32)


def _strip(width: int) -> int:
    """The rows of a strip, less those that it shares with its neighbours."""
    return max(_STRIP_PIXELS // width, 4 * _RADIUS)


def _similarities(x: Plane, y: Plane, matte: Matte | None, space: Plane) -> tuple[float, float, float]:
    """Of one channel: the mean SSIM of the whole plane, that without the border, and the mean of the contrast term
    without the border (NaN if there is nothing but border)."""
    height, width = x.shape
    rows = _strip(width)
    sums, weights = np.zeros(3), np.zeros(3)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - _RADIUS, 0), min(bottom + _RADIUS, height)
        planes = space[:, : (last - first) * width].reshape(-1, last - first, width)
        ssim, contrast = _maps(x[first:last], y[first:last], planes)
        whole = (slice(top - first, bottom - first), slice(None))
        inner = (slice(max(top, _RADIUS) - first, min(bottom, height - _RADIUS) - first), slice(_RADIUS, -_RADIUS))
        for i, (plane, area) in enumerate(((ssim, whole), (ssim, inner), (contrast, inner))):
            part = None if matte is None else matte[first:last][area]
            sums[i] += _sum(plane[area], part)
            weights[i] += plane[area].size if part is None else part.sum(dtype=np.float64)
    means = np.divide(sums, weights, out=np.zeros(3), where=weights != 0)
    if min(x.shape) <= 2 * _RADIUS:
        means[1:] = math.nan
    return float(means[0]), float(means[1]), float(means[2])


def _maps(x: Plane, y: Plane, space: Plane) -> tuple[Plane, Plane]:
    """SSIM and its contrast term of every pixel. Both lie in `space`: seven planes of the size of `x`."""
    mean_x, mean_y, product, variance_x, variance_y, covariance, scratch = space
    _blur(x, mean_x)
    _blur(y, mean_y)
    np.multiply(mean_x, mean_y, out=product)
    for plane, mean, variance in ((x, mean_x, variance_x), (y, mean_y, variance_y)):
        np.multiply(plane, plane, out=scratch)
        _blur(scratch, variance)
        mean *= mean
        variance -= mean
        np.maximum(variance, 0, out=variance)
    np.multiply(x, y, out=scratch)
    _blur(scratch, covariance)
    covariance -= product

    contrast, ssim, squares, variances = covariance, product, mean_x, variance_x
    squares += mean_y
    variances += variance_y
    for term, factor, constant in ((contrast, 2, _C2), (variances, 1, _C2), (ssim, 2, _C1), (squares, 1, _C1)):
        term *= factor
        term += np.float32(constant)
    contrast /= variances
    ssim /= squares
    ssim *= contrast
    return ssim, contrast


def _halve(plane: Plane) -> Plane:
    """The means of 2 × 2 pixels; an odd last row or column is dropped."""
    import cv2

    height, width = (side // 2 for side in plane.shape)
    halved: Plane = cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return halved


def mean_squared_error(a: Image, b: Image, matte: Matte | None = None) -> float:
    """The mean of (a - b)² over pixels and channels, of values from 0 to 1; exact for uint8. With an (H, W)
    `matte`
    from 0 to 1 it is the mean weighted by it."""
    if matte is None:
        import cv2

        return cv2.norm(a, b, cv2.NORM_L2SQR) / (a.size * 255.0**2)
    squares = np.square(a.astype(np.float32) - b).sum(axis=2) / (3 * 255.0**2)
    weight = float(matte.sum(dtype=np.float64))
    return _sum(squares, matte) / weight if weight else 0.0


def to_psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for a mean squared error of 0."""
    return math.inf if mse == 0 else -10 * math.log10(mse)


def image_metrics(
    render: Image, truth: Image, wanted: Collection[str], matte: Matte | None = None
) -> dict[str, float]:
    """The values of one frame: `mse`, and those of `psnr`, `ssim`, `ssim_cropped` and `ms_ssim` that are wanted.

    `render` and `truth` are (H, W, 3) uint8 RGB of the same size. `ssim_cropped` leaves the border of five pixels
    out, as torchmetrics ≤ 1.4.1 did; it comes with `ssim`. A metric is missing if the frame is too small for it.
    With a `matte`, (H, W) float32 from 0 to 1, pixels count as much as it says; no published metric does that.
    """
    values = {"mse": mean_squared_error(render, truth, matte)}
    if "psnr" in wanted:
        values["psnr"] = to_psnr(values["mse"])
    smallest = min(render.shape[:2])
    several = "ms_ssim" in wanted and smallest >= SMALLEST_MS_SSIM
    if not several and ("ssim" not in wanted or smallest < SMALLEST_SSIM):
        return values
    n_scales = len(_WEIGHTS) if several else 1
    space = _workspace(render.shape[1])
    found = np.array([_channel(render[..., c], truth[..., c], n_scales, matte, space) for c in range(3)])
    whole, cropped, contrast = found.mean(axis=0).T
    if "ssim" in wanted:
        values["ssim"] = float(whole[0])
        if not math.isnan(cropped[0]):
            values["ssim_cropped"] = float(cropped[0])
    if several:
        factors = np.maximum([*contrast[:-1], whole[-1]], 0) ** np.array(_WEIGHTS)
        values["ms_ssim"] = float(factors.prod())
    return values


def _channel(
    render: NDArray[np.uint8], truth: NDArray[np.uint8], n_scales: int, matte: Matte | None, space: Plane
) -> list[tuple[float, float, float]]:
    x, y = (np.divide(plane, 255, dtype=np.float32) for plane in (render, truth))
    found = []
    for scale in range(n_scales):
        if scale:
            x, y = _halve(x), _halve(y)
            matte = None if matte is None else _halve(matte)
        found.append(_similarities(x, y, matte, space))
    return found


def is_dropped(truth: Image) -> bool:
    """Whether visage leaves the frame out: the truth has only the values 0 and 128, a marker for "no image"."""
    # A frame of any picture is told by its first row.
    return all(((rows == 0) | (rows == 128)).all() for rows in (truth[:1], truth))


def chunk_means(values: Sequence[float]) -> list[float]:
    """The means of consecutive batches; the last one may be shorter."""
    return [math.fsum(values[i : i + BATCH]) / len(values[i : i + BATCH]) for i in range(0, len(values), BATCH)]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def by_batches(name: str, values: Sequence[float]) -> float:
    """The value of a video from those of its kept frames, in order, as visage takes it: batches of 16 frames, in
    each
    the mean, and over the batches, however short the last one, the plain mean. For `psnr` the values are mean
    squared errors, and each batch's mean is turned into dB. `mse` is the mean over all frames."""
    if name == "mse":
        return mean(values)
    means = chunk_means(values)
    return mean([to_psnr(value) for value in means] if name == "psnr" else means)


def summarise(frames: Iterable[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """`metrics` by batches and `frame_means` over frames, of every metric that all frames have."""
    rows = list(frames)
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    batches = {name: by_batches(name, [row["mse" if name == "psnr" else name] for row in rows]) for name in names}
    return batches, {name: mean([row[name] for row in rows]) for name in names}

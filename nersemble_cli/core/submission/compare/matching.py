"""How well pictures agree, whatever their tone; and the picture that would agree better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare.signals import CELL_COLUMNS, CELL_ROWS

CONTRAST = 40  # levels: a pixel that differs less from white may be haze
Image = NDArray[np.uint8]
Turn = Callable[[Image], Image]


def _resized(images: Image, height: int, width: int) -> Image:
    """(…, height, width, 3) by the nearest pixel."""
    rows = (np.arange(height) + 0.5) * images.shape[-3] / height
    columns = (np.arange(width) + 0.5) * images.shape[-2] / width
    resized: Image = images[..., rows.astype(int)[:, None], columns.astype(int), :]
    return resized


def _turned(quarters: int) -> Turn:
    def turn(images: Image) -> Image:
        height, width = images.shape[-3:-1]
        return _resized(np.rot90(images, quarters, axes=(-3, -2)), height, width)

    return turn


MIRRORS: Mapping[str, Turn] = {"mirrored": lambda images: images[..., ::-1, :]}
TURNS: Mapping[str, Turn] = {
    "upside down": lambda images: images[..., ::-1, :, :],
    "turned by 180°": lambda images: images[..., ::-1, ::-1, :],
    "turned by 90°": _turned(1),
    "turned by 270°": _turned(3),
}


def foreground(images: Image) -> NDArray[np.bool_]:
    """(…, h, w) what is clearly not white."""
    darkest = np.minimum(np.minimum(images[..., 0], images[..., 1]), images[..., 2])
    clear: NDArray[np.bool_] = darkest < 255 - CONTRAST
    return clear


def halved(images: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.float32]:
    """(K, h, w, …) at half the size, by the mean of 2×2 pixels: small errors of place count less."""
    height, width = images.shape[1] // 2 * 2, images.shape[2] // 2 * 2
    even = images[:, :height, :width]
    rows = even[:, ::2].astype(np.uint16) + even[:, 1::2]
    sums = rows[:, :, ::2] + rows[:, :, 1::2]
    return sums * np.float32(0.25)


def detail(images: Image) -> float:
    """Mean squared second differences of luma along rows and columns, over two pixels, as a share of its variance:
    a dark picture is not a blurred one."""
    luma = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    across = luma[:, :, 4:] - 2 * luma[:, :, 2:-2] + luma[:, :, :-4]
    down = luma[:, 4:] - 2 * luma[:, 2:-2] + luma[:, :-4]
    return float((across**2).mean() + (down**2).mean()) / 2 / max(float(luma.var()), 1e-9)


def agreement(
    images: Image, expected: Image, masks: NDArray[np.bool_] | None, is_whole: bool = True
) -> NDArray[np.float64]:
    """(K,) correlation of images (K, h, w, 3) with what is expected, over what either shows: 1 is equal up to
    brightness, tint and contrast, about 0 unrelated.

    `masks` (K, h, w) is where the subject is expected; if None, only what the images show counts, so that parts
    that are missing from them do no harm. If `is_whole` is False, nothing is known of what is outside of `masks`.
    """
    if masks is None or is_whole:
        shown = foreground(images)
        region = halved(shown if masks is None else masks | shown) > 0.25
    else:
        region = halved(masks) > 0.25
    scores = np.zeros(len(images))
    for k, (a, b, where) in enumerate(zip(halved(images), halved(expected), region, strict=True)):
        if not where.any():
            continue
        a, b = a[where], b[where]
        a, b = a - a.mean(0), b - b.mean(0)
        scores[k] = float((a * b).sum()) / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-6)
    return scores


class Framing(NamedTuple):
    """Where a picture lies that should lie elsewhere: a point of the expected one appears at `scale` times its
    place from the centre, `right` and `down` of it, as shares of the picture's height."""

    scale: float
    right: float
    down: float


def shifted(images: NDArray[np.float32], framing: Framing) -> NDArray[np.float32]:
    """(K, h, w, C) as they look with another framing, white where nothing is known; bilinear."""
    height, width = images.shape[1:3]
    y = (np.arange(height) - (height - 1) / 2 - framing.down * height) / framing.scale + (height - 1) / 2
    x = (np.arange(width) - (width - 1) / 2 - framing.right * height) / framing.scale + (width - 1) / 2

    def taps(at: NDArray[np.float64], n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        low = np.floor(at)
        first = np.clip(low, -1, n).astype(np.intp) + 1  # in a row padded by one at either end
        return first, np.minimum(first + 1, n + 1), (at - low).astype(np.float32)

    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    y0, y1, fy = taps(y, height)
    x0, x1, fx = taps(x, width)
    below, beside = fy[:, None, None], fx[:, None]
    rows: NDArray[np.float32] = padded[:, y0] * (1 - below) + padded[:, y1] * below
    moved: NDArray[np.float32] = rows[:, :, x0] * (1 - beside) + rows[:, :, x1] * beside
    return moved


def find_framing(images: Image, expected: Image) -> Framing:
    """The framing of `images` (K, h, w, 3) relative to what is expected: by correlation over shifts at several
    scales, and Gauss-Newton steps from the best."""
    a, b = 255 - halved(images).mean(-1), 255 - halved(expected).mean(-1)
    height, width = a.shape[1:]
    size = (2 * height, 2 * width)
    spectrum = np.fft.rfft2(a, size)
    best, found = -np.inf, Framing(1, 0, 0)
    for scale in (0.6, 0.7, 0.8, 0.87, 0.93, 1.0, 1.07, 1.15, 1.25, 1.4, 1.6):
        scaled = 255 - shifted((255 - b)[..., None], Framing(scale, 0, 0))[..., 0]
        correlation = np.fft.irfft2((spectrum * np.fft.rfft2(scaled, size).conj()).sum(0), size)
        score = correlation.max() / max(float(np.linalg.norm(scaled)), 1e-6)
        if score > best:
            y, x = np.unravel_index(int(correlation.argmax()), size)
            down, right = (int(y) + height) % size[0] - height, (int(x) + width) % size[1] - width
            best, found = score, Framing(scale, right / height, down / height)
    return _refined(a, b, found)


def _refined(a: NDArray[np.float32], b: NDArray[np.float32], start: Framing) -> Framing:
    """Gauss-Newton for a ≈ gain · b in another framing, both (K, h, w) and 0 where nothing is."""
    height, width = a.shape[1:]
    y = ((np.arange(height) - (height - 1) / 2) / height)[:, None]
    x = (np.arange(width) - (width - 1) / 2) / height
    framing = start
    for _ in range(8):
        moved = 255 - shifted((255 - b)[..., None], framing)[..., 0]
        down = np.gradient(moved, axis=1) * height
        right = np.gradient(moved, axis=2) * height
        # How `moved` changes with scale, right, down, and the gain.
        slopes = np.stack([-(down * y + right * x), -right, -down, moved], axis=-1).reshape(-1, 4)
        residual = (a - moved).ravel()
        step = np.linalg.lstsq(slopes.T @ slopes + 1e-6 * np.eye(4), slopes.T @ residual, rcond=None)[0]
        framing = Framing(framing.scale * (1 + step[0]), framing.right + step[1], framing.down + step[2])
        if not 0.4 < framing.scale < 2.5 or max(abs(framing.right), abs(framing.down)) > 1:
            return start
        if max(abs(step[:3])) < 1e-4:
            break
    return Framing(*map(float, framing))


HEAD_SCALES = tuple(np.arange(0.7, 1.41, 0.05).tolist())
HEAD_MOVES = tuple(np.arange(-0.06, 0.061, 0.01).tolist())  # of the height


def framed(images: Image, masks: NDArray[np.bool_], framing: Framing) -> tuple[Image, NDArray[np.bool_]]:
    """Pictures (K, h, w, 3) and masks (K, h, w) in another framing."""
    moved = shifted(images.astype(np.float32), framing).round().clip(0, 255).astype(np.uint8)
    outside = shifted(255 * (~masks[..., None]).astype(np.float32), framing)
    return moved, outside[..., 0] < 128


def framed_cells(cells: NDArray[np.float32], framing: Framing, aspect: float) -> NDArray[np.float32]:
    """Cells (T, C) as from `signals.luma_cells` in another framing, of pictures `aspect` times as wide as high."""
    grid = cells.reshape(-1, CELL_ROWS, CELL_COLUMNS, 1)
    right = framing.right / aspect * CELL_COLUMNS / CELL_ROWS  # `shifted` takes cells for squares
    return shifted(grid, framing._replace(right=right)).reshape(len(cells), -1)


def find_head_framing(images: Image, expected: Image, masks: NDArray[np.bool_]) -> Framing:
    """The framing of `images` (K, h, w, 3), of which only what is in `masks` (K, h, w) is expected, to 5 % of the
    scale and 1 % of the height: scale and place are looked for in turn."""

    def score(framing: Framing) -> float:
        return float(agreement(images, *framed(expected, masks, framing), is_whole=False).mean())

    found = Framing(1, 0, 0)
    for _ in range(2):
        for field, values in (("scale", HEAD_SCALES), ("right", HEAD_MOVES), ("down", HEAD_MOVES)):
            found = max((found._replace(**{field: value}) for value in values), key=score)
    return found

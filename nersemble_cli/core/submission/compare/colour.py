"""Whether a video has the colours that it should: compared by parts of the picture, in levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare.matching import Image, foreground

BLOCK = 8  # thumbnail pixels along the edge of a part
FULL = 0.9  # of a part's pixels must be in the foreground of both

Colors = NDArray[np.float64]
Curve = Callable[[Colors], Colors]


def _srgb_to_linear(c: Colors) -> Colors:
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(c: Colors) -> Colors:
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * np.maximum(c, 0) ** (1 / 2.4) - 0.055)


# What may have been done to sRGB values in [0, 1].
TONES: Mapping[str, Curve] = {"linear light": _srgb_to_linear, "gamma twice": _linear_to_srgb}


class Patches(NamedTuple):
    """The mean colours (N, 3) in [0, 1] of the same parts of both pictures."""

    actual: Colors
    expected: Colors


def patches(images: Image, expected: Image, masks: NDArray[np.bool_]) -> Patches:
    """The parts of pictures (K, h, w, 3) that are subject in both."""
    k, height, width = masks.shape
    rows, columns = height // BLOCK, width // BLOCK

    def blocks(values: NDArray[np.generic]) -> NDArray[np.float64]:
        cut = values[:, : rows * BLOCK, : columns * BLOCK].astype(np.float64)
        parts: NDArray[np.float64] = cut.reshape(k, rows, BLOCK, columns, BLOCK, -1).mean(axis=(2, 4))
        return parts.reshape(k * rows * columns, -1)

    inside = blocks(masks & foreground(images))[:, 0] >= FULL
    return Patches(blocks(images)[inside] / 255, blocks(expected)[inside] / 255)


def distance(actual: Colors, expected: Colors) -> float:
    """Mean absolute difference in levels of 255."""
    return 255 * float(np.abs(actual - expected).mean())


def up_to_gain(actual: Colors, expected: Colors) -> float:
    """`distance` after the best common factor for brightness, within 30 % of 1."""
    gain = float((actual * expected).sum() / max(float((actual**2).sum()), 1e-9))
    return distance(actual * np.clip(gain, 0.7, 1.3), expected)


def opacity(images: Image, expected: Image, masks: NDArray[np.bool_]) -> float:
    """How much of the expected contrast to white there is where the subject should be: 1 is opaque, 0 absent."""
    contrast = (255.0 - expected[masks]).sum()
    return float((255.0 - images[masks]).sum() / contrast) if contrast else 1.0


def cover(images: Image, masks: NDArray[np.bool_]) -> float:
    """The share of where the subject should be that is not white."""
    return float(foreground(images)[masks].mean()) if masks.any() else 1.0


def channel_gains(actual: Colors, expected: Colors) -> Colors:
    """(3,) the factors by which red, green and blue are brighter than expected."""
    gains: Colors = (actual * expected).sum(0) / np.maximum((expected**2).sum(0), 1e-9)
    return gains

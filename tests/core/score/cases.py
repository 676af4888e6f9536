"""Pairs of videos whose scores by torchmetrics are stored in `reference.json`; numpy alone makes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Video = NDArray[np.uint8]
Pair = tuple[Video, Video]


def _scene(rng: np.random.Generator, n: int, height: int, width: int) -> Video:
    """Moving smooth shapes with a little noise on white."""
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for t in range(n):
        distance = ((x - width / 2 - 2 * t) / (0.3 * width)) ** 2 + ((y - height / 2) / (0.4 * height)) ** 2
        waves = np.stack([np.sin(x / (3 + c) + t) * np.cos(y / (5 - c)) for c in range(3)], axis=-1)
        inside = 130 + 60 * waves + rng.normal(scale=6, size=(height, width, 3))
        frames.append(np.where(distance[..., None] < 1, inside, 255))
    return np.stack(frames).round().clip(0, 255).astype(np.uint8)


def _noisy(rng: np.random.Generator, video: Video, scale: float = 12) -> Video:
    noise = rng.normal(scale=scale, size=video.shape)
    # Frames differ in quality, or averages of all kinds would be the same.
    noise *= np.linspace(0.3, 2, len(video))[:, None, None, None]
    return (video + noise).round().clip(0, 255).astype(np.uint8)


def _pair(n: int, height: int, width: int) -> Callable[[], Pair]:
    def make() -> Pair:
        rng = np.random.default_rng([n, height, width])
        truth = _scene(rng, n, height, width)
        return _noisy(rng, truth), truth

    return make


def _flat(render: int, truth: int) -> Callable[[], Pair]:
    shape = (2, 176, 192, 3)
    return lambda: (np.full(shape, render, np.uint8), np.full(shape, truth, np.uint8))


def _noise() -> Pair:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 256, (2, 2, 176, 192, 3), dtype=np.uint8)
    return a, b


def _inverted() -> Pair:
    truth = _scene(np.random.default_rng(6), 2, 176, 192)
    return 255 - truth, truth


def _one_identical() -> Pair:
    render, truth = _pair(3, 48, 64)()
    render[1] = truth[1]
    return render, truth


CASES: dict[str, Callable[[], Pair]] = {
    **{f"{n} frames": _pair(n, 48, 64) for n in (1, 15, 16, 17, 33)},
    "odd": _pair(2, 181, 179),
    "smallest for MS-SSIM": _pair(1, 176, 176),
    "too small for MS-SSIM": _pair(2, 175, 200),
    "tiny": _pair(2, 12, 13),
    "large": _pair(1, 512, 400),
    "white": _flat(255, 255),
    "black": _flat(0, 0),
    "white on black": _flat(255, 0),
    "flat": _flat(100, 110),
    "noise": _noise,
    "inverted": _inverted,
    "one identical": _one_identical,
}


def alexnet(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Random weights in the shapes of AlexNet's five convolutions, under torchvision's names."""
    rng = np.random.default_rng(seed)
    shapes = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
    weights: dict[str, NDArray[np.float32]] = {}
    for number, (n_out, n_in, size) in zip((0, 3, 6, 8, 10), shapes, strict=True):
        scale = np.sqrt(2 / (n_in * size * size))
        weights[f"features.{number}.weight"] = rng.normal(scale=scale, size=(n_out, n_in, size, size)).astype("f4")
        weights[f"features.{number}.bias"] = rng.normal(scale=0.05, size=n_out).astype("f4")
    return weights

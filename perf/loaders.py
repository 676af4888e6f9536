"""Samples of the torch datasets through a DataLoader: orders, workers, scales, with and without a cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from data_access import write_calibration
from lab import PARTICIPANT, SEQUENCE, Lab
from measure import Row, Run

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.managers import NVSDataManager

# Every sample is an image and an alpha map of 1604×1100. The first epoch fills the cache.
SCRIPT = """
import json, logging, sys, time
logging.disable()
from torch.utils.data import DataLoader
from nersemble_cli import GroupedBatchSampler, NVSDataset
def main():
    folder, scale, workers, order, cache, n = sys.argv[1:]
    dataset = NVSDataset(
        folder, 475, "HAIR", timesteps=range(int(n)),
        scale=None if scale == "1" else float(scale), cache=cache or None,
    )
    workers = int(workers)
    options = dict(num_workers=workers, persistent_workers=workers > 0)
    if order == "grouped":
        loader = DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, 8), **options)
    else:
        loader = DataLoader(dataset, batch_size=8, shuffle=order == "random", **options)
    if cache or workers:
        for batch in loader: pass
    start = time.perf_counter()
    for batch in loader: pass
    print(json.dumps(time.perf_counter() - start))
main()
"""
TORCHCODEC = """
import json, sys, time
from torchcodec.decoders import VideoDecoder
folder, n = sys.argv[1:]
start = time.perf_counter()
for name in ("images", "alpha_maps"):
    decoder = VideoDecoder(f"{folder}/{name}.mp4")
    for t in range(int(n)): decoder[t].float().div_(255)
print(json.dumps(time.perf_counter() - start))
"""
N_IN_ORDER = 128
N_RANDOM = 24  # without a cache, a random frame takes the way from its key frame


def rows(lab: Lab) -> Iterator[Row]:
    folder = lab.folder / "loaders"
    serial = NVS.train_serials[0]
    nvs = NVSDataManager(folder, PARTICIPANT)
    for path in (nvs.get_images_path(SEQUENCE, serial), nvs.get_alpha_maps_path(SEQUENCE, serial)):
        lab.link(lab.video, path)
    write_calibration(Path(nvs.get_camera_calibration_path()))

    def load(scale: str, workers: int, order: str, cache: str = "", n: int = N_IN_ORDER) -> Run:
        return lab.run_inner(
            sys.executable, SCRIPT, folder, scale, str(workers), order, cache and str(lab.folder / cache), str(n)
        )

    def in_order(scale: str, workers: int) -> Run:
        return load(scale, workers, "in order")

    for scale in ("1", "0.5"):
        for workers in (0, 1, 2):
            place = f"{workers} workers, scale {scale}"
            yield Row(
                f"In order, {place}",
                ours=lambda s=scale, w=workers: in_order(s, w),  # type: ignore[misc]
                limit=(lambda: _torchcodec(lab)) if _has_torchcodec() and (scale, workers) == ("1", 0) else None,
                limit_is="torchcodec, decoding only",
                n=N_IN_ORDER,
                unit="sample",
                rounds=2,
            )
            yield Row(
                f"Grouped shuffle, {place}",
                ours=lambda s=scale, w=workers: load(s, w, "grouped"),  # type: ignore[misc]
                limit=lambda s=scale, w=workers: in_order(s, w),  # type: ignore[misc]
                limit_is="in order",
                asked_of_limit=2,
                n=N_IN_ORDER,
                unit="sample",
                rounds=2,
            )
            yield Row(
                f"Random with a warm cache (raw), {place}",
                ours=lambda s=scale, w=workers: load(s, w, "random", "cache"),  # type: ignore[misc]
                limit=lambda s=scale, w=workers: in_order(s, w),  # type: ignore[misc]
                limit_is="in order",
                asked_of_limit=1.2,
                n=N_IN_ORDER,
                unit="sample",
                rounds=2,
            )
        yield Row(
            f"Random without a cache, 0 workers, scale {scale}",
            ours=lambda s=scale: load(s, 0, "random", n=N_RANDOM),  # type: ignore[misc]
            n=N_RANDOM,
            unit="sample",
            rounds=2,
        )


def _has_torchcodec() -> bool:
    """Whether it can be used: beside its wheel it needs FFmpeg's libraries."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def _torchcodec(lab: Lab) -> Run:
    folder = lab.folder / "torchcodec"
    if not folder.exists():
        for name in ("images", "alpha_maps"):
            lab.link(lab.video, str(folder / f"{name}.mp4"))
    return lab.run_inner(sys.executable, TORCHCODEC, folder, str(N_IN_ORDER))

"""What is expected of a sequence's videos, and its cache in the benchmark folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoBenchmark
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.files import replacing
from nersemble_cli.core.formats.npz import read_npz
from nersemble_cli.core.submission.compare.signals import CELL_COLUMNS, CELL_ROWS

CACHE = Path(".nersemble", "compare")
CACHE_VERSION = 5
_FIELDS = ("images", "masks", "cells")
SequenceKey = tuple[int, str]  # participant and sequence


class Place(NamedTuple):
    """Where the data of a sequence is."""

    folder: Path  # the benchmark folder
    benchmark: VideoBenchmark
    participant: int
    sequence: str

    def path(self, asset: str, serial: str | None = None) -> Path:
        name = self.benchmark.asset(asset).path.format(
            participant=self.participant, sequence=self.sequence, serial=serial
        )
        return self.folder / self.benchmark.folder / name

    @property
    def cache(self) -> Path:
        return self.folder / CACHE / f"{self.benchmark.name}_{self.participant:03d}_{self.sequence}.npz"


@dataclass(frozen=True)
class View:
    """What a camera should see, or does see.

    `images` (K, h, w, 3) uint8 RGB on white and `masks` (K, h, w) bool at the reference's timesteps; `cells`
    (T, C) float32 of every frame as from `signals.luma_cells`, (0, C) if unknown.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    cells: NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What is known of a sequence. `expected` has the views of the submission's cameras, `seen` those of training
    cameras; `controls` has training cameras as they would be expected if they were not known, which tells how far
    expectations can be trusted. All are by serial; `nearest` has the training camera beside each expected one.
    `is_whole` is False if expectations hold the head only, and what is beside it is not known."""

    timesteps: tuple[int, ...]
    expected: Mapping[str, View]
    seen: Mapping[str, View]
    controls: Mapping[str, View]
    nearest: Mapping[str, str]
    is_whole: bool = True


def fingerprint(folder: Path, paths: Iterable[Path], *facts: object) -> str:
    """A key that changes when one of the files in `folder` does, its name, size or time, or one of `facts`."""
    digest = hashlib.sha256(repr((CACHE_VERSION, *facts)).encode())
    for path in sorted(paths):
        status = path.stat()
        digest.update(repr((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def save(path: Path, key: str, reference: Reference) -> None:
    """Writes a reference; a folder that cannot be written has no cache."""
    arrays: dict[str, NDArray[np.generic]] = {"timesteps": np.array(reference.timesteps, np.int64)}
    groups = {"expected": reference.expected, "seen": reference.seen, "controls": reference.controls}
    for group, views in groups.items():
        for serial, view in views.items():
            arrays |= {f"{group}.{serial}.{name}": getattr(view, name) for name in _FIELDS}
    about = {
        "key": key,
        "nearest": dict(reference.nearest),
        "is_whole": reference.is_whole,
        **{group: list(views) for group, views in groups.items()},
    }
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: Path, key: str) -> Reference | None:
    """The reference in the cache; None if there is none, or one of other files or of another version, or one that
    is damaged."""
    try:
        if not path.is_file():
            return None
        about = json.loads(bytes(read_npz(path, ["about"])["about"]))
        if about["key"] != key:
            return None
        groups = {group: list(map(str, about[group])) for group in ("expected", "seen", "controls")}
        names = [
            f"{group}.{serial}.{name}"
            for group, serials in groups.items()
            for serial in serials
            for name in _FIELDS
        ]
        arrays = read_npz(path, ["timesteps", *names])
        views = {
            group: {s: View(*(arrays[f"{group}.{s}.{name}"] for name in _FIELDS)) for s in serials}
            for group, serials in groups.items()
        }
        reference = Reference(
            tuple(arrays["timesteps"].tolist()),
            **views,
            nearest=dict(about["nearest"]),
            is_whole=bool(about["is_whole"]),
        )
        return reference if _is_sound(reference) else None
    except (OSError, InvalidInputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_sound(reference: Reference) -> bool:
    """Whether all that belongs together fits together."""
    views = {**reference.expected, **reference.seen, **reference.controls}.values()
    return (
        all(serial in reference.nearest for serial in reference.expected)
        and all(
            view.images.ndim == 4
            and view.images.dtype == np.uint8
            and view.images.shape[3] == 3
            and view.masks.shape == view.images.shape[:3]
            and view.masks.dtype == np.bool_
            and view.cells.ndim == 2
            and view.cells.shape[1] == CELL_ROWS * CELL_COLUMNS
            and bool(np.isfinite(view.cells).all())
            for view in views
        )
        and all(len(view.images) == len(reference.timesteps) for view in reference.expected.values())
    )

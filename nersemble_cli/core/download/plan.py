"""Which of the selected files are on disk and which remain to be fetched. Nothing is fetched here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from nersemble_cli.core.benchmarks import Benchmark, BenchmarkFile, files
from nersemble_cli.core.download.manifest import Manifest
from nersemble_cli.core.download.selection import POINTCLOUDS, as_ranges
from nersemble_cli.core.files import part_path

Here = Literal["present", "missing", "wrong_size", "unlisted", "folder"]


@dataclass(frozen=True)
class FileStatus:
    """A selected file and what is known of it; sizes in bytes.

    `here` is what is on disk: a file as in the manifest ("present") or of another size, one that the manifest does
    not list ("unlisted"), a folder, or nothing. `size` is the file's size on the server, None if it is unknown.
    `failure` is why the server could not tell.
    """

    file: BenchmarkFile
    here: Here
    size_here: int = 0
    part_size: int = 0
    size: int | None = None
    todo: bool = False
    failure: str | None = None

    @property
    def likely_size(self) -> int:
        """The size, or an estimate."""
        return self.file.asset.typical_size if self.size is None else self.size

    @property
    def to_come(self) -> int:
        """Bytes that remain to be fetched, as far as is known."""
        return max(0, self.likely_size - self.part_size) if self.todo else 0


def local_status(file: BenchmarkFile, folder: Path, manifest: Manifest) -> FileStatus:
    """What is on disk of a file, below the benchmark's own `folder`. Unless it is there as in the manifest, it
    remains to be fetched."""
    path = folder / file.path
    try:
        size_here = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        known = manifest.part(file.path) or manifest.file(file.path)
        size = known.size if known else None
        part = part_path(path)
        return FileStatus(file, "missing", 0, part.stat().st_size if part.is_file() else 0, size, todo=True)
    known = manifest.file(file.path)
    if path.is_dir():
        return FileStatus(file, "folder", todo=True)
    if known is None:
        return FileStatus(file, "unlisted", size_here)
    here: Here = "present" if known.size == size_here else "wrong_size"
    return FileStatus(file, here, size_here, 0, known.size, todo=here != "present")


@dataclass(frozen=True)
class Totals:
    """Sums over selected files: of one asset of one participant, or of all."""

    files: int
    bytes: int
    present_files: int
    present_bytes: int
    remaining_files: int
    remaining_bytes: int


def totals(items: Iterable[FileStatus]) -> Totals:
    items = list(items)
    todo = [item for item in items if item.todo]
    present = [item for item in items if not item.todo]
    present_bytes = sum(item.size_here for item in present)
    return Totals(
        files=len(items),
        bytes=present_bytes + sum(item.likely_size for item in todo),
        present_files=len(present),
        present_bytes=present_bytes,
        remaining_files=len(todo),
        remaining_bytes=sum(item.to_come for item in todo),
    )


def by_asset(items: Iterable[FileStatus]) -> list[tuple[int, str, list[FileStatus]]]:
    """(participant, asset, items) in the benchmark's order."""

    def key(item: FileStatus) -> tuple[int, str]:
        return item.file.participant, item.file.asset.name

    return [(participant, asset, list(group)) for (participant, asset), group in groupby(items, key)]


def fetch_command(
    benchmark: Benchmark,
    missing: Sequence[BenchmarkFile],
    folder: Path | None = None,
    overwrite: bool = False,
) -> str:
    """The shortest command line that fetches `missing`.

    `folder` is the benchmark folder if the command has to name it. Sequences and cameras are only named with
    `overwrite`; otherwise files that are there are skipped anyway.
    """
    words = ["nersemble", "download", benchmark.name]
    everything = list(files(benchmark))
    participants = dict.fromkeys(file.participant for file in missing)
    assets = dict.fromkeys(file.asset.name for file in missing)
    if set(participants) != {file.participant for file in everything}:
        words += ["-p", ",".join(map(str, participants))]
    if set(assets) != {file.asset.name for file in everything if file.participant in participants}:
        words += ["-a", ",".join(assets)]
    sequences = list(dict.fromkeys(file.sequence for file in missing if file.sequence))
    serials = list(dict.fromkeys(file.serial for file in missing if file.serial))
    if overwrite and sequences and all(file.sequence for file in missing):
        words += ["-s", ",".join(sequences)]
    if overwrite and serials and all(file.serial for file in missing):
        words += ["-c", ",".join(serials)]
    timesteps = sorted({file.timestep for file in missing if file.asset.name == POINTCLOUDS and file.timestep})
    first = any(file.timestep == 0 for file in missing)
    if timesteps:
        words += ["--pointcloud-frames", as_ranges([0, *timesteps] if first else timesteps)]
    if folder is not None:
        words += ["-f", str(folder)]
    return shlex.join(words + ["--overwrite"] * overwrite)

"""The user's results for the viewer: a folder of renders, or a submission zip."""

from __future__ import annotations

import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nersemble_cli.core.benchmarks import BENCHMARKS, SERIALS, MeshBenchmark, VideoBenchmark, VideoSlot
from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.files import replacing
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.layouts import VIDEO, find_layouts
from nersemble_cli.core.submission.names import canonical
from nersemble_cli.core.submission.validation import validate_submission
from nersemble_cli.core.viewer.frames import Image, Source
from nersemble_cli.core.viewer.sources import ImageFiles, VideoFile, in_order

ReadFile = Callable[[], bytes]
_DEPTH = 3  # participant / sequence / camera


@dataclass
class UserResults:
    """What the user made. To be closed.

    `renders` maps (participant, sequence) to the frames of each camera, `meshes` a name in a submission to what
    reads that file, `findings` such a name to what `validate` says of it.
    """

    renders: defaultdict[tuple[int, str], dict[str, Source]] = field(default_factory=lambda: defaultdict(dict))
    meshes: dict[str, ReadFile] = field(default_factory=dict)
    findings: defaultdict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def task(self) -> str | None:
        """The name of the task that they belong to; None if there is nothing."""
        if self.meshes:
            return next(b.name for b in BENCHMARKS.values() if isinstance(b, MeshBenchmark))
        for participant, _ in self.renders:
            return next(b.name for b in BENCHMARKS.values() if participant in b.participants)
        return None

    def close(self) -> None:
        if self.scratch is not None:
            self.scratch.cleanup()


def open_results(path: Path | None) -> UserResults:
    """The results in a folder of renders or a submission zip, whatever cameras they are from.

    Nothing is checked here: what cannot be read is said in the page. Raises `UsageError` if nothing at `path`
    belongs to a submission.
    """
    results = UserResults()
    if path is None:
        return results
    if path.is_dir():
        entries: Mapping[str, Path | zipfile.ZipInfo] = dict(_walk(path))
    elif zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        results.scratch = tempfile.TemporaryDirectory(prefix="nersemble-")
        entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    else:
        what = "is not a folder or a zip" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}.", "Name a folder of renders or a submission zip: --renders renders/")
    known = _known_names()
    for name, entry in entries.items():
        slot = known.get(canonical(name.removesuffix(".mp4")))
        if isinstance(slot, VideoSlot):
            source = _frames_at(entry) if isinstance(entry, Path) else _unpacked(results, archive, entry)
            if source is not None:
                results.renders[slot.participant, slot.sequence][slot.serial] = source
        elif isinstance(slot, str):
            results.meshes[slot] = entry.read_bytes if isinstance(entry, Path) else partial(archive.read, entry)
    if path.is_dir() and not results.renders and not results.meshes:
        for slot, source in _in_other_layouts(path):
            results.renders[slot.participant, slot.sequence][slot.serial] = source
    if not results.renders and not results.meshes:
        results.close()
        raise UsageError(
            f"Nothing in {path} belongs to a submission.",
            "Expected {participant}/{sequence}/cam_{serial}/*.png, cam_{serial}.mp4, or a submission zip.",
        )
    if results.scratch is not None:
        for finding in validate_submission(path, quick=True).findings:
            results.findings[finding.path or ""].append(finding)
    return results


def _known_names() -> dict[str, VideoSlot | str]:
    """Canonical names: of videos of any camera without suffix, with their slot; of meshes and landmarks."""
    known: dict[str, VideoSlot | str] = {}
    for benchmark in BENCHMARKS.values():
        if isinstance(benchmark, VideoBenchmark):
            known |= {canonical(slot.path.removesuffix(".mp4")): slot for slot in _every_slot(benchmark)}
        else:
            known.update({canonical(name): name for slot in benchmark.slots for name in slot.files})
    return known


def _every_slot(benchmark: VideoBenchmark) -> Iterator[VideoSlot]:
    """The videos of every camera, those of the training data too."""
    for participant in benchmark.participants:
        for sequence in benchmark.sequences(participant):
            for serial in SERIALS:
                yield VideoSlot(participant, sequence, serial)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    level = [folder]
    for _ in range(_DEPTH):
        level = [child for parent in level if parent.is_dir() for child in sorted(parent.iterdir())]
    return ((str(path.relative_to(folder)), path) for path in level)


def _frames_at(path: Path) -> Source | None:
    if path.is_file():
        return VideoFile(path)
    frames = in_order({file.stem: file for file in path.glob("*.png")})
    return ImageFiles(frames) if frames else None


def _in_other_layouts(folder: Path) -> Iterator[tuple[VideoSlot, Source]]:
    """The renders of a folder in another layout, as `pack` recognises it; the largest layout counts."""
    for benchmark in BENCHMARKS.values():
        if not isinstance(benchmark, VideoBenchmark):
            continue
        slots = list(_every_slot(benchmark))
        for layout in find_layouts(folder, slots)[:1]:
            for slot, files in layout.files.items():
                if layout.suffix == VIDEO:
                    yield slot, VideoFile(next(iter(files.values())))
                elif layout.suffix == ".png" and (frames := in_order(files)):
                    yield slot, ImageFiles(frames)


def _unpacked(results: UserResults, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Source:
    assert results.scratch is not None
    return _ZippedVideo(archive, info, Path(results.scratch.name))


@dataclass(frozen=True)
class _ZippedVideo:
    """A video in a zip, unpacked when it is first looked at: a decoder that jumps about needs a file."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    scratch: Path

    @property
    def _file(self) -> VideoFile:
        path = self.scratch / f"{self.info.header_offset}.mp4"
        if not path.exists():
            try:
                with replacing(path) as part:
                    part.write_bytes(self.archive.read(self.info))
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
                raise InvalidInputError(f"{self.info.filename} cannot be unpacked: {error}.") from error
        return VideoFile(path)

    @property
    def n_frames(self) -> int:
        return self._file.n_frames

    @property
    def key_frames(self) -> list[int]:
        return self._file.key_frames

    def read(self, number: int, longest: int) -> Image:
        return self._file.read(number, longest)

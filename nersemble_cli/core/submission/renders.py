"""What a folder of renders holds: which video or mesh each file is for, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import Benchmark, MeshBenchmark, VideoBenchmark, VideoSlot
from nersemble_cli.core.data.frame_counts import FrameCounts
from nersemble_cli.core.errors import InvalidInputError, UsageError, listing
from nersemble_cli.core.formats.png import check_png, read_rgb
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.submission.crop import Box
from nersemble_cli.core.submission.findings import WARNING, Finding, Report, VideoReport
from nersemble_cli.core.submission.members import FileMember, is_junk
from nersemble_cli.core.submission.names import by_canonical, canonical
from nersemble_cli.core.submission.validation import check_meshes, check_totals
from nersemble_cli.core.submission.video_checks import check_video, wrong_frame_count, wrong_resolution
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

_NUMBERS = re.compile(r"\d+")
_OTHER_IMAGES = {".jpg", ".jpeg", ".webp", ".exr", ".bmp", ".tif", ".tiff", ".npy"}


@dataclass(frozen=True)
class VideoSource:
    """Where a video comes from: PNG frames in order, or a video that is ready (then `frames` is empty).

    `box` is what to cut out of the frames, None for all of them.
    """

    slot: VideoSlot
    path: Path
    frames: tuple[Path, ...] = ()
    box: Box | None = None

    def read(self, number: int) -> NDArray[np.uint8]:
        """Frame `number` as it is to be encoded: (height, width, 3) uint8 RGB."""
        rgb = read_rgb(self.frames[number])
        return rgb if self.box is None else self.box.cut(rgb)


@dataclass
class Renders:
    """The checked contents of a folder of renders. `files` maps names in the zip to files taken as they are."""

    benchmark: Benchmark
    folder: Path
    report: Report
    videos: list[VideoSource] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        """The frames to encode."""
        return sum(len(video.frames) for video in self.videos)


def scan(
    benchmark: Benchmark,
    folder: Path,
    counts: FrameCounts,
    progress: Progress | None = None,
    boxes: Mapping[str, Box] | None = None,
) -> Renders:
    """Finds what is to be packed and checks all of it, to the checksums of every PNG; nothing is written.

    `boxes` says for each camera what to cut out of its frames.
    Every problem is in `report.findings`. Raises `UsageError` if `folder` is none.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}.", f"Give the folder that holds {_example(benchmark)}")
    report = Report(str(folder), benchmark.name, "full")
    renders = Renders(benchmark, folder, report)
    if isinstance(benchmark, VideoBenchmark):
        report.frame_counts_from = counts.sources
        report.notes += counts.notes
        _scan_videos(renders, benchmark, counts, progress or NullProgress(), boxes or {})
    elif isinstance(benchmark, MeshBenchmark):
        _scan_meshes(renders, benchmark, progress or NullProgress())
    report.sort()
    return renders


def _example(benchmark: Benchmark) -> str:
    path = benchmark.slots[0].path
    if isinstance(benchmark, VideoBenchmark):
        path = f"{path.removesuffix('.mp4')}/00000.png"
    return f"{path} and so on."


def entries(folder: Path, depth: int) -> list[Path]:
    """What lies `depth` levels below `folder`, sorted; hidden things and junk are passed over."""
    level = [folder]
    for _ in range(depth):
        level = [
            child
            for parent in level
            if parent.is_dir()
            for child in sorted(parent.iterdir())
            if not child.name.startswith(".") and not is_junk(child.name)
        ]
    return level


def _leave_out(renders: Renders, strangers: list[Path]) -> None:
    """Notes what is in the folder but not part of the submission."""
    if strangers:
        names = [str(path.relative_to(renders.folder)) for path in strangers]
        renders.report.notes.append(
            f"left out, not part of a {renders.benchmark.name} submission: {listing(names)}"
        )


def _explain_nothing_found(renders: Renders) -> None:
    top = [path.name for path in entries(renders.folder, 1)]
    found = f"It holds {listing(top)}." if top else "It is empty."
    raise UsageError(
        f"Nothing in {renders.folder} belongs to a {renders.benchmark.name} submission. {found}",
        f"Expected {_example(renders.benchmark)}",
    )


def _scan_videos(
    renders: Renders, benchmark: VideoBenchmark, counts: FrameCounts, progress: Progress, boxes: Mapping[str, Box]
) -> None:
    report = renders.report
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in entries(renders.folder, 3):
        name = canonical(str(path.relative_to(renders.folder)))
        by_name[name if path.is_dir() else name.removesuffix(".mp4") + ".mp4"].append(path)
    for slot in benchmark.slots:
        name = canonical(slot.path)
        candidates = by_name.pop(name.removesuffix(".mp4"), []) + by_name.pop(name, [])
        if not candidates:
            where = slot.path.removesuffix(".mp4")
            message = f"Neither {where}/*.png nor {where}.mp4 is in {renders.folder}."
            report.findings.append(Finding("missing_file", slot.path, message, expected=f"{where}/*.png"))
        elif len(candidates) > 1:
            message = f"It could be any of {', '.join(str(path) for path in candidates)}."
            hint = "Keep one of them."
            report.findings.append(
                Finding("duplicate_file", slot.path, message, expected=1, actual=len(candidates), hint=hint)
            )
        elif candidates[0].is_dir():
            frames = frames_in(candidates[0], slot.path, report.findings)
            if frames:
                renders.videos.append(VideoSource(slot, candidates[0], frames, boxes.get(slot.serial)))
        else:
            renders.videos.append(VideoSource(slot, candidates[0]))
            renders.files[slot.path] = candidates[0]
    if not renders.videos and len(report.findings) == len(benchmark.slots):
        _explain_nothing_found(renders)
    _leave_out(renders, [path for paths in by_name.values() for path in paths])

    progress.start("Checking renders", sum(len(v.frames) or 1 for v in renders.videos), "files")
    conversions: Counter[str] = Counter()

    def check(source: VideoSource, cancel: Cancel) -> tuple[VideoReport, Counter[str]]:
        expected = counts.get(source.slot.participant, source.slot.sequence)
        if source.frames:
            return check_frames(benchmark, source.slot.path, source, expected, progress, cancel)
        member = FileMember(source.slot.path, source.path)
        video = check_video(member, benchmark, expected, cancel=cancel)
        progress.advance()
        return video, Counter()

    for source, (video, converted) in in_threads(check, renders.videos, cpu_count()):
        report.videos[source.slot.path] = video
        report.findings += video.findings
        conversions += converted
    report.findings += check_totals(benchmark, report.videos, counts)
    report.notes += [f"{n:,} frames: {conversion}" for conversion, n in conversions.items()]


def frames_in(folder: Path, name: str, findings: list[Finding]) -> tuple[Path, ...]:
    """The PNGs of a folder in the order of the last number in their names; findings for video `name` if there are
    none, or if their numbers are not a sequence."""
    files = entries(folder, 1)
    pngs = [path for path in files if path.suffix.lower() == ".png" and path.is_file()]
    if not pngs:
        others = Counter(path.suffix for path in files if path.suffix.lower() in _OTHER_IMAGES)
        found = ", ".join(f"{n} {suffix}" for suffix, n in others.items()) or "nothing else either"
        message = f"{folder} holds no PNG ({found})."
        hint = "Write frames as PNG, which loses nothing." if others else ""
        findings.append(Finding("missing_file", name, message, expected="*.png", hint=hint))
        return ()
    numbered: dict[int, list[Path]] = defaultdict(list)
    unnumbered = []
    for path in pngs:
        if numbers := _NUMBERS.findall(path.stem):
            numbered[int(numbers[-1])].append(path)
        else:
            unnumbered.append(path.name)
    if unnumbered:
        message = f"{len(unnumbered)} PNGs have no number in their names: {listing(unnumbered)}."
        findings.append(Finding("unnumbered_frame", name, message, "00000.png", unnumbered[0]))
    twice = {number: paths for number, paths in numbered.items() if len(paths) > 1}
    if twice:
        number, paths = next(iter(sorted(twice.items())))
        same = ", ".join(path.name for path in paths[:3])
        message = f"{len(twice)} numbers are there twice, such as {number}: {same}."
        findings.append(Finding("duplicate_frame", name, message, expected=len(numbered), actual=len(pngs)))
    order = sorted(numbered)
    steps = Counter(b - a for a, b in pairwise(order))
    if len(steps) > 1:
        step = min(steps)
        missing = sorted(set(range(order[0], order[-1] + 1, step)) - numbered.keys())
        if missing:
            message = (
                f"Between {order[0]} and {order[-1]}, {len(missing)} numbers are missing: {listing(missing)}."
            )
            findings.append(
                Finding("frame_gap", name, message, expected=len(order) + len(missing), actual=len(order))
            )
    return tuple(numbered[number][0] for number in order)


def check_frames(
    benchmark: VideoBenchmark,
    path: str,
    source: VideoSource,
    expected: int | None,
    progress: Progress,
    cancel: Cancel,
) -> tuple[VideoReport, Counter[str]]:
    """Checks the PNGs of video `path` for their size and their checksums; also returns how many frames will be
    converted, by the kind of conversion."""
    n = len(source.frames)
    findings = []
    conversions: Counter[str] = Counter()
    unreadable: list[str] = []
    sizes: dict[tuple[int, int], list[str]] = defaultdict(list)
    for frame in source.frames:
        cancel.check()
        try:
            # A program that writes wrong pixel data does so in every frame.
            info = check_png(frame, inflate=frame in (source.frames[0], source.frames[-1]))
            sizes[info.width, info.height].append(frame.name)
            if info.conversion:
                conversions[info.conversion] += 1
        except InvalidInputError as error:
            unreadable.append(f"{frame.name} {error.message}")
        except OSError as error:
            unreadable.append(f"{frame.name} cannot be read ({error.strerror})")
        progress.advance()
    if unreadable:
        message = f"{len(unreadable)} of {n} frames in {source.path}: {listing(unreadable, 3)}."
        findings.append(Finding("unreadable_image", path, message, expected=0, actual=len(unreadable)))
    for size, frames in sizes.items():
        of = f"{len(frames)} of {n} frames ({listing(frames, 2)}) are"
        if source.box is not None and size != (source.box.padded_width, source.box.padded_height):
            findings.append(_does_not_fit(path, source.box, size, of))
        elif source.box is None and size != (benchmark.width, benchmark.height):
            findings.append(wrong_resolution(path, benchmark, *size, of=of))
    if expected is not None and n != expected:
        findings.append(wrong_frame_count(path, expected, n))
    width, height = next(iter(sizes), (None, None))
    if source.box is not None:
        width, height = source.box.width, source.box.height
    video = VideoReport(path, width, height, num_frames_from_header=n, findings=tuple(findings))
    return video, conversions


def _does_not_fit(path: str, box: Box, size: tuple[int, int], of: str) -> Finding:
    """The finding for frames of another size than the one that `box` is cut out of."""
    width, height = size
    expected = f"{box.padded_width}×{box.padded_height}"
    message = f"{of} {width}×{height}, but crop.json cuts frames of {expected}."
    hint = "Render at the size of the exported images, or leave out --crop for frames that are not padded."
    return Finding("wrong_resolution", path, message, expected, f"{width}×{height}", hint=hint)


def _scan_meshes(renders: Renders, benchmark: MeshBenchmark, progress: Progress) -> None:
    by_name = by_canonical(benchmark.name)
    strangers = []
    for path in entries(renders.folder, 3):
        name = by_name.get(canonical(str(path.relative_to(renders.folder))))
        if name is None or not path.is_file():
            strangers.append(path)
        elif name in renders.files:
            message = f"It could be {renders.files[name]} or {path}."
            renders.report.findings.append(
                Finding("duplicate_file", name, message, expected=1, actual=2, hint="Keep one of them.")
            )
        else:
            renders.files[name] = path
    if not renders.files:
        _explain_nothing_found(renders)
    _leave_out(renders, strangers)
    members = {name: FileMember(name, path) for name, path in renders.files.items()}
    check_meshes(renders.report, benchmark, members, closed=set(), quick=False, progress=progress)


def demote(report: Report, codes: frozenset[str]) -> None:
    """Makes warnings of the errors of these codes."""
    report.findings = [replace(f, severity=WARNING) if f.code in codes else f for f in report.findings]
    report.sort()

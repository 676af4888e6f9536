"""What a folder of renders holds: which video or mesh each file is for, and what is wrong with it."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import BENCHMARKS, SERIALS, Benchmark, MeshBenchmark, VideoBenchmark, VideoSlot
from nersemble_cli.core.errors import InvalidInputError, UsageError, listing
from nersemble_cli.core.formats.png import check_png, read_rgb
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.submission.conversion import ConvertibleMesh
from nersemble_cli.core.submission.crop import Box
from nersemble_cli.core.submission.findings import WARNING, Finding, Report, VideoReport
from nersemble_cli.core.submission.frame_counts import FrameCounts
from nersemble_cli.core.submission.frame_order import AmbiguousOrderError, has_number, order_frames
from nersemble_cli.core.submission.layouts import (
    IMAGES,
    OTHER_VIDEOS,
    PATTERN_HELP,
    VIDEO,
    Layout,
    find_layouts,
    read_pattern,
    templates,
)
from nersemble_cli.core.submission.members import FileMember, Member, is_junk
from nersemble_cli.core.submission.mesh_layouts import PATTERN_HELP as MESH_PATTERN_HELP
from nersemble_cli.core.submission.mesh_layouts import (
    choose_meshes,
    find_meshes,
    near_meshes,
    no_meshes,
    read_mesh_pattern,
)
from nersemble_cli.core.submission.names import NEARLY, canonical
from nersemble_cli.core.submission.validation import check_meshes, check_totals
from nersemble_cli.core.submission.video_checks import check_video, wrong_frame_count, wrong_resolution
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

_PUNCTUATION = re.compile(r"[^a-z0-9/]")
_STANDARD_DEPTH = 3  # participant / sequence / camera


class NothingFoundError(UsageError):
    """A folder holds nothing that can be taken for a render."""


@dataclass(frozen=True)
class FramesReport:
    """What a folder of frames will become: a video of `width` × `height` pixels with `num_frames` frames."""

    path: str
    width: int | None
    height: int | None
    num_frames: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class VideoSource:
    """Where the frames of a video come from.

    `frames` are PNG files in order, below the folder `path`, and `numbers` those in their names. If there are
    none, `path` is an encoded video. `box` is the part of each PNG to use; None means all of it.
    """

    slot: VideoSlot
    path: Path
    frames: tuple[Path, ...] = ()
    box: Box | None = None
    numbers: tuple[Decimal, ...] = ()

    def read(self, number: int) -> NDArray[np.uint8]:
        """Reads frame `number` from its PNG as (height, width, 3) uint8 RGB, cropped to `box`.

        Raises `InvalidInputError` if the PNG does not decode, and OSError if it cannot be read.
        """
        rgb = read_rgb(self.frames[number])
        return rgb if self.box is None else self.box.cut(rgb)


@dataclass
class Renders:
    """The checked contents of a folder of renders.

    `files` maps names in the zip to files that are copied into it. `conversions` has the names of those that must
    be converted first, and says how. `lengths` has the frame counts of the videos, by their names in the zip.
    """

    benchmark: Benchmark
    folder: Path
    report: Report
    videos: list[VideoSource] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    conversions: dict[str, str] = field(default_factory=dict)
    lengths: dict[str, int | None] = field(default_factory=dict)

    @property
    def members(self) -> dict[str, Member]:
        """`files` as they will be in the zip: meshes are converted when they are opened, where they must be."""
        return {
            name: ConvertibleMesh(name, path, self.conversions)
            if name.endswith(".ply")
            else FileMember(name, path)
            for name, path in self.files.items()
        }

    @property
    def num_frames(self) -> int:
        """How many frames have to be encoded."""
        return sum(len(video.frames) for video in self.videos)


def scan(
    benchmark: Benchmark,
    folder: Path,
    counts: FrameCounts,
    progress: Progress | None = None,
    boxes: Mapping[str, Box] | None = None,
    slots: Sequence[VideoSlot] | None = None,
    pattern: str | None = None,
) -> Renders:
    """Finds the videos or meshes in a folder of renders and checks them, down to the checksum of every PNG.

    Nothing is written. `boxes` maps a camera to the part of its frames to use. `slots` are the videos to look for
    (default: those of a submission), and `pattern` the layout of the folder, such as
    `{participant}/{sequence}/{frame}_{serial}.png`; without it the layout is recognised.

    Every problem is in `report.findings`. Raises `UsageError` if `folder` is not a folder, or if nothing in it can
    be assigned to a video or mesh without doubt.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}.", f"Give the folder that holds {_example(benchmark)}")
    report = Report(str(folder), benchmark.name, "full")
    renders = Renders(benchmark, folder, report)
    progress = progress or NullProgress()
    if isinstance(benchmark, VideoBenchmark):
        report.frame_counts_from = counts.sources
        report.notes += counts.notes
        slots = benchmark.slots if slots is None else slots
        find_videos(renders, slots, boxes, pattern)
        report.findings += _missing(renders, slots)
        _check_videos(renders, benchmark, counts, progress)
    elif isinstance(benchmark, MeshBenchmark):
        _scan_meshes(renders, benchmark, pattern, progress)
    report.sort()
    return renders


def find_videos(
    renders: Renders,
    slots: Sequence[VideoSlot],
    boxes: Mapping[str, Box] | None = None,
    pattern: str | None = None,
) -> None:
    """Adds the videos of `slots` that are in the folder, and findings about those that cannot be read from it.

    Arguments as for `scan`; what the files contain is not looked at. Raises `UsageError` as `scan` does.
    """
    found = _read_layout(renders, slots, pattern) if pattern else _find_videos(renders, slots)
    renders.videos += _sources(renders, slots, found, boxes or {})


def _missing(renders: Renders, slots: Sequence[VideoSlot]) -> Iterable[Finding]:
    """The findings that videos are not there, unless there is one that says more."""
    known = {video.slot.path for video in renders.videos} | {finding.path for finding in renders.report.findings}
    for slot in slots:
        if slot.path not in known:
            where = slot.path.removesuffix(".mp4")
            message = f"Neither {where}/*.png nor {where}.mp4 is in {renders.folder}."
            yield Finding("missing_file", slot.path, message, expected=f"{where}/*.png")


def _example(benchmark: Benchmark) -> str:
    path = benchmark.slots[0].path
    if isinstance(benchmark, VideoBenchmark):
        path = f"{path.removesuffix('.mp4')}/00000.png"
    return f"{path} and so on."


def entries(folder: Path, depth: int) -> list[Path]:
    """The files and folders `depth` levels below `folder`, sorted, without hidden ones and junk."""
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


def _leave_out(renders: Renders, others: list[Path]) -> None:
    """Notes what is in the folder but not part of the submission."""
    if others:
        names = [str(path.relative_to(renders.folder)) for path in others]
        renders.report.notes.append(f"left out, not part of {renders.benchmark.submission}: {listing(names)}")


def task_of(folder: Path) -> Benchmark | None:
    """The task that the renders in a folder are for; None if nothing in it is recognised."""
    return next((benchmark for benchmark in BENCHMARKS.values() if _has_any(benchmark, folder)), None)


def _has_any(benchmark: Benchmark, folder: Path) -> bool:
    """Whether a folder holds renders for a task."""
    if isinstance(benchmark, VideoBenchmark):
        return bool(find_layouts(folder, benchmark.slots))
    return isinstance(benchmark, MeshBenchmark) and bool(find_meshes(folder, benchmark.slots).known)


def _wrong_task(renders: Renders) -> UsageError | None:
    """The error for renders that belong to another task."""
    folder, benchmark = renders.folder, renders.benchmark
    for other in BENCHMARKS.values():
        if other is not benchmark and _has_any(other, folder):
            return UsageError(
                f"{folder} holds renders for {other.name}, not for {benchmark.name}.",
                f"Use {other.name} instead of {benchmark.name}.",
            )
    return None


def _explain_nothing_found(renders: Renders) -> UsageError:
    """Why nothing in the folder can be packed: the wrong level, or something else altogether."""
    folder, benchmark = renders.folder, renders.benchmark
    if error := _too_deep(folder, benchmark):
        return error
    if isinstance(benchmark, VideoBenchmark) and (error := _other_cameras(folder, benchmark)):
        return error
    top = [path.name for path in entries(folder, 1)]
    found = f"It holds {listing(top)}." if top else "It is empty."
    example = PATTERN_HELP if isinstance(benchmark, VideoBenchmark) else MESH_PATTERN_HELP
    found += f" Another layout can be described. {example}"
    return NothingFoundError(
        f"Nothing in {folder} belongs to {benchmark.submission}. {found}",
        f"Expected {_example(benchmark)}",
    )


def _other_cameras(folder: Path, benchmark: VideoBenchmark) -> UsageError | None:
    """The error for renders of cameras that a submission does not have, such as those to train with."""
    wanted = benchmark.submission_serials
    slots = [
        VideoSlot(slot.participant, slot.sequence, serial)
        for slot in benchmark.slots
        for serial in SERIALS
        if slot.serial == wanted[0] and serial not in wanted
    ]
    found = sorted({slot.serial for layout in find_layouts(folder, slots) for slot in layout.files})
    if not found:
        return None
    return UsageError(
        f"{folder} holds renders of {listing(found)}, but {benchmark.submission} is of other cameras.",
        f"Render {', '.join(wanted)}; their poses are in camera_params.json.",
    )


def _too_deep(folder: Path, benchmark: Benchmark) -> UsageError | None:
    """The error for a folder inside the one to use."""
    for above, parent in enumerate(folder.resolve().parents[:3], 1):
        if isinstance(benchmark, VideoBenchmark):
            found = [layout.template for layout in find_layouts(folder, benchmark.slots, above)]
        elif isinstance(benchmark, MeshBenchmark):
            found = [file.template for file in find_meshes(folder, benchmark.slots, above).known]
        if any(template.startswith("{participant}") for template in found):
            levels = f"{above} level{'s' if above > 1 else ''}"
            return UsageError(f"{folder} is {levels} too deep in the folder of renders.", f"Use {parent} instead.")
    return None


_Found = dict[VideoSlot, list[tuple[Path, Mapping[str, Path]]]]
"""For each video where it may come from: a folder and its PNGs by name, or a video file and nothing."""


def _find_videos(renders: Renders, slots: Sequence[VideoSlot]) -> _Found:
    """Finds videos in {participant}/{sequence}/cam_{serial}, else in whatever layout the folder has."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in entries(renders.folder, _STANDARD_DEPTH):
        name = canonical(str(path.relative_to(renders.folder)))
        by_name[name if path.is_dir() else name.removesuffix(".mp4") + ".mp4"].append(path)
    found: _Found = {}
    for slot in slots:
        name = canonical(slot.path)
        candidates = by_name.pop(name.removesuffix(".mp4"), []) + by_name.pop(name, [])
        if candidates:
            found[slot] = [
                (path, {p.stem: p for p in pngs_in(path)} if path.is_dir() else {}) for path in candidates
            ]
    is_standard = any(
        path.is_file() or frames or any(p.suffix.lower() in IMAGES for p in entries(path, 1))
        for path, frames in chain.from_iterable(found.values())
    )
    others = [path for paths in by_name.values() for path in paths]
    layouts = find_layouts(renders.folder, slots)
    if is_standard:
        _leave_out(renders, [path for path in others if not _note_near_name(renders, slots, found, path)])
        _note_other_formats(renders, [layout for layout in layouts if layout.suffix in OTHER_VIDEOS], found)
        return found
    readable = [layout for layout in layouts if layout.suffix in (".png", VIDEO)]
    claimed = Counter(slot for layout in readable for slot in layout.files)
    _note_other_formats(renders, [layout for layout in layouts if layout not in readable], {**claimed, **found})
    if not layouts and not found:
        if error := _wrong_task(renders):
            raise error
        elif not sum(_note_near_name(renders, slots, found, path) for path in others):
            raise _explain_nothing_found(renders)
    if not readable:
        return found
    if not any("{participant}" in layout.template for layout in readable) and (
        error := _too_deep(renders.folder, renders.benchmark)
    ):
        raise error
    if any(n > 1 for n in claimed.values()):
        slot = next(slot for slot in slots if claimed[slot] > 1)
        lines = "\n".join(f"  --pattern '{line}'" for line in templates(readable))
        raise UsageError(
            f"{renders.folder} can be read in {len(readable)} ways: {slot.path} could be any of them.",
            f"Choose one:\n{lines}",
        )
    lines = " and ".join(templates(readable))
    renders.report.notes.append(f"{renders.folder} is read as {lines}; if that is wrong, use --pattern")
    return _by_slot(renders, readable)


def _by_slot(renders: Renders, layouts: Iterable[Layout]) -> _Found:
    found: _Found = defaultdict(list)
    for layout in layouts:
        for slot, files in layout.files.items():
            if layout.suffix == VIDEO:
                found[slot] += [(path, {}) for path in files.values()]
            else:
                found[slot].append((renders.folder, files))
    return found


def _read_layout(renders: Renders, slots: Sequence[VideoSlot], pattern: str) -> _Found:
    layout = read_pattern(renders.folder, pattern, slots)
    if not layout.files:
        raise _fits_nothing(renders.folder, pattern)
    if layout.suffix not in (".png", VIDEO):
        _note_other_formats(renders, [layout])
        return {}
    return _by_slot(renders, [layout])


def _note_other_formats(renders: Renders, layouts: Iterable[Layout], found: Container[VideoSlot] = ()) -> None:
    """Adds a finding for each video that is not `found`, but there in a format that cannot be packed."""
    for layout in layouts:
        for slot, files in layout.files.items():
            if slot in found:
                continue
            if layout.suffix in OTHER_VIDEOS:
                path = next(iter(files.values()))
                message = f"It is missing, but there is {path.relative_to(renders.folder)}."
                hint = "Pack your frames as PNG instead, or encode it again as an h264 mp4."
                finding = Finding("missing_file", slot.path, message, slot.path, str(path), hint)
            else:
                finding = _no_png(slot.path, renders.folder, files.values())
            renders.report.findings.append(finding)


def _note_near_name(renders: Renders, slots: Sequence[VideoSlot], found: _Found, path: Path) -> bool:
    """Whether a path is that of a missing video with a spelling mistake, which is then a finding."""
    if path.suffix.lower() in OTHER_VIDEOS:
        return False
    name = canonical(str(path.relative_to(renders.folder))).removesuffix(".mp4")
    near = {
        canonical(slot.path).removesuffix(".mp4"): slot
        for slot in slots
        if slot not in found and (slot.serial == name[-9:] or name[-9:] not in SERIALS)
    }
    plain = {_PUNCTUATION.sub("", right): right for right in near}
    close = plain.get(_PUNCTUATION.sub("", name)) or next(
        iter(difflib.get_close_matches(name, near, n=1, cutoff=NEARLY)), None
    )
    if close is None:
        return False
    slot = near[close]
    right = slot.path if path.is_file() else slot.path.removesuffix(".mp4")
    message = f"It is missing, but there is {path.relative_to(renders.folder)}."
    hint = f"Did you mean {right}? Rename it."
    renders.report.findings.append(Finding("missing_file", slot.path, message, right, str(path), hint))
    return True


def _sources(
    renders: Renders, slots: Sequence[VideoSlot], found: _Found, boxes: Mapping[str, Box]
) -> Iterable[VideoSource]:
    """The source of every video that has just one."""
    report = renders.report
    for slot in slots:
        candidates = found.get(slot, [])
        if len(candidates) > 1:
            message = f"It could be any of {', '.join(str(path) for path, _ in candidates)}."
            report.findings.append(
                Finding("duplicate_file", slot.path, message, 1, len(candidates), hint="Keep one of them.")
            )
        elif candidates:
            path, pngs = candidates[0]
            if path.is_dir():
                source = _frames_source(slot, path, pngs, slot.path, report.findings)
                if source:
                    yield replace(source, box=boxes.get(slot.serial))
            else:
                renders.files[slot.path] = path
                yield VideoSource(slot, path)


def _check_videos(renders: Renders, benchmark: VideoBenchmark, counts: FrameCounts, progress: Progress) -> None:
    report = renders.report
    progress.start("Checking renders", sum(len(v.frames) or 1 for v in renders.videos), "files")
    conversions: Counter[str] = Counter()

    def check(source: VideoSource, cancel: Cancel) -> tuple[FramesReport | VideoReport, Counter[str]]:
        expected = counts.get(source.slot.participant, source.slot.sequence)
        if source.frames:
            return check_frames(benchmark, source.slot.path, source, expected, progress, cancel)
        member = FileMember(source.slot.path, source.path)
        video = check_video(member, benchmark, expected, cancel=cancel)
        progress.advance()
        return video, Counter()

    for source, (video, converted) in in_threads(check, renders.videos, cpu_count()):
        renders.lengths[source.slot.path] = video.num_frames
        report.findings += video.findings
        conversions += converted
    report.findings += check_totals(benchmark, renders.lengths, counts)
    report.notes += [f"{n:,} frames: {conversion}" for conversion, n in conversions.items()]


def pngs_in(folder: Path) -> list[Path]:
    """The PNG files of a folder, sorted by name."""
    return [path for path in entries(folder, 1) if path.suffix.lower() == ".png" and path.is_file()]


def folder_source(folder: Path, name: str, findings: list[Finding]) -> VideoSource | None:
    """The PNGs of a folder in the order of their numbers. What is wrong with their names is added to `findings`,
    as findings about the video `name`."""
    pngs = {path.stem: path for path in pngs_in(folder)}
    return _frames_source(VideoSlot(0, "", ""), folder, pngs, name, findings)


def _frames_source(
    slot: VideoSlot, folder: Path, pngs: Mapping[str, Path], name: str, findings: list[Finding]
) -> VideoSource | None:
    """The PNGs in the order of the numbers in their names (the keys); None if they have no order."""
    if not pngs:
        findings.append(_no_png(name, folder, entries(folder, 1)))
        return None
    labels = [label for label in pngs if has_number(label)]
    without = [path.name for label, path in pngs.items() if label not in labels]
    if without:
        message = f"{len(without)} PNGs have no number in their names: {listing(without)}."
        findings.append(Finding("unnumbered_frame", name, message, "00000.png", without[0]))
    if not labels:
        return None
    try:
        ordered = order_frames(labels)
    except InvalidInputError as error:
        code = "ambiguous_order" if isinstance(error, AmbiguousOrderError) else "duplicate_frame"
        findings.append(Finding(code, name, error.message, "one number per frame", labels[:3]))
        return None
    if ordered.missing:
        first, last, n = int(ordered.numbers[0]), int(ordered.numbers[-1]), len(ordered.missing)
        message = f"Between {first} and {last}, {n} numbers are missing: {listing(ordered.missing)}."
        findings.append(Finding("frame_gap", name, message, expected=len(labels) + n, actual=len(labels)))
    frames = tuple(pngs[labels[i]] for i in ordered.order)
    return VideoSource(slot, folder, frames, numbers=ordered.numbers)


def _no_png(name: str, folder: Path, files: Iterable[Path]) -> Finding:
    others = Counter(path.suffix for path in files if path.suffix.lower() in IMAGES)
    found = ", ".join(f"{n} {suffix}" for suffix, n in others.items()) or "no other images either"
    hint = "Write frames as PNG, which is lossless." if others else ""
    return Finding("missing_file", name, f"{folder} holds no PNG ({found}).", expected="*.png", hint=hint)


def check_frames(
    benchmark: VideoBenchmark,
    path: str,
    source: VideoSource,
    expected: int | None,
    progress: Progress,
    cancel: Cancel,
) -> tuple[FramesReport, Counter[str]]:
    """Checks size and checksums of the PNGs of the video `path`. Also returns how many frames will be converted,
    by the kind of conversion."""
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
    return FramesReport(path, width, height, n, tuple(findings)), conversions


def _does_not_fit(path: str, box: Box, size: tuple[int, int], of: str) -> Finding:
    """The finding for frames whose size is not the padded size of `box`."""
    width, height = size
    expected = f"{box.padded_width}×{box.padded_height}"
    message = f"{of} {width}×{height}, but crop.json cuts frames of {expected}."
    hint = "Render at the size of the exported images, or leave out --crop for frames that are not padded."
    return Finding("wrong_resolution", path, message, expected, f"{width}×{height}", hint=hint)


def _scan_meshes(renders: Renders, benchmark: MeshBenchmark, pattern: str | None, progress: Progress) -> None:
    folder, report = renders.folder, renders.report
    if pattern:
        files = read_mesh_pattern(folder, pattern, benchmark.slots)
    else:
        files = find_meshes(folder, benchmark.slots)
    near = [] if files.known and pattern else near_meshes(folder, benchmark.slots, files)
    if not files.known:
        if pattern:
            raise _fits_nothing(folder, pattern)
        if error := no_meshes(folder, files) or _wrong_task(renders) or _too_deep(folder, benchmark):
            raise error
        if not near:
            raise _explain_nothing_found(renders)
    choice = choose_meshes(folder, files, pattern)
    renders.files = choice.files
    report.notes += choice.notes
    explained = {finding.path for finding in choice.findings} | choice.files.keys()
    report.findings += [*choice.findings, *(finding for finding in near if finding.path not in explained)]
    _leave_out(renders, sorted({*choice.others, *files.without_kind, *(file.path for file in files.unread)}))
    check_meshes(report, benchmark, renders.members, closed=set(), quick=False, progress=progress)
    report.notes += [
        f"{n} mesh{'es' * (n > 1)}: {how}" for how, n in Counter(renders.conversions.values()).items()
    ]


def _fits_nothing(folder: Path, pattern: str) -> UsageError:
    some = listing([path.name for path in entries(folder, 1)])
    return UsageError(f"No file in {folder} fits the pattern {pattern}.", f"The folder holds {some}.")


def demote(report: Report, codes: frozenset[str]) -> None:
    """Turns findings with these codes into warnings."""
    report.findings = [replace(f, severity=WARNING) if f.code in codes else f for f in report.findings]
    report.sort()

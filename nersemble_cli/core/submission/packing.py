"""From a folder of renders to a validated zip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core import settings
from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark, get_benchmark
from nersemble_cli.core.errors import EncodingError, InvalidInputError, NersembleError, UsageError
from nersemble_cli.core.files import check_target, replace_file, scratch_folder
from nersemble_cli.core.formats.png import psnr
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.submission.compare import start_comparison
from nersemble_cli.core.submission.compare.videos import VideoComparison
from nersemble_cli.core.submission.conversion import convert_mesh
from nersemble_cli.core.submission.crop import load_boxes
from nersemble_cli.core.submission.findings import Report, VideoReport
from nersemble_cli.core.submission.frame_counts import FrameCounts, frame_counts
from nersemble_cli.core.submission.members import FileMember
from nersemble_cli.core.submission.renders import Renders, VideoSource, demote, scan
from nersemble_cli.core.submission.validation import check_zip
from nersemble_cli.core.submission.video_checks import check_video
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads
from nersemble_cli.core.video.encode import CRF, encode_video
from nersemble_cli.core.video.pixels import to_rgb

PSNR_FRAMES = 5  # per video, evenly spread
BIG_PICTURE = 1_000_000
_ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zst")
# What `--allow-incomplete` lets through: a submission that is whole in what it has.
INCOMPLETE = frozenset({"missing_file", "missing_mesh", "wrong_frame_count", "frame_gap"})


@dataclass
class Packed:
    """What packing made, or would make. `report` is on the renders until there is a zip, then on the zip."""

    benchmark: Benchmark
    renders: str
    submission: str
    report: Report
    dry_run: bool = False
    written: bool = False
    num_videos: int = 0
    num_meshes: int = 0
    num_frames: int = 0
    num_bytes: int = 0
    psnr: list[float] = field(default_factory=list)  # dB, of source frames against encoded ones


def encoders_at_a_time(benchmark: Benchmark) -> int:
    """How many ffmpeg processes to run.

    One encoder of NVS frames keeps several processors busy and takes half a gigabyte, one of the small Mono
    frames does neither.
    """
    is_big = benchmark.width * benchmark.height > BIG_PICTURE
    return max(1, cpu_count() // 2 if is_big else cpu_count())


def pack(
    benchmark_name: str,
    renders_folder: Path,
    zip_path: Path,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    crf: int = CRF,
    overwrite: bool = False,
    dry_run: bool = False,
    allow_incomplete: bool = False,
    crop: Path | None = None,
    pattern: str | None = None,
    compare: bool = True,
    progress: Progress | None = None,
) -> Packed:
    """Packs renders into `zip_path`, after a check of all of them and before a check of the zip.

    If anything is wrong, `report` says what and nothing is written; an older zip stays as it is. `folder` is the
    benchmark folder, for frame counts, `crop` the `crop.json` of an export with padded images, and `pattern` the
    layout of the renders (see `scan`). With `compare`, the zip is compared with the training data in `folder`.

    Raises `UsageError` for impossible arguments, `EncodingError` if ffmpeg fails, OSError if the disk is full.
    """
    progress = progress or NullProgress()
    benchmark = get_benchmark(benchmark_name)
    renders_folder, zip_path = settings.expand(renders_folder), _with_suffix(settings.expand(zip_path))
    target = check_target(zip_path, overwrite)
    counts = FrameCounts({}, {}, ())
    data_folder = settings.existing_folder(folder)
    if isinstance(benchmark, VideoBenchmark):
        counts = frame_counts(benchmark, data_folder, settings.find_url())
    boxes = None if crop is None else load_boxes(crop)
    renders = scan(benchmark, renders_folder, counts, progress, boxes, pattern=pattern)
    if allow_incomplete:
        demote(renders.report, INCOMPLETE)
    packed = Packed(
        benchmark, str(renders_folder), str(zip_path), renders.report, dry_run,
        num_videos=len(renders.videos), num_meshes=len(renders.report.meshes), num_frames=_count(renders),
    )  # fmt: skip
    if dry_run or not renders.report.valid:
        return packed
    with scratch_folder(target) as scratch:
        checked = {}
        comparison = start_comparison(benchmark, data_folder) if compare else None
        if isinstance(benchmark, VideoBenchmark):
            observers = comparison if isinstance(comparison, VideoComparison) else None
            checked = _encode_all(renders, benchmark, counts, scratch, workers, crf, packed, progress, observers)
        part = scratch / "submission.zip"
        _convert_all(renders, scratch, progress)
        made = {name: scratch / name for name in (*checked, *renders.conversions)}
        write_zip(part, {**renders.files, **made}, consume=made)
        report = check_zip(
            part, benchmark, lambda _: counts, progress=progress, checked=checked,
            compare=(lambda _: comparison) if comparison else None,
        )  # fmt: skip
        report.submission = str(zip_path)
        report.notes = list(dict.fromkeys([*renders.report.notes, *report.notes]))
        # Of what is wrong with names, nothing is left in the zip.
        report.findings += [finding for finding in renders.report.findings if finding.code == "frame_gap"]
        if allow_incomplete:
            demote(report, INCOMPLETE)
        packed.report = report
        if report.valid:
            check_target(target, overwrite)  # somebody may have written it in the meantime
            packed.num_bytes = part.stat().st_size
            replace_file(part, target)
            packed.written = True
    return packed


def _with_suffix(path: Path) -> Path:
    """The path of the zip: `out` is out.zip. Raises `UsageError` for another suffix than .zip."""
    if path.is_dir() or path.suffix.lower() == ".zip":
        return path
    right = path.with_suffix(".zip") if path.suffix.lower() in _ARCHIVES else path.with_name(f"{path.name}.zip")
    if path.suffix:
        raise UsageError(f"{path} does not end in .zip.", f"Use {right}.")
    return right


def _count(renders: Renders) -> int:
    return sum(n or 0 for n in renders.lengths.values())


def _convert_all(renders: Renders, scratch: Path, progress: Progress) -> None:
    """Writes the meshes that cannot be copied as they are."""
    progress.start("Converting meshes", len(renders.conversions), "meshes")
    for name in renders.conversions:
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(convert_mesh(renders.files[name])[0])
        progress.advance()


def _encode_all(
    renders: Renders,
    benchmark: VideoBenchmark,
    counts: FrameCounts,
    scratch: Path,
    workers: int | None,
    crf: int,
    packed: Packed,
    progress: Progress,
    comparison: VideoComparison | None,
) -> dict[str, VideoReport]:
    """Encodes the videos that are folders of frames, and checks each while the next one is encoded."""
    sources = [video for video in renders.videos if video.frames]
    if not sources:
        return {}
    encoders = max(1, min(workers or encoders_at_a_time(benchmark), len(sources)))
    encoding = threading.Semaphore(encoders)
    progress.start("Encoding", renders.num_frames, "frames")

    def work(source: VideoSource, cancel: Cancel) -> tuple[VideoReport, list[float]]:
        path = scratch / source.slot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with encoding:
            cancel.check()
            frames = _read_frames(source, progress)
            try:
                encode_video(frames, path, benchmark.width, benchmark.height, benchmark.fps, crf, cancel)
            except EncodingError as error:
                raise EncodingError(f"{source.slot.path}: {error.message}", error.hint) from error
        return _check_encoded(benchmark, source, path, counts, cancel, comparison)

    checked = {}
    for source, (video, psnrs) in in_threads(work, sources, encoders + 1):
        checked[source.slot.path] = video
        packed.psnr += psnrs
    return checked


def _read_frames(source: VideoSource, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    for number in range(len(source.frames)):
        try:
            yield source.read(number)
        except InvalidInputError as error:
            # Its checksums were right, so this was written by a faulty encoder, or has changed since.
            raise NersembleError(error.message, error.hint) from error
        progress.advance()


def _check_encoded(
    benchmark: VideoBenchmark,
    source: VideoSource,
    path: Path,
    counts: FrameCounts,
    cancel: Cancel,
    comparison: VideoComparison | None,
) -> tuple[VideoReport, list[float]]:
    n = len(source.frames)
    samples = {(2 * i + 1) * n // (2 * PSNR_FRAMES) for i in range(PSNR_FRAMES)}
    psnrs = []
    observe = comparison.observer(source.slot) if comparison else None

    def watch(t: int, frame: av.VideoFrame) -> None:
        if t in samples:
            psnrs.append(psnr(source.read(t), to_rgb(frame)))
        if observe:
            observe(t, frame)

    member = FileMember(source.slot.path, path)
    expected = counts.get(source.slot.participant, source.slot.sequence)
    return check_video(member, benchmark, expected, threads=cpu_count(), cancel=cancel, on_frame=watch), psnrs

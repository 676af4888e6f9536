"""The one validator: finds everything that is wrong with a submission in one pass, without the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from nersemble_cli.core import settings
from nersemble_cli.core.benchmarks import (
    Benchmark,
    MeshBenchmark,
    MeshSlot,
    VideoBenchmark,
    VideoSlot,
    get_benchmark,
)
from nersemble_cli.core.errors import Cancelled, InvalidInputError, UsageError
from nersemble_cli.core.submission import names
from nersemble_cli.core.submission.compare import Comparison, start_comparison
from nersemble_cli.core.submission.compare.meshes import MeshComparison
from nersemble_cli.core.submission.compare.videos import VideoComparison
from nersemble_cli.core.submission.findings import (
    WARNING,
    Finding,
    MeshReport,
    Report,
    VideoReport,
    damaged_file,
)
from nersemble_cli.core.submission.frame_counts import FrameCounts, frame_counts
from nersemble_cli.core.submission.members import (
    UNREADABLE,
    ZIP_START,
    Member,
    ZipMember,
    open_zip,
    sort_members,
)
from nersemble_cli.core.submission.mesh_checks import check_mesh
from nersemble_cli.core.submission.video_checks import check_video, unreadable_video
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, cpu_count, in_threads


def validate_submission(
    zip_path: str | Path,
    benchmark: str | None = None,
    folder: str | Path | None = None,
    quick: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
    compare: bool = True,
) -> Report:
    """Finds everything that is wrong with a submission zip, whoever made it.

    `benchmark` is "nvs", "mono" or "svfr"; None recognises it from the contents. Frame counts come from the
    benchmark `folder` if it has them (see `FrameCounts`); the network is used only if a URL is configured and
    nothing nearer knows them. With `quick`, only names, headers and sizes are looked at, as the server does.
    Every video is read from the zip and decoded in constant memory; nothing is unpacked. With `compare`, the
    submission is also compared with the training data in `folder`, as far as it is there.

    Raises `UsageError` for an unknown file or benchmark. Whatever is wrong with the zip is in the report.
    """
    zip_path = settings.expand(zip_path)
    task = get_benchmark(benchmark) if benchmark else None
    if not zip_path.is_file():
        hint = "Pack it first: nersemble pack" if zip_path.is_dir() else "Check the path."
        what = "is a folder, not a zip" if zip_path.is_dir() else "does not exist"
        what = "is not a regular file" if zip_path.exists() and not zip_path.is_dir() else what
        raise UsageError(f"{zip_path} {what}.", hint)
    data_folder = settings.existing_folder(Path(folder) if folder is not None else None)

    def counts(chosen: VideoBenchmark) -> FrameCounts:
        return frame_counts(chosen, data_folder, settings.find_url())

    return check_zip(
        zip_path, task, counts, quick=quick, progress=progress, workers=workers,
        compare=(lambda chosen: start_comparison(chosen, data_folder)) if compare else None,
    )  # fmt: skip


def check_zip(
    zip_path: Path,
    benchmark: Benchmark | None,
    counts: Callable[[VideoBenchmark], FrameCounts],
    *,
    quick: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
    checked: Mapping[str, VideoReport] | None = None,
    compare: Callable[[Benchmark], Comparison] | None = None,
) -> Report:
    """As `validate_submission`. Videos in `checked` were decoded before they were put into the zip: for them only
    the checksum is compared. `compare` starts the comparison with the training data; None leaves it out."""
    report = Report(str(zip_path), benchmark.name if benchmark else None, "quick" if quick else "full")
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(zip_path))
        except InvalidInputError as error:
            message = f"{error.message[:1].upper()}{error.message[1:]}."
            report.findings.append(Finding("not_a_zip", None, message, repr(ZIP_START[0]), error.message))
            return report
        members, flaws, others = sort_members(archive)
        report.findings += others
        wrapper = names.wrapper_of(members)
        benchmark = _identify(report, benchmark, members, wrapper)
        if benchmark is not None:
            found, closed = _match(report, benchmark, members, flaws, wrapper)
            comparison = compare(benchmark) if compare and not quick else None
            if isinstance(benchmark, VideoBenchmark):
                frames = counts(benchmark)
                report.frame_counts_from = frames.sources
                report.notes += frames.notes
                check_videos(
                    report, benchmark, found, frames, closed=closed, quick=quick,
                    progress=progress, workers=workers, checked=checked, comparison=comparison,
                )  # fmt: skip
            elif isinstance(benchmark, MeshBenchmark):
                check_meshes(
                    report, benchmark, found, closed=closed, quick=quick, progress=progress, comparison=comparison
                )
            if comparison is not None:
                comparison.finish(report)
    report.sort()
    return report


def _identify(
    report: Report, benchmark: Benchmark | None, members: Collection[str], wrapper: str
) -> Benchmark | None:
    """The task to check against: `benchmark` if the user named it, else what the names say. None if neither."""
    if wrapper:
        message = f"Everything is inside {wrapper}, where the server does not look."
        report.findings.append(Finding("wrapper_folder", wrapper, message, expected="", actual=wrapper))
    inner = [name.replace("\\", "/").removeprefix(wrapper) for name in members]
    recognised = names.recognise(inner)
    if benchmark is not None:
        if recognised not in (None, benchmark) and not names.holds(benchmark, inner):
            message = f"You asked for {benchmark.name}, but this looks like {recognised.submission}."
            hint = f"Check it with --benchmark {recognised.name}, or leave --benchmark out."
            report.findings.append(
                Finding("wrong_benchmark", None, message, benchmark.name, recognised.name, hint)
            )
        return benchmark
    if recognised is None:
        message = f"None of its {len(members)} files belongs to a submission." if members else "It is empty."
        if any(name.lower().endswith(".png") for name in members):
            message += " It holds PNGs: nersemble pack makes a submission of them."
        report.findings.append(
            Finding("unknown_benchmark", None, message, "files of nvs, mono or svfr", sorted(members)[:10])
        )
        return None
    report.benchmark = recognised.name
    return recognised


def _match(
    report: Report,
    benchmark: Benchmark,
    members: Mapping[str, ZipMember],
    flaws: Mapping[str, Finding],
    wrapper: str,
) -> tuple[dict[str, Member], set[str]]:
    """The submission's files by their right names, and the right names of those that must not be opened."""
    matching = names.match(benchmark, members, wrapper)
    report.findings += matching.findings
    # What is not opened anyway does no harm.
    wanted = set(matching.found.values())
    report.findings += [
        flaw if name in wanted else replace(flaw, severity=WARNING) for name, flaw in flaws.items()
    ]
    found: dict[str, Member] = {name: members[actual] for name, actual in matching.found.items()}
    return found, {name for name, actual in matching.found.items() if actual in flaws}


def check_videos(
    report: Report,
    benchmark: VideoBenchmark,
    found: Mapping[str, Member],
    frames: FrameCounts,
    *,
    closed: set[str],
    quick: bool,
    progress: Progress | None = None,
    workers: int | None = None,
    checked: Mapping[str, VideoReport] | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Adds to `report` what is wrong with the videos in `found` (name in the submission → file), and which are
    missing. Those in `closed` are there but must not be opened."""
    progress, checked = progress or NullProgress(), checked or {}
    slots = []
    told = {finding.path for finding in report.findings if finding.code == "missing_file"}
    for slot in benchmark.slots:
        if slot.path not in found:
            report.findings += [missing_file(slot)] if slot.path not in told else []
        elif slot.path not in closed:
            slots.append(slot)
    workers = max(1, min(workers or cpu_count(), len(slots)))
    threads = max(1, cpu_count() // workers)
    progress.start("Checking videos", len(slots), "videos")

    def check(slot: VideoSlot, cancel: Cancel) -> VideoReport:
        member = found[slot.path]
        expected = frames.get(slot.participant, slot.sequence)
        try:
            damage = _damage(member, cancel) if not quick else None
            if damage:
                return VideoReport(slot.path, findings=(damage,))
            if slot.path in checked:
                return checked[slot.path]
            observe = comparison.observer(slot) if isinstance(comparison, VideoComparison) else None
            return check_video(
                member, benchmark, expected, decode=not quick, threads=threads, cancel=cancel, on_frame=observe
            )
        except Cancelled:
            raise
        except Exception as error:  # one bad file must not keep the others from being checked
            return VideoReport(member.path, findings=(unreadable_video(member.path, error),))

    for slot, video in in_threads(check, slots, workers):
        report.videos[slot.path] = video
        report.findings += video.findings
        progress.advance()
    lengths = {path: video.num_frames for path, video in report.videos.items()}
    report.findings += check_totals(benchmark, lengths, frames)


def missing_file(slot: VideoSlot) -> Finding:
    return Finding("missing_file", slot.path, "Missing.", expected=slot.path)


def _damage(member: Member, cancel: Cancel) -> Finding | None:
    """The finding that a file in a zip does not match its checksum."""
    if not isinstance(member, ZipMember):
        return None
    try:
        member.check_checksum(cancel)
    except UNREADABLE as error:
        return damaged_file(member.path, error)
    return None


def check_totals(
    benchmark: VideoBenchmark, num_frames: Mapping[str, int | None], frames: FrameCounts
) -> list[Finding]:
    """Where only a participant's sum is known: cameras must agree, and the sum must be right."""
    findings = []
    lengths: dict[int, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for slot in benchmark.slots:
        n = num_frames.get(slot.path)
        if slot.participant in frames.totals and n is not None:
            lengths[slot.participant][slot.sequence][slot.path] = n
    for participant, sequences in lengths.items():
        differing: list[Finding] = []
        for paths in sequences.values():
            # The number that most cameras have is taken for the right one.
            counted = list(paths.values())
            usual = max(set(counted), key=lambda n: (counted.count(n), n))
            differing += [
                Finding(
                    "wrong_frame_count",
                    path,
                    f"It has {n} frames, the other cameras of this sequence have {usual}.",
                    expected=usual,
                    actual=n,
                )
                for path, n in paths.items()
                if n != usual
            ]
        unknown = [s for s in benchmark.test_sequences[participant] if frames.get(participant, s) is None]
        known = sum(frames.get(participant, s) or 0 for s in benchmark.test_sequences[participant])
        findings += differing
        if differing or len(sequences) < len(unknown):
            continue  # the sum says nothing before these are mended
        total = known + sum(next(iter(paths.values())) for paths in sequences.values())
        if total != frames.totals[participant]:
            findings.append(
                Finding(
                    "wrong_frame_count",
                    f"{participant:03d}",
                    f"The test sequences of {participant} have {total} frames together, "
                    f"expected {frames.totals[participant]}.",
                    expected=frames.totals[participant],
                    actual=total,
                    hint=f"To learn which sequence it is, fetch the counts: nersemble download {benchmark.name}",
                )
            )
    return findings


def check_meshes(
    report: Report,
    benchmark: MeshBenchmark,
    found: Mapping[str, Member],
    *,
    closed: set[str],
    quick: bool,
    progress: Progress | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Adds to `report` what is wrong with the meshes and landmarks in `found`, and which are missing. Those in
    `closed` are there but must not be opened."""
    progress = progress or NullProgress()
    slots = []
    told = {finding.path for finding in report.findings if finding.code == "missing_mesh"}
    begun = {slot.kind for slot in benchmark.slots if slot.path in found or slot.landmarks_path in found}
    if not begun:
        message = "Neither posed nor neutral meshes were found."
        expected = "mesh_posed.ply or mesh_neutral.ply for each of the 391 images"
        report.findings.append(Finding("missing_task", None, message, expected=expected, actual=[]))
    for slot in benchmark.slots:
        if slot.kind not in begun:
            continue
        if slot.path not in found:
            report.findings += [missing_mesh(slot)] if slot.path not in told else []
        elif slot.path not in closed:
            slots.append(slot)
    progress.start("Checking meshes", len(slots), "meshes")

    # In a thread, where no signal is delivered: trimesh catches all exceptions in many places, and would take an
    # interruption for a fault of the mesh.
    def check(slot: MeshSlot, _: Cancel) -> MeshReport:
        member = found[slot.path]
        landmarks = found.get(slot.landmarks_path) if slot.landmarks_path not in closed else None
        try:
            observe = comparison.observer(slot) if isinstance(comparison, MeshComparison) else None
            return check_mesh(slot, member, landmarks, parse=not quick, on_mesh=observe)
        except Exception as error:  # one bad file must not keep the others from being checked
            why = f"{type(error).__name__}: {error}"
            finding = Finding("unreadable_mesh", member.path, f"It cannot be read: {why}.", "a PLY file", why)
            return MeshReport(member.path, has_landmarks=landmarks is not None, findings=(finding,))

    for slot, mesh in in_threads(check, slots, 1, ahead=8):
        report.meshes[slot.path] = mesh
        report.findings += mesh.findings
        progress.advance()


def missing_mesh(slot: MeshSlot) -> Finding:
    message = f"The {slot.kind} subtask is incomplete: this mesh is missing."
    return Finding("missing_mesh", slot.path, message, expected=slot.path)

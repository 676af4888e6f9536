"""Which videos can be scored: what was rendered, less what is hidden, where its ground truth is here."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from nersemble_cli.core.benchmarks import MONO, NVS, VideoBenchmark, VideoSlot, choose, parse_participant
from nersemble_cli.core.data.managers import open_data
from nersemble_cli.core.download.selection import parse_frames
from nersemble_cli.core.errors import NersembleError, UsageError, listing
from nersemble_cli.core.score.sources import Job, Source
from nersemble_cli.core.submission.crop import load_boxes
from nersemble_cli.core.submission.findings import Finding, Report, VideoReport, has_errors
from nersemble_cli.core.submission.members import FileMember, Member, open_zip, sort_members
from nersemble_cli.core.submission.names import canonical
from nersemble_cli.core.submission.renders import (
    FramesReport,
    NothingFoundError,
    Renders,
    VideoSource,
    check_frames,
    find_videos,
    folder_source,
)
from nersemble_cli.core.submission.video_checks import check_video
from nersemble_cli.core.threads import Cancel, NullProgress

RECOMMENDED: Mapping[str, tuple[str, ...]] = {
    NVS.name: ("222200040", "220700191", "222200043"),
    MONO.name: ("EXP-9-jaw-2", "EMO-4-disgust+happy", "SEN-07-fond_note_fried", "SEN-08-clothes_and_lodging"),
}
"""Good hold-outs among the training data: cameras for NVS (left, centre, right), sequences for Mono."""
_UNSCORABLE = frozenset({"wrong_frame_count", "wrong_resolution", "unreadable_video", "missing_file"})
_LONGEST_OPTION = 8  # timesteps and ranges that a hint names


@dataclass(frozen=True)
class Request:
    """What to score. `participants`, `sequences` and `serials` of None are all that were rendered; `timesteps` is
    `all`, timesteps and ranges (`0,5,10-20`), or `::N` for every N-th. `crf` of None scores PNGs as they are.
    `pattern` and `crop` say how RENDERS is laid out, and which part of its frames to use, as for `pack`."""

    participants: Collection[str] | None = None
    sequences: Collection[str] | None = None
    serials: Collection[str] | None = None
    timesteps: str = "all"
    crf: int | None = None
    masked: bool = False
    pattern: str | None = None
    crop: Path | None = None


@dataclass
class Found:
    """The videos to be scored, in the order of their names; those that cannot be, with their findings; and
    notes."""

    jobs: list[Job] = field(default_factory=list)
    failed: dict[str, list[Finding]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def how_to_hold_out(benchmark: VideoBenchmark) -> str:
    """What to do instead of scoring what is hidden."""
    names = ", ".join(RECOMMENDED[benchmark.name])
    if benchmark.name == MONO.name:
        return (
            f"Leave whole sequences out of the training and render them from camera {benchmark.train_serials[0]},"
            f" for example: {names}. Novel views cannot be scored for mono: only this camera has ground truth."
        )
    return f"Leave training cameras out of the training and render them instead, for example: {names}"


def training_slots(benchmark: VideoBenchmark) -> list[VideoSlot]:
    """Every video whose ground truth can be downloaded, in the order of its name."""
    return [
        VideoSlot(participant, sequence, serial)
        for participant, sequences in sorted(benchmark.train_sequences.items())
        for sequence in sorted(sequences)
        for serial in sorted(benchmark.train_serials)
    ]


def _wanted(benchmark: VideoBenchmark, request: Request) -> list[VideoSlot]:
    """The slots that the request names. Raises `UsageError` for unknown and for hidden ones."""
    hidden_sequences = {s for names in benchmark.test_sequences.values() for s in names} - {
        s for names in benchmark.train_sequences.values() for s in names
    }
    for kind, names, hidden in (
        ("sequence", request.sequences, hidden_sequences),
        ("camera", request.serials, set(benchmark.hold_out_serials)),
    ):
        if taboo := sorted(hidden.intersection(names or ())):
            raise UsageError(
                f"The {kind} {', '.join(taboo)} is hidden: its ground truth is not to be used.",
                how_to_hold_out(benchmark),
            )
    slots = training_slots(benchmark)
    participants = {parse_participant(p, benchmark) for p in request.participants or ()}
    for kind, names, valid in (
        ("sequence", request.sequences, list(dict.fromkeys(slot.sequence for slot in slots))),
        ("camera", request.serials, list(benchmark.train_serials)),
    ):
        choose(f"{kind} of {benchmark.name}", names or (), valid)
    return [
        slot
        for slot in slots
        if (not participants or slot.participant in participants)
        and (not request.sequences or slot.sequence in request.sequences)
        and (not request.serials or slot.serial in request.serials)
    ]


def choose_timesteps(text: str, num_frames: int, path: str) -> tuple[int, ...]:
    """The timesteps of a video that `--frames` names. Raises `UsageError` if it has none of them."""
    step = text.strip().removeprefix("::")
    if text.strip().startswith("::"):
        if not (step.isascii() and step.isdigit() and int(step)):
            raise UsageError(f"--frames: '{text}' is not a step.", "For example ::10 for every tenth frame.")
        return tuple(range(0, num_frames, int(step)))
    ranges = parse_frames("--frames", text)
    if ranges is None:
        return tuple(range(num_frames))
    chosen = tuple(sorted({n for wanted in ranges for n in wanted if n < num_frames}))
    if not chosen:
        raise UsageError(f"--frames: {path} has none of the timesteps {text}.", f"It has 0 to {num_frames - 1}.")
    return chosen


@dataclass
class _Candidates:
    """What lies in RENDERS, by the names of the videos: what can be read, and what is wrong."""

    sources: dict[str, Source] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def __contains__(self, slot: VideoSlot) -> bool:
        return _name(slot) in self.sources or _name(slot) in self.findings


@contextmanager
def find_jobs(benchmark: VideoBenchmark, renders: Path, folder: Path, request: Request) -> Iterator[Found]:
    """The videos of `renders` (a folder as `pack` reads it, or a zip) that can be scored with the data in
    `folder`.

    Raises `UsageError` if there are none, or if what is asked for is hidden.
    """
    slots = _wanted(benchmark, request)
    with ExitStack() as resources:
        training = set(training_slots(benchmark))
        others = [slot for slot in _hidden_slots(benchmark) if slot not in training]
        known = [s for s in [*training_slots(benchmark), *others] if _is_of(s, request.participants, benchmark)]
        if renders.is_dir():
            candidates = _in_folder(benchmark, renders, known, request)
        else:
            candidates = _in_zip(renders, known, resources)
        found = Found(notes=candidates.notes)
        hidden = [slot for slot in others if _name(slot) in candidates.sources]
        present = [slot for slot in slots if slot in candidates]
        if not present:
            raise _nothing_to_score(benchmark, renders, hidden, slots)
        if hidden:
            found.notes.append(f"Not scored, because they are hidden: {listing([_name(s) for s in hidden], 3)}")
        if request.serials and request.sequences and request.participants:
            present = slots  # everything was named, so what is not there is missing
        for slot in present:
            _add(found, benchmark, slot, candidates, folder, request)
        yield found


def _name(slot: VideoSlot) -> str:
    return slot.path.removesuffix(".mp4")


def _is_of(slot: VideoSlot, participants: Collection[str] | None, benchmark: VideoBenchmark) -> bool:
    return not participants or slot.participant in {parse_participant(p, benchmark) for p in participants}


def _hidden_slots(benchmark: VideoBenchmark) -> list[VideoSlot]:
    serials = sorted({*benchmark.submission_serials, *benchmark.hold_out_serials, *benchmark.train_serials})
    return [
        VideoSlot(participant, sequence, serial)
        for participant in benchmark.participants
        for sequence in sorted(benchmark.sequences(participant))
        for serial in serials
    ]


def _in_folder(
    benchmark: VideoBenchmark, folder: Path, slots: Sequence[VideoSlot], request: Request
) -> _Candidates:
    renders = Renders(benchmark, folder, Report(str(folder), benchmark.name, "full"))
    with suppress(NothingFoundError):
        find_videos(renders, slots, load_boxes(request.crop) if request.crop else {}, request.pattern)
    found = _Candidates(notes=renders.report.notes)
    for video in renders.videos:
        found.sources[_name(video.slot)] = video if video.frames else FileMember(video.slot.path, video.path)
    for finding in renders.report.findings:
        name = (finding.path or "").removesuffix(".mp4")
        found.findings[name].append(replace(finding, path=name))
    return found


def _in_zip(path: Path, slots: Sequence[VideoSlot], resources: ExitStack) -> _Candidates:
    if not zipfile.is_zipfile(path):
        what = "is neither a folder nor a zip" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}.", "Give a folder that `nersemble pack` could read, or a zip.")
    archive = resources.enter_context(open_zip(path))
    if isinstance(archive, Finding):
        raise UsageError(f"{path}: {archive.message}", archive.hint)
    names = {canonical(slot.path): _name(slot) for slot in slots}
    places: dict[str, list[Member]] = defaultdict(list)
    members, flaws, _ = sort_members(archive)
    for member_name, member in members.items():
        name = names.get("/".join(canonical(member_name).split("/")[-3:]))
        if name and member_name not in flaws:
            places[name].append(member)
    found = _Candidates()
    for name, several in places.items():
        found.sources[name] = several[0]
        if len(several) > 1:
            message = f"It could be any of {', '.join(member.path for member in several)}."
            found.findings[name].append(Finding("duplicate_file", name, message, 1, len(several)))
    return found


def _nothing_to_score(
    benchmark: VideoBenchmark, renders: Path, hidden: Sequence[VideoSlot], slots: Sequence[VideoSlot]
) -> UsageError:
    if hidden:
        what = ", ".join(dict.fromkeys(s.serial if benchmark is NVS else s.sequence for s in hidden))
        kind = "cameras" if benchmark is NVS else "cameras and sequences"
        return UsageError(
            f"{renders} holds renders of the hidden {kind} only ({what}): their ground truth is not public.",
            how_to_hold_out(benchmark),
        )
    example = slots[0].path.removesuffix(".mp4")
    return UsageError(
        f"Nothing in {renders} can be scored as {benchmark.name}.",
        f"Expected {example}/00000.png and so on, or {example}.mp4.\n{how_to_hold_out(benchmark)}",
    )


def _add(
    found: Found,
    benchmark: VideoBenchmark,
    slot: VideoSlot,
    candidates: _Candidates,
    folder: Path,
    request: Request,
) -> None:
    """Adds the slot's job, or why there is none."""
    data = open_data(benchmark, folder, slot.participant)
    name = slot.path.removesuffix(".mp4")
    truth = Path(data.get_images_path(slot.sequence, slot.serial))
    alpha = Path(data.get_alpha_maps_path(slot.sequence, slot.serial)) if request.masked else None
    for path in (truth, alpha):
        if path is not None and not path.is_file():
            asset = "images" if path is truth else "alpha_maps"
            message = f"There is no ground truth at {path}."
            which = f"-p {slot.participant} -s {slot.sequence} -c {slot.serial} -a {asset}"
            hint = f"nersemble download {benchmark.name} {which}"
            found.failed[name] = [Finding("missing_file", name, message, expected=str(path), hint=hint)]
            return
    findings = candidates.findings.get(name, [])
    source = candidates.sources.get(name)
    if source is None or any(f.code == "duplicate_file" for f in findings):
        message = f"Neither {name}/*.png nor {name}.mp4 is there."
        found.failed[name] = findings or [Finding("missing_file", name, message, expected=1, actual=0)]
        return
    job, findings = make_job(
        name,
        source,
        FileMember(str(truth), truth),
        None if alpha is None else FileMember(str(alpha), alpha),
        benchmark,
        request,
        findings,
    )
    if job is None:
        found.failed[name] = findings
    else:
        found.jobs.append(job)


def make_job(
    name: str,
    render: Source,
    truth: Source,
    alpha: Member | None,
    benchmark: VideoBenchmark,
    request: Request,
    known: Sequence[Finding] = (),
) -> tuple[Job | None, list[Finding]]:
    """The job called `name`, or None and the findings that say why it cannot be scored.

    The size and the number of frames of `truth` are those that `render` must have; from `benchmark` come the
    frames per second and what else a video is checked for. `known` are findings about the names of the files.
    PNGs may be fewer than the frames if their numbers are the timesteps, and all that are asked for are there.
    """
    report = _check(name, truth, benchmark, None)
    num_frames, width, height = report.num_frames, report.width, report.height
    if not num_frames or width is None or height is None:
        return None, [replace(f, path=name, message=f"Ground truth: {f.message}") for f in report.findings]
    timesteps = choose_timesteps(request.timesteps, num_frames, name)
    rendered = _rendered(render, num_frames) if isinstance(render, VideoSource) else None
    is_part = rendered is not None and set(timesteps) <= set(rendered)
    expected = len(rendered) if rendered is not None and is_part else num_frames
    report = _check(name, render, replace(benchmark, width=width, height=height), expected)
    findings = [f for f in known if not (is_part and f.code == "frame_gap")]
    findings += [replace(f, path=name) for f in report.findings]
    if rendered is not None and not is_part and (frames := _as_option(rendered, num_frames)):
        hint = f"To score only what was rendered: --frames {frames}"
        findings = [replace(f, hint=hint) if f.code == "wrong_frame_count" else f for f in findings]
    if any(f.code in _UNSCORABLE for f in findings) or (
        isinstance(render, VideoSource) and has_errors(f for f in findings)
    ):
        return None, findings
    job = Job(
        name, render, truth, alpha, num_frames, width, height, benchmark.fps, timesteps, request.crf,
        tuple(findings), rendered if is_part else None,
    )  # fmt: skip
    return job, findings


def _check(
    name: str, source: Source, benchmark: VideoBenchmark, expected: int | None
) -> FramesReport | VideoReport:
    if isinstance(source, VideoSource):
        return check_frames(benchmark, name, source, expected, NullProgress(), Cancel())[0]
    return check_video(source, benchmark, expected, decode=False)


def _rendered(source: VideoSource, num_frames: int) -> tuple[int, ...] | None:
    """The timesteps that the names of some of a video's frames tell; None if it has all, or they cannot be
    timesteps."""
    numbers = tuple(int(n) for n in source.numbers if n == int(n) and 0 <= n < num_frames)
    return numbers if len(numbers) == len(source.frames) < num_frames else None


def _as_option(timesteps: Sequence[int], num_frames: int) -> str | None:
    """The timesteps as `--frames` takes them; None if that would be long."""
    step = timesteps[1] - timesteps[0] if len(timesteps) > 1 else num_frames
    if tuple(timesteps) == tuple(range(0, num_frames, step)):
        return f"::{step}"
    runs: list[list[int]] = []
    for t in timesteps:
        if runs and t == runs[-1][-1] + 1:
            runs[-1][1:] = [t]
        else:
            runs.append([t])
    return ",".join("-".join(map(str, run)) for run in runs) if len(runs) <= _LONGEST_OPTION else None


def pair_job(a: Path, b: Path, fps: Fraction, request: Request) -> Job:
    """The job for any two videos or folders of PNGs. Raises `NersembleError` if they cannot be compared."""
    findings: list[Finding] = []
    sources: list[Source] = []
    for path in (a, b):
        if not path.exists():
            raise UsageError(f"{path} does not exist.", "Give two videos, or folders of PNGs.")
        source = folder_source(path, str(path), findings) if path.is_dir() else FileMember(str(path), path)
        if source is None:
            raise NersembleError(f"{path} cannot be read: {' '.join(f.message for f in findings)}")
        sources.append(source)
    known = [finding for finding in findings if finding.path == str(a)]
    job, findings = make_job(str(a), sources[0], sources[1], None, replace(NVS, fps=fps), request, known)
    if job is None:
        errors = [f.message if not f.hint else f"{f.message} {f.hint}" for f in findings]
        raise NersembleError(f"{a} and {b} cannot be compared: {' '.join(errors)}")
    # That a video is not what the benchmark wants does not matter here.
    return replace(job, findings=())


def choose_part(
    found: Found, text: str | None
) -> tuple[list[Job], dict[str, list[Finding]], tuple[int, int] | None]:
    """Of `I/N`, the I-th of N parts of what was found, and (I, N); all of it without a text. Raises
    `UsageError`."""
    if text is None:
        return found.jobs, found.failed, None
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UsageError(f"--videos: '{text}' is not a part.", "For example 2/8 for the second of eight.")
    i, n = int(number), int(total)
    paths = sorted([*(job.path for job in found.jobs), *found.failed])[i - 1 :: n]
    failed = {path: findings for path, findings in found.failed.items() if path in paths}
    return [job for job in found.jobs if job.path in paths], failed, (i, n)

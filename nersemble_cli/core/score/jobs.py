"""Which videos can be scored: what was rendered, less what is hidden, where its ground truth is here."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from nersemble_cli.core.benchmarks import MONO, NVS, VideoBenchmark, VideoSlot, choose, parse_participant
from nersemble_cli.core.data.managers import open_data
from nersemble_cli.core.download.selection import parse_frames
from nersemble_cli.core.errors import NersembleError, UsageError, listing
from nersemble_cli.core.score.sources import Job, Source
from nersemble_cli.core.submission.findings import Finding, VideoReport, has_errors
from nersemble_cli.core.submission.members import FileMember, Member, open_zip, sort_members
from nersemble_cli.core.submission.names import canonical
from nersemble_cli.core.submission.renders import FramesReport, VideoSource, check_frames, entries, frames_in
from nersemble_cli.core.submission.video_checks import check_video
from nersemble_cli.core.threads import Cancel, NullProgress

RECOMMENDED: Mapping[str, tuple[str, ...]] = {
    NVS.name: ("222200040", "220700191", "222200043"),
    MONO.name: ("EXP-9-jaw-2", "EMO-4-disgust+happy", "SEN-07-fond_note_fried", "SEN-08-clothes_and_lodging"),
}
"""Good hold-outs among the training data: cameras for NVS (left, centre, right), sequences for Mono."""
_UNSCORABLE = frozenset({"wrong_frame_count", "wrong_resolution", "unreadable_video", "missing_file"})


@dataclass(frozen=True)
class Request:
    """What to score. `participants`, `sequences` and `serials` of None are all that were rendered; `timesteps` is
    `all`, timesteps and ranges (`0,5,10-20`), or `::N` for every N-th. `crf` of None scores PNGs as they are."""

    participants: Collection[str] | None = None
    sequences: Collection[str] | None = None
    serials: Collection[str] | None = None
    timesteps: str = "all"
    crf: int | None = None
    masked: bool = False


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


@contextmanager
def find_jobs(benchmark: VideoBenchmark, renders: Path, folder: Path, request: Request) -> Iterator[Found]:
    """The videos of `renders` (a folder as `pack` reads it, or a zip) that can be scored with the data in
    `folder`.

    Raises `UsageError` if there are none, or if what is asked for is hidden.
    """
    slots = _wanted(benchmark, request)
    with ExitStack() as resources:
        candidates = _candidates(renders, resources)
        found = Found()
        known = {slot.path for slot in training_slots(benchmark)}
        hidden = [s for s in _hidden_slots(benchmark) if s.path not in known and candidates.get(_key(s.path))]
        present = [slot for slot in slots if candidates.get(_key(slot.path))]
        if not present:
            raise _nothing_to_score(benchmark, renders, hidden, slots)
        if hidden:
            names = listing([slot.path.removesuffix(".mp4") for slot in hidden], 3)
            found.notes.append(f"Not scored, because they are hidden: {names}")
        if request.serials and request.sequences and request.participants:
            present = slots  # everything was named, so what is not there is missing
        for slot in present:
            _add(found, benchmark, slot, candidates.get(_key(slot.path), []), folder, request)
        if not found.jobs and not found.failed:
            raise _nothing_to_score(benchmark, renders, hidden, slots)
        yield found


def _hidden_slots(benchmark: VideoBenchmark) -> list[VideoSlot]:
    serials = sorted({*benchmark.submission_serials, *benchmark.hold_out_serials, *benchmark.train_serials})
    return [
        VideoSlot(participant, sequence, serial)
        for participant in benchmark.participants
        for sequence in sorted(benchmark.sequences(participant))
        for serial in serials
    ]


def _key(path: str) -> str:
    return canonical(path).removesuffix(".mp4")


def _candidates(renders: Path, resources: ExitStack) -> dict[str, list[Path | Member]]:
    """Canonical name without .mp4 → folders of PNGs, and videos."""
    found: dict[str, list[Path | Member]] = defaultdict(list)
    if renders.is_dir():
        for path in entries(renders, 3):
            name = str(path.relative_to(renders))
            found[_key(name)].append(path if path.is_dir() else FileMember(name, path))
    elif zipfile.is_zipfile(renders):
        archive = resources.enter_context(open_zip(renders))
        if isinstance(archive, Finding):
            raise UsageError(f"{renders}: {archive.message}", archive.hint)
        members, flaws, _ = sort_members(archive)
        for name, member in members.items():
            if name not in flaws:
                found["/".join(_key(name).split("/")[-3:])].append(member)
    else:
        what = "is neither a folder nor a zip" if renders.exists() else "does not exist"
        raise UsageError(f"{renders} {what}.", "Give a folder that `nersemble pack` could read, or a zip.")
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
    candidates: Sequence[Path | Member],
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
    if len(candidates) != 1:
        code = "duplicate_file" if candidates else "missing_file"
        places = ", ".join(str(c if isinstance(c, Path) else c.path) for c in candidates)
        message = (
            f"It could be any of {places}." if candidates else f"Neither {name}/*.png nor {name}.mp4 is there."
        )
        found.failed[name] = [Finding(code, name, message, expected=1, actual=len(candidates))]
        return
    job, findings = make_job(
        name,
        candidates[0],
        FileMember(str(truth), truth),
        None if alpha is None else FileMember(str(alpha), alpha),
        benchmark,
        request,
    )
    if job is None:
        found.failed[name] = findings
    else:
        found.jobs.append(job)


def make_job(
    name: str,
    render: Path | Member,
    truth: Path | Member,
    alpha: Member | None,
    benchmark: VideoBenchmark,
    request: Request,
) -> tuple[Job | None, list[Finding]]:
    """The job called `name`, or None and the findings that say why it cannot be scored.

    A folder holds PNGs. The size and the number of frames of `truth` are those that `render` must have; from
    `benchmark` come the frames per second and what else a video is checked for.
    """
    findings: list[Finding] = []
    true_source, true_size, num_frames = _open(name, truth, benchmark, None, findings)
    if true_source is None or true_size is None or not num_frames:
        return None, findings
    fitting = replace(benchmark, width=true_size[0], height=true_size[1])
    source, _, _ = _open(name, render, fitting, num_frames, findings)
    if (
        source is None
        or any(f.code in _UNSCORABLE for f in findings)
        or has_errors(f for f in findings if isinstance(source, VideoSource))
    ):
        return None, findings
    job = Job(
        name, source, true_source, alpha, num_frames, *true_size, benchmark.fps,
        choose_timesteps(request.timesteps, num_frames, name), request.crf, tuple(findings),
    )  # fmt: skip
    return job, findings


def _open(
    name: str, place: Path | Member, benchmark: VideoBenchmark, expected: int | None, findings: list[Finding]
) -> tuple[Source | None, tuple[int, int] | None, int | None]:
    """The source, its width and height, and its frames. `expected` of None is for the ground truth, which may have
    any size; what is wrong is added to the findings."""
    report: FramesReport | VideoReport
    if isinstance(place, Path):
        paths = frames_in(place, name, findings)
        if not paths:
            return None, None, None
        source = VideoSource(VideoSlot(0, "", ""), place, paths)
        report, _ = check_frames(benchmark, name, source, expected, NullProgress(), Cancel())
        what: Source = source
    else:
        report = check_video(place, benchmark, expected, decode=False)
        what = place
    of_truth = expected is None
    if of_truth and (report.width is None or not report.num_frames):
        findings += [replace(f, path=name, message=f"Ground truth: {f.message}") for f in report.findings]
        return None, None, None
    if not of_truth:
        findings += [replace(f, path=name) for f in report.findings]
    size = None if report.width is None or report.height is None else (report.width, report.height)
    return what, size, report.num_frames


def pair_job(a: Path, b: Path, fps: Fraction, request: Request) -> Job:
    """The job for any two videos or folders of PNGs. Raises `NersembleError` if they cannot be compared."""
    for path in (a, b):
        if not path.exists():
            raise UsageError(f"{path} does not exist.", "Give two videos, or folders of PNGs.")
    places = [path if path.is_dir() else FileMember(str(path), path) for path in (a, b)]
    job, findings = make_job(str(a), places[0], places[1], None, replace(NVS, fps=fps), request)
    if job is None:
        errors = [f.message for f in findings]
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

"""Scoring videos: one pass over their frames, in which decoding, encoding and metrics overlap."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import EncodingError, InvalidInputError
from nersemble_cli.core.formats.png import on_white
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.score.cache import Entry, open_entry
from nersemble_cli.core.score.document import OF_FACES, Score, VideoScore
from nersemble_cli.core.score.faces import NO_FACE
from nersemble_cli.core.score.jod import SMALLEST, measure_jod, seconds_per_frame
from nersemble_cli.core.score.metrics import (
    SMALLEST_MS_SSIM,
    SMALLEST_SSIM,
    Image,
    image_metrics,
    is_dropped,
    mean,
)
from nersemble_cli.core.score.plan import Plan, version
from nersemble_cli.core.score.sources import Frame, Job, frames, read
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

SHIFTS = (-2, -1, 1, 2)
_SHIFT_SAMPLES = 5
_THUMB = 256  # pixels wide
_CLEARLY = 0.8  # times the error without a shift
_MOVES = 0.3  # 8-bit levels, root mean square: below that nothing moves
_ESTIMATE_FRAMES = 2


def new_score(benchmark: str, crf: int | None, plan: Plan) -> Score:
    return Score(benchmark, crf, plan.conventions(), left_out=dict(plan.left_out))


def _needed(entry: Entry, job: Job, plan: Plan) -> list[int]:
    """The timesteps of which a value is not known."""
    wanted = ["mse", *(plan.key(name) for name in plan.per_frame if _applies(name, job))]
    return [
        t
        for t in job.timesteps
        if t not in entry.dropped and not all(name in entry.frames.get(t, {}) for name in wanted)
    ]


def _applies(name: str, job: Job) -> bool:
    """Whether the frames are large enough for a metric."""
    smallest = {"ssim": SMALLEST_SSIM, "ms_ssim": SMALLEST_MS_SSIM, "lpips": 64}
    return bool(min(job.width, job.height) >= smallest.get(name, 1))


def compute(frame: Frame, job: Job, plan: Plan) -> dict[str, float | None] | None:
    """The values of one frame under their names in the cache, None for one without a face; None if the frame does
    not count."""
    if is_dropped(frame.truth):
        return None
    wanted = [name for name in plan.per_frame if _applies(name, job)]
    values: dict[str, float | None] = dict(image_metrics(frame.render, frame.truth, wanted, frame.matte))
    if plan.lpips and "lpips" in wanted:
        values[plan.key("lpips")] = plan.lpips(*_on_white(frame))
    if plan.faces:
        found = plan.faces(*_on_white(frame))
        values.update({plan.key(name): found[name] for name in wanted if name in OF_FACES})
    return values


def _on_white(frame: Frame) -> tuple[Image, Image]:
    """The render and the truth; with a matte, what it leaves of them on white."""
    if frame.matte is None:
        return frame.render, frame.truth
    alpha = (frame.matte[..., None] * 255).round().astype(np.uint8)
    return on_white(frame.render, alpha), on_white(frame.truth, alpha)


def score_video(job: Job, plan: Plan, progress: Progress, entry: Entry) -> VideoScore:
    """Scores one video. What is known goes to `entry`, which is saved even if this is interrupted."""
    needed = _needed(entry, job, plan)
    progress.advance(len(job.timesteps) - len(needed))
    samples = _shift_samples(job) if entry.shift is None else ()
    thumbs: dict[int, NDArray[Any]] = {}

    def stream() -> Iterator[Frame]:
        wanted = sorted({*needed, *samples}) if needed or samples else []
        with closing(frames(job, wanted)) as source:
            for frame in source:
                if frame.timestep in samples:
                    thumbs[frame.timestep] = _thumb(frame.render)
                if frame.timestep in todo:
                    yield frame

    todo = set(needed)

    def work(frame: Frame, cancel: Cancel) -> dict[str, float | None] | None:
        return compute(frame, job, plan)

    try:
        # One more than there are workers waits decoded; more would only take memory.
        for frame, values in in_threads(work, stream(), plan.workers, ahead=plan.workers + 1):
            if values is None:
                entry.dropped.add(frame.timestep)
            else:
                entry.frames.setdefault(frame.timestep, {}).update(values)
            progress.advance()
        if samples:
            entry.shift = _find_shift(job, thumbs)
    finally:
        entry.save()
    return _result(job, plan, entry)


def _result(job: Job, plan: Plan, entry: Entry) -> VideoScore:
    names = ("mse", *(name for name in (*plan.per_frame, "ssim_cropped") if name != "mse"))
    video = VideoScore(job.path, job.codec, float(job.fps), findings=[f.as_json() for f in job.findings])
    for t in job.timesteps:
        known = entry.frames.get(t)
        if known is None:
            video.num_dropped += t in entry.dropped
            video.incomplete |= t not in entry.dropped
            continue
        row: dict[str, float] = {"timestep": t}
        for name in names:
            if name == "ssim_cropped" and "ssim" not in plan.per_frame:
                continue
            value = known.get(plan.key(name))
            if value is not None:
                row[name] = math.inf if name == "psnr" and known["mse"] == 0 else value
        video.frames.append(row)
    for name in plan.per_frame:
        if name in OF_FACES and video.frames:
            values = [row[name] for row in video.frames if name in row]
            video.whole[name] = mean(values) if values else NO_FACE
            if len(values) < len(video.frames):
                video.notes.append(
                    f"{job.path}: {name}: {len(video.frames) - len(values)} of {len(video.frames)} frames do not"
                    " count, as a face was not found in both images."
                )
    if entry.shift:
        video.notes.append(
            f"{job.path}: frame t of the render matches frame t{entry.shift:+d} of the ground truth better than"
            " frame t. Are the timesteps off by one, or is a frame missing at the start?"
        )
    if job.rendered is not None:
        encoded = "" if job.crf is None else "; they were encoded as if they followed each other"
        video.notes.append(
            f"{job.path}: {len(job.rendered)} of {job.num_frames} frames were rendered, at the timesteps in their"
            f" names{encoded}."
        )
    too_small = [name for name in plan.per_frame if not _applies(name, job)]
    if too_small:
        video.notes.append(f"{job.path}: {job.width}×{job.height} is too small for {', '.join(too_small)}.")
    if not video.frames and not video.incomplete:
        video.notes.append(f"{job.path}: none of its frames counts, as the ground truth is blank.")
    return video


def _shift_samples(job: Job) -> tuple[int, ...]:
    inside = [t for t in job.timesteps if 2 <= t < job.num_frames - 2]
    if not inside:
        return ()
    places = np.linspace(0, len(inside) - 1, min(_SHIFT_SAMPLES, len(inside))).round().astype(int)
    return tuple(inside[place] for place in dict.fromkeys(places.tolist()))


def _thumb(image: Image) -> NDArray[Any]:
    import cv2

    width = min(_THUMB, image.shape[1])
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _find_shift(job: Job, thumbs: dict[int, NDArray[Any]]) -> int:
    """By how many frames the render is off: the shift under which all samples match clearly better, else 0."""
    around = sorted({t + shift for t in thumbs for shift in (0, *SHIFTS)})
    truths = dict(zip(around, (_thumb(image) for image in read(job.truth, around, job)), strict=True))
    errors = {
        shift: np.array([np.square(thumb - truths[t + shift]).mean() for t, thumb in thumbs.items()])
        for shift in (0, *SHIFTS)
    }
    best = min(errors, key=lambda shift: float(errors[shift].sum()))
    moves = np.array([np.square(truths[t] - truths[t + best]).mean() for t in thumbs]) > _MOVES**2
    if best == 0 or not moves.any():
        return 0
    better = errors[best][moves] < _CLEARLY * errors[0][moves]
    return best if better.all() else 0


def _jod_fps(job: Job) -> Fraction | None:
    """The frame rate of the timesteps that are scored; None if they are not evenly spaced."""
    steps = {later - earlier for earlier, later in pairwise(job.timesteps)} or {1}
    return job.fps / steps.pop() if len(steps) == 1 else None


def _jod_key(job: Job) -> str:
    timesteps = hashlib.sha256(repr(tuple(job.timesteps)).encode()).hexdigest()
    return f"jod {version('pyfvvdp')} {timesteps}"


def _add_jod(video: VideoScore, job: Job, plan: Plan, entry: Entry, progress: Progress) -> None:
    """Adds the JOD of a video, known or computed."""
    fps, key = _jod_fps(job), _jod_key(job)
    if fps is None or min(job.width, job.height) < SMALLEST:
        why = "its timesteps are not evenly spaced" if fps is None else f"{job.width}×{job.height} is too small"
        video.notes.append(f"{job.path}: JOD was left out, as {why}.")
    elif key not in entry.whole:

        def pairs() -> Generator[tuple[Image, Image], None, None]:
            with closing(frames(job, job.timesteps)) as source:
                for frame in source:
                    yield _on_white(frame)
                    progress.advance()

        with closing(pairs()) as stream:
            entry.whole[key] = measure_jod(stream, len(job.timesteps), fps, plan.device)
        entry.save()
    else:
        progress.advance(len(job.timesteps))
    if key in entry.whole:
        video.whole["jod"] = entry.whole[key]


@dataclass(frozen=True)
class Todo:
    """How many frames of a video are still to be computed, for metrics of frames and for JOD."""

    job: Job
    num_frames: int
    num_jod_frames: int


def what_to_do(jobs: Sequence[Job], plan: Plan) -> list[Todo]:
    """What is not in the cache."""
    todo = []
    for job in jobs:
        entry = open_entry(job, plan.cache)
        jod = plan.has_jod and _jod_fps(job) is not None and _jod_key(job) not in entry.whole
        todo.append(Todo(job, len(_needed(entry, job, plan)), len(job.timesteps) if jod else 0))
    return todo


def estimate_seconds(todo: Sequence[Todo], plan: Plan) -> float:
    """How long that will take, measured on a few frames of each size."""
    speeds: dict[tuple[int, int, bool], float] = {}
    total = 0.0
    for what in todo:
        for n, is_jod in ((what.num_frames, False), (what.num_jod_frames, True)):
            size = (what.job.width, what.job.height, is_jod)
            if n and size not in speeds:
                speeds[size] = _seconds_per_frame(what.job, plan, is_jod)
            total += n * speeds.get(size, 0)
    return total


def _seconds_per_frame(job: Job, plan: Plan, is_jod: bool) -> float:
    times = []
    for image in read(job.truth, list(job.timesteps[:_ESTIMATE_FRAMES]), job):
        other = image[:, ::-1].copy()
        if is_jod:
            return seconds_per_frame(other, image, _jod_fps(job) or job.fps, plan.device)
        begun = time.perf_counter()
        compute(Frame(0, other, image, None), job, plan)
        times.append(time.perf_counter() - begun)
    # The first frame pays for what is loaded.
    return min(times) / min(plan.workers, cpu_count())


@contextmanager
def _torch_threads(plan: Plan) -> Iterator[None]:
    """Frames are spread over the processors, so that each of them needs one thread."""
    if plan.lpips is None or plan.device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, cpu_count() // plan.workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(score: Score, jobs: Sequence[Job], plan: Plan, progress: Progress | None = None) -> None:
    """Scores videos one after the other into `score`, whose `videos` has those that are done at any time. JOD
    comes last, because it takes the longest.

    A video that turns out to be damaged goes to `failed`, and the others go on. An interrupt leaves the video that
    was being scored in `videos` too, as far as it came, and goes on.
    """
    progress = progress or NullProgress()
    entries = {job.path: open_entry(job, plan.cache) for job in jobs}
    scored: list[tuple[Job, VideoScore]] = []
    progress.start("Scoring", sum(len(job.timesteps) for job in jobs), "frames")
    try:
        with _torch_threads(plan):
            for job in jobs:
                try:
                    scored.append((job, score_video(job, plan, progress, entries[job.path])))
                    score.videos.append(scored[-1][1])
                except (InvalidInputError, EncodingError, OSError, av.FFmpegError) as error:
                    finding = Finding("damaged_video", job.path, str(error).splitlines()[0])
                    score.failed[job.path] = [finding.as_json()]
                except (KeyboardInterrupt, SystemExit):
                    partial = _result(job, plan, entries[job.path])
                    score.videos += [partial] if partial.frames else []
                    raise
        if plan.has_jod:
            progress.start("JOD", sum(len(job.timesteps) for job, _ in scored), "frames")
            for job, video in scored:
                _add_jod(video, job, plan, entries[job.path], progress)
    except (KeyboardInterrupt, SystemExit):
        score.incomplete = True
        raise

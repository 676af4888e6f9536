"""Scoring videos: one pass over their frames, in which decoding, encoding and metrics overlap."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import EncodingError, InvalidInputError, UsageError, unknown_name
from nersemble_cli.core.formats.png import on_white
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.score import weights
from nersemble_cli.core.score.cache import Entry, open_entry
from nersemble_cli.core.score.document import METRICS, Score, VideoScore
from nersemble_cli.core.score.lpips import Lpips, check_itself, choose_device, make_lpips
from nersemble_cli.core.score.metrics import (
    BATCH,
    IMAGE_METRICS,
    SMALLEST_MS_SSIM,
    SMALLEST_SSIM,
    SSIM_BORDER,
    Image,
    image_metrics,
    is_dropped,
)
from nersemble_cli.core.score.sources import Frame, Job, frames, read
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

PER_FRAME = (*IMAGE_METRICS, "lpips")
SHIFTS = (-2, -1, 1, 2)
_SHIFT_SAMPLES = 5
_THUMB = 256  # pixels wide
_CLEARLY = 0.8  # times the error without a shift
_MOVES = 0.3  # 8-bit levels, root mean square: below that nothing moves
_ESTIMATE_FRAMES = 2
_COMES_WITH = {"akd_face": "akd"}


@dataclass
class Plan:
    """How to score: the metrics that are computed, why others are not, and LPIPS with its weights."""

    metrics: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    lpips: Lpips | None = None
    weights: weights.Weights | None = None
    masked: bool = False
    workers: int = 1
    cache: Path | None = None

    @property
    def per_frame(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name in PER_FRAME)

    def conventions(self) -> dict[str, Any]:
        """How the values were computed, for the document: equal for equal values."""
        names = ["numpy", "opencv-python", "av", *(["torch"] if self.lpips else [])]
        found: dict[str, Any] = {
            "batch": BATCH,
            "ssim_border": SSIM_BORDER,
            "masked": self.masked,
            "metrics": list(self.metrics),
            "versions": {"nersemble": _version("nersemble-cli"), **{name: _version(name) for name in names}},
            "python": platform.python_version(),
        }
        if self.weights:
            found["lpips_weights_sha256"] = self.weights.sha256
            found["device"] = self.device
        return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def parse_metrics(text: str | None) -> tuple[tuple[str, ...], bool]:
    """The metrics that `--metrics` names, in the order in which they are shown, and whether each was named.

    None is what can be computed without asking; `all` is everything. Raises `UsageError` for unknown ones.
    """
    if text is None:
        return PER_FRAME, False
    names = [name.strip().lower().replace("-", "_") for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return METRICS, False
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, ["all", *METRICS])
    if not names:
        raise UsageError("--metrics names none.", f"Valid: all, {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in names), True


def make_plan(
    metrics: str | None = None,
    *,
    masked: bool = False,
    device: str = "auto",
    weights_file: Path | None = None,
    workers: int | None = None,
    cache: Path | None = None,
) -> Plan:
    """What can be computed here of what is asked for. torch is loaded only if LPIPS can be.

    Raises `UsageError` for unknown metrics or devices, `InvalidInputError` if the weights are not AlexNet's.
    """
    wanted, _ = parse_metrics(metrics)
    if device not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    plan = Plan((), masked=masked, workers=workers or cpu_count(), cache=cache)
    if "lpips" in wanted:
        found = weights.find(weights_file) if find_spec("torch") else None
        if found is None:
            plan.left_out["lpips"] = weights.why_not() or "AlexNet's weights are not here."
        else:
            plan.device = choose_device(device)
            plan.weights = weights.load(found)
            plan.lpips = make_lpips(plan.weights.arrays, plan.device)
            weights.check_self_test(check_itself(plan.lpips), found)
    for name in wanted:
        if name not in PER_FRAME:
            plan.left_out[name] = "nersemble does not compute it yet."
    plan.metrics = tuple(name for name in wanted if name not in plan.left_out)
    if not plan.metrics:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in plan.left_out.items())
        raise UsageError("None of the metrics can be computed here.", reasons)
    return plan


def new_score(benchmark: str, crf: int | None, plan: Plan) -> Score:
    return Score(benchmark, crf, plan.conventions(), left_out=dict(plan.left_out))


def _key(name: str, plan: Plan) -> str:
    """What a frame's value is called in the cache."""
    return f"lpips {plan.weights.sha256}" if name == "lpips" and plan.weights else name


def _needed(entry: Entry, job: Job, plan: Plan) -> list[int]:
    """The timesteps of which a value is not known."""
    wanted = [_key(name, plan) for name in plan.per_frame if _applies(name, job)]
    return [
        t
        for t in job.timesteps
        if t not in entry.dropped and not all(name in entry.frames.get(t, {}) for name in wanted)
    ]


def _applies(name: str, job: Job) -> bool:
    """Whether the frames are large enough for a metric."""
    smallest = {"ssim": SMALLEST_SSIM, "ms_ssim": SMALLEST_MS_SSIM, "lpips": 64}
    return bool(min(job.width, job.height) >= smallest.get(name, 1))


def compute(frame: Frame, job: Job, plan: Plan) -> dict[str, float] | None:
    """The values of one frame under their names in the cache; None if it does not count."""
    if is_dropped(frame.truth):
        return None
    wanted = [name for name in plan.per_frame if _applies(name, job)]
    values = image_metrics(frame.render, frame.truth, wanted, frame.matte)
    if plan.lpips and "lpips" in wanted:
        a, b = (_on_white(image, frame.matte) for image in (frame.render, frame.truth))
        values[_key("lpips", plan)] = plan.lpips(a, b)
    return values


def _on_white(image: Image, matte: NDArray[Any] | None) -> Image:
    return image if matte is None else on_white(image, (matte[..., None] * 255).round().astype(np.uint8))


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

    def work(frame: Frame, cancel: Cancel) -> dict[str, float] | None:
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
            value = known.get(_key(name, plan))
            if value is not None:
                row[name] = math.inf if name == "psnr" and known["mse"] == 0 else value
        video.frames.append(row)
    if entry.shift:
        video.notes.append(
            f"{job.path}: frame t of the render matches frame t{entry.shift:+d} of the ground truth better than"
            " frame t. Are the timesteps off by one, or is a frame missing at the start?"
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


def frames_to_do(jobs: Sequence[Job], plan: Plan) -> list[tuple[Job, int]]:
    """How many frames of each video are still to be computed."""
    return [(job, len(_needed(open_entry(job, plan.cache), job, plan))) for job in jobs]


def estimate_seconds(jobs: Sequence[tuple[Job, int]], plan: Plan) -> float:
    """How long the metrics of these numbers of frames will take, measured on two frames of each size."""
    speeds: dict[tuple[int, int], float] = {}
    total = 0.0
    for job, n in jobs:
        size = (job.width, job.height)
        if n and size not in speeds:
            times = []
            for image in read(job.truth, list(job.timesteps[:_ESTIMATE_FRAMES]), job):
                begun = time.perf_counter()
                compute(Frame(0, image[:, ::-1].copy(), image, None), job, plan)
                times.append(time.perf_counter() - begun)
            speeds[size] = min(times)  # the first one pays for what is loaded
        total += n * speeds.get(size, 0) / max(1, min(plan.workers, cpu_count()))
    return total


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
    """Scores videos one after the other into `score`, whose `videos` has those that are done at any time.

    A video that turns out to be damaged goes to `failed`, and the others go on. An interrupt leaves the video that
    was being scored in `videos` too, as far as it came, and goes on.
    """
    progress = progress or NullProgress()
    entries = {job.path: open_entry(job, plan.cache) for job in jobs}
    progress.start("Scoring", sum(len(job.timesteps) for job in jobs), "frames")
    with _torch_threads(plan):
        for job in jobs:
            entry = entries[job.path]
            try:
                score.videos.append(score_video(job, plan, progress, entry))
            except (InvalidInputError, EncodingError, OSError, av.FFmpegError) as error:
                finding = Finding("damaged_video", job.path, str(error).splitlines()[0])
                score.failed[job.path] = [finding.as_json()]
            except (KeyboardInterrupt, SystemExit):
                score.incomplete = True
                partial = _result(job, plan, entry)
                if partial.frames:
                    score.videos.append(partial)
                raise

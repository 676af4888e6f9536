"""The result of scoring as numbers and as JSON, and putting the parts of many machines together."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.score.metrics import mean, summarise

NOTICE = (
    "Local estimate: visage 0.2.18's formulas on training data. The server's ground truth, frame selection and"
    " averaging are not public."
)
METRICS = ("psnr", "ssim", "ms_ssim", "lpips", "jod", "mse", "akd", "akd_face", "csim")
"""Every metric, in the order in which they are shown."""
LOWER_IS_BETTER = frozenset({"lpips", "mse", "akd", "akd_face"})
OF_FRAMES = ("mse", "psnr", "ssim", "ssim_cropped", "ms_ssim", "lpips")
"""What every frame has, and what is averaged by batches."""
OF_FACES = ("akd", "akd_face", "csim")
"""What a frame has in which a face was found."""
SCHEMA_VERSION = 1
KIND = "local_estimate"
_PART = "part"


@dataclass
class VideoScore:
    """A scored video. `frames` has `timestep` and metrics of each kept frame in order; `whole` the metrics that
    are
    only defined for a video. `num_dropped` frames have no truth and do not count."""

    path: str
    codec: str
    fps: float
    frames: list[dict[str, float]] = field(default_factory=list)
    num_dropped: int = 0
    whole: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    incomplete: bool = False

    def summary(self) -> tuple[dict[str, float], dict[str, float]]:
        """The metrics by batches of 16 frames, as visage averages, and their means over frames."""
        batches, means = summarise([{k: v for k, v in row.items() if k in OF_FRAMES} for row in self.frames])
        return _ordered({**batches, **self.whole}), _ordered(means)

    def worst(self) -> dict[str, float] | None:
        """The frame with the highest LPIPS, or else the lowest SSIM or PSNR."""
        if not self.frames:
            return None
        return max(self.frames, key=badness)

    def as_json(self) -> dict[str, Any]:
        metrics, means = self.summary()
        document: dict[str, Any] = {
            "path": self.path,
            "num_frames": len(self.frames),
            "num_dropped": self.num_dropped,
            "fps": self.fps,
            "render": self.codec,
            "metrics": metrics,
            "frame_means": means,
            "frames": [_frame_as_json(row) for row in self.frames],
        }
        if math.isinf(metrics.get("psnr", 0)):
            document["identical"] = True
        if worst := self.worst():
            document["worst_timestep"] = worst["timestep"]
        if self.incomplete:
            document["incomplete"] = True
        document["notes"] = list(self.notes)
        document["findings"] = list(self.findings)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> VideoScore:
        """The inverse of `as_json`. Raises KeyError or TypeError for something else."""
        frames = [dict(row) for row in document["frames"]]
        for row in frames:
            if row.pop("identical", False):
                row["psnr"] = math.inf
        whole = {k: v for k, v in document["metrics"].items() if k not in OF_FRAMES}
        return cls(
            document["path"], document["render"], document["fps"], frames, document["num_dropped"], whole,
            list(document["notes"]), list(document["findings"]), document.get("incomplete", False),
        )  # fmt: skip


def badness(frame: Mapping[str, float]) -> float:
    """How bad a frame is, by the first metric that it has; larger is worse."""
    if "lpips" in frame:
        return frame["lpips"]
    return -frame["ssim"] if "ssim" in frame else frame["mse"]


def _ordered(values: Mapping[str, float]) -> dict[str, float]:
    known = [name for name in METRICS if name in values]
    return {name: values[name] for name in [*known, *(name for name in values if name not in known)]}


def _frame_as_json(row: Mapping[str, float]) -> dict[str, Any]:
    return {**row, "psnr": None, "identical": True} if math.isinf(row.get("psnr", 0)) else dict(row)


@dataclass
class Score:
    """The result of scoring: `conventions` say how it was done, `left_out` why a metric is missing, `failed` has
    the
    findings of the videos that could not be scored. `part` is (i, n) for one of several parts."""

    benchmark: str
    crf: int | None
    conventions: dict[str, Any]
    videos: list[VideoScore] = field(default_factory=list)
    failed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False
    part: tuple[int, int] | None = None

    def mean(self, frame_means: bool = False) -> dict[str, float]:
        """The plain mean over videos of every metric that all of them have."""
        rows = [video.summary()[frame_means] for video in self.videos if video.frames]
        names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
        return {name: mean([row[name] for row in rows]) for name in names}

    @property
    def is_whole(self) -> bool:
        """Whether everything that was to be scored has been."""
        return not self.failed and not self.incomplete and bool(self.videos)

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "notice": NOTICE,
            "benchmark": self.benchmark,
            "crf": self.crf,
            "conventions": self.conventions,
            "videos": [video.as_json() for video in sorted(self.videos, key=lambda video: video.path)],
            "failed": {path: self.failed[path] for path in sorted(self.failed)},
            "mean": self.mean(),
            "frame_means": self.mean(frame_means=True),
            "left_out": dict(sorted(self.left_out.items())),
            "notes": list(self.notes),
        }
        if self.incomplete:
            document["incomplete"] = True
        if self.part:
            document[_PART] = list(self.part)
        return document


def dumps(document: Any) -> str:
    """The document as JSON, where infinite numbers are null."""
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def load(path: Path) -> Score:
    """The result in a JSON file of `nersemble score --json`. Raises `InvalidInputError`, OSError."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["kind"] != KIND or document["schema_version"] != SCHEMA_VERSION:
            raise KeyError("kind")
        part = document.get(_PART)
        return Score(
            document["benchmark"], document["crf"], document["conventions"],
            [VideoScore.from_json(video) for video in document["videos"]], document["failed"],
            document["left_out"], document["notes"], document.get("incomplete", False),
            None if part is None else (int(part[0]), int(part[1])),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is not a result of `nersemble score` ({type(error).__name__}).",
            "Name a file that `nersemble score … --json > FILE` wrote.",
        ) from error


def merge(parts: Sequence[Score]) -> Score:
    """One result of the parts that `--videos 1/n` to `n/n` gave, as if it had been one run.

    Raises `UsageError` if a part is missing or twice there, or if they were not scored in the same way.
    """
    first = parts[0]
    for part in parts[1:]:
        for what in ("benchmark", "crf", "conventions", "left_out"):
            if getattr(part, what) != getattr(first, what):
                raise UsageError(
                    f"The parts differ in {what}: {getattr(first, what)} and {getattr(part, what)}.",
                    "Score all of them with the same options and versions.",
                )
    numbers = sorted(part.part or (1, 1) for part in parts)
    n = numbers[0][1]
    if numbers != [(i, n) for i in range(1, n + 1)]:
        found = ", ".join(f"{i}/{n}" for i, n in numbers)
        raise UsageError(f"These are the parts {found}.", f"Give each of the {n} parts once.")
    notes = [note for part in parts for note in part.notes]
    return Score(
        first.benchmark, first.crf, first.conventions,
        [video for part in parts for video in part.videos],
        {path: findings for part in parts for path, findings in part.failed.items()},
        first.left_out, list(dict.fromkeys(notes)), any(part.incomplete for part in parts),
    )  # fmt: skip


def to_csv(videos: Iterable[VideoScore]) -> str:
    """A line for each frame: path, timestep, and its metrics."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "timestep", *OF_FRAMES, *OF_FACES], lineterminator="\n")
    writer.writeheader()
    for video in videos:
        writer.writerows({"path": video.path, **row} for row in video.frames)
    return text.getvalue()

"""What of the metrics asked for can be computed here, and with what."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nersemble_cli.core.errors import NersembleError, UsageError, unknown_name
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.score import faces, jod, weights
from nersemble_cli.core.score.document import METRICS, OF_FACES
from nersemble_cli.core.score.faces import Faces
from nersemble_cli.core.score.lpips import Lpips, check_itself, choose_device, make_lpips
from nersemble_cli.core.score.metrics import BATCH, IMAGE_METRICS, SSIM_BORDER

PER_FRAME = (*IMAGE_METRICS, "lpips")
"""What is computed unless something else is asked for, as far as it can be."""
DEVICES = ("auto", "cpu", "cuda")


@dataclass
class Plan:
    """How to score: the metrics that are computed, why others are not, and what computes them. To be closed."""

    metrics: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    lpips: Lpips | None = None
    faces: Faces | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    masked: bool = False
    workers: int = 1
    cache: Path | None = None

    @property
    def per_frame(self) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if name in (*PER_FRAME, *OF_FACES))

    @property
    def has_jod(self) -> bool:
        return "jod" in self.metrics

    def key(self, name: str) -> str:
        """What a frame's value is called in the cache: values of other weights are others."""
        return f"{name} {self.hashes[name]}" if name in self.hashes else name

    def conventions(self) -> dict[str, Any]:
        """How the values are computed, for the document: equal for equal values."""
        names = ["numpy", "opencv-python", "av"]
        names += ["torch"] if self.lpips or self.has_jod else []
        names += ["pyfvvdp"] if self.has_jod else []
        found: dict[str, Any] = {
            "batch": BATCH,
            "ssim_border": SSIM_BORDER,
            "masked": self.masked,
            "metrics": list(self.metrics),
            "versions": {"nersemble": version("nersemble-cli"), **{name: version(name) for name in names}},
            "python": platform.python_version(),
        }
        found.update({f"{name}_weights_sha256": value for name, value in self.hashes.items()})
        if self.lpips or self.has_jod:
            found["device"] = self.device
        if self.has_jod:
            found["jod_display"] = jod.DISPLAY
        if self.faces:
            found["visage"] = dict(self.faces.versions)
        return found

    def close(self) -> None:
        if self.faces:
            self.faces.close()


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def parse_metrics(text: str | None) -> tuple[str, ...]:
    """The metrics that `--metrics` names, in the order in which they are shown.

    None is what can be computed without asking; `all` is everything. Raises `UsageError` for unknown ones.
    """
    if text is None:
        return PER_FRAME
    names = [name.strip().lower().replace("-", "_") for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return METRICS
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, ["all", *METRICS])
    if not names:
        raise UsageError("--metrics names no metric.", f"Valid: all, {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in names)


def make_plan(
    metrics: str | None = None,
    *,
    masked: bool = False,
    device: str = "auto",
    weights_file: Path | None = None,
    visage_python: Path | None = None,
    workers: int | None = None,
    cache: Path | None = None,
) -> Plan:
    """What can be computed here of what is asked for. torch is loaded only if it is needed, and visage started.

    Raises `UsageError` for unknown metrics or devices, `InvalidInputError` if the weights are not AlexNet's.
    """
    wanted = parse_metrics(metrics)
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    plan = Plan((), masked=masked, workers=workers or cpu_count(), cache=cache)
    if "lpips" in wanted:
        _add_lpips(plan, weights_file, device)
    if "jod" in wanted:
        if reason := jod.why_not():
            plan.left_out["jod"] = reason
        else:
            plan.device = choose_device(device)
    _add_faces(plan, [name for name in wanted if name in OF_FACES], visage_python)
    plan.metrics = tuple(name for name in wanted if name not in plan.left_out)
    if not plan.metrics:
        plan.close()
        reasons = "\n".join(f"{name}: {reason}" for name, reason in plan.left_out.items())
        raise UsageError("None of the metrics can be computed here.", reasons)
    return plan


def _add_lpips(plan: Plan, weights_file: Path | None, device: str) -> None:
    found = weights.find(weights_file) if find_spec("torch") else None
    if found is None:
        plan.left_out["lpips"] = weights.why_not() or "AlexNet's weights are not here."
        return
    loaded = weights.load(found)
    plan.device = choose_device(device)
    plan.lpips = make_lpips(loaded.arrays, plan.device)
    plan.hashes["lpips"] = loaded.sha256
    weights.check_self_test(check_itself(plan.lpips), found)


def _add_faces(plan: Plan, wanted: list[str], named: Path | None) -> None:
    python = faces.find_python(named) if wanted else None
    for name in wanted:
        if reason := faces.why_not(name, python):
            plan.left_out[name] = reason
    possible = [name for name in wanted if name not in plan.left_out]
    if not possible or python is None:
        return
    try:
        plan.faces = Faces(python, possible)
    except (NersembleError, OSError) as error:
        plan.left_out.update(dict.fromkeys(possible, str(error)))
        return
    plan.left_out.update({name: f"visage says: {reason}" for name, reason in plan.faces.failed.items()})
    plan.hashes.update({name: faces.weights_hash(name) for name in possible if name not in plan.left_out})

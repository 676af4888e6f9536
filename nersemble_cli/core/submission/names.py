"""Which file is meant: from names as people and programs write them to those of a submission."""

from __future__ import annotations

import difflib
import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from nersemble_cli.core.benchmarks import BENCHMARKS, Benchmark, VideoBenchmark
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.members import is_junk

_PADDED_TIMESTEP = re.compile(r"_0*(\d+)_(\d{9})$")
_CAMERA = re.compile(r"^(?:cam_?)?(\d{9})(\.\w+)?$")
_PUNCTUATION = re.compile(r"[^a-z0-9/.]")
_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".exr", ".bmp", ".tif", ".tiff"}
# How to make the right file of what people put in its place, by the right file's type.
_CONVERSIONS = {
    ".mp4": "Encode it as an h264 mp4, best from your frames: nersemble pack.",
    ".ply": "Export it as PLY with triangles; nersemble pack converts OBJ.",
    ".npy": "Save the landmarks with np.save, as an array of shape (7, 3).",
}
_NAMED = {
    ".mp4": "videos are named cam_SERIAL.mp4",
    ".ply": "meshes are named mesh_posed.ply and mesh_neutral.ply",
    ".npy": "landmarks are named landmarks_posed.npy and landmarks_neutral.npy",
}
LONGEST_TYPO_SEARCH = 20
NEARLY = 0.85  # difflib's ratio from which a name is taken for a misspelling
DEEPEST_WRAPPER = 5
_MISSING = {"cam_": "missing_file", "mesh": "missing_mesh", "land": "missing_landmarks"}


def canonical(path: str) -> str:
    """A spelling that the ways to write one name have in common.

    Participant and timestep lose leading zeros, cameras the `cam_`; backslashes and capitals go.
    """
    parts = []
    for part in path.replace("\\", "/").lower().split("/"):
        if part.isascii() and part.isdigit() and len(part) < 9:
            part = str(int(part))
        elif camera := _CAMERA.match(part):
            part = camera[1] + (camera[2] or "")
        else:
            part = _PADDED_TIMESTEP.sub(r"_\1_\2", part)
        parts.append(part)
    return "/".join(parts)


def expected_names(benchmark: Benchmark) -> list[str]:
    """Every name that a submission may hold, in order. Landmark files are among them."""
    return [name for slot in benchmark.slots for name in slot.files]


@functools.cache
def by_canonical(benchmark_name: str) -> Mapping[str, str]:
    """Canonical spelling → name, of every name that a submission may hold."""
    return {canonical(name): name for name in expected_names(BENCHMARKS[benchmark_name])}


def _loose(path: str) -> str:
    """The canonical spelling without file type, `mesh_` and punctuation: `EXP2-eyes` and `EXP-2-eyes` are one."""
    stem = canonical(path).rsplit("/", 1)
    stem[-1] = PurePosixPath(stem[-1]).stem.removeprefix("mesh")
    return _PUNCTUATION.sub("", "/".join(stem).replace(".", "").replace("/_", "/"))


@functools.cache
def _by_loose(benchmark_name: str) -> Mapping[str, str]:
    return {_loose(name): name for name in expected_names(BENCHMARKS[benchmark_name])}


def _meant(benchmark: Benchmark, name: str) -> str | None:
    """The right name for one that is written differently, has another file type, or is a frame of a video."""
    if meant := by_canonical(benchmark.name).get(canonical(name)):
        return meant
    path = PurePosixPath(name)
    is_frame = path.suffix.lower() in _IMAGES and isinstance(benchmark, VideoBenchmark)
    return _by_loose(benchmark.name).get(_loose(f"{path.parent}{path.suffix}" if is_frame else name))


def wrapper_of(names: Collection[str]) -> str:
    """The extra folder (`a/` or `a/b/`) that the submission is inside of; "" if there is none."""
    known = {name for benchmark_name in BENCHMARKS for name in by_canonical(benchmark_name)}
    wrappers: Counter[str] = Counter()
    for name in names:
        parts = name.replace("\\", "/").split("/")
        for depth in range(min(len(parts) - 2, DEEPEST_WRAPPER + 1)):
            if canonical("/".join(parts[depth:])) in known:
                wrappers["".join(f"{part}/" for part in parts[:depth])] += 1
                break
    return max(wrappers, key=lambda wrapper: wrappers[wrapper], default="")


def holds(benchmark: Benchmark, names: Iterable[str]) -> bool:
    """Whether any of the names belongs to a submission to the benchmark, however it is written."""
    return any(canonical(name) in by_canonical(benchmark.name) for name in names)


def recognise(names: Iterable[str]) -> Benchmark | None:
    """The benchmark that most names belong to, however they are written; None if none of them does."""
    found = {canonical(name) for name in names}
    scores = {name: len(by_canonical(name).keys() & found) for name in BENCHMARKS}
    best = max(scores, key=lambda name: scores[name])
    if scores[best]:
        return BENCHMARKS[best]
    for benchmark in BENCHMARKS.values():
        if any(_meant(benchmark, name) for name in found):
            return benchmark
    if any(name.endswith((".ply", ".npy")) for name in found):
        return BENCHMARKS["svfr"]
    folders = {name.partition("/")[0] for name in found if name.endswith(".mp4")}
    for benchmark in BENCHMARKS.values():
        if isinstance(benchmark, VideoBenchmark) and folders.intersection(map(str, benchmark.participants)):
            return benchmark
    return None


@dataclass(frozen=True)
class Matching:
    """`found` maps the right names to the names that the files have; what is wrong is in `findings`."""

    found: Mapping[str, str]
    findings: list[Finding]


def match(benchmark: Benchmark, names: Collection[str], wrapper: str) -> Matching:
    """Finds the files of a submission, also under names that are nearly right (which are findings)."""
    expected = expected_names(benchmark)
    exact = set(expected)
    stranger_severity = "warning" if isinstance(benchmark, VideoBenchmark) else "error"
    found = {name.removeprefix(wrapper): name for name in names if name.removeprefix(wrapper) in exact}
    taken = set(found.values())
    replaced: set[str] = set()  # what is there in another form, such as a video as frames
    findings = []
    searched = 0

    def missing(meant: str, message: str, name: str, hint: str) -> None:
        code = _MISSING[PurePosixPath(meant).name[:4]]
        findings.append(Finding(code, meant, message, meant, name, hint))

    for name in sorted(names):
        inner = name.replace("\\", "/").removeprefix(wrapper)
        if name in taken:
            continue
        if is_junk(inner):
            message = "An operating system or a tool left this file behind."
            findings.append(Finding("junk_file", name, message, actual=name, severity=stranger_severity))
            continue
        meant = _meant(benchmark, inner)
        kind = PurePosixPath(meant or "").suffix
        if meant in found:
            hint = f"{meant} exists under its right name: remove this file."
        elif meant and PurePosixPath(inner).suffix.lower() == kind:
            found[meant] = name
            hint = f"Rename it to {meant}{_why(name, meant)}."
            missing(meant, f"Missing, but found as {name}.", name, hint)
        elif meant:
            hint = _CONVERSIONS[kind]
            if meant not in replaced:
                replaced.add(meant)
                missing(meant, f"Missing, the zip holds {name} instead.", name, hint)
        else:
            close = None
            if searched < LONGEST_TYPO_SEARCH:
                searched += 1
                close = difflib.get_close_matches(inner, expected, n=1, cutoff=NEARLY)
            hint = f"Did you mean {close[0]}?" if close else ""
        message = "It is not part of the submission under this name."
        findings.append(
            Finding("unexpected_file", name, message, meant, name, hint=hint, severity=stranger_severity)
        )
    return Matching(found, findings)


def _why(name: str, meant: str) -> str:
    """What is wrong with a name that is nearly right."""
    reasons = []
    if "\\" in name:
        reasons.append("with slashes, not backslashes")
    parts, right = name.replace("\\", "/").split("/"), meant.split("/")
    if len(parts) >= len(right):
        parts = parts[-len(right) :]
        if parts[0] != right[0]:
            reasons.append("participants have three digits")
        if (parts[1] != right[1] and canonical(parts[1]) != parts[1].lower()) or (
            parts[1].lower() != right[1].lower() and canonical(parts[1]) == canonical(right[1])
        ):
            reasons.append("timesteps are padded to three digits")
        if parts[-1].lower() != right[-1].lower():
            reasons.append(_NAMED[PurePosixPath(meant).suffix])
        if [p.lower() for p in parts] == [r.lower() for r in right] and parts != right:
            reasons.append("case matters")
    return f" ({'; '.join(reasons)})" if reasons else ""

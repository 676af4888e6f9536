"""Which mesh or landmarks each file of a folder is, whatever the layout of the folder."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nersemble_cli.core.benchmarks import MESH_KINDS, MeshSlot
from nersemble_cli.core.errors import UsageError, listing
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.layouts import Words, above_names, compile_pattern, walk
from nersemble_cli.core.submission.names import LONGEST_TYPO_SEARCH, NEARLY, canonical

MESHES = (".ply", ".obj")  # what can be packed
OTHER_MESHES = (".stl", ".off", ".glb", ".gltf", ".fbx")
LANDMARKS = ".npy"
PATTERN_HELP = "For example: --pattern '{participant}/{sequence}_{timestep}_{serial}/mesh_{kind}.ply'"
_EXACT, _IN_PLACE, _ELSEWHERE = range(3)
_KIND = re.compile(rf"(?<![a-z])({'|'.join(MESH_KINDS)})(?![a-z])", re.IGNORECASE)
_LANDMARK_NAME = re.compile(r"landmark|lmk|(?<![a-z])now(?![a-z])", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[^a-z0-9/]")
_NUMBER = re.compile(r"(?<![0-9])0*([0-9]{1,6})(?![0-9])")


@dataclass(frozen=True)
class MeshFile:
    """A file that could be the mesh or the landmarks of `slot`. `template` is its path as a `--pattern`."""

    path: Path
    slot: MeshSlot
    template: str

    @property
    def is_mesh(self) -> bool:
        return self.path.suffix.lower() != LANDMARKS

    @property
    def name(self) -> str:
        """What it would be called in a submission."""
        return self.slot.path if self.is_mesh else self.slot.landmarks_path


@dataclass
class MeshFiles:
    """The files of a folder: those that could be part of a submission, meshes in formats that are not read, meshes
    that say neither posed nor neutral, and others."""

    known: list[MeshFile] = field(default_factory=list)
    unread: list[MeshFile] = field(default_factory=list)
    without_kind: list[Path] = field(default_factory=list)
    strangers: list[Path] = field(default_factory=list)

    def by_name(self) -> dict[str, list[MeshFile]]:
        found: dict[str, list[MeshFile]] = defaultdict(list)
        for file in self.known:
            found[file.name].append(file)
        return found


def find_meshes(folder: Path, slots: Iterable[MeshSlot], above: int = 0) -> MeshFiles:
    """Finds the meshes and landmarks below `folder` whose paths name an image, and say `posed` or `neutral`.

    The image's camera may be left out where there is only one. `above` names of folders above it are read too.
    """
    words = Words(list(slots))
    prefix = above_names(folder, above)
    files = MeshFiles()
    for path in walk(folder):
        name = prefix + path.relative_to(folder).as_posix()
        stem = name[: len(name) - len(path.suffix)]
        suffix = path.suffix.lower()
        is_candidate = suffix in (*MESHES, *OTHER_MESHES) or (
            suffix == LANDMARKS and _LANDMARK_NAME.search(path.stem)
        )
        chosen, template = _read(words, stem) if is_candidate else ([], "")
        if len(chosen) == 1:
            target = files.unread if suffix in OTHER_MESHES else files.known
            target.append(MeshFile(path, chosen[0], template + path.suffix))
        elif chosen and suffix in MESHES:
            files.without_kind.append(path)
        else:
            files.strangers.append(path)
    return files


def read_mesh_pattern(folder: Path, pattern: str, slots: Iterable[MeshSlot]) -> MeshFiles:
    """The meshes below `folder` whose paths fit `pattern`: `{participant}`, `{sequence}`, `{timestep}`, `{serial}`
    and `{kind}` (posed or neutral) stand for what they say, `*` for anything in a name and `**` for any folders.

    Landmarks are files that fit, too, or are beside their mesh as `landmarks_{kind}.npy` or under its name. Raises
    `UsageError` if the pattern is malformed, or does not tell the meshes apart.
    """
    words = Words(list(slots))
    fields = words.patterns | {"timestep": "[0-9]+", "kind": "|".join(MESH_KINDS)}
    expression, seen = compile_pattern(pattern + "*" * pattern.endswith("/"), fields, PATTERN_HELP)
    files = MeshFiles()
    for path in walk(folder):
        name = path.relative_to(folder).as_posix()
        match = expression.fullmatch(name)
        if match is None or path.suffix.lower() not in (*MESHES, LANDMARKS):
            files.strangers.append(path)
            continue
        found = {key: match[key] for key in seen}
        chosen = words.slots_of(found)
        if "timestep" in found:
            chosen = [slot for slot in chosen if slot.timestep == int(found["timestep"])]
        kind = found.get("kind") or ((said := _kind(name)) and said[1])
        chosen = [slot for slot in chosen if slot.kind == kind.lower()] if kind else chosen
        if len(chosen) > 1:
            lacking = [f"{{{key}}}" for key in fields if key not in seen and not (key == "kind" and kind)]
            message = (
                f"The pattern {pattern} does not tell the meshes apart: {path} could be any of {len(chosen)}."
            )
            raise UsageError(message, f"Add {' or '.join(lacking)}.")
        if not chosen:
            files.strangers.append(path)
        files.known += [MeshFile(path, slot, pattern) for slot in chosen]
    _add_landmarks(files)
    return files


def _add_landmarks(files: MeshFiles) -> None:
    have = {file.slot for file in files.known if not file.is_mesh}
    for file in [file for file in files.known if file.slot not in have]:
        names = (f"landmarks_{file.slot.kind}.npy", f"{file.path.stem}.npy")
        for path in (file.path.with_name(name) for name in names):
            if path in files.strangers:
                files.strangers.remove(path)
                files.known.append(MeshFile(path, file.slot, file.template))
                break


def _read(words: Words[MeshSlot], path: str) -> tuple[list[MeshSlot], str]:
    """The mesh that a path (without suffix) names, and its template; both meshes of an image if it does not say
    posed or neutral, and none if it does not name one image of the benchmark."""
    fields = words.fields(path)
    if fields is None or not {"participant", "sequence"} <= fields.found.keys():
        return [], ""
    slots = words.slots_of(fields.found)
    taken = [range(start, end) for start, end, _ in fields.spans]
    after = max(start for start, _, name in fields.spans if name == "{sequence}")
    numbers = [m for m in _NUMBER.finditer(path) if not any(m.start() in span for span in taken)]
    for matches in ([m for m in numbers if m.start() > after], numbers):
        timesteps = {int(match[1]): match for match in reversed(matches)}
        chosen = [slot for slot in slots if slot.timestep in timesteps]
        if len({slot.key for slot in chosen}) == 1:
            break
    else:
        return [], ""
    fields.spans.append((*timesteps[chosen[0].timestep].span(), "{timestep}"))
    if kind := _kind(path):
        chosen = [slot for slot in chosen if slot.kind == kind[1].lower()]
        fields.spans.append((*kind.span(1), "{kind}"))
    return chosen, fields.template(path).replace("#", "*")


def _kind(path: str) -> re.Match[str] | None:
    """Where a path says posed or neutral, in its last name if that says it, else in a folder."""
    for begin in (path.rfind("/") + 1, 0):
        matches = list(_KIND.finditer(path, begin))
        if len({match[1].lower() for match in matches}) == 1:
            return matches[-1]
        if matches:
            return None
    return None


@dataclass
class Choice:
    """Which file becomes what: `files` maps names in a submission to files. `others` are not packed."""

    files: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose_meshes(folder: Path, files: MeshFiles, pattern: str | None) -> Choice:
    """Takes one file for each mesh and landmark file of a submission.

    Files with the right names come first, then others in the right folder. Those of another layout are taken only
    if there is nothing else. Raises `UsageError` if the files can be read in several ways.
    """
    ranks = {file.path: _rank(folder, file) for file in files.known}
    is_standard = min(ranks.values(), default=_ELSEWHERE) < _ELSEWHERE and not pattern
    choice = Choice(others=list(files.strangers))
    names: Counter[tuple[str, str]] = Counter()
    for name, candidates in files.by_name().items():
        best = min(ranks[file.path] for file in candidates)
        chosen = [file for file in candidates if pattern or ranks[file.path] == best]
        if is_standard and best == _ELSEWHERE:
            chosen = []
        choice.others += [file.path for file in candidates if file not in chosen]
        if len(chosen) == 1:
            choice.files[name] = chosen[0].path
            names[chosen[0].path.name, PurePosixPath(name).name] += best == _IN_PLACE
        elif chosen:
            if _EXACT not in ranks.values():
                _refuse_several_layouts(folder, name, chosen)
            message = f"It could be any of {', '.join(str(file.path) for file in chosen)}."
            choice.findings.append(
                Finding("duplicate_file", name, message, 1, len(chosen), hint="Keep one of them.")
            )
    if not is_standard and not pattern:
        lines = dict.fromkeys(file.template for file in files.known if file.path in choice.files.values())
        choice.notes.append(f"{folder} is read as {' and '.join(lines)}; if that is wrong, use --pattern")
    choice.notes += [
        f"{found} is taken for {right} ({n} file{'s' * (n > 1)})" for (found, right), n in names.items() if n
    ]
    return choice


def _rank(folder: Path, file: MeshFile) -> int:
    path = file.path.relative_to(folder)
    if canonical(str(path)) == canonical(file.name):
        return _EXACT
    return _IN_PLACE if canonical(str(path.parent)) == canonical(file.slot.folder) else _ELSEWHERE


def _refuse_several_layouts(folder: Path, name: str, files: Sequence[MeshFile]) -> None:
    layouts = list(dict.fromkeys(file.template for file in files))
    if len(layouts) > 1 and files[0].is_mesh:
        lines = "\n".join(f"  --pattern '{line}'" for line in layouts)
        raise UsageError(
            f"{folder} can be read in {len(layouts)} ways: {name} could be any of them.", f"Choose one:\n{lines}"
        )


def no_meshes(folder: Path, files: MeshFiles) -> UsageError | None:
    """The error for meshes none of which can be packed: they do not say what they are, or have other formats."""
    if files.without_kind:
        some = listing([path.relative_to(folder) for path in files.without_kind], 3)
        return UsageError(
            f"Are these meshes posed or neutral? Their names do not say: {some}.",
            "Name them mesh_posed.ply and mesh_neutral.ply, or put them into folders called posed and neutral.",
        )
    if files.unread:
        found = ", ".join(f"{n} {name}" for name, n in Counter(f.path.name for f in files.unread).most_common(3))
        return UsageError(
            f"Nothing in {folder} is PLY or OBJ, but there are other meshes ({found}).",
            "Export them as PLY or OBJ, with the vertices in their order.",
        )
    return None


def near_meshes(folder: Path, slots: Iterable[MeshSlot], files: MeshFiles) -> list[Finding]:
    """A finding for each mesh that is there in another format, or with a spelling mistake in its path."""
    findings = []
    for file in files.unread:
        message = f"It is missing, but there is {file.path.relative_to(folder)}."
        hint = "Export it as PLY or OBJ, with the vertices in their order."
        findings.append(Finding("missing_mesh", file.slot.path, message, file.slot.path, str(file.path), hint))
    known = {file.slot for file in files.known}
    names = {canonical(slot.path).removesuffix(".ply"): slot for slot in slots if slot not in known}
    plain = {_PUNCTUATION.sub("", right): right for right in names}
    strangers = [path for path in files.strangers if path.suffix.lower() in MESHES]
    for n, path in enumerate(strangers):
        name = canonical(path.relative_to(folder).with_suffix("").as_posix())
        close = plain.get(_PUNCTUATION.sub("", name))
        if not close and n < LONGEST_TYPO_SEARCH:
            close = next(iter(difflib.get_close_matches(name, names, n=1, cutoff=NEARLY)), None)
        if close:
            right = names[close].path
            message = f"It is missing, but there is {path.relative_to(folder)}."
            hint = f"Did you mean {right}? Rename it."
            findings.append(Finding("missing_mesh", right, message, right, str(path), hint))
    return findings

"""Which video each file of a folder belongs to, whatever the layout of the folder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from nersemble_cli.core.benchmarks import MeshSlot, VideoSlot
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.submission.members import is_junk

DEEPEST = 8  # levels below the folder
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".exr", ".bmp", ".tif", ".tiff", ".npy")
VIDEO = ".mp4"
OTHER_VIDEOS = (".mov", ".avi", ".mkv", ".webm", ".m4v", ".gif")
PATTERN_HELP = "For example: --pattern '{participant}/{sequence}/{frame}_{serial}.png'"
_PATTERN_PART = re.compile(r"\{(\w*)\}|(\*\*/?)|(\*)|(\?)|([^{*?]+)|(.)")
_NUMBER = re.compile(r"[0-9]+")
_STRANGER = re.compile(r"(?:^|/)[0-9]{2,4}(?=[/_-])")  # what could be a participant
# Folders that programs put between a participant and a camera.
_NOT_A_SEQUENCE = ("", "images", "rgb", "render", "renders", "frames", "sequences", "test", "val", "ours")

SlotT = TypeVar("SlotT", bound=VideoSlot | MeshSlot)


@dataclass
class Layout:
    """The files of each video, by their names (paths below the folder without what names the video).

    `template` is the layout as a `--pattern`, in which `#` stands for a number.
    """

    template: str
    files: dict[VideoSlot, dict[str, Path]] = field(default_factory=lambda: defaultdict(dict))
    suffix: str = ".png"


def walk(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Every regular file below a folder, sorted; hidden files, junk and loops of links are left out."""
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.name.startswith(".") or is_junk(child.name):
            continue
        if child.is_file():
            yield child
        elif depth and child.is_dir():
            yield from walk(child, depth - 1)


@dataclass
class Fields:
    """What a path says: fields of a slot, and where each is written in the path (start, end, `{name}`)."""

    found: dict[str, str]
    spans: list[tuple[int, int, str]]

    def template(self, path: str, mask: bool = False) -> str:
        """The path with `{name}` for each field and `#` for every other number; with `mask` of True instead `*`
        for each field, and all else as it is."""
        text, last = "", 0
        for start, end, name in sorted(self.spans):
            text += path[last:start] + "*" if mask else _NUMBER.sub("#", path[last:start]) + name
            last = end
        return text + (path[last:] if mask else _NUMBER.sub("#", path[last:]))


class Words(Generic[SlotT]):
    """Finds participants, sequences and cameras in paths."""

    def __init__(self, slots: Sequence[SlotT]) -> None:
        self.slots: Sequence[SlotT] = slots
        self._by_participant: dict[int, list[SlotT]] = defaultdict(list)
        for slot in slots:
            self._by_participant[slot.participant].append(slot)
        self.sequences = {slot.sequence.lower(): slot.sequence for slot in slots}
        people = "|".join(sorted({str(slot.participant) for slot in slots}))
        names = "|".join(re.escape(s) for s in sorted(self.sequences, key=len, reverse=True))
        serials = "|".join(sorted({slot.serial for slot in slots}))
        self.patterns = {
            "participant": f"0*(?:{people})",
            "sequence": f"(?:{names})",
            "serial": f"(?:cam_?)?(?:{serials})",
        }
        self._participant = re.compile(
            rf"(?:^|(?<=/))(?:participant|subject|person|id|p)?[_-]?(0*(?:{people}))(?=[/_.\- ]|$)",
            re.IGNORECASE,
        )
        self._sequence = re.compile(rf"(?<![a-z0-9])({names})(?![a-z0-9])", re.IGNORECASE)
        self._serial = re.compile(rf"(?<![0-9])({serials})(?![0-9])")

    def slots_of(self, found: Mapping[str, str]) -> list[SlotT]:
        """The slots that go with what a path says; a field that it does not name is open."""
        sequence = self.sequences.get(found["sequence"].lower()) if "sequence" in found else None
        slots: Sequence[SlotT] = self.slots
        if "participant" in found:
            slots = self._by_participant[int(found["participant"])]
        return [
            slot
            for slot in slots
            if ("sequence" not in found or slot.sequence == sequence)
            and ("serial" not in found or slot.serial == found["serial"][-9:])
        ]

    def fields(self, path: str) -> Fields | None:
        """What a path (without suffix) names; None if it names several cameras, or a sequence of somebody else."""
        fields = Fields({}, [])
        serials = list(self._serial.finditer(path))
        if len({match[1] for match in serials}) > 1:
            return None
        if serials:
            fields.found["serial"] = serials[-1][1]
            fields.spans += [(*match.span(1), "{serial}") for match in serials]
        folders = path.rpartition("/")[0]
        sequence = self._sequence.search(path)
        if sequence:
            fields.found["sequence"] = sequence[1]
            fields.spans.append((*sequence.span(1), "{sequence}"))
        person = self._participant.search(path)
        if (
            person
            and (not sequence or person.start(1) < sequence.start(1))
            and (person.end(1) <= len(folders) or (sequence and sequence.start(1) >= len(folders)))
        ):
            fields.found["participant"] = person[1]
            fields.spans.append((*person.span(1), "{participant}"))
        elif _STRANGER.search(path[: sequence.start() if sequence else len(path)]):
            return None
        elif sequence and len({slot.participant for slot in self.slots_of(fields.found)}) > 1:
            # FREE/393/cam_222200037: only where the sequence does not tell, as a frame can have such a number.
            after = list(self._participant.finditer(folders, sequence.end()))
            if len(after) == 1:
                fields.found["participant"] = after[0][1]
                fields.spans.append((*after[0].span(1), "{participant}"))
        return fields


def _read(words: Words[VideoSlot], path: str) -> tuple[VideoSlot, str, str] | None:
    """The video that a path (without suffix) names, its template, and what the path says besides."""
    fields = words.fields(path)
    if fields is None or "serial" not in fields.found:
        return None
    places = {name: (start, end) for start, end, name in sorted(fields.spans, reverse=True)}
    if "{participant}" in places and "{sequence}" not in places:
        between = path[places["{participant}"][1] : places["{serial}"][0]]
        if any(part.strip("_-.").lower() not in _NOT_A_SEQUENCE for part in between.split("/")[1:-1]):
            return None  # another sequence, or a misspelled one
    slots = words.slots_of(fields.found)
    if len(slots) != 1 or len(fields.found) == 1:
        return None
    return slots[0], fields.template(path), fields.template(path, mask=True)


def above_names(folder: Path, above: int) -> str:
    """The names of the `above` folders that end with `folder`, as the beginning of a path: `388/GLASSES/`."""
    return "".join(f"{name}/" for name in folder.resolve().parts[-above:]) if above else ""


def find_layouts(folder: Path, slots: Sequence[VideoSlot], above: int = 0) -> list[Layout]:
    """The ways in which the files below `folder` can be read as frames or videos of `slots`, the largest first.

    `above` names of folders above it are read too.
    """
    words = Words(slots)
    prefix = above_names(folder, above)
    layouts: dict[tuple[str, str], Layout] = {}
    for path in walk(folder):
        suffix = path.suffix.lower()
        if suffix not in (VIDEO, *OTHER_VIDEOS, *IMAGES):
            continue
        name = path.relative_to(folder).as_posix()
        name = name[: len(name) - len(path.suffix)]
        read = _read(words, prefix + name)
        if read:
            slot, template, left = read
            layout = layouts.setdefault((template, suffix), Layout(template + path.suffix, suffix=suffix))
            layout.files[slot][left] = path
    return sorted(layouts.values(), key=lambda layout: -sum(map(len, layout.files.values())))


def read_pattern(folder: Path, pattern: str, slots: Sequence[VideoSlot]) -> Layout:
    """The files below `folder` whose paths fit `pattern`: `{participant}`, `{sequence}`, `{serial}` and `{frame}`
    stand for what they say, `*` for anything in a name and `**` for any folders.

    Raises `UsageError` if the pattern is malformed, or does not tell the videos apart.
    """
    words = Words(slots)
    fields = words.patterns | {"frame": r"[-+\u2212]?[0-9]+(?:\.[0-9]+)?"}
    expression, seen = compile_pattern(pattern, fields, PATTERN_HELP)
    if "serial" not in seen and len({slot.serial for slot in slots}) > 1:
        raise UsageError(f"The pattern {pattern} has no {{serial}}.", PATTERN_HELP)
    layout = Layout(pattern, suffix=Path(pattern).suffix.lower())
    for path in walk(folder):
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match is None:
            continue
        named: dict[str, str] = {
            name: match[name] for name in ("participant", "sequence", "serial") if name in seen
        }
        chosen = words.slots_of(named)
        if len(chosen) > 1:
            lacking = [f"{{{name}}}" for name in ("participant", "sequence", "serial") if name not in seen]
            message = (
                f"The pattern {pattern} does not tell the videos apart: {path} could be any of {len(chosen)}."
            )
            raise UsageError(message, f"Add {' or '.join(lacking)}.")
        for slot in chosen:
            label = match["frame"] if "frame" in seen else ""
            if label in layout.files[slot]:
                label = path.relative_to(folder).as_posix()
                label = label[: len(label) - len(path.suffix)]
            layout.files[slot][label] = path
            layout.suffix = path.suffix.lower()
    return layout


def compile_pattern(pattern: str, fields: Mapping[str, str], help_: str) -> tuple[re.Pattern[str], set[str]]:
    """A `--pattern` as a regular expression, and the fields in it. `fields` maps names to expressions.

    Raises `UsageError`, with `help_` as its hint, if the pattern is malformed.
    """
    text, seen = "", set()
    for part in _PATTERN_PART.finditer(pattern.removeprefix("./")):
        name, deep, star, mark, literal, brace = part.groups()
        if name is not None:
            if name not in fields:
                known = ", ".join(f"{{{field}}}" for field in fields)
                raise UsageError(f"Unknown field {{{name}}} in the pattern {pattern}.", f"Valid: {known}.")
            text += f"(?P={name})" if name in seen else f"(?P<{name}>{fields[name]})"
            seen.add(name)
        elif deep:
            text += "(?:.*/)?" if deep.endswith("/") else ".*"
        elif star or mark:
            text += "[^/]*" if star else "[^/]"
        elif brace:
            raise UsageError(f"The pattern {pattern} has a {brace} without its other half.", help_)
        else:
            text += re.escape(literal)
    return re.compile(text, re.IGNORECASE), seen


def templates(layouts: Iterable[Layout]) -> list[str]:
    """The layouts as lines for `--pattern`."""
    return list(dict.fromkeys(_as_pattern(layout) for layout in layouts))


def _as_pattern(layout: Layout) -> str:
    """The layout as a `--pattern`: the last number is taken for the frame's, the others are any."""
    if "#" not in layout.template:
        return layout.template
    head, _, tail = layout.template.rpartition("#")
    return f"{head.replace('#', '*')}{{frame}}{tail}"

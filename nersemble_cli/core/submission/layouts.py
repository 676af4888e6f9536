"""Which video each file of a folder belongs to, whatever the folder is laid out like."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nersemble_cli.core.benchmarks import VideoSlot
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.submission.members import is_junk

DEEPEST = 8  # levels below the folder
FIELDS = ("participant", "sequence", "serial", "frame")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".exr", ".bmp", ".tif", ".tiff", ".npy")
VIDEO = ".mp4"
_PATTERN_PART = re.compile(r"\{(\w*)\}|(\*\*/?)|(\*)|(\?)|([^{*?]+)|(.)")
_NUMBER = re.compile(r"[0-9]+")
_STRANGER = re.compile(r"(?:^|/)[0-9]{2,4}(?=[/_-])")  # what could be a participant
# Folders that programs put between a participant and a camera.
_NOT_A_SEQUENCE = ("", "images", "rgb", "render", "renders", "frames", "sequences", "test", "val", "ours")


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


class _Words:
    """Finds participants, sequences and cameras in paths."""

    def __init__(self, slots: Sequence[VideoSlot]) -> None:
        self.slots = slots
        self.sequences = {slot.sequence.lower(): slot.sequence for slot in slots}
        people = "|".join(sorted({str(slot.participant) for slot in slots}))
        names = "|".join(re.escape(s) for s in sorted(self.sequences, key=len, reverse=True))
        serials = "|".join(sorted({slot.serial for slot in slots}))
        self.participant = f"0*(?:{people})"
        self.sequence = f"(?:{names})"
        self.serial = f"(?:cam_?)?(?:{serials})"
        self._participant = re.compile(
            rf"(?:^|(?<=/))(?:participant|subject|person|id|p)?[_-]?(0*(?:{people}))(?=[/_.\- ]|$)",
            re.IGNORECASE,
        )
        self._sequence = re.compile(rf"(?<![a-z0-9])({names})(?![a-z0-9])", re.IGNORECASE)
        self._serial = re.compile(rf"(?<![0-9])({serials})(?![0-9])")

    def slots_of(self, found: dict[str, str]) -> list[VideoSlot]:
        """The videos that go with what a path says; a field that it does not name is open."""
        sequence = self.sequences.get(found["sequence"].lower()) if "sequence" in found else None
        return [
            slot
            for slot in self.slots
            if ("participant" not in found or slot.participant == int(found["participant"]))
            and ("sequence" not in found or slot.sequence == sequence)
            and ("serial" not in found or slot.serial == found["serial"][-9:])
        ]

    def read(self, path: str) -> tuple[VideoSlot, str, str] | None:
        """The video that a path (without suffix) names, its template, and what the path says besides."""
        serials = list(self._serial.finditer(path))
        if not serials or len({match[1] for match in serials}) > 1:
            return None
        spans = [(*match.span(1), "{serial}") for match in serials]
        found: dict[str, str] = {"serial": serials[-1][1]}
        folders = path.rpartition("/")[0]
        sequence = self._sequence.search(path)
        if sequence:
            found["sequence"] = sequence[1]
            spans.append((*sequence.span(1), "{sequence}"))
        person = self._participant.search(path)
        if (
            person
            and (not sequence or person.start(1) < sequence.start(1))
            and (person.end(1) <= len(folders) or (sequence and sequence.start(1) >= len(folders)))
        ):
            found["participant"] = person[1]
            spans.append((*person.span(1), "{participant}"))
        if "participant" not in found and _STRANGER.search(path[: sequence.start() if sequence else len(path)]):
            return None  # a sequence of somebody else
        between = path[person.end(1) : serials[0].start()] if person and not sequence else ""
        if any(part.strip("_-.").lower() not in _NOT_A_SEQUENCE for part in between.split("/")[1:-1]):
            return None  # another sequence, or a misspelled one
        slots = self.slots_of(found)
        if len(slots) != 1 or len(found) == 1:
            return None
        template, left, last = "", "", 0
        for start, end, name in sorted(spans):
            template += _NUMBER.sub("#", path[last:start]) + name
            left += path[last:start] + "*"
            last = end
        return slots[0], template + _NUMBER.sub("#", path[last:]), left + path[last:]


def find_layouts(folder: Path, slots: Sequence[VideoSlot], above: int = 0) -> list[Layout]:
    """The ways in which the files below `folder` can be read as frames or videos of `slots`, the largest first.

    `above` names of folders above it are read too.
    """
    words = _Words(slots)
    top = folder.resolve()
    for _ in range(above):
        top = top.parent
    prefix = folder.resolve().relative_to(top).as_posix()
    layouts: dict[tuple[str, str], Layout] = {}
    for path in walk(folder):
        suffix = path.suffix.lower()
        if suffix != VIDEO and suffix not in IMAGES:
            continue
        name = path.relative_to(folder).as_posix()
        name = name[: len(name) - len(path.suffix)]
        read = words.read(f"{prefix}/{name}" if above else name)
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
    words = _Words(slots)
    expression, seen = _compile(pattern, words)
    if "serial" not in seen and len({slot.serial for slot in slots}) > 1:
        raise UsageError(f"The pattern {pattern} has no {{serial}}.", _PATTERN_HELP)
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


_PATTERN_HELP = "For example: --pattern '{participant}/{sequence}/{frame}_{serial}.png'"


def _compile(pattern: str, words: _Words) -> tuple[re.Pattern[str], set[str]]:
    fields = {
        "participant": words.participant,
        "sequence": words.sequence,
        "serial": words.serial,
        "frame": r"[-+\u2212]?[0-9]+(?:\.[0-9]+)?",
    }
    text, seen = "", set()
    for part in _PATTERN_PART.finditer(pattern.removeprefix("./")):
        name, deep, star, mark, literal, brace = part.groups()
        if name is not None:
            if name not in fields:
                known = ", ".join(f"{{{field}}}" for field in FIELDS)
                raise UsageError(f"Unknown field {{{name}}} in the pattern {pattern}.", f"Valid: {known}.")
            text += f"(?P={name})" if name in seen else f"(?P<{name}>{fields[name]})"
            seen.add(name)
        elif deep:
            text += "(?:.*/)?" if deep.endswith("/") else ".*"
        elif star or mark:
            text += "[^/]*" if star else "[^/]"
        elif brace:
            raise UsageError(f"The pattern {pattern} has a {brace} without its other half.", _PATTERN_HELP)
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

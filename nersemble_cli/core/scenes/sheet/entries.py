"""What a proof sheet consists of: an entry for each video or image, with columns of pictures side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import Benchmark
from nersemble_cli.core.errors import Cancelled, NersembleError
from nersemble_cli.core.scenes.overlay import shrink
from nersemble_cli.core.submission.findings import ERROR, WARNING, Finding, Report
from nersemble_cli.core.threads import Cancel, Progress, in_threads

Image = NDArray[np.uint8]
Style = Literal["silhouette", "head"]
GOOD = "good"
SEVERITIES = (ERROR, WARNING, GOOD)  # the worst first
_QUALITY = 62  # of WebP, where 100 is the best


class Outline(NamedTuple):
    """A closed line over a picture: (P, 2) pixels, x then y. `style` says what it goes around."""

    style: Style
    points: NDArray[np.int32]


class Shot(NamedTuple):
    """A picture of a timestep, (H, W, 3) uint8 RGB, and what is drawn over it."""

    timestep: int
    image: Image
    outlines: tuple[Outline, ...] = ()


Film = Callable[[Sequence[int], int], Iterator[Shot]]
"""Gives the wanted timesteps in their order, with the longer side at most so many pixels. What does not exist is
left out. Raises `NersembleError` or OSError where it cannot go on."""


@dataclass(frozen=True, eq=False)
class Column:
    """Pictures of one kind. Columns with the same `key` show the same. `moves` is False for a single picture,
    which is shown at every timestep, `plays` for one that is only looked at closely. `short` is the caption where
    there is little room. `problem` says why there is no `film`."""

    key: str
    caption: str
    short: str
    film: Film | None = None
    moves: bool = True
    plays: bool = True
    problem: str = ""


@dataclass(eq=False)
class Entry:
    """A video or an image of a submission. `group` is what has columns in common: a sequence. `names` are those of
    its files, `n_frames` is the sequence's."""

    title: str
    group: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    findings: list[Finding]
    facts: str = ""
    n_frames: int = 1

    @property
    def severity(self) -> str:
        return next((s for s in SEVERITIES if any(f.severity == s for f in self.findings)), GOOD)

    @property
    def stills(self) -> dict[int, str]:
        """The timesteps to look at closely: the first, the middle and the last."""
        last = self.n_frames - 1
        return {last // 2: "middle", last: "last", 0: "first"} if last else {0: ""}

    def n_findings(self, severity: str) -> int:
        return sum(finding.severity == severity for finding in self.findings)


@dataclass(eq=False)
class Sheet:
    """A submission's entries, the worst first. `others` are findings that belong to none of them, `unknown` says
    what the sheet cannot show and how it could."""

    title: str
    benchmark: Benchmark | None
    report: Report
    entries: list[Entry] = field(default_factory=list)
    others: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def sort(self) -> None:
        """The worst first: errors, then warnings, and more of them before fewer."""
        self.entries.sort(key=lambda entry: [-entry.n_findings(severity) for severity in (ERROR, WARNING)])


class Picture(NamedTuple):
    """An encoded `Shot`: WebP, its width and height, and its outlines."""

    webp: bytes
    size: tuple[int, int]
    outlines: tuple[Outline, ...]


@dataclass(eq=False)
class Strip:
    """The pictures of a column by timestep: large ones to look at, small ones to play."""

    column: Column
    stills: dict[int, Picture] = field(default_factory=dict)
    plays: dict[int, Picture] = field(default_factory=dict)
    problem: str = ""


def evenly(n_frames: int, n: int) -> list[int]:
    """At most `n` timesteps of a sequence, evenly spread, the first and the last among them."""
    return sorted({round(t) for t in np.linspace(0, max(0, n_frames - 1), min(n, n_frames)).tolist()})


def develop(
    column: Column,
    stills: Sequence[int],
    plays: Sequence[int],
    still_size: int,
    play_size: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Strip:
    """The pictures of a column in one pass over its film. Sizes are pixels of the longer side. A film that breaks
    off leaves what it has given until then. `advance` is told of every timestep that is done with, and may raise
    `Cancelled`."""
    strip = Strip(column, problem=column.problem)
    if not column.moves:
        stills, plays = [0], [0] if column.plays else []
    wanted = sorted({*stills, *(plays if column.plays else ())})
    left = len(wanted)
    try:
        for shot in column.film(wanted, still_size) if column.film is not None else ():
            if shot.timestep in stills:
                strip.stills[shot.timestep] = _encode(shot)
            if shot.timestep in plays and column.plays:
                small = shrink(shot.image, play_size)
                scale = small.shape[1] / shot.image.shape[1]
                outlines = tuple(o._replace(points=(o.points * scale).round().astype(int)) for o in shot.outlines)
                strip.plays[shot.timestep] = _encode(Shot(shot.timestep, small, outlines))
            left -= 1
            advance(1)
    except Cancelled:
        raise
    except NersembleError as error:
        strip.problem = error.message
    except OSError as error:
        strip.problem = f"It cannot be read: {error.strerror or error}."
    advance(left)
    return strip


def develop_all(
    entries: Sequence[Entry],
    n_plays: int,
    still_size: int,
    play_size: int,
    workers: int,
    progress: Progress,
) -> dict[Entry, list[Strip]]:
    """The strips of each entry, one for each of its columns; those that several entries share are made once."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    n_pictures, seen = 0, set()
    for entry in entries:
        groups[entry.group].append(entry)
        for column in entry.columns:
            if not column.key or column.key not in seen:
                n_pictures += len({*entry.stills, *evenly(entry.n_frames, n_plays)})
                seen.add(column.key)
    progress.start("Drawing the proof sheet", n_pictures, "pictures")

    def work(group: list[Entry], cancel: Cancel) -> list[tuple[Entry, list[Strip]]]:
        def advance(n: int) -> None:
            progress.advance(n)
            cancel.check()

        made: dict[str, Strip] = {}
        done = []
        for entry in group:
            plays = evenly(entry.n_frames, n_plays)
            strips = []
            for column in entry.columns:
                strip = made.get(column.key) if column.key else None
                if strip is None:
                    strip = develop(column, sorted(entry.stills), plays, still_size, play_size, advance)
                    made[column.key] = strip
                strips.append(replace(strip, column=column))
            done.append((entry, strips))
        return done

    if workers == 1:  # in this thread: OpenGL knows no other
        return dict(pair for group in groups.values() for pair in work(group, Cancel()))
    results = in_threads(work, groups.values(), workers)
    return dict(pair for _, done in results for pair in done)


def _encode(shot: Shot) -> Picture:
    done, data = cv2.imencode(".webp", shot.image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    assert done
    return Picture(data.tobytes(), (shot.image.shape[1], shot.image.shape[0]), shot.outlines)


def decode(picture: Picture) -> Image:
    """(H, W, 3) uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(picture.webp, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(bgr, np.uint8)[..., ::-1])

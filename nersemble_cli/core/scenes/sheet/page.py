"""The proof sheet as one web page that needs nothing else.

`sheet.html`, `sheet.css` and `sheet.js` are what does not depend on the submission. All text that does is escaped.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

from nersemble_cli.core.benchmarks import VideoBenchmark
from nersemble_cli.core.scenes.sheet.entries import (
    GOOD,
    SEVERITIES,
    Entry,
    Picture,
    Sheet,
    Strip,
    develop_all,
    evenly,
)
from nersemble_cli.core.submission.findings import CODES, ERROR, WARNING, Finding
from nersemble_cli.core.threads import Progress

LARGEST_PAGE = 20_000_000  # bytes
MOST_PLAYED = 80  # frames of a video
STILL_SIZE, PLAY_SIZE = 480, 264  # pixels of the longer side, of portraits
_SQUARE = 0.7  # of these, for square pictures, of which there are more
_BYTES_PER_PIXEL = 0.11  # of a WebP of a head on white
_FOR_PICTURES = 0.7  # of the page; the rest is for base64
_SHOWN = 6  # paths of findings of one kind, before the others are folded away
_HERE = Path(__file__).parent


def write_page(sheet: Sheet, path: Path, workers: int, progress: Progress) -> list[str]:
    """Writes the page, and returns what should be known of it: which frames are left out."""
    sizes = picture_sizes(sheet)
    n_plays = _affordable(sheet.entries, *sizes)
    strips = develop_all(sheet.entries, n_plays, *sizes, workers, progress)
    while True:
        notes = left_out(sheet.entries, n_plays)
        data = _render(sheet, strips, n_plays, notes).encode("utf-8")
        if len(data) <= LARGEST_PAGE or n_plays <= 2:
            break
        n_plays = max(2, n_plays * 3 // 4)
        _thin(strips, n_plays)
    path.write_bytes(data)
    return notes


def picture_sizes(sheet: Sheet) -> tuple[int, int]:
    """The longer sides of the pictures to look at and of those to play."""
    if sheet.benchmark is not None and sheet.benchmark.width == sheet.benchmark.height:
        return round(STILL_SIZE * _SQUARE), round(PLAY_SIZE * _SQUARE)
    return STILL_SIZE, PLAY_SIZE


def _affordable(entries: Sequence[Entry], still_size: int, play_size: int) -> int:
    """How many frames of each video fit into a page."""
    playing = {column.key for entry in entries for column in entry.columns if column.moves and column.plays}
    n_stills = sum(len(entry.columns) * len(entry.stills) for entry in entries)
    left = LARGEST_PAGE * _FOR_PICTURES - n_stills * still_size**2 * 0.7 * _BYTES_PER_PIXEL
    n = left / (max(1, len(playing)) * play_size**2 * 0.8 * _BYTES_PER_PIXEL)
    return max(2, min(MOST_PLAYED, int(n)))


def left_out(entries: Sequence[Entry], n_plays: int) -> list[str]:
    """Says how many frames are played of videos that have more."""
    longer = [entry for entry in entries if entry.n_frames > n_plays]
    if not longer:
        return []
    most = max(entry.n_frames for entry in longer)
    return [
        f"Of each video, {n_plays} frames are in this sheet, evenly spread (of up to {most:,}): what happens in"
        " between cannot be seen here. The validator looked at every frame."
    ]


def _thin(strips: Mapping[Entry, list[Strip]], n_plays: int) -> None:
    """Keeps the pictures of fewer timesteps, those that are nearest to evenly spread ones."""
    for entry, columns in strips.items():
        for strip in columns:
            times = sorted(strip.plays)
            wanted = (
                {min(times, key=lambda t: abs(t - w)) for w in evenly(entry.n_frames, n_plays)} if times else ()
            )
            strip.plays = {t: strip.plays[t] for t in times if t in wanted}


def _render(sheet: Sheet, strips: Mapping[Entry, list[Strip]], n_plays: int, notes: Sequence[str]) -> str:
    benchmark = sheet.benchmark
    size = (1, 1) if benchmark is None else (benchmark.width, benchmark.height)
    is_video = isinstance(benchmark, VideoBenchmark)
    tracks: dict[str, Any] = {}
    cards = [_card(i, entry, strips[entry], size, tracks) for i, entry in enumerate(sheet.entries)]
    parts = {
        "title": html.escape(sheet.title),
        "task": "" if benchmark is None else f" · {html.escape(benchmark.title)}",
        "verdict": ERROR if sheet.report.errors else WARNING if sheet.report.warnings else GOOD,
        "summary": html.escape(summary(sheet)),
        "overview": _overview(sheet, size),
        "notes": _notes("What this sheet cannot tell", [*sheet.unknown, *notes])
        + _notes("Notes of the validator", sheet.report.notes),
        "others": _others(sheet.others),
        "cards": "\n".join(cards),
        "dense": "" if is_video else " dense",
        "player": _controls(sheet.entries, tracks, "video" if is_video else "image"),
        # No text in it can end the script.
        "tracks": json.dumps(tracks, separators=(",", ":")).replace("<", "\\u003c"),
        "style": _file("sheet.css"),
        "script": _file("sheet.js"),
    }
    return Template(_file("sheet.html")).substitute(parts)


def _file(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def tally(n_errors: int, n_warnings: int) -> str:
    """`2 errors, 1 warning`; nothing if there is none."""
    words = ((n_errors, "error"), (n_warnings, "warning"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in words if n)


def summary(sheet: Sheet) -> str:
    """What the validator says, in a line."""
    report = sheet.report
    found = tally(len(report.errors), len(report.warnings))
    if not found:
        return "The validator found nothing wrong. Now look for yourself."
    ending = "it would be rejected, or its score would suffer." if report.errors else "worth a look."
    return f"The validator found {found}: {ending}"


def _overview(sheet: Sheet, size: tuple[int, int]) -> str:
    """A link to each entry, which the page turns into a thumbnail, and one for each file that is missing."""
    missing = [f.path for f in sheet.others if f.path and f.code in ("missing_file", "missing_mesh")]
    links = [_link("#others", "error blank", f"{path}: missing") for path in missing]
    for i, entry in enumerate(sheet.entries):
        links.append(_link(f"#entry{i}", entry.severity, f"{entry.title}: {entry.severity}"))
    ratio = f"--ratio:{size[0]} / {size[1]}"
    return f'<nav class="overview" style="{ratio}" aria-label="All">{"".join(links)}</nav>' if links else ""


def _link(target: str, classes: str, label: str) -> str:
    text = html.escape(label)
    return f'<a class="{classes}" href="{target}" title="{text}" aria-label="{text}"></a>'


def _notes(title: str, notes: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in dict.fromkeys(notes))
    return f'<section class="box"><h3>{title}</h3><ul>{items}</ul></section>' if items else ""


def _others(findings: Sequence[Finding]) -> str:
    """Findings that belong to no picture, those of one kind together."""
    items = []
    for (severity, code), group in groupby(findings, key=lambda f: (f.severity, f.code)):
        same = list(group)
        lines = [_line(finding) for finding in same]
        shown = f"<ul>{''.join(lines[:_SHOWN])}</ul>"
        if len(lines) > _SHOWN:
            rest = f"<ul>{''.join(lines[_SHOWN:])}</ul>"
            shown += f"<details><summary>and {len(lines) - _SHOWN} more</summary>{rest}</details>"
        items.append(
            f'<li class="{severity}">{_code(same[0])} ({len(same)}):'
            f' {html.escape(CODES[code].meaning)}{shown}<p class="hint">→ {html.escape(same[0].hint)}</p></li>'
        )
    if not items:
        return ""
    listed = f'<ol class="findings">{"".join(items)}</ol>'
    return f'<section class="box" id="others"><h3>Without a picture</h3>{listed}</section>'


def _line(finding: Finding) -> str:
    """Where something was found, and what; of what is missing, only where."""
    path = f"<code>{html.escape(finding.path)}</code>" if finding.path else ""
    if path and finding.code.startswith("missing") and not finding.message.startswith("It is missing, but"):
        return f"<li>{path}</li>"
    return f"<li>{path}{': ' if path else ''}{html.escape(finding.message)}</li>"


def _card(i: int, entry: Entry, strips: Sequence[Strip], size: tuple[int, int], tracks: dict[str, Any]) -> str:
    ratio = f"--ratio:{size[0]} / {size[1]}"
    found = tally(entry.n_findings(ERROR), entry.n_findings(WARNING))
    head = (
        f'<header><h2>{html.escape(entry.title)}</h2><span class="facts">{html.escape(entry.facts)}</span>'
        f'<span class="badge {entry.severity}">{found or "nothing found"}</span></header>'
    )
    findings = _findings(entry)
    playing = [strip for strip in strips if strip.column.plays]
    is_video = bool(playing)
    stills = sorted(entry.stills)
    rows = []
    for t in stills if any(strip.stills for strip in strips) or not is_video else ():
        figures = "".join(_still(entry, strip, t) for strip in strips if strip.column.moves or not is_video)
        n = sum(strip.column.moves or not is_video for strip in strips)
        title = f"<h3>{entry.stills[t]} · frame {t}</h3>" if is_video else ""
        thumbnail = " thumbnail" if t == stills[len(stills) // 2] else ""
        rows.append(
            f'<section class="{thumbnail}">{title}<div class="strip" style="--n:{n}">{figures}</div></section>'
        )
    if not is_video:
        pictures = f'<div class="mesh">{"".join(rows)}</div>'
        body = f'<div class="top">{pictures}{findings}</div>'
    else:
        figures = "".join(_playing(strip, entry, tracks) for strip in playing)
        player = (
            f'<div class="player"><div class="strip" style="--n:{max(2, len(playing))}">{figures}</div>'
            '<p class="now"></p></div>'
        )
        body = f'<div class="top">{player}{findings}</div>'
        body += f'<div class="stills" style="--stills:{len(rows)}">{"".join(rows)}</div>' if rows else ""
    times = sorted({t for strip in playing if strip.column.moves for t in strip.plays}) or [0]
    return (
        f'<article class="card {entry.severity}" id="entry{i}" style="{ratio}" data-times="{json.dumps(times)}"'
        f' data-last="{entry.n_frames - 1}">{head}{body}</article>'
    )


def _findings(entry: Entry) -> str:
    if not entry.findings:
        return '<p class="fine">The validator found nothing wrong here.</p>'
    items = []
    for finding in entry.findings:
        # An image has several files, a video one.
        file = PurePosixPath(finding.path or "").name if len(entry.names) > 1 else ""
        where = f"<code>{html.escape(file)}</code> " if file else ""
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in finding.evidence.items())
        items.append(
            f'<li class="{finding.severity}">{_code(finding)} {where}{html.escape(finding.message)}'
            + (f'<p class="evidence">{html.escape(numbers)}</p>' if numbers else "")
            + f'<p class="hint">→ {html.escape(finding.hint)}</p></li>'
        )
    return f'<ol class="findings">{"".join(items)}</ol>'


def _code(finding: Finding) -> str:
    return f'<span class="code {finding.severity}">{html.escape(finding.code)}</span>'


def _frame(picture: Picture | None, why: str, label: str, attributes: str = "") -> str:
    """A picture with its outlines, or why there is none."""
    source = "" if picture is None else f' src="{_uri(picture)}"'
    width, height = (1, 1) if picture is None else picture.size
    lines = "" if picture is None else "".join(f'<path class="{k}" d="{d}"/>' for k, d in _lines(picture))
    label = html.escape(label)
    return (
        f'<div class="frame{" empty" if picture is None else ""}" aria-label="{label}"{attributes}>'
        f'<img alt="{label}"{source} loading="lazy"><svg viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'{lines}</svg><span class="why">{html.escape(why) if picture is None else ""}</span></div>'
    )


def _still(entry: Entry, strip: Strip, t: int) -> str:
    t = t if strip.column.moves else 0
    picture = strip.stills.get(t)
    label = f"{entry.title}, {strip.column.caption}" + (f", frame {t}" if strip.column.moves else "")
    frame = _frame(picture, strip.problem or f"no frame {t}", label, ' tabindex="0" role="button"')
    return f"<figure>{frame}<figcaption>{html.escape(strip.column.caption)}</figcaption></figure>"


def _playing(strip: Strip, entry: Entry, tracks: dict[str, Any]) -> str:
    column = strip.column
    key = column.key if column.moves else f"{column.key} once"
    if key not in tracks and strip.plays:
        pictures = {
            t: {"d": _base64(picture), "s": picture.size, "o": _lines(picture)}
            for t, picture in strip.plays.items()
        }
        tracks[key] = {"moves": column.moves, "p": pictures}
    attributes = f' data-why="{html.escape(strip.problem)}"'
    if key in tracks:
        attributes += f' data-track="{html.escape(key)}"'
    frame = _frame(None, strip.problem, f"{entry.title}, {column.caption}", attributes)
    return f"<figure>{frame}<figcaption>{html.escape(column.caption)}</figcaption></figure>"


def _lines(picture: Picture) -> list[tuple[str, str]]:
    """The outlines as SVG paths."""
    return [
        (outline.style, "M" + "L".join(f"{x} {y}" for x, y in outline.points.tolist()) + "Z")
        for outline in picture.outlines
    ]


def _base64(picture: Picture) -> str:
    return base64.b64encode(picture.webp).decode()


def _uri(picture: Picture) -> str:
    return f"data:image/webp;base64,{_base64(picture)}"


def _controls(entries: Sequence[Entry], tracks: Mapping[str, Any], kind: str) -> str:
    counts = {severity: sum(entry.severity == severity for entry in entries) for severity in SEVERITIES}
    names = {ERROR: "with errors", WARNING: "with warnings", GOOD: "without findings"}
    options = "".join(
        f'<option value="{severity}">{n} {names[severity]}</option>' for severity, n in counts.items() if n
    )
    choice = f'<select aria-label="Show"><option value="all">all {len(entries)} {kind}s</option>{options}</select>'
    steps = max((len(track["p"]) for track in tracks.values()), default=1) - 1
    slider = (
        '<button type="button" aria-label="Play">▶</button>'
        f'<input type="range" min="0" max="{steps}" value="0" aria-label="Time"><output>0 %</output>'
    )
    styles = {line[0] for track in tracks.values() for picture in track["p"].values() for line in picture["o"]}
    boxes = "".join(
        f'<label><input type="checkbox" name="{style}" checked><i class="{style}"></i>{text}</label>'
        for style, text in (("silhouette", "outline of the render"), ("head", "tracked head"))
        if style in styles
    )
    parts = f"{slider if steps else ''}{boxes}{choice if len(entries) > 1 else ''}"
    return f'<div class="controls"><div>{parts}</div></div>' if parts else ""

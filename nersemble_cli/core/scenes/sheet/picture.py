"""The proof sheet as one picture, and as a video that shows an entry after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import Benchmark
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.scenes.sheet.entries import (
    GOOD,
    Entry,
    Image,
    Picture,
    Sheet,
    Strip,
    decode,
    develop,
    develop_all,
    evenly,
)
from nersemble_cli.core.scenes.sheet.lettering import Color, line_height, wrap, write
from nersemble_cli.core.scenes.sheet.page import left_out, summary, tally
from nersemble_cli.core.submission.findings import ERROR, WARNING
from nersemble_cli.core.threads import Progress
from nersemble_cli.core.video.encode import encode_video

PAPER, INK, SOFT, LINE = (246, 246, 244), (27, 28, 30), (95, 98, 104), (222, 223, 221)
WHITE, EMPTY = (255, 255, 255), (232, 232, 230)
COLORS: dict[str, Color] = {ERROR: (179, 38, 30), WARNING: (143, 82, 0), GOOD: (28, 107, 60)}
OUTLINES: dict[str, Color] = {"silhouette": (232, 89, 12), "head": (11, 111, 208)}
_GAP, _MARGIN = 4, 24
# The picture: its width, and that of one cell of portraits and of square pictures.
_WIDTH, _PORTRAIT, _SQUARE = 1760, 88, 96
_SMALL, _MEDIUM, _LARGE = 12, 15, 28  # font sizes
_LINES = 4  # of findings in a tile
# The video
_FRAME = (1280, 720)
_FPS = Fraction(12)
_PER_VIDEO, _PER_IMAGE = 48, 6  # frames for an entry


def write_picture(sheet: Sheet, path: Path, workers: int, progress: Progress) -> list[str]:
    """Writes a picture of all entries with their first, middle and last frames."""
    width, height = _cell(sheet.benchmark)
    strips = develop_all(sheet.entries, 0, 2 * max(width, height), 1, workers, progress)
    head = _header(sheet)
    rows = list(_in_rows([_tile(entry, strips[entry], width, height) for entry in sheet.entries]))
    heights = [max(tile.shape[0] for tile in row) + _MARGIN // 2 for row in rows]
    canvas = _blank(head.shape[0] + sum(heights) + _MARGIN, _WIDTH, PAPER)
    canvas[: head.shape[0]] = head
    top = head.shape[0]
    for row, below in zip(rows, heights, strict=True):
        left = _MARGIN
        for tile in row:
            canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += tile.shape[1] + _MARGIN
        top += below
    path.write_bytes(encode_png(canvas))
    return []


def _in_rows(tiles: Sequence[Image]) -> Iterator[list[Image]]:
    """The tiles in their order, as many in a row as fit."""
    row: list[Image] = []
    for tile in tiles:
        if row and sum(t.shape[1] + _MARGIN for t in [*row, tile]) + _MARGIN > _WIDTH:
            yield row
            row = []
        row.append(tile)
    if row:
        yield row


def _cell(benchmark: Benchmark | None) -> tuple[int, int]:
    if benchmark is None or benchmark.width == benchmark.height:
        return _SQUARE, _SQUARE
    return _PORTRAIT, round(_PORTRAIT * benchmark.height / benchmark.width)


def _blank(height: int, width: int, color: Color) -> Image:
    canvas: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
    canvas[:] = color
    return canvas


def _header(sheet: Sheet) -> Image:
    """The title, what the validator has found, and what the sheet cannot tell."""
    width = _WIDTH - 2 * _MARGIN
    report = sheet.report
    verdict = ERROR if report.errors else WARNING if report.warnings else GOOD
    task = f" · {sheet.benchmark.title}" if sheet.benchmark is not None else ""
    lines: list[tuple[str, int, Color, bool]] = [
        (f"Proof sheet{task}", _MEDIUM, SOFT, False),
        (sheet.title, _LARGE, INK, True),
        (summary(sheet), _MEDIUM + 3, COLORS[verdict], True),
    ]
    for (severity, code), group in groupby(sheet.others, key=lambda f: (f.severity, f.code)):
        same = list(group)
        about = ", ".join(finding.path or finding.message for finding in same)
        for line in wrap(f"{code} ({len(same)}): {about}", _SMALL + 1, width, 2):
            lines.append((line, _SMALL + 1, COLORS[severity], False))
    for note in [*sheet.report.notes, *sheet.unknown]:
        lines += [(line, _SMALL + 1, SOFT, False) for line in wrap(note, _SMALL + 1, width, 3)]
    canvas = _blank(sum(line_height(size) for _, size, _, _ in lines) + 2 * _MARGIN, _WIDTH, PAPER)
    y = _MARGIN
    for text, size, color, bold in lines:
        write(canvas, text, (_MARGIN, y), size, color, width, bold)
        y += line_height(size)
    return canvas


def _tile(entry: Entry, strips: Sequence[Strip], width: int, height: int) -> Image:
    """An entry: its title, its pictures in a row, and its first findings."""
    moving = [strip for strip in strips if strip.column.moves]
    cells = [
        (f"{entry.stills[t]}, {t}" if i == 0 and entry.stills[t] else strip.column.short, strip.stills.get(t))
        for t in sorted(entry.stills)
        for i, strip in enumerate(moving)
    ]
    cells += [(strip.column.short, strip.stills.get(0)) for strip in strips if not strip.column.moves]
    step = width + _GAP
    inner = len(cells) * step - _GAP
    text = line_height(_SMALL)
    titles = line_height(_MEDIUM)
    lines = [
        (line, COLORS[finding.severity])
        for finding in entry.findings
        for line in wrap(f"{finding.code}: {finding.message}", _SMALL, inner, 2)
    ]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [("… and more", lines[_LINES][1])]
    canvas = _blank(titles + (1 + len(lines)) * text + height + 4 * _GAP, inner + 5 * _GAP, WHITE)
    color = COLORS[entry.severity]
    canvas[:, : _GAP + 1] = color
    left = 3 * _GAP
    found = tally(entry.n_findings(ERROR), entry.n_findings(WARNING)) or "nothing found"
    used = write(canvas, entry.title, (left, _GAP), _MEDIUM, INK, inner, bold=True) + 10
    if inner - used > 90:  # otherwise the bar's colour has to do
        write(canvas, found, (left + used, _GAP + 2), _SMALL, color, inner - used, bold=True)
    y = _GAP + titles
    for i, (label, picture) in enumerate(cells):
        x = left + i * step
        write(canvas, label, (x, y), _SMALL - 2, SOFT, width)
        _paste(canvas, picture, x, y + text, width, height)
    y += text + height + _GAP
    for line, color in lines:
        write(canvas, line, (left, y), _SMALL, color, inner)
        y += text
    return canvas


def _paste(canvas: Image, picture: Picture | None, x: int, y: int, width: int, height: int) -> None:
    """A picture with its outlines in the middle of a cell; grey if there is none."""
    cell = canvas[y : y + height, x : x + width]
    if picture is None:
        cell[:] = EMPTY
        cv2.line(cell, (0, height - 1), (width - 1, 0), LINE, 1, cv2.LINE_AA)
        return
    cell[:] = WHITE
    image = decode(picture)
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.ascontiguousarray(cv2.resize(image, size, interpolation=interpolation))
    # The head's line is the thicker one and goes below: where both are the same, both are seen.
    for outline in sorted(picture.outlines, key=lambda outline: outline.style):
        points = (outline.points * scale * 16).round().astype(np.int32)
        thickness = 2 if outline.style == "head" else 1
        cv2.polylines(small, [points], True, OUTLINES[outline.style], thickness, cv2.LINE_AA, 4)
    dx, dy = (width - size[0]) // 2, (height - size[1]) // 2
    cell[dy : dy + size[1], dx : dx + size[0]] = small
    cv2.rectangle(cell, (0, 0), (width - 1, height - 1), LINE, 1)


def write_video(sheet: Sheet, path: Path, workers: int, progress: Progress) -> list[str]:
    """Writes a video that plays the entries one after the other, the worst first.

    Raises `UsageError` if there is nothing to play.
    """
    if not sheet.entries:
        raise UsageError(f"There is nothing to play in {sheet.title}.", "See what is wrong with it: -o sheet.html")
    n = sum(_n_shown(entry) for entry in sheet.entries)
    progress.start("Drawing the proof sheet", n, "frames")

    def frames() -> Iterator[Image]:
        for number, entry in enumerate(sheet.entries, start=1):
            for frame in _play(entry, f"{number} of {len(sheet.entries)}", sheet):
                yield frame
                progress.advance()

    encode_video(frames(), path, *_FRAME, _FPS)
    return left_out(sheet.entries, _PER_VIDEO)


def _n_shown(entry: Entry) -> int:
    return len(evenly(entry.n_frames, _PER_VIDEO)) if entry.n_frames > 1 else _PER_IMAGE


def _play(entry: Entry, number: str, sheet: Sheet) -> Iterator[Image]:
    """The frames of an entry. Its pictures are in memory as files, one is drawn at a time."""
    width, height = _FRAME
    side = height - 220
    times = evenly(entry.n_frames, _PER_VIDEO)
    strips = [develop(column, times, [], side, 1) for column in entry.columns]
    cell_width, cell_height = _cell(sheet.benchmark)
    scale = min(side / cell_height, ((width - 2 * _MARGIN) / max(1, len(strips)) - 2 * _GAP) / cell_width)
    cell = round(cell_width * scale), round(cell_height * scale)
    page = _blank(height, width, PAPER)
    color = COLORS[entry.severity]
    page[:, : 2 * _GAP] = color
    found = tally(entry.n_findings(ERROR), entry.n_findings(WARNING)) or "nothing found"
    inner = width - 2 * _MARGIN
    write(page, f"{sheet.title} · {number}", (_MARGIN, 10), _MEDIUM, SOFT, inner)
    used = write(page, entry.title, (_MARGIN, 34), _LARGE - 4, INK, inner - 220, bold=True)
    write(page, found, (_MARGIN + used + 18, 40), _MEDIUM + 2, color, inner - used - 18, bold=True)
    top = 76
    for i, strip in enumerate(strips):
        place = (_MARGIN + i * (cell[0] + 2 * _GAP), top + cell[1] + 4)
        write(page, strip.problem or strip.column.caption, place, _SMALL + 1, SOFT, cell[0])
    y = top + cell[1] + 30
    for finding in entry.findings:
        for line in wrap(f"{finding.code}: {finding.message}", _MEDIUM, inner, 2):
            if y < height - 40:
                write(page, line, (_MARGIN, y), _MEDIUM, COLORS[finding.severity], inner)
            y += line_height(_MEDIUM)
    for t in times if entry.n_frames > 1 else times * _PER_IMAGE:
        frame = page.copy()
        for i, strip in enumerate(strips):
            picture = strip.stills.get(t if strip.column.moves else 0)
            _paste(frame, picture, _MARGIN + i * (cell[0] + 2 * _GAP), top, *cell)
        if entry.n_frames > 1:
            done = round(inner * t / (entry.n_frames - 1))
            frame[height - 14 : height - 8, _MARGIN : width - _MARGIN] = LINE
            frame[height - 14 : height - 8, _MARGIN : _MARGIN + done] = color
            place = (_MARGIN, height - 34)
            write(frame, f"frame {t} / {entry.n_frames - 1}", place, _SMALL + 1, SOFT, inner)
        yield frame

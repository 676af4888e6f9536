"""The one way to print: results on stdout, everything else on stderr, one JSON document with --json."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from rich import filesize
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from nersemble_cli.core.errors import NersembleError

PIPE_WIDTH = 160


def printable(text: object) -> str:
    """Any text on one line, verbatim but harmless: what a terminal would act on, or not show, is spelled out.

    Names in zips, file names and answers of a server can hold escape sequences, newlines that forge a line of the
    output, or characters that reverse the text. Everything that is printed passes through here.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def cell(text: object, style: str = "") -> Text:
    """A table's cell in a style."""
    return Text(printable(text), style=style)


def human_size(n_bytes: float) -> str:
    """`1.2 MB`: decimal units, as the benchmark's documents use them."""
    return filesize.decimal(round(n_bytes))


def count(n: int, noun: str) -> str:
    """`1 file`, `1,200 files`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


class _Rate(ProgressColumn):
    """`12,345/67,890 frames · 210/s`, bytes in larger units."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        rate = task.finished_speed or task.speed
        if unit == "bytes":
            text = f"{human_size(task.completed)}/{human_size(task.total or 0)}"
            return Text(text + (f" · {human_size(rate)}/s" if rate else ""))
        text = f"{int(task.completed):,}/{int(task.total or 0):,} {unit}"
        return Text(text + (f" · {rate:,.0f}/s" if rate else ""))


class ProgressBars:
    """Shows the core's progress: one bar for each piece of work."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: Any = None

    def start(self, title: str, total: int, unit: str) -> None:
        self._task = self._bars.add_task(printable(title), total=total, unit=unit)

    def advance(self, n: int = 1) -> None:
        if self._task is not None:
            self._bars.advance(self._task, n)

    def expect(self, n: int) -> None:
        if self._task is not None and n:
            total = next(task.total for task in self._bars.tasks if task.id == self._task)
            self._bars.update(self._task, total=(total or 0) + n)

    def retitle(self, title: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, description=printable(title))


def _console(is_terminal: bool, stderr: bool) -> Console:
    # What is piped is not cut to a width that nobody sees.
    width = None if is_terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    # Text is never markup, whoever wrote it: styles are given beside it.
    return Console(
        stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=not is_terminal, width=width
    )


class Output:
    """Where a command writes. With `as_json`, stdout gets nothing but the document given to `json`."""

    _warned: ClassVar[set[str]] = set()

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = _console(sys.stdout.isatty(), stderr=False)
        self._stderr = _console(sys.stderr.isatty(), stderr=True)

    @property
    def is_terminal(self) -> bool:
        """Whether a person can be asked: notes go to a terminal and answers come from one."""
        return self._stderr.is_terminal and sys.stdin is not None and sys.stdin.isatty()

    def print(self, text: str = "", style: str | None = None, indent: int = 0, wrap: bool = True) -> None:
        """A line of the result. Without `wrap`, it can be copied as one line from a narrow terminal, too."""
        if not self.as_json:
            line = Text(" " * indent + printable(text), style=style or "")
            self._stdout.print(line, soft_wrap=None if wrap else True)

    def table(self, table: Table) -> None:
        """A table of the result."""
        if not self.as_json:
            self._stdout.print(table)

    def json(self, document: dict[str, Any]) -> None:
        """The result, if the user asked for JSON."""
        if self.as_json:
            # Whole before the first byte goes out, and in ASCII, which every stream takes.
            sys.stdout.write(json.dumps(_finite(document), indent=2, allow_nan=False) + "\n")

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result."""
        self._stderr.print(Text(printable(text), style="dim"))

    def warning(self, text: str) -> None:
        self._warned.add(text)
        self._stderr.print(Text.assemble(("warning: ", "yellow"), printable(text)))

    def error(self, error: NersembleError) -> None:
        """The message on one line; the hint may have several."""
        self._stderr.print(Text.assemble(("error: ", "bold red"), printable(error.message)))
        for line in (error.hint or "").splitlines():
            if line in self._warned:
                continue
            self._stderr.print(Text(printable(line)))

    @contextmanager
    def progress(self) -> Iterator[ProgressBars]:
        """Bars on stderr while the block runs; nothing at all if stderr is not a terminal."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            _Rate(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
        )
        with Progress(
            *columns, console=self._stderr, transient=True, disable=not self._stderr.is_terminal
        ) as bars:
            yield ProgressBars(bars)


def _finite(value: Any) -> Any:
    """The value without NaN and infinity, which JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


class PlainTable(Table):
    """A table without a frame, which stays readable when it is piped. Its cells are text, or `cell` in a style."""

    def add_row(self, *cells: RenderableType | None, style: Any = None, end_section: bool = False) -> None:
        shown = (cell(c) if isinstance(c, str) else c for c in cells)
        super().add_row(*shown, style=style, end_section=end_section)


def plain_table(*columns: str, title: str | None = None) -> PlainTable:
    """An empty table. Columns whose names start with ">" align right."""
    table = PlainTable(
        title=None if title is None else cell(title),
        box=None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(cell(column.removeprefix(">")), justify="right" if column.startswith(">") else "left")
    return table

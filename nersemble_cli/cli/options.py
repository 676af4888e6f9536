"""Arguments and options that several commands share.

`benchmark`, `participant`, `sequence`, `camera` and `asset` complete in the shell by their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nersemble_cli.core.benchmarks import BENCHMARKS

Command = Callable[..., None]


class _Readable:
    """Names values in a help page, where Typer would say that a flag is a <bool> and a sequence is a <str>."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: ""
            elif parameter.is_flag:
                parameter.metavar = ""
            elif parameter.metavar is None and not parameter.type_descriptor.is_choice:
                parameter.metavar = parameter.name.upper().replace("_", "-")
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [re.sub(r"^{(.*)}(\.\.\.)?$", r"\1", piece) for piece in pieces]


class Group(_Readable, TyperGroup):
    """A command that has commands."""


class _Command(_Readable, TyperCommand):
    pass


def command(app: typer.Typer, *examples: str) -> Callable[[Command], Command]:
    """Registers a command, whose help ends with examples."""

    def register(function: Command) -> Command:
        paragraphs = cleandoc(function.__doc__ or "").split("\n\n")
        return app.command(
            cls=_Command,
            help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),  # Rich would keep the lines
            epilog="\n\n".join(["Examples:" if len(examples) > 1 else "Example:", *examples]),
        )(function)

    return register


SELECTION = "Selection (default: everything)"


def _participants() -> str:
    """`nvs: 388, 422. svfr: 17, 60, 71, 102, 112 and 15 more.`"""
    lists = []
    for benchmark in BENCHMARKS.values():
        first, more = benchmark.participants[:5], len(benchmark.participants[5:])
        lists.append(f"{benchmark.name}: {', '.join(map(str, first))}{f' and {more} more' if more else ''}.")
    return " ".join(lists)


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        "-f",
        metavar="FOLDER",
        help="The benchmark folder.",
        # Not Typer's envvar: a folder of the environment may be missing, one that was named may not.
        show_default="$NERSEMBLE_BENCHMARK_FOLDER, ./nersemble_benchmark",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a single JSON document on stdout instead.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        metavar="N",
        min=1,
        help="How many to process at a time.",
        show_default="fits this machine",
    ),
]


BenchmarkArgument = Annotated[
    str,
    typer.Argument(
        metavar="nvs|mono|svfr",
        help="The task.",
        show_default=False,
    ),
]
ParticipantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--participant",
        "-p",
        metavar="ID",
        help=f"Only these participants: 388,422. {_participants()}",
        rich_help_panel=SELECTION,
    ),
]

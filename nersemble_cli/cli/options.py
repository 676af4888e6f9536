"""Arguments and options that several commands share.

`benchmark`, `participant`, `sequence`, `camera` and `asset` complete in the shell by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import typer

Command = Callable[..., None]


def command(app: typer.Typer, *examples: str) -> Callable[[Command], Command]:
    """Registers a command, whose help ends with examples."""

    def register(function: Command) -> Command:
        paragraphs = cleandoc(function.__doc__ or "").split("\n\n")
        return app.command(
            help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),  # Rich would keep the lines
            epilog="\n\n".join(["Examples:" if len(examples) > 1 else "Example:", *examples]),
        )(function)

    return register


SELECTION = "What is meant (everything unless told)"

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
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", "-j", metavar="N", min=1, help="How many to do at a time.", show_default="fits this machine"
    ),
]


BenchmarkArgument = Annotated[
    str,
    typer.Argument(
        metavar="nvs|mono|svfr",
        help="The benchmark's task.",
        show_default=False,
    ),
]
ParticipantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--participant", "-p", metavar="ID", help="Only these participants: 388,422", rich_help_panel=SELECTION
    ),
]

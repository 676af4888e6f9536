"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        "-f",
        help="The benchmark folder.",
        envvar="NERSEMBLE_BENCHMARK_FOLDER",
        show_default="./nersemble_benchmark",
        show_envvar=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-j", min=1, help="How many to do at a time.", show_default="fits this machine"),
]

"""Arguments and options that several commands share.

`benchmark`, `participant`, `sequence`, `camera` and `asset` complete in the shell by their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
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
        return [re.sub(r"^{(.*)}(\.\.\.)?$", r"\1", piece) for piece in pieces if piece != "[]..."]


class Group(_Readable, TyperGroup):
    """A command that has commands."""


class _Command(_Readable, TyperCommand):
    """A command that also understands the spellings of the official toolkit."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names = {spelling: p.name for p in self.params for spelling in p.opts}
        return super().parse_args(ctx, _respelled(args, names))


_LISTS = {
    "participant": r"[0-9]{1,3}",
    "camera": r"[0-9]{9}",
    "pointcloud_frames": r"[0-9]+(-[0-9]+)?",
    "asset": "|".join({re.escape(asset.name) for task in BENCHMARKS.values() for asset in task.assets}),
    "sequence": r"(GLASSES|FREE|HAIR|TONGUE|SEN|EMO|EXP)[A-Za-z0-9+_-]*",
}
"""Options whose values may be separated by spaces, too (`-p 388 422`), and what such a value looks like."""
_OFFICIAL = {
    "--assets": "--asset",
    "--n-workers": "--workers",
    "--participant-id": "--participant",
    "--sequence-name": "--sequence",
}
"""Options of the official toolkit and its scripts, and what they are called here."""


def _respelled(args: list[str], names: Mapping[str, str | None]) -> list[str]:
    """The arguments in this tool's spelling.

    Understood are the official toolkit's options (`--pointcloud_frames`, `--n_workers`), also for a participant
    that is an argument here, and its `all`, which is the default here; lists separated by spaces; and `~` where
    the shell leaves it (`--folder=~/data`).
    """
    result: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            return [*result, arg, *rest]
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
            ours = _OFFICIAL.get(name, name)
            if name not in names and ours in names:
                name = ours
            elif name == "--participant-id" and "participant" in names.values() and (value or rest):
                arg = value if equals else rest.pop(0)
                result.append(arg)
                continue
            arg = f"{name}{equals}{_home(value)}"
        elif re.match("-[a-zA-Z]~", arg):  # -f~/data
            arg = f"{arg[:2]}{_home(arg[2:])}"
        result.append(_home(arg))
        kind = _LISTS.get(names.get(name) or "")
        if kind and rest and not equals:
            values = [rest.pop(0)]
            while rest and re.fullmatch(rf"({kind})(,({kind}))*,?", rest[0]):
                values.append(rest.pop(0))
            if values == ["all"] and names[name] != "pointcloud_frames":
                result.pop()
            else:
                result.append(",".join(value.strip(",") for value in values))
    return result


def _home(text: str) -> str:
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111


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


def _warn_of_settings(ctx: typer.Context, folder: Path | None) -> Path | None:
    """Says what of the settings could not be read, as it looks as if it were not set."""
    if not ctx.resilient_parsing and ctx.info_name != "doctor":  # which lists them
        from nersemble_cli.core.settings import env_problems

        if problems := env_problems():
            from nersemble_cli.cli.output import Output

            for problem in problems:
                Output().warning(problem)
    return folder


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        "-f",
        metavar="FOLDER",
        callback=_warn_of_settings,
        help="The benchmark folder.",
        # Not Typer's envvar: a folder of the environment may be missing, one that was named may not.
        show_default="$NERSEMBLE_BENCHMARK_FOLDER, ./nersemble_benchmark",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a single JSON document on stdout instead.")]
NoCompareOption = Annotated[
    bool, typer.Option("--no-compare", help="Skip the comparison with your training data.")
]
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

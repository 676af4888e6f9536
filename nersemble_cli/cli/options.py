"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from nersemble_cli.core.benchmarks import BENCHMARKS, Benchmark, get_benchmark
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.plan import valid_sequences, valid_serials

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        "-f",
        help="The benchmark folder.",
        # Not Typer's envvar: a folder of the environment may be missing, one that was named may not.
        show_default="$NERSEMBLE_BENCHMARK_FOLDER, ./nersemble_benchmark",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-j", min=1, help="How many to do at a time.", show_default="fits this machine"),
]


def _completions(names: Iterable[object], incomplete: str) -> list[str]:
    """The names that begin like what was typed after its last comma."""
    typed, comma, last = incomplete.rpartition(",")
    return [f"{typed}{comma}{name}" for name in names if str(name).startswith(last)]


def _benchmarks_meant(context: typer.Context) -> list[Benchmark]:
    """The benchmark typed so far; all of them if none is."""
    # While an option's value is being typed, arguments before it are not assigned to parameters yet.
    name = context.params.get("benchmark") or next(iter(context.args), "")
    try:
        return [get_benchmark(name)]
    except UsageError:
        return list(BENCHMARKS.values())


def complete_benchmark(incomplete: str) -> list[str]:
    return _completions(BENCHMARKS, incomplete)


def complete_participant(context: typer.Context, incomplete: str) -> list[str]:
    return _completions((p for b in _benchmarks_meant(context) for p in b.participants), incomplete)


def complete_sequence(context: typer.Context, incomplete: str) -> list[str]:
    names = dict.fromkeys(name for b in _benchmarks_meant(context) for name in valid_sequences(b))
    return _completions(names, incomplete)


def participants_of(*benchmarks: Benchmark) -> Callable[[str], list[str]]:
    """A completion that knows the participants of these benchmarks only."""
    return lambda incomplete: _completions((p for b in benchmarks for p in b.participants), incomplete)


def sequences_of(*benchmarks: Benchmark) -> Callable[[typer.Context, str], list[str]]:
    """A completion for the sequences of the participant typed before; of all of these benchmarks if none is."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        typed = {str(context.params.get("participant")), *context.args}
        people = [(b, p) for b in benchmarks for p in b.participants]
        meant = [(b, p) for b, p in people if str(p) in typed] or people
        names = dict.fromkeys(s for b, p in meant for s in (*b.train_sequences[p], *b.test_sequences[p]))
        return _completions(names, incomplete)

    return complete


def complete_serial(context: typer.Context, incomplete: str) -> list[str]:
    names = dict.fromkeys(name for b in _benchmarks_meant(context) for name in valid_serials(b))
    return _completions(names, incomplete)


def complete_asset(context: typer.Context, incomplete: str) -> list[str]:
    names = dict.fromkeys(asset.name for b in _benchmarks_meant(context) for asset in b.assets)
    return _completions(names, incomplete)


BenchmarkArgument = Annotated[
    str,
    typer.Argument(
        metavar="nvs|mono|svfr",
        help="The benchmark's task.",
        autocompletion=complete_benchmark,
        show_default=False,
    ),
]
ParticipantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--participant", "-p", help="Only these participants: 388,422", autocompletion=complete_participant
    ),
]

"""`nersemble inspect`: the contents of a benchmark folder or of a single file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options
from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.inspect.folder import Group, Overview

SHOWN_FILES = 20


def inspect(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="A file (mp4, json, pcd, npz, ply, npy, png, zip) or a benchmark folder.",
            show_default=False,
        ),
    ] = None,
    folder: options.FolderOption = None,
    participant: options.ParticipantsOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare it with what was downloaded.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Show what is in a folder or a file.

    Without a PATH, the benchmark folder is inspected.

    Exit status: 0; 1 if --verify finds a damaged file, or the file at PATH is damaged.
    """
    from nersemble_cli.cli.output import Output

    out = Output(as_json)
    if path is not None and not path.is_dir():
        if participant or verify:
            raise UsageError("-p and --verify are for a benchmark folder, PATH is a file.", "Leave one out.")
        _inspect_file(path, out)
    else:
        _inspect_folder(path or folder, participant or [], verify, out)


def _inspect_file(path: Path, out: Output) -> None:
    from nersemble_cli.cli.output import human_size, plain_table
    from nersemble_cli.core.inspect.file import inspect_file

    facts = inspect_file(path)
    out.json({"schema_version": 1, **facts})
    for name, value in facts.items():
        label = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = plain_table(*(f">{key}" if _is_number(value[0][key]) else key for key in value[0]))
            for row in value:
                table.add_row(*(human_size(v) if key == "bytes" else _text(v) for key, v in row.items()))
            out.print(f"{label}:")
            out.table(table)
        elif value not in (None, []):
            out.print(
                f"{label}: {human_size(value)} ({value:,})" if "bytes" in name else f"{label}: {_text(value)}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _inspect_folder(folder: Path | None, participants: list[str], verify: bool, out: Output) -> None:
    from nersemble_cli.core.inspect.folder import survey
    from nersemble_cli.core.inspect.folder import verify as verify_files
    from nersemble_cli.core.settings import existing_folder, find_folder

    place = existing_folder(folder)
    if place is None:
        raise UsageError(
            f"No benchmark folder at {find_folder(folder)}.",
            "Fetch one with: nersemble download nvs (or mono, svfr), or name yours: -f FOLDER",
        )
    overviews = survey(place, _chosen(participants) if participants else None)
    if verify:
        with out.progress() as bars:
            overviews = [verify_files(overview, bars) for overview in overviews]
    for overview in overviews:
        _show(overview, verify, out)
    out.json(
        {
            "schema_version": 1,
            "folder": str(place),
            "verified": verify,
            "benchmarks": [_document(overview) for overview in overviews],
        }
    )
    if any(overview.damaged for overview in overviews):
        raise typer.Exit(1)


def _chosen(values: list[str]) -> dict[str, list[int]]:
    """The selected participants of each benchmark. Raises `UsageError`, which lists all, for an unknown name."""
    from nersemble_cli.core.download.selection import split_names

    chosen: dict[str, list[int]] = {}
    for value in split_names(values):
        owners = [b for b in BENCHMARKS.values() if value.isdigit() and int(value) in b.participants]
        if not owners:
            raise unknown_name("participant", value, [p for b in BENCHMARKS.values() for p in b.participants])
        for benchmark in owners:
            chosen.setdefault(benchmark.name, []).append(int(value))
    return chosen


def _show(overview: Overview, verified: bool, out: Output) -> None:
    from nersemble_cli.cli.output import count, human_size, plain_table

    title = f"{overview.benchmark.name}: {overview.benchmark.title}"
    if not overview.started:
        out.print(f"{title}: nothing here. To fetch it: {overview.command}")
        out.print()
        return
    table = plain_table("participant", "asset", ">files", ">size", "state", title=title)
    for group in overview.groups:
        table.add_row(
            f"{group.participant:03d}",
            group.asset,
            f"{len(group.present):,}/{len(group.items):,}",
            human_size(sum(item.size_here for item in group.items)),
            _state(group, overview),
        )
    out.table(table)
    named = [
        f"{item.file.path}: {_size_text(item.size, item.size_here)}"
        for g in overview.groups
        for item in g.wrong_size
    ]
    named += [f"{name}: {flaw}" for name, flaw in overview.damaged.items()]
    for line in named[:SHOWN_FILES]:
        out.print(f"{overview.benchmark.folder}/{line}", "red")
    if len(named) > SHOWN_FILES:
        out.print(f"… and {len(named) - SHOWN_FILES:,} more (--json lists them all)")
    if verified:
        checked = sum(len(group.present) for group in overview.groups)
        others = f", {checked - overview.n_hashed:,} not fetched by nersemble checked for completeness"
        out.print(
            f"Verified {count(overview.n_hashed, 'file')} by sha256"
            f"{others if checked > overview.n_hashed else ''}: "
            f"{len(overview.damaged):,} damaged."
        )
    if overview.command:
        out.print(f"To fetch what is missing{' or damaged' if overview.damaged else ''}: {overview.command}")
    out.print()


def _size_text(expected: int | None, found: int) -> str:
    return f"{found:,} bytes, expected {expected:,}"


def _state(group: Group, overview: Overview) -> str:
    damaged = sum(item.file.path in overview.damaged for item in group.items)
    parts = [
        f"{len(group.missing):,} missing" if group.missing else "",
        f"{len(group.wrong_size):,} of wrong size" if group.wrong_size else "",
        f"{damaged:,} damaged" if damaged else "",
    ]
    return ", ".join(filter(None, parts)) or "complete"


def _document(overview: Overview) -> dict[str, Any]:
    items = overview.items
    return {
        "benchmark": overview.benchmark.name,
        "complete": overview.command is None,
        "files": len(items),
        "present_files": sum(len(group.present) for group in overview.groups),
        "bytes": sum(item.size_here for item in items),
        "groups": [
            {
                "participant": group.participant,
                "asset": group.asset,
                "files": len(group.items),
                "present_files": len(group.present),
                "bytes": sum(item.size_here for item in group.items),
                "missing": [item.file.path for item in group.missing],
                "wrong_size": [
                    {"path": item.file.path, "expected": item.size, "actual": item.size_here}
                    for item in group.wrong_size
                ],
            }
            for group in overview.groups
        ],
        "damaged": [{"path": name, "reason": flaw} for name, flaw in overview.damaged.items()],
        "hashed_files": overview.n_hashed,
        "command": overview.command,
    }

"""`nersemble download`: fetch a benchmark's data."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.benchmarks import Benchmark
    from nersemble_cli.core.download.batch import Failure, Plan, Result
    from nersemble_cli.core.download.http import Server
    from nersemble_cli.core.download.plan import Totals
    from nersemble_cli.core.errors import UsageError

PROMPTS = 3
SHOWN_FAILURES = 20
SHOWN_OF_A_CAUSE = 5


def download(
    benchmark: options.BenchmarkArgument,
    extra: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")] = None,
    folder: options.FolderOption = None,
    participant: options.ParticipantsOption = None,
    sequence: Annotated[
        list[str] | None,
        typer.Option(
            "--sequence",
            "-s",
            metavar="NAME",
            help="Only these sequences: GLASSES,FREE",
            rich_help_panel=options.SELECTION,
        ),
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            "--camera",
            "-c",
            metavar="SERIAL",
            help="Only the videos or images of these cameras.",
            rich_help_panel=options.SELECTION,
        ),
    ] = None,
    asset: Annotated[
        list[str] | None,
        typer.Option(
            "--asset",
            "-a",
            metavar="NAME",
            help="Only these kinds of files: calibration, images, alpha_maps, pointclouds (nvs), "
            "flame2023_tracking_v2 (mono); flame2023_tracking (mono, version 1) is fetched only when named.",
            rich_help_panel=options.SELECTION,
        ),
    ] = None,
    pointcloud_frames: Annotated[
        str | None,
        typer.Option(
            "--pointcloud-frames",
            metavar="0|all|0,5,10-20",
            help="Timesteps of the point clouds (nvs; 18.5 MB each).",
            show_default="0",
            rich_help_panel=options.SELECTION,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            metavar="N",
            min=1,
            max=64,
            help="How many files to download at a time.",
            show_default="8; 16 of small ones (svfr, mono)",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Download everything again, even complete files.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be downloaded; change nothing.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The URL from your access mail. Prefer the variable: other users of this machine can see "
            "command lines.",
            show_default="$NERSEMBLE_BENCHMARK_URL, .env, ~/.config/nersemble_benchmark/.env",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Download a benchmark's data.

    Run it again to resume; complete files cost no request. By default, it downloads all assets but version 1 of
    the tracking, and only the point clouds of timestep 0.

    Exit status: 0 everything is there, 1 some files could not be downloaded, 2 wrong usage or configuration.
    """
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.benchmarks import get_benchmark
    from nersemble_cli.core.download.batch import default_workers, prepare
    from nersemble_cli.core.download.selection import parse_selection
    from nersemble_cli.core.settings import find_folder

    out = Output(as_json)
    if extra:
        raise _too_many([benchmark, *extra])
    task = get_benchmark(benchmark)
    selection = parse_selection(
        task, participant or (), sequence or (), camera or (), asset or (), pointcloud_frames
    )
    target = find_folder(folder)
    try:
        with closing(_server(task, workers or default_workers(selection), url, out)) as server:
            with out.progress() as bars:
                plan = prepare(selection, target, server, overwrite, dry_run, bars)
            with closing(plan):
                result = _show(plan, out) if dry_run else _run(plan, server, out)
    except typer.Abort:  # Ctrl-C where the URL is asked for
        raise KeyboardInterrupt from None
    except KeyboardInterrupt:
        out.note("What has arrived is kept: run the same command to resume.")
        raise
    if result.failures:
        raise typer.Exit(1)


def _too_many(arguments: list[str]) -> UsageError:
    """The error for more than one argument; the official toolkit takes the folder as the first one."""
    import shlex

    from nersemble_cli.core.benchmarks import get_benchmark
    from nersemble_cli.core.errors import UsageError

    tasks, others = [], []
    for argument in arguments:
        try:
            tasks.append(get_benchmark(argument).name)
        except UsageError:
            others.append(argument)
    if len(tasks) == 1 and len(others) == 1:
        line = shlex.join(["nersemble", "download", tasks[0], "-f", others[0]])
        return UsageError(f"The folder is an option, not an argument: {others[0]}", f"Use -f: {line}")
    if len(tasks) > 1:
        return UsageError("One task at a time.", "\n".join(f"nersemble download {task}" for task in tasks))
    return UsageError(f"Unexpected arguments: {' '.join(others)}", "For help: nersemble download --help")


def _run(plan: Plan, server: Server, out: Output) -> Result:
    from nersemble_cli.core.download.batch import run

    for note in plan.notes:
        out.note(note)
    with out.progress() as bars:
        result = run(plan, server, bars)
    _show_result(plan, result, out)
    out.json(_document(plan, result, dry_run=False))
    return result


def _server(benchmark: Benchmark, workers: int, url: str | None, out: Output) -> Server:
    """The server. On a terminal, the user is asked for its URL if none is set."""
    from nersemble_cli.core.download.http import Server
    from nersemble_cli.core.settings import find_url, require_url

    if find_url(url) is None and sys.stdin.isatty() and sys.stderr.isatty():
        return _ask_for_url(benchmark, workers, out)
    return Server(require_url(url), workers)


def _ask_for_url(benchmark: Benchmark, workers: int, out: Output) -> Server:
    from nersemble_cli.core.download.batch import check_url
    from nersemble_cli.core.download.http import Server
    from nersemble_cli.core.errors import NersembleError
    from nersemble_cli.core.settings import ACCESS_HELP, clean_url, save_url

    for line in ACCESS_HELP.splitlines():
        out.note(line)
    for attempt in range(1, PROMPTS + 1):
        typed = typer.prompt("Your URL (it is not shown)", hide_input=True, err=True)
        try:
            url = clean_url(typed)
            server = Server(url, workers)
            check_url(server, benchmark)
        except NersembleError as error:
            if attempt == PROMPTS:
                raise
            out.error(error)
            continue
        try:
            out.note(f"It works. Saved to {save_url(url)}")
        except OSError as error:
            out.warning(f"It works, but could not be saved ({error}): you will be asked again.")
        return server
    raise AssertionError


def _show(plan: Plan, out: Output) -> Result:
    """Shows the plan; the result holds the files that the server could not tell anything of."""
    from nersemble_cli.cli.output import count, human_size
    from nersemble_cli.core.download.batch import Result, check_space
    from nersemble_cli.core.download.plan import by_asset, totals
    from nersemble_cli.core.errors import NersembleError
    from nersemble_cli.core.files import free_space

    result = Result(failures=plan.failures)
    for note in plan.notes:
        out.note(note)
    groups = [(f"{p:03d}", asset, totals(items)) for p, asset, items in by_asset(plan.items)]
    total = totals(plan.items)
    out.table(_plan_table(groups, total))
    out.print(
        f"To fetch: {count(total.remaining_files, 'file')}, {_estimate(plan)}{human_size(total.remaining_bytes)}, "
        f"into {plan.folder} ({human_size(free_space(plan.folder))} free)."
    )
    _show_failures(result.failures, out)
    try:
        check_space(plan)
    except NersembleError as error:
        out.warning(error.message)
    out.json(_document(plan, result, dry_run=True))
    return result


def _estimate(plan: Plan) -> str:
    """`about ` if some sizes are not known."""
    return "about " if any(item.todo and item.size is None for item in plan.items) else ""


def _plan_table(groups: list[tuple[str, str, Totals]], total: Totals) -> Table:
    from nersemble_cli.cli.output import human_size, plain_table

    table = plain_table("participant", "asset", ">files", ">size", ">here", ">to fetch", ">size")
    for participant, asset, sums in [*groups, ("all", "", total)]:
        table.add_row(
            participant,
            asset,
            f"{sums.files:,}",
            human_size(sums.bytes),
            f"{sums.present_files:,}",
            f"{sums.remaining_files:,}",
            human_size(sums.remaining_bytes),
            style="bold" if participant == "all" else None,
        )
    return table


def _show_result(plan: Plan, result: Result, out: Output) -> None:
    from nersemble_cli.cli.output import count, human_size
    from nersemble_cli.core.download.plan import totals

    total = totals(plan.items)
    fetched = f"{count(len(result.fetched), 'file')} fetched ({human_size(result.bytes)})"
    there = f", {total.present_files:,} already there" if total.present_files else ""
    if not result.failures:
        what = f"{fetched}{there}" if result.fetched else "Nothing to fetch"
        all_files = "The file is" if total.files == 1 else f"All {total.files:,} files are"
        out.print(f"{what}. {all_files} complete in {plan.root}.")
        return
    missing = f"{count(len(result.failures), 'file')} could not be downloaded"
    out.print(f"{fetched}{there}, {missing}:" if result.fetched or there else f"{missing}:")
    _show_failures(result.failures, out)
    out.print("Run the same command again to fetch only the rest.")


def _show_failures(failures: list[Failure], out: Output) -> None:
    """The failures by cause, with the names of some of the files."""
    from nersemble_cli.cli.output import count

    by_cause: dict[str, list[str]] = {}
    for failure in failures:
        by_cause.setdefault(failure.reason, []).append(failure.path)
    for reason, paths in sorted(by_cause.items(), key=lambda item: -len(item[1])):
        shown = paths if len(by_cause) == 1 and len(paths) <= SHOWN_FAILURES else paths[:SHOWN_OF_A_CAUSE]
        out.print(f"{count(len(paths), 'file')}: {reason}")
        for path in shown:
            out.print(path, indent=2)
        if more := len(paths) - len(shown):
            out.print(f"… and {more:,} more (--json lists them all)", indent=2)


def _document(plan: Plan, result: Result, dry_run: bool) -> dict[str, Any]:
    from nersemble_cli.core.download.plan import by_asset, totals
    from nersemble_cli.core.files import free_space

    return {
        "schema_version": 1,
        "benchmark": plan.benchmark.name,
        "folder": str(plan.folder),
        "dry_run": dry_run,
        "complete": not result.failures and not (dry_run and totals(plan.items).remaining_files),
        **asdict(totals(plan.items)),
        "free_bytes": free_space(plan.folder),
        "fetched_files": len(result.fetched),
        "fetched_bytes": result.bytes,
        "groups": [
            {"participant": participant, "asset": asset, **asdict(totals(items))}
            for participant, asset, items in by_asset(plan.items)
        ],
        "failures": [asdict(failure) for failure in result.failures],
    }

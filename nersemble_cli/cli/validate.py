"""`nersemble validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nersemble_cli.cli.options import FolderOption, JsonOption, NoCompareOption


def validate(
    submission: Annotated[
        list[str],
        typer.Argument(metavar="[zip] SUBMISSION.zip", help="The zip to check.", show_default=False),
    ],
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            metavar="nvs|mono|svfr",
            help="The submission's task.",
            show_default="recognised from the contents",
        ),
    ] = None,
    folder: FolderOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only names, headers and sizes, as the server checks them.")
    ] = False,
    no_compare: NoCompareOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as errors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find what is wrong with a submission.

    All of it, before an upload is spent: every video is decoded to its last frame and every mesh parsed, without
    unpacking and without network.

    Exit status: 0 valid, 1 not valid, 2 wrong usage.
    """
    from nersemble_cli.cli.findings import show_report, tally
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.submission.validation import validate_submission

    words = submission[1:] if len(submission) == 2 and submission[0] == "zip" else submission
    if len(words) != 1:
        raise typer.BadParameter("Give one submission.", param_hint="SUBMISSION.zip")
    output = Output(as_json)
    with output.progress() as progress:
        report = validate_submission(Path(words[0]), benchmark, folder, quick, progress, compare=not no_compare)
    show_report(output, report)
    for note in report.notes:
        output.note(note)
    if report.frame_counts_from:
        output.note(f"Frame counts are from {' and '.join(report.frame_counts_from)}.")
    output.print()
    valid = report.is_valid(strict)
    kind = f"{report.benchmark} submission" if report.benchmark else "submission"
    what = f"{report.submission} is {'a valid' if valid else 'not a valid'} {kind}"
    found = tally(len(report.errors), len(report.warnings))
    quickly = " (only names and headers were looked at)" if quick else ""
    output.print(f"{what}{f': {found}' if found else ''}{quickly}.", style="bold green" if valid else "bold red")
    output.json(report.as_json(strict))
    raise typer.Exit(0 if valid else 1)

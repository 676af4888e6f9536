"""`nersemble pack nvs|mono|svfr`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli.options import BenchmarkArgument, FolderOption, JsonOption, NoCompareOption, WorkersOption

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.submission.packing import Packed


def pack(
    benchmark: BenchmarkArgument,
    renders: Annotated[
        Path, typer.Argument(metavar="RENDERS", help="The folder of your results.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="The zip to write.", show_default=False)],
    folder: FolderOption = None,
    workers: WorkersOption = None,
    crf: Annotated[
        int, typer.Option("--crf", metavar="N", min=0, max=51, help="Quality of the videos; lower is better.")
    ] = 14,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.zip if it is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the renders.")] = False,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Pack what is there, for a test.")
    ] = False,
    crop: Annotated[
        Path | None,
        typer.Option(metavar="crop.json", help="Cut frames as this file of an export with padded images says."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="How RENDERS is laid out, as above.",
        ),
    ] = None,
    no_compare: NoCompareOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn results into a validated submission.

    nvs, mono: RENDERS/{participant}/{sequence}/cam_{serial}/*.png, or an encoded cam_{serial}.mp4.

    svfr: RENDERS/{participant}/{sequence}_{timestep}_{serial}/mesh_posed.ply, mesh_neutral.ply, landmarks_*.npy.
    OBJ and faces of more than three corners are converted; vertices keep their number and order.

    Other layouts are recognised if there is no doubt; otherwise describe yours with --pattern, such as
    '{participant}/{sequence}/{frame}_{serial}.png' or '{participant}/{timestep}_{serial}_{kind}.ply'
    (* is anything in a name, ** any folders).

    All of it is checked before the first frame is encoded, and the zip before it gets its name.

    Exit status: 0 packed, 1 the renders cannot be packed, 2 wrong usage.
    """
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.submission.packing import pack as pack_renders

    output = Output(as_json)
    with output.progress() as progress:
        packed = pack_renders(
            benchmark, renders, out, folder=folder, workers=workers, crf=crf, overwrite=overwrite,
            dry_run=dry_run, allow_incomplete=allow_incomplete, crop=crop, pattern=pattern, compare=not no_compare,
            progress=progress,
        )  # fmt: skip
    _show(output, packed)
    if packed.written:
        words = ["nersemble", "visualize", "submission", packed.submission]
        words += [] if folder is None else ["-f", str(folder)]
        output.note(f"To look at it before you upload it: {shlex.join(words)}")
    output.json(_as_json(packed))
    raise typer.Exit(0 if packed.report.valid else 1)


def _contents(packed: Packed) -> str:
    """`15 videos, 10,548 frames`, or `782 meshes`."""
    from nersemble_cli.core.benchmarks import VideoBenchmark

    if isinstance(packed.benchmark, VideoBenchmark):
        return f"{packed.num_videos} videos, {packed.num_frames:,} frames"
    return f"{packed.num_meshes} meshes"


def _show(output: Output, packed: Packed) -> None:
    from nersemble_cli.cli.findings import show_report, tally
    from nersemble_cli.cli.output import human_size

    report = packed.report
    show_report(output, report)
    for note in report.notes:
        output.note(note)
    if report.frame_counts_from:
        output.note(f"Frame counts are from {' and '.join(report.frame_counts_from)}.")
    found = tally(len(report.errors), len(report.warnings))
    output.print()
    if packed.written:
        text = f"Packed {packed.submission}: {_contents(packed)}, {human_size(packed.num_bytes)}"
        output.print(f"{text}{f'; {found}' if found else ', valid'}.", style="bold green")
        if packed.psnr:
            output.print(
                f"PSNR of {len(packed.psnr)} encoded frames against yours: {_mean(packed.psnr):.2f} dB, "
                f"the worst {min(packed.psnr):.2f} dB."
            )
    elif report.valid:
        output.print(f"Ready to pack: {_contents(packed)}{f'; {found}' if found else ''}.", style="bold green")
    else:
        output.print(f"Not packed: {found}. {packed.submission} was not touched.", style="bold red")


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _as_json(packed: Packed) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "renders": packed.renders,
        "submission": packed.submission,
        "benchmark": packed.benchmark.name,
        "dry_run": packed.dry_run,
        "packed": packed.written,
        "videos": packed.num_videos,
        "meshes": packed.num_meshes,
        "frames": packed.num_frames,
        "bytes": packed.num_bytes,
        "psnr": {
            "frames": len(packed.psnr),
            "mean": _mean(packed.psnr) if packed.psnr else None,
            "min": min(packed.psnr, default=None),
        },
        "valid": packed.report.valid,
        "compared": packed.report.compared,
        "frame_counts_from": list(packed.report.frame_counts_from),
        "notes": list(packed.report.notes),
        "findings": [finding.as_json() for finding in packed.report.findings],
    }

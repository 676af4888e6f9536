"""Arguments and options of `nersemble score`, which its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nersemble_cli.cli import options

_WHAT, HOW, _OUT = options.SELECTION, "How it is scored", "What is written"
RendersArgument = Annotated[
    Path,
    typer.Argument(metavar="RENDERS", help="A folder as `pack` reads it, or a zip of videos.", show_default=False),
]
SequencesOption = Annotated[
    list[str] | None,
    typer.Option("--sequence", "-s", metavar="NAME", help="Only these sequences.", rich_help_panel=_WHAT),
]
CamerasOption = Annotated[
    list[str] | None,
    typer.Option("--camera", "-c", metavar="SERIAL", help="Only these cameras.", rich_help_panel=_WHAT),
]
FramesOption = Annotated[
    str,
    typer.Option(
        "--frames",
        metavar="all|0,5,10-20|::N",
        help="Only these timesteps; ::N: every N-th.",
        rich_help_panel=_WHAT,
    ),
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        "--pattern", metavar="PATTERN", help="Layout of RENDERS, as for `pack`.", show_default="recognised",
        rich_help_panel=_WHAT,
    ),
]  # fmt: skip
CropOption = Annotated[
    Path | None,
    typer.Option(
        "--crop", metavar="crop.json", help="Cut PNGs as this file of an export says, as for `pack`.",
        show_default=False, rich_help_panel=_WHAT,
    ),
]  # fmt: skip
VideosOption = Annotated[
    str | None,
    typer.Option(
        "--videos", metavar="I/N", help="Only the I-th of N parts, for many machines.", rich_help_panel=_WHAT
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="LIST|all",
        help="psnr, ssim, ms_ssim, lpips, jod, mse, akd, akd_face, csim. JOD takes hours.",
        show_default="psnr,ssim,ms_ssim,mse, and lpips if it can be computed",
        rich_help_panel=HOW,
    ),
]
LosslessOption = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Compare PNGs as they are, not encoded as `pack` will encode them.",
        rich_help_panel=HOW,
    ),
]
MaskedOption = Annotated[
    bool,
    typer.Option(
        "--masked",
        help="Count only what is inside the alpha maps. The benchmark does not.",
        rich_help_panel=HOW,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute LPIPS and JOD.", rich_help_panel=HOW),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--lpips-weights", metavar="FILE", help="AlexNet for LPIPS.", show_default="where torch keeps it",
        rich_help_panel=HOW,
    ),
]  # fmt: skip
VisageOption = Annotated[
    Path | None,
    typer.Option(
        "--visage-python", metavar="PYTHON", help="The Python that has visage, for AKD and CSIM.",
        show_default="$NERSEMBLE_VISAGE_PYTHON, or this one", rich_help_panel=HOW,
    ),
]  # fmt: skip
FetchOption = Annotated[
    bool, typer.Option("--fetch-weights", help="Download AlexNet (244 MB) if it is missing.", rich_help_panel=HOW)
]
CacheOption = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither use nor keep what was computed before.", rich_help_panel=HOW),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="report.html, side_by_side.mp4, or result.json.",
        show_default=False, rich_help_panel=_OUT,
    ),
]  # fmt: skip
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="A line per frame.", show_default=False, rich_help_panel=_OUT),
]
WorstOption = Annotated[
    int, typer.Option("--worst", metavar="N", min=0, help="Frames to show in a report.", rich_help_panel=_OUT)
]
MinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--min",
        metavar="METRIC=VALUE",
        help="Exit with status 1 if the mean is worse: psnr=30. Of LPIPS, MSE and AKD it is the largest allowed.",
        show_default=False,
        rich_help_panel=_OUT,
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline", metavar="OLD.json", help="An earlier result to compare with.", show_default=False,
        rich_help_panel=_OUT,
    ),
]  # fmt: skip
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there.", rich_help_panel=_OUT)
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be scored, and how long it takes.", rich_help_panel=_OUT),
]

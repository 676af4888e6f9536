"""`nersemble score nvs|mono|pair|svfr|merge`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options
from nersemble_cli.cli.score_output import Wanted, note_estimate, show, show_plan, write

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.score.document import Score
    from nersemble_cli.core.score.run import Plan
    from nersemble_cli.core.score.sources import Job

_WHAT, _HOW, _OUT = options.SELECTION, "How it is scored", "What is written"
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
        help="Of psnr, ssim, ms_ssim, lpips, jod, mse, akd, akd_face, csim.",
        show_default="psnr,ssim,ms_ssim,mse, and lpips if it can be computed",
        rich_help_panel=_HOW,
    ),
]
LosslessOption = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Compare PNGs as they are, not encoded as `pack` will encode them.",
        rich_help_panel=_HOW,
    ),
]
MaskedOption = Annotated[
    bool,
    typer.Option("--masked", help="Only inside of the alpha maps. The benchmark does not.", rich_help_panel=_HOW),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where LPIPS is computed.", rich_help_panel=_HOW)
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--lpips-weights", metavar="FILE", help="AlexNet for LPIPS.", show_default="where torch keeps it",
        rich_help_panel=_HOW,
    ),
]  # fmt: skip
FetchOption = Annotated[
    bool, typer.Option("--fetch-weights", help="Download AlexNet (244 MB) if it is missing.", rich_help_panel=_HOW)
]
CacheOption = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither use nor keep what was computed before.", rich_help_panel=_HOW),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="report.html, or side_by_side.mp4.", show_default=False,
        rich_help_panel=_OUT,
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
        help="Exit with status 1 if the mean is worse: psnr=30. For LPIPS it is the most.",
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

app = typer.Typer(
    cls=options.Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:\n\nnersemble score nvs renders/ -o report.html",
)


@app.callback()
def score() -> None:
    """Say how good renders are, before an upload.

    Of training cameras and sequences, with the metrics of the benchmark's author, by their conventions. What is
    hidden stays hidden: leave a camera or a sequence out of your training, render it, and score that.
    """


def _score_command(benchmark_name: str) -> Callable[..., None]:
    def command(
        renders: RendersArgument,
        folder: options.FolderOption = None,
        participant: options.ParticipantsOption = None,
        sequence: SequencesOption = None,
        camera: CamerasOption = None,
        frames: FramesOption = "all",
        videos: VideosOption = None,
        metrics: MetricsOption = None,
        lossless: LosslessOption = False,
        masked: MaskedOption = False,
        device: DeviceOption = "auto",
        lpips_weights: WeightsOption = None,
        fetch_weights: FetchOption = False,
        no_cache: CacheOption = False,
        workers: options.WorkersOption = None,
        report: ReportOption = None,
        csv: CsvOption = None,
        worst: WorstOption = 8,
        minimum: MinOption = None,
        baseline: BaselineOption = None,
        overwrite: OverwriteOption = False,
        dry_run: DryRunOption = False,
        as_json: options.JsonOption = False,
    ) -> None:
        from nersemble_cli.cli.output import Output
        from nersemble_cli.core import settings
        from nersemble_cli.core.benchmarks import VideoBenchmark, get_benchmark
        from nersemble_cli.core.download.selection import split_names
        from nersemble_cli.core.score.jobs import Request, choose_part, find_jobs
        from nersemble_cli.core.score.run import new_score
        from nersemble_cli.core.video.encode import CRF

        benchmark = get_benchmark(benchmark_name)
        assert isinstance(benchmark, VideoBenchmark)
        output = Output(as_json)
        wanted = Wanted(report, csv, worst, minimum, baseline, overwrite, dry_run)
        plan = _make_plan(output, metrics, masked, device, lpips_weights, fetch_weights, workers, no_cache)
        crf = None if lossless else CRF
        people, sequences, serials = (
            split_names(values or []) or None for values in (participant, sequence, camera)
        )
        request = Request(people, sequences, serials, frames, crf, masked)
        with find_jobs(benchmark, renders, settings.find_folder(folder), request) as found:
            score = new_score(benchmark.name, crf, plan)
            score.notes += found.notes
            jobs, failed, score.part = choose_part(found, videos)
            score.failed = {path: [f.as_json() for f in findings] for path, findings in failed.items()}
            _score(output, score, jobs, plan, wanted)

    return command


_DOC = """Score {what}.

    RENDERS/{{participant}}/{{sequence}}/cam_{{serial}}/*.png or .mp4, of cameras and sequences whose images you
    have. PNGs are scored as they would arrive: encoded as `pack` does it, and decoded. {advice}

    Exit status: 0 scored, 1 below --min, or a video could not be scored, 2 wrong usage or nothing that may be
    scored.
    """
for _name, _what, _advice in (
    (
        "nvs",
        "novel views of training cameras",
        "Good cameras: 222200040, 220700191, 222200043.",
    ),
    (
        "mono",
        "an avatar in training sequences",
        "Only camera 222200037 has ground truth, so that novel views cannot be scored.",
    ),
):
    _command = _score_command(_name)
    _command.__doc__ = _DOC.format(what=_what, advice=_advice)
    _command.__name__ = _name
    options.command(app, f"nersemble score {_name} renders/", f"nersemble score {_name} renders/ -o report.html")(
        _command
    )


@options.command(
    app, "nersemble score pair mine.mp4 truth.mp4", "nersemble score pair renders/ images/ --lossless"
)
def pair(
    a: Annotated[Path, typer.Argument(metavar="A", help="A video, or a folder of PNGs.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="What it is compared with.", show_default=False)],
    fps: Annotated[
        str, typer.Option("--fps", metavar="N", help="Frames per second.", rich_help_panel=_HOW)
    ] = "73",
    frames: FramesOption = "all",
    metrics: MetricsOption = None,
    lossless: LosslessOption = False,
    device: DeviceOption = "auto",
    lpips_weights: WeightsOption = None,
    fetch_weights: FetchOption = False,
    no_cache: CacheOption = False,
    workers: options.WorkersOption = None,
    report: ReportOption = None,
    csv: CsvOption = None,
    worst: WorstOption = 8,
    minimum: MinOption = None,
    baseline: BaselineOption = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Compare two videos, or folders of PNGs.

    B is taken as it is. If A is a folder of PNGs, it is encoded as `pack` does it, unless --lossless is given.

    Exit status: 0 scored, 1 below --min or not comparable, 2 wrong usage.
    """
    from fractions import Fraction

    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.errors import UsageError
    from nersemble_cli.core.score.jobs import Request, pair_job
    from nersemble_cli.core.score.run import new_score
    from nersemble_cli.core.video.encode import CRF

    try:
        rate = Fraction(fps)
        if rate <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--fps: '{fps}' is not a frame rate.", "For example 73, 24.3 or 30000/1001.") from error
    output = Output(as_json)
    wanted = Wanted(report, csv, worst, minimum, baseline, overwrite, dry_run)
    plan = _make_plan(output, metrics, False, device, lpips_weights, fetch_weights, workers, no_cache)
    crf = None if lossless else CRF
    job = pair_job(a, b, rate, Request(timesteps=frames, crf=crf))
    _score(output, new_score("pair", crf, plan), [job], plan, wanted)


@options.command(
    app,
    "nersemble score svfr submission.zip",
    "nersemble score svfr meshes/ --against clouds/ --landmarks landmarks.json",
)
def svfr(
    meshes: Annotated[
        Path, typer.Argument(metavar="SUBMISSION|MESHES", help="A zip, or a folder of meshes.", show_default=False)
    ],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="CLOUDS", help="A folder of scans: NAME.pcd or NAME.ply, in metres."),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option("--landmarks", metavar="FILE", help="JSON: name of a scan → its seven NoW landmarks."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure meshes, also against your scans.

    Without --against: how far the neutral meshes of one person are from each other, of which half is about a lower
    bound of the mean error. With it: the distance from the scan of each name to the mesh of that name.

    Exit status: 0 measured, 1 a mesh cannot be read, 2 wrong usage.
    """
    from nersemble_cli.cli.output import Output, plain_table
    from nersemble_cli.core.errors import UsageError
    from nersemble_cli.core.score import svfr as measure

    output = Output(as_json)
    if (against is None) != (landmarks is None):
        raise UsageError("--against and --landmarks belong together.", "Give both, or neither.")
    notice = f"Local estimate: the ground truth is not public. {measure.UNKNOWN}"
    document: dict[str, Any] = {
        "schema_version": 1, "kind": "local_estimate", "benchmark": "svfr", "notice": notice
    }  # fmt: skip
    if against is not None and landmarks is not None:
        found = measure.against_clouds(meshes, against, landmarks)
        within = (">within 1 mm", ">2.5", ">5", ">10")
        table = plain_table("scan", "alignment", ">L2 mm", ">L1 mm", ">median mm", *within, ">normals", ">scale")
        for name, ways in found.items():
            for way, result in ways.items():
                recall = (f"{share:.1%}" for share in result.recall.values())
                normals = "–" if result.normals is None else f"{result.normals:.3f}"
                lengths = (f"{value:.3f}" for value in (result.l2_mm, result.l1_mm, result.median_mm))
                table.add_row(name, way, *lengths, *recall, normals, f"{result.scale:.4f}")
        document["scans"] = {n: {way: r.as_json() for way, r in ways.items()} for n, ways in found.items()}
    else:
        with output.progress() as progress:
            spreads = measure.neutral_spreads(meshes, progress)
        table = plain_table(
            "participant", ">neutral meshes", ">rigid mm", ">with scale mm", ">largest mm", ">at least mm"
        )
        for participant, spread in spreads.items():
            bound = spread.as_json()["lower_bound_mm"]
            distances = (spread.rigid_mm, spread.similarity_mm, spread.largest_mm, bound)
            cells = ("–" if value is None else f"{value:.3f}" for value in distances)
            table.add_row(f"{participant:03d}", str(spread.num_meshes), *cells)
        document["participants"] = {f"{p:03d}": spread.as_json() for p, spread in spreads.items()}
    output.print(notice, style="bold")
    output.print()
    output.table(table)
    output.json(document)


@options.command(
    app, "nersemble score merge part_*.json -o report.html", "nersemble score merge part_*.json --json"
)
def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART.json", help="What `score --videos I/N --json` printed.", show_default=False),
    ],
    report: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="merged.json, or report.html.", show_default=False),
    ] = None,
    csv: CsvOption = None,
    minimum: MinOption = None,
    baseline: BaselineOption = None,
    overwrite: OverwriteOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Join the parts of many machines.

    The result is that of a single run, to the last byte.
    """
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.score.document import load
    from nersemble_cli.core.score.document import merge as merge_parts

    wanted = Wanted(report, csv, 0, minimum, baseline, overwrite, False)
    score = merge_parts([load(part) for part in parts])
    output = Output(as_json)
    _finish(output, score, [], wanted)


def _make_plan(
    output: Output,
    metrics: str | None,
    masked: bool,
    device: str,
    weights_file: Path | None,
    fetch: bool,
    workers: int | None,
    no_cache: bool,
) -> Plan:
    from importlib.util import find_spec

    from nersemble_cli.core.score import weights
    from nersemble_cli.core.score.cache import cache_folder
    from nersemble_cli.core.score.run import make_plan, parse_metrics

    wanted = parse_metrics(metrics)[0]
    if "lpips" in wanted and find_spec("torch") and weights.find(weights_file) is None:
        asked = metrics is not None and output.is_terminal
        question = f"LPIPS needs AlexNet: {weights.SIZE} from {weights.SOURCE}. Download it?"
        if fetch or (asked and typer.confirm(question, err=True)):
            output.note(
                f"Fetching {weights.SIZE} from {weights.SOURCE} (SHA-256 begins with {weights.HASH_START}) …"
            )
            output.note(f"AlexNet is in {weights.fetch()}")
    return make_plan(
        metrics, masked=masked, device=device, weights_file=weights_file, workers=workers,
        cache=None if no_cache else cache_folder(),
    )  # fmt: skip


def _score(output: Output, score: Score, jobs: Sequence[Job], plan: Plan, wanted: Wanted) -> None:
    """Scores, shows and writes; ends the command."""
    from nersemble_cli.core.score.run import run

    if wanted.dry_run:
        show_plan(output, score, jobs, plan)
        raise typer.Exit(0)
    note_estimate(output, jobs, plan)
    try:
        with output.progress() as progress:
            run(score, jobs, plan, progress)
    except KeyboardInterrupt:
        write(output, score, [], wanted)
        show(output, score, wanted)
        raise
    _finish(output, score, jobs, wanted)


def _finish(output: Output, score: Score, jobs: Sequence[Job], wanted: Wanted) -> None:
    write(output, score, jobs, wanted)
    missed = show(output, score, wanted)
    raise typer.Exit(0 if score.is_whole and not missed else 1)

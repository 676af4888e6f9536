"""`nersemble score nvs|mono|pair|svfr|merge`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options
from nersemble_cli.cli import score_options as of
from nersemble_cli.cli.score_output import Wanted, note_estimate, show, show_plan, write

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.score.document import Score
    from nersemble_cli.core.score.plan import Plan
    from nersemble_cli.core.score.sources import Job

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
        renders: of.RendersArgument,
        folder: options.FolderOption = None,
        pattern: of.PatternOption = None,
        crop: of.CropOption = None,
        participant: options.ParticipantsOption = None,
        sequence: of.SequencesOption = None,
        camera: of.CamerasOption = None,
        frames: of.FramesOption = "all",
        videos: of.VideosOption = None,
        metrics: of.MetricsOption = None,
        lossless: of.LosslessOption = False,
        masked: of.MaskedOption = False,
        device: of.DeviceOption = "auto",
        lpips_weights: of.WeightsOption = None,
        visage_python: of.VisageOption = None,
        fetch_weights: of.FetchOption = False,
        no_cache: of.CacheOption = False,
        workers: options.WorkersOption = None,
        report: of.ReportOption = None,
        csv: of.CsvOption = None,
        worst: of.WorstOption = 8,
        minimum: of.MinOption = None,
        baseline: of.BaselineOption = None,
        overwrite: of.OverwriteOption = False,
        dry_run: of.DryRunOption = False,
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
        crf = None if lossless else CRF
        people, sequences, serials = (
            split_names(values or []) or None for values in (participant, sequence, camera)
        )
        request = Request(people, sequences, serials, frames, crf, masked, pattern, crop)
        with (
            closing(
                _make_plan(
                    output, metrics, masked, device, lpips_weights, visage_python, fetch_weights, workers, no_cache
                )
            ) as plan,
            find_jobs(benchmark, renders, settings.find_folder(folder), request) as found,
        ):
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
        str, typer.Option("--fps", metavar="N", help="Frames per second.", rich_help_panel=of.HOW)
    ] = "73",
    frames: of.FramesOption = "all",
    metrics: of.MetricsOption = None,
    lossless: of.LosslessOption = False,
    device: of.DeviceOption = "auto",
    lpips_weights: of.WeightsOption = None,
    visage_python: of.VisageOption = None,
    fetch_weights: of.FetchOption = False,
    no_cache: of.CacheOption = False,
    workers: options.WorkersOption = None,
    report: of.ReportOption = None,
    csv: of.CsvOption = None,
    worst: of.WorstOption = 8,
    minimum: of.MinOption = None,
    baseline: of.BaselineOption = None,
    overwrite: of.OverwriteOption = False,
    dry_run: of.DryRunOption = False,
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
    crf = None if lossless else CRF
    with closing(
        _make_plan(output, metrics, False, device, lpips_weights, visage_python, fetch_weights, workers, no_cache)
    ) as plan:
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
    csv: of.CsvOption = None,
    minimum: of.MinOption = None,
    baseline: of.BaselineOption = None,
    overwrite: of.OverwriteOption = False,
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
    visage_python: Path | None,
    fetch: bool,
    workers: int | None,
    no_cache: bool,
) -> Plan:
    from importlib.util import find_spec

    from nersemble_cli.core.score import weights
    from nersemble_cli.core.score.cache import cache_folder
    from nersemble_cli.core.score.plan import make_plan, parse_metrics

    wanted = parse_metrics(metrics)
    if "lpips" in wanted and find_spec("torch") and weights.find(weights_file) is None:
        asked = metrics is not None and output.is_terminal
        question = f"LPIPS needs AlexNet: {weights.SIZE} from {weights.SOURCE}. Download it?"
        if fetch or (asked and typer.confirm(question, err=True)):
            output.note(
                f"Fetching {weights.SIZE} from {weights.SOURCE} (SHA-256 begins with {weights.HASH_START}) …"
            )
            output.note(f"AlexNet is in {weights.fetch()}")
    return make_plan(
        metrics, masked=masked, device=device, weights_file=weights_file, visage_python=visage_python,
        workers=workers, cache=None if no_cache else cache_folder(),
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

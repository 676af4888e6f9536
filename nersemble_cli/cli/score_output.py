"""What `nersemble score` prints and writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.score.document import Score
    from nersemble_cli.core.score.plan import Plan
    from nersemble_cli.core.score.sources import Job


FEW_FRAMES = 2  # for which an estimate would take as long as the work
_PATH_WIDTH = 14  # columns that the name of a video has at least
LONG_WORK = 30  # seconds, from which on an estimate is shown


class Wanted:
    """What is to come of a result. Everything about it is checked before the work begins."""

    def __init__(
        self,
        report: Path | None,
        csv: Path | None,
        worst: int,
        minimum: Sequence[str] | None,
        baseline: Path | None,
        overwrite: bool,
        dry_run: bool,
    ) -> None:
        from nersemble_cli.core.errors import UsageError
        from nersemble_cli.core.files import check_target
        from nersemble_cli.core.score.document import load

        if report is not None and report.suffix.lower() not in (".html", ".mp4", ".json"):
            raise UsageError(
                f"-o {report}: the name must end in .html, .mp4 or .json.", "For example -o report.html"
            )
        self.report = None if report is None else check_target(report, overwrite)
        self.csv = None if csv is None else check_target(csv, overwrite)
        self.worst, self.dry_run = worst, dry_run
        self.minimum = _parse_minimum(minimum or ())
        self.baseline = None if baseline is None else load(baseline)


def note_estimate(output: Output, jobs: Sequence[Job], plan: Plan) -> None:
    from nersemble_cli.core.score.run import estimate_seconds, what_to_do

    todo = what_to_do(jobs, plan)
    frames = sum(what.num_frames for what in todo)
    jod_frames = sum(what.num_jod_frames for what in todo)
    if frames + jod_frames <= FEW_FRAMES or (seconds := estimate_seconds(todo, plan)) < LONG_WORK:
        return
    counts = [f"{frames:,} frames"] if frames else []
    counts += [f"JOD over {jod_frames:,} frames"] if jod_frames else []
    output.note(f"This takes about {_duration(seconds)}: {', then '.join(counts)}.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_plan(output: Output, score: Score, jobs: Sequence[Job], plan: Plan) -> None:
    from nersemble_cli.cli.output import plain_table
    from nersemble_cli.core.score.document import NOTICE
    from nersemble_cli.core.score.run import estimate_seconds, what_to_do

    todo = what_to_do(jobs, plan)
    seconds = estimate_seconds(todo, plan)
    output.print(NOTICE)
    output.print()
    table = plain_table("video", ">frames", ">to compute", "render")
    for what in todo:
        job, n = what.job, max(what.num_frames, what.num_jod_frames)
        table.add_row(job.path, f"{len(job.timesteps):,}", f"{n:,}", job.codec)
    output.table(table)
    _show_rest(output, score)
    output.print(
        f"Would compute {', '.join(plan.metrics)} of"
        f" {sum(max(what.num_frames, what.num_jod_frames) for what in todo):,} frames:"
        f" about {_duration(seconds)}."
    )
    output.json({
        **score.as_json(), "dry_run": True, "estimated_seconds": seconds,
        "planned": [
            {"path": what.job.path, "num_frames": len(what.job.timesteps), "to_compute": what.num_frames,
             "jod_to_compute": what.num_jod_frames} for what in todo
        ],
    })  # fmt: skip


def show(output: Output, score: Score, wanted: Wanted) -> list[str]:
    """Shows the result; returns in which metrics it is worse than asked."""
    from nersemble_cli.cli.output import plain_table
    from nersemble_cli.core.score.document import LOWER_IS_BETTER, NOTICE
    from nersemble_cli.core.score.report import NAMES, change, number

    output.print(NOTICE, style="bold")
    output.print()
    videos = sorted(score.videos, key=lambda video: video.path)
    mean, frame_mean = score.mean(), score.mean(frame_means=True)
    names = [name for name in NAMES if any(name in video.summary()[0] for video in videos)]
    if videos:
        table = plain_table(
            "video", ">frames", *(f">{NAMES[name]}" for name in names), ">PSNR over frames", ">worst frame"
        )
        table.columns[0].overflow = "fold"  # a serial that is cut off says nothing
        table.columns[0].min_width = _PATH_WIDTH
        for video in videos:
            batches, means = video.summary()
            worst = video.worst()
            frames = f"{len(video.frames):,}{' (unfinished)' if video.incomplete else ''}"
            last = "" if worst is None else f"{int(worst['timestep'])}"
            values = (number(name, batches.get(name)) for name in names)
            table.add_row(video.path, frames, *values, number("psnr", means.get("psnr")), last)
        if len(videos) > 1:
            cells = (number(n, mean.get(n)) for n in names)
            table.add_row("mean over videos", "", *cells, number("psnr", frame_mean.get("psnr")), "", style="bold")
        if wanted.baseline:
            before = wanted.baseline.mean()
            changes = (change(n, mean[n] - before[n]) if n in mean and n in before else "–" for n in names)
            table.add_row("change to the baseline", "", *changes, "", "")
        output.table(table)
        output.print(
            "By batches of 16 frames, as the benchmark's author averages; the mean over frames is beside it."
        )
        if score.conventions.get("masked"):
            output.print("Only inside the alpha maps, which the benchmark does not do.")
    _show_rest(output, score)
    missed = []
    for name, value in wanted.minimum.items():
        found = mean.get(name)
        if found is None or (found > value if name in LOWER_IS_BETTER else found < value):
            sign = "≤" if name in LOWER_IS_BETTER else "≥"
            missed.append(name)
            output.print(f"Missed: {name} {sign} {value:g}, it is {number(name, found)}.", style="bold red")
    if score.incomplete:
        output.print("Incomplete: it was interrupted.", style="bold red")
    elif score.failed:
        output.print(
            f"{len(score.failed)} of {len(score.failed) + len(videos)} videos could not be scored.",
            style="bold red",
        )
    output.json(score.as_json())
    return missed


def _show_rest(output: Output, score: Score) -> None:
    for path, findings in sorted(score.failed.items()):
        for finding in findings:
            output.print(f"{path}: {finding['message']}", style="red")
            if finding.get("hint"):
                output.print(f"→ {finding['hint']}", indent=2)
    for reason in dict.fromkeys(score.left_out.values()):
        names = ", ".join(name for name, why in score.left_out.items() if why == reason)
        output.note(f"left out: {names}: {reason}")
    for note in (*score.notes, *(note for video in score.videos for note in video.notes)):
        output.note(f"note: {note}")


def write(output: Output, score: Score, jobs: Sequence[Job], wanted: Wanted) -> None:
    """Writes the files that were asked for, each of them whole or not at all."""
    from nersemble_cli.core.files import scratch_folder
    from nersemble_cli.core.score.document import dumps, to_csv
    from nersemble_cli.core.score.report import make_page, write_video

    files: dict[Path, Callable[[Path], Any]] = {}
    if wanted.csv:
        files[wanted.csv] = lambda path: path.write_text(to_csv(score.videos), "utf-8")
    if wanted.report and wanted.report.suffix.lower() == ".json":
        files[wanted.report] = lambda path: path.write_text(dumps(score.as_json()), "utf-8")
    if wanted.report and wanted.report.suffix.lower() == ".html":
        files[wanted.report] = lambda path: path.write_text(
            make_page(score, jobs, wanted.worst, wanted.baseline), "utf-8"
        )
    done = [job for job in jobs if job.path not in score.failed]
    if wanted.report and wanted.report.suffix.lower() == ".mp4" and done:
        files[wanted.report] = lambda path: write_video(path, done, progress)
    for target, write in files.items():
        with scratch_folder(target) as scratch, output.progress() as progress:
            write(scratch / target.name)
            (scratch / target.name).replace(target)
        output.note(f"Written: {target}")


def _parse_minimum(texts: Sequence[str]) -> dict[str, float]:
    from nersemble_cli.core.errors import UsageError, unknown_name
    from nersemble_cli.core.score.document import METRICS

    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.strip().lower().replace("-", "_")
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--min: '{text}' has no number.", "For example --min psnr=30") from None
    return found

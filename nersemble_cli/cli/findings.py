"""How findings and reports look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from nersemble_cli.cli.output import Output, cell, count, plain_table
from nersemble_cli.core.benchmarks import MeshBenchmark, VideoBenchmark, get_benchmark
from nersemble_cli.core.submission.findings import CODES, ERROR, Finding, Report

SHOWN_PER_CODE = 5
SHOWN_HINTS = 2
STYLES = {"error": "bold red", "warning": "yellow"}


def show_report(output: Output, report: Report) -> None:
    """The table of what is there, and the findings below it."""
    if report.benchmark and (report.videos or report.meshes or report.findings):
        benchmark = get_benchmark(report.benchmark)
        if isinstance(benchmark, VideoBenchmark):
            _video_table(output, benchmark, report)
        elif isinstance(benchmark, MeshBenchmark):
            _mesh_table(output, benchmark, report)
    show_findings(output, report.findings)


def _video_table(output: Output, benchmark: VideoBenchmark, report: Report) -> None:
    """A row per participant and sequence, a column per camera; in the cells frames, or what is wrong."""
    paths = _worst_by_path(report.findings)
    table = plain_table(
        "participant", "sequence", *(f">{serial}" for serial in sorted(benchmark.submission_serials))
    )
    for (participant, sequence), slots in groupby(
        benchmark.slots, key=lambda slot: (slot.participant, slot.sequence)
    ):
        cells = []
        for slot in slots:
            video = report.videos.get(slot.path)
            # A file under a wrong name is a finding under that name.
            worst = paths.get(slot.path) or (paths.get(video.path) if video else None)
            if video is None:
                cells.append(cell("missing" if worst and worst.code == "missing_file" else "–", "red"))
                continue
            text = "?" if video.num_frames is None else str(video.num_frames)
            style = STYLES[worst.severity] if worst else "green"
            mark = {"error": "✗", "warning": "!"}[worst.severity] if worst else "✓"
            cells.append(cell(f"{text} {mark}", style))
        table.add_row(f"{participant:03d}", sequence, *cells)
    output.table(table)


def _worst_by_path(findings: Iterable[Finding]) -> dict[str, Finding]:
    worst: dict[str, Finding] = {}
    for finding in findings:
        if finding.path and (finding.path not in worst or finding.severity == ERROR):
            worst[finding.path] = finding
    return worst


def _mesh_table(output: Output, benchmark: MeshBenchmark, report: Report) -> None:
    table = plain_table("subtask", ">meshes", ">FLAME", ">other, with landmarks", ">errors", ">warnings")
    for kind in ("posed", "neutral"):
        slots = [slot for slot in benchmark.slots if slot.kind == kind]
        meshes = [report.meshes[slot.path] for slot in slots if slot.path in report.meshes]
        if not meshes:
            table.add_row(kind, "none", "", "", "", "")
            continue
        names = {name for slot in slots for name in (slot.path, slot.landmarks_path)}
        found = [f for f in report.findings if f.path in names or (f.path or "").endswith(f"_{kind}.ply")]
        errors = sum(f.severity == ERROR for f in found)
        table.add_row(
            kind,
            f"{len(meshes)} of {len(slots)}",
            str(sum(m.is_flame for m in meshes)),
            str(sum(m.has_landmarks and not m.is_flame for m in meshes)),
            str(errors),
            str(len(found) - errors),
        )
    output.table(table)


def show_findings(output: Output, findings: list[Finding]) -> None:
    """Findings grouped by code: what the code means, where it was found, and what to do."""
    for (severity, code), group in groupby(findings, key=lambda f: (f.severity, f.code)):
        # What is said of this one file comes before what the code says anyway.
        same = sorted(group, key=lambda f: f.hint == CODES[code].hint)
        output.print()
        output.print(f"{severity} {code} ({len(same)}): {CODES[code].meaning}", style=STYLES[severity])
        # These are the other side of missing files.
        misnamed = [f for f in same if code == "unexpected_file" and f.expected]
        if misnamed:
            output.print(f"{count(len(misnamed), 'file')} under wrong names: see what is missing.", indent=2)
            same = [f for f in same if f not in misnamed]
        hints: dict[str, None] = {}
        for finding in same[:SHOWN_PER_CODE]:
            output.print(f"{finding.path}: {finding.message}" if finding.path else finding.message, indent=2)
            hints[finding.hint] = None
        if len(same) > SHOWN_PER_CODE:
            output.print(f"… and {len(same) - SHOWN_PER_CODE} more (--json lists all)", indent=2)
        for hint in list(hints)[:SHOWN_HINTS]:
            output.print(f"→ {hint}", indent=2)
        if len(hints) > SHOWN_HINTS:
            output.print("→ and similarly for the others (--json lists all)", indent=2)


def tally(n_errors: int, n_warnings: int) -> str:
    """`2 errors, 1 warning`."""
    return ", ".join(
        f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((n_errors, "error"), (n_warnings, "warning")) if n
    )

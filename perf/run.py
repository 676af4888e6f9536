"""Measures this project beside the official toolkit and beside what a machine can do at most; writes RESULTS.md.

    python perf/run.py [--official PYTHON_OF_A_VENV_WITH_THE_OFFICIAL_TOOLKIT] [--only TEXT]

Needs the extra `bench`, 6 GB of disk and, on two cores, a quarter of an hour. Nothing is fetched from the network.
What is written under "What was tried" in RESULTS.md stays as it is. With `--only`, just what has TEXT in its title
is measured and nothing is written.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import data_access
import download
import growth
import loaders
import report
import startup
import submissions
from lab import Lab
from measure import measure

RESULTS = Path(__file__).with_name("RESULTS.md")
PARTS = {
    "Submissions (whole processes)": submissions.rows,
    "Download (whole processes; servers on the same machine)": download.rows,
    "Data access (in one process each, after the imports)": data_access.rows,
    "Loaders (a process each, one epoch after the imports)": loaders.rows,
    "Start (whole processes)": startup.rows,
}
HEADING = """# Results

`python perf/run.py{arguments}` on {date}: {cores} cores, {system}, Python {python}, {minutes:.0f} minutes.
Everything of a row runs in turn. Times are medians; ratios are medians of pairs, with the smallest and the largest
if there are several. Memory is the peak of the process tree. Frames are {frames}."""
FRAMES = "a photograph that moves, with noise, 1604×1100"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", metavar="PYTHON", help="of an environment with the official toolkit")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="measure what has TEXT in its title, write nothing"
    )
    options = parser.parse_args()
    started = time.monotonic()
    tables = []
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        lab = Lab(folder, options.official, resources)
        for title, rows in PARTS.items():
            lines = []
            for row in rows(lab):
                if options.only in row.title:
                    lines.append(report.line(measure(row)))
                    print(lines[-1], flush=True)
            tables.append(f"## {title}\n\n{report.HEADER}\n" + "\n".join(lines))
        lines = []
        for growing in growth.growths(lab):
            if options.only in growing.title:
                runs = [growing.work(size) for size in growth.SIZES]
                lines.append(report.growth_line(growing.title, growth.SIZES, runs))
                print(lines[-1], flush=True)
        tables.append(f"## Growth\n\n{report.GROWTH_HEADER}\n" + "\n".join(lines))
    if not options.only:
        heading = HEADING.format(
            arguments=" --official …" if options.official else "",
            date=time.strftime("%Y-%m-%d"),
            cores=os.cpu_count(),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            minutes=(time.monotonic() - started) / 60,
            frames=FRAMES,
        )
        versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("av", "numpy", "torch", "typer"))
        before = RESULTS.read_text() if RESULTS.exists() else ""
        RESULTS.write_text(report.document(f"{heading}\nVersions: {versions}.", tables, before))


if __name__ == "__main__":
    main()

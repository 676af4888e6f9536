"""How long it takes until something happens, as whole processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from lab import Lab
from measure import NERSEMBLE, Row, run

ROUNDS = 11
TAB = {"_NERSEMBLE_COMPLETE": "complete_bash", "COMP_WORDS": "nersemble download nvs -p 3", "COMP_CWORD": "4"}
OFFICIAL_HELP = """
import sys
sys.argv = ["nersemble-benchmark-download", "--help"]
from nersemble_benchmark.scripts.download_data import main_cli
main_cli()
"""


def rows(lab: Lab) -> Iterator[Row]:
    nothing = [sys.executable, "-c", "pass"]
    typer = [sys.executable, "-c", "import typer"]
    yield Row(
        "--help",
        ours=lambda: run([*NERSEMBLE, "--help"]),
        official=(lambda: lab.run_official(OFFICIAL_HELP)) if lab.official else None,
        limit=lambda: run(typer),
        limit_is="import typer",
        rounds=3,
    )
    yield Row(
        "a TAB",
        ours=lambda: run(NERSEMBLE, TAB),
        limit=lambda: run(typer),
        limit_is="import typer",
        asked_of_limit=1.5,
        rounds=ROUNDS,
    )
    yield Row(
        "import nersemble_cli (asked: 20 ms more)",
        ours=lambda: run([sys.executable, "-c", "import nersemble_cli"]),
        limit=lambda: run(nothing),
        limit_is="python -c pass",
        rounds=ROUNDS,
    )

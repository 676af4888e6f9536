"""Runs the commands in the ```console blocks of the documents and writes what they print below them.

    python docs/make_output.py            writes what is not current
    python docs/make_output.py --check    only says so: exit status 1

The commands run one after the other on the made-up benchmark of `nersemble demo`, in a terminal of 100 columns.
Sizes and rates differ between machines: they do not count as a difference.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nersemble_cli import pack
from nersemble_cli.cli.demo import (
    FAULTY,
    FLAME,
    N_FRAMES,
    N_POINTS,
    PARTICIPANTS,
    RENDERS,
    SERVER,
    SUBMISSIONS,
    TRAINING_SEQUENCE,
)
from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.synthetic import Recipe, make_benchmark, write_flame_model
from nersemble_cli.core.synthetic.results import plant_mistakes, write_renders
from nersemble_cli.core.synthetic.server import serving

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md"]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(r"\d[\d,.]* (bytes?|[kMGT]B|dB)\b")


def prepare(place: Path) -> None:
    """What the commands need: a server's folder, renders, a FLAME model."""
    recipe = Recipe(n_frames=N_FRAMES, n_points=N_POINTS)
    make_benchmark(place / SERVER, recipe, PARTICIPANTS, sequences=["GLASSES", TRAINING_SEQUENCE],
                   images_per_participant=100)  # fmt: skip
    write_flame_model(place / FLAME)
    renders = write_renders(place / RENDERS["nvs"], NVS, recipe)
    pack("nvs", renders, place / SUBMISSIONS["nvs"], folder=place / SERVER)
    plant_mistakes(place / SUBMISSIONS["nvs"], place / FAULTY, NVS, recipe)


def outputs(lines: list[str], demo: Path) -> dict[str, str]:
    """Command → what it prints, run in a new folder beside what a demo made."""
    with tempfile.TemporaryDirectory() as name, serving(demo / SERVER) as url:
        place = Path(name) / "work"
        place.mkdir()
        (place / RENDERS["nvs"]).symlink_to(demo / RENDERS["nvs"])
        shutil.copy(demo / FAULTY, place)
        program = Path(name) / "bin" / "nersemble"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m nersemble_cli \"$@\"\n")
        program.chmod(0o755)
        environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": name,
            "NERSEMBLE_BENCHMARK_URL": url, "NERSEMBLE_FLAME_MODEL": str(demo / FLAME / "flame2023.pkl"),
            "COLUMNS": "100", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        printed = {}
        for line in lines:
            done = subprocess.run(
                ["bash", "-c", line], cwd=place, env=environment, text=True, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            text = "\n".join(row.rstrip() for row in done.stdout.splitlines())
            printed[line] = text.strip("\n")
        return printed


def commands_of(text: str) -> list[str]:
    return [
        line.removeprefix("$ ")
        for block in BLOCK.findall(text)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def rewrite(text: str, printed: dict[str, str]) -> str:
    """The document with what the commands print now, where that differs from what it says."""

    def block(match: re.Match[str]) -> str:
        new = "\n".join(f"$ {line}\n{printed[line]}" for line in commands_of(match[0]))
        same = comparable(new) == comparable(match[1])
        return match[0] if same else f"```console\n{new}\n```"

    return BLOCK.sub(block, text)


def comparable(text: str) -> str:
    return re.sub(r"\s+", " ", VARIES.sub("SIZE", text)).strip()


def main() -> int:
    only_check = "--check" in sys.argv[1:]
    texts = {path: path.read_text("utf-8") for path in DOCUMENTS}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        printed = outputs([line for text in texts.values() for line in commands_of(text)], Path(name))
    stale = [path for path, text in texts.items() if rewrite(text, printed) != text]
    for path in stale:
        print(path.name, "is not current" if only_check else "written")
        if not only_check:
            path.write_text(rewrite(texts[path], printed), "utf-8")
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

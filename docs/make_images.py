"""Makes the README's pictures again, with the commands beside them, from a made-up benchmark.

    python docs/make_images.py

Needs PyTorch for `visualize flame`, takes about a minute, and writes to docs/images.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from nersemble_cli.core.synthetic import Recipe, make_benchmark, write_flame_model

HERE = Path(__file__).resolve().parent
LARGEST = 800  # pixels of a picture's longer side


def main() -> None:
    readme = (HERE.parent / "README.md").read_text("utf-8")
    commands = re.findall(r"^(?:\$ )?nersemble (visualize .*-o \S+\.png)\b", readme, re.MULTILINE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_benchmark(
            folder / "nersemble_benchmark",
            Recipe(n_points=200_000),
            participants={"nvs": [388], "mono": [393]},
            sequences=["GLASSES", "EXP-1-head"],
        )
        model = write_flame_model(folder / "flame")
        environment = {
            **os.environ,
            "NERSEMBLE_FLAME_MODEL": str(model),
            "NERSEMBLE_BENCHMARK_FOLDER": str(folder / "nersemble_benchmark"),
            "PYTHONPATH": str(HERE.parent),
        }
        for words in map(shlex.split, commands):
            subprocess.run(
                [sys.executable, "-m", "nersemble_cli", *words], cwd=folder, env=environment, check=True
            )
            picture = Image.open(folder / words[-1]).convert("RGB")
            picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            target = HERE / "images" / words[-1]
            picture.save(target, optimize=True)
            print(f"{target.relative_to(HERE.parent)}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

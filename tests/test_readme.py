"""The README's Python and shell lines, run as they stand there on made-up data."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from nersemble_cli import validate_submission
from nersemble_cli.cli.demo import VIDEO
from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.submission.writer import SubmissionIncompleteWarning
from nersemble_cli.core.synthetic import make_benchmark
from nersemble_cli.core.synthetic.server import serving
from tests import made_up
from tests.conftest import ROOT, Played, write_program
from tests.fault_server import FaultServer, benchmark_content

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text("utf-8")
SHELL = re.findall(r"^```shell\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [line for block in SHELL for line in block.splitlines()]
# Installing is for .ci/run, which does it in a fresh environment, and the demo for test_demo.py.
INSTALLS = ("pip install ", "apt-get install ")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@functools.cache
def frames_of(name: str) -> list[np.ndarray]:
    return made_up.head_frames(BENCHMARKS[name], made_up.RECIPE.n_frames)


def render(world_2_cam: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A stand-in for a user's method, with as many frames as the made-up benchmark has."""
    assert world_2_cam.shape == (4, 4) and intrinsics.shape == (3, 3)
    benchmark = made_up.NVS if size == (made_up.NVS.height, made_up.NVS.width) else made_up.MONO
    yield from frames_of(benchmark.name)


def reconstruct(*_: object) -> tuple[trimesh.Trimesh, np.ndarray]:
    mesh = trimesh.Trimesh(made_up.face_vertices(2000), made_up.face_triangles(2000), process=False)
    return mesh, made_up.now_landmarks()


@pytest.fixture
def everybody(tmp_path: Path) -> Path:
    """A made-up benchmark folder with all participants, but one video and one image of each."""
    return make_benchmark(
        tmp_path / "benchmark",
        made_up.RECIPE,
        participants={name: benchmark.participants for name, benchmark in BENCHMARKS.items()},
        serials=["222200042"],
        sequences=["GLASSES"],
        images_per_participant=1,
    )


def test_python_of_the_readme_runs(
    everybody: Path,
    flame_model: Path,
    drawing: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    with serving(everybody) as url:
        monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", url)
        _run_blocks({"folder": everybody, "render": render, "reconstruct": reconstruct})
    assert len(BLOCKS) >= 10
    assert not re.search(
        "^(error|warning) ", capsys.readouterr().out, re.MULTILINE
    )  # the submission that the README validates has no findings
    for name in ("nvs.zip", "mono.zip", "svfr.zip"):
        assert validate_submission(name, folder=everybody).findings == []


def _run_blocks(names: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # The made-up sequences are shorter than the writer knows them to be.
        warnings.simplefilter("ignore", SubmissionIncompleteWarning)
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"README.md, Python block {number + 1}", "exec"), names)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Everything that is downloaded in the README, with 21 point clouds of each sequence."""
    server = FaultServer()
    for benchmark in BENCHMARKS.values():
        server.served |= benchmark_content(benchmark)
    served = {name: data for name, data in server.served.items() if name.endswith("frame_00000.pcd")}
    server.served |= {name.replace("00000", f"{t:05d}"): data for name, data in served.items() for t in range(21)}
    sequences = {
        str(p): {"sequence_name": s, "timesteps": list(range(21))}
        for p, (s,) in made_up.NVS.test_sequences.items()
    }
    server.served["nvs/metadata.json"] = json.dumps({"sequences": sequences}).encode()
    yield server
    server.close()


def test_every_shell_line_of_the_readme_is_run() -> None:
    assert [line for line in LINES if not line.startswith(("nersemble ", *INSTALLS))] == []
    assert len(LINES) >= 10


def test_shell_lines_of_the_readme_run(server: FaultServer, played: Played, tmp_path: Path) -> None:
    """Downloads from a server with everything, the others in the folder of a demo."""
    demo, _ = played
    shutil.copytree(demo, tmp_path / "demo")
    (tmp_path / "demo" / VIDEO).rename(tmp_path / "demo" / Path(VIDEO).name)
    (tmp_path / "download").mkdir()
    program = write_program(tmp_path)
    environment = {
        **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "NERSEMBLE_BENCHMARK_URL": server.url,
        "NERSEMBLE_FLAME_MODEL": str(demo / "flame" / "flame2023.pkl"),
    }  # fmt: skip
    for line in LINES:
        if line.startswith(INSTALLS):
            continue
        place = tmp_path / ("download" if line.startswith("nersemble download") else "demo")
        done = subprocess.run(
            ["bash", "-c", f"{line}\nexit $?"], cwd=place, env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

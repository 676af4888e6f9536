"""What the README and the site say: their Python, their commands and the output that they show, run on made-up data."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import trimesh
import typer

from nersemble_cli import validate_submission
from nersemble_cli.cli.demo import VIDEO
from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.submission.writer import SubmissionIncompleteWarning
from nersemble_cli.core.synthetic.server import serving
from tests import made_up
from tests.conftest import ROOT, Played, write_program
from tests.fault_server import FaultServer, benchmark_content

sys.path.insert(0, str(ROOT / "docs"))

import generate
import make_output

pytestmark = pytest.mark.slow

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in DOCUMENTS}
# Installing is for .ci/run, which does it in a fresh environment, and the demo for test_demo.py.
INSTALLS = ("pip install ", "apt-get install ", "VIRTUAL_ENV=")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def with_blocks(language: str) -> list[str]:
    return [name for name, text in TEXTS.items() if blocks(language, text)]


def shell_lines(name: str) -> list[str]:
    return [line for block in blocks("shell", TEXTS[name]) for line in block.splitlines()]


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


@pytest.mark.parametrize("name", with_blocks("python"))
def test_python_runs(
    name: str, everybody: Path, flame_model: Path, drawing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    made_up.write_zip(Path("submission.zip"), made_up.nvs())
    with serving(everybody) as url, warnings.catch_warnings():
        monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", url)
        # The made-up sequences are shorter than the writer knows them to be.
        warnings.simplefilter("ignore", SubmissionIncompleteWarning)
        names: dict[str, Any] = {"folder": everybody, "render": render, "reconstruct": reconstruct}
        for number, block in enumerate(blocks("python", TEXTS[name])):
            exec(compile(block, f"{name}, Python block {number + 1}", "exec"), names)
    for task in BENCHMARKS:
        if Path(f"{task}.zip").is_file():
            assert [f.code for f in validate_submission(f"{task}.zip", folder=everybody).errors] == []


@pytest.mark.parametrize("name", with_blocks("py"))
def test_python_for_machines_that_are_not_here_compiles(name: str) -> None:
    """What needs several GPUs, a trainer or a large disk is marked `py`."""
    for block in blocks("py", TEXTS[name]):
        compile(block, name, "exec")


@pytest.mark.parametrize("name", list(TEXTS))
def test_python_imports_from_the_public_door_only(name: str) -> None:
    for block in [*blocks("python", TEXTS[name]), *blocks("py", TEXTS[name])]:
        assert not re.search(r"nersemble_cli\.\w", block)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """Everything that the documents download, with 21 point clouds of each sequence."""
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


@pytest.fixture(scope="module")
def workplace(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `demo` as a demo leaves it, a folder `download` that is empty, and the program in `bin`."""
    place = tmp_path_factory.mktemp("documents")
    shutil.copytree(played[0], place / "demo", copy_function=os.link)
    (place / "demo" / VIDEO).rename(place / "demo" / Path(VIDEO).name)
    (place / "download").mkdir()
    write_program(place)
    return place


@pytest.mark.parametrize("name", with_blocks("shell"))
def test_shell_lines_run(name: str, server: FaultServer, workplace: Path) -> None:
    """Downloads from a server with everything, the others in the folder of a demo."""
    environment = {
        **os.environ, "PATH": f"{workplace / 'bin'}:{os.environ['PATH']}", "NERSEMBLE_BENCHMARK_URL": server.url,
    }  # fmt: skip
    for line in shell_lines(name):
        if line.startswith(INSTALLS):
            continue
        assert line.startswith("nersemble "), f"{name} shows what no test runs: {line}"
        place = workplace / ("download" if line.startswith("nersemble download") else "demo")
        if line.startswith("nersemble view"):
            assert view(line, place, environment) == 130
            continue
        done = subprocess.run(
            ["bash", "-c", f"{line}\nexit $?"], cwd=place, env=environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {line}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", [name for name in with_blocks("shell") if name.startswith("docs/train-")])
def test_trainers_are_started_as_the_export_says(name: str, workplace: Path) -> None:
    for line in shell_lines(name):
        out = workplace / "demo" / line.split()[4]
        command = [str(workplace / "bin" / "nersemble"), *line.split()[1:]]
        subprocess.run(command, cwd=workplace / "demo", check=True, timeout=300, capture_output=True)
        readme = (out / "README.md").read_text("utf-8")
        for start in blocks("text", TEXTS[name]):
            shown = start.splitlines()[-1]
            assert re.sub(rf"(\.\./)*{out.name}\b", str(out.resolve()), shown) in readme


def view(line: str, place: Path, environment: dict[str, str]) -> int:
    """Runs the viewer until it has told its address, and ends it as a user does."""
    pytest.importorskip("viser")
    viewer = subprocess.Popen(
        ["bash", "-c", f"exec {line} --no-browser"], cwd=place, env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with viewer:
        assert viewer.stdout is not None
        assert any("http://" in row for row in viewer.stdout), f"{line} tells no address"
        viewer.send_signal(signal.SIGINT)
        try:
            viewer.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            viewer.kill()
            raise
    return viewer.returncode


@pytest.mark.parametrize("name", with_blocks("console"))
def test_output_that_is_shown_is_real(name: str, played: Played, drawing: None) -> None:
    printed = make_output.outputs(make_output.commands_of(TEXTS[name]), played[0])
    assert make_output.rewrite(TEXTS[name], printed) == TEXTS[name], "Run: python docs/make_output.py"


def test_documents_show_something_to_test() -> None:
    assert (
        len(with_blocks("python")) >= 4
        and len(with_blocks("shell")) >= 4
        and "README.md" in with_blocks("console")
    )


def test_an_undocumented_command_ends_the_build_of_the_site() -> None:
    def silent(wanted: bool = False) -> None:
        pass

    def documented(wanted: Annotated[bool, typer.Option(help="It is wanted.")] = False) -> None:
        """Do something."""

    for function, complaint in ((silent, "has no help"), (documented, "has no example")):
        app = typer.Typer(help="A program.", add_completion=False)
        app.command("one")(function)
        app.command("two", epilog="Example:\n\nprogram two")(documented)
        with pytest.raises(generate.Undocumented, match=f"program one {complaint}"):
            list(generate.describe(typer.main.get_command(app), "program", None))

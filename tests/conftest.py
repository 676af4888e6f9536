from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.made_up import write_metadata


@dataclass
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Result]
Played = tuple[Path, subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parent.parent
SETTINGS = ("NERSEMBLE_BENCHMARK_URL", "NERSEMBLE_BENCHMARK_FOLDER", "NERSEMBLE_FLAME_MODEL")


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home and working directory, no settings, no colour, no terminal width of this machine."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for name in (*SETTINGS, "NERSEMBLE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `nersemble` with the given arguments in this process."""
    from nersemble_cli.cli.app import main

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["nersemble", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Result(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark folder that knows of few frames."""
    return write_metadata(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up benchmark folder of all three tasks: two cameras, two point clouds, small pictures."""
    from nersemble_cli.core.synthetic import make_benchmark
    from tests.made_up import RECIPE

    return make_benchmark(
        tmp_path_factory.mktemp("synthetic"),
        RECIPE,
        serials=["222200042", "222200044"],
        sequences=["GLASSES", "EXP-1-head"],
        pointclouds=(0, 3),
    )


@pytest.fixture(scope="session")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up benchmark folder with all participants and trackings, but only the videos and images that the
    documents name."""
    from nersemble_cli.core.benchmarks import BENCHMARKS
    from nersemble_cli.core.synthetic import make_benchmark
    from tests.made_up import RECIPE

    return make_benchmark(
        tmp_path_factory.mktemp("everybody"),
        RECIPE,
        participants={name: benchmark.participants for name, benchmark in BENCHMARKS.items()},
        serials=["222200042", "222200037"],
        sequences=["GLASSES", "EXP-1-head"],
        images_per_participant=1,
    )


@pytest.fixture(scope="session")
def flame_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up FLAME model's file, its landmark embeddings beside it. Skips where there is no PyTorch to use it."""
    pytest.importorskip("torch")
    from nersemble_cli.core.synthetic import write_flame_model

    return write_flame_model(tmp_path_factory.mktemp("flame"))


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The folder of a demo, and how it went: a user with settings of his own, behind a proxy, in a narrow pipe."""
    home = tmp_path_factory.mktemp("home")
    config = home / ".config" / "nersemble_benchmark"
    config.mkdir(parents=True)
    (config / ".env").write_text('NERSEMBLE_BENCHMARK_URL = "https://real-s3cret.example"\n')
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | {
        "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "60", "PYTHONPATH": str(ROOT),
        "NERSEMBLE_BENCHMARK_FOLDER": str(home / "real"), "http_proxy": "http://127.0.0.1:9",
    }  # fmt: skip
    place = home / "my_demo"
    command = [sys.executable, "-m", "nersemble_cli", "demo", str(place)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=home
    )
    return place, done


def write_program(place: Path) -> Path:
    """A `nersemble` for shells, which is this checkout's."""
    program = place / "bin" / "nersemble"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -m nersemble_cli \"$@\"\n")
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def drawing() -> None:
    """For tests that draw: they need OpenGL, which .ci/run installs."""
    from nersemble_cli.core.scenes.display import find_surface

    if find_surface() == "nothing":
        missing("OpenGL is", "libgl1 libegl1")


def missing(what: str, packages: str) -> NoReturn:
    """Ends a test that cannot run here: skipped on a desk, failed in CI, where nobody would see that it is not run."""
    text = f"{what} not installed: apt-get install -y {packages}"
    pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)

"""The README's Python, run as it stands there on made-up data."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh

from nersemble_cli import validate_submission
from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.submission.writer import SubmissionIncompleteWarning
from nersemble_cli.core.synthetic import make_benchmark
from tests import made_up

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
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
    names = {"folder": everybody, "render": render, "reconstruct": reconstruct}
    with warnings.catch_warnings():
        # The made-up sequences are shorter than the writer knows them to be.
        warnings.simplefilter("ignore", SubmissionIncompleteWarning)
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"README.md, Python block {number + 1}", "exec"), names)
    assert len(BLOCKS) >= 8
    assert capsys.readouterr().out == ""  # the submission that the README validates has no findings
    for name in ("nvs.zip", "mono.zip", "svfr.zip"):
        assert validate_submission(name, folder=everybody).findings == []

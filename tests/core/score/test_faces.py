"""The exchange with visage's process. A package of the same name stands in for visage, whose weights no package
index has; `perf/score_faces.py` compares with the real one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.errors import NersembleError, UsageError
from nersemble_cli.core.score import faces
from nersemble_cli.core.score.document import VideoScore
from nersemble_cli.core.score.faces import Faces
from nersemble_cli.core.score.jobs import Request, pair_job
from nersemble_cli.core.score.plan import make_plan
from nersemble_cli.core.score.run import new_score, run
from tests.conftest import Run
from tests.core.score.test_run import write

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="visage needs torch")

KEY_POINTS = """
print("noise on stdout")
class KeypointEvaluator:
    def __call__(self, render, truth):
        import torch
        print("more of it")
        assert render.shape[:2] == truth.shape[:2] == (1, 3) and render.max() <= 1
        if truth.mean() > 0.99:
            return torch.tensor(-1), torch.tensor(-1)
        if truth.mean() < 0.01:
            raise RuntimeError("out of memory")
        return (render - truth).abs().mean() * 255, render[0, 0, 0, 1] * 255
"""
IDENTITY = """
class CSIMEvaluator:
    def __call__(self, render, truth):
        return render.mean()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with files where visage's weights belong, and a stand-in for visage on the path of modules."""
    package = tmp_path / "site" / "visage" / "evaluator"
    package.mkdir(parents=True)
    (package / "keypoint_evaluator.py").write_text(KEY_POINTS)
    (package / "csim_evaluator.py").write_text(IDENTITY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    for name in ("TORCH_HOME", "XDG_CACHE_HOME", faces.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for metric in ("akd", "csim"):
        for path in faces.weight_files(metric):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(path.name.encode())
    return tmp_path / "home"


@pytest.fixture
def visage(home: Path) -> Iterator[Faces]:
    with closing(Faces(Path(sys.executable), ("akd", "akd_face", "csim"))) as running:
        yield running


def grey(*levels: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [np.full((20, 30, 3), level, np.uint8) for level in levels]


@pytest.mark.slow
def test_values_come_from_visage_for_the_images_as_they_are(visage: Faces) -> None:
    render, truth = grey(110, 100)
    render[0, 1] = (7, 8, 9)
    found = visage(render, truth)
    assert found["akd"] == pytest.approx(np.abs(render.astype(float) - truth).mean(), rel=1e-4)
    assert found["akd_face"] == pytest.approx(7)  # the red channel is the first one
    assert found["csim"] == pytest.approx(render.mean() / 255)
    assert visage(*grey(100, 255))["akd"] is None
    assert visage.failed == {}
    assert "torch" in visage.versions


@pytest.mark.slow
def test_the_end_of_visage_is_told_with_its_reason(visage: Faces) -> None:
    with pytest.raises(NersembleError, match=r"ended with status 1: .*out of memory"):
        visage(*grey(0, 0))


@pytest.mark.slow
def test_only_what_is_broken_is_left_out(home: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "visage" / "evaluator" / "csim_evaluator.py").write_text("import insightfaceless")
    with closing(make_plan("akd,csim", visage_python=Path(sys.executable))) as plan:
        assert plan.metrics == ("akd",)
        assert plan.left_out == {"csim": "visage says: ModuleNotFoundError: No module named 'insightfaceless'"}
        assert "torch" in plan.conventions()["visage"]
        assert len(plan.conventions()["akd_weights_sha256"]) == 64


@pytest.mark.slow
def test_a_video_has_the_mean_over_frames_with_a_face(home: Path, tmp_path: Path) -> None:
    def score(name: str, renders: list[int], truths: list[int]) -> VideoScore:
        a, b = (
            write(tmp_path / f"{name}{i}", np.stack(grey(*levels))) for i, levels in enumerate((renders, truths))
        )
        with closing(make_plan("akd", visage_python=Path(sys.executable), cache=tmp_path / "cache")) as plan:
            result = new_score("pair", None, plan)
            run(result, [pair_job(a, b, Fraction(73), Request())], plan)
        return result.videos[0]

    video = score("some", [110, 104, 10], [100, 100, 255])
    assert video.summary()[0]["akd"] == pytest.approx(7, rel=1e-4)
    assert ["akd" in row for row in video.frames] == [True, True, False]
    assert "akd: 1 of 3 frames do not count" in video.notes[0]
    assert VideoScore.from_json(video.as_json()).as_json() == video.as_json()
    assert score("none", [10], [255]).summary()[0]["akd"] == -1
    # The second time, the values are known: a visage that cannot measure is not asked.
    module = tmp_path / "site" / "visage" / "evaluator" / "keypoint_evaluator.py"
    module.write_text("class KeypointEvaluator: pass")
    assert score("again", [110, 104, 10], [100, 100, 255]).summary()[0]["akd"] == pytest.approx(7, rel=1e-4)


@pytest.mark.parametrize(("metric", "n_sources"), [("akd", 3), ("akd_face", 3), ("csim", 1)])
def test_each_missing_file_is_named(home: Path, metric: str, n_sources: int) -> None:
    python = Path(sys.executable)
    assert faces.why_not(metric, python) is None
    for path in faces.weight_files(metric):
        path.unlink()
        assert str(path) in (faces.why_not(metric, python) or "")
    assert (faces.why_not(metric, python) or "").count("(from https://") == n_sources


def test_without_visage_the_way_to_it_is_named(run: Run, tmp_path: Path) -> None:
    result = run("score", "pair", tmp_path, tmp_path, "--metrics", "akd,csim")
    assert result.status == 2
    assert "--visage-python" in result.err
    result = run("score", "pair", tmp_path, tmp_path, "--metrics", "akd", "--visage-python", "nowhere")
    assert result.status == 2
    assert "nowhere" in result.err


def test_the_environment_names_the_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(faces.VARIABLE, sys.executable)
    assert faces.find_python() == Path(sys.executable).absolute()
    monkeypatch.setenv(faces.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=faces.VARIABLE):
        faces.find_python()

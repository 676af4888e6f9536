from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest

from nersemble_cli.core.score import jod
from nersemble_cli.core.score.document import VideoScore, dumps
from nersemble_cli.core.score.jobs import Request, pair_job
from nersemble_cli.core.score.plan import make_plan
from nersemble_cli.core.score.run import estimate_seconds, new_score, run, what_to_do
from tests.core.score.cases import CASES, Video
from tests.core.score.test_run import write

needs_pyfvvdp = pytest.mark.skipif(
    find_spec("pyfvvdp") is None or find_spec("torch") is None,
    reason="pyfvvdp is not installed: pip install 'nersemble-cli[score-jod]'",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Frames are so small that threads would only wait for each other."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def whole(render: Video, truth: Video, fps: float) -> float:
    """JOD as visage takes it, of videos that lie in memory."""
    metric = jod.make_metric(heatmap="threshold")
    value, _ = metric.predict(render, truth, dim_order="FHWC", frames_per_second=max(4.1, fps))
    return float(value.item())


@needs_pyfvvdp
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fps"),
    [("17 frames", 73.0), ("odd", 2.0), ("1 frames", 73.0)],
)
def test_streamed_is_the_whole_video_to_the_last_bit(name: str, fps: float) -> None:
    render, truth = CASES[name]()
    streamed = jod.measure_jod(zip(render, truth, strict=True), len(render), fps)
    assert streamed == whole(render, truth, fps)
    assert 0 < streamed < 10


@needs_pyfvvdp
@pytest.mark.slow
def test_frames_are_taken_one_at_a_time() -> None:
    render, truth = CASES["15 frames"]()
    taken: list[weakref.ref[Video]] = []
    alive: list[int] = []

    def pairs() -> Iterator[tuple[Video, Video]]:
        for a, b in zip(render, truth, strict=True):
            frame = a.copy()
            taken.append(weakref.ref(frame))
            alive.append(sum(ref() is not None for ref in taken))
            yield frame, b

    jod.measure_jod(pairs(), len(render), 73)
    assert len(alive) == len(render)
    assert max(alive) <= 3


@needs_pyfvvdp
@pytest.mark.slow
def test_identical_videos_have_ten() -> None:
    _, truth = CASES["too small for MS-SSIM"]()
    assert jod.measure_jod(zip(truth, truth, strict=True), len(truth), 73) == 10


def test_without_pyfvvdp_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jod, "find_spec", lambda name: None)
    reason = jod.why_not()
    assert reason is not None
    assert "score-jod" in reason
    assert "CC BY-NC 4.0" in reason


@needs_pyfvvdp
@pytest.mark.slow
def test_the_scorer_takes_every_tenth_frame_at_a_tenth_of_the_rate(tmp_path: Path) -> None:
    render, truth = CASES["33 frames"]()
    a, b = write(tmp_path / "a", render), write(tmp_path / "b", truth)

    def score(timesteps: str) -> VideoScore:
        plan = make_plan("jod", cache=tmp_path / "cache")
        result = new_score("pair", None, plan)
        run(result, [pair_job(a, b, Fraction(73), Request(timesteps=timesteps))], plan)
        return result.videos[0]

    assert not score("::4").incomplete
    assert score("::4").whole["jod"] == whole(render[::4], truth[::4], 73 / 4)
    uneven = score("0,5,6")
    assert "jod" not in uneven.whole
    assert "not evenly spaced" in uneven.notes[0]


@needs_pyfvvdp
@pytest.mark.slow
def test_a_known_jod_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render, truth = CASES["1 frames"]()
    job = pair_job(write(tmp_path / "a", render), write(tmp_path / "b", truth), Fraction(73), Request())
    plan = make_plan("psnr,jod", cache=tmp_path / "cache")
    assert plan.conventions()["versions"]["pyfvvdp"]
    (todo,) = what_to_do([job], plan)
    assert (todo.num_frames, todo.num_jod_frames) == (1, 1)
    assert estimate_seconds([todo], plan) > 0
    first, second = new_score("pair", None, plan), new_score("pair", None, plan)
    run(first, [job], plan)
    monkeypatch.setattr("nersemble_cli.core.score.run.measure_jod", None)
    run(second, [job], plan)
    assert dumps(second.as_json()) == dumps(first.as_json())
    assert first.mean()["jod"] == whole(render, truth, 73)
    assert what_to_do([job], plan)[0].num_jod_frames == 0

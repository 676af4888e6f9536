from __future__ import annotations

import weakref
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from nersemble_cli.core.score import jod
from tests.core.score.cases import CASES, Video

needs_pyfvvdp = pytest.mark.skipif(
    find_spec("pyfvvdp") is None or find_spec("torch") is None,
    reason="pyfvvdp is not installed: pip install 'nersemble-cli[score-jod]'",
)


def whole(render: Video, truth: Video, fps: float) -> float:
    """JOD as visage takes it, of videos that lie in memory."""
    metric = jod.make_metric(heatmap="threshold")
    value, _ = metric.predict(render, truth, dim_order="FHWC", frames_per_second=max(4.1, fps))
    return float(value.item())


@needs_pyfvvdp
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fps"),
    [("33 frames", 73.0), ("17 frames", 24.3), ("16 frames", 2.0), ("1 frames", 73.0), ("odd", 73.0)],
)
def test_streamed_is_the_whole_video_to_the_last_bit(name: str, fps: float) -> None:
    render, truth = CASES[name]()
    streamed = jod.measure_jod(zip(render, truth, strict=True), len(render), fps)
    assert streamed == whole(render, truth, fps)
    assert 0 < streamed < 10


@needs_pyfvvdp
@pytest.mark.slow
def test_frames_are_taken_one_at_a_time() -> None:
    render, truth = CASES["33 frames"]()
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
    _, truth = CASES["15 frames"]()
    assert jod.measure_jod(zip(truth, truth, strict=True), len(truth), 73) == 10


def test_without_pyfvvdp_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jod, "find_spec", lambda name: None)
    reason = jod.why_not()
    assert reason is not None
    assert "score-jod" in reason
    assert "CC BY-NC 4.0" in reason

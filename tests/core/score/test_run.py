from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.score import run as running
from nersemble_cli.core.score.document import Score, VideoScore, dumps, load, merge, to_csv
from nersemble_cli.core.score.jobs import Request, choose_timesteps, pair_job
from nersemble_cli.core.score.metrics import image_metrics, summarise
from nersemble_cli.core.score.plan import make_plan
from nersemble_cli.core.score.run import new_score, run
from nersemble_cli.core.score.sources import frames
from nersemble_cli.core.video.encode import encode_video
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import VideoReader
from nersemble_cli.core.video.roundtrip import through_codec
from tests.core.score.cases import Video

N, HEIGHT, WIDTH = 21, 192, 176


@pytest.fixture(scope="module")
def truth() -> Video:
    """A disc that moves two pixels a frame."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    frames = [np.hypot(x - 50 - 3 * t, y - 90) < 30 for t in range(N)]
    shade = 80 + 40 * np.sin(x / 9)[None, ..., None] * np.ones((N, 1, 1, 3))
    return np.where(np.stack(frames)[..., None], shade, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def render(truth: Video) -> Video:
    noise = np.random.default_rng(1).normal(scale=6, size=truth.shape)
    return (truth + noise).round().clip(0, 255).astype(np.uint8)


def write(folder: Path, video: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True)
    for t, frame in enumerate(video):
        (folder / f"{t:05d}.png").write_bytes(encode_png(frame))
    return folder


def score_pair(a: Path, b: Path, request: Request | None = None, cache: Path | None = None) -> Score:
    plan = make_plan("psnr,ssim,ms_ssim,mse", cache=cache, workers=2)
    score = new_score("pair", None, plan)
    run(score, [pair_job(a, b, Fraction(73), request or Request())], plan)
    return score


def test_a_video_scores_what_its_frames_do(tmp_path: Path, render: Video, truth: Video) -> None:
    a, b = write(tmp_path / "a", render), write(tmp_path / "b", truth)
    (video,) = score_pair(a, b).videos
    rows = [image_metrics(x, y, ["psnr", "ssim", "ms_ssim"]) for x, y in zip(render, truth, strict=True)]
    assert [row["timestep"] for row in video.frames] == list(range(N))
    assert [row["ssim"] for row in video.frames] == [row["ssim"] for row in rows]
    assert video.summary()[0] == pytest.approx(summarise(rows)[0])
    assert video.notes == []


@pytest.mark.slow
def test_a_render_goes_through_the_codec_as_pack_sends_it(tmp_path: Path, render: Video, truth: Video) -> None:
    a, b = write(tmp_path / "a", render), write(tmp_path / "b", truth)
    encode_video(iter(render), tmp_path / "packed.mp4", WIDTH, HEIGHT, Fraction(73))
    (through,) = score_pair(a, b, Request(crf=14)).videos
    (packed,) = score_pair(tmp_path / "packed.mp4", b).videos
    (raw,) = score_pair(a, b).videos
    assert through.frames == packed.frames
    assert through.frames != raw.frames
    assert (through.codec, packed.codec, raw.codec) == ("h264, CRF 14", "as it was encoded", "lossless")


@pytest.mark.slow
def test_frames_through_the_codec_are_those_of_the_file(tmp_path: Path, render: Video) -> None:
    encode_video(iter(render), tmp_path / "video.mp4", WIDTH, HEIGHT, Fraction(73))
    reader = VideoReader(tmp_path / "video.mp4")
    streamed = [to_rgb(frame) for frame in through_codec(iter(render), WIDTH, HEIGHT, Fraction(73))]
    assert len(streamed) == N
    for t, frame in enumerate(streamed):
        np.testing.assert_array_equal(frame, reader.rgb(t))


@pytest.mark.slow
def test_an_abandoned_codec_and_a_failing_source_end(render: Video) -> None:
    streamed = through_codec(iter(render), WIDTH, HEIGHT, Fraction(73))
    next(streamed)
    streamed.close()

    def failing() -> object:
        yield render[0]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(through_codec(failing(), WIDTH, HEIGHT, Fraction(73)))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_a_shift_in_time_is_noted(tmp_path: Path, truth: Video, shift: int) -> None:
    shifted = np.roll(truth, -shift, axis=0)
    (video,) = score_pair(write(tmp_path / "a", shifted), write(tmp_path / "b", truth)).videos
    (note,) = video.notes
    assert f"frame t{shift:+d}" in note


def test_nothing_is_said_of_time_where_nothing_moves(tmp_path: Path, render: Video, truth: Video) -> None:
    still = np.repeat(truth[:1], N, axis=0)
    noisy = (still + (render.astype(int) - truth)).clip(0, 255).astype(np.uint8)
    (video,) = score_pair(write(tmp_path / "a", noisy), write(tmp_path / "b", still)).videos
    assert video.notes == []


def test_frames_without_truth_do_not_count(tmp_path: Path, render: Video, truth: Video) -> None:
    marked = truth.copy()
    marked[3], marked[4, :50], marked[4, 50:] = 0, 128, 0
    (video,) = score_pair(write(tmp_path / "a", render), write(tmp_path / "b", marked)).videos
    assert video.num_dropped == 2
    assert [row["timestep"] for row in video.frames] == [t for t in range(N) if t not in (3, 4)]


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_a_changed_frame_does(
    tmp_path: Path, render: Video, truth: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, cache = write(tmp_path / "a", render), write(tmp_path / "b", truth), tmp_path / "cache"
    first = score_pair(a, b, cache=cache)
    computed = []
    compute = running.compute

    def counting(frame: object, *rest: object) -> object:
        computed.append(frame)
        return compute(frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "compute", counting)
    second = score_pair(a.rename(tmp_path / "moved"), b, Request(timesteps="0-5"), cache)
    assert computed == []
    assert second.videos[0].frames == first.videos[0].frames[:6]
    (tmp_path / "moved" / "00002.png").write_bytes(encode_png(truth[2]))
    third = score_pair(tmp_path / "moved", b, cache=cache)
    assert len(computed) == N
    assert third.videos[0].frames[2]["mse"] == 0
    for path in cache.iterdir():
        path.write_text("{")
    assert score_pair(tmp_path / "moved", b, cache=cache).videos[0].frames == third.videos[0].frames


def test_identical_frames_have_no_finite_psnr_and_survive_json(tmp_path: Path, truth: Video) -> None:
    a, b = write(tmp_path / "a", truth[:3]), write(tmp_path / "b", truth[:3])
    score = score_pair(a, b)
    document = json.loads(dumps(score.as_json()))
    (video,) = document["videos"]
    assert video["metrics"]["psnr"] is None
    assert video["identical"] is True
    frame = video["frames"][0]
    assert (frame["psnr"], frame["identical"], frame["mse"]) == (None, True, 0)
    assert frame["ssim"] == pytest.approx(1)
    (tmp_path / "score.json").write_text(dumps(score.as_json()))
    assert dumps(load(tmp_path / "score.json").as_json()) == dumps(score.as_json())


def test_an_interrupt_leaves_what_is_done(
    tmp_path: Path, render: Video, truth: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = pair_job(write(tmp_path / "a", render), write(tmp_path / "b", truth), Fraction(73), Request())
    plan = make_plan("psnr", workers=1, cache=tmp_path / "cache")
    score = new_score("pair", None, plan)
    compute = running.compute

    def stop_at_ten(frame: object, *rest: object) -> object:
        if frame.timestep == 10:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return compute(frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "compute", stop_at_ten)
    with pytest.raises(KeyboardInterrupt):
        run(score, [job], plan)
    (video,) = score.videos
    assert video.incomplete
    assert score.incomplete
    assert [row["timestep"] for row in video.frames] == list(range(10))
    assert json.loads(dumps(score.as_json()))["incomplete"] is True


def test_only_wanted_frames_are_read(tmp_path: Path, render: Video, truth: Video) -> None:
    job = pair_job(
        write(tmp_path / "a", render), write(tmp_path / "b", truth), Fraction(73), Request(timesteps="2,7-9")
    )
    read = list(frames(job, job.timesteps))
    assert [frame.timestep for frame in read] == [2, 7, 8, 9]
    np.testing.assert_array_equal(read[1].render, render[7])
    np.testing.assert_array_equal(read[1].truth, truth[7])


def test_timesteps_are_chosen_as_written() -> None:
    assert choose_timesteps("all", 4, "a") == (0, 1, 2, 3)
    assert choose_timesteps("::3", 8, "a") == (0, 3, 6)
    assert choose_timesteps("5,0-1,99", 8, "a") == (0, 1, 5)
    for text in ("::0", "::x", "99", "a"):
        with pytest.raises(UsageError):
            choose_timesteps(text, 8, "a")


def video_score(path: str, *values: float) -> VideoScore:
    rows = [{"timestep": t, "mse": value, "ssim": 1 - value} for t, value in enumerate(values)]
    return VideoScore(path, "lossless", 73.0, rows)


def test_parts_are_merged_to_the_same_bytes(tmp_path: Path) -> None:
    videos = [video_score(f"388/GLASSES/cam_{n}", 0.1 * n, 0.3) for n in range(5)]
    whole = Score("nvs", 14, {"batch": 16}, videos, {}, {"lpips": "no"})
    parts = []
    for i in (2, 1):
        part = Score("nvs", 14, {"batch": 16}, videos[i - 1 :: 2], {}, {"lpips": "no"}, part=(i, 2))
        path = tmp_path / f"{i}.json"
        path.write_text(dumps(part.as_json()))
        parts.append(load(path))
    assert dumps(merge(parts).as_json()) == dumps(whole.as_json())
    with pytest.raises(UsageError, match="2/2"):
        merge(parts[:1])
    parts[0].conventions = {"batch": 8}
    with pytest.raises(UsageError, match="differ in conventions"):
        merge(parts)


def test_the_mean_is_over_videos_not_over_frames() -> None:
    score = Score("nvs", 14, {}, [video_score("a", 0.1), video_score("b", 0.2, 0.2, 0.2)])
    assert score.mean()["mse"] == pytest.approx(0.15)


def test_the_table_of_frames_has_a_line_each() -> None:
    lines = to_csv([video_score("a", 0.25, 0.5)]).splitlines()
    assert lines == [
        "path,timestep,mse,psnr,ssim,ssim_cropped,ms_ssim,lpips,akd,akd_face,csim",
        "a,0,0.25,,0.75,,,,,,",
        "a,1,0.5,,0.5,,,,,,",
    ]


def test_what_is_hidden_is_not_among_what_can_be_scored() -> None:
    from nersemble_cli.core.score.jobs import RECOMMENDED, training_slots

    serials = {slot.serial for slot in training_slots(NVS)}
    assert not serials & set(NVS.hold_out_serials)
    assert set(RECOMMENDED["nvs"]) <= serials

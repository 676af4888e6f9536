"""Whole submissions through `validate`, compared with the training views."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import NVS, VideoSlot
from nersemble_cli.core.submission.compare.signals import VideoSignals
from nersemble_cli.core.submission.compare.videos import VideoComparison, find_copies
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.synthetic.benchmark import Recipe, make_benchmark, render_view
from nersemble_cli.core.video.encode import encode_video
from nersemble_cli.core.video.pixels import convert, to_rgb
from tests.conftest import Run
from tests.made_up import write_zip

PARTICIPANT, SEQUENCE = 475, "HAIR"
N_FRAMES = 26
RECIPE = Recipe(n_frames=N_FRAMES, scale=0.1, n_points=100)
# The six cameras around two of the hold-out ones.
TRAIN = ("222200044", "222200040", "220700191", "222200041", "222200038", "222200047")
LEFT, CENTER = "222200046", "222200037"


def slot(serial: str) -> VideoSlot:
    return VideoSlot(PARTICIPANT, SEQUENCE, serial)


def large(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return to_rgb(av.VideoFrame.from_ndarray(image, format="rgb24"), size=(NVS.width, NVS.height))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(
        tmp_path_factory.mktemp("benchmark"), RECIPE, {"nvs": [PARTICIPANT]}, serials=TRAIN, pointclouds=()
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """What the two cameras see, and what the left one sees three timesteps early."""
    folder = tmp_path_factory.mktemp("videos")

    def encode(serial: str, ahead: int = 0) -> bytes:
        timesteps = [min(t + ahead, N_FRAMES - 1) for t in range(N_FRAMES)]
        frames = (large(render_view(NVS, PARTICIPANT, SEQUENCE, t, serial, RECIPE)[0]) for t in timesteps)
        path = folder / f"{serial}_{ahead}.mp4"
        encode_video(frames, path, NVS.width, NVS.height, NVS.fps)
        return path.read_bytes()

    return {"left": encode(LEFT), "center": encode(CENTER), "early": encode(LEFT, 3)}


Validate = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def validate(videos: Mapping[str, bytes], folder: Path, tmp_path: Path, run: Run) -> Validate:
    """Validates a zip of two of `videos`, for the left and the centre camera, and returns the JSON."""

    def validate(left: str, center: str) -> dict[str, Any]:
        path = tmp_path / "submission.zip"
        write_zip(path, {slot(LEFT).path: videos[left], slot(CENTER).path: videos[center]})
        result = run("validate", path, "--benchmark", "nvs", "-f", folder, "--json")
        report: dict[str, Any] = json.loads(result.out)
        return report

    return validate


def codes(report: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [
        (finding["code"], finding["path"], finding["actual"])
        for finding in report["findings"]
        if finding["code"] != "missing_file"
    ]


@pytest.mark.slow
def test_right_videos_have_no_finding(validate: Validate, folder: Path) -> None:
    report = validate("left", "center")
    assert (codes(report), report["compared"]) == ([], "partly")
    assert [path.name for path in (folder / ".nersemble" / "compare").iterdir()] == ["nvs_475_HAIR.npz"]


@pytest.mark.slow
def test_swapped_cameras_are_named(validate: Validate) -> None:
    report = validate("center", "left")
    assert sorted(codes(report)) == [
        ("wrong_camera", slot(CENTER).path, LEFT),
        ("wrong_camera", slot(LEFT).path, CENTER),
    ]
    evidence = next(f["evidence"] for f in report["findings"] if f["code"] == "wrong_camera")
    assert evidence["better"] > evidence["own"] + 0.25


@pytest.mark.slow
def test_a_video_that_starts_late_is_told_by_how_much(validate: Validate) -> None:
    assert codes(validate("early", "center")) == [("time_shift", slot(LEFT).path, 3)]


def signals(cells: NDArray[np.float32]) -> VideoSignals:
    return VideoSignals(cells, (), np.zeros((0, 2, 2, 3), np.uint8))


def test_equal_videos_are_an_error_and_copies_in_another_encoding_a_warning() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(20, 230, (2, 12, 384)).astype(np.float32)
    encoded_again = a + rng.normal(0, 0.05, a.shape).astype(np.float32)
    slots = [slot(serial) for serial in NVS.submission_serials]

    def found(*cells: NDArray[np.float32]) -> list[tuple[str, str, str]]:
        findings = find_copies(dict(zip(slots, map(signals, cells), strict=True)))
        return [(finding.path or "", finding.actual, finding.severity) for finding in findings]

    assert found(a, b, a[:11]) == []
    assert found(a, b, a) == [(slots[2].path, slots[0].path, "error")]
    assert found(a, encoded_again, b) == [(slots[1].path, slots[0].path, "warning")]


def grey(height: int, width: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.full((height, width, 3), 200, np.uint8), format="rgb24")
    return convert(picture, "yuv420p")


def report_on(folder: Path | None, lengths: Mapping[VideoSlot, int], size: tuple[int, int] = (160, 110)) -> Report:
    """The report on grey videos of so many frames, of that height and width."""
    comparison = VideoComparison(NVS, folder)
    for place, n in lengths.items():
        observe = comparison.observer(place)
        for t in range(n):
            observe(t, grey(*size))
    report = Report("", "nvs", "full")
    comparison.finish(report)
    return report


@pytest.mark.slow
def test_what_is_not_compared_is_named_with_the_reason(folder: Path) -> None:
    others = [place for place in NVS.slots if place.participant == 388][:2]
    report = report_on(folder, {slot(LEFT): 8, slot(CENTER): 3, **dict.fromkeys(others, 8)})
    assert report.compared == "partly"
    lack, short = sorted(report.notes)
    assert lack.startswith(f"Not compared with the training data: 388/GLASSES, as {folder} lacks the calibration.")
    assert "-p 388 -a" in lack
    assert short.startswith(f"Not compared with the training data: {slot(CENTER).path} have fewer than 8 frames")


def test_alpha_maps_that_enclose_nothing_are_told(tmp_path: Path) -> None:
    recipe = Recipe(n_frames=8, scale=0.05, n_points=100)
    folder = make_benchmark(tmp_path, recipe, {"nvs": [PARTICIPANT]}, serials=TRAIN, pointclouds=())
    for path in folder.rglob("alpha_maps/*.mp4"):
        height, width = recipe.size(NVS)
        encode_video([np.zeros((height, width, 3), np.uint8)] * 8, path, width, height, NVS.fps)
    report = report_on(folder, {slot(LEFT): 8})
    assert (report.compared, report.findings) == ("skipped", [])
    (note,) = report.notes
    assert "The alpha maps of 475/HAIR enclose nothing" in note


def test_a_video_too_small_to_show_anything_is_not_compared(recwarn: pytest.WarningsRecorder) -> None:
    report = report_on(None, {slot(LEFT): 8}, size=(16, 16))
    assert (report.findings, list(recwarn)) == ([], [])


def test_without_data_the_report_says_once_what_to_download(tmp_path: Path) -> None:
    report = report_on(tmp_path, dict.fromkeys(NVS.slots[:2], 8))
    assert report.compared == "skipped"
    (note,) = report.notes
    assert f"nersemble download nvs -f {tmp_path} -p 388 -a calibration -a images -a alpha_maps" in note


def test_damaged_data_is_told_and_stops_nothing(tmp_path: Path) -> None:
    for serial in NVS.train_serials:
        for kind in ("images", "alpha_maps"):
            path = tmp_path / "nvs" / "475" / "sequences" / "HAIR" / kind / f"cam_{serial}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no video")
    path = tmp_path / "nvs" / "475" / "calibration" / "camera_params.json"
    path.parent.mkdir()
    path.write_text("{}")
    report = report_on(tmp_path, {slot(LEFT): 0})
    assert (report.compared, report.findings) == ("skipped", [])
    (note,) = report.notes
    assert note.startswith("Not compared with the training data: ")
    assert "no video" not in note
    assert "\n" not in note

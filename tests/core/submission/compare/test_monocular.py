"""Mono's videos compared with the tracking, on made-up people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MONO, VideoSlot
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.flame.tracking import euler_xyz_to_matrix
from nersemble_cli.core.submission.compare import head, monocular
from nersemble_cli.core.submission.compare.matching import Framing, shifted
from nersemble_cli.core.submission.compare.reference import Place
from nersemble_cli.core.submission.compare.videos import VideoComparison
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.synthetic.benchmark import Recipe, make_benchmark, make_tracking, render_view
from nersemble_cli.core.synthetic.head import write_flame_model
from nersemble_cli.core.video.pixels import convert

N_FRAMES = 48
RECIPE = Recipe(n_frames=N_FRAMES, scale=0.25)
PARTICIPANT, SEQUENCE, OTHER = 393, "FREE", "EMO-1-shout+laugh"
LEFT, CENTER, RIGHT = "222200046", "222200037", "222200039"

Frames = Sequence[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    people = {"mono": [PARTICIPANT, 404]}
    return make_benchmark(folder, RECIPE, people, sequences=("EXP-1-head", "EXP-5-mouth"))


@pytest.fixture(autouse=True)
def no_flame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(tmp_path / "flame2023.pkl"))


def seen(serial: str, participant: int = PARTICIPANT, sequence: str = SEQUENCE) -> Frames:
    return [render_view(MONO, participant, sequence, t, serial, RECIPE)[0] for t in range(N_FRAMES)]


def findings(folder: Path | None, videos: dict[str, Frames]) -> Report:
    """The report on videos of SEQUENCE, by serial."""
    comparison = VideoComparison(MONO, folder)
    for serial, frames in videos.items():
        observe = comparison.observer(VideoSlot(PARTICIPANT, SEQUENCE, serial))
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            observe(t, convert(picture, "yuv420p"))
    report = Report("", MONO.name, "full")
    comparison.finish(report)
    return report


def codes(folder: Path | None, videos: dict[str, Frames]) -> list[str]:
    return [finding.code for finding in findings(folder, videos).findings]


def enlarged(frames: Frames, scale: float) -> Frames:
    return list(shifted(np.stack(frames).astype(np.float32), Framing(scale, 0, 0)).round().astype(np.uint8))


@pytest.mark.slow
def test_what_the_cameras_see_is_right(folder: Path) -> None:
    report = findings(folder, {serial: seen(serial) for serial in MONO.submission_serials})
    assert report.findings == []
    assert report.compared == "partly"  # four of the 80 videos are there


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: {LEFT: seen(RIGHT)}, "wrong_camera"),
        (lambda: {CENTER: seen(CENTER, 404)}, "wrong_participant"),
        (lambda: {CENTER: seen(CENTER, sequence=OTHER)}, "wrong_sequence"),
        (lambda: {LEFT: [f[:, ::-1] for f in seen(LEFT)]}, "mirrored_video"),
        (lambda: {LEFT: [f[::-1] for f in seen(LEFT)]}, "rotated_render"),
        (lambda: {LEFT: [f[..., ::-1] for f in seen(LEFT)]}, "swapped_channels"),
        (lambda: {LEFT: enlarged(seen(LEFT), 1.25)}, "wrong_framing"),
        (lambda: {CENTER: seen(CENTER)[::-1]}, "reversed_video"),
        (lambda: {CENTER: [*seen(CENTER)[2:], *seen(CENTER)[-1:] * 2]}, "time_shift"),
        (lambda: {CENTER: [np.full_like(f, 255) for f in seen(CENTER)]}, "missing_subject"),
    ],
    ids=["camera", "participant", "sequence", "mirrored", "upside down", "BGR", "cropped", "reversed", "early", "absent"],
)  # fmt: skip
def test_a_mistake_is_named(folder: Path, make: Callable[[], dict[str, Frames]], code: str) -> None:
    assert codes(folder, make()) == [code]


def test_without_the_tracking_it_says_what_to_fetch(tmp_path: Path) -> None:
    report = findings(tmp_path, {CENTER: [np.full((128, 128, 3), t, np.uint8) for t in range(10)]})
    assert report.compared == "skipped"
    assert report.notes == [
        f"Not compared with the training data: 393/FREE, as {tmp_path} lacks the calibration. Fetch it with: nersemble"
        f" download mono -f {tmp_path} -p 393 -a calibration -a images -a alpha_maps -a flame2023_tracking_v2"
    ]


@pytest.mark.slow
def test_a_damaged_tracking_costs_its_sequence_only(tmp_path: Path) -> None:
    folder = make_benchmark(
        tmp_path, Recipe(n_frames=10, scale=0.25), {"mono": [PARTICIPANT]}, sequences=("EXP-1-head",)
    )
    place = Place(folder, MONO, PARTICIPANT, SEQUENCE)
    place.path(monocular.TRACKING).write_bytes(b"PK damaged")
    report = findings(folder, {CENTER: [np.full((128, 128, 3), t, np.uint8) for t in range(10)]})
    assert report.compared == "skipped"
    assert [note.partition(":")[0] for note in report.notes] == ["Not compared with the training data"]


@pytest.mark.slow
def test_a_training_video_shorter_than_its_tracking_is_told(tmp_path: Path) -> None:
    recipe, sequences = Recipe(n_frames=10, scale=0.25), ("EXP-1-head",)
    folder = make_benchmark(tmp_path, recipe, {"mono": [PARTICIPANT]}, sequences=sequences)
    short = make_benchmark(
        tmp_path / "short", Recipe(n_frames=3, scale=0.25), {"mono": [PARTICIPANT]}, sequences=sequences
    )
    path = Place(folder, MONO, PARTICIPANT, sequences[0]).path("images", CENTER)
    path.write_bytes(Place(short, MONO, PARTICIPANT, sequences[0]).path("images", CENTER).read_bytes())
    report = findings(folder, {CENTER: [np.full((128, 128, 3), t, np.uint8) for t in range(10)]})
    assert report.compared == "skipped"
    assert any("has fewer frames than its tracking" in note for note in report.notes)


@pytest.mark.slow
def test_the_users_flame_is_the_surface(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    assert head.find_surfaces() == head.ELLIPSOIDS
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(write_flame_model(tmp_path)))
    (surface,) = head.find_surfaces()
    assert surface.name == "FLAME"
    assert head.find_surfaces() == (surface,)
    (points,) = surface.points(make_tracking(PARTICIPANT, SEQUENCE, 3), [1])
    assert points.places.shape == points.normals.shape == (5023, 3)
    assert codes(folder, {LEFT: seen(LEFT), RIGHT: seen(RIGHT)}) == []
    assert codes(folder, {LEFT: seen(RIGHT)}) == ["wrong_camera"]


def test_moments_differ_most_from_each_other() -> None:
    angles = np.zeros((60, 3))
    angles[:, 1] = np.linspace(-0.6, 0.6, 60)
    turns = euler_xyz_to_matrix(angles)
    chosen = monocular.choose_moments([turns[:30], turns[30:]], 3)
    assert set(chosen[1:]) == {(0, 0), (1, 29)}
    assert chosen[0] in {(0, 29), (1, 0)}
    assert len(monocular.choose_moments([turns[:2]], 12)) == 2
    with pytest.raises(InvalidInputError):
        monocular.choose_moments([turns[:0]], 12)


def test_the_ellipsoid_moves_with_the_head() -> None:
    tracking = make_tracking(PARTICIPANT, SEQUENCE, 5)
    (first, last) = head.ELLIPSOIDS[0].points(tracking, [0, 4])
    pose = head.head_to_world(tracking)
    back = [(p.places - pose[t][:3, 3]) @ np.linalg.inv(pose[t][:3, :3]).T for p, t in ((first, 0), (last, 4))]
    np.testing.assert_allclose(back[0], back[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(first.normals, axis=1), 1, atol=1e-5)
    outward = ((first.places - first.places.mean(0)) * first.normals).sum(1)
    assert (outward > 0).all()

from __future__ import annotations

from pathlib import Path

import pytest

from nersemble_cli.core.benchmarks import MONO, NVS, VideoSlot
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.submission.frame_counts import FrameCounts
from nersemble_cli.core.submission.renders import scan
from tests import made_up

SLOT = VideoSlot(388, "GLASSES", "222200037")
COUNTS = FrameCounts({}, {}, ())
PICTURE = made_up.png(made_up.head_frame(MONO, 0))


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    return folder


@pytest.mark.parametrize(
    "layout",
    [
        "388/GLASSES/cam_222200037/{}.png",
        "388_GLASSES/cam_222200037/{}.png",
        "388/cam_222200037/{}.png",
        "388/sequences/GLASSES/images/cam_222200037/{}.png",
        "388/GLASSES/cam_222200037/rgb/{}.png",
        "388/GLASSES/frame_{}/cam_222200037.png",
        "388/GLASSES/{}/222200037.png",
        "388/GLASSES/{}_222200037.png",
        "388/GLASSES/frame_{}_cam_222200037.png",
        "388/GLASSES/222200037_{}.png",
        "GLASSES/cam_222200037/{}.png",
        "388-GLASSES-222200037-{}.png",
        "results/run7/388/GLASSES/cam_222200037/{}.png",
        "renders/test/ours_30000/388/GLASSES/cam_222200037/{}.png",
        "388/GLASSES/test/ours_30000/renders/222200037/{}.png",
        "388/GLASSES/222200037/{}.PNG",
        "GLASSES/388/camera222200037/frame-{}.png",
        "p388 GLASSES/222200037/Bild ä {}.png",
    ],
)
def test_layout_is_recognized(layout: str, tmp_path: Path) -> None:
    names = [layout.format(f"{t:05d}") for t in (9, 10, 11)]
    (video,) = scan(NVS, write(tmp_path, *reversed(names)), COUNTS).videos
    assert video.slot == SLOT
    assert video.frames == tuple(tmp_path / name for name in names)


@pytest.mark.parametrize("number", [0, 388])
def test_frame_with_the_number_of_a_participant_is_a_frame(number: int, tmp_path: Path) -> None:
    names = [f"388/GLASSES/frame_{t:05d}/cam_222200037.png" for t in (number, number + 1)]
    (video,) = scan(NVS, write(tmp_path, *names), COUNTS).videos
    assert [path.parent.name for path in video.frames] == [f"frame_{number:05d}", f"frame_{number + 1:05d}"]


def test_recognized_layout_is_noted(tmp_path: Path) -> None:
    report = scan(NVS, write(tmp_path, "388_GLASSES/cam_222200037/0.png"), COUNTS).report
    assert any("{participant}_{sequence}/cam_{serial}/{frame}.png" in note for note in report.notes)


def test_layout_with_two_readings_is_refused_with_patterns(tmp_path: Path) -> None:
    write(tmp_path, "388/GLASSES/cam_222200037/rgb/0.png", "388/GLASSES/cam_222200037/depth/0.png")
    with pytest.raises(UsageError) as error:
        scan(NVS, tmp_path, COUNTS)
    assert "--pattern '{participant}/{sequence}/cam_{serial}/rgb/{frame}.png'" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{participant}/{sequence}/{frame}_{serial}.png", "388/GLASSES/00000_222200037.png"),
        ("out/{participant}/{serial}/{frame}_*.png", "out/388/222200037/00000_08.png"),
        ("**/{sequence}_{serial}/f{frame}.png", "a/b/GLASSES_cam_222200037/f-1.png"),
    ],
)
def test_pattern_reads_any_layout(pattern: str, name: str, tmp_path: Path) -> None:
    (video,) = scan(NVS, write(tmp_path, name, "other/1.png"), COUNTS, pattern=pattern).videos
    assert (video.slot, video.frames) == (SLOT, (tmp_path / name,))


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{person}/{serial}/{frame}.png", "Unknown field {person}"),
        ("{participant}/{frame}.png", "has no {serial}"),
        ("{participant/{serial}.png", "without its other half"),
        ("x/{participant}/{serial}/{frame}.png", "No file in"),
    ],
)
def test_wrong_pattern_says_what_is_wrong(pattern: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, "388/GLASSES/cam_222200037/0.png")
    with pytest.raises(UsageError) as error:
        scan(NVS, tmp_path, COUNTS, pattern=pattern)
    assert says in error.value.message


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("layout", ["388/GLASSES/cam_222200037/{}", "388_GLASSES/cam_222200037/{}"])
def test_other_images_are_named(layout: str, suffix: str, tmp_path: Path) -> None:
    write(tmp_path, *(layout.format(f"{t}{suffix}") for t in range(3)))
    finding = next(f for f in scan(NVS, tmp_path, COUNTS).report.findings if f.path == SLOT.path)
    assert f"holds no PNG (3 {suffix})" in finding.message


@pytest.mark.parametrize("place", ["388", "388/GLASSES", "388/GLASSES/cam_222200037"])
def test_folder_too_deep_is_said_with_the_right_one(place: str, tmp_path: Path) -> None:
    write(tmp_path, "388/GLASSES/cam_222200037/0.png")
    with pytest.raises(UsageError) as error:
        scan(NVS, tmp_path / place, COUNTS)
    assert error.value.hint == f"Use {tmp_path} instead."


def test_wrong_task_is_said(tmp_path: Path) -> None:
    write(tmp_path, "393/FREE/cam_222200037/0.png")
    with pytest.raises(UsageError, match="holds renders for mono, not for nvs"):
        scan(NVS, tmp_path, COUNTS)


@pytest.mark.parametrize("name", ["422/EXP2-eyes", "422/exp-2_eyes", "422/EXP-2-eye"])
def test_misspelled_folder_is_pointed_out(name: str, tmp_path: Path) -> None:
    write(tmp_path, f"{name}/cam_222200037/0.png")
    path = "422/EXP-2-eyes/cam_222200037.mp4"
    finding = next(f for f in scan(NVS, tmp_path, COUNTS).report.findings if f.path == path)
    assert "Did you mean 422/EXP-2-eyes/cam_222200037?" in finding.hint


def test_other_videos_than_those_of_a_submission_can_be_looked_for(tmp_path: Path) -> None:
    train = VideoSlot(388, "GLASSES", "222200042")
    renders = scan(NVS, write(tmp_path, "388/GLASSES/cam_222200042/0.png"), COUNTS, slots=[train])
    assert [video.slot for video in renders.videos] == [train]


def test_frame_is_read_as_rgb(tmp_path: Path) -> None:
    picture = made_up.head_frame(MONO, 0)
    path = tmp_path / "388/GLASSES/cam_222200037/0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(made_up.png(picture))
    (video,) = scan(NVS, tmp_path, COUNTS).videos
    assert (video.read(0) == picture).all()


def test_participant_below_the_sequence_is_read_where_it_is_needed(tmp_path: Path) -> None:
    names = [f"FREE/{participant}/cam_222200037/{t}.png" for participant in (393, 404) for t in range(2)]
    renders = scan(MONO, write(tmp_path, *names), COUNTS)
    assert [(video.slot.participant, video.slot.sequence) for video in renders.videos] == [
        (393, "FREE"),
        (404, "FREE"),
    ]


@pytest.mark.parametrize("beside", [(), ("388/GLASSES/cam_222200046/0.png",)])
@pytest.mark.parametrize("name", ["388/GLASSES/cam_222200037.mov", "388_GLASSES/222200037.avi"])
def test_video_in_another_format_is_named(name: str, beside: tuple[str, ...], tmp_path: Path) -> None:
    renders = scan(NVS, write(tmp_path, name, *beside), COUNTS)
    (finding,) = [f for f in renders.report.findings if f.path == SLOT.path]
    assert (finding.code, name in finding.message) == ("missing_file", True)
    assert "h264" in finding.hint and "Rename" not in finding.hint


def test_renders_of_cameras_to_train_with_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="renders of 222200042, but an nvs submission") as error:
        scan(NVS, write(tmp_path, "388/GLASSES/cam_222200042/0.png"), COUNTS)
    assert "222200037" in (error.value.hint or "")


def test_camera_that_lacks_a_digit_is_pointed_out(tmp_path: Path) -> None:
    write(tmp_path, "388/GLASSES/cam_22220037/0.png")
    (finding,) = [f for f in scan(NVS, tmp_path, COUNTS).report.findings if "Did you mean" in f.hint]
    assert finding.path == SLOT.path

"""The proof sheet: what it is made of, and the files that it becomes."""

from __future__ import annotations

import base64
import html
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nersemble_cli.core.benchmarks import NVS, SVFR
from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.errors import Cancelled, InvalidInputError, UsageError
from nersemble_cli.core.flame.tracking import HEAD_CENTER, HEAD_SIZE
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.scenes.geometry import head_ellipsoid, nearest_cameras
from nersemble_cli.core.scenes.overlay import convex_outline, mesh_silhouette, silhouette
from nersemble_cli.core.scenes.sheet import page, picture, write_sheet
from nersemble_cli.core.scenes.sheet.entries import (
    Column,
    Entry,
    Outline,
    Picture,
    Sheet,
    Shot,
    decode,
    develop,
    develop_all,
    evenly,
)
from nersemble_cli.core.scenes.sheet.lettering import line_height, wrap, write
from nersemble_cli.core.submission.findings import Finding, Report
from nersemble_cli.core.threads import NullProgress
from tests import made_up

HEIGHT, WIDTH = 60, 40


def image_of(t: int) -> np.ndarray:
    """A dark square on white, which moves with `t`."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image[20:40, 5 + t : 15 + t] = (90, 60, 30)
    return image


def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
    for t in timesteps:
        yield Shot(t, image_of(t), (Outline("silhouette", np.array([[5, 20], [15, 20], [15, 40]], np.int32)),))


def entry(title: str = "388", *findings: Finding, n_frames: int = 5, **column: Any) -> Entry:
    return Entry(
        title,
        title,
        (title,),
        (Column(title, "your render", "render", film, **column),),
        [*findings],
        "",
        n_frames,
    )


def sheet(*entries: Entry, others: Sequence[Finding] = (), title: str = "out.zip") -> Sheet:
    report = Report(title, "nvs", "full", [*others, *(f for e in entries for f in e.findings)])
    return Sheet(title, NVS, report, [*entries], [*others])


# Geometry


def test_the_nearest_cameras_look_the_same_way() -> None:
    poses = {}
    for degrees in (0, 10, 25, 90):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        poses[str(degrees)] = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 2], [0, 0, 0, 1]], np.float32)
    calibration = CameraCalibration(poses, {})
    found = nearest_cameras(calibration, "10", ["90", "25", "0"], 2)
    assert [serial for serial, _ in found] == ["0", "25"]
    assert [angle for _, angle in found] == pytest.approx([10, 15], abs=0.01)


def test_a_head_is_where_its_pose_puts_it() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = 2 * np.diag([-1.0, 1, -1]), (1, 2, 3)  # turned around, twice as large
    points = head_ellipsoid(pose)
    assert np.ptp(points, axis=0) == pytest.approx(2 * np.array(HEAD_SIZE), rel=1e-3)
    assert (points.max(0) + points.min(0)) / 2 == pytest.approx(pose[:3, :3] @ HEAD_CENTER + pose[:3, 3], abs=1e-3)


def test_a_silhouette_goes_around_what_is_not_white() -> None:
    (outline,) = silhouette(image_of(3))
    assert outline.min(0).tolist() == [8, 20] and outline.max(0).tolist() == [17, 39]
    assert silhouette(np.full((HEIGHT, WIDTH, 3), 250, np.uint8)) == []


def test_specks_have_no_silhouette() -> None:
    image = np.full((600, 400, 3), 255, np.uint8)
    image[10:14, 10:14] = 0
    assert silhouette(image) == []


def test_the_silhouette_of_a_mesh_leaves_out_what_is_behind_the_camera() -> None:
    pixels = np.array([[10, 10], [30, 10], [30, 40], [10, 40], [np.nan, np.nan]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 4]])
    (outline,) = mesh_silhouette(pixels, faces, HEIGHT, WIDTH)
    assert outline.min(0).tolist() == [10, 10] and outline.max(0).tolist() == [30, 40]


def test_a_convex_outline_has_no_points_inside() -> None:
    (outline,) = convex_outline(np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [4, 5]]))
    assert sorted(outline.tolist()) == [[0, 0], [0, 10], [10, 0], [10, 10]]
    assert convex_outline(np.array([[0.0, 0], [np.nan, 0], [1, 1]])) == []


# Entries


@given(n_frames=st.integers(1, 2000), n=st.integers(2, 100))
def test_evenly_spread_timesteps(n_frames: int, n: int) -> None:
    times = evenly(n_frames, n)
    assert times == sorted(set(times)) and len(times) == min(n, n_frames)
    assert (times[0], times[-1]) == (0, n_frames - 1)
    gaps = np.diff(times)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_the_first_the_middle_and_the_last_frame() -> None:
    assert {t: entry(n_frames=9).stills[t] for t in sorted(entry(n_frames=9).stills)} == {
        0: "first", 4: "middle", 8: "last",
    }  # fmt: skip
    assert list(entry(n_frames=1).stills) == [0]
    assert sorted(entry(n_frames=2).stills) == [0, 1]


def test_the_worst_come_first() -> None:
    error, warning = Finding("unreadable_video", "b", "No."), Finding("wrong_fps", "c", "Hm.")
    made = sheet(
        entry("a"), entry("w", warning), entry("e", error), entry("ee", error, error), entry("ew", error, warning)
    )
    made.sort()
    assert [e.title for e in made.entries] == ["ee", "ew", "e", "w", "a"]
    assert [e.severity for e in made.entries] == ["error", "error", "error", "warning", "good"]


def test_pictures_keep_what_they_show() -> None:
    strip = develop(entry().columns[0], [0, 4], [2], HEIGHT, HEIGHT // 2)
    assert sorted(strip.stills) == [0, 4] and sorted(strip.plays) == [2]
    assert np.abs(decode(strip.stills[4]).astype(int) - image_of(4)).mean() < 4
    small = strip.plays[2]
    assert small.size == (WIDTH // 2, HEIGHT // 2)
    assert small.outlines[0].points.tolist() == [[2, 10], [8, 10], [8, 20]]


def test_a_film_that_breaks_off_leaves_its_beginning() -> None:
    def broken(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        yield Shot(0, image_of(0))
        raise InvalidInputError("It does not decode after frame 0.")

    done: list[int] = []
    strip = develop(Column("a", "b", "c", broken), [0, 2, 4], [0, 1, 2], HEIGHT, HEIGHT, done.append)
    assert list(strip.stills) == [0] and strip.problem == "It does not decode after frame 0."
    assert sum(done) == len({0, 1, 2, 4})


def test_a_film_is_cancelled_between_pictures() -> None:
    done: list[int] = []

    def advance(n: int) -> None:
        done.append(n)
        raise Cancelled("Stopped before it was done.")

    with pytest.raises(Cancelled):
        develop(entry().columns[0], [0, 2, 4], [0, 1, 2], HEIGHT, HEIGHT, advance)
    assert done == [1]


def test_what_entries_share_is_filmed_once() -> None:
    filmed = []

    def counted(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        filmed.append(list(timesteps))
        return film(timesteps, longest)

    shared = Column("view", "training view", "view", counted)
    entries = [Entry(name, "388", (name,), (shared,), [], n_frames=5) for name in "ab"]
    strips = develop_all(entries, 2, HEIGHT, HEIGHT, 1, NullProgress())
    assert filmed == [[0, 2, 4]] and all(sorted(strips[e][0].stills) == [0, 2, 4] for e in entries)


# The page

EVIL = "</script><script>alert(1)</script>\" onload='x' & {s} $title"


def test_no_text_is_markup(tmp_path: Path) -> None:
    finding = Finding("unexpected_file", EVIL, EVIL, hint=EVIL)
    made = sheet(entry(EVIL, finding), others=[finding], title=EVIL)
    made.unknown.append(EVIL)
    page.write_page(made, tmp_path / "sheet.html", 1, NullProgress())
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert "alert(1)</script>" not in document and "<script>alert" not in document
    assert html.escape(EVIL) in document and document.count("<script") == 2
    assert list(tracks_of(document)) == [EVIL]
    assert "onload='x'" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def tracks_of(document: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="tracks">(.*?)</script>', document)
    found: dict[str, Any] = json.loads(data)
    return found


def stills_of(document: str) -> list[np.ndarray]:
    """The pictures to look at closely, in the order of the page."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', document)
    return [decode(Picture(base64.b64decode(data), (0, 0), ())).astype(int) for data in found]


def test_a_page_plays_every_frame_of_a_short_video(tmp_path: Path) -> None:
    notes = page.write_page(sheet(entry()), tmp_path / "sheet.html", 1, NullProgress())
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert notes == [] and list(tracks_of(document)["388"]["p"]) == ["0", "1", "2", "3", "4"]
    assert len(stills_of(document)) == 3 and "Proof sheet" in document


def test_a_page_leaves_frames_out_until_it_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry(f"{i}", n_frames=25) for i in range(20)]
    page.write_page(sheet(*entries), tmp_path / "all.html", 1, NullProgress())
    whole = (tmp_path / "all.html").stat().st_size
    monkeypatch.setattr(page, "LARGEST_PAGE", whole * 2 // 3)
    monkeypatch.setattr(page, "_affordable", lambda *_: 25)
    notes = page.write_page(sheet(*entries), tmp_path / "sheet.html", 1, NullProgress())
    document = (tmp_path / "sheet.html").read_text("utf-8")
    n = len(tracks_of(document)["0"]["p"])
    assert (tmp_path / "sheet.html").stat().st_size <= whole * 2 // 3 and 2 <= n < 25
    assert f"{n} frames are in this sheet" in notes[0] and html.escape(notes[0]) in document
    assert sorted(map(int, tracks_of(document)["0"]["p"]))[:: n - 1] == [0, 24]


def test_a_page_says_why_there_is_no_picture(tmp_path: Path) -> None:
    finding = Finding("unreadable_video", "388", "It is not a video at all.")
    broken = Entry(
        "388", "388", ("388",), (Column("k", "your render", "render", problem=finding.message),), [finding], "", 5
    )
    page.write_page(sheet(broken), tmp_path / "sheet.html", 1, NullProgress())
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert '<span class="why">It is not a video at all.</span>' in document
    assert 'class="card error"' in document and stills_of(document) == []


def test_evidence_is_shown(tmp_path: Path) -> None:
    finding = Finding("wrong_fps", "388", "Hm.", evidence={"own": 0.123456, "better": 3})
    page.write_page(sheet(entry("388", finding)), tmp_path / "sheet.html", 1, NullProgress())
    assert "own 0.1235, better 3" in (tmp_path / "sheet.html").read_text("utf-8")


# The picture and the video


def test_text_is_cut_to_its_room() -> None:
    canvas = np.full((40, 300, 3), 255, np.uint8)
    used = write(canvas, "a long text that does not fit into this", (10, 5), 14, (0, 0, 0), 120)
    dark = np.flatnonzero((canvas < 128).any((0, 2)))
    assert 80 < used <= 120 and dark.min() >= 10 and dark.max() < 130


@pytest.mark.parametrize("text", ["$x^2$", "a\x1b[31m\nb", "漢字", "<b>", ""])
def test_any_text_can_be_written(text: str) -> None:
    canvas = np.full((40, 300, 3), 255, np.uint8)
    used = write(canvas, text, (10, 5), 14, (0, 0, 0), 280)
    assert (used > 0) == bool(text) and canvas[: 5 + line_height(14)].shape == (5 + line_height(14), 300, 3)
    assert (canvas[5 + line_height(14) :] == 255).all()


def test_wrapped_lines_fit() -> None:
    text = "one two three four five six seven eight nine ten"
    lines = wrap(text, 14, 100, 20)
    assert " ".join(lines) == text and len(lines) > 2
    assert wrap(text, 14, 100, 2)[-1].endswith("…") and len(wrap(text, 14, 100, 2)) == 2


def test_a_picture_of_all_entries(tmp_path: Path) -> None:
    finding = Finding("wrong_fps", "388", "Hm.")
    picture.write_picture(sheet(entry("b", finding), entry("a")), tmp_path / "sheet.png", 1, NullProgress())
    shown = read_rgb(tmp_path / "sheet.png")
    assert shown.shape[1] == 1760
    for color in (picture.COLORS["warning"], picture.COLORS["good"], picture.OUTLINES["silhouette"]):
        assert (np.abs(shown.astype(int) - color).max(2) < 12).sum() > 40


def test_nothing_to_play(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to play"):
        picture.write_video(sheet(), tmp_path / "sheet.mp4", 1, NullProgress())
    picture.write_picture(sheet(), tmp_path / "sheet.png", 1, NullProgress())
    assert read_rgb(tmp_path / "sheet.png").std() > 1


# Submissions


def test_a_zip_that_is_none_has_a_sheet(tmp_path: Path) -> None:
    (tmp_path / "out.zip").write_bytes(b"no zip")
    made, _ = write_sheet(tmp_path / "out.zip", tmp_path / "sheet.html")
    assert made.entries == [] and "not_a_zip" in (tmp_path / "sheet.html").read_text("utf-8")


def test_without_opengl_meshes_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise UsageError("There is no OpenGL on this machine.", "Install it.")

    monkeypatch.setattr("nersemble_cli.core.scenes.sheet.meshes.prepare_rendering", refuse)
    made_up.write_zip(tmp_path / "out.zip", {SVFR.slots[0].path: made_up.ply()})
    made, _ = write_sheet(tmp_path / "out.zip", tmp_path / "sheet.html")
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert "No mesh is drawn. There is no OpenGL on this machine. Install it." in made.unknown
    assert '<span class="why">not drawn</span>' in document and stills_of(document) == []


@pytest.mark.usefixtures("drawing")
@pytest.mark.slow
def test_meshes_are_drawn_with_their_landmarks(synthetic: Path, tmp_path: Path) -> None:
    posed, neutral, other = SVFR.slots[:3]
    landmarks = made_up.npy(made_up.now_landmarks())
    files = {
        posed.path: made_up.ply(2000), posed.landmarks_path: landmarks,
        neutral.path: made_up.ply(), other.path: made_up.ply()[:3000],
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    made, _ = write_sheet(tmp_path / "out.zip", tmp_path / "sheet.html", synthetic)
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert [entry.severity for entry in made.entries] == ["error", "good"]
    for said in ("The file is cut short", ">missing<"):
        assert said in document
    assert [c.short for c in made.entries[0].columns] == ["input", "posed", "neutral"]
    pictures = [picture for picture in stills_of(document) if picture.shape[0] == picture.shape[1]]
    red = [((p[..., 0] - p[..., 1] > 90) & (p[..., 0] > 150)).sum() for p in pictures]
    assert len(pictures) >= 2 and max(red) > 60

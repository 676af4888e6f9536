from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli import validate_submission
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.video import file_url
from nersemble_cli.core.video.encode import encode_command, find_ffmpeg
from tests import made_up
from tests.conftest import ROOT, Run

pytestmark = pytest.mark.slow

CAMERA = "475/HAIR/cam_222200037"
VIDEO = f"{CAMERA}.mp4"


@pytest.fixture
def renders(tmp_path: Path) -> Path:
    return made_up.write_renders(tmp_path / "renders", NVS)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Renders that are encoded already, which packs at once."""
    return made_up.write_mesh_renders(tmp_path / "ready", made_up.nvs())


def replace(path: Path, data: bytes) -> None:
    """Gives a frame, which is a link to a common pool, other contents."""
    path.unlink()
    path.write_bytes(data)


# What it makes


def test_nvs_renders_become_a_valid_zip(run: Run, renders: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    result = run("pack", "nvs", renders, out, "-f", folder, "--json")
    document = json.loads(result.out)
    assert result.status == 0
    assert (document["packed"], document["videos"], document["frames"]) == (True, 15, 45)
    assert document["bytes"] == out.stat().st_size
    assert document["psnr"]["min"] > 35
    assert validate_submission(out, folder=folder).findings == []


def test_mono_renders_become_a_valid_zip(run: Run, folder: Path, tmp_path: Path) -> None:
    renders = made_up.write_renders(tmp_path / "renders", MONO)
    result = run("pack", "mono_flame_avatar", renders, tmp_path / "out.zip", "-f", folder)
    assert result.status == 0
    assert "80 videos, 240 frames" in result.out
    shown = f"nersemble visualize submission {tmp_path / 'out.zip'} -f {folder}\n"
    assert result.err.endswith(f"To look at it before you upload it: {shown}")
    assert validate_submission(tmp_path / "out.zip", folder=folder).findings == []


def test_svfr_renders_become_a_valid_zip_of_the_same_files(run: Run, tmp_path: Path) -> None:
    files = made_up.svfr()
    unpadded = {n.replace("017/", "17/").replace("_006_", "_6_"): data for n, data in files.items()}
    renders = made_up.write_mesh_renders(tmp_path / "renders", unpadded)
    result = run("pack", "svfr", renders, tmp_path / "out.zip", "--json")
    assert result.status == 0
    assert json.loads(result.out)["meshes"] == 782
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_svfr_meshes_in_other_formats_are_converted_with_a_note(run: Run, tmp_path: Path) -> None:
    posed, neutral = SVFR.slots[:2]
    n = len(made_up.face_vertices())
    quads = [[i, (i + 1) % n, (i + 2) % n, (i + 3) % n][: 3 + i % 2] for i in range(n)]
    files = {
        f"{posed.folder}/posed.obj": made_up.obj(),
        neutral.path: made_up.polygons_ply(made_up.face_vertices(), quads, "binary_little_endian"),
    }
    made_up.write_mesh_renders(tmp_path / "meshes", files)
    result = run("pack", "svfr", tmp_path / "meshes", tmp_path / "out.zip", "--allow-incomplete", "--json")
    assert result.status == 0
    notes = "\n".join(json.loads(result.out)["notes"])
    assert "posed.obj is taken for mesh_posed.ply (1 file)" in notes
    assert "1 mesh: converted from OBJ to PLY" in notes
    assert "1 mesh: faces of more than three corners split into triangles" in notes
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == sorted([posed.path, neutral.path])
        for name in archive.namelist():
            mesh = read_ply(archive.read(name))
            assert np.array_equal(mesh.vertices.astype(np.float32), made_up.face_vertices())
            assert not mesh.has_polygons


def test_video_has_the_bytes_of_plain_ffmpeg(run: Run, renders: Path, folder: Path, tmp_path: Path) -> None:
    run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder)
    plain = [
        find_ffmpeg(), "-v", "error", "-framerate", "73", "-i", f"{renders / CAMERA}/%05d.png",
        "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "14", str(tmp_path / "plain.mp4"),
    ]  # fmt: skip
    subprocess.run(plain, check=True)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read(VIDEO) == (tmp_path / "plain.mp4").read_bytes()


def test_same_renders_give_the_same_bytes(run: Run, renders: Path, folder: Path, tmp_path: Path) -> None:
    run("pack", "nvs", renders, tmp_path / "one.zip", "-f", folder, "-j", "1")
    run("pack", "nvs", renders, tmp_path / "two.zip", "-f", folder, "-j", "4")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_ready_videos_are_taken_as_they_are(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    assert run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder).status == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read(VIDEO) == made_up.video("nvs")


def test_names_may_lack_cam_and_zeros(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / VIDEO).rename(ready / "475/HAIR/222200037.mp4")
    (ready / "475").rename(ready / "0475")
    assert run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder).status == 0


def test_frames_are_ordered_by_the_last_number(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / VIDEO).unlink()
    (ready / CAMERA).mkdir()
    for t, frame in enumerate(made_up.head_frames(NVS)):
        (ready / CAMERA / f"run7_{t + 9}.png").write_bytes(made_up.png(frame))  # 9, 10, 11: not by alphabet
    run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read(VIDEO) == made_up.video("nvs")


def _write_crop(path: Path, left: int, top: int, right: int, bottom: int) -> Path:
    box = {
        "padded_width": NVS.width + left + right, "padded_height": NVS.height + top + bottom,
        "left": left, "top": top, "width": NVS.width, "height": NVS.height,
    }  # fmt: skip
    path.write_text(json.dumps({"schema_version": 1, "cameras": {"222200037": box}}))
    return path


def test_padded_frames_are_cut_back(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / VIDEO).unlink()
    (ready / CAMERA).mkdir()
    for t, frame in enumerate(made_up.head_frames(NVS)):
        padded = np.pad(frame, ((3, 4), (10, 0), (0, 0)), constant_values=7)
        (ready / CAMERA / f"{t}.png").write_bytes(made_up.png(padded))
    crop = _write_crop(tmp_path / "crop.json", 10, 3, 0, 4)
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder, "--crop", crop)
    assert result.status == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read(VIDEO) == made_up.video("nvs")


def test_frames_that_do_not_fit_the_crop_are_a_finding(
    run: Run, ready: Path, folder: Path, tmp_path: Path
) -> None:
    (ready / VIDEO).unlink()
    (ready / CAMERA).mkdir()
    for t, frame in enumerate(made_up.head_frames(NVS)):
        (ready / CAMERA / f"{t}.png").write_bytes(made_up.png(frame))
    crop = _write_crop(tmp_path / "crop.json", 10, 3, 0, 4)
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder, "--crop", crop, "--json")
    (finding,) = json.loads(result.out)["findings"]
    assert (result.status, finding["code"]) == (1, "wrong_resolution")
    assert (finding["expected"], finding["actual"]) == ("1110×1611", "1100×1604")


@pytest.mark.parametrize("text", ["", "[]", '{"cameras": {"1": {}}}', '{"cameras": {"1": null}}'])
def test_something_else_than_a_crop_is_refused(
    run: Run, ready: Path, folder: Path, tmp_path: Path, text: str
) -> None:
    crop = tmp_path / "crop.json"
    crop.write_text(text)
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder, "--crop", crop)
    assert result.status == 1
    assert "is not a crop.json" in result.err


def test_transparent_frames_are_composited_on_white_with_a_note(
    run: Run, ready: Path, folder: Path, tmp_path: Path
) -> None:
    (ready / VIDEO).unlink()
    (ready / CAMERA).mkdir()
    for t, frame in enumerate(made_up.head_frames(NVS)):
        alpha = np.where((frame == 255).all(axis=-1, keepdims=True), 0, 255).astype(np.uint8)
        black_behind = np.where(alpha > 0, frame, 0).astype(np.uint8)
        (ready / CAMERA / f"{t}.png").write_bytes(made_up.png(np.concatenate([black_behind, alpha], axis=-1)))
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert "3 frames: composited on white" in result.err
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read(VIDEO) == made_up.video("nvs")


def test_other_cameras_are_left_out_with_a_note(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / "475/HAIR/cam_222200042.mp4").write_bytes(b"a training camera")
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert result.status == 0
    assert "left out" in result.err
    assert "cam_222200042.mp4" in result.err


# What it refuses


def test_dry_run_writes_nothing(run: Run, renders: Path, folder: Path, tmp_path: Path) -> None:
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder, "--dry-run")
    assert result.status == 0
    assert "Ready to pack: 15 videos, 45 frames" in result.out
    assert not list(tmp_path.glob("*.zip"))


def test_all_problems_are_listed_before_anything_is_encoded(
    run: Run, renders: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(renders / "388")
    replace(renders / CAMERA / "00001.png", b"not a picture")
    replace(renders / "443/FREE/cam_222200039/00000.png", made_up.png(np.zeros((10, 20, 3), np.uint8)))
    (renders / "422/EXP-2-eyes/cam_222200046/00002.png").unlink()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("encoding began"))
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder, "--json")
    document = json.loads(result.out)
    assert result.status == 1
    assert not document["packed"]
    assert sorted({f["code"] for f in document["findings"]}) == [
        "missing_file", "unreadable_image", "wrong_frame_count", "wrong_resolution",
    ]  # fmt: skip
    assert not (tmp_path / "out.zip").exists()


def test_incomplete_renders_are_packed_only_when_allowed(
    run: Run, ready: Path, folder: Path, tmp_path: Path
) -> None:
    (ready / VIDEO).unlink()
    assert run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder).status == 1
    assert not (tmp_path / "out.zip").exists()
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder, "--allow-incomplete")
    assert result.status == 0
    assert "14 videos" in result.out
    assert "missing_file" in result.out
    assert not validate_submission(tmp_path / "out.zip", folder=folder).valid


def test_ready_video_with_a_flaw_is_refused(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / VIDEO).write_bytes(made_up.video("nvs", 2))
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "wrong_frame_count" in result.out


def test_frames_and_ready_video_of_one_camera_are_ambiguous(
    run: Run, ready: Path, folder: Path, tmp_path: Path
) -> None:
    (ready / CAMERA).mkdir()
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "duplicate_file" in result.out


def test_folder_of_jpegs_is_explained(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (ready / VIDEO).unlink()
    (ready / CAMERA).mkdir()
    (ready / CAMERA / "0.jpg").write_bytes(b"\xff\xd8")
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert "holds no PNG (1 .jpg)" in result.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nvs", "nowhere", "out.zip"], "nowhere does not exist"),
        (["nvs", ".", "out.zip"], "388/GLASSES/cam_222200037/00000.png"),
        (["svfr", ".", "out.zip"], "mesh_posed.ply"),
        (["nerf", ".", "out.zip"], "Valid: nvs, mono, svfr."),
        (["nvs", ".", "no/such/folder/out.zip"], "mkdir -p no/such/folder"),
        (["nvs", ".", "."], "is a folder"),
        (["nvs", ".", "/proc/out.zip"], "The folder /proc cannot be written to"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], says: str, run: Run) -> None:
    result = run("pack", *arguments)
    assert result.status == 2
    assert says in result.err
    assert result.out == ""


def test_out_gets_its_suffix(run: Run, tmp_path: Path) -> None:
    meshes = made_up.write_mesh_renders(tmp_path / "meshes", {SVFR.slots[0].path: made_up.ply()})
    assert run("pack", "svfr", meshes, tmp_path / "out", "--allow-incomplete").status == 0
    assert (tmp_path / "out.zip").is_file()


@pytest.mark.parametrize(
    ("name", "right"), [("out.tar", "out.zip"), ("run.v2", "run.v2.zip"), ("out.7z", "out.zip")]
)
def test_out_with_another_suffix_is_refused(name: str, right: str, run: Run, tmp_path: Path) -> None:
    result = run("pack", "svfr", tmp_path, tmp_path / name)
    assert result.status == 2
    assert f"{name} does not end in .zip." in result.err
    assert result.err.rstrip().endswith(f"Use {tmp_path / right}.")


def test_older_zip_is_replaced_only_when_asked(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    out.write_text("older")
    result = run("pack", "nvs", ready, out, "-f", folder)
    assert (result.status, out.read_text()) == (2, "older")
    assert "--overwrite" in result.err
    assert run("pack", "nvs", ready, out, "-f", folder, "--overwrite").status == 0
    assert validate_submission(out, folder=folder).valid


def test_older_zip_survives_a_pack_that_fails(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    out.write_text("older")
    (ready / VIDEO).write_bytes(b"broken")
    assert run("pack", "nvs", ready, out, "-f", folder, "--overwrite").status == 1
    assert out.read_text() == "older"


# Bad luck


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".tmp" in path.name or path.suffix == ".zip"]


def test_killed_ffmpeg_is_an_error_and_leaves_nothing(
    run: Run, renders: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suicide = tmp_path / "ffmpeg"
    suicide.write_text("#!/bin/sh\nhead -c 1000 > /dev/null\nkill -9 $$\n")
    suicide.chmod(0o755)
    monkeypatch.setattr("nersemble_cli.core.video.encode.find_ffmpeg", lambda: str(suicide))
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "killed by signal 9" in result.err
    assert leftovers(tmp_path) == []


def test_full_disk_is_an_error_and_leaves_nothing(
    run: Run, renders: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    right = encode_command

    def onto_a_full_disk(path: Path, *arguments: object) -> list[str]:
        command = right(path, *arguments)  # type: ignore[arg-type]
        place = command.index(file_url(path))
        return [*command[:place], "-f", "mpegts", str(full), *command[place + 1 :]]

    monkeypatch.setattr("nersemble_cli.core.video.encode.encode_command", onto_a_full_disk)
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "disk is full" in result.err
    assert leftovers(tmp_path) == []


def test_disk_that_fills_up_while_the_zip_is_written_is_an_error(
    run: Run, ready: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", no_space)
    result = run("pack", "nvs", ready, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "disk is full" in result.err
    assert leftovers(tmp_path) == []


def png_with_rows(rows: int, pixels: bytes | None = None) -> bytes:
    """A PNG with right checksums but `rows` rows of pixels, or with `pixels` as its data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", NVS.width, NVS.height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes((1 + 3 * NVS.width) * rows), 1) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [png_with_rows(300), png_with_rows(0, b"\x07nonsense")], ids=["rows", "nonsense"])
def test_program_that_writes_wrong_pixel_data_is_found(
    data: bytes, run: Run, renders: Path, folder: Path, tmp_path: Path
) -> None:
    replace(renders / CAMERA / "00000.png", data)
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder, "--dry-run")
    assert result.status == 1
    assert "unreadable_image" in result.out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_among_the_frames_is_not_waited_for(run: Run, renders: Path, folder: Path, tmp_path: Path) -> None:
    (renders / CAMERA / "00001.png").unlink()
    os.mkfifo(renders / CAMERA / "00001.png")
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder, "--dry-run")
    assert (result.status, "wrong_frame_count" in result.out) == (1, True)


def test_link_to_an_older_zip_stays_a_link(run: Run, ready: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real.zip").write_text("older")
    (tmp_path / "link.zip").symlink_to(tmp_path / "real.zip")
    assert run("pack", "nvs", ready, tmp_path / "link.zip", "-f", folder, "--overwrite").status == 0
    assert (tmp_path / "link.zip").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "real.zip")


@pytest.mark.parametrize("liar", [png_with_rows(300), png_with_rows(0, b"\x07nonsense")], ids=["rows", "nonsense"])
def test_png_that_only_seems_right_fails_without_a_zip(
    liar: bytes, run: Run, renders: Path, folder: Path, tmp_path: Path
) -> None:
    replace(renders / CAMERA / "00001.png", liar)
    result = run("pack", "nvs", renders, tmp_path / "out.zip", "-f", folder)
    assert result.status == 1
    assert "00001.png does not decode" in result.err
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupt_in_the_middle_of_an_encode_leaves_nothing(
    number: int, status: int, renders: Path, folder: Path, tmp_path: Path
) -> None:
    many = renders / CAMERA
    for t in range(made_up.N_FRAMES, 200):
        (many / f"{t:05d}.png").hardlink_to(many / "00000.png")
    command = [sys.executable, "-m", "nersemble_cli", "pack", "nvs", str(renders), str(tmp_path / "out.zip")]
    process = subprocess.Popen(
        [*command, "--allow-incomplete", "-f", str(folder)],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.zip*.tmp/*/*/*.mp4")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in err
    assert leftovers(tmp_path) == []


def test_read_rgb_gives_what_was_packed(renders: Path) -> None:
    assert np.array_equal(read_rgb(renders / CAMERA / "00001.png"), made_up.head_frame(NVS, 1))


def test_one_kind_of_mesh_is_enough(run: Run, tmp_path: Path) -> None:
    renders = made_up.write_mesh_renders(tmp_path / "renders", made_up.svfr("neutral"))
    result = run("pack", "svfr", renders, tmp_path / "out.zip")
    assert result.status == 0
    assert f"{len(SVFR.slots) // 2} meshes" in result.out

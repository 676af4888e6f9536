from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli import validate_submission
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR
from nersemble_cli.core.submission.findings import Report
from tests import made_up
from tests.broken import LANDMARKS, MESH, VIDEO, patch_headers, quads_ply
from tests.conftest import ROOT, Run
from tests.made_up import Files


def check(tmp_path: Path, files: Files, folder: Path | None = None, **options: object) -> Report:
    path = made_up.write_zip(tmp_path / "submission.zip", files)
    return validate_submission(path, folder=folder, **options)  # type: ignore[arg-type]


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


# The command


def test_zip_may_be_named_as_its_kind(run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "right.zip", made_up.nvs())
    assert run("validate", "zip", path, "-f", folder).out == run("validate", path, "-f", folder).out


def test_valid_submission_prints_a_table_and_the_verdict(run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "right.zip", made_up.nvs())
    result = run("validate", path, "-f", folder)
    assert result.status == 0
    assert "475         HAIR" in result.out
    assert result.out.rstrip().endswith("right.zip is a valid nvs submission.")
    assert f"Frame counts are from {folder / 'nvs' / 'metadata.json'}." in result.err


def test_json_has_the_contract_s_keys(run: Run, folder: Path, tmp_path: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.video("nvs", 2)}
    path = made_up.write_zip(tmp_path / "short.zip", files)
    document = json.loads(run("validate", path, "-f", folder, "--json").out)
    assert document["schema_version"] == 1
    assert document["submission"] == str(path)
    assert document["valid"] is False
    assert document["checked"] == "full"
    (finding,) = document["findings"]
    assert finding.keys() == {"code", "severity", "path", "message", "expected", "actual", "hint"}
    assert (finding["code"], finding["expected"], finding["actual"]) == ("wrong_frame_count", 3, 2)


def test_strict_makes_warnings_count(run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "junk.zip", made_up.nvs() | {".DS_Store": b"x"})
    assert run("validate", path, "-f", folder).status == 0
    assert run("validate", path, "-f", folder, "--strict").status == 1


def test_official_name_of_mono_is_accepted(run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "mono.zip", made_up.mono())
    result = run("validate", path, "-f", folder, "--benchmark", "mono_flame_avatar", "--json")
    assert json.loads(result.out)["benchmark"] == "mono"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.zip"], "nowhere.zip does not exist"),
        (["."], "is a folder, not a zip"),
        (["a.zip", "b.zip"], "Give one submission"),
        (["right.zip", "--benchmark", "nerf"], "Valid: nvs, mono, svfr."),
        (["right.zip", "-f", "nowhere"], "No folder at nowhere."),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], says: str, run: Run) -> None:
    made_up.write_zip(Path("right.zip"), {VIDEO: b""})
    result = run("validate", *arguments)
    assert result.status == 2
    assert says in result.err
    assert result.out == ""


# Frame counts


def test_built_in_counts_are_used_without_a_folder(tmp_path: Path) -> None:
    report = check(tmp_path, made_up.nvs())
    assert report.frame_counts_from == ("the built-in table",)
    finding = next(f for f in report.findings if f.path == "388/GLASSES/cam_222200037.mp4")
    assert (finding.code, finding.expected, finding.actual) == ("wrong_frame_count", 1118, 3)


def test_mono_without_a_folder_is_checked_by_sums(tmp_path: Path) -> None:
    report = check(tmp_path, made_up.mono())
    assert [(f.path, f.expected, f.actual) for f in report.findings] == [
        (f"{p:03d}", MONO.n_test_frames[p], 4 * made_up.N_FRAMES) for p in MONO.participants
    ]


def test_mono_camera_that_differs_from_the_others_is_found_without_a_folder(tmp_path: Path) -> None:
    path = "404/FREE/cam_222200039.mp4"
    report = check(tmp_path, made_up.mono() | {path: made_up.video("mono", 2)})
    finding = next(f for f in report.findings if f.path == path)
    assert (finding.code, finding.expected, finding.actual) == ("wrong_frame_count", 3, 2)


def test_broken_metadata_is_noted_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "nvs").mkdir()
    (tmp_path / "nvs" / "metadata.json").write_text("<html>504</html>")
    report = check(tmp_path, made_up.nvs(), tmp_path)
    assert report.frame_counts_from == ("the built-in table",)
    assert "is not JSON" in report.notes[0]


# Names


@pytest.mark.parametrize(
    ("rename", "reason"),
    [
        (lambda name: name.replace("/", "\\"), "back-slashes"),
        (lambda name: name.replace("cam_", ""), "cam_SERIAL.mp4"),
        (lambda name: name.replace("HAIR", "hair"), "capitals"),
    ],
)
def test_nearly_right_name_is_told_and_its_video_checked(
    rename, reason: str, tmp_path: Path, folder: Path
) -> None:  # type: ignore[no-untyped-def]
    files = made_up.nvs()
    files[rename(VIDEO)] = made_up.video("nvs", 2)
    del files[VIDEO]
    report = check(tmp_path, files, folder)
    missing = next(f for f in report.findings if f.code == "missing_file")
    assert (missing.path, missing.actual) == (VIDEO, rename(VIDEO))
    assert reason in missing.hint
    assert {"unexpected_file", "wrong_frame_count"} <= codes(report)


@pytest.mark.parametrize(
    ("slot", "wrong", "reason"),
    [
        (SVFR.slots[0], ("017/", "17/"), "participants have three digits"),
        (next(s for s in SVFR.slots if s.key.timestep < 100), ("_0", "_"), "timesteps are padded"),
    ],
)
def test_unpadded_name_of_a_mesh_is_told(slot, wrong, reason: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    files = made_up.svfr(slot.kind)
    files[slot.path.replace(*wrong)] = files.pop(slot.path)
    report = check(tmp_path, files)
    missing = next(f for f in report.findings if f.code == "missing_mesh")
    assert missing.path == slot.path
    assert reason in missing.hint


def test_typo_in_a_name_is_guessed(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs()
    files[VIDEO.replace("HAIR", "HAIRS")] = files.pop(VIDEO)
    report = check(tmp_path, files, folder)
    assert next(f for f in report.findings if f.code == "unexpected_file").hint == f"Is {VIDEO} meant?"


def test_wrapper_of_two_folders_is_one_finding_beside_junk(tmp_path: Path, folder: Path) -> None:
    files = {f"home/results/{name}": data for name, data in made_up.nvs().items()} | {"__MACOSX/x": b""}
    report = check(tmp_path, files, folder)
    assert [(f.code, f.path) for f in report.findings] == [
        ("wrapper_folder", "home/results/"),
        ("junk_file", "__MACOSX/x"),
    ]


def test_stranger_is_an_error_in_svfr_only(tmp_path: Path, folder: Path) -> None:
    assert check(tmp_path, made_up.nvs() | {"readme.txt": b""}, folder).valid
    assert not check(tmp_path, made_up.svfr() | {"readme.txt": b""}).valid


# Zips that mean harm, or were harmed


def test_claim_of_terabytes_is_not_believed(tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "bomb.zip", made_up.nvs())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.start_dir
    struct.pack_into("<I", data, entry + 24, 0xFFFFFFF0)
    path.write_bytes(data)
    assert "suspicious_size" in codes(validate_submission(path, folder=folder))


@pytest.mark.parametrize("keep", [0, 1, 3, 100, 5000, -1, -30])
def test_truncated_zip_is_a_finding(keep: int, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "cut.zip", made_up.nvs())
    path.write_bytes(path.read_bytes()[:keep])
    assert "not_a_zip" in codes(validate_submission(path))


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_raises_and_never_passes(seed: int, tmp_path: Path, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    files = made_up.nvs()
    path = made_up.write_zip(tmp_path / "hurt.zip", files)
    data = bytearray(path.read_bytes())
    # The directory at the end is hit as often as the files.
    start = int(rng.integers(0, len(data) - 30) if seed % 2 else rng.integers(len(data) - 1200, len(data) - 30))
    data[start : start + 30] = rng.bytes(30)
    path.write_bytes(data)
    report = validate_submission(path, "nvs", folder)
    try:
        with zipfile.ZipFile(path) as archive:
            intact = {name: archive.read(name) for name in archive.namelist()} == files
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError):
        intact = False
    assert report.valid == intact


def test_deflated_videos_are_read_without_unpacking(tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "deflated.zip", made_up.nvs(), zipfile.ZIP_DEFLATED)
    before = set(tmp_path.rglob("*"))
    assert validate_submission(path, folder=folder).findings == []
    assert set(tmp_path.rglob("*")) == before


def test_link_in_a_zip_is_unsafe(tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "link.zip", made_up.nvs())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("388/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "unsafe_path" in codes(validate_submission(path, folder=folder))


@pytest.mark.skipif(os.name == "nt", reason="needs Unix rights")
def test_file_that_may_not_be_read_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_up.write_zip(tmp_path / "right.zip", made_up.nvs())
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything
        monkeypatch.setattr(
            Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied", str(path)))
        )
    result = run("validate", path)
    assert result.status == 1
    assert "Permission denied" in result.err


@pytest.mark.parametrize("quick", ["--quick", "--strict"])
@pytest.mark.parametrize("flag", [0x20, 0x40])
def test_odd_flags_of_a_member_are_findings(flag: int, quick: str, run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "odd.zip", made_up.nvs())
    patch_headers(path, VIDEO, 6, 8, flag)
    result = run("validate", path, "-f", folder, quick)
    assert result.status == 1
    assert VIDEO in result.out


def test_damaged_lzma_is_a_finding(tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "lzma.zip", made_up.nvs(), zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    data[70:200] = b"\xff" * 130
    path.write_bytes(data)
    assert codes(validate_submission(path, folder=folder)) & {"damaged_file", "unreadable_video"}


def test_stranger_that_is_not_opened_does_no_harm(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "log.zip"
    made_up.write_zip(path, made_up.nvs() | {"train.log": b"epoch 1\n" * 400_000}, zipfile.ZIP_DEFLATED)
    report = validate_submission(path, folder=folder)
    assert report.valid
    assert "suspicious_size" in codes(report)


def test_names_cannot_steer_the_terminal(run: Run, tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "steer.zip", made_up.nvs() | {"\x1b[2Jgone": b""})
    result = run("validate", path, "-f", folder)
    assert "\\x1b[2Jgone" in result.out
    assert "\x1b" not in result.out


def test_zip_of_renders_is_told_to_pack(run: Run, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "renders.zip", {"475/HAIR/cam_222200037/00000.png": b""})
    assert "nersemble pack" in run("validate", path).out


def test_stray_file_beside_a_wrapper_does_not_hide_it(tmp_path: Path, folder: Path) -> None:
    files = {f"results/{name}": data for name, data in made_up.nvs().items()} | {"README.txt": b""}
    assert codes(check(tmp_path, files, folder)) == {"wrapper_folder", "unexpected_file"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_encoding_of_the_streams_will_do(encoding: str, tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "é.zip", made_up.nvs() | {VIDEO: made_up.video("nvs", 2)})
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nersemble_cli", "validate", str(path), "-f", str(folder)]
    for extra in ([], ["--json"]):
        done = subprocess.run([*command, *extra], env=environment, capture_output=True, check=False)
        assert (done.returncode, b"Unexpected" in done.stderr) == (1, False)
    assert json.loads(done.stdout)["submission"] == str(path)


# Videos


def test_every_damage_is_found_in_one_pass(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs()
    names = list(files)
    files[names[0]] = made_up.video("nvs", 2)
    files[names[1]] = b"no video"
    files[names[2]] = made_up.encode_with("-pix_fmt", "yuv444p")
    del files[names[3]]
    report = check(tmp_path, files, folder)
    assert {f.path for f in report.findings} == set(names[:4])


def test_video_cut_short_behind_its_header_is_damaged(tmp_path: Path, folder: Path) -> None:
    whole = made_up.remux(made_up.video("nvs"), "-movflags", "+faststart")
    report = check(tmp_path, made_up.nvs() | {VIDEO: whole[:-1500]}, folder)
    assert "damaged_video" in codes(report)


@pytest.mark.parametrize("quick", [True, False])
def test_fragmented_video_has_no_count_for_the_server(quick: bool, tmp_path: Path, folder: Path) -> None:
    video = made_up.remux(made_up.video("nvs"), "-movflags", "frag_keyframe+empty_moov")
    report = check(tmp_path, made_up.nvs() | {VIDEO: video}, folder, quick=quick)
    assert [(f.code, f.actual) for f in report.findings] == [("wrong_frame_count", None)]


def test_blank_frames_name_the_frame(tmp_path: Path, folder: Path) -> None:
    frames = made_up.head_frames(NVS)
    frames[1] = np.zeros_like(frames[1])
    report = check(tmp_path, made_up.nvs() | {VIDEO: made_up.encode(NVS, frames)}, folder)
    assert next(f for f in report.findings if f.code == "blank_frames").message.endswith(": 1.")


def test_bt601_tags_are_right(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.encode_with("-colorspace", "smpte170m", "-color_range", "tv")}
    assert check(tmp_path, files, folder).findings == []


def test_full_range_is_a_wrong_tag(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.encode_with("-pix_fmt", "yuvj420p")}
    assert "wrong_color_tags" in codes(check(tmp_path, files, folder))


def test_swapped_sides_are_hinted_at(tmp_path: Path, folder: Path) -> None:
    frames = [frame.swapaxes(0, 1) for frame in made_up.head_frames(NVS)]
    video = made_up.encode(NVS, frames, width=NVS.height, height=NVS.width)
    report = check(tmp_path, made_up.nvs() | {VIDEO: video}, folder)
    assert "swapped" in next(f for f in report.findings if f.code == "wrong_resolution").hint


def test_quick_does_not_decode(tmp_path: Path, folder: Path) -> None:
    data = bytearray(made_up.video("nvs"))
    data[3000:6000] = bytes(3000)
    report = check(tmp_path, made_up.nvs() | {VIDEO: bytes(data)}, folder, quick=True)
    assert report.checked == "quick"
    assert report.findings == []


@pytest.mark.parametrize("quick", [True, False])
def test_quick_and_full_see_what_the_server_sees(quick: bool, tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.video("nvs", 2)}
    assert codes(check(tmp_path, files, folder, quick=quick)) == {"wrong_frame_count"}


def test_codec_that_nobody_knows_is_a_finding(tmp_path: Path, folder: Path) -> None:
    video = made_up.video("nvs").replace(b"avc1", b"xxxx")
    assert "unreadable_video" in codes(check(tmp_path, made_up.nvs() | {VIDEO: video}, folder))


@pytest.mark.parametrize("table", [b"stts", b"stsz", b"stco", b"stsc", b"ctts"])
def test_damaged_tables_of_an_mp4_are_findings(table: bytes, tmp_path: Path, folder: Path) -> None:
    data = bytearray(made_up.video("nvs"))
    place = data.index(table) + 8
    data[place : place + 8] = b"\xff" * 8
    assert not check(tmp_path, made_up.nvs() | {VIDEO: bytes(data)}, folder).valid


def test_change_of_size_in_mid_stream_is_found(tmp_path: Path) -> None:
    both = b""
    for width, height in ((512, 512), (256, 256)):
        frames = [frame[:height, :width] for frame in made_up.head_frames(MONO)]
        both += made_up.remux(made_up.encode(MONO, frames, width=width, height=height), "-f", "h264")
    video = made_up.remux(both, before=("-framerate", "24.3", "-f", "h264"))
    folder = made_up.write_metadata(tmp_path / "six", 2 * made_up.N_FRAMES)
    files = dict.fromkeys(made_up.mono(), made_up.video("mono", 6)) | {"393/FREE/cam_222200037.mp4": video}
    report = check(tmp_path, files, folder)
    assert ("wrong_resolution", [256, 256]) in [(f.code, f.actual) for f in report.findings]


def test_full_range_without_a_tag_is_found(tmp_path: Path, folder: Path) -> None:
    bitstream = "h264_metadata=video_full_range_flag=0"
    video = made_up.encode_with("-vf", "scale=out_range=full,format=yuv420p", "-bsf:v", bitstream)
    report = check(tmp_path, made_up.nvs() | {VIDEO: video}, folder)
    assert codes(report) == {"wrong_color_tags"}


# Meshes


def mesh_report(tmp_path: Path, mesh: bytes, landmarks: bytes | None = None, quick: bool = False) -> Report:
    files = made_up.svfr("posed", "neutral") | {MESH: mesh}
    if landmarks is not None:
        files[LANDMARKS] = landmarks
    return check(tmp_path, files, quick=quick)


def test_one_subtask_alone_is_valid(tmp_path: Path) -> None:
    assert check(tmp_path, made_up.svfr("neutral")).findings == []


def test_other_topology_with_landmarks_is_valid(tmp_path: Path) -> None:
    assert mesh_report(tmp_path, made_up.ply(3000), made_up.npy(made_up.now_landmarks())).findings == []


def test_ascii_ply_is_valid(tmp_path: Path) -> None:
    ascii_ply = quads_ply().replace(b"\n4 ", b"\n3 ")  # three of each quad's corners; the fourth is left over
    lines = [line.rsplit(b" ", 1)[0] if line.startswith(b"3 ") else line for line in ascii_ply.split(b"\n")]
    assert mesh_report(tmp_path, b"\n".join(lines)).findings == []


def test_header_that_promises_a_billion_vertices_is_not_believed(tmp_path: Path) -> None:
    mesh = made_up.ply().replace(b"element vertex 5023", b"element vertex 1000000000")
    finding = mesh_report(tmp_path, mesh).findings[0]
    assert (finding.code, "1,000,000,000 vertices" in finding.message) == ("unreadable_mesh", True)


@pytest.mark.parametrize(
    "mesh", [b"", b"ply\n", b"solid teapot", b"ply\nformat binary_little_endian 1.0\nend_header\n"]
)
def test_what_is_no_mesh_is_a_finding(mesh: bytes, tmp_path: Path) -> None:
    assert codes(mesh_report(tmp_path, mesh)) & {"unreadable_mesh", "empty_mesh"}


def test_pickled_landmarks_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    bomb = made_up.npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    report = mesh_report(tmp_path, made_up.ply(3000), bomb)
    assert codes(report) == {"wrong_landmarks"}
    assert not (tmp_path / "exploded").exists()


def test_coinciding_vertices_that_the_server_merges_are_found(tmp_path: Path) -> None:
    vertices = made_up.face_vertices().copy()
    vertices[10] = vertices[4000]
    mesh = made_up.mesh_to_ply(vertices, made_up.face_triangles())
    assert codes(mesh_report(tmp_path, mesh)) == {"lost_vertices"}
    landmarks = made_up.npy(made_up.now_landmarks())
    assert mesh_report(tmp_path, mesh, landmarks).findings == []


def test_zeroed_end_of_a_mesh_is_found(tmp_path: Path) -> None:
    mesh = made_up.ply(3000)
    report = mesh_report(tmp_path, mesh[:-5000] + bytes(5000), made_up.npy(made_up.now_landmarks()))
    assert codes(report) == {"unreadable_mesh"}


def test_missing_texture_of_a_mesh_is_no_matter(run: Run, tmp_path: Path) -> None:
    mesh = made_up.ply().replace(b"element vertex", b"comment TextureFile skin.png\nelement vertex")
    path = made_up.write_zip(tmp_path / "textured.zip", made_up.svfr() | {MESH: mesh})
    result = run("validate", path)
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize("quick", [True, False])
def test_missing_landmarks_are_seen_from_the_header(quick: bool, tmp_path: Path) -> None:
    assert codes(mesh_report(tmp_path, made_up.ply(3000), quick=quick)) == {"missing_landmarks"}


@pytest.mark.parametrize("shape", [(7, 2), (3, 7), (1, 7, 3), (68, 3)])
def test_landmarks_of_another_shape_are_wrong(shape: tuple[int, ...], tmp_path: Path) -> None:
    report = mesh_report(tmp_path, made_up.ply(3000), made_up.npy(np.zeros(shape)))
    assert codes(report) == {"wrong_landmarks"}

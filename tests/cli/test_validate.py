from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from nersemble_cli import validate_submission
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR, VideoBenchmark
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.submission.members import FileMember
from nersemble_cli.core.submission.video_checks import check_video
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rename", "reason"),
    [
        (lambda name: name.replace("/", "\\"), "backslashes"),
        (lambda name: name.replace("cam_", ""), "cam_SERIAL.mp4"),
        (lambda name: name.replace("HAIR", "hair"), "case matters"),
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


@pytest.mark.slow
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
    assert next(f for f in report.findings if f.code == "unexpected_file").hint == f"Did you mean {VIDEO}?"


def test_wrapper_of_two_folders_is_one_finding_beside_junk(tmp_path: Path, folder: Path) -> None:
    files = {f"home/results/{name}": data for name, data in made_up.nvs().items()} | {"__MACOSX/x": b""}
    report = check(tmp_path, files, folder)
    assert [(f.code, f.path) for f in report.findings] == [
        ("wrapper_folder", "home/results/"),
        ("junk_file", "__MACOSX/x"),
    ]


@pytest.mark.slow
def test_stranger_is_an_error_in_svfr_only(tmp_path: Path, folder: Path) -> None:
    assert check(tmp_path, made_up.nvs() | {"readme.txt": b""}, folder).valid
    assert not check(tmp_path, made_up.svfr() | {"readme.txt": b""}).valid


def test_submission_to_another_task_is_said_so(run: Run, tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "mono.zip", dict.fromkeys(made_up.mono(), b""))
    result = run("validate", path, "-f", folder, "--benchmark", "nvs", "--quick")
    assert result.status == 1
    assert "looks like a mono submission" in result.out
    assert "--benchmark mono" in result.out


def test_all_videos_as_frames_are_told_to_pack(run: Run, tmp_path: Path) -> None:
    frames = [f"{name.removesuffix('.mp4')}/{t:05d}.jpg" for name in made_up.nvs() for t in range(2)]
    result = run("validate", made_up.write_zip(tmp_path / "frames.zip", dict.fromkeys(frames, b"")), "--json")
    findings = json.loads(result.out)["findings"]
    missing = [f for f in findings if f["code"] == "missing_file"]
    assert len(missing) == 15
    assert all("nersemble pack" in f["hint"] and f["actual"].endswith("00000.jpg") for f in missing)


# Zips that mean harm, or were harmed


def test_entry_without_a_name_is_a_finding_beside_the_others(tmp_path: Path, folder: Path) -> None:
    path = made_up.write_zip(tmp_path / "nameless.zip", made_up.nvs() | {"x": b"", VIDEO: made_up.video("nvs", 2)})
    data = path.read_bytes()
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x05\x06"))
    at = data.rindex(b"PK\x01\x02", 0, start) if data[start + 46 : start + 47] != b"x" else start
    entry = bytearray(data)
    assert entry[at + 46 : at + 47] == b"x"
    struct.pack_into("<HH", entry, at + 28, 0, 1)  # the name becomes an extra field of one byte
    path.write_bytes(entry)
    report = validate_submission(path, folder=folder, quick=True)
    assert {"unsafe_path", "wrong_frame_count"} <= codes(report) or codes(report) == {"not_a_zip"}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "code"), [("nvs", "unreadable_video"), ("svfr", "unreadable_mesh")])
def test_a_bug_in_one_check_leaves_the_others(
    task: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nersemble_cli.core.submission import validation

    name = "check_video" if task == "nvs" else "check_mesh"
    check_one = getattr(validation, name)
    broken = list(made_up.SUBMISSIONS[task]())[3]

    def check_or_fail(first, *arguments, **options):  # type: ignore[no-untyped-def]
        if first.path == broken:
            raise IndexError("list index out of range")
        return check_one(first, *arguments, **options)

    monkeypatch.setattr(validation, name, check_or_fail)
    report = check(tmp_path, made_up.SUBMISSIONS[task](), made_up.write_metadata(tmp_path / "nb"))
    assert [(f.code, f.path, "list index" in f.message) for f in report.findings] == [(code, broken, True)]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs Unix signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("seconds", [0.5, 1, 1.5])
def test_an_interruption_is_no_verdict(number: int, status: int, seconds: float, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "svfr.zip", made_up.svfr())
    command = [sys.executable, "-m", "nersemble_cli", "validate", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    # It may have been too quick, or not have begun; but a good zip is never called a bad one.
    assert process.returncode in (status, -number, 0)
    assert "not a valid" not in out


@pytest.mark.slow
def test_meshes_are_checked_where_no_signal_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nersemble_cli.core.submission import validation

    threads = set()
    check_one = validation.check_mesh
    monkeypatch.setattr(
        validation,
        "check_mesh",
        lambda *arguments, **options: (threads.add(threading.current_thread()), check_one(*arguments, **options))[
            1
        ],
    )
    assert check(tmp_path, made_up.svfr("posed"), quick=True).findings == []
    assert threads and threading.main_thread() not in threads


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_blank_frames_name_the_frame(tmp_path: Path, folder: Path) -> None:
    frames = made_up.head_frames(NVS)
    frames[1] = np.zeros_like(frames[1])
    report = check(tmp_path, made_up.nvs() | {VIDEO: made_up.encode(NVS, frames)}, folder)
    assert next(f for f in report.findings if f.code == "blank_frames").message.endswith(", at timestep 1.")


@pytest.mark.slow
def test_bt601_tags_are_right(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.encode_with("-colorspace", "smpte170m", "-color_range", "tv")}
    assert check(tmp_path, files, folder).findings == []


@pytest.mark.slow
def test_full_range_is_a_wrong_tag(tmp_path: Path, folder: Path) -> None:
    files = made_up.nvs() | {VIDEO: made_up.encode_with("-pix_fmt", "yuvj420p")}
    assert "wrong_color_tags" in codes(check(tmp_path, files, folder))


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("table", [b"stts", b"stsz", b"stco", b"stsc", b"ctts"])
def test_damaged_tables_of_an_mp4_are_findings(table: bytes, tmp_path: Path, folder: Path) -> None:
    data = bytearray(made_up.video("nvs"))
    place = data.index(table) + 8
    data[place : place + 8] = b"\xff" * 8
    assert not check(tmp_path, made_up.nvs() | {VIDEO: bytes(data)}, folder).valid


@pytest.mark.slow
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


@pytest.mark.slow
def test_full_range_without_a_tag_is_found(tmp_path: Path, folder: Path) -> None:
    bitstream = "h264_metadata=video_full_range_flag=0"
    video = made_up.encode_with("-vf", "scale=out_range=full,format=yuv420p", "-bsf:v", bitstream)
    report = check(tmp_path, made_up.nvs() | {VIDEO: video}, folder)
    assert codes(report) == {"wrong_color_tags"}


@pytest.mark.slow
@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv422p", "nv12"])
def test_limited_range_is_not_taken_for_full_in_any_pixel_format(
    pixel_format: str, tmp_path: Path, folder: Path
) -> None:
    files = made_up.nvs() | {VIDEO: made_up.encode_with("-pix_fmt", pixel_format)}
    assert codes(check(tmp_path, files, folder)) <= {"wrong_pixel_format"}


def _edit_units(data: bytes, edit: Callable[[bytes], bytes], target: Path) -> Path:
    """The video with every NAL unit edited; `edit` gets a unit and returns units with their lengths."""
    with av.open(io.BytesIO(data)) as source, av.open(str(target), "w", format="mp4") as written:
        stream = written.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            content, position, edited = bytes(packet), 0, b""
            while position < len(content):
                length = int.from_bytes(content[position : position + 4], "big")
                edited += edit(content[position + 4 : position + 4 + length])
                position += 4 + length
            if edited:
                new = av.Packet(edited)
                new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
                new.duration, new.is_keyframe, new.stream = packet.duration, packet.is_keyframe, stream
                written.mux(new)
    return target


def _unit(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


SEI = b"\x06\x05\x20ABCDEFGHIJKLMNOP" + bytes(16) + b"\x80"


@pytest.mark.parametrize(
    ("edit", "is_damaged"),
    [
        (lambda unit: _unit(unit + bytes(4)), False),
        (lambda unit: _unit(unit + bytes(100)), False),
        (lambda unit: _unit(SEI) + _unit(unit), False),
        (lambda unit: _unit(unit[:400] + bytes(300) + unit[700:]), True),
    ],
    ids=["padding", "long padding", "zeros in SEI", "a hole"],
)
def test_zeros_count_in_slices_only(edit: Callable[[bytes], bytes], is_damaged: bool, tmp_path: Path) -> None:
    path = _edit_units(made_up.video("mono", 4), edit, tmp_path / "edited.mp4")
    report = check_video(FileMember("v", path), MONO, 4)
    assert [f.code for f in report.findings] == (["damaged_video"] if is_damaged else [])


@pytest.mark.parametrize("expected", [2, None])
def test_a_video_far_too_long_is_not_decoded_to_its_end(expected: int | None, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes(made_up.video("mono", 8))
    task = replace(MONO, n_test_frames={393: 2})
    seen = []
    report = check_video(FileMember("v", path), task, expected, on_frame=lambda t, frame: seen.append(t))
    assert seen == [0, 1, 2, 3]
    assert [(f.code, f.actual) for f in report.findings] == ([("wrong_frame_count", 8)] if expected else [])


@pytest.mark.slow
@pytest.mark.parametrize(("task", "rate"), [(NVS, "73"), (MONO, "24.3")])
def test_wrong_tags_name_the_whole_command(task: VideoBenchmark, rate: str, tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp4"
    path.write_bytes(made_up.encode_with("-colorspace", "bt709", benchmark=task))
    (finding,) = check_video(FileMember("v", path), task, made_up.N_FRAMES).findings
    assert f"ffmpeg -framerate {rate} -i %05d.png -an -c:v libx264 -pix_fmt yuv420p -crf 14" in finding.hint


# Meshes


def mesh_report(tmp_path: Path, mesh: bytes, landmarks: bytes | None = None, quick: bool = False) -> Report:
    """What is wrong with one mesh by itself."""
    files = made_up.svfr("posed") | {MESH: mesh}
    if landmarks is not None:
        files[LANDMARKS] = landmarks
    return check(tmp_path, files, quick=quick, compare=False)


@pytest.mark.slow
def test_one_subtask_alone_is_valid(tmp_path: Path) -> None:
    assert check(tmp_path, made_up.svfr("neutral")).findings == []


@pytest.mark.slow
def test_other_topology_with_landmarks_is_valid(tmp_path: Path) -> None:
    assert mesh_report(tmp_path, made_up.ply(3000), made_up.npy(made_up.now_landmarks())).findings == []


@pytest.mark.slow
def test_ascii_ply_is_valid(tmp_path: Path) -> None:
    ascii_ply = quads_ply().replace(b"\n4 ", b"\n3 ")  # three of each quad's corners; the fourth is left over
    lines = [line.rsplit(b" ", 1)[0] if line.startswith(b"3 ") else line for line in ascii_ply.split(b"\n")]
    assert mesh_report(tmp_path, b"\n".join(lines)).findings == []


@pytest.mark.slow
def test_header_that_promises_a_billion_vertices_is_not_believed(tmp_path: Path) -> None:
    mesh = made_up.ply().replace(b"element vertex 5023", b"element vertex 1000000000")
    finding = mesh_report(tmp_path, mesh).findings[0]
    assert (finding.code, "1,000,000,000 vertices" in finding.message) == ("unreadable_mesh", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh", [b"", b"ply\n", b"solid teapot", b"ply\nformat binary_little_endian 1.0\nend_header\n"]
)
def test_what_is_no_mesh_is_a_finding(mesh: bytes, tmp_path: Path) -> None:
    assert codes(mesh_report(tmp_path, mesh)) & {"unreadable_mesh", "empty_mesh"}


@pytest.mark.slow
def test_pickled_landmarks_are_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    bomb = made_up.npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    report = mesh_report(tmp_path, made_up.ply(3000), bomb)
    assert codes(report) == {"wrong_landmarks"}
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
def test_coinciding_vertices_that_the_server_merges_are_found(tmp_path: Path) -> None:
    vertices = made_up.face_vertices().copy()
    vertices[10] = vertices[4000]
    mesh = made_up.mesh_to_ply(vertices, made_up.face_triangles())
    assert codes(mesh_report(tmp_path, mesh)) == {"lost_vertices"}
    landmarks = made_up.npy(made_up.now_landmarks())
    assert mesh_report(tmp_path, mesh, landmarks).findings == []


@pytest.mark.slow
def test_zeroed_end_of_a_mesh_is_found(tmp_path: Path) -> None:
    mesh = made_up.ply(3000)
    report = mesh_report(tmp_path, mesh[:-5000] + bytes(5000), made_up.npy(made_up.now_landmarks()))
    assert codes(report) == {"unreadable_mesh"}


@pytest.mark.slow
def test_missing_texture_of_a_mesh_is_no_matter(run: Run, tmp_path: Path) -> None:
    mesh = made_up.ply().replace(b"element vertex", b"comment TextureFile skin.png\nelement vertex")
    path = made_up.write_zip(tmp_path / "textured.zip", made_up.svfr() | {MESH: mesh})
    result = run("validate", path)
    assert (result.status, result.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False])
def test_missing_landmarks_are_seen_from_the_header(quick: bool, tmp_path: Path) -> None:
    assert codes(mesh_report(tmp_path, made_up.ply(3000), quick=quick)) == {"missing_landmarks"}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(7, 2), (3, 7), (1, 7, 3), (68, 3)])
def test_landmarks_of_another_shape_are_wrong(shape: tuple[int, ...], tmp_path: Path) -> None:
    report = mesh_report(tmp_path, made_up.ply(3000), made_up.npy(np.zeros(shape)))
    assert codes(report) == {"wrong_landmarks"}

"""`nersemble inspect` on folders and files made up by real writers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT, MONO, NVS, SVFR, files
from tests import made_up
from tests.conftest import Run
from tests.fault_server import FaultServer, benchmark_content, content, pointcloud, tracking

VIDEO = "nvs/475/sequences/HAIR/images/cam_222200042.mp4"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    server = FaultServer()
    server.served = benchmark_content(NVS) | benchmark_content(SVFR)
    yield server
    server.close()


@pytest.fixture
def fetched(server: FaultServer, run: Run, tmp_path: Path) -> Path:
    """A benchmark folder with one NVS participant."""
    folder = tmp_path / "benchmark"
    assert run("download", "nvs", "-p", "475", "-f", folder, "--url", server.url).status == 0
    return folder


@pytest.fixture
def by_official(tmp_path: Path) -> Path:
    """The same folder as another tool leaves it: without a manifest."""
    folder = tmp_path / "official"
    served = benchmark_content(NVS)
    for name in ["metadata.json", *(file.path for file in files(NVS, participants=[475]))]:
        path = folder / "nvs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(served[f"nvs/{name}"])
    return folder


# Folders


def test_a_complete_participant(fetched: Path, run: Run) -> None:
    result = run("inspect", "-f", fetched, "-p", "475")
    assert result.status == 0
    rows = [line.split()[:3] for line in result.out.splitlines() if line.startswith("475")]
    assert rows == [
        ["475", "calibration", "1/1"], ["475", "images", "13/13"], ["475", "alpha_maps", "13/13"],
        ["475", "pointclouds", "1/1"],
    ]  # fmt: skip
    assert "To fetch" not in result.out


def test_a_folder_of_the_official_toolkit(by_official: Path, run: Run) -> None:
    document = json.loads(run("inspect", by_official, "-p", "475", "--json").out)
    (nvs,) = document["benchmarks"]
    assert (nvs["complete"], nvs["files"], nvs["present_files"]) == (True, 28, 28)


def test_what_is_missing_and_the_command_that_fetches_it(
    fetched: Path, run: Run, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fetched / VIDEO).unlink()
    result = run("inspect", "-f", fetched, "-p", "475")
    assert "12/13" in result.out
    assert "1 missing" in result.out
    (line,) = [line for line in result.out.splitlines() if line.startswith("To fetch what is missing: ")]
    command = line.removeprefix("To fetch what is missing: ")
    assert command == f"nersemble download nvs -p 475 -a images -f {fetched}"
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", server.url)
    assert run(*command.split()[1:]).status == 0
    assert (fetched / VIDEO).read_bytes() == content(".mp4")


def test_wrong_size(fetched: Path, run: Run) -> None:
    (fetched / VIDEO).write_bytes(b"cut")
    result = run("inspect", "-f", fetched, "-p", "475")
    assert "1 of wrong size" in result.out
    assert f"{VIDEO}: 3 bytes, expected {len(content('.mp4')):,}" in result.out


def test_point_clouds_that_were_fetched_once_are_expected(server: FaultServer, fetched: Path, run: Run) -> None:
    arguments = ("-p", "475", "-a", "pointclouds", "--pointcloud-frames", "all", "-f", fetched)
    run("download", "nvs", *arguments, "--url", server.url)
    folder = fetched / "nvs/475/sequences/HAIR/pointclouds"
    (folder / "frame_00001.pcd").unlink()
    (folder / "frame_00002.pcd").unlink()
    result = run("inspect", "-f", fetched, "-p", "475")
    assert "1/3" in result.out
    assert "--pointcloud-frames 1-2" in result.out


def test_an_empty_folder_says_how_to_fill_it(run: Run, tmp_path: Path) -> None:
    result = run("inspect", tmp_path)
    assert result.status == 0
    for name in ("nvs", "mono", "svfr"):
        assert f"nersemble download {name} -f {tmp_path}" in result.out


def test_no_folder(run: Run) -> None:
    result = run("inspect")
    assert result.status == 2
    assert "nersemble download" in result.err


def test_an_unknown_participant(run: Run, tmp_path: Path) -> None:
    result = run("inspect", tmp_path, "-p", "999")
    assert result.status == 2
    assert "388" in result.err


def test_folder_json(fetched: Path, run: Run) -> None:
    (fetched / VIDEO).unlink()
    result = run("inspect", "-f", fetched, "--json")
    document = json.loads(result.out)
    assert (document["schema_version"], document["folder"], document["verified"]) == (1, str(fetched), False)
    assert [benchmark["benchmark"] for benchmark in document["benchmarks"]] == ["nvs", "mono", "svfr"]
    images = next(
        group
        for group in document["benchmarks"][0]["groups"]
        if (group["participant"], group["asset"]) == (475, "images")
    )
    assert images["missing"] == [VIDEO.removeprefix("nvs/")]


# Verification


def test_verify_finds_a_flipped_bit(fetched: Path, run: Run, server: FaultServer) -> None:
    data = bytearray((fetched / VIDEO).read_bytes())
    data[len(data) // 2] ^= 1
    (fetched / VIDEO).write_bytes(data)
    assert run("inspect", "-f", fetched, "-p", "475").status == 0
    result = run("inspect", "-f", fetched, "-p", "475", "--verify")
    assert result.status == 1
    assert f"{VIDEO}: is not what was downloaded" in result.out
    assert "1 damaged" in result.out
    assert "nersemble download nvs -p 475 -a images -s HAIR -c 222200042" in result.out
    assert "--overwrite" in result.out


def test_verify_of_a_whole_folder(fetched: Path, run: Run) -> None:
    result = run("inspect", "-f", fetched, "-p", "475", "--verify")
    assert result.status == 0
    assert "Verified 28 files by sha256: 0 damaged." in result.out


def test_verify_without_checksums_looks_whether_files_are_whole(by_official: Path, run: Run) -> None:
    (by_official / VIDEO).write_bytes(content(".mp4")[:-10])
    document = json.loads(run("inspect", by_official, "-p", "475", "--verify", "--json").out)
    (damaged,) = document["benchmarks"][0]["damaged"]
    assert damaged["path"] == VIDEO.removeprefix("nvs/")
    assert "cut short" in damaged["reason"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("nobody expected this")])
def test_a_file_that_cannot_be_read_does_not_end_a_verification(
    error: Exception, by_official: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: object, name: str) -> None:
        if name == Path(VIDEO).name:
            raise error

    monkeypatch.setattr("nersemble_cli.core.inspect.folder.check_content", fail)
    result = run("inspect", by_official, "-p", "475", "--verify", "--json")
    damaged = json.loads(result.out)["benchmarks"][0]["damaged"]
    assert result.status == 1
    assert {Path(item["path"]).name for item in damaged} == {Path(VIDEO).name}
    assert "cannot be read" in damaged[0]["reason"] and "Unexpected" not in result.err


# Files


def facts(run: Run, path: Path) -> dict[str, object]:
    """The JSON of a file; the text for people is made from the same, and must not fail."""
    human = run("inspect", path)
    assert human.status == 0, human.err
    assert human.out
    document: dict[str, object] = json.loads(run("inspect", path, "--json").out)
    assert document.pop("schema_version") == 1
    return document


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_video(run: Run, tmp_path: Path) -> None:
    found = facts(run, write(tmp_path / "cam.mp4", content(".mp4")))
    assert (found["codec"], found["pixel_format"], found["audio_tracks"]) == ("h264", "yuv420p", 0)
    assert (found["width"], found["height"]) == (MONO.width, MONO.height)
    assert (found["n_frames_in_header"], found["n_frames_counted"]) == (made_up.N_FRAMES, made_up.N_FRAMES)
    assert found["fps"] == pytest.approx(24.3)


def test_cameras(run: Run, tmp_path: Path) -> None:
    document = json.loads(content(".json"))
    document["world_2_cam"]["222200037"] = [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, -2], [0, 0, 0, 1]]
    document["world_2_cam"]["222200042"] = np.diag([2.0, 2, 2, 1]).tolist()
    found = facts(run, write(tmp_path / "camera_params.json", json.dumps(document).encode()))
    assert found["n_cameras"] == 16
    rows = {row["serial"]: row for row in found["cameras"]}
    assert rows["222200037"]["center"] == [-0.5, 0, 2]
    assert [serial for serial, row in rows.items() if not row["rigid"]] == ["222200042"]
    assert found["poses"] == "NOT rigid: 222200042"


@pytest.mark.parametrize("data", ["ASCII", "BINARY", "BINARY_COMPRESSED"])
def test_pointcloud(data: str, run: Run, tmp_path: Path) -> None:
    found = facts(run, write(tmp_path / "frame.pcd", pointcloud(data)))
    assert (found["n_points"], found["data"], found["fields"]) == (50, data.lower(), "x y z")
    assert len(found["minimum"]) == 3


@pytest.mark.parametrize(("name", "version"), [("flame2023_tracking_v2.npz", 2), ("flame2023_tracking.npz", 1)])
def test_tracking(name: str, version: int, run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / name, **tracking())
    found = facts(run, tmp_path / name)
    assert (found["kind"], found["version"], found["n_frames"]) == ("FLAME tracking", version, made_up.N_FRAMES)
    assert {"array": "expression", "shape": [made_up.N_FRAMES, 100], "dtype": "float32"} in found["arrays"]


@pytest.mark.parametrize("n", [FLAME_VERTEX_COUNT, 100])
def test_mesh(n: int, run: Run, tmp_path: Path) -> None:
    found = facts(run, write(tmp_path / "mesh_posed.ply", made_up.ply(n)))
    assert (found["n_vertices"], found["n_faces"]) == (n, len(made_up.face_triangles(n)))
    assert found["flame_topology"] is (n == FLAME_VERTEX_COUNT)


def test_landmarks(run: Run, tmp_path: Path) -> None:
    found = facts(run, write(tmp_path / "landmarks.npy", made_up.npy(made_up.now_landmarks())))
    assert (found["shape"], found["now_landmarks"], found["finite"]) == ([7, 3], True, True)


@pytest.mark.slow
def test_submission(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    made_up.write_zip(path, made_up.nvs())
    found = facts(run, path)
    assert (found["submission_to"], found["n_files"]) == ("nvs", 15)
    assert {"folder": "388/GLASSES", "files": 3, "bytes": 3 * len(made_up.video("nvs"))} in found["tree"]


def test_image(run: Run, tmp_path: Path) -> None:
    found = facts(run, write(tmp_path / "rgb.png", content(".png")))
    assert (found["width"], found["height"]) == (32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.json", "a.pcd", "a.npz", "a.ply", "a.npy", "a.zip", "a.png"])
@pytest.mark.parametrize("data", [b"", b"<html>no</html>", b"\x00" * 1000], ids=["empty", "html", "zeros"])
def test_a_file_that_is_not_what_it_says(name: str, data: bytes, run: Run, tmp_path: Path) -> None:
    result = run("inspect", write(tmp_path / name, data))
    assert result.status == 1
    assert str(tmp_path / name) in result.err
    assert "Unexpected" not in result.err
    assert result.out == ""


@pytest.mark.parametrize("suffix", [".mp4", ".json", ".pcd", ".npz", ".png"])
def test_a_file_that_is_cut_short(suffix: str, run: Run, tmp_path: Path) -> None:
    data = content(suffix)
    result = run("inspect", write(tmp_path / f"a{suffix}", data[: len(data) * 2 // 3]))
    assert result.status == 1
    assert "Unexpected" not in result.err


def test_an_unknown_type(run: Run, tmp_path: Path) -> None:
    result = run("inspect", write(tmp_path / "notes.txt", b"hello"))
    assert result.status == 2
    assert ".mp4" in result.err


def test_a_path_that_is_not_there(run: Run) -> None:
    result = run("inspect", "nowhere.mp4")
    assert result.status == 2
    assert "nowhere.mp4" in result.err


def test_names_in_an_npz_cannot_act_on_the_terminal(tmp_path: Path, run: Run) -> None:
    np.savez(tmp_path / "a.npz", **{"\x1b[31m[/red]\x9b": np.zeros(3)})
    result = run("inspect", tmp_path / "a.npz")
    assert result.status == 0
    assert "\\x1b[31m[/red]\\x9b" in result.out and "\x1b" not in result.out and "\x9b" not in result.out


def test_a_cloud_of_one_point(tmp_path: Path, run: Run) -> None:
    lines = ["VERSION 0.7", "FIELDS x y z", "SIZE 4 4 4", "TYPE F F F", "WIDTH 1", "HEIGHT 1", "POINTS 1"]
    (tmp_path / "a.pcd").write_text("\n".join([*lines, "DATA ascii", "1 2 3"]) + "\n")
    assert "n points: 1" in run("inspect", tmp_path / "a.pcd").out


def test_a_file_that_cannot_be_read_is_not_said_to_be_downloaded_again(tmp_path: Path, run: Run) -> None:
    (tmp_path / "camera_params.json").write_text('{"world_2_cam": 1}')
    result = run("inspect", tmp_path / "camera_params.json")
    assert result.status == 1
    assert "Delete it" not in result.err and "--verify" in result.err

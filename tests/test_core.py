"""The small parts below packing and validating."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import nersemble_cli
from nersemble_cli import constants
from nersemble_cli.core import settings as project_settings
from nersemble_cli.core.benchmarks import BENCHMARKS, MONO, NVS, SVFR, choose, get_benchmark, parse_participant
from nersemble_cli.core.data.frame_counts import frame_counts
from nersemble_cli.core.errors import Cancelled, InvalidInputError, UsageError
from nersemble_cli.core.formats.npy import read_npy
from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply
from nersemble_cli.core.formats.png import check_png, psnr, read_rgb
from nersemble_cli.core.submission import names
from nersemble_cli.core.submission.mesh_checks import check_landmarks, count_coincident
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.threads import Cancel, in_threads
from tests import made_up

# Benchmarks


def test_submissions_have_the_documented_sizes() -> None:
    assert len(NVS.video_slots) == 15
    assert len(MONO.video_slots) == 80
    assert len(SVFR.mesh_slots) == 2 * 391
    assert sum(NVS.n_frames.values()) * 3 == 10548


def test_timesteps_are_padded_in_submissions_only() -> None:
    padded = [s for s in SVFR.mesh_slots if s.kind == "posed" and f"_{s.key.timestep}_" not in s.path]
    assert len(padded) == 116
    assert "{timestep}" in SVFR.assets[0].path


def test_constants_have_the_official_types() -> None:
    assert constants.BENCHMARK_NVS_IDS_AND_SEQUENCES[0] == (388, "GLASSES")
    assert len(constants.BENCHMARK_NVS_TRAIN_SERIALS) == 13
    assert constants.BENCHMARK_SVFR_IMAGE_KEYS[17][0] == ("EMO-1-shout+laugh", 156, "221501007")
    assert sum(map(len, constants.BENCHMARK_SVFR_IMAGE_KEYS.values())) == 391


@pytest.mark.parametrize("value", ["17", "017", 17, " 17 "])
def test_participant_may_be_padded(value: str | int) -> None:
    assert parse_participant(value, SVFR) == 17


def test_participant_of_another_benchmark_is_told_apart() -> None:
    with pytest.raises(UsageError, match="388 belongs to nvs"):
        parse_participant(388, MONO)


def test_choice_keeps_the_valid_order() -> None:
    assert choose("letter", ["c", "a"], "abc") == ("a", "c")
    assert choose("letter", [], "abc") == ("a", "b", "c")


def test_unknown_benchmark_lists_the_known() -> None:
    with pytest.raises(UsageError, match="nvs, mono, svfr"):
        get_benchmark("nvs2")


# Public names


def test_every_public_name_can_be_imported() -> None:
    for name in nersemble_cli._HOME_OF:
        assert getattr(nersemble_cli, name) is not None
        assert name in dir(nersemble_cli)


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["pack", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from nersemble_cli.cli.app import main\n"
        f"sys.argv = ['nersemble', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit as end: status = end.code\n"
        "heavy = {'numpy', 'cv2', 'av', 'trimesh', 'vtk', 'torch', 'requests', 'pyvista'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} {status}' if heavy or status else 0)"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr


# Names


@given(
    st.sampled_from([n for b in BENCHMARKS.values() for n in names.expected_names(b)]),
    st.booleans(),
    st.booleans(),
)
def test_canonical_name_is_the_same_however_it_is_written(name: str, backslashes: bool, unpadded: bool) -> None:
    written = name.replace("cam_", "").upper().replace(".MP4", ".mp4")
    written = written.replace("/", "\\") if backslashes else written
    written = written.lstrip("0") if unpadded else f"0{written}"
    assert names.canonical(written) == names.canonical(name)


def test_canonical_names_are_distinct() -> None:
    for benchmark in BENCHMARKS.values():
        expected = names.expected_names(benchmark)
        assert len({names.canonical(name) for name in expected}) == len(expected)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_is_recognised_by_a_single_file(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert names.recognise(names.expected_names(benchmark)[3:4]) is benchmark


# Images


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), st.booleans())
@settings(max_examples=60, deadline=None)
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, interlaced: bool) -> None:
    path = tmp_path_factory.mktemp("png") / "image.png"
    path.write_bytes(made_up.png(pixels, interlaced))
    info = check_png(path, inflate=True)
    assert (info.height, info.width) == pixels.shape[:2]
    assert np.array_equal(read_rgb(path), pixels)


def test_large_png_is_read_as_opencv_does(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), pixels[..., ::-1])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_straight_and_on_white(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    alpha = pixels[..., -1:] / 255
    on_white = np.round(pixels[..., :-1] * alpha + 255 * (1 - alpha))
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.broadcast_to(on_white, (5, 7, 3)))


def test_palette_with_a_transparent_entry_is_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_rgb(tmp_path / "a.png")
    assert (pixels[0, 0].tolist(), pixels[1, 2].tolist()) == ([255, 255, 255], [40, 50, 60])


def test_sixteen_bits_are_rounded_not_cut(tmp_path: Path) -> None:
    pixels = np.array([[[0, 128, 129], [65535, 65406, 65407]]], np.uint16)
    (tmp_path / "a.png").write_bytes(made_up.png(pixels))
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0, 0, 1], [255, 254, 255]]]
    assert check_png(tmp_path / "a.png").conversion == "16 bits rounded to 8"


def test_grey_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(made_up.png(np.array([[0, 77, 255]], np.uint8)))
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0] * 3, [77] * 3, [255] * 3]]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_of_a_png_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = made_up.png(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    position = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.getbasetemp() / "changed.png"
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    with pytest.raises(InvalidInputError):
        check_png(path)
    with pytest.raises(InvalidInputError):
        read_rgb(path)


def test_png_of_impossible_size_is_refused(tmp_path: Path) -> None:
    whole = made_up.png(np.zeros((9, 9, 3), np.uint8))
    header = b"IHDR" + b"\xff" * 8 + whole[24:29]
    (tmp_path / "a.png").write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
    with pytest.raises(InvalidInputError, match="bytes of pixels"):
        check_png(tmp_path / "a.png", inflate=True)


@pytest.mark.parametrize("keep", [0, 7, 20, 60, -1])
def test_png_cut_short_is_found(keep: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(made_up.png(np.zeros((9, 9, 3), np.uint8))[:keep])
    with pytest.raises(InvalidInputError):
        check_png(tmp_path / "a.png")


def test_psnr_of_a_known_difference() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    assert psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(a, a) == float("inf")


# Meshes


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(3, 30), st.just(3)), elements=st.floats(-1, 1, width=32)),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_mesh_round_trip(vertices: np.ndarray, data: st.DataObject) -> None:
    shape = st.tuples(st.integers(1, 20), st.just(3))
    faces = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, len(vertices) - 1)))
    read = read_ply(mesh_to_ply(vertices, faces))
    assert np.array_equal(read.vertices.astype(np.float32), vertices)
    assert np.array_equal(read.faces, faces)


@given(hnp.arrays(np.float64, (40, 3), elements=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])))
@settings(max_examples=30, deadline=None)
def test_coincident_vertices_are_counted_as_trimesh_merges_them(vertices: np.ndarray) -> None:
    # Neighbours along one direction are compared, so exact equals are always beside each other.
    assert count_coincident(vertices) == 40 - len(np.unique(vertices, axis=0))


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_landmark_order_is_judged_in_any_space(seed: int, scale: float) -> None:
    moved = scale * made_up.now_landmarks() @ rotation(seed).T + seed
    assert check_landmarks("x", moved, None) == []
    mirrored = moved * [-1, 1, 1]
    assert [f.code for f in check_landmarks("x", mirrored, None)] == ["landmarks_mirrored"]


def test_object_array_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Object arrays cannot be loaded"):
        read_npy(made_up.npy(np.array([None]), allow_pickle=True))


# Zips


@given(st.dictionaries(st.text("abc/", min_size=1, max_size=5), st.binary(max_size=99), max_size=5))
@settings(max_examples=20, deadline=None)
def test_zip_has_the_same_bytes_for_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    files = {}
    for i, (name, data) in enumerate(contents.items()):
        files[name] = folder / str(i)
        files[name].write_bytes(data)
    write_zip(folder / "a.zip", files)
    write_zip(folder / "b.zip", dict(reversed(files.items())), consume=files)
    assert (folder / "a.zip").read_bytes() == (folder / "b.zip").read_bytes()
    with zipfile.ZipFile(folder / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    assert not any(path.exists() for path in files.values())


# Frame counts


def write_tracking(folder: Path, participant: int, sequence: str, n: int) -> None:
    path = folder / f"mono_flame_avatar/{participant:03d}/sequences/{sequence}/tracking/flame2023_tracking_v2.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, frames=np.arange(n), jaw=np.zeros((n, 3)))


def test_tracking_files_give_counts_where_metadata_does_not(tmp_path: Path) -> None:
    write_tracking(tmp_path, 393, "FREE", 204)
    counts = frame_counts(MONO, tmp_path)
    assert counts.get(393, "FREE") == 204
    assert counts.get(393, "EMO-1-shout+laugh") is None
    assert counts.totals[393] == 816
    assert counts.sources[0].startswith("the FLAME tracking files in")


def test_metadata_comes_before_tracking(folder: Path, tmp_path: Path) -> None:
    write_tracking(tmp_path, 393, "FREE", 204)
    (tmp_path / "mono_flame_avatar" / "metadata.json").write_bytes(
        (folder / "mono_flame_avatar" / "metadata.json").read_bytes()
    )
    assert frame_counts(MONO, tmp_path).get(393, "FREE") == made_up.N_FRAMES


def test_server_is_asked_only_for_what_is_not_at_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("asked the server"))
    assert frame_counts(NVS, folder, "https://secret.example/key").get(388, "GLASSES") == made_up.N_FRAMES


def test_server_s_counts_come_before_the_built_in_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    response = requests.Response()
    response.status_code = 200
    response.raw = io.BytesIO((folder / "nvs" / "metadata.json").read_bytes())
    monkeypatch.setattr(requests, "get", lambda *_, **__: response)
    counts = frame_counts(NVS, None, "https://secret.example/key")
    assert (counts.get(388, "GLASSES"), counts.sources) == (made_up.N_FRAMES, ("the server's metadata.json",))


def test_unreachable_server_is_noted_without_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, **_: object) -> None:
        raise requests.ConnectionError(f"no route to {url}")

    monkeypatch.setattr(requests, "get", fail)
    counts = frame_counts(NVS, None, "https://secret.example/key")
    assert counts.get(388, "GLASSES") == 1118
    assert "ConnectionError" in counts.notes[0]
    assert "secret" not in counts.notes[0]


# Settings


def test_url_comes_from_the_official_toolkit_s_file() -> None:
    path = Path.home() / ".config" / "nersemble_benchmark" / ".env"
    path.parent.mkdir(parents=True)
    path.write_text('NERSEMBLE_BENCHMARK_URL = "https://example.org/key/"\n')
    assert project_settings.find_url() == "https://example.org/key"


def test_working_directory_s_file_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    test_url_comes_from_the_official_toolkit_s_file()
    Path(".env").write_text("NERSEMBLE_BENCHMARK_URL=https://example.org/here")
    assert project_settings.find_url() == "https://example.org/here"
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", "https://example.org/environment")
    assert project_settings.find_url() == "https://example.org/environment"


def test_placeholder_of_the_instructions_is_no_url() -> None:
    Path(".env").write_text('NERSEMBLE_BENCHMARK_URL = "<<<URL YOU GOT WHEN REQUESTING ACCESS TO NERSEMBLE>>>"')
    assert project_settings.find_url() is None


# Threads


def test_failure_of_one_part_cancels_the_others() -> None:
    cancelled = []

    def work(item: int, cancel: Cancel) -> None:
        if item == 3:
            raise ValueError("three")
        try:
            while True:
                cancel.check()
        except Cancelled:
            cancelled.append(item)
            raise

    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, [1, 2, 3], 3))
    assert sorted(cancelled) == [1, 2]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_every_item_comes_back_once(items: list[int], workers: int) -> None:
    assert sorted(in_threads(lambda item, _: -item, items, workers)) == sorted((i, -i) for i in items)


def test_svfr_images_are_package_data() -> None:
    from importlib import resources

    text = resources.files("nersemble_cli").joinpath("data/svfr_images.json").read_text("utf-8")
    assert sum(map(len, json.loads(text).values())) == 391

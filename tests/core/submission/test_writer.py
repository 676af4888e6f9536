from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

import nersemble_cli
from nersemble_cli import (
    MonoFlameAvatarSubmissionDataWriter,
    NersembleError,
    NVSSubmissionDataWriter,
    SVFRSubmissionDataWriter,
    validate_submission,
)
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.submission.writer import SubmissionIncompleteWarning, write_zip
from tests import made_up
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

KEY = SVFR.slots[0].key
PERSON = SVFR.slots[0].participant


def mesh(n: int = 5023) -> trimesh.Trimesh:
    return trimesh.Trimesh(made_up.face_vertices(n), made_up.face_triangles(n), process=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.zip"


def test_video_is_encoded_from_any_iterable(path: Path) -> None:
    def stream() -> Iterator[np.ndarray]:
        yield from made_up.head_frames(NVS)

    with pytest.warns(SubmissionIncompleteWarning), NVSSubmissionDataWriter(path) as writer:
        writer.add_video(475, "HAIR", "222200037", stream())
    with zipfile.ZipFile(path) as archive:
        assert archive.read("475/HAIR/cam_222200037.mp4") == made_up.video("nvs")


def test_wrong_number_of_frames_and_missing_videos_are_warned_of(path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with NVSSubmissionDataWriter(path) as writer:
            writer.add_video(475, "HAIR", "222200037", made_up.head_frames(NVS))
    texts = [str(w.message) for w in caught]
    assert "It has 3 frames, expected 259." in texts[0]
    assert "lacks 14 files" in texts[1]


def test_complete_mono_submission_is_valid(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def copied(frames: object, target: Path, *_: object) -> int:
        target.write_bytes(made_up.video("mono"))
        return made_up.N_FRAMES

    monkeypatch.setattr("nersemble_cli.core.submission.writer.encode_video", copied)
    with MonoFlameAvatarSubmissionDataWriter(path) as writer:
        for slot in MONO.slots:
            writer.add_video(slot.participant, slot.sequence, slot.serial, [])
    assert validate_submission(path, folder=folder).findings == []


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.zeros((1100, 1604, 3), np.uint8), "swapped"),
        (np.zeros((1604, 1100, 3), np.float32), "float32 (1604, 1100, 3)"),
        (np.zeros((1604, 1100, 4), np.uint8), "expected uint8 (1604, 1100, 3)"),
        ([[0]], "list"),
    ],
)
def test_every_frame_is_checked(frame: object, says: str, path: Path) -> None:
    frames = [*made_up.head_frames(NVS, 2), frame]
    with pytest.raises(ValueError, match="Frame 2 is") as error, NVSSubmissionDataWriter(path) as writer:
        writer.add_video(475, "HAIR", "222200037", frames)  # type: ignore[arg-type]
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((17, "HAIR", "222200037"), "17 belongs to svfr"),
        ((475, "FREE", "222200037"), "Valid: HAIR"),
        ((475, "HAIR", "222200042"), "222200046, 222200037, 222200039"),
    ],
)
def test_unknown_names_list_the_valid_ones(arguments: tuple[int, str, str], says: str, path: Path) -> None:
    with pytest.raises(NersembleError) as error, NVSSubmissionDataWriter(path) as writer:
        writer.add_video(*arguments, [])
    assert says in str(error.value)


def test_failing_block_keeps_the_older_zip_and_leaves_nothing(path: Path) -> None:
    path.write_text("older")
    with pytest.raises(ZeroDivisionError), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, mesh())
        raise ZeroDivisionError
    assert path.read_text() == "older"
    assert list(path.parent.glob(".*")) == []


def test_finished_block_replaces_the_older_zip(path: Path) -> None:
    path.write_text("older")
    with pytest.warns(SubmissionIncompleteWarning), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, mesh())
    assert zipfile.is_zipfile(path)


def test_mesh_keeps_its_vertices_and_their_order(path: Path) -> None:
    with pytest.warns(SubmissionIncompleteWarning), SVFRSubmissionDataWriter(path) as writer:
        writer.add_neutral_mesh(PERSON, *KEY, mesh())
    with zipfile.ZipFile(path) as archive:
        read = read_ply(archive.read(SVFR.slots[1].path))
    assert np.array_equal(read.vertices.astype(np.float32), made_up.face_vertices())
    assert np.array_equal(read.faces, made_up.face_triangles())


def test_complete_svfr_submission_is_valid(path: Path) -> None:
    flame, other = mesh(), mesh(3000)
    with SVFRSubmissionDataWriter(path) as writer:
        for participant, keys in nersemble_cli.BENCHMARK_SVFR_IMAGE_KEYS.items():
            for key in keys:
                writer.add_posed_mesh(participant, *key, flame)
                writer.add_neutral_mesh(participant, *key, other, made_up.now_landmarks())
    report = validate_submission(path)
    assert report.valid
    # One mesh stands for all of them here, which is told.
    assert {finding.code for finding in report.findings} == {"duplicate_mesh"}


@pytest.mark.parametrize(
    ("n", "landmarks", "says"),
    [
        (5009, None, "lost vertices"),
        (3000, None, "no landmarks_posed.npy"),
        (3000, np.zeros((7, 2)), r"\(7, 2\), expected \(7, 3\)"),
        (3000, 1000 * made_up.now_landmarks(), "from the mesh"),
        (3000, made_up.now_landmarks()[::-1], "eye corners"),
    ],
)
def test_what_the_server_would_reject_is_refused(n: int, landmarks: object, says: str, path: Path) -> None:
    with pytest.raises(ValueError, match=says), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, mesh(n), landmarks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [
        (np.zeros((5023, 2)), np.zeros((9, 3), int)),
        (np.zeros(5023), np.zeros((9, 3), int)),
        (np.zeros((5023, 3)), np.zeros((9, 3))),
        (np.zeros((5023, 3)), np.zeros((9, 4), int)),
        (np.zeros((0, 3)), np.zeros((0, 3), int)),
    ],
)
def test_arrays_of_another_form_are_refused(vertices: np.ndarray, faces: np.ndarray, path: Path) -> None:
    wrong = SimpleNamespace(vertices=vertices, faces=faces)
    with pytest.raises(NersembleError, match="expected"), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, wrong)  # type: ignore[arg-type]


def test_the_folder_of_the_zip_is_created(tmp_path: Path) -> None:
    path = tmp_path / "results" / "run 1" / "out.zip"
    with pytest.warns(SubmissionIncompleteWarning), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, mesh())
    assert zipfile.is_zipfile(path)


def test_a_folder_that_cannot_be_created_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UsageError, match="results cannot be created"):
        SVFRSubmissionDataWriter(tmp_path / "results" / "out.zip")


def test_nothing_added_replaces_nothing(path: Path) -> None:
    path.write_text("older")
    with pytest.raises(NersembleError, match="Nothing was added"), NVSSubmissionDataWriter(path):
        pass
    assert path.read_text() == "older"


def test_same_video_twice_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="added before"), SVFRSubmissionDataWriter(path) as writer:
        writer.add_posed_mesh(PERSON, *KEY, mesh())
        writer.add_posed_mesh(PERSON, *KEY, mesh())


def test_unknown_image_is_refused(path: Path) -> None:
    with (
        pytest.raises(NersembleError, match="no image FREE_1_222200037"),
        SVFRSubmissionDataWriter(path) as writer,
    ):
        writer.add_posed_mesh(PERSON, "FREE", 1, "222200037", mesh())


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


_SCRIPT = """
import numpy as np, sys
from types import SimpleNamespace
from nersemble_cli import SVFRSubmissionDataWriter
from tests import made_up
from nersemble_cli.core.benchmarks import SVFR
slot = SVFR.slots[0]
writer = SVFRSubmissionDataWriter(sys.argv[1])
mesh = SimpleNamespace(vertices=made_up.face_vertices(), faces=made_up.face_triangles())
writer.add_posed_mesh(slot.participant, *slot.key, mesh)
"""


def _run_script(path: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _SCRIPT + more, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_writer_that_is_never_closed_leaves_a_zip_and_a_warning(path: Path) -> None:
    done = _run_script(path)
    assert "was never closed" in done.stderr
    assert "lacks 390 files" in done.stderr
    assert zipfile.is_zipfile(path)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_unclosed_incomplete_submission_replaces_no_older_zip(path: Path) -> None:
    path.write_text("older")
    done = _run_script(path)
    assert path.read_text() == "older"
    (saved,) = path.parent.glob("out.unclosed-*.zip")
    assert zipfile.is_zipfile(saved)
    assert str(saved) in done.stderr


def test_terminated_program_loses_nothing(path: Path) -> None:
    done = _run_script(path, "import os, signal; os.kill(os.getpid(), signal.SIGTERM); input()")
    assert done.returncode == 143
    assert zipfile.is_zipfile(path)


def test_scratch_of_a_killed_program_is_removed_by_the_next_one(path: Path) -> None:
    _run_script(path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert list(path.parent.glob(".out.zip.*.tmp"))
    with pytest.warns(SubmissionIncompleteWarning), SVFRSubmissionDataWriter(path) as writer:
        assert len(list(path.parent.glob(".out.zip.*.tmp"))) == 1
        SVFRSubmissionDataWriter(path).discard()  # leaves what is in use
        writer.add_posed_mesh(PERSON, *KEY, mesh())
    assert list(path.parent.glob(".*")) == []


def test_collected_writer_is_finished(path: Path) -> None:
    writer = SVFRSubmissionDataWriter(path)
    writer.add_posed_mesh(PERSON, *KEY, mesh())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del writer
        gc.collect()
    assert any("was never closed" in str(w.message) for w in caught)
    assert zipfile.is_zipfile(path)

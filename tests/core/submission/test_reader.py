from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nersemble_cli import (
    MonoFlameAvatarSubmissionDataReader,
    NVSSubmissionDataReader,
    SVFRSubmissionDataReader,
    UsageError,
)
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR
from nersemble_cli.core.errors import MissingFileError
from tests import made_up

pytestmark = pytest.mark.slow

VIDEO = (475, "HAIR", "222200037")


@pytest.fixture(scope="module")
def nvs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = made_up.nvs()
    del files["388/GLASSES/cam_222200037.mp4"]
    return made_up.write_zip(tmp_path_factory.mktemp("reader") / "out.zip", files)


def test_video_is_loaded_from_the_zip(nvs: Path) -> None:
    with NVSSubmissionDataReader(nvs) as reader:
        frames = reader.load_video(*VIDEO)
        assert [frame.shape for frame in frames] == [(NVS.height, NVS.width, 3)] * made_up.N_FRAMES
        assert np.abs(frames[1].astype(int) - made_up.head_frame(NVS, 1)).mean() < 1
        assert np.array_equal(reader.load_video(*VIDEO, timestep=1)[0], frames[1])
        assert len(reader.load_video(*VIDEO, every_nth_frame=2)) == 2
        assert reader.load_video(*VIDEO, timestep=0, scale=0.5)[0].shape == (802, 550, 3)


def test_contents_are_listed(nvs: Path) -> None:
    with NVSSubmissionDataReader(nvs) as reader:
        assert reader.get_file_overview()[388] == {"GLASSES": ["222200039", "222200046"]}
        assert not reader.is_complete(388, "GLASSES")
        assert reader.is_complete(475, "HAIR")
        assert reader.list_expected_files() == [slot.path for slot in NVS.slots]
        assert reader.list_expected_video_lengths()["475/HAIR/cam_222200037.mp4"] == 259
        assert reader.get_expected_resolution() == (1100, 1604)


def test_issues_have_the_official_keys(nvs: Path) -> None:
    with NVSSubmissionDataReader(nvs) as reader:
        issues = reader.validate_submission()
    assert issues["missing_files"] == ["388/GLASSES/cam_222200037.mp4"]
    assert len(issues["wrong_frame_counts"]) == 14
    assert ("475/HAIR/cam_222200037.mp4", made_up.N_FRAMES, 259) in issues["wrong_frame_counts"]
    assert issues.keys() == {"missing_files", "wrong_frame_counts"}


def test_a_wrong_size_is_an_issue_with_both_sizes(tmp_path: Path) -> None:
    slot = MONO.slots[0]
    with MonoFlameAvatarSubmissionDataReader(
        made_up.write_zip(tmp_path / "out.zip", {slot.path: made_up.video("nvs")})
    ) as reader:
        issues = reader.validate_submission()
    assert issues["wrong_resolutions"] == [(slot.path, (1100, 1604), (512, 512))]


def test_nothing_wrong_is_an_empty_answer(tmp_path: Path) -> None:
    with SVFRSubmissionDataReader(made_up.write_zip(tmp_path / "out.zip", made_up.svfr("posed"))) as reader:
        assert reader.validate_submission() == {}


def test_issues_of_meshes_have_the_official_keys(tmp_path: Path) -> None:
    files = made_up.svfr("posed", "neutral")
    posed, neutral, *_ = (slot for slot in SVFR.slots if slot.key == SVFR.slots[0].key)
    assert (posed.kind, neutral.kind) == ("posed", "neutral")
    files[posed.path] = made_up.ply(100)
    files[neutral.path] = made_up.ply(100)
    files[neutral.landmarks_path] = made_up.npy(np.zeros((6, 3)))
    del files[SVFR.slots[-1].path]
    files["notes.txt"] = b"?"
    with SVFRSubmissionDataReader(made_up.write_zip(tmp_path / "out.zip", files)) as reader:
        issues = reader.validate_submission()
    assert issues["missing_posed_landmarks"] == [posed.landmarks_path]
    assert issues["wrong_neutral_landmarks"] == [(neutral.landmarks_path, (6, 3))]
    assert issues[f"missing_{SVFR.slots[-1].kind}_meshes"] == [SVFR.slots[-1].path]
    assert issues["unexpected_files"] == ["notes.txt"]


def test_an_empty_zip_lacks_both_tasks(tmp_path: Path) -> None:
    with SVFRSubmissionDataReader(made_up.write_zip(tmp_path / "out.zip", {})) as reader:
        assert reader.validate_submission()["missing_svfr_tasks"] == ["posed", "neutral"]


def test_other_errors_are_issues_too(tmp_path: Path) -> None:
    """An empty answer means that no error was found: what the official validator does not know of is there."""
    files = made_up.nvs()
    path = "475/HAIR/cam_222200037.mp4"
    files[path] = b"nothing"
    with NVSSubmissionDataReader(made_up.write_zip(tmp_path / "out.zip", files)) as reader:
        assert path in reader.validate_submission()["unreadable_video"]


def test_what_cannot_be_read_is_said(nvs: Path, tmp_path: Path) -> None:
    with NVSSubmissionDataReader(nvs) as reader:
        with pytest.raises(MissingFileError, match="is not in"):
            reader.load_video(388, "GLASSES", "222200037")
        with pytest.raises(UsageError, match="no timestep 3"):
            reader.load_video(*VIDEO, timestep=3)
    with pytest.raises(UsageError, match="does not exist"):
        NVSSubmissionDataReader(tmp_path / "nowhere.zip")


def test_meshes_and_landmarks_keep_their_order(tmp_path: Path) -> None:
    slot = SVFR.slots[0]
    files = {slot.path: made_up.ply(100), slot.landmarks_path: made_up.npy(made_up.now_landmarks())}
    with SVFRSubmissionDataReader(made_up.write_zip(tmp_path / "out.zip", files)) as reader:
        mesh = reader.load_posed_mesh(slot.participant, *slot.key)
        landmarks = reader.load_posed_landmarks(slot.participant, *slot.key)
        assert (reader.has_posed_reconstructions(), reader.has_neutral_reconstructions()) == (True, False)
    assert np.array_equal(mesh.vertices.astype(np.float32), made_up.face_vertices(100))
    assert np.array_equal(landmarks, made_up.now_landmarks())

"""`nersemble demo`: the real commands on a made-up benchmark, in a place of its own."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from nersemble_cli.cli.demo import _pictures
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.submission.validation import validate_submission
from nersemble_cli.core.synthetic.server import serving
from tests.conftest import Played, Run

pytestmark = pytest.mark.slow


def test_demo_runs_the_real_commands(played: Played) -> None:
    _, done = played
    assert done.returncode == 0, done.stderr
    commands = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("$ nersemble ")]
    assert commands == sorted(commands, key=["download", "inspect", "visualize", "pack", "validate"].index)
    assert set(commands) == {"download", "inspect", "visualize", "pack", "validate"}
    for name, task in (("made_up", "nvs"), ("made_up_mono", "mono"), ("made_up_svfr", "svfr")):
        assert f"{name}.zip is a valid {task} submission" in done.stdout
    for code in ("missing_file", "wrong_frame_count", "damaged_video"):
        assert f"error {code} (1)" in done.stdout
    assert "made_up_with_mistakes.zip is not a valid nvs submission: 3 errors." in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.usefixtures("drawing")
def test_demo_draws(played: Played) -> None:
    place, _ = played
    for name in ("cameras.png", "flame.png", "pointcloud.png"):
        picture = read_rgb(place / name)
        assert picture.shape[0] >= 700 and picture.std() > 10


@pytest.mark.parametrize(
    ("surface", "torch", "left_out"), [("nothing", True, 3), ("egl", False, 1), ("egl", True, 0)]
)
def test_demo_leaves_out_what_cannot_be_drawn_here(
    surface: str, torch: bool, left_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nersemble_cli.core.scenes.display.find_surface", lambda: surface)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if torch else None)
    reasons = [reason for _, reason in _pictures() if reason]
    assert len(reasons) == left_out
    assert all("OpenGL" in reason if surface == "nothing" else "torch" in reason for reason in reasons)


def test_demo_leaves_the_users_settings_alone(played: Played) -> None:
    place, done = played
    home = place.parent
    assert "s3cret" not in done.stdout + done.stderr
    assert (home / ".config/nersemble_benchmark/.env").read_text().count("\n") == 1
    assert not (home / "real").exists()
    assert not (home / ".cache" / "FLAME").exists()


def test_commands_for_real_data_work_in_the_folder_of_the_demo(
    played: Played, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = played
    monkeypatch.chdir(place)
    result = run("visualize", "flame", "393", "-s", "EXP-1-head", "-o", "again.ply")  # finds the model by .env
    assert (result.status, (place / "again.ply").is_file()) == (0, True), result.err


def test_demo_cannot_be_taken_for_a_submission(played: Played) -> None:
    place, done = played
    assert "is made up" in done.stderr
    assert "Made up" in (place / "made_up_server" / "SYNTHETIC.txt").read_text()
    real = validate_submission(place / "made_up.zip")  # as it would be for the benchmark itself
    assert {finding.code for finding in real.errors} == {"wrong_frame_count"}
    assert len(real.errors) == 15


def test_demo_wants_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run("demo", tmp_path)
    assert result.status == 2
    assert "not empty" in result.err and f"nersemble demo {tmp_path}_2" in result.err.replace("\n", "")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_server_serves_its_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.txt").write_text("0123456789")
    with serving(folder) as url:
        assert urllib.request.urlopen(f"{url}/file.txt").read() == b"0123456789"
        part = urllib.request.Request(f"{url}/file.txt", headers={"Range": "bytes=4-"})
        with urllib.request.urlopen(part) as answer:
            assert (answer.status, answer.read()) == (206, b"456789")
        for name in ("nothing.txt", "%2e%2e/secret.txt"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/{name}")
            assert refused.value.code == 404
            refused.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/file.txt", timeout=5)

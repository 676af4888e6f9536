"""What all exports share: choice, resuming, sizes, and a folder that holds only whole files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nersemble_cli.core.errors import MissingFileError, UsageError
from nersemble_cli.core.export import colmap, nerfstudio, run
from nersemble_cli.core.export.selection import parse_timesteps
from tests.core.export.conftest import Write


def _files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_second_run_writes_only_what_is_missing(write: Write, tmp_path: Path) -> None:
    write(nerfstudio.make_export, timesteps="0-2")
    before = _files(tmp_path / "out")
    (tmp_path / "out" / "images" / "cam_222200042" / "00001.png").unlink()
    again = write(nerfstudio.make_export, timesteps="0-2")
    assert (again.num_images, again.num_there) == (6, 5)
    after = _files(tmp_path / "out")
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name] and name.startswith(("images", "points"))}
    assert changed == {"images/cam_222200042/00001.png"}


def test_a_broken_off_run_leaves_whole_images_and_says_that_it_is_incomplete(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = run.write_file

    def fails(path: Path, content: bytes) -> None:
        if path.name == "00003.png":
            raise OSError(28, "No space left on device")
        written(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_file", fails)
        with pytest.raises(OSError, match="No space"):
            write(nerfstudio.make_export, timesteps="all", masks=False)
    out = tmp_path / "out"
    assert not json.loads((out / "export.json").read_text("utf-8"))["complete"]
    assert not (out / "transforms.json").exists()
    assert all(path.suffix == ".png" for path in (out / "images").rglob("*") if path.is_file())
    write(nerfstudio.make_export, timesteps="all", masks=False)
    assert json.loads((out / "export.json").read_text("utf-8"))["complete"]


def test_another_scale_is_refused(write: Write) -> None:
    write(colmap.make_export)
    with pytest.raises(UsageError, match=r"scale was 1.0, is 0.5"):
        write(colmap.make_export, scale=0.5)


def test_more_timesteps_may_be_added(write: Write, tmp_path: Path) -> None:
    write(nerfstudio.make_export)
    assert write(nerfstudio.make_export, timesteps="0,1").num_there == 2
    assert len(json.loads((tmp_path / "out" / "transforms.json").read_text("utf-8"))["frames"]) == 4


def test_a_folder_of_something_else_is_left_alone(write: Write, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="not of an export"):
        write(colmap.make_export)
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "thesis.txt"]


def test_a_dry_run_estimates_and_writes_nothing(write: Write, tmp_path: Path) -> None:
    planned = write(nerfstudio.make_export, timesteps="all", dry_run=True)
    assert not (tmp_path / "out").exists()
    done = write(nerfstudio.make_export, timesteps="all")
    assert done.num_bytes == pytest.approx(planned.num_bytes, rel=0.2)


def test_too_little_space_is_noticed_first(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "free_space", lambda path: 1000)
    with pytest.raises(UsageError, match="needs about"):
        write(colmap.make_export)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("all", None), ("7", [range(7, 8)]), ("0,5-6", [range(1), range(5, 7)]), ("0-99:2", [range(0, 100, 2)])],
)
def test_timesteps_are_numbers_and_ranges(text: str, expected: list[range] | None) -> None:
    assert parse_timesteps(text) == (None if expected is None else tuple(expected))


@pytest.mark.parametrize("text", ["", "x", "5-1", "1-9:0", "-3", "1:2:3", "²"])
def test_other_timesteps_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-t"):
        parse_timesteps(text)


@pytest.mark.parametrize(
    ("request_", "kind", "match"),
    [
        ({"participant": "17"}, UsageError, "not a participant of nvs or mono"),
        ({"benchmark": "svfr"}, UsageError, "single images"),
        ({"timesteps": "6"}, UsageError, "no timestep 6"),
        ({"sequences": ("FREE",)}, UsageError, "Unknown sequence"),
        ({"serials": ("222200037",)}, UsageError, "held out"),
        ({"serials": ("222200040",)}, MissingFileError, "nersemble download"),
        ({"hold_out": ("222200040",)}, UsageError, "hold out"),
        ({"hold_out": ("GLASSES",)}, UsageError, "nothing to train with"),
        ({"scale": 2.0}, UsageError, "--scale"),
        ({"image_format": "webp"}, UsageError, "png, jpg"),
        ({"participant": "393", "sequences": ("FREE",)}, UsageError, "hidden test set"),
        ({"participant": "422"}, MissingFileError, "nersemble download"),
    ],
)
def test_what_cannot_be_is_said(
    write: Write, request_: dict[str, object], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        write(colmap.make_export, **request_)

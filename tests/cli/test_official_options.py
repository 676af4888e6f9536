"""Spellings of the official toolkit."""

from __future__ import annotations

import pytest

from nersemble_cli.cli.options import _respelled
from tests.conftest import Run

DOWNLOAD = {
    "task": "task", "--participant": "participant", "-p": "participant", "--asset": "asset", "-a": "asset",
    "--pointcloud-frames": "pointcloud_frames", "--workers": "workers", "-j": "workers",
}  # fmt: skip
FLAME = {"participant": "participant", "--sequence": "sequence", "--timestep": "timestep"}
NEITHER = {"submission": "submission"}


@pytest.mark.parametrize(
    ("names", "typed", "meant"),
    [
        (DOWNLOAD, "nvs --n_workers 4", "nvs --workers 4"),
        (DOWNLOAD, "nvs --n_workers=4", "nvs --workers=4"),
        (DOWNLOAD, "nvs --pointcloud_frames all", "nvs --pointcloud-frames all"),
        (DOWNLOAD, "--pointcloud_frames 0 5 10 nvs", "--pointcloud-frames 0,5,10 nvs"),
        (DOWNLOAD, "nvs --assets images calibration", "nvs --asset images,calibration"),
        (DOWNLOAD, "--participant 388 422 nvs", "--participant 388,422 nvs"),
        (DOWNLOAD, "--participant_id 388 nvs", "--participant 388 nvs"),
        (DOWNLOAD, "nvs --participant all --assets all -j 2", "nvs -j 2"),
        (FLAME, "--participant_id 461 --sequence_name FREE", "461 --sequence FREE"),
        (FLAME, "--participant_id=461", "461"),
        (FLAME, "-- --participant_id", "-- --participant_id"),
        (NEITHER, "--n_workers 4", "--n-workers 4"),
        (NEITHER, "--participant_id 4", "--participant-id 4"),
    ],
)
def test_official_spellings_are_understood(names: dict[str, str], typed: str, meant: str) -> None:
    assert _respelled(typed.split(), names) == meant.split()


@pytest.mark.parametrize("option", ["--assets", "--participant"])
def test_all_is_everything(option: str, run: Run) -> None:
    """The official default is understood: the command goes on to ask for the URL."""
    result = run("download", "nvs", option, "all", "--dry-run")
    assert "Unknown" not in result.err and "URL" in result.err


def test_an_option_that_a_command_lacks_is_named_as_it_was_typed(run: Run) -> None:
    result = run("validate", "x.zip", "--n-workers", "2")
    assert result.status == 2 and "--n-workers" in result.err

"""What is expected of a sequence's videos, and its cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.submission.compare.reference import Reference, View, fingerprint, load, save
from nersemble_cli.core.submission.compare.signals import CELL_COLUMNS, CELL_ROWS


def view(seed: int) -> View:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (2, 8, 6, 3)).astype(np.uint8)
    cells = rng.normal(size=(5, CELL_ROWS * CELL_COLUMNS)).astype(np.float32)
    return View(images, images[..., 0] > 100, cells)


REFERENCE = Reference((0, 3), {"a": view(0)}, {"b": view(1), "c": view(2)}, {"b": view(3)}, {"a": "b"})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.npz"
    save(path, "key", REFERENCE)
    found = load(path, "key")
    assert found is not None
    assert (found.timesteps, found.nearest) == (REFERENCE.timesteps, REFERENCE.nearest)
    for group in ("expected", "seen", "controls"):
        views, expected = getattr(found, group), getattr(REFERENCE, group)
        assert views.keys() == expected.keys()
        for serial, its in views.items():
            for name, array in vars(its).items():
                np.testing.assert_array_equal(array, getattr(expected[serial], name))


def test_a_cache_of_other_data_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "cache.npz"
    assert load(path, "key") is None
    save(path, "key", REFERENCE)
    assert load(path, "other") is None
    path.write_bytes(path.read_bytes()[:200])
    assert load(path, "key") is None
    path.write_text("{}")
    assert load(path, "key") is None


@pytest.mark.parametrize(
    "broken",
    [
        replace(view(0), images=view(0).images[:1]),
        replace(view(0), masks=view(0).masks[0]),
        replace(view(0), cells=view(0).cells[:, :4]),
        replace(view(0), cells=view(0).cells * np.nan),
    ],
    ids=["images", "masks", "cells", "not finite"],
)
def test_a_cache_that_does_not_fit_together_is_not_used(tmp_path: Path, broken: View) -> None:
    path = tmp_path / "cache.npz"
    save(path, "key", replace(REFERENCE, expected={"a": broken}))
    assert load(path, "key") is None


def test_what_is_no_file_is_no_cache(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert load(tmp_path / "pipe.npz", "key") is None
    assert load(tmp_path, "key") is None


def test_a_folder_that_cannot_be_written_has_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save(tmp_path / "file" / "cache.npz", "key", REFERENCE)
    assert (tmp_path / "file").read_bytes() == b""


def test_the_key_changes_with_the_files_and_the_facts(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"1")
    first = fingerprint(tmp_path, [path], 1)
    assert first == fingerprint(tmp_path, [path], 1)
    assert first != fingerprint(tmp_path, [path], 2)
    os.utime(path, (1, 1))
    assert first != fingerprint(tmp_path, [path], 1)


def test_the_key_is_that_of_the_data_however_its_folder_is_called(tmp_path: Path) -> None:
    folder, link = tmp_path / "data", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    (folder / "video.mp4").write_bytes(b"1")
    assert fingerprint(folder, [folder / "video.mp4"]) == fingerprint(link, [link / "video.mp4"])

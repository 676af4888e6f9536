"""The cache of decoded frames: the same pixels, within its bounds, shared and found again."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.data import frame_cache
from nersemble_cli.core.data.frame_cache import FrameCache
from nersemble_cli.core.errors import UsageError

FRAME = np.random.default_rng(0).integers(0, 256, (8, 6, 4), dtype=np.uint8)


def _never() -> Any:
    raise AssertionError("it should have been cached")


def _cache(place: str | Path, n: int = 10, **options: Any) -> FrameCache:
    return FrameCache(place, n, "test", lambda: FRAME, **options)


def _head() -> Any:
    """A soft picture, as JPEG is made for, with alpha."""
    y, x = np.mgrid[0:64, 0:48]
    rgb = np.stack([128 + 60 * np.sin(x / 20), 128 + 60 * np.cos(y / 20), 128 + 0 * x], axis=-1)
    return np.concatenate([rgb, np.clip(4 * x - 60, 0, 255)[..., None]], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_a_frame_is_made_once(place: str, tmp_path: Path) -> None:
    cache = _cache("memory" if place == "memory" else tmp_path)
    assert np.array_equal(cache.get(3, lambda: FRAME), FRAME)
    again = cache.get(3, _never)
    assert np.array_equal(again, FRAME)
    assert again.flags.writeable  # as PyTorch wants it


def test_jpegs_are_close_and_small(tmp_path: Path) -> None:
    head = _head()
    cache = FrameCache(tmp_path, 4, "head", lambda: head, "jpeg")
    cache.get(0, lambda: head)
    decoded = cache.get(0, _never)
    assert decoded.shape == head.shape
    assert np.square(decoded.astype(float) - head).mean() < 255**2 / 10 ** (38 / 10)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) < head.nbytes / 2


def test_a_later_run_finds_what_an_earlier_one_kept(tmp_path: Path) -> None:
    _cache(tmp_path).get(0, lambda: FRAME)
    assert np.array_equal(_cache(tmp_path).get(0, _never), FRAME)


def test_what_killed_workers_left_is_removed_but_not_what_is_being_written(tmp_path: Path) -> None:
    folder = _cache(tmp_path).folder
    old, new = folder / "0000001.raw.aa.part", folder / "0000002.raw.bb.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    _cache(tmp_path)
    assert list(folder.iterdir()) == [new]


def test_other_pixels_are_kept_apart(tmp_path: Path) -> None:
    _cache(tmp_path).get(0, lambda: FRAME)
    other = FrameCache(tmp_path, 10, "another scale", lambda: FRAME)
    assert np.array_equal(other.get(0, lambda: FRAME + 1), FRAME + 1)


@pytest.mark.parametrize("content", [b"", b"cut short"])
@pytest.mark.parametrize("format_", ["raw", "jpeg"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes, format_: Any) -> None:
    cache = _cache(tmp_path, format=format_)
    cache.get(0, lambda: FRAME)
    (path,) = cache.folder.iterdir()
    path.write_bytes(content)
    assert np.array_equal(cache.get(0, lambda: FRAME), FRAME)
    assert path.read_bytes() != content


def test_the_limit_holds_and_what_is_kept_is_spread(tmp_path: Path) -> None:
    cache = _cache(tmp_path, n=100, limit=25 * FRAME.nbytes)
    for number in range(100):
        cache.get(number, lambda: FRAME)
    kept = sorted(int(path.stem) for path in cache.folder.iterdir())
    assert len(kept) == 25 and max(np.diff(kept)) <= 5
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 25 * FRAME.nbytes


def test_its_size_is_said_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cache = FrameCache(tmp_path, 10**6, "test", lambda: FRAME)
    assert cache.num_bytes == 10**6 * FRAME.nbytes
    assert "may take 0.19 GB" in caplog.text and str(tmp_path) in caplog.text


def test_too_little_space_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_cache, "free_space", lambda path: 1000)
    with pytest.raises(UsageError, match="GB free"):
        _cache(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = _cache(tmp_path)
    shutil.rmtree(cache.folder)
    assert np.array_equal(cache.get(0, lambda: FRAME), FRAME)


def test_memory_is_given_back() -> None:
    cache = _cache("memory")
    folder = cache.folder.parent
    cache.get(0, lambda: FRAME)
    assert folder.is_dir()
    del cache
    assert not folder.exists()


@pytest.mark.slow
def test_a_dataset_reads_the_same_from_its_cache(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from nersemble_cli import NVSDataset

    plain = [sample["image"] for sample in NVSDataset(synthetic, 388, "GLASSES", apply_alpha_map=True)]
    cached = NVSDataset(synthetic, 388, "GLASSES", apply_alpha_map=True, cache=tmp_path)
    for image, sample in zip(plain, cached, strict=True):
        assert torch.equal(sample["image"], image)
    monkeypatch.setattr(NVSDataset, "_load", lambda self, index: _never())
    for image, sample in zip(plain, cached, strict=True):
        assert torch.equal(sample["image"], image)

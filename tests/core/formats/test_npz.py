"""Zips of arrays: what is read, and what is refused with the reason."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.npz import read_npz, read_npz_headers
from tests.made_up import npy, write_zip


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_and_their_headers(tmp_path: Path, save: object) -> None:
    written = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.array(1.5), "[c]": np.zeros((0, 4))}
    save(tmp_path / "a.npz", **written)  # type: ignore[operator]
    arrays = read_npz(tmp_path / "a.npz", ["[c]", "a"])
    assert list(arrays) == ["[c]", "a"]
    assert np.array_equal(arrays["a"], written["a"]) and arrays["[c]"].shape == (0, 4)
    headers = read_npz_headers(tmp_path / "a.npz")
    assert headers == {name: (array.shape, array.dtype) for name, array in written.items()}


def test_an_array_larger_than_its_file_is_not_allocated(tmp_path: Path) -> None:
    data = npy(np.zeros((2, 3))).replace(b"(2, 3), }          ", b"(10000000000, 300)}")
    assert b"(10000000000, 300)" in data
    with pytest.raises(InvalidInputError, match="has an array a"):
        read_npz(write_zip(tmp_path / "a.npz", {"a.npy": data}), ["a"])


@pytest.mark.slow
def test_an_array_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    header = npy(np.zeros((0,))).replace(b"(0,), }          ", b"(33600000,), }   ")
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as file,
    ):
        file.write(header)
        for _ in range(257):
            file.write(bytes(1 << 20))
    with pytest.raises(InvalidInputError, match="at most"):
        read_npz(tmp_path / "a.npz", ["a"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is damaged"),
        (b"PK\x03\x04", "is damaged"),
        (b"<html>", "is damaged"),
    ],
)
def test_a_file_that_is_not_a_zip(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    for read in (read_npz_headers, lambda path: read_npz(path, [])):
        with pytest.raises(InvalidInputError, match=message):
            read(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_content_is_refused_whatever_packed_it(tmp_path: Path, method: int) -> None:
    content = np.random.default_rng(0).integers(0, 4, 2000, np.uint8)
    whole = bytearray(write_zip(tmp_path / "a.npz", {"a.npy": npy(content)}, method).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 20] = bytes(b ^ 0xFF for b in whole[middle : middle + 20])
    (tmp_path / "a.npz").write_bytes(whole)
    for read in (read_npz_headers, lambda path: read_npz(path, ["a"])):
        with pytest.raises(InvalidInputError, match=r"damaged|array a"):
            read(tmp_path / "a.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([None]))
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InvalidInputError, match="has pickled objects in its array a"):
        read_npz(tmp_path / "a.npz", ["a"])
    assert read_npz_headers(tmp_path / "a.npz")["a"].dtype == object

"""Untrusted zips of NumPy arrays.

Reasons of errors are clauses that go on after the file's name: "is damaged (…)".
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.npy import read_npy, read_npy_header

_LARGEST = 1 << 28  # bytes of one array; the largest of a tracking has 100 float32 a frame
_CHUNK = 1 << 20
# What zipfile lets through of a damaged file: OSError of seeking to before its start, RuntimeError of encryption.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, AttributeError, KeyError, IndexError, MemoryError,
)  # fmt: skip


class ArrayHeader(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except InvalidInputError:
            raise
        except _DAMAGE as error:
            raise InvalidInputError(f"is damaged ({str(error) or type(error).__name__})") from error


def _stem(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ArrayHeader:
    try:
        with archive.open(info) as file:
            return ArrayHeader(*read_npy_header(cast(BinaryIO, file)))
    except InvalidInputError as error:
        raise InvalidInputError(f"has an array {_stem(info)} that {error.message}") from error


def read_npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """Shape and dtype of each array in an NPZ file, by name; every checksum is compared, nothing is unpickled.

    Raises `InvalidInputError` with the reason, OSError if the file cannot be opened.
    """
    headers = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            headers[_stem(info)] = _header(archive, info)
            with archive.open(info) as file:
                while file.read(_CHUNK):  # the checksum is compared at the end
                    pass
    return headers


def read_npz(path: Path, names: Iterable[str]) -> Mapping[str, NDArray[Any]]:
    """The arrays `names` of an NPZ file; nothing is unpickled, and no more memory is used than they take.

    Raises `InvalidInputError` with the reason if one is missing or damaged or holds objects, OSError if the file
    cannot be opened.
    """
    names = list(names)
    arrays = {}
    with _opened(path) as archive:
        infos = {_stem(info): info for info in archive.infolist()}
        if missing := [name for name in names if name not in infos]:
            raise InvalidInputError(f"has no array {', '.join(missing)}; it has {', '.join(infos) or 'none'}")
        for name in names:
            shape, dtype = _header(archive, infos[name])
            if dtype.hasobject:
                raise InvalidInputError(f"has pickled objects in its array {name}, which are never loaded")
            if infos[name].file_size > _LARGEST or math.prod(shape) * dtype.itemsize > infos[name].file_size:
                raise InvalidInputError(
                    f"has an array {name} {shape} of {dtype} in {infos[name].file_size:,} bytes,"
                    f" expected all of its values in at most {_LARGEST:,}"
                )
            with archive.open(infos[name]) as file:
                data = file.read(_LARGEST + 1)
            try:
                arrays[name] = read_npy(data)
            except InvalidInputError as error:
                raise InvalidInputError(f"has an array {name} that {error.message}") from error
    return arrays

"""Whether a file is what its name says, from its first bytes and from its structure; nothing is decoded."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.documents import read_json
from nersemble_cli.core.formats.pcd import read_pcd_header
from nersemble_cli.core.formats.png import check_png_data

HEAD_SIZE = 64
_WHITESPACE = b" \t\r\n"


def _is_json(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(_WHITESPACE)[:1] in (b"{", b"[", b"")


def _is_pcd(head: bytes) -> bool:
    return head.startswith((b"#", b"VERSION"))


_LOOKS_RIGHT: dict[str, Callable[[bytes], bool]] = {
    ".mp4": lambda head: head[4:8] == b"ftyp",
    ".json": _is_json,
    ".pcd": _is_pcd,
    ".npz": lambda head: head.startswith(b"PK\x03\x04"),
    ".png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
}


def check_head(name: str, head: bytes) -> None:
    """Compares the first `HEAD_SIZE` bytes of a file (fewer if it is shorter) with the type its name promises.

    Raises `InvalidInputError` whose message follows the file's name: "is an HTML page, …".
    """
    suffix = Path(name).suffix
    if suffix not in _LOOKS_RIGHT or _LOOKS_RIGHT[suffix](head):
        return
    if not head:
        raise InvalidInputError("is empty")
    if head.lstrip(_WHITESPACE)[:1] == b"<":
        is_xml = head.lstrip(_WHITESPACE).startswith(b"<?xml") and b"html" not in head.lower()
        kind = "an XML document" if is_xml else "a web page (HTML)"
        raise InvalidInputError(f"is {kind}, not {suffix}")
    raise InvalidInputError(f"begins with {head[:8]!r}, unlike any {suffix} file")


def check_file(file: BinaryIO, name: str) -> None:
    """Reads as much of an open file as shows whether it is whole and of the type that `name` ends with.

    Raises `InvalidInputError` whose message follows the file's name ("is cut short …"), OSError if it
    cannot be read.
    """
    suffix = Path(name).suffix
    file.seek(0)
    if suffix == ".png":
        check_png_data(file.read())
        return
    check_head(name, file.read(HEAD_SIZE))
    file.seek(0)
    if suffix == ".mp4":
        _check_mp4(file)
    elif suffix == ".json":
        _check_json(file)
    elif suffix == ".pcd":
        read_pcd_header(file).check_size(file.seek(0, os.SEEK_END))
    elif suffix == ".npz":
        _check_npz(file)


def mp4_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The top-level boxes of an mp4 as (type, offset, end in bytes), without reading what is in them.

    The last one may end beyond the end of the file. Source: ISO/IEC 14496-12, section 4.2.
    """
    size_of_file = file.seek(0, os.SEEK_END)
    offset = 0
    while offset + 8 <= size_of_file:
        file.seek(offset)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        end = size_of_file if size == 0 else offset + size
        yield kind, offset, end
        if end < offset + 8:
            return
        offset = end


def _check_mp4(file: BinaryIO) -> None:
    boxes = list(mp4_boxes(file))
    kinds = {kind for kind, _, _ in boxes}
    _, _, end = boxes[-1]
    size = file.seek(0, os.SEEK_END)
    if end > size:
        raise InvalidInputError(f"is cut short: {size:,} bytes of {end:,}")
    if missing := {b"moov", b"mdat"} - kinds:
        raise InvalidInputError(f"is cut short or damaged: it has no {min(missing).decode()!r} part")


def _check_json(file: BinaryIO) -> None:
    read_json(file.read())


def _check_npz(file: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"is cut short or damaged ({error})") from None
    if not names or not all(name.endswith(".npy") for name in names):
        raise InvalidInputError("is a zip, but not one of numpy arrays")

"""The files of a submission, in a zip or, before packing, in folders."""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.threads import Cancel

CHUNK = 1 << 20
READABLE_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED_FLAGS = 0x41  # encryption, strong encryption
LOCAL_HEADER_LENGTHS_AT = 26  # of the name and of the extra field, which the data follows
# Larger than anything real: a lossless video of the longest sequence has less than 6 GB.
LARGEST = {".mp4": 8 << 30, ".ply": 256 << 20, ".npy": 1 << 20}
LARGEST_RATIO = 100
JUNK_FOLDERS = {"__MACOSX", ".git", "__pycache__", ".ipynb_checkpoints"}
JUNK_NAMES = {".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini"}
# Whatever reading from a damaged zip may raise; RuntimeError is also NotImplementedError.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
ZIP_START = (b"PK\x03\x04", b"PK\x05\x06")


class Member(Protocol):
    """One file: its name in the submission, its size in bytes, and its contents."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO:
        """A seekable stream of the contents. Raises OSError or zipfile.BadZipFile if damaged."""


@dataclass(frozen=True)
class FileMember:
    """A file on disk that is to become, or is checked as, `path` of a submission."""

    path: str
    file: Path

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    def open(self) -> BinaryIO:
        return self.file.open("rb")


class _Slice(io.RawIOBase):
    """The bytes [start, start + size) of a file. Zipfile's own streams cannot seek back without rereading."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123
        self._start, self._size, self._position = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        self._file.seek(self._start + self._position)
        n = self._file.readinto(view[: max(0, self._size - self._position)]) or 0
        self._position += n
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class ZipMember:
    """A file in an open zip."""

    path: str
    archive: zipfile.ZipFile = field(repr=False)
    info: zipfile.ZipInfo

    @property
    def size(self) -> int:
        return self.info.file_size

    def open(self) -> BinaryIO:
        """The contents; of a stored file without a look at its checksum, see `check_checksum`."""
        stream = self.archive.open(self.info)  # compares the local header with the directory's entry
        if self.info.compress_type != zipfile.ZIP_STORED:
            return cast(BinaryIO, stream)
        stream.close()
        assert self.archive.filename is not None
        with open(self.archive.filename, "rb") as file:  # noqa: PTH123
            file.seek(self.info.header_offset + LOCAL_HEADER_LENGTHS_AT)
            lengths = struct.unpack("<HH", file.read(4))
        start = self.info.header_offset + LOCAL_HEADER_LENGTHS_AT + 4 + sum(lengths)
        return io.BufferedReader(_Slice(self.archive.filename, start, self.size), CHUNK)

    def check_checksum(self, cancel: Cancel | None = None) -> None:
        """Reads it all. Raises one of `UNREADABLE` if it is damaged."""
        with self.archive.open(self.info) as stream:
            while stream.read(CHUNK):
                if cancel is not None:
                    cancel.check()


def is_junk(path: str) -> bool:
    """Whether an operating system or a tool left this file, not a person."""
    parts = PurePosixPath(path).parts
    name = parts[-1] if parts else ""
    return bool(JUNK_FOLDERS.intersection(parts)) or name in JUNK_NAMES or name.startswith("._")


def _flaw(info: zipfile.ZipInfo, archive_size: int) -> Finding | None:
    """The reason not to open a member."""
    name = info.orig_filename if "\x00" in info.orig_filename else info.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    if not parts or parts[0] == "/" or ".." in parts or parts[0].endswith(":") or "\x00" in name or is_link:
        what = "is a symbolic link" if is_link else "is not a path inside the zip" if name else "has no name"
        return Finding("unsafe_path", info.filename, f"The entry {what}.", "a relative path", name)
    if info.flag_bits & ENCRYPTED_FLAGS:
        return Finding("encrypted_file", name, "The file is encrypted.", "no encryption", "encrypted")
    if info.compress_type not in READABLE_COMPRESSIONS:
        return Finding(
            "unsupported_compression",
            name,
            f"Compression method {info.compress_type} cannot be read.",
            expected="stored or deflated",
            actual=info.compress_type,
        )
    largest = LARGEST.get(PurePosixPath(name).suffix.lower(), max(LARGEST.values()))
    ratio = info.file_size / max(1, info.compress_size)
    if info.compress_size > archive_size:
        return Finding(
            "damaged_file",
            name,
            f"It claims {info.compress_size:,} bytes, the whole zip has {archive_size:,}.",
            expected=f"at most {archive_size}",
            actual=info.compress_size,
        )
    if info.file_size > largest or (ratio > LARGEST_RATIO and info.file_size > CHUNK):
        return Finding(
            "suspicious_size",
            name,
            f"It claims to unpack from {info.compress_size:,} to {info.file_size:,} bytes.",
            expected=f"at most {largest} bytes, and at most {LARGEST_RATIO} times its packed size",
            actual=info.file_size,
        )
    return None


def sort_members(archive: zipfile.ZipFile) -> tuple[dict[str, ZipMember], dict[str, Finding], list[Finding]]:
    """Sorts a zip's directory, opening nothing: members by name, flaws by name, and other findings.

    A name is in both mappings if the file exists but must not be opened. Backslashes, which some Windows programs
    write instead of slashes, stay in names, as other readers see them.
    """
    assert archive.filename is not None
    archive_size = os.path.getsize(archive.filename)  # noqa: PTH202
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]  # `is_dir` trips over ""
    members: dict[str, ZipMember] = {}
    flaws: dict[str, Finding] = {}
    others: list[Finding] = []
    for info in infos:
        if flaw := _flaw(info, archive_size):
            if flaw.code == "unsafe_path":
                others.append(flaw)
                continue
            flaws[info.filename] = flaw
        members[info.filename] = ZipMember(info.filename, archive, info)
    others += [
        Finding("duplicate_file", name, f"The zip has {n} files of this name.", expected=1, actual=n)
        for name, n in Counter(info.filename for info in infos).items()
        if n > 1
    ]
    if sum(info.compress_size for info in infos) > archive_size and not flaws:
        others.append(
            Finding("suspicious_size", None, "Files in the zip overlap: together they are larger than the zip.")
        )
    return members, flaws, others


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open zip. Raises `InvalidInputError` with the reason if it is not one, OSError if it cannot be read."""
    with path.open("rb") as file:
        start = file.read(4)
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory makes zipfile raise almost anything
        if start in ZIP_START:
            reason = f"it begins like a zip, but its directory at the end is missing or damaged ({error})"
        elif not start:
            reason = "it is empty"
        else:
            reason = f"it begins with {start!r}, a zip begins with {ZIP_START[0]!r}"
        raise InvalidInputError(reason, "Pack it again, or copy it again.") from error
    with archive:
        yield archive

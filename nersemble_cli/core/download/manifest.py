"""The record of what was downloaded into a benchmark folder, so that the server need not be asked again."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path

FILE_NAME = ".nersemble-manifest.jsonl"


@dataclass(frozen=True)
class Version:
    """One version of a file on the server: its size in bytes and what tells it from others.

    `sha256` is computed while the file arrives. It is None for a part, and for a file that another tool downloaded
    (which was compared with the server by size).
    """

    size: int | None
    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` takes: the strong ETag, else the date; None if the server gives neither."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def vouches_for(self, other: Version) -> bool:
        """Whether both are certainly the same version: size and ETag or date, as far as both have them."""
        pairs = [(self.etag, other.etag), (self.last_modified, other.last_modified)]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return bool(known) and all(a == b for a, b in known) and self.size is not None and self.size == other.size

    @classmethod
    def from_json(cls, entry: dict[str, object]) -> Version:
        """Raises ValueError for a value of a wrong type, and TypeError for an unknown key."""
        size = entry.get("size")
        if size is not None and (type(size) is not int or size < 0):
            raise ValueError(size)
        if any(
            not isinstance(value, str) or not value.isprintable() for key, value in entry.items() if key != "size"
        ):
            raise ValueError(entry)
        return cls(**{"size": None, **entry})  # type: ignore[arg-type]


class Manifest:
    """The versions of the files of one benchmark, by their names below its folder.

    A text file with one JSON object per line. Lines are only ever appended, one at a time, so that an interruption
    costs nothing and several processes can write at once. The last line of a name counts. Close it after use.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._files: dict[str, Version] = {}
        self._parts: dict[str, Version] = {}
        self._read_to = 0
        self._file: FileIO | None = None  # open to append once there is something to remember
        self.refresh()

    def refresh(self) -> None:
        """Takes in what other processes have written in the meantime."""
        with self._lock, contextlib.suppress(FileNotFoundError):
            if not self.path.is_file() or self.path.stat().st_size == self._read_to:
                return
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                # A line without an end is still being written, or never was.
                complete, newline, _ = file.read().rpartition(b"\n")
            for line in complete.splitlines():
                self._take(line)
            self._read_to += len(complete) + len(newline)

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            versions = self._parts if entry.pop("part", False) else self._files
            name = str(entry.pop("path"))
            versions[name] = Version.from_json(entry)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            pass  # a damaged line: its file is compared with the server, like any that is not listed

    def file(self, name: str) -> Version | None:
        """The version that was last put at its final name."""
        return self._files.get(name)

    def part(self, name: str) -> Version | None:
        """The version that the `.part` beside the final name has the beginning of."""
        return self._parts.get(name)

    def __iter__(self) -> Iterator[str]:
        """The names of all complete files."""
        return iter(self._files)

    def add(self, name: str, version: Version) -> None:
        """Remembers a complete file. Raises OSError if the manifest cannot be written."""
        self._append({"path": name, **asdict(version)})
        self._files[name] = version

    def add_part(self, name: str, version: Version) -> None:
        """Remembers what the `.part` is the beginning of."""
        version = replace(version, sha256=None)
        self._append({"part": True, "path": name, **asdict(version)})
        self._parts[name] = version

    def _append(self, entry: dict[str, object]) -> None:
        line = json.dumps({key: value for key, value in entry.items() if value is not None}).encode() + b"\n"
        with self._lock:
            if self._file is None:
                self._file = open(self.path, "ab+", buffering=0)  # noqa: SIM115, PTH123
                if self._file.seek(0, os.SEEK_END):
                    self._file.seek(-1, os.SEEK_END)
                    if self._file.read(1) != b"\n":
                        line = b"\n" + line  # the line before was torn off when a process died
            self._file.write(line)
            if self._file.tell() == self._read_to + len(line):
                self._read_to += len(line)  # nobody else has written: no need to read it back

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

"""Getting single files over HTTP: resumed, retried, checked, and at their final names only when complete."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nersemble_cli.core.download.http import CHUNK, Server, TransferError, _checking, version_of, with_retries
from nersemble_cli.core.download.manifest import Manifest, Version
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.files import locked_part, part_path, replace_file, write_all
from nersemble_cli.core.formats.sniff import HEAD_SIZE, check_file, check_head
from nersemble_cli.core.threads import Cancel, Progress

if TYPE_CHECKING:
    import requests


SMALL_CHUNK = 1 << 16
WORTH_RESUMING = 1 << 20  # bytes; smaller files start again
LOCK_POLL = 0.1  # seconds


class FileProgress:
    """Tells the progress about one file: bytes that arrived, and corrections of what is still to come."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._outstanding = expected

    def to_come(self, n: int) -> None:
        self._progress.expect(n - self._outstanding)
        self._outstanding = n

    def arrived(self, n: int) -> None:
        self._progress.advance(n)
        self._outstanding -= n


def fetch(
    server: Server,
    path: str,
    target: Path,
    name: str,
    manifest: Manifest,
    cancel: Cancel,
    gauge: FileProgress,
    waiting: Callable[[bool], None] = lambda starts: None,
) -> Version:
    """Fetches `path` of the server to `target`, which the manifest knows as `name`; resumes what is begun.

    `target` is replaced by a complete and checked file or not at all. If another process fetches the same
    file at the same time, its result is waited for and taken. Raises `TransferError`, or OSError if the file
    cannot be written; what has arrived by then stays in the `.part`.
    """
    before = manifest.file(name)
    with locked_part(target, lambda: cancel.wait(LOCK_POLL)) as part:
        manifest.refresh()
        now = manifest.file(name)
        if now is not None and now is not before and target.is_file() and target.stat().st_size == now.size:
            part_path(target).unlink()
            gauge.to_come(0)
            return now
        try:
            version = with_retries(
                lambda: _attempt(server, path, part, target, name, manifest, cancel, gauge),
                server,
                cancel,
                mark=lambda: part.seek(0, os.SEEK_END),
                waiting=waiting,
            )
        except NersembleError:
            gauge.to_come(0)
            if part.seek(0, os.SEEK_END) == 0:
                part_path(target).unlink()
            raise
        part.close()  # Windows cannot rename an open file
        replace_file(part_path(target), target)  # still locked: nobody takes the complete file for a part
        manifest.add(name, version)
        return version


def _attempt(
    server: Server,
    path: str,
    part: BinaryIO,
    target: Path,
    name: str,
    manifest: Manifest,
    cancel: Cancel,
    gauge: FileProgress,
) -> Version:
    """One request for what is missing of `part`. Raises `TransferError` if that is not complete afterwards."""
    begun = manifest.part(name)
    start, digest, headers = 0, hashlib.sha256(), {}
    if begun and begun.size and begun.validator:
        # If all bytes are there, the last one is asked for again: the answer tells whether they still hold.
        start = min(part.seek(0, os.SEEK_END), begun.size - 1)
    if begun and begun.validator and start:
        headers = {"Range": f"bytes={start}-", "If-Range": begun.validator}
        _hash_start(part, start, digest, cancel)
    with server.request("GET", path, headers) as response:
        version = version_of(response)
        if response.status_code == 200:
            start, digest = 0, hashlib.sha256()
            if version.size is None or version.size >= WORTH_RESUMING:
                _cut(part, 0)  # first: what is there is no beginning of this version
                manifest.add_part(name, version)
        elif not _continues(response, start, begun, version):
            _cut(part, 0)
            raise TransferError("it changed on the server while it was fetched")
        if version.size is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
            raise TransferError("the server does not say how long it is", again=False)
        _cut(part, start)
        if version.size is not None:
            gauge.to_come(version.size - start)
        position = start
        for chunk in _chunks(response, version.size):
            if position == 0:
                with _checking(again=False):
                    check_head(name, chunk[:HEAD_SIZE])
            write_all(part, chunk)
            digest.update(chunk)
            position += len(chunk)
            gauge.arrived(len(chunk))
            cancel.check()
    if version.size is not None and position != version.size:
        raise TransferError(f"the connection broke off after {position:,} of {version.size:,} bytes")
    try:
        with _checking(again=True):
            check_file(part, name)
    except TransferError:
        _cut(part, 0)
        raise
    return replace(version, size=position, sha256=digest.hexdigest())


def _cut(part: BinaryIO, size: int) -> None:
    """Cuts a part off at `size` bytes, if it is longer, and goes there. If it is not it is left alone: ext4 writes
    a file that was once truncated to the disk before it closes it, which costs seconds for a large one."""
    if part.seek(0, os.SEEK_END) > size:
        part.truncate(size)
        part.seek(size)


def _chunks(response: requests.Response, size: int | None) -> Iterator[bytes]:
    """The body in pieces, of which the first has all of the file's head. Large files come as they arrive: of what
    comes before a connection breaks nothing is lost."""
    raw = response.raw
    if size is not None and size < WORTH_RESUMING:
        yield raw.read(decode_content=True)
    elif size is None or not hasattr(raw, "read1"):  # of unknown length, or urllib3 before 2.1
        yield from raw.stream(SMALL_CHUNK, decode_content=True)
    else:
        first = b""
        while len(first) < HEAD_SIZE and (chunk := raw.read1(CHUNK)):
            first += chunk
        yield first
        while chunk := raw.read1(CHUNK):
            yield chunk


def _continues(response: requests.Response, start: int, begun: Version | None, version: Version) -> bool:
    """Whether a 206 goes on exactly where our part ends (a 416 never does), with the same version of the file."""
    range_start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return (
        response.status_code == 206
        and begun is not None
        and range_start is not None
        and int(range_start[1]) == start
        and not version.differs(begun)
    )


def _hash_start(part: BinaryIO, length: int, digest: hashlib._Hash, cancel: Cancel) -> None:
    part.seek(0)
    left = length
    while left and (chunk := part.read(min(CHUNK, left))):
        cancel.check()
        digest.update(chunk)
        left -= len(chunk)

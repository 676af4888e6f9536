"""Downloading one file: resumed, retried, checked, and at its final name only when it is complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nersemble_cli.core.benchmarks import BenchmarkFile
from nersemble_cli.core.download.contents import check_content
from nersemble_cli.core.download.http import (
    CHUNK,
    SMALL_SIZE,
    Answer,
    Server,
    TransferError,
    checking,
    with_retries,
)
from nersemble_cli.core.download.manifest import Manifest, Version
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.files import locked_part, part_path, replace_file, write_all
from nersemble_cli.core.formats.sniff import HEAD_SIZE, check_head
from nersemble_cli.core.threads import Cancel, Progress

WORTH_RESUMING = 1 << 20  # bytes; smaller files start again
LOCK_POLL = 0.1  # seconds
LARGEST = 20  # times the typical size of the asset (and `SMALL_SIZE`): what the server may send at most


class FileProgress:
    """Reports the progress of one file: bytes that arrived, and corrections of how many are still to come."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._outstanding = expected

    def to_come(self, n: int) -> None:
        self._progress.expect(n - self._outstanding)
        self._outstanding = n

    def arrived(self, n: int) -> None:
        self._progress.advance(n)
        self._outstanding -= n


@dataclass(frozen=True)
class Transfer:
    """One file on its way from the server into the benchmark folder.

    `folder` is the benchmark's own folder on disk. `waiting` is called like that of `with_retries`.
    """

    server: Server
    file: BenchmarkFile
    folder: Path
    manifest: Manifest
    cancel: Cancel
    progress: FileProgress
    waiting: Callable[[bool], None] = lambda starts: None

    @property
    def name(self) -> str:
        """The file's name in the manifest, and below `folder`."""
        return self.file.path

    @property
    def target(self) -> Path:
        """Where the file is put once it is complete."""
        return self.folder / self.name

    @property
    def url_path(self) -> str:
        """The file's name below the server's URL."""
        return f"{self.file.benchmark.folder}/{self.name}"

    @property
    def limit(self) -> int:
        """More bytes than this are not the file."""
        return LARGEST * self.file.asset.typical_size + SMALL_SIZE


def fetch(transfer: Transfer) -> Version:
    """Downloads a file, resuming what an earlier attempt left.

    The target is replaced by a complete and checked file or not at all. If another process fetches the same file
    at the same time, its result is waited for and used. Raises `TransferError`, or OSError if the file cannot be
    written; what has arrived by then stays in the `.part`.
    """
    name, target, manifest = transfer.name, transfer.target, transfer.manifest
    before = manifest.file(name)
    with locked_part(target, lambda: transfer.cancel.wait(LOCK_POLL)) as part:
        manifest.refresh()
        now = manifest.file(name)
        if now is not None and now is not before and target.is_file() and target.stat().st_size == now.size:
            _remove_part(part, target)
            transfer.progress.to_come(0)
            return now
        try:
            version = with_retries(
                lambda: _attempt(transfer, part),
                transfer.server,
                transfer.cancel,
                mark=lambda: part.seek(0, os.SEEK_END),
                waiting=transfer.waiting,
            )
        except NersembleError:
            transfer.progress.to_come(0)
            if part.seek(0, os.SEEK_END) == 0:
                _remove_part(part, target)
            raise
        part.close()  # Windows cannot rename an open file
        replace_file(part_path(target), target)  # still locked: nobody takes the complete file for a part
        manifest.add(name, version)
        return version


def _remove_part(part: BinaryIO, target: Path) -> None:
    part.close()  # Windows cannot remove an open file
    part_path(target).unlink()


def _attempt(transfer: Transfer, part: BinaryIO) -> Version:
    """One request for what is missing of `part`. Raises `TransferError` if that is not complete afterwards."""
    begun = transfer.manifest.part(transfer.name)
    start, headers = 0, {}
    if begun and begun.size and begun.validator:
        # If all bytes are there, the last one is asked for again: the answer tells whether they are still valid.
        start = max(0, min(part.seek(0, os.SEEK_END), begun.size - 1))
        if start:
            headers = {"Range": f"bytes={start}-", "If-Range": begun.validator}
    with transfer.server.request("GET", transfer.url_path, headers) as answer:
        start = _agreed_start(transfer, part, answer, start, begun)
        digest = _hash_of(part, start, transfer.cancel)
        position = _receive(transfer, part, answer, start, digest)
    if answer.size is not None and position != answer.size:
        raise TransferError(f"the connection broke off after {position:,} of {answer.size:,} bytes")
    try:
        with checking(transfer.name, again=True):
            check_content(part, transfer.name)
    except TransferError:
        _cut(part, 0)
        raise
    transfer.server.proven = True
    return replace(answer.version, size=position, sha256=digest.hexdigest())


def _agreed_start(transfer: Transfer, part: BinaryIO, answer: Answer, asked: int, begun: Version | None) -> int:
    """Where the body of the answer continues the part, which is cut off there. 0 for a body from the beginning.

    Raises `TransferError` if it does not continue it.
    """
    if answer.start == 0:
        if not answer.has_end:
            raise TransferError("the server does not say how long it is", again=False)
        if answer.size is None or answer.size >= WORTH_RESUMING:
            _cut(part, 0)  # first: what is there is not the beginning of this version
            transfer.manifest.add_part(transfer.name, answer.version)
    elif answer.start is None or answer.start != asked or not begun or not answer.version.vouches_for(begun):
        _cut(part, 0)
        raise TransferError("it changed on the server while it was fetched")
    if answer.size is not None and answer.size > transfer.limit:
        raise TransferError(f"the server wants to send {answer.size:,} bytes, far more than it has", again=False)
    _cut(part, answer.start)
    if answer.size is not None:
        transfer.progress.to_come(answer.size - answer.start)
    return answer.start


def _receive(transfer: Transfer, part: BinaryIO, answer: Answer, start: int, digest: hashlib._Hash) -> int:
    """Appends the body to the part. Returns the size of the part (bytes)."""
    position = start
    small = answer.size is not None and answer.size < WORTH_RESUMING
    # A small file that takes longer than a large one may pause is not worth waiting for.
    for chunk in answer.chunks(transfer.cancel, transfer.server.retry.read_timeout if small else None):
        if position == 0:
            with checking(transfer.name, again=False):
                check_head(transfer.name, chunk[:HEAD_SIZE])
        if position + len(chunk) > transfer.limit:
            _cut(part, 0)
            raise TransferError(f"the server sends more than {transfer.limit:,} bytes of it", again=False)
        write_all(part, chunk)
        digest.update(chunk)
        position += len(chunk)
        transfer.progress.arrived(len(chunk))
        transfer.cancel.check()
    return position


def _cut(part: BinaryIO, size: int) -> None:
    """Cuts a part off at `size` bytes, if it is longer, and seeks to its end. A shorter one is left alone: ext4
    writes a file that was once truncated to the disk before it closes it, which costs seconds for a large one."""
    if part.seek(0, os.SEEK_END) > size:
        part.truncate(size)
        part.seek(size)


def _hash_of(part: BinaryIO, length: int, cancel: Cancel) -> hashlib._Hash:
    """The sha256 of the first `length` bytes, to be updated; `part` is left after them."""
    digest = hashlib.sha256()
    part.seek(0)
    left = length
    while left and (chunk := part.read(min(CHUNK, left))):
        cancel.check()
        digest.update(chunk)
        left -= len(chunk)
    return digest

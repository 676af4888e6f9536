"""Safe writes: a file at its final name is complete, and an older one is lost only to a complete one."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nersemble_cli.core.errors import UsageError


def check_target(path: Path, overwrite: bool) -> Path:
    """The file to replace, which is where `path` leads if it is a link.

    Raises `UsageError` if no file can be written there, or one is there that must not be replaced.
    """
    path = path.resolve() if path.is_symlink() else path
    parent = path.parent
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the name of the file to write.")
    if not parent.is_dir():
        raise UsageError(f"The folder {parent} does not exist.", f"Make it first: mkdir -p {parent}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file.", "Give the name of the file to write.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already.", "Use --overwrite to replace it, or another name.")
    try:
        with scratch_folder(path):
            pass
    except OSError as error:
        raise UsageError(
            f"The folder {parent} cannot be written to ({error.strerror}).", "Choose another place."
        ) from error
    return path


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder for temporary files beside `target`, on its file system; removed whatever happens."""
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_space(path: Path) -> int:
    """Bytes that can still be written where `path` lies, or will lie once it is made."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _try_lock(file: BinaryIO) -> bool:
    """Locks an open file for this one handle, if no other has locked it; freed when the file is closed."""
    if sys.platform == "win32":
        return True  # no other process can open what we replace, so two at once fail instead of mixing
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: do without
    return True


def part_path(target: Path) -> Path:
    """Where the beginning of `target` lies until it is complete."""
    return target.with_name(f"{target.name}.part")


@contextmanager
def locked_part(target: Path, wait: Callable[[], None]) -> Iterator[BinaryIO]:
    """The `.part` of `target`, open to read and write with all that it holds already, and ours alone.

    Calls `wait` again and again while another process or thread has it.
    """
    path = part_path(target)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            if _try_lock(file):
                # Whoever had it may have made it the final file, or removed it, before it let go.
                try:
                    ours = os.path.samestat(os.fstat(descriptor), path.stat())
                except FileNotFoundError:
                    ours = False
                if ours:
                    yield file
                    return
                continue
        wait()


def write_all(file: BinaryIO, data: bytes) -> None:
    """Writes to an unbuffered file, which may take only part of it at a time. Raises OSError on a full disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]

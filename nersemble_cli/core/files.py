"""Safe writes: a file at its final name is complete, and replaced only by another complete file."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.platform import CAN_REMOVE_OPEN_FILES, OPEN_AS_BYTES

_OWNER = "owner.lock"


def check_target(path: Path, overwrite: bool) -> Path:
    """The file to replace: `path`, or the file that it links to.

    Raises `UsageError` if no file can be written there, or one is there that must not be replaced.
    """
    path = path.resolve() if path.is_symlink() else path
    parent = path.parent
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the name of the file to write.")
    if not parent.is_dir():
        raise UsageError(f"The folder {parent} does not exist.", f"Create it first: mkdir -p {parent}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file.", "Give the name of the file to write.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} already exists.", "Use --overwrite to replace it, or choose another name.")
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
    """A folder for temporary files beside `target`, on its file system, which is removed at the end.

    Those that killed processes left beside the same target are removed, too.
    """
    _remove_abandoned(target)
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    folder.mkdir()
    lock = FileLock(folder / f"{_OWNER}.new", thread_local=False)
    with suppress(OSError, NotImplementedError):  # a file system without locks
        lock.acquire(blocking=False)
        if CAN_REMOVE_OPEN_FILES:
            # Others look only at the final name, which therefore is never there without the lock.
            (folder / f"{_OWNER}.new").rename(folder / _OWNER)
    try:
        yield folder
    finally:
        if not CAN_REMOVE_OPEN_FILES:
            lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _remove_abandoned(target: Path) -> None:
    """Removes the scratch folders of `target` whose owners no longer hold their locks."""
    for owner in target.parent.glob(f".{glob.escape(target.name)}.*.tmp/{_OWNER}"):
        lock = FileLock(owner, thread_local=False)
        with suppress(OSError, NotImplementedError, Timeout):
            lock.acquire(blocking=False)
            shutil.rmtree(owner.parent, ignore_errors=True)
            lock.release()


def free_space(path: Path) -> int:
    """Free bytes on the file system of `path`, which need not exist yet."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def replace_file(source: Path, target: Path) -> None:
    """Gives a complete file its final name, on the same file system; an older file there is replaced at once."""
    source.replace(target)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends without an exception.

    It is absolute and its suffix is lower case: some writers take "a:b.mp4" for a URL and do not know ".PNG".
    """
    with scratch_folder(target.absolute()) as scratch:
        place = scratch / f"output{target.suffix.lower()}"
        yield place
        replace_file(place, target)


def part_path(target: Path) -> Path:
    """Where the beginning of `target` is kept until the file is complete."""
    return target.with_name(f"{target.name}.part")


@contextmanager
def locked_part(target: Path, wait: Callable[[], None]) -> Iterator[BinaryIO]:
    """The `.part` of `target`, opened to read and write without losing its contents, and locked for the caller.

    Creates missing folders. Calls `wait` repeatedly while another process or thread holds the lock.
    """
    lock_path = target.with_name(f"{target.name}.part.lock")
    lock = FileLock(lock_path, thread_local=False)
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
            break
        except Timeout:
            wait()
        except FileNotFoundError:
            continue  # another process has just removed an empty folder
        except (OSError, NotImplementedError):
            break  # a file system without locks: go on without one
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part_path(target), os.O_RDWR | os.O_CREAT | OPEN_AS_BYTES, 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            yield file
    finally:
        if CAN_REMOVE_OPEN_FILES:  # elsewhere, filelock does it afterwards
            with suppress(OSError):
                lock_path.unlink()
        lock.release()


def write_all(file: BinaryIO, data: bytes) -> None:
    """Writes to an unbuffered file, which may take only part of it at a time. Raises OSError on a full disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Removes `folder` and those above it up to and including `root`, as long as they are empty."""
    while folder == root or root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return  # not empty
        folder = folder.parent

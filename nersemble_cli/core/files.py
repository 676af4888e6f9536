"""Safe writes: a file at its final name is complete, and an older one is lost only to a complete one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nersemble_cli.core.errors import UsageError


def check_target(path: Path, overwrite: bool) -> None:
    """Raises `UsageError` if a file cannot be written to `path`, or one is there that must not be replaced."""
    parent = path.parent
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the name of the file to write.")
    if not parent.is_dir():
        raise UsageError(f"The folder {parent} does not exist.", f"Make it first: mkdir -p {parent}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already.", "Use --overwrite to replace it, or another name.")
    try:
        with scratch_folder(path):
            pass
    except OSError as error:
        raise UsageError(
            f"The folder {parent} cannot be written to ({error.strerror}).", "Choose another place."
        ) from error


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder for temporary files beside `target`, on its file system; removed whatever happens."""
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Where the benchmark lies: its folder on this machine and its personal, secret URL."""

from __future__ import annotations

import os
from pathlib import Path

from nersemble_cli.core.errors import UsageError

URL_VARIABLE = "NERSEMBLE_BENCHMARK_URL"
FOLDER_VARIABLE = "NERSEMBLE_BENCHMARK_FOLDER"
DEFAULT_FOLDER = Path("nersemble_benchmark")


def env_files() -> tuple[Path, ...]:
    """The `.env` files that are read, first one first: the working directory's and the official toolkit's."""
    return (Path(".env"), Path.home() / ".config" / "nersemble_benchmark" / ".env")


def _is_placeholder(value: str) -> bool:
    """Whether this is the text `<<<URL YOU GOT …>>>` of the official instructions, left as it was."""
    return value.startswith("<<<")


def _lookup(variable: str) -> str | None:
    """A setting from the environment, else from the `.env` files; None if it is nowhere or empty."""
    from dotenv import dotenv_values

    if (value := os.environ.get(variable, "").strip()) and not _is_placeholder(value):
        return value
    for path in env_files():
        try:
            value = (dotenv_values(path, interpolate=False).get(variable) or "").strip()
        except (OSError, UnicodeDecodeError):
            continue  # an unreadable file is as good as none
        if value and not _is_placeholder(value):
            return value
    return None


def find_folder(folder: Path | None = None) -> Path:
    """The benchmark folder: `folder`, else the environment's, else `./nersemble_benchmark`. It may not exist."""
    if folder is not None:
        return folder.expanduser()
    configured = _lookup(FOLDER_VARIABLE)
    return Path(configured).expanduser() if configured else DEFAULT_FOLDER


def existing_folder(folder: Path | None = None) -> Path | None:
    """`find_folder`, or None if nothing is there. Raises `UsageError` if the user named one that is missing."""
    path = find_folder(folder)
    if path.is_dir():
        return path
    if folder is not None:
        raise UsageError(f"No folder at {path}.", "Name the folder that holds nvs/, mono_flame_avatar/ or svfr/.")
    return None


def find_url(url: str | None = None) -> str | None:
    """The server's base URL without a trailing slash, or None. It is a credential: never show it."""
    found = url if url is not None else _lookup(URL_VARIABLE)
    return found.strip().rstrip("/") or None if found else None

"""Where the benchmark lies: its folder on this machine and its personal, secret URL."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from nersemble_cli.core.errors import UsageError

URL_VARIABLE = "NERSEMBLE_BENCHMARK_URL"
FOLDER_VARIABLE = "NERSEMBLE_BENCHMARK_FOLDER"
FLAME_VARIABLE = "NERSEMBLE_FLAME_MODEL"
DEFAULT_FOLDER = Path("nersemble_benchmark")
ACCESS_FORM = "https://forms.gle/rYRoGNh2ed51TDWX9"
ACCESS_HELP = f"""The benchmark's data is for registered users. Ask for access here:
{ACCESS_FORM}
The mail that answers has your personal {URL_VARIABLE} in it. It is a secret: treat it like a password.
Until it is there, `nersemble demo` shows every command at work on made-up data."""


def env_files() -> tuple[Path, ...]:
    """The `.env` files that are read, first one first: the working directory's and the official toolkit's."""
    here = Path(".env")
    try:
        return (here, Path.home() / ".config" / "nersemble_benchmark" / ".env")
    except RuntimeError:  # a user without a home, as in some containers
        return (here,)


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(f"There is no home folder for {path}.", "Write the path without ~.") from None


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
        return _expand(folder)
    configured = _lookup(FOLDER_VARIABLE)
    return _expand(Path(configured)) if configured else DEFAULT_FOLDER


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


def clean_url(url: str) -> str:
    """The URL without what gets in when it is copied: spaces, quotes, a trailing slash.

    Raises `UsageError` if it is no http(s) URL. The message does not show it.
    """
    cleaned = url.strip().strip("\"'<>").strip().rstrip("/")
    hint = "Copy it whole from your access mail; it begins with https:// or http://"
    try:
        parts = urlsplit(cleaned)
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise UsageError("The benchmark URL is not a valid URL.", hint) from None
    if not cleaned or "://" not in cleaned:
        raise UsageError("The benchmark URL has no scheme.", hint)
    if scheme not in ("http", "https"):
        raise UsageError("The benchmark URL is neither https:// nor http://.", hint)
    if not host:
        raise UsageError("The benchmark URL has no host name.", hint)
    if any(character.isspace() or not character.isprintable() for character in cleaned):
        raise UsageError("The benchmark URL has spaces or unprintable characters inside.", hint)
    return cleaned


def require_url(url: str | None = None) -> str:
    """The server's base URL, from `find_url`. Raises `UsageError` if there is none or it is no URL."""
    found = find_url(url)
    if not found:
        raise UsageError(
            "No benchmark URL is set.",
            f"{ACCESS_HELP}\nThen set {URL_VARIABLE} in the environment, or write it to {env_files()[-1]}:\n"
            f'{URL_VARIABLE} = "https://…"',
        )
    return clean_url(found)


def save_url(url: str) -> Path:
    """Writes the URL to the user's `.env` file, which only the user can read; other lines of it stay. Returns
    its path. Raises OSError."""
    path = env_files()[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    kept = [line for line in lines if line.removeprefix("export ").partition("=")[0].strip() != URL_VARIABLE]
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join([*kept, f'{URL_VARIABLE} = "{url}"', ""]))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def find_flame_model(path: str | Path | None = None) -> Path:
    """The FLAME model's file: `path`, else the environment's, else the official toolkit's. It may not exist.

    A folder stands for the flame2023.pkl in it.
    """
    default = Path.home() / ".cache" / "FLAME" / "flame2023.pkl"
    found = Path(path or _lookup(FLAME_VARIABLE) or default).expanduser()
    return found / default.name if found.is_dir() else found

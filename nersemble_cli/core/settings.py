"""Settings: the benchmark folder on this machine, the personal, secret URL, and the FLAME model."""

from __future__ import annotations

import io
import os
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.files import replacing

URL_VARIABLE = "NERSEMBLE_BENCHMARK_URL"
FOLDER_VARIABLE = "NERSEMBLE_BENCHMARK_FOLDER"
FLAME_VARIABLE = "NERSEMBLE_FLAME_MODEL"
DEFAULT_FOLDER = Path("nersemble_benchmark")
ACCESS_FORM = "https://forms.gle/rYRoGNh2ed51TDWX9"
ACCESS_HELP = f"""The benchmark's data is for registered users. Ask for access here:
{ACCESS_FORM}
You get a mail with your personal {URL_VARIABLE}. Treat it like a password.
Until then, `nersemble demo` shows every command on made-up data."""
LARGEST_ENV_FILE = 1 << 20  # bytes
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
# Lines of other shells and formats: `set NAME=…`, `setx NAME "…"`, `$env:NAME = …`, `NAME: …`.
_OTHER_SHELL = re.compile(
    r"^[ \t]*(?:(?:export|set)[ \t]+|\$env:)?(NERSEMBLE_\w+)[ \t]*(?:=|:(?![ \t]*\w+[ \t]*=))"
    r"|^[ \t]*setx[ \t]+(NERSEMBLE_\w+)[ \t]+",
    re.IGNORECASE | re.MULTILINE,
)
_URL_ALONE = re.compile(r"[\s\"'<]*https?://", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"^(export\s+|set\s+|setx\s+|\$env:)?{URL_VARIABLE}\s*[=:\s]\s*", re.IGNORECASE)


def env_files() -> tuple[Path, ...]:
    """The `.env` files that are read, first one first: the working directory's and the official toolkit's."""
    here = Path(".env")
    try:
        return (here, Path.home() / ".config" / "nersemble_benchmark" / ".env")
    except RuntimeError:  # a user without a home, as in some containers
        return (here,)


def expand(path: str | Path) -> Path:
    """The path with `~` replaced by the home folder. Raises `UsageError` if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"There is no home folder for {path}.", "Write the path without ~.") from None


def _is_placeholder(value: str) -> bool:
    """Whether this is the text `<<<URL YOU GOT …>>>` of the official instructions, left as it was."""
    return value.startswith("<<<")


def _env_text(path: Path) -> str:
    """The text of an `.env` file. PowerShell writes UTF-16; a stray byte of another encoding spoils no other line.

    Raises OSError with the reason if it cannot be read.
    """
    if not path.is_file():  # reading a FIFO would wait for ever
        raise OSError("it is not a regular file")
    with path.open("rb") as file:
        raw = file.read(LARGEST_ENV_FILE + 1)
    if len(raw) > LARGEST_ENV_FILE:
        raise OSError(f"it has more than {LARGEST_ENV_FILE:,} bytes")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in raw:  # UTF-16 without a byte order mark
        encoding = "utf-16-be" if raw.startswith(b"\0") else "utf-16-le"
    return raw.decode(encoding, "replace")


def _read_env(path: Path) -> tuple[dict[str, str], list[str]]:
    """The variables of an `.env` file, and what is wrong with its lines; nothing if it is missing.

    Raises OSError if it cannot be read.
    """
    from dotenv.parser import parse_stream

    if not path.exists():
        return {}, []
    text = _OTHER_SHELL.sub(lambda match: f"{(match[1] or match[2]).upper()}=", _env_text(path))
    values, problems = {}, []
    for line in parse_stream(io.StringIO(text)):
        what = ""
        name = re.search(r"NERSEMBLE_\w+", line.original.string.upper())
        if line.error and name:
            what = "is not understood"
        elif _URL_ALONE.match(line.original.string):
            what = "is a URL without a name"
        elif (line.key or "").startswith("NERSEMBLE_") and "\ufffd" in (line.value or ""):
            what = "has bytes that are not UTF-8"
        elif line.key is not None:
            values[line.key] = line.value or ""
        if what:
            right = f"{name[0] if name else URL_VARIABLE}=…"
            problems.append(f"Line {line.original.line} of {path} {what}. Write: {right}")
    return values, problems


def env_problems() -> list[str]:
    """What is wrong with the `.env` files, a sentence for each file or line that cannot be read."""
    problems = []
    for path in env_files():
        try:
            problems += _read_env(path)[1]
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}.")
    return problems


def _lookup(variable: str) -> str | None:
    """A setting from the environment, else from the `.env` files; None if it is nowhere or empty."""
    if (value := os.environ.get(variable, "").strip()) and not _is_placeholder(value):
        return value
    for path in env_files():
        try:
            value = _read_env(path)[0].get(variable, "").strip()
        except OSError:
            continue  # told by `env_problems`
        if value and not _is_placeholder(value):
            return value
    return None


def find_folder(folder: Path | None = None) -> Path:
    """The benchmark folder: `folder`, else the environment's, else `./nersemble_benchmark`. It may not exist.

    Raises `UsageError` for a folder inside the benchmark folder, or one level above it.
    """
    if folder is None and (configured := _lookup(FOLDER_VARIABLE)):
        folder = Path(configured)
    return DEFAULT_FOLDER if folder is None else _check_depth(expand(folder))


def _check_depth(folder: Path) -> Path:
    """Raises `UsageError` for a task's own folder (`nersemble_benchmark/nvs`), a participant's inside it, or the
    folder above all of them."""
    tasks = [benchmark.folder for benchmark in BENCHMARKS.values()]
    place = folder.absolute()
    for level, inside in ((1, place), (2, place.parent)):
        if inside.name in tasks and _has_data(inside) and (level == 1 or _PARTICIPANT.fullmatch(place.name)):
            above = folder.parents[level - 1] if len(folder.parents) >= level else inside.parent
            raise UsageError(
                f"{folder} is inside the benchmark folder, not the benchmark folder itself.",
                f"Name the folder that holds {inside.name}/: -f {shlex.quote(str(above))}",
            )
    below = folder / DEFAULT_FOLDER
    if not any((folder / task).is_dir() for task in tasks) and any(_has_data(below / task) for task in tasks):
        raise UsageError(
            f"{folder} is one level above the benchmark folder.", f"Name that: -f {shlex.quote(str(below))}"
        )
    return folder


_PARTICIPANT = re.compile(r"[0-9]{3}")


def _has_data(folder: Path) -> bool:
    """Whether a folder holds a task's data: metadata, or folders of participants."""
    try:
        return any(
            path.name == "metadata.json" or (_PARTICIPANT.fullmatch(path.name) and path.is_dir())
            for path in folder.iterdir()
        )
    except OSError:
        return False


def existing_folder(folder: Path | None = None) -> Path | None:
    """`find_folder`, or None if nothing is there. Raises `UsageError` if the user named one that is missing."""
    path = find_folder(folder)
    if path.is_dir():
        return path
    if folder is not None:
        raise UsageError(f"No folder at {path}.", "Name the folder that holds nvs/, mono_flame_avatar/ or svfr/.")
    return None


def find_url(url: str | None = None) -> str | None:
    """The server's base URL without what surrounds it, or None. It is a credential: never show it."""
    found = url if url is not None else _lookup(URL_VARIABLE)
    return _bare(found) or None if found else None


def _bare(text: str) -> str:
    """The URL in what is copied from the access mail: `NERSEMBLE_BENCHMARK_URL = "https://…"`, quotes, spaces."""
    return _ASSIGNMENT.sub("", text.strip()).strip().strip("\"'<>`;,“”‘’").strip().rstrip("/")


def clean_url(url: str) -> str:
    """The URL without what is copied along with it: the name of the variable, spaces, quotes, a trailing slash.

    Raises `UsageError` if it is not an http(s) URL. The message does not show it.
    """
    cleaned = _bare(url)
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
    """The server's base URL, from `find_url`. Raises `UsageError` if there is none or it is not a URL."""
    found = find_url(url)
    if not found:
        problems = "".join(f"{problem}\n" for problem in env_problems())
        raise UsageError(
            "No benchmark URL is set.",
            f"{problems}{ACCESS_HELP}\n"
            f"Then set {URL_VARIABLE} in the environment, or write it to {env_files()[-1]}:\n"
            f'{URL_VARIABLE} = "https://…"',
        )
    return clean_url(found)


def save_url(url: str) -> Path:
    """Writes the URL to the user's `.env` file, which only the user can read; other lines of it stay.

    Returns the file's path. Raises OSError.
    """
    from dotenv import set_key

    path = env_files()[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _env_text(path) if path.exists() else ""
    if not path.exists() or path.read_bytes() != text.encode():  # new, or in an encoding that dotenv does not read
        with replacing(path) as part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(text.encode())
    path.chmod(0o600)
    set_key(path, URL_VARIABLE, url)
    path.chmod(0o600)
    return path


def find_flame_model(path: str | Path | None = None) -> Path:
    """The FLAME model's file: `path`, else the environment's, else the official toolkit's. It may not exist.

    A folder stands for the flame2023.pkl in it.
    """
    default = Path("~", ".cache", "FLAME", "flame2023.pkl")
    found = expand(path or _lookup(FLAME_VARIABLE) or default)
    return found / default.name if found.is_dir() else found

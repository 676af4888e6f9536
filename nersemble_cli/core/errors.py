"""Errors as users see them: what was found, what was expected, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

TORCH_EXTRAS = ("flame", "score")
# A reader's failure alone does not prove that a file is damaged; sizes and checksums do.
DAMAGED_HINT = (
    "It may be damaged or incomplete. If you downloaded it, `nersemble inspect --verify` compares it with what the"
    " server sent."
)


class NersembleError(Exception):
    """Base of every error that this package raises on purpose.

    `message` says what was found and what was expected, `hint` what to do about it. `exit_code` is the
    exit status of a command that ends with it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(NersembleError):
    """A wrong argument, an unknown name, or a setting that is missing."""

    exit_code = 2


class InvalidInputError(NersembleError, ValueError):
    """Data that the user handed over (an array, a file) is not what it must be."""


class MissingFileError(NersembleError, FileNotFoundError):
    """A file that is needed is not there; the hint says how to get it."""


class EncodingError(NersembleError):
    """ffmpeg is missing, was killed, or refused its input."""


class MissingLibraryError(UsageError, ImportError):
    """An optional library is not installed; the hint says how to install it."""


class Cancelled(NersembleError):
    """Another part of the same work failed or was interrupted, so this part gave up."""


def unknown_name(kind: str, value: object, valid: Iterable[object]) -> UsageError:
    """The error for a name that is not one of `valid`. It proposes the nearest one and lists them all."""
    names = [str(v) for v in valid]
    near = _nearest(str(value), names)
    hint = f"Did you mean {near}? " if near else ""
    return UsageError(f"Unknown {kind} '{value}'.", f"{hint}Valid: {', '.join(names)}.")


def _nearest(value: str, names: Sequence[str]) -> str | None:
    """The name that differs from `value` only in case or punctuation, or by a slip of the keyboard."""
    import difflib  # only errors need it, and every start would pay for it

    plain = {"".join(c for c in name.casefold() if c.isalnum()): name for name in reversed(names)}
    wanted = "".join(c for c in value.casefold() if c.isalnum())
    close = difflib.get_close_matches(wanted, plain, n=1) if wanted else []
    return plain[close[0]] if close else None


def listing(items: Sequence[object], limit: int = 5) -> str:
    """`a, b, c … (12 in all)`: the first `limit` items, and how many there are if that is not all."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} … ({len(items)} in all)"


def missing_extra(library: str, extra: str) -> MissingLibraryError:
    """The error for an optional library that is not installed."""
    hint = f"Install it with: {install_command(extra)}"
    return MissingLibraryError(f"This needs {library}, which is not installed.", hint)


def install_command(extra: str) -> str:
    """The line that adds an extra to what is installed: a checkout, a wheel, or a release."""
    # Only errors need these, and every start would pay for them.
    import contextlib
    import json
    import shlex
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    origin = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        origin = metadata.distribution("nersemble-cli").read_text("direct_url.json")
    if origin:  # the package was installed from a folder or a file
        told = json.loads(origin)
        source = unquote(urlsplit(told["url"]).path)
        editable = "-e " if told.get("dir_info", {}).get("editable") else ""
    else:
        checkout = Path(__file__).parent.parent.parent
        source = str(checkout) if (checkout / "pyproject.toml").is_file() else "nersemble-cli"
        editable = "-e " if source != "nersemble-cli" else ""
    cpu = " --extra-index-url https://download.pytorch.org/whl/cpu" if extra in TORCH_EXTRAS else ""
    note = "   (without the last option if you have an NVIDIA GPU)" if cpu else ""
    return f"pip install {editable}{shlex.quote(f'{source}[{extra}]')}{cpu}{note}"

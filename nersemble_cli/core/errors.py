"""What can go wrong, as the user is told it: what was found and expected, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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


class Cancelled(NersembleError):
    """Another part of the same work failed or was interrupted, so this part gave up."""


def unknown_name(kind: str, value: object, valid: Iterable[object]) -> UsageError:
    """The error for a name that is not one of `valid`, which it lists."""
    return UsageError(f"Unknown {kind} '{value}'.", f"Valid: {', '.join(str(v) for v in valid)}.")


def listing(items: Sequence[object], limit: int = 5) -> str:
    """`a, b, c … (12 in all)`: the first `limit` items, and how many there are if that is not all."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} … ({len(items)} in all)"


def missing_extra(library: str, extra: str) -> UsageError:
    """The error for an optional library that is not installed."""
    return UsageError(f"This needs {library}, which is not installed.", f'pip install "nersemble-cli[{extra}]"')

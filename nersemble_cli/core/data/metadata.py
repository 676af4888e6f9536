"""The timesteps of each sequence, by `metadata.json` and the tracking files of a benchmark folder."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from nersemble_cli.core.benchmarks import Benchmark
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.documents import parse_json
from nersemble_cli.core.formats.npy import read_npy_header

Sequence = tuple[int, str]
MAX_FRAMES = 100_000  # of one sequence; the longest has some thousands
MAX_SIZE = 64 << 20  # bytes of a metadata.json


def parse_timesteps(benchmark: Benchmark, document: Any) -> dict[Sequence, range | tuple[int, ...]]:
    """The timesteps of each sequence in a `metadata.json`, by (participant, sequence).

    The server has two forms: one sequence per participant with its timesteps listed, or frame counts of many
    sequences. Raises `InvalidInputError` for a document of neither form, with numbers that no recording has.
    """
    timesteps: dict[Sequence, range | tuple[int, ...]] = {}
    try:
        if "sequences" in document:
            for participant, entry in document["sequences"].items():
                listed = tuple(_whole(t, MAX_FRAMES - 1) for t in _list(entry["timesteps"]))
                if len(set(listed)) != len(listed):
                    raise ValueError(f"timesteps of {participant}, which are listed twice")
                timesteps[int(participant), str(entry["sequence_name"])] = listed
        else:
            for participant, entry in document["participants_metadata"].items():
                for sequence, values in entry["sequences_metadata"].items():
                    timesteps[int(participant), sequence] = range(_whole(values["n_frames"], MAX_FRAMES))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"is not the metadata.json of {benchmark.name}: {type(error).__name__} at {error}"
        ) from error
    return timesteps


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.50}, expected a list")
    return value


def _whole(value: Any, largest: int) -> int:
    """A number of an untrusted JSON document that must be a whole one between 0 and `largest`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= largest:
        raise ValueError(f"{value!r:.50}, expected a number from 0 to {largest:,}")
    if value != int(value):
        raise ValueError(f"{value!r:.50}, expected a whole number")
    return int(value)


def parse_metadata(benchmark: Benchmark, document: Any) -> dict[Sequence, int]:
    """The frame counts in a `metadata.json`. Raises `InvalidInputError` like `parse_timesteps`."""
    return {key: len(timesteps) for key, timesteps in parse_timesteps(benchmark, document).items()}


def metadata_path(benchmark: Benchmark, folder: Path) -> Path:
    return folder / benchmark.folder / "metadata.json"


def _load_document(benchmark: Benchmark, folder: Path) -> Any:
    """What is in `metadata.json` of a benchmark folder; None if there is none."""
    path = metadata_path(benchmark, folder)
    if not path.is_file():
        return None
    with _about(benchmark, path):
        if path.stat().st_size > MAX_SIZE:
            raise InvalidInputError(f"has more than {MAX_SIZE:,} bytes")
        return parse_json(path.read_bytes())


@contextmanager
def _about(benchmark: Benchmark, path: Path) -> Iterator[None]:
    """Completes messages about `metadata.json` in a folder."""
    try:
        yield
    except InvalidInputError as error:
        # `download` replaces a metadata.json that cannot be used, so nobody has to delete it.
        hint = f"To replace it, run: nersemble download {benchmark.name}"
        raise InvalidInputError(f"{path} {error.message}.", hint) from None


def load_timesteps(benchmark: Benchmark, folder: Path) -> dict[Sequence, range | tuple[int, ...]]:
    """The timesteps in `metadata.json` of a benchmark folder; empty if there is none.

    Raises `InvalidInputError` if it cannot be used.
    """
    document = _load_document(benchmark, folder)
    with _about(benchmark, metadata_path(benchmark, folder)):
        return {} if document is None else parse_timesteps(benchmark, document)


def is_made_up(benchmark: Benchmark, folder: Path) -> bool:
    """Whether the benchmark in `folder` is a made-up one (`nersemble demo`)."""
    document = _load_document(benchmark, folder)
    return isinstance(document, dict) and document.get("synthetic") is True


def load_metadata(benchmark: Benchmark, folder: Path) -> dict[Sequence, int]:
    """The frame counts in `metadata.json` of a benchmark folder; empty if there is none."""
    return {key: len(timesteps) for key, timesteps in load_timesteps(benchmark, folder).items()}


def count_tracked_frames(path: Path) -> int | None:
    """T of a FLAME tracking file, from the header of its array `frames`; None if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("frames.npy") as file:
            shape, _ = read_npy_header(cast(BinaryIO, file))
            return int(shape[0])
    except Exception:  # a broken zip raises whatever its reader meets
        return None

"""How many frames each sequence has, and who says so."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.npy import read_npy_header

Sequence = tuple[int, str]
CONNECT_AND_READ_TIMEOUT = (3.0, 5.0)
TRACKING = "flame2023_tracking_v2"


@dataclass(frozen=True)
class FrameCounts:
    """Expected numbers of frames.

    `counts` has them per (participant, sequence). A participant without counts may have a `totals` entry,
    the sum over its test sequences. `sources` names where they come from, for people to read, `notes` what
    was tried and did not help.
    """

    counts: Mapping[Sequence, int]
    totals: Mapping[int, int]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def get(self, participant: int, sequence: str) -> int | None:
        return self.counts.get((participant, sequence))


def parse_timesteps(benchmark: Benchmark, document: Any) -> dict[Sequence, range | tuple[int, ...]]:
    """The timesteps of each sequence in a `metadata.json`, by (participant, sequence).

    The server has two forms: one sequence per participant with its timesteps listed, or frame counts of many
    sequences. Raises `InvalidInputError` for a document of neither form.
    """
    timesteps: dict[Sequence, range | tuple[int, ...]] = {}
    try:
        if "sequences" in document:
            for participant, entry in document["sequences"].items():
                timesteps[int(participant), entry["sequence_name"]] = tuple(map(int, entry["timesteps"]))
        else:
            for participant, entry in document["participants_metadata"].items():
                for sequence, values in entry["sequences_metadata"].items():
                    timesteps[int(participant), sequence] = range(int(values["n_frames"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"This is not the metadata.json of {benchmark.name}: {type(error).__name__} at {error}.",
            f"Fetch it again with: nersemble download {benchmark.name}",
        ) from error
    return timesteps


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
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is not JSON: {error}.", f"Delete it and run: nersemble download {benchmark.name}"
        ) from error


def load_timesteps(benchmark: Benchmark, folder: Path) -> dict[Sequence, range | tuple[int, ...]]:
    """The timesteps in `metadata.json` of a benchmark folder; empty if there is none."""
    document = _load_document(benchmark, folder)
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


def _from_tracking(benchmark: VideoBenchmark, folder: Path) -> dict[Sequence, int]:
    if not benchmark.has_asset(TRACKING):
        return {}
    asset = benchmark.asset(TRACKING)
    counts: dict[Sequence, int] = {}
    for participant, sequences in benchmark.test_sequences.items():
        for sequence in sequences:
            path = folder / benchmark.folder / asset.path.format(participant=participant, sequence=sequence)
            if path.is_file() and (n := count_tracked_frames(path)) is not None:
                counts[participant, sequence] = n
    return counts


def _from_server(benchmark: Benchmark, url: str) -> dict[Sequence, int]:
    """The server's metadata.json. Any failure is an `InvalidInputError` that does not show the URL."""
    import requests

    try:
        response = requests.get(f"{url}/{benchmark.folder}/metadata.json", timeout=CONNECT_AND_READ_TIMEOUT)
        response.raise_for_status()
        return parse_metadata(benchmark, response.json())
    except (requests.RequestException, ValueError) as error:
        # The text of a requests error has the URL in it, so only its kind is told.
        raise InvalidInputError(f"the server's metadata.json could not be had ({type(error).__name__})") from None


def frame_counts(benchmark: VideoBenchmark, folder: Path | None = None, url: str | None = None) -> FrameCounts:
    """The frame counts of the sequences to be rendered, each from the first source that knows it.

    Sources, in order: `metadata.json` in `folder`, the tracking files there, the server at `url`, and what is
    built in (NVS: exact; Mono: a sum per participant). Never fails: what could not be used is in the notes.
    """
    wanted = {(p, s) for p, sequences in benchmark.test_sequences.items() for s in sequences}
    counts: dict[Sequence, int] = {}
    sources: list[str] = []
    notes: list[str] = []

    def take(found: Mapping[Sequence, int], source: str) -> None:
        new = {key: n for key, n in found.items() if key in wanted and key not in counts}
        if new:
            counts.update(new)
            sources.append(source)

    if folder is not None:
        try:
            path = metadata_path(benchmark, folder)
            take(load_metadata(benchmark, folder), str(path))
            if is_made_up(benchmark, folder):
                notes.append(f"The benchmark in {folder} is made up: what fits it is nothing to upload.")
        except (InvalidInputError, OSError) as error:
            notes.append(f"not used: {error}")
        if wanted - counts.keys():
            take(_from_tracking(benchmark, folder), f"the FLAME tracking files in {folder}")
    if url and wanted - counts.keys():
        try:
            take(_from_server(benchmark, url), "the server's metadata.json")
        except InvalidInputError as error:
            notes.append(error.message)
    take(benchmark.n_frames, "the built-in table")
    totals = {p: benchmark.n_test_frames[p] for p, s in wanted - counts.keys()}
    if totals:
        sources.append("the built-in table (the sum over a participant's test sequences)")
    return FrameCounts(counts, totals, tuple(sources), tuple(notes))

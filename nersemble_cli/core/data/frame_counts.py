"""How many frames each sequence has, and by which source."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark
from nersemble_cli.core.errors import InvalidInputError, NersembleError
from nersemble_cli.core.formats.npy import read_npy_header

Sequence = tuple[int, str]
CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 5.0  # seconds
MAX_FRAMES = 100_000  # of one sequence; the longest has some thousands
MAX_SIZE = 64 << 20  # bytes of a metadata.json
TRACKING = "flame2023_tracking_v2"


@dataclass(frozen=True)
class FrameCounts:
    """Expected numbers of frames.

    `counts` has them per (participant, sequence). A participant without counts may have a `totals` entry,
    the sum over its test sequences. `sources` says where they come from, for people to read, `notes` what was
    tried in vain.
    """

    counts: Mapping[Sequence, int]
    totals: Mapping[int, int]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def get(self, participant: int, sequence: str) -> int | None:
        return self.counts.get((participant, sequence))


def parse_json(content: bytes) -> Any:
    """An untrusted JSON document, in UTF-8 with or without a BOM.

    Raises `InvalidInputError`, whose message continues a sentence after the document's name.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise InvalidInputError("is not JSON of a sensible depth") from None
    except ValueError as error:
        raise InvalidInputError(f"is not JSON: {error}") from None


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
    """The server's metadata.json. Any failure is a `NersembleError` that does not show the URL."""
    # Most callers never need the network.
    from nersemble_cli.core.download.http import RetryPolicy, Server, read_within
    from nersemble_cli.core.settings import clean_url

    server = Server(clean_url(url), retry=RetryPolicy(connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT))
    with closing(server):
        content = read_within(server, f"{benchmark.folder}/metadata.json")
    try:
        return parse_metadata(benchmark, parse_json(content))
    except InvalidInputError as error:
        raise InvalidInputError(f"what the server sent {error.message}") from None


def _contradictions(benchmark: VideoBenchmark, told: Mapping[Sequence, int], path: Path) -> list[str]:
    """A warning if a file's frame counts are not those of the benchmark, where these are known exactly."""
    differing = [
        f"{participant} {sequence} has {told[participant, sequence]} frames there, {n} in the benchmark"
        for (participant, sequence), n in benchmark.n_frames.items()
        if told.get((participant, sequence), n) != n
    ]
    if not differing:
        return []
    return [
        f"Warning: {path} differs from the benchmark's own frame counts: {'; '.join(differing)}."
        f" If it is outdated, download it again: nersemble download {benchmark.name} -a calibration"
    ]


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
            told = load_metadata(benchmark, folder)
            take(told, str(path))
            if is_made_up(benchmark, folder):
                notes.append(f"The benchmark in {folder} is made up: results made from it must not be uploaded.")
            else:
                notes += _contradictions(benchmark, told, path)
        except (InvalidInputError, OSError) as error:
            notes.append(f"Not used: {error}")
        if wanted - counts.keys():
            take(_from_tracking(benchmark, folder), f"the FLAME tracking files in {folder}")
    if url and wanted - counts.keys():
        try:
            take(_from_server(benchmark, url), "the server's metadata.json")
        except NersembleError as error:
            notes.append(f"The server's metadata.json is not used: {error.message.removesuffix('.')}.")
    take(benchmark.n_frames, "the built-in table")
    totals = {p: benchmark.n_test_frames[p] for p, s in wanted - counts.keys()}
    if totals:
        sources.append("the built-in table (the sum over a participant's test sequences)")
    return FrameCounts(counts, totals, tuple(sources), tuple(notes))

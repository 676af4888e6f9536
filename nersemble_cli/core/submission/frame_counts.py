"""How many frames each video of a submission must have, and by which source."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark
from nersemble_cli.core.data.metadata import (
    Sequence,
    count_tracked_frames,
    is_made_up,
    load_metadata,
    metadata_path,
    parse_metadata,
)
from nersemble_cli.core.download.http import RetryPolicy, Server, read_within
from nersemble_cli.core.errors import InvalidInputError, NersembleError
from nersemble_cli.core.formats.documents import parse_json
from nersemble_cli.core.settings import clean_url

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 5.0  # seconds
TRACKING = "flame2023_tracking_v2"


@dataclass(frozen=True)
class FrameCounts:
    """Expected numbers of frames.

    `counts` has them per (participant, sequence). A participant without counts may have a `totals` entry,
    the sum over its test sequences. `sources` says where they come from, for people to read, `notes` which
    sources failed.
    """

    counts: Mapping[Sequence, int]
    totals: Mapping[int, int]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def get(self, participant: int, sequence: str) -> int | None:
        return self.counts.get((participant, sequence))


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

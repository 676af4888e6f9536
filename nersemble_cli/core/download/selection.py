"""Which files of a benchmark are selected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nersemble_cli.core.benchmarks import (
    Benchmark,
    BenchmarkFile,
    VideoBenchmark,
    choose,
    files,
    parse_participant,
)
from nersemble_cli.core.errors import UsageError, listing

Timesteps = Mapping[tuple[int, str], range | tuple[int, ...]]

POINTCLOUDS = "pointclouds"
ALL = "all"


@dataclass(frozen=True)
class Selection:
    """Which files of a benchmark are selected; a filter of None lets all pass (of assets: the default ones).

    `pointcloud_frames` are ranges of timesteps, None for all.
    """

    benchmark: Benchmark
    participants: tuple[int, ...] | None = None
    sequences: tuple[str, ...] | None = None
    serials: tuple[str, ...] | None = None
    assets: tuple[str, ...] | None = None
    pointcloud_frames: tuple[range, ...] | None = (range(1),)


def split_names(values: Iterable[str]) -> list[str]:
    """`["388,422", "443"]` → `["388", "422", "443"]`."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def valid_sequences(benchmark: Benchmark) -> list[str]:
    """The sequences that a download can be restricted to, in the benchmark's order."""
    found: dict[str, None] = {}
    for participant in benchmark.participants:
        found |= dict.fromkeys(benchmark.sequences(participant))
    return list(found)


def parse_selection(
    benchmark: Benchmark,
    participants: Iterable[str] = (),
    sequences: Iterable[str] = (),
    serials: Iterable[str] = (),
    assets: Iterable[str] = (),
    pointcloud_frames: str | None = None,
) -> Selection:
    """The selection that the options of a command line make. Raises `UsageError`, listing the valid names."""
    wanted_serials = split_names(serials)
    hold_out = benchmark.hold_out_serials if isinstance(benchmark, VideoBenchmark) else ()
    for serial in wanted_serials:
        if serial in hold_out:
            raise UsageError(
                f"{serial} is a hold-out camera of {benchmark.name}: its videos are not on the server.",
                f"Cameras to train with: {', '.join(benchmark.image_serials)}.",
            )
    names = [asset.name for asset in benchmark.assets]
    if pointcloud_frames is not None and POINTCLOUDS not in names:
        raise UsageError(f"--pointcloud-frames: {benchmark.name} has no point clouds.", "Leave the option out.")

    def chosen(kind: str, values: list[str], valid: Sequence[str]) -> tuple[str, ...] | None:
        return choose(f"{kind} of {benchmark.name}", values, valid) if values else None

    numbers = tuple(parse_participant(value, benchmark) for value in split_names(participants))
    return Selection(
        benchmark,
        participants=choose("participant", numbers, benchmark.participants) if numbers else None,
        sequences=chosen("sequence", split_names(sequences), valid_sequences(benchmark)),
        serials=chosen("camera", wanted_serials, benchmark.image_serials),
        assets=chosen("asset", split_names(assets), names),
        pointcloud_frames=(range(1),)
        if pointcloud_frames is None
        else parse_frames("--pointcloud-frames", pointcloud_frames),
    )


def parse_frames(option: str, text: str) -> tuple[range, ...] | None:
    """The value of an `option`: `all` (None), or timesteps and ranges of them, both ends included: `0,5,10-20`."""
    if text.strip().lower() == ALL:
        return None
    ranges = []
    for part in split_names([text]):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or int(last) < int(
            first
        ):
            raise UsageError(
                f"{option}: '{part}' is neither a timestep nor a range.",
                "Write all, or timesteps and ranges such as 0,5,10-20",
            )
        ranges.append(range(int(first), int(last) + 1))
    if not ranges:
        raise UsageError(f"{option}: no timestep given.", "Write all, or for example 0,5,10-20")
    return tuple(ranges)


def select(selection: Selection, timesteps: Timesteps) -> list[BenchmarkFile]:
    """The selected files. `timesteps` are those of each sequence, as in metadata.json.

    Raises `UsageError` if nothing fits the selection, or a timestep is asked for that no sequence has.
    """
    benchmark, frames = selection.benchmark, selection.pointcloud_frames
    met: set[range] = set()

    def wanted_timesteps(participant: int, sequence: str) -> Iterator[int]:
        for timestep in timesteps.get((participant, sequence), range(1)):
            hits = [frame_range for frame_range in frames or () if timestep in frame_range]
            met.update(hits)
            if frames is None or hits:
                yield timestep

    filters = (selection.assets, selection.participants, selection.sequences, selection.serials)
    found = list(files(benchmark, *filters, wanted_timesteps))
    if not _sequences_fit(selection):
        raise _nothing_fits(selection)
    has_pointclouds = POINTCLOUDS in (selection.assets or [asset.name for asset in benchmark.assets])
    for frame_range in frames or ():
        if has_pointclouds and frame_range not in met:
            raise UsageError(
                f"--pointcloud-frames: none of the chosen sequences has timestep {as_ranges(list(frame_range))}.",
                "; ".join(
                    f"{p} {s} has {as_ranges(list(steps))}"
                    for (p, s), steps in timesteps.items()
                    if p in (selection.participants or benchmark.participants)
                    and s in (selection.sequences or valid_sequences(benchmark))
                ),
            )
    if not found:
        raise _nothing_fits(selection)
    return found


def _sequences_fit(selection: Selection) -> bool:
    """Whether one of the chosen participants has one of the chosen sequences."""
    everything = files(selection.benchmark, participants=selection.participants)
    return selection.sequences is None or any(file.sequence in selection.sequences for file in everything)


def _nothing_fits(selection: Selection) -> UsageError:
    """The error that says who has which sequences."""
    benchmark = selection.benchmark
    lines = []
    for participant in selection.participants or benchmark.participants:
        found = files(benchmark, participants=[participant])
        sequences = list(dict.fromkeys(file.sequence for file in found if file.sequence))
        lines.append(f"{participant:03d} has {listing(sequences, 30)}.")
    message = f"Nothing of {benchmark.name} fits all of these options together."
    return UsageError(message, "\n".join(lines[:5]))


def as_ranges(numbers: list[int]) -> str:
    """`[0, 5, 6, 7]` → `0,5-7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

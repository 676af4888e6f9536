"""WebDataset's shards: tar files whose members belong together if their names are equal up to the first dot.

Format: https://github.com/webdataset/webdataset.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.export.images import ImageFile
from nersemble_cli.core.export.selection import View
from nersemble_cli.core.files import replacing

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_HEADER, _BLOCK = 512, 512

Encoded = tuple[ImageFile, dict[str, bytes]]
Sample = Callable[[View], dict[str, bytes]]


@dataclass(frozen=True)
class Shard:
    """A tar file and the samples in it."""

    name: str
    files: tuple[ImageFile, ...]


def parse_size(text: str) -> int:
    """`500MB` → 500,000,000; units up to GB and GiB, any case. Raises `UsageError` for anything else."""
    digits = text.strip().rstrip("BbKkMmGgIi ").strip()
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        size = float(digits) * _UNITS[unit]
    except (ValueError, KeyError):
        size = 0.0
    if not 1 <= size < 1e15:
        raise UsageError(f"--shards: '{text}' is not a size.", "For example: --shards 500MB")
    return int(size)


def plan_shards(files: Iterable[ImageFile], shard_size: int, sample_size: int) -> list[Shard]:
    """As many samples in each shard as fit into `shard_size` bytes; training samples and held-out ones apart."""
    per_shard = max(1, shard_size // max(1, sample_size))
    shards = []
    for is_held_out, group in groupby(files, key=lambda file: file.view.held_out):
        members = list(group)
        split = "held_out" if is_held_out else "train"
        for number, start in enumerate(range(0, len(members), per_shard)):
            shards.append(Shard(f"{split}-{number:06d}.tar", tuple(members[start : start + per_shard])))
    return shards


def member_size(n_bytes: int) -> int:
    """What a member of `n_bytes` takes in a tar file."""
    return _HEADER + -(-n_bytes // _BLOCK) * _BLOCK


def write_shard(path: Path, shard: Shard, encoded: Iterator[Encoded], sample: Sample) -> Iterator[int]:
    """Writes a shard, which appears whole or not at all; yields the bytes of each sample as it is written.

    The next of `encoded` are those of `shard.files`, in this order. The same samples give the same bytes, as
    neither times nor owners are written.
    """
    with replacing(path) as part, tarfile.open(part, "w") as archive:
        for file, contents in islice(encoded, len(shard.files)):
            key = file.image.partition(".")[0]
            members = contents | {f"{key}.{suffix}": data for suffix, data in sample(file.view).items()}
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            yield sum(member_size(len(data)) for data in members.values())


def in_order(files: Iterable[ImageFile], encoded: Iterator[Encoded]) -> Iterator[Encoded]:
    """All that is encoded, in the order of `files`; few wait, as those who encode are never far ahead."""
    waiting: dict[ImageFile, dict[str, bytes]] = {}
    for file in files:
        while file not in waiting:
            done, contents = next(encoded)
            waiting[done] = contents
        yield file, waiting.pop(file)

"""What of the benchmarks is in a folder, what is missing, and whether what is there is still whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nersemble_cli.core.benchmarks import BENCHMARKS, Benchmark, BenchmarkFile, VideoBenchmark, files
from nersemble_cli.core.data import metadata
from nersemble_cli.core.download.contents import check_content
from nersemble_cli.core.download.manifest import Manifest
from nersemble_cli.core.download.plan import FileStatus, fetch_command, local_status
from nersemble_cli.core.errors import Cancelled, InvalidInputError
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.settings import DEFAULT_FOLDER
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

CHUNK = 1 << 20


@dataclass(frozen=True)
class Group:
    """One asset of one participant: its files in `folder`, by what is the matter with them."""

    participant: int
    asset: str
    items: Sequence[FileStatus]

    @property
    def present(self) -> list[FileStatus]:
        """Complete as far as sizes tell. What the manifest does not list has nothing to be compared with."""
        return [item for item in self.items if item.here in ("present", "unlisted")]

    @property
    def missing(self) -> list[FileStatus]:
        return [item for item in self.items if item.here in ("missing", "folder")]

    @property
    def wrong_size(self) -> list[FileStatus]:
        return [item for item in self.items if item.here == "wrong_size"]


@dataclass(frozen=True)
class Overview:
    """One benchmark in the folder. `damaged` maps names below the folder to what is wrong, once verified."""

    benchmark: Benchmark
    folder: Path
    groups: Sequence[Group]
    damaged: Mapping[str, str]
    n_hashed: int = 0

    @property
    def items(self) -> list[FileStatus]:
        return [item for group in self.groups for item in group.items]

    @property
    def started(self) -> bool:
        """Whether any of its files is there."""
        return any(item.here != "missing" or item.part_size for item in self.items)

    @property
    def command(self) -> str | None:
        """The command that fetches what is missing, and over what is damaged; None if all is well."""
        damaged = [item.file for item in self.items if item.file.path in self.damaged]
        incomplete = [item.file for group in self.groups for item in (*group.missing, *group.wrong_size)]
        folder = None if self.folder == DEFAULT_FOLDER else self.folder
        commands = [fetch_command(self.benchmark, incomplete, folder)] if incomplete else []
        commands += [fetch_command(self.benchmark, damaged, folder, overwrite=True)] if damaged else []
        return " && ".join(commands) or None


def survey(folder: Path, participants: Mapping[str, Sequence[int]] | None = None) -> list[Overview]:
    """The benchmarks in a folder: all that a download fetches by default, and whatever else is there or once was.

    `participants` restricts it: benchmark name → participants. Raises OSError.
    """
    overviews = []
    for benchmark in BENCHMARKS.values():
        wanted = participants.get(benchmark.name, ()) if participants is not None else benchmark.participants
        if not wanted:
            continue
        root = folder / benchmark.folder
        manifest = Manifest(root)
        groups: dict[tuple[int, str], list[FileStatus]] = {}
        default = {file.path for file in files(benchmark)}
        for file in _all_files(benchmark, folder, wanted):
            item = local_status(file, root, manifest)
            known = manifest.file(file.path) or manifest.part(file.path)
            if file.path in default or item.here != "missing" or known:
                groups.setdefault((file.participant, file.asset.name), []).append(item)
        overviews.append(Overview(benchmark, folder, [Group(p, a, i) for (p, a), i in groups.items()], {}))
    return overviews


def _all_files(benchmark: Benchmark, folder: Path, participants: Sequence[int]) -> Iterator[BenchmarkFile]:
    """Everything that is on the server, as far as is known here."""
    try:
        timesteps = metadata.load_timesteps(benchmark, folder)
    except InvalidInputError:
        timesteps = {}
    built_in = benchmark.n_frames if isinstance(benchmark, VideoBenchmark) else {}
    known = {key: range(n) for key, n in built_in.items()} | timesteps
    assets = [asset.name for asset in benchmark.assets]
    return files(benchmark, assets, participants, timesteps=lambda p, s: known.get((p, s), range(1)))


def verify(overview: Overview, progress: Progress | None = None, workers: int | None = None) -> Overview:
    """Reads every file that is there and compares its sha256 with the one computed when it was fetched.

    Files without one (something else fetched them) are checked for being whole. Raises nothing: a file that cannot
    be read counts as damaged.
    """
    progress = progress or NullProgress()
    root = overview.folder / overview.benchmark.folder
    manifest = Manifest(root)
    present = [item for group in overview.groups for item in group.present]
    progress.start(f"verifying {overview.benchmark.name}", sum(item.size_here for item in present), "bytes")

    def check(item: FileStatus, cancel: Cancel) -> str | None:
        try:
            return compare(item, cancel)
        except Cancelled:
            raise
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
        except Exception as error:  # a reader's own surprise must not keep the other files from being checked
            return f"cannot be read ({type(error).__name__}: {error})"

    def compare(item: FileStatus, cancel: Cancel) -> str | None:
        version = manifest.file(item.file.path)
        path = root / item.file.path
        if version is None or version.sha256 is None:
            progress.advance(item.size_here)
            return _damage(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                progress.advance(len(chunk))
                cancel.check()
        return None if digest.hexdigest() == version.sha256 else "is not what was downloaded (its sha256 differs)"

    damaged = {}
    n_hashed = 0
    with closing(in_threads(check, present, workers or cpu_count())) as results:
        for item, flaw in results:
            known = manifest.file(item.file.path)
            n_hashed += known is not None and known.sha256 is not None
            if flaw:
                damaged[item.file.path] = flaw
    return Overview(overview.benchmark, overview.folder, overview.groups, damaged, n_hashed)


def _damage(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            check_content(file, path.name)
    except InvalidInputError as error:
        return error.message
    return None

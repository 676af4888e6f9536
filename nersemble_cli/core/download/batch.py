"""Downloading a benchmark: find out what remains, check that it fits on the disk, fetch it in parallel."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark, files, get_benchmark
from nersemble_cli.core.data import metadata
from nersemble_cli.core.download.fetch import LOCK_POLL, FileProgress, Transfer, fetch
from nersemble_cli.core.download.http import (
    ACCESS_REFUSED,
    NOT_THERE,
    Server,
    TransferError,
    ask_version,
    read_small,
    with_retries,
)
from nersemble_cli.core.download.manifest import Manifest, Version
from nersemble_cli.core.download.plan import FileStatus, local_status, totals
from nersemble_cli.core.download.selection import Selection, Timesteps, parse_selection, select
from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError
from nersemble_cli.core.files import (
    free_space,
    locked_part,
    part_path,
    remove_empty_folders,
    replace_file,
    write_all,
)
from nersemble_cli.core.formats.documents import parse_json
from nersemble_cli.core.settings import find_folder, require_url
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

T = TypeVar("T")
R = TypeVar("R")

# Files at a time. Small ones are all waiting and no work, for the server too, so more of them are fetched at once.
DEFAULT_WORKERS = 8
DEFAULT_WORKERS_SMALL = 16
# Threads that hang in the network longer than this after Ctrl-C are left behind, in seconds.
GRACE = 1.0
# Asking for the size of a file takes as long as fetching a small one: for those an estimate will do, as long as
# the disk has room for several times as much.
WORTH_ASKING = 2_000_000
PLENTY = 4
PROBE_SIZE = 1024
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
METADATA = "metadata.json"
_URL_HINT = "Compare the URL with the one in your access mail. If it has expired, ask for access again."


@dataclass(frozen=True)
class Failure:
    """A file that could not be downloaded. `path` is its name below the benchmark folder."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The selected files and which of them remain to be fetched. `folder` is the benchmark folder. Close it."""

    benchmark: Benchmark
    folder: Path
    items: Sequence[FileStatus]
    manifest: Manifest
    notes: tuple[str, ...] = ()
    created: Path | None = None  # the highest folder that was created for it

    @property
    def root(self) -> Path:
        """The folder of the benchmark's own files."""
        return self.folder / self.benchmark.folder

    @property
    def todo(self) -> list[FileStatus]:
        """The files that remain to be fetched."""
        return [item for item in self.items if item.todo and not item.failure]

    @property
    def failures(self) -> list[Failure]:
        """The files that the server could not tell anything of."""
        return [Failure(f"{self.benchmark.folder}/{i.file.path}", i.failure) for i in self.items if i.failure]

    def close(self) -> None:
        self.manifest.close()
        if self.created:
            remove_empty_folders(self.root, self.created)


@dataclass
class Result:
    """What a download did.

    `fetched` are the paths of the downloaded files, `bytes` their sizes together. `failures` are the files that
    could not be downloaded, and why. `remaining` are the paths of what a dry run would have fetched. `notes` is
    what else is worth knowing.
    """

    fetched: list[Path] = field(default_factory=list)
    bytes: int = 0
    failures: list[Failure] = field(default_factory=list)
    remaining: list[Path] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def download(
    benchmark: str,
    folder: str | Path | None = None,
    participants: Iterable[int | str] = (),
    sequences: Iterable[str] = (),
    serials: Iterable[str] = (),
    assets: Iterable[str] = (),
    pointcloud_frames: str | None = None,
    url: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Downloads what is missing of a benchmark (`nvs`, `mono`, `svfr`). One file's failure stops no other.

    `folder` is the benchmark folder (default: NERSEMBLE_BENCHMARK_FOLDER, else ./nersemble_benchmark). Empty
    `participants`, `sequences`, `serials` and `assets` mean all (of the assets: the default ones).
    `pointcloud_frames` are timesteps such as `"0,5,10-20"` or `"all"` (default: 0). `url` is the personal URL
    (default: NERSEMBLE_BENCHMARK_URL), `workers` how many files to fetch at a time. With `overwrite`, files that
    are there are fetched again; with `dry_run`, nothing is fetched or written. `progress` is called from any
    thread.

    Prints nothing. Raises `UsageError` for an unknown name, or a URL that is missing, wrong or outdated, and
    `NersembleError` if the server cannot be reached or the disk is full.
    """
    task = get_benchmark(benchmark)
    selection = parse_selection(task, map(str, participants), sequences, serials, assets, pointcloud_frames)
    place = find_folder(None if folder is None else Path(folder))
    with closing(Server(require_url(url), workers or default_workers(selection))) as server:
        plan = prepare(selection, place, server, overwrite, dry_run, progress)
        with closing(plan):
            if not dry_run:
                return run(plan, server, progress)
            paths = [plan.root / item.file.path for item in plan.todo]
            return Result(failures=plan.failures, remaining=paths, notes=plan.notes)


def default_workers(selection: Selection) -> int:
    """How many files of the selection to fetch at a time by default."""
    names = selection.assets or [asset.name for asset in selection.benchmark.assets if asset.by_default]
    sizes = [asset.typical_size for asset in selection.benchmark.assets if asset.name in names]
    return DEFAULT_WORKERS if max(sizes) >= WORTH_ASKING else DEFAULT_WORKERS_SMALL


def check_url(server: Server, benchmark: Benchmark) -> None:
    """Fetches a few bytes of a file that must be there. Raises `NersembleError` if the server sends none."""
    everything = [file.path for file in files(benchmark)]
    certain = [METADATA] if isinstance(benchmark, VideoBenchmark) else []
    problem = TransferError("the server sends nothing")

    def probe(path: str) -> None:
        cancel, name = Cancel(), f"{benchmark.folder}/{path}"
        with_retries(lambda: read_small(server, name, cancel, PROBE_SIZE), server, cancel)

    for path in [*certain, everything[0], everything[-1]]:
        try:
            probe(path)
        except TransferError as error:
            problem = error
        else:
            server.proven = True
            return
        if not (problem.foreign or problem.status in NOT_THERE):
            break
    raise _url_error(problem) or _foreign_error(problem) or NersembleError(f"{_sentence(problem)}.", _URL_HINT)


def _sentence(error: NersembleError) -> str:
    return error.message[:1].upper() + error.message[1:]


def _url_error(error: TransferError) -> NersembleError | None:
    """The error that ends everything if this is the first thing that a server says, or if it says nothing."""
    if error.status in ACCESS_REFUSED:
        return UsageError(f"{_sentence(error)}: your benchmark URL is wrong or has expired.", _URL_HINT)
    if error.unreachable:
        return NersembleError(f"{_sentence(error)}.", error.hint or f"Is this machine online? {_URL_HINT}")
    return None


def _foreign_error(error: TransferError) -> NersembleError | None:
    """The error that ends everything if the server has no benchmark at this URL."""
    if error.status in NOT_THERE:
        what = f"The server has none of the benchmark's files (HTTP {error.status})"
        return UsageError(f"{what}: your benchmark URL is wrong or outdated.", _URL_HINT)
    if error.foreign:
        what = f"The server sends no benchmark files: {error.message}"
        hint = f"{_URL_HINT} A network that asks for a login in the browser answers like this, too."
        return UsageError(f"{what}. Your benchmark URL is wrong or outdated.", hint)
    return None


def prepare(
    selection: Selection,
    folder: Path,
    server: Server,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Finds out which selected files are in `folder` and which remain to be fetched.

    Fetches metadata.json if it is missing and asks the server for what is not known of the files. That, and what
    it learns of files that another tool downloaded, is kept in `folder`, but nothing with `dry_run`. Raises
    `NersembleError` if the server refuses, and OSError.
    """
    progress = progress or NullProgress()
    benchmark = selection.benchmark
    root = folder / benchmark.folder
    created = None if dry_run else _make_folder(root)
    manifest = Manifest(root)
    try:
        items, notes = _look_up(selection, root, server, manifest, overwrite, dry_run, progress)
    except BaseException:
        Plan(benchmark, folder, (), manifest, created=created).close()
        raise
    return Plan(benchmark, folder, items, manifest, notes, created)


def _look_up(
    selection: Selection,
    root: Path,
    server: Server,
    manifest: Manifest,
    overwrite: bool,
    dry_run: bool,
    progress: Progress,
) -> tuple[list[FileStatus], tuple[str, ...]]:
    """The selected files, with what the server says of those it has to be asked for, and notes."""
    benchmark = selection.benchmark
    timesteps, notes = _timesteps(benchmark, root, server, manifest, overwrite, dry_run)
    items = [local_status(file, root, manifest) for file in select(selection, timesteps)]
    if overwrite:
        items = [replace(item, todo=True, part_size=0, size=None) for item in items]
    to_ask = [item for item in items if item.here == "unlisted" and not overwrite]
    to_come = totals(items).remaining_bytes
    if dry_run or free_space(root) < PLENTY * to_come:
        to_ask += [item for item in items if item.todo]
    else:
        to_ask += [item for item in items if item.todo and item.file.asset.typical_size >= WORTH_ASKING]
    answers = _ask(to_ask, benchmark, server, progress, manifest, dry_run)
    answered = {item.file.path: item for item in answers}
    return [answered.get(item.file.path, item) for item in items], notes


def _make_folder(root: Path) -> Path | None:
    """Creates a folder. Returns the highest one that was missing, None if it was there."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next(path for path in (root, *root.parents) if path.exists() and not path.is_dir())
        raise UsageError(f"{taken} is a file, expected a folder.", "Choose another: -f FOLDER") from None
    except PermissionError as error:
        raise _not_writable(Path(error.filename or root).parent) from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise _not_writable(root)
    return missing[-1] if missing else None


def _not_writable(folder: Path) -> UsageError:
    return UsageError(
        f"The folder {folder} cannot be written to.", "Choose another (-f FOLDER), or change its permissions."
    )


def _timesteps(
    benchmark: Benchmark, root: Path, server: Server, manifest: Manifest, overwrite: bool, dry_run: bool
) -> tuple[Timesteps, tuple[str, ...]]:
    """The timesteps of each sequence, and notes: from metadata.json in the folder, else from the server."""
    if not isinstance(benchmark, VideoBenchmark):
        return {}, ()
    path = root / METADATA
    if not overwrite:
        try:
            if found := metadata.load_timesteps(benchmark, root.parent):
                return found, ()
        except (OSError, InvalidInputError):
            pass  # unusable: it is fetched again
    cancel = Cancel()
    try:
        content = with_retries(
            lambda: read_small(server, f"{benchmark.folder}/{METADATA}", cancel), server, cancel
        )
        found = metadata.parse_timesteps(benchmark, parse_json(content))
    except TransferError as error:
        if error.status in NOT_THERE:
            known = {key: range(n) for key, n in benchmark.n_frames.items()}
            return known, (f"The server has no {benchmark.folder}/{METADATA}: using the built-in frame counts.",)
        raise _url_error(error) or _no_metadata(benchmark, error.message) from None
    except InvalidInputError as error:
        raise _no_metadata(benchmark, f"what the server sent {error.message}") from None
    server.proven = True
    if not dry_run:
        with locked_part(path, lambda: cancel.wait(LOCK_POLL)) as part:
            part.truncate(0)
            write_all(part, content)
            part.close()
            replace_file(part_path(path), path)
            manifest.add(METADATA, Version(len(content), sha256=hashlib.sha256(content).hexdigest()))
    return found, ()


def _no_metadata(benchmark: Benchmark, reason: str) -> NersembleError:
    return NersembleError(
        f"{benchmark.folder}/{METADATA} could not be downloaded: {reason}.", f"Try again later. {_URL_HINT}"
    )


def _in_parallel(
    work: Callable[[T, Cancel], R], items: Sequence[T], benchmark: Benchmark, server: Server
) -> Iterator[tuple[T, R | TransferError]]:
    """Yields (item, result), or the reason why there is none.

    Raises what ends everything: a URL that is wrong or outdated, a proxy that cannot be used, a full disk.
    """

    def guarded(item: T, cancel: Cancel) -> R | TransferError | OSError:
        try:
            return work(item, cancel)
        except (TransferError, OSError) as error:
            return error
        except (NersembleError, MemoryError):
            raise
        except Exception as error:  # a surprise with one file; its text is not ours and could show the URL
            return TransferError(f"unexpected {type(error).__name__} (a bug in nersemble)", again=False)

    with closing(in_threads(guarded, items, server.connections, grace=GRACE)) as results:
        for item, result in results:
            if isinstance(result, TransferError):
                _check_verdict(result, benchmark, server)
                yield item, result
            elif isinstance(result, OSError):
                if result.errno in _DISK_ERRORS:
                    raise _disk_error(result)
                yield item, TransferError(_cannot_write(result), again=False)
            else:
                yield item, result


def _check_verdict(error: TransferError, benchmark: Benchmark, server: Server) -> None:
    """Raises an error if a server that has never sent a file of the benchmark never will.

    One file may be missing or wrong: before the URL is blamed, files are tried that must be there.
    """
    if server.proven:
        return
    if fatal := _url_error(error):
        raise fatal
    if error.foreign or error.status in NOT_THERE:
        check_url(server, benchmark)


def _disk_error(error: OSError) -> NersembleError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what, do = "The disk is full", "Free some space, or choose another folder (-f FOLDER)"
    else:
        what, do = f"The disk cannot be written to ({error.strerror})", "Choose another folder (-f FOLDER)"
    return NersembleError(f"{what}.", f"{do}. What has arrived is kept: run the same command to resume.")


def _cannot_write(error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return f"there is a folder at {error.filename2 or error.filename}: move it away"
    return f"it cannot be written: {error.strerror or error} ({error.filename or 'unknown file'})"


def _ask(
    items: Sequence[FileStatus],
    benchmark: Benchmark,
    server: Server,
    progress: Progress,
    manifest: Manifest,
    dry_run: bool,
) -> Iterator[FileStatus]:
    """The items with their sizes on the server; files that are not listed in the manifest are compared.

    The size of a file that is fetched anyway is only good to know, so that it is asked for once, and a failure is
    left to the download of the file.
    """
    if items:
        progress.start("asking the server", len(items), "files")

    def ask(item: FileStatus, cancel: Cancel) -> Version:
        def attempt() -> Version:
            return ask_version(server, f"{benchmark.folder}/{item.file.path}", cancel)

        return with_retries(attempt, server, cancel) if dry_run or not item.todo else attempt()

    for item, answer in _in_parallel(ask, items, benchmark, server):
        progress.advance()
        if isinstance(answer, TransferError):
            yield item if item.todo and not dry_run else replace(item, failure=answer.message)
        elif item.here == "unlisted" and not item.todo:
            same = answer.size is None or answer.size == item.size_here
            if same and not dry_run:
                manifest.add(item.file.path, replace(answer, size=item.size_here))
            yield replace(item, size=answer.size, here="present" if same else "wrong_size", todo=not same)
        else:
            yield replace(item, size=answer.size)


def check_space(plan: Plan) -> None:
    """Raises `NersembleError` if what remains does not fit on the disk."""
    from_replaced = sum(min(item.size_here, item.to_come) for item in plan.items if item.todo)
    needed = totals(plan.items).remaining_bytes - from_replaced
    free = free_space(plan.folder)
    if needed > free:
        raise NersembleError(
            f"Not enough disk space: {needed:,} bytes remain to be fetched, {free:,} are free at {plan.folder}.",
            "Free some space, choose another folder (-f FOLDER), or fewer participants or assets (-p, -a).",
        )


def run(plan: Plan, server: Server, progress: Progress | None = None) -> Result:
    """Fetches what remains of the plan. One file's failure stops no other.

    Raises `NersembleError` if there is no room or the server refuses everything. Interrupted, it ends within
    about a second; what has arrived is kept.
    """
    progress = progress or NullProgress()
    check_space(plan)
    result = Result(failures=plan.failures, notes=plan.notes)
    todo = plan.todo
    if not todo:
        return result
    progress.start("", sum(item.to_come for item in todo), "bytes")
    waits: list[int] = []  # one entry for each file that waits; lists need no lock

    def show() -> None:
        done = len(result.fetched) + len(result.failures) - len(plan.failures)
        pause = f", {len(waits)} waiting for the server" if waits else ""
        progress.retitle(f"{done}/{len(todo)} files{pause}")

    def wait(starts: bool) -> None:
        if starts:
            waits.append(1)
        else:
            waits.pop()
        show()

    def get(item: FileStatus, cancel: Cancel) -> Version:
        if item.here == "folder":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(plan.root / item.file.path))
        bar = FileProgress(progress, item.to_come)
        return fetch(Transfer(server, item.file, plan.root, plan.manifest, cancel, bar, wait))

    show()
    try:
        for item, got in _in_parallel(get, todo, plan.benchmark, server):
            if isinstance(got, TransferError):
                result.failures.append(Failure(f"{plan.benchmark.folder}/{item.file.path}", got.message))
            else:
                result.fetched.append(plan.root / item.file.path)
                result.bytes += got.size or 0
            show()
    finally:
        for item in todo:
            remove_empty_folders((plan.root / item.file.path).parent, plan.root)
    return result

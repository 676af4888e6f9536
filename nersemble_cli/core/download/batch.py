"""Downloading a benchmark: find out what remains, see that it fits, fetch it in parallel."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark, files
from nersemble_cli.core.data import frame_counts as metadata
from nersemble_cli.core.download.fetch import LOCK_POLL, FileProgress, fetch
from nersemble_cli.core.download.http import (
    ACCESS_REFUSED,
    NOT_THERE,
    Server,
    TransferError,
    ask_version,
    read_small,
)
from nersemble_cli.core.download.manifest import Manifest, Version
from nersemble_cli.core.download.plan import FileStatus, local_status, totals
from nersemble_cli.core.download.selection import Selection, Timesteps, select
from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError
from nersemble_cli.core.files import free_space, locked_part, part_path, replace_file, write_all
from nersemble_cli.core.threads import Cancel, NullProgress, Progress, in_threads

T = TypeVar("T")
R = TypeVar("R")

# Files at a time. Small ones are all waiting and no work, for the server too, so more of them go at once.
DEFAULT_WORKERS = 8
DEFAULT_WORKERS_SMALL = 16
# Threads that hang in the network longer than this after Ctrl-C are left behind, in seconds.
GRACE = 1.0
# To ask for the size of a file costs as much time as to fetch a small one: for those a guess will do, as long
# as the disk has room for several times as much.
WORTH_ASKING = 2_000_000
PLENTY = 4
PROBE_SIZE = 1024
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
METADATA = "metadata.json"
_URL_HINT = "Compare the URL with the one in your access mail. If it has expired, ask for access again."


@dataclass(frozen=True)
class Failure:
    """A file that could not be had. `path` is its name below the benchmark folder."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is wanted and what of it remains to be fetched. `folder` is the benchmark folder. To be closed."""

    benchmark: Benchmark
    folder: Path
    items: Sequence[FileStatus]
    manifest: Manifest
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """Where the benchmark's own files lie."""
        return self.folder / self.benchmark.folder

    @property
    def failures(self) -> list[Failure]:
        """The files that the server could not tell anything of."""
        return [Failure(f"{self.benchmark.folder}/{i.file.path}", i.failure) for i in self.items if i.failure]

    def close(self) -> None:
        self.manifest.close()


@dataclass
class Result:
    """What a download did. `bytes` are those of the fetched files."""

    fetched: int = 0
    bytes: int = 0
    failures: list[Failure] = field(default_factory=list)


def default_workers(selection: Selection) -> int:
    """How many files of the selection to fetch at a time unless told."""
    names = selection.assets or [asset.name for asset in selection.benchmark.assets if asset.by_default]
    sizes = [asset.typical_size for asset in selection.benchmark.assets if asset.name in names]
    return DEFAULT_WORKERS if max(sizes) >= WORTH_ASKING else DEFAULT_WORKERS_SMALL


def check_url(server: Server, benchmark: Benchmark) -> None:
    """Fetches a few bytes of a file that must be there. Raises `NersembleError` if the URL is no good."""
    path = METADATA if isinstance(benchmark, VideoBenchmark) else next(files(benchmark)).path
    try:
        read_small(server, f"{benchmark.folder}/{path}", Cancel(), PROBE_SIZE)
    except TransferError as error:
        raise _url_error(error) or NersembleError(f"{_sentence(error)}.", _URL_HINT) from None


def _sentence(error: NersembleError) -> str:
    return error.message[:1].upper() + error.message[1:]


def _url_error(error: TransferError) -> NersembleError | None:
    """The error that ends it all if this is the first thing that a server says, or if it says nothing."""
    if error.status in ACCESS_REFUSED:
        return UsageError(f"{_sentence(error)}: your benchmark URL is wrong or has expired.", _URL_HINT)
    if error.unreachable:
        return NersembleError(f"{_sentence(error)}.", f"Is this machine online? {_URL_HINT}")
    return None


def prepare(
    selection: Selection,
    folder: Path,
    server: Server,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Finds out what of the selection is in `folder` and what remains to be fetched.

    Fetches metadata.json if it is not there and asks the server for what is not known of the files; that and
    what it learns of files which something else fetched is kept in `folder`, but nothing with `dry_run`.
    Raises `NersembleError` if the server refuses, and OSError.
    """
    progress = progress or NullProgress()
    benchmark = selection.benchmark
    root = folder / benchmark.folder
    if not dry_run:
        _make_folder(root)
    manifest = Manifest(root)
    try:
        items, notes = _look_up(selection, root, server, manifest, overwrite, dry_run, progress)
    except BaseException:
        manifest.close()
        raise
    return Plan(benchmark, folder, items, manifest, notes)


def _look_up(
    selection: Selection,
    root: Path,
    server: Server,
    manifest: Manifest,
    overwrite: bool,
    dry_run: bool,
    progress: Progress,
) -> tuple[list[FileStatus], tuple[str, ...]]:
    """The wanted files, with what the server says of those it has to be asked for, and notes."""
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


def _make_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next(path for path in (root, *root.parents) if path.exists() and not path.is_dir())
        raise UsageError(
            f"{taken} is a file, but a folder is wanted there.", "Choose another: -f FOLDER"
        ) from None
    except PermissionError as error:
        raise _not_writable(Path(error.filename or root).parent) from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise _not_writable(root)


def _not_writable(folder: Path) -> UsageError:
    return UsageError(f"The folder {folder} cannot be written to.", "Choose another (-f FOLDER), or its rights.")


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
            pass  # not there, or of no use: it is fetched (again)
    try:
        content = read_small(server, f"{benchmark.folder}/{METADATA}", Cancel())
        found = metadata.parse_timesteps(benchmark, json.loads(content))
    except TransferError as error:
        if error.status in NOT_THERE:
            known = {key: range(n) for key, n in benchmark.n_frames.items()}
            return known, (f"The server has no {benchmark.folder}/{METADATA}: using the built-in frame counts.",)
        raise _url_error(error) or _no_metadata(benchmark, error.message) from None
    except ValueError as error:
        said = (
            error.message if isinstance(error, NersembleError) else f"what the server sent is not JSON ({error})"
        )
        raise _no_metadata(benchmark, said) from None
    if not dry_run:
        with locked_part(path, lambda: Cancel().wait(LOCK_POLL)) as part:
            part.truncate(0)
            write_all(part, content)
            part.close()
            replace_file(part_path(path), path)
            manifest.add(METADATA, Version(len(content), sha256=hashlib.sha256(content).hexdigest()))
    return found, ()


def _no_metadata(benchmark: Benchmark, reason: str) -> NersembleError:
    return NersembleError(
        f"{benchmark.folder}/{METADATA} could not be had: {reason}.", f"Try again later. {_URL_HINT}"
    )


def _in_parallel(
    work: Callable[[T, Cancel], R], items: Sequence[T], server: Server
) -> Iterator[tuple[T, R | TransferError]]:
    """Yields (item, result), or the reason why there is none. Raises what ends it all: a URL that is no good,
    a full disk."""

    def guarded(item: T, cancel: Cancel) -> R | TransferError | OSError:
        try:
            return work(item, cancel)
        except (TransferError, OSError) as error:
            return error

    with closing(in_threads(guarded, items, server.connections, grace=GRACE)) as results:
        for item, result in results:
            if isinstance(result, TransferError):
                fatal = None if server.granted else _url_error(result)
                if fatal:
                    raise fatal
                yield item, result
            elif isinstance(result, OSError):
                if result.errno in _DISK_ERRORS:
                    raise _disk_error(result)
                yield item, TransferError(_cannot_write(result), again=False)
            else:
                yield item, result


def _disk_error(error: OSError) -> NersembleError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what, do = "The disk is full", "Free some space, or choose another folder (-f FOLDER)"
    else:
        what, do = f"The disk cannot be written to ({error.strerror})", "Choose another folder (-f FOLDER)"
    return NersembleError(f"{what}.", f"{do}. What has arrived is kept: the same command goes on from there.")


def _cannot_write(error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return f"there is a folder at {error.filename2 or error.filename}: move it away"
    return f"it cannot be written: {error.strerror} ({error.filename})"


def _ask(
    items: Sequence[FileStatus],
    benchmark: Benchmark,
    server: Server,
    progress: Progress,
    manifest: Manifest,
    dry_run: bool,
) -> Iterator[FileStatus]:
    """The items with their sizes on the server; files that are not listed in the manifest are compared."""
    if items:
        progress.start("asking the server", len(items), "files")

    def ask(item: FileStatus, cancel: Cancel) -> Version:
        return ask_version(server, f"{benchmark.folder}/{item.file.path}", cancel)

    for item, answer in _in_parallel(ask, items, server):
        progress.advance()
        if isinstance(answer, TransferError):
            yield replace(item, failure=answer.message)
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
            f"The disk has not enough room: {needed:,} bytes remain, {free:,} are free at {plan.folder}.",
            "Free some space, choose another folder (-f FOLDER), or fewer participants or assets (-p, -a).",
        )


def run(plan: Plan, server: Server, progress: Progress | None = None) -> Result:
    """Fetches what remains of the plan. One file's failure stops no other.

    Raises `NersembleError` if there is no room or the server refuses everything. Interrupted, it ends within
    about a second; what has arrived is kept.
    """
    progress = progress or NullProgress()
    check_space(plan)
    result = Result(failures=plan.failures)
    todo = [item for item in plan.items if item.todo and not item.failure]
    if not todo:
        return result
    progress.start("", sum(item.to_come for item in todo), "bytes")
    waits: list[int] = []  # one entry for each file that waits; lists need no lock

    def show() -> None:
        done = result.fetched + len(result.failures) - len(plan.failures)
        pause = f", {len(waits)} waiting for the server" if waits else ""
        progress.retitle(f"{done}/{len(todo)} files{pause}")

    def wait(starts: bool) -> None:
        if starts:
            waits.append(1)
        else:
            waits.pop()
        show()

    def get(item: FileStatus, cancel: Cancel) -> Version:
        name = item.file.path
        target = plan.root / name
        if item.here == "folder":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        gauge = FileProgress(progress, item.to_come)
        return fetch(server, f"{plan.benchmark.folder}/{name}", target, name, plan.manifest, cancel, gauge, wait)

    show()
    for item, got in _in_parallel(get, todo, server):
        if isinstance(got, TransferError):
            result.failures.append(Failure(f"{plan.benchmark.folder}/{item.file.path}", got.message))
        else:
            result.fetched += 1
            result.bytes += got.size or 0
        show()
    return result

"""Work in threads that stops at once when one part fails or the user interrupts, and tells how far it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from nersemble_cli.core.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """How the core tells its caller how far it is. Called from any thread."""

    def start(self, title: str, total: int, unit: str) -> None:
        """A new piece of work begins: `total` things of `unit` ("frames", "bytes", …)."""

    def advance(self, n: int = 1) -> None:
        """`n` more are done."""


class Silent:
    """Progress that nobody looks at."""

    def start(self, title: str, total: int, unit: str) -> None: ...

    def advance(self, n: int = 1) -> None: ...


def cpu_count() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Cancel:
    """A flag that long work looks at between two steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises `Cancelled` once the flag is set."""
        if self._event.is_set():
            raise Cancelled("Stopped before it was done.")


def in_threads(
    work: Callable[[T, Cancel], R], items: Iterable[T], workers: int, ahead: int | None = None
) -> Iterator[tuple[T, R]]:
    """Yields (item, work(item)) as they are done, at most `workers` at a time.

    At most `ahead` (default: twice the workers) items are taken before their results are, so that memory
    stays flat. When one raises, or the caller stops iterating or is interrupted, the others are cancelled
    and waited for before the exception goes on; `work` must look at the flag that it is given.
    """
    cancel = Cancel()
    ahead = ahead or 2 * workers
    source = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        pending: dict[Future[R], T] = {}
        exhausted = False
        while True:
            while not exhausted and len(pending) < ahead:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                    break
                pending[pool.submit(work, item, cancel)] = item
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()
    finally:
        cancel.set()
        pool.shutdown(wait=True, cancel_futures=True)

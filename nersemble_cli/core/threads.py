"""Work in threads that stops at once when one part fails or the user interrupts, and reports its progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Protocol, TypeVar

from nersemble_cli.core.errors import Cancelled
from nersemble_cli.core.platform import cpu_count as cpu_count

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """How the core reports progress to its caller. Called from any thread."""

    def start(self, title: str, total: int, unit: str) -> None:
        """New work begins: `total` of `unit` ("frames", "bytes", …)."""

    def advance(self, n: int = 1) -> None:
        """`n` more are done."""

    def expect(self, n: int) -> None:
        """The total is `n` larger than was known at the start, or smaller if `n` is negative."""

    def retitle(self, title: str) -> None:
        """The title changes."""


class NullProgress:
    """Progress that is not shown."""

    def start(self, title: str, total: int, unit: str) -> None: ...

    def advance(self, n: int = 1) -> None: ...

    def expect(self, n: int) -> None: ...

    def retitle(self, title: str) -> None: ...


def off_main_thread(function: Callable[[], R]) -> R:
    """`function()`, in a thread of its own if this is the main one.

    Signals are delivered to the main thread only, where a library that catches every exception would swallow
    Ctrl-C. Here it interrupts the waiting, at once, and the thread is left to end by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    result: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            result.put((function(), None))
        except BaseException as error:
            result.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    value, error = result.get()
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # without an error there is a value


class Cancel:
    """A flag that long work checks between steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises `Cancelled` once the flag is set."""
        if self._event.is_set():
            raise Cancelled("Stopped before it was done.")

    def wait(self, seconds: float) -> None:
        """Sleeps. Raises `Cancelled` as soon as the flag is set."""
        self._event.wait(seconds)
        self.check()


def in_threads(
    work: Callable[[T, Cancel], R],
    items: Iterable[T],
    workers: int,
    ahead: int | None = None,
    grace: float | None = None,
) -> Generator[tuple[T, R], None, None]:
    """Yields (item, work(item)) as they are done, at most `workers` at a time.

    At most `ahead` (default: twice the workers) items are taken before their results are, so that memory
    stays flat. When one raises, or the caller stops iterating or is interrupted, the others are cancelled
    and waited for before the exception goes on; `work` must look at the flag that it is given. With
    `grace` (seconds), threads that hang for longer in a network that does not answer are left behind:
    they do nothing more and die with the process.
    """
    cancel = Cancel()
    ahead = ahead or 2 * workers
    tasks: SimpleQueue[tuple[T] | None] = SimpleQueue()
    results: SimpleQueue[tuple[T, R | None, BaseException | None]] = SimpleQueue()

    def serve() -> None:
        while (task := tasks.get()) is not None:
            (item,) = task
            try:
                cancel.check()
                results.put((item, work(item, cancel), None))
            except BaseException as error:
                results.put((item, None, error))

    source = iter(items)
    threads: list[threading.Thread] = []
    pending, exhausted = 0, False
    try:
        while True:
            while not exhausted and pending < ahead:
                try:
                    tasks.put((next(source),))
                except StopIteration:
                    exhausted = True
                    break
                pending += 1
                if len(threads) < workers:
                    threads.append(threading.Thread(target=serve, daemon=True))
                    threads[-1].start()
            if not pending:
                return
            item, result, error = results.get()
            pending -= 1
            if error is not None:
                raise error
            yield item, result  # type: ignore[misc]  # without an error there is a result
    finally:
        cancel.set()
        for _ in threads:
            tasks.put(None)
        deadline = None if grace is None else time.monotonic() + grace
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

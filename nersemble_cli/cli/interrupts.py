"""Ctrl-C, a polite kill, a lost terminal: each unwinds the program, so that temporary files are removed.

The exception that does so can be swallowed by a library that catches everything, or by the interpreter where it
cannot propagate (a destructor, a callback). It is then raised again until the program ends. Code that handles an
interrupt on purpose therefore does all of it inside its `except` block.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nersemble_cli.core.platform import send_signal, signals

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
GRACE = 0.5  # seconds between two looks at whether the program is ending


class Interrupts:
    """What was received while the signals were caught: `status` is the exit status that it means, if any."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.status is None:
            threading.Thread(target=self._insist, args=[number], daemon=True).start()
        self.status = 128 + number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(self.status)

    def _insist(self, number: int) -> None:
        main = threading.main_thread().ident
        assert main is not None
        idle = 0
        while not self._over.wait(GRACE):
            idle = 0 if _is_handling(main) else idle + 1
            if idle == 2:
                idle = 0
                send_signal(main, number)


def _is_handling(thread: int) -> bool:
    """Whether the thread is inside an `except` or `finally` block: it is cleaning up."""
    current: object = sys._current_exceptions().get(thread)
    return (current[1] if isinstance(current, tuple) else current) is not None  # a tuple up to Python 3.11


@contextmanager
def catch_interrupts() -> Iterator[Interrupts]:
    """Catches the signals while the block runs; those that are ignored (nohup, a background job) stay so."""
    interrupts = Interrupts()
    numbers = signals(*SIGNALS)
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupts.receive)
    try:
        yield interrupts
    finally:
        interrupts.stop()
        for number, handler in before.items():
            signal.signal(number, handler)

"""What differs between Linux, macOS and Windows, each with what takes its place where it is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# By default, os.open opens text files on Windows.
OPEN_AS_BYTES: int = getattr(os, "O_BINARY", 0)
# Or rename them.
CAN_REMOVE_OPEN_FILES = os.name != "nt"
_SHARED_MEMORY = Path("/dev/shm")


def cpu_count() -> int:
    """The processors that this process may use; of the machine, where a process cannot be restricted."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_in_forked_children(function: Callable[[], object]) -> None:
    """Runs a function in every process that is forked from this one, where processes can be forked."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def without_ctrl_c() -> dict[str, Any]:
    """Arguments of `subprocess.Popen` for a child that does not get the terminal's Ctrl-C: we end it ourselves."""
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a child that `without_ctrl_c` started and, where processes have groups, whatever it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            if process.returncode is None:  # otherwise the number may belong to somebody else by now
                os.killpg(process.pid, signal.SIGKILL)
    process.kill()


class NamedPipe:
    """A named pipe at `path`: whoever reads waits for a writer. A file that is yet to be written, without pipes.

    `exists` tells which of the two it is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.exists = path, hasattr(os, "mkfifo")
        if self.exists:
            os.mkfifo(path)

    def release(self) -> None:
        """Ends the waiting of a reader that will get nothing more."""
        if self.exists:
            with suppress(OSError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))


def signals(*names: str) -> list[int]:
    """The numbers of those signals that exist here; SIGHUP is not one of Windows'."""
    return [int(getattr(signal, name)) for name in names if hasattr(signal, name)]


def send_signal(thread: int, number: int) -> None:
    """Sends this process a signal; if possible to the thread, which wakes it from a system call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(thread, number)
    else:
        signal.raise_signal(number)


def folder_in_memory(prefix: str) -> Path:
    """A new folder on a file system in memory, else among the temporary files, which the system caches."""
    place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place))

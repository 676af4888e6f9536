"""Starting the live viewer, and moving between tasks and participants in it."""

from __future__ import annotations

import errno
import io
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nersemble_cli.core.benchmarks import BENCHMARKS, Benchmark, MeshBenchmark, VideoBenchmark
from nersemble_cli.core.errors import NersembleError, UsageError, missing_extra
from nersemble_cli.core.viewer.home import Home
from nersemble_cli.core.viewer.page import VideoPage
from nersemble_cli.core.viewer.results import UserResults
from nersemble_cli.core.viewer.svfr import MeshPage

try:
    import viser
except ImportError:
    raise missing_extra("viser", "view") from None

LOOPBACK = "127.0.0.1"
_PORTS_TRIED = 50
_IN_USE = (errno.EADDRINUSE, errno.EACCES)


class _Page(Protocol):
    home: Home

    def close(self) -> None: ...


@dataclass(frozen=True)
class Choice:
    """What to open first: a participant of a task, and a sequence."""

    benchmark: Benchmark
    participant: int
    sequence: str | None = None


def participants_in(folder: Path) -> dict[str, list[int]]:
    """The participants of each task of which anything is in the benchmark folder."""
    found = {}
    for benchmark in BENCHMARKS.values():
        here = [p for p in benchmark.participants if (folder / benchmark.folder / f"{p:03d}").is_dir()]
        if here:
            found[benchmark.name] = here
    return found


def free_port(host: str, port: int) -> int:
    """`port` if it is free at `host`, else the next free one. Raises `UsageError` if there is none."""
    for candidate in range(port, min(port + _PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except PermissionError:
                raise UsageError(
                    f"Port {candidate} needs special rights.", "Use one above 1023: --port 8080"
                ) from None
            except socket.gaierror:
                raise UsageError(f"{host} is not an address of this machine.", "Leave --host out.") from None
            except OSError as error:
                if error.errno not in _IN_USE:
                    raise UsageError(
                        f"Cannot listen at {host}: {error.strerror}.", "Leave --host out, or use 0.0.0.0."
                    ) from None
                continue
            return candidate
    raise UsageError(f"The ports {port} to {port + _PORTS_TRIED - 1} are in use.", "Choose another: --port 9000")


@contextmanager
def _quiet() -> Iterator[None]:
    """viser prints where it listens and that it has stopped; the caller has its own words for that."""
    with redirect_stdout(io.StringIO()):
        yield


class Viewer:
    """A running viewer at `host` and `port`. `close` ends it."""

    def __init__(
        self, folder: Path, first: Choice, results: UserResults, host: str = LOOPBACK, port: int = 8080
    ) -> None:
        self._folder, self._results = folder, results
        self._people: Mapping[str, list[int]] = participants_in(folder)
        self.host, self.port = host, free_port(host, port)
        with _quiet():
            self._server = viser.ViserServer(host, self.port, label="nersemble", verbose=False)
        self._server.gui.configure_theme(show_share_button=False, dark_mode=False)
        self._lock = threading.RLock()
        self._page: _Page | None = None
        self._is_dark = False
        self._open(first)
        self._server.on_client_connect(self._welcome)

    def close(self) -> None:
        """Closes the page and the port."""
        with self._lock:
            if self._page is not None:
                self._page.close()
        with _quiet():
            self._server.stop()

    def _open(self, choice: Choice) -> None:
        """Replaces the page: the choice of participant stays at its top."""
        with self._lock:
            if self._page is not None:
                self._page.close()
                self._page = None
            self._server.gui.reset()
            self._add_choice(choice)
            try:
                self._page = self._make_page(choice)
            except NersembleError as error:
                self._server.gui.add_markdown(f"⚠ `{str(error).replace('`', chr(39))}`")

    def _welcome(self, client: viser.ClientHandle) -> None:
        if self._page is not None:
            self._page.home.bring(client)

    def _make_page(self, choice: Choice) -> _Page:
        if isinstance(choice.benchmark, VideoBenchmark):
            return VideoPage(
                self._server, choice.benchmark, self._folder, choice.participant, choice.sequence,
                self._results.renders,
            )  # fmt: skip
        assert isinstance(choice.benchmark, MeshBenchmark)
        return MeshPage(self._server, choice.benchmark, self._folder, choice.participant, self._results)

    def _add_choice(self, choice: Choice) -> None:
        gui = self._server.gui
        people = dict(self._people)
        people.setdefault(choice.benchmark.name, [])
        if choice.participant not in people[choice.benchmark.name]:
            people[choice.benchmark.name] = [*people[choice.benchmark.name], choice.participant]
        options = {
            f"{name} · {participant:03d}": Choice(BENCHMARKS[name], participant)
            for name, participants in people.items()
            for participant in participants
        }
        shown = f"{choice.benchmark.name} · {choice.participant:03d}"
        dropdown: Any = gui.add_dropdown("Participant", tuple(options), initial_value=shown)
        dropdown.on_update(lambda _: self._open(options[dropdown.value]))
        dark = gui.add_checkbox("Dark", self._is_dark)
        dark.on_update(lambda _: self._set_dark(dark.value))

    def _set_dark(self, is_dark: bool) -> None:
        self._is_dark = is_dark
        self._server.gui.configure_theme(show_share_button=False, dark_mode=is_dark)

"""`nersemble view`."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nersemble_cli.cli.options import FolderOption

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.viewer.results import UserResults
    from nersemble_cli.core.viewer.server import Choice

LOOPBACK = "127.0.0.1"
_OPEN_HOSTS = ("0.0.0.0", "::")


def view(
    participant: Annotated[
        str | None,
        typer.Argument(
            metavar="PARTICIPANT",
            help="The participant to show first.",
            show_default="the first one in the folder",
        ),
    ] = None,
    sequence: Annotated[
        str | None,
        typer.Option(
            "--sequence", "-s", metavar="SEQUENCE", help="The sequence to show first.", show_default="the first"
        ),
    ] = None,
    folder: FolderOption = None,
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="nvs|mono|svfr", help="The benchmark's task.", show_default="the participant's"),
    ] = None,
    renders: Annotated[
        Path | None,
        typer.Option(
            metavar="RENDERS|SUBMISSION.zip",
            help="Your results: they are shown in the cameras they were rendered for.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = LOOPBACK,
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="The port; if it is in use, the next free one is taken."
        ),
    ] = 8080,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Don't open a browser.")] = False,
) -> None:
    """Look around in the data, live in a browser.

    Cameras with their images, point clouds, FLAME meshes and your own results, moving in step. Only this machine
    can open the page; the ssh line that is printed brings it to your laptop. Ctrl-C ends it.
    """
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.settings import find_folder
    from nersemble_cli.core.viewer.results import open_results
    from nersemble_cli.core.viewer.server import Viewer

    output = Output()
    place = find_folder(folder)
    results = open_results(renders)
    try:
        viewer = Viewer(place, _first(place, participant, sequence, benchmark, results), results, host, port)
        try:
            _announce(output, viewer.host, port, viewer.port)
            if not no_browser and _has_browser():
                webbrowser.open(f"http://{_name_of(viewer.host)}:{viewer.port}")
            threading.Event().wait()
        finally:
            viewer.close()
    finally:
        results.close()


def _first(
    folder: Path, participant: str | None, sequence: str | None, benchmark: str | None, results: UserResults
) -> Choice:
    """What to show first. Raises `UsageError` for unknown names, `MissingFileError` if nothing is there."""
    from nersemble_cli.core.benchmarks import BENCHMARKS, get_benchmark, parse_participant
    from nersemble_cli.core.errors import MissingFileError, unknown_name
    from nersemble_cli.core.viewer.server import Choice, participants_in

    here = participants_in(folder)
    task = get_benchmark(benchmark) if benchmark else None
    if task is None and participant is not None:
        number = int(participant) if participant.isascii() and participant.isdigit() else -1
        task = next((b for b in BENCHMARKS.values() if number in b.participants), None)
        if task is None:
            raise unknown_name(
                "participant", participant, [p for b in BENCHMARKS.values() for p in b.participants]
            )
    if task is None:
        task = BENCHMARKS[results.task] if results.task else next((BENCHMARKS[name] for name in here), None)
    if task is None or task.name not in here:
        name = task.name if task else "nvs"
        raise MissingFileError(
            f"No data{f' of {name}' if task else ''} in {folder}.",
            f"Fetch some with: nersemble download {name}\nIf it is elsewhere, name the folder: -f FOLDER",
        )
    if participant is not None:
        number = parse_participant(participant, task)
    else:
        rendered = [p for p, _ in results.renders if p in here[task.name]]
        number = (rendered or here[task.name])[0]
    if number not in here[task.name]:
        raise MissingFileError(
            f"Nothing of participant {number} is in {folder}.",
            f"Fetch it with: nersemble download {task.name} -p {number}",
        )
    if sequence is not None and sequence not in task.sequences(number):
        raise unknown_name(f"sequence of participant {number}", sequence, task.sequences(number))
    return Choice(task, number, sequence)


def _name_of(host: str) -> str:
    return "127.0.0.1" if host in _OPEN_HOSTS else host


def _announce(output: Output, host: str, wanted: int, port: int) -> None:
    """Where the page is, and how to reach it from another machine."""
    if port != wanted:
        output.note(f"Port {wanted} is in use, so this is {port}.")
    output.print(f"http://{_name_of(host)}:{port}")
    if host in _OPEN_HOSTS:
        output.note(
            f"Listening on {host}: everyone who can reach this machine can see the data, which is licensed to you."
        )
    else:
        output.note("From your own computer, if this is a remote machine, run this and open the address there:")
        output.note(f"  ssh -L {port}:{host}:{port} {getpass.getuser()}@{socket.gethostname()}")
    output.note("Ctrl-C ends it.")


def _has_browser() -> bool:
    """Whether a person sits at this machine: a browser opened over SSH would be a text one, or nobody's."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )

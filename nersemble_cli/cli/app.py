"""The `nersemble` command. `main` is the one place that turns exceptions into messages and exit statuses."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nersemble_cli import __version__
from nersemble_cli.cli import demo, doctor, download, export, inspect, options, pack, validate, visualize
from nersemble_cli.core.errors import NersembleError

INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell reports it
DEBUG_VARIABLE = "NERSEMBLE_DEBUG"
NARROW = 80  # columns; panels beside each other would cut names there


class _InOrderOfUse(TyperGroup):
    """Lists the commands as they are used one after the other; Typer would put groups first."""

    def list_commands(self, ctx: Any) -> list[str]:
        first = ["download", "inspect", "visualize"]
        return [*first, *(name for name in super().list_commands(ctx) if name not in first)]


app = typer.Typer(
    name="nersemble",
    cls=_InOrderOfUse,
    help="Toolbox for the NeRSemble 3D Head Avatar benchmark.",
    epilog="New here? nersemble demo shows every command at work on made-up data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
options.command(app, "nersemble download svfr", "nersemble download nvs -p 388 -a calibration,images")(
    download.download
)
options.command(app, "nersemble inspect", "nersemble inspect submission.zip")(inspect.inspect)
app.add_typer(visualize.app, name="visualize")
options.command(app, "nersemble pack nvs renders/ submission.zip")(pack.pack)
options.command(app, "nersemble validate submission.zip", "nersemble validate submission.zip --json")(
    validate.validate
)
app.add_typer(export.app, name="export")
options.command(app, "nersemble demo", "nersemble demo my_demo")(demo.demo)
options.command(app, "nersemble doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nersemble {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _as_error(error: Exception) -> NersembleError:
    """What a user is told of an exception that is not our own."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Free some space, or write to another disk. Nothing incomplete was left behind."
            return NersembleError(f"The disk is full ({error}).", hint)
        if isinstance(error, PermissionError):
            return NersembleError(f"No permission: {error}.", "Choose another place, or change its rights.")
        return NersembleError(f"{error}.")
    if isinstance(error, MemoryError):
        return NersembleError("Out of memory.", "Try fewer workers: -j 1")
    return NersembleError(
        f"Unexpected {type(error).__name__}: {error}.",
        f"This is a fault of nersemble, not yours. {DEBUG_VARIABLE}=1 shows where it happened.",
    )


def _terminate(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _make_streams_robust() -> None:
    """Lets a terminal that does not know "✓", or a stream that was closed, do no harm."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Runs the command line and exits with its status."""
    # A polite kill and a lost terminal unwind like Ctrl-C does, so that temporary files go.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    _make_streams_robust()
    app.rich_markup_mode = "rich" if shutil.get_terminal_size().columns >= NARROW else None
    try:
        app(prog_name="nersemble")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("\nInterrupted.", err=True)
        raise
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except Exception as error:
        from nersemble_cli.cli.output import Output

        if os.environ.get(DEBUG_VARIABLE):
            raise
        known = error if isinstance(error, NersembleError) else _as_error(error)
        Output().error(known)
        sys.exit(known.exit_code)

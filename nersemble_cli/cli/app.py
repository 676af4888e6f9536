"""The `nersemble` command. `main` is the one place that turns exceptions into messages and exit statuses."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from typing import Annotated, Any

import typer

from nersemble_cli import __version__
from nersemble_cli.cli import (
    demo,
    doctor,
    download,
    export,
    inspect,
    options,
    pack,
    score,
    validate,
    view,
    visualize,
)
from nersemble_cli.cli.completion import INSTRUCTION
from nersemble_cli.cli.interrupts import catch_interrupts
from nersemble_cli.core.errors import NersembleError, UsageError, install_command

INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell reports it
DEBUG_VARIABLE = "NERSEMBLE_DEBUG"
COLUMNS = range(40, 500)  # the widths of a terminal that can be believed
PANEL_COLUMNS = 80  # narrower panels would cut names
PACKAGES = {"cv2": "opencv-python", "dotenv": "python-dotenv", "ffmpeg": "ffmpeg-python", "vtkmodules": "vtk"}
"""Import name → package name, where they differ."""


class _InOrderOfUse(options.Group):
    """Lists the commands in the order in which they are used; Typer would put groups first."""

    ORDER = ("download", "inspect", "visualize", "view", "export", "score", "pack", "validate")

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: self.ORDER.index(name) if name in self.ORDER else len(self.ORDER))


app = typer.Typer(
    name="nersemble",
    cls=_InOrderOfUse,
    help="Toolbox for the NeRSemble 3D Head Avatar benchmark.",
    epilog="New here? `nersemble demo` runs every command on made-up data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
options.command(app, "nersemble download svfr", "nersemble download nvs -p 388 -a calibration,images")(
    download.download
)
options.command(app, "nersemble inspect", "nersemble inspect submission.zip")(inspect.inspect)
app.add_typer(visualize.app, name="visualize")
options.command(app, "nersemble view", "nersemble view 388 --renders renders/")(view.view)
options.command(app, "nersemble pack nvs renders/ submission.zip")(pack.pack)
options.command(app, "nersemble validate submission.zip", "nersemble validate submission.zip --json")(
    validate.validate
)
app.add_typer(score.app, name="score")
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
    """The error that users see for an exception that is not ours."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        package = PACKAGES.get(module, module)
        line = install_command("flame") if module == "torch" else f"pip install {package}"
        return UsageError(f"This needs the Python package {package}, which is not installed.", line)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Free some space, or write to another disk. Nothing incomplete was left behind."
            return NersembleError(f"The disk is full ({error}).", hint)
        if isinstance(error, PermissionError):
            return NersembleError(
                f"Permission denied: {error}.", "Choose another place, or change its permissions."
            )
        return NersembleError(f"{error}.")
    if isinstance(error, MemoryError):
        return NersembleError("Out of memory.", "Try fewer workers: -j 1")
    return NersembleError(
        f"Unexpected {type(error).__name__}: {error}.",
        f"This is a bug in nersemble. {DEBUG_VARIABLE}=1 shows where it happened; please report it, together with "
        "the output of `nersemble doctor`.",
    )


def _as_usage_error(error: typer.TyperException) -> UsageError:
    """What Typer says of a wrong command line, in our words and style."""
    ctx = getattr(error, "ctx", None)
    if ctx is None:
        return UsageError(error.format_message())
    return UsageError(error.format_message(), f"{ctx.get_usage()}\nFor help: {ctx.command_path} --help")


def _check_terminal() -> None:
    """Takes a width that cannot be true (COLUMNS=0) for unknown, and makes streams take any character."""
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        value = os.environ.get(name, "")
        if not (value.isascii() and value.isdigit() and int(value)):
            os.environ.pop(name, None)
        elif name != "LINES":
            os.environ[name] = str(min(max(int(value), COLUMNS[0]), COLUMNS[-1]))
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _give_up_stdout() -> int:
    """Its reader (head, less, true) has enough: Python would complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _run() -> int:
    """Runs the command line and returns its exit status."""
    if INSTRUCTION in os.environ:
        app(prog_name="nersemble")  # a shell asks for its completion script
    try:
        status = app(prog_name="nersemble", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except SystemExit as end:
        # Rich and Typer end so when they meet a broken pipe.
        return _give_up_stdout() if isinstance(end.__context__, BrokenPipeError) else int(end.code or 0)
    except BrokenPipeError:
        return _give_up_stdout()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.TyperException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # which has printed the help
            _show(_as_usage_error(error))
        return UsageError.exit_code
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        known = error if isinstance(error, NersembleError) else _as_error(error)
        _show(known)
        return known.exit_code


def _show(error: NersembleError) -> None:
    from nersemble_cli.cli.output import Output

    Output().error(error)


def main() -> None:
    """Runs the command line and exits with its status."""
    _check_terminal()
    app.rich_markup_mode = "rich" if shutil.get_terminal_size().columns >= PANEL_COLUMNS else None
    with catch_interrupts() as interrupts:
        status = _run()
        # Whatever swallowed a signal's exception, the status tells of the signal.
        status = interrupts.status or status
    if status == INTERRUPTED:
        typer.echo("\nInterrupted.", err=True)
    sys.exit(status)

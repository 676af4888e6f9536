"""`nersemble demo`: every command at work on a made-up benchmark."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output

SERVER, FLAME, FAULTY = "made_up_server", "flame", "made_up_with_mistakes.zip"
RENDERS = {"nvs": "renders", "mono": "renders_mono", "svfr": "meshes"}
SUBMISSIONS = {"nvs": "made_up.zip", "mono": "made_up_mono.zip", "svfr": "made_up_svfr.zip"}
VIDEO = "nersemble_benchmark/nvs/388/sequences/GLASSES/images/cam_222200042.mp4"
N_FRAMES, N_POINTS = 4, 150_000
PARTICIPANTS = {"nvs": [388], "mono": [393], "svfr": [17]}
TRAINING_SEQUENCE = "EXP-1-head"


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="A new or empty folder to work in, which is kept.", show_default=False
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Without FOLDER: keep the temporary folder.")] = False,
) -> None:
    """Try every command on made-up data.

    Makes a small benchmark in the official layout, serves it on this machine, and runs the real commands on it:
    download, inspect, visualize, pack, validate. You need neither access nor network, about a minute, and 300 MB
    of disk space. Your settings are not touched.
    """
    from nersemble_cli.cli.output import Output

    out = Output()
    begun = time.monotonic()
    with _workplace(folder, keep) as (place, kept):
        try:
            _play(place, out)
        except BaseException:
            if kept:
                out.note(f"The results so far are in {place}")
            raise
        _say(out, f"Done in {time.monotonic() - begun:.0f} s. None of the data is real: the heads are made up.")
        if kept:
            _show_hints(place, out)
        else:
            out.print("The temporary folder is deleted. To keep one: nersemble demo my_demo")


@contextmanager
def _workplace(folder: Path | None, keep: bool) -> Iterator[tuple[Path, bool]]:
    """The folder to work in, and whether it stays."""
    from nersemble_cli.core.errors import UsageError

    if folder is None and not keep:
        with tempfile.TemporaryDirectory(prefix="nersemble_demo_", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary), False
        return
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="nersemble_demo_"))
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty.", f"Try another name: nersemble demo {_free(folder)}")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder.absolute(), True


def _free(folder: Path) -> Path:
    """`my_demo_2`, or the first such name that does not exist."""
    numbered = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(2))
    return next(name for name in numbered if not name.exists())


def _play(place: Path, out: Output) -> None:
    from nersemble_cli.core.benchmarks import BENCHMARKS, NVS, MeshBenchmark, VideoBenchmark
    from nersemble_cli.core.settings import FLAME_VARIABLE
    from nersemble_cli.core.synthetic import Recipe, make_benchmark, write_flame_model
    from nersemble_cli.core.synthetic.results import plant_mistakes, write_meshes, write_renders
    from nersemble_cli.core.synthetic.server import serving

    recipe = Recipe(n_frames=N_FRAMES, n_points=N_POINTS)
    _say(out, f"Making a benchmark with {N_FRAMES} frames per sequence, in the official layout and size …")
    server = make_benchmark(place / SERVER, recipe, PARTICIPANTS, sequences=["GLASSES", TRAINING_SEQUENCE],
                            images_per_participant=100)  # fmt: skip
    model = write_flame_model(place / FLAME)
    # What was written for real data then works in this folder as well.
    (place / ".env").write_text(f'{FLAME_VARIABLE} = "{model.relative_to(place)}"\n', "utf-8")
    with serving(server) as url:
        environment = _environment(url, model)

        def run(*words: str, status: int = 0) -> None:
            _run(words, status, place, environment, out)

        _say(out, "Download: one participant of each task, from a server on this machine")
        run("download", "nvs", "-p", "388")
        run("download", "mono", "-p", "393", "-s", f"{TRAINING_SEQUENCE},FREE")
        run("download", "svfr", "-p", "17")
        _say(out, "Inspect: what is there, and what is in a file")
        run("inspect", "-p", "388,393,17")
        run("inspect", VIDEO)
        _say(out, "Visualize: the cameras, the tracked head over its image, a point cloud")
        for command, reason in _pictures():
            if reason:
                out.print(f"Left out: {' '.join(command[:2])}, {reason}", style="yellow")
            else:
                run(*command)
        _say(out, "Your method would be trained now, and render the hold-out cameras. Here, results are made up …")
        for task, benchmark in BENCHMARKS.items():
            if isinstance(benchmark, VideoBenchmark):
                write_renders(place / RENDERS[task], benchmark, recipe)
            elif isinstance(benchmark, MeshBenchmark):
                write_meshes(place / RENDERS[task], benchmark)
        _say(out, "Pack: check the results, encode them, check the zip")
        for task in BENCHMARKS:
            run("pack", task, RENDERS[task], SUBMISSIONS[task])
        _say(out, "Validate: the same check, for a zip that any tool wrote")
        for task in BENCHMARKS:
            run("validate", SUBMISSIONS[task])
        plant_mistakes(place / SUBMISSIONS["nvs"], place / FAULTY, NVS, recipe)
        _say(out, "Validate a zip with three mistakes: a frame is cut off, a video is damaged, a video is missing")
        run("validate", FAULTY, status=1)


def _pictures() -> Iterator[tuple[tuple[str, ...], str | None]]:
    """The commands that draw, each with the reason to leave it out, if any."""
    from importlib.util import find_spec

    from nersemble_cli.core.errors import install_command
    from nersemble_cli.core.scenes.display import find_surface

    no_opengl = (
        None if find_surface() != "nothing" else "because there is no OpenGL here (nersemble doctor says more)"
    )
    no_torch = None if find_spec("torch") else f"because torch is not installed: {install_command('flame')}"
    flame = ("flame", "393", "-s", TRAINING_SEQUENCE)
    for what, reason in ((("cameras", "388"), None), (flame, no_torch), (("pointcloud", "388"), None)):
        yield ("visualize", *what, "-o", f"{what[0]}.png"), no_opengl or reason


def _environment(url: str, model: Path) -> dict[str, str]:
    """This process's environment, with settings for the demo in place of the user's own."""
    import nersemble_cli
    from nersemble_cli.core.settings import FLAME_VARIABLE, FOLDER_VARIABLE, URL_VARIABLE

    package = str(Path(nersemble_cli.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        URL_VARIABLE: url,
        FOLDER_VARIABLE: "nersemble_benchmark",
        FLAME_VARIABLE: str(model),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _run(words: tuple[str, ...], status: int, place: Path, environment: Mapping[str, str], out: Output) -> None:
    """Runs a command as a user would. Raises `NersembleError` if its exit status is not `status`."""
    from nersemble_cli.core.errors import NersembleError

    line = " ".join(["nersemble", *words])
    out.print()
    out.print(f"$ {line}", style="bold cyan")
    command = [sys.executable, "-m", "nersemble_cli", *words]
    found = subprocess.run(command, cwd=place, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    if found != status:
        raise NersembleError(
            f"'{line}' ended with exit status {found} instead of {status}.",
            "Its message is above. If this is a bug, please report it with the output of: nersemble doctor",
        )


def _say(out: Output, text: str) -> None:
    out.print()
    out.print(text, style="bold")


def _show_hints(place: Path, out: Output) -> None:
    out.print("To go on from here:")
    for line in (
        f"cd {shlex.quote(str(place))}",
        "nersemble inspect --verify",
        f"nersemble inspect {FAULTY}",
        "nersemble visualize cameras 388 -o cameras.html",
        f"nersemble visualize flame 393 -s {TRAINING_SEQUENCE} -o flame.html",
        f"nersemble validate {SUBMISSIONS['nvs']} --json",
        "nersemble view 388",
    ):
        out.print(line, indent=2)

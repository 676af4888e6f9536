"""`nersemble visualize cameras|flame|pointcloud`."""

from __future__ import annotations

import signal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options
from nersemble_cli.core.benchmarks import (
    BENCHMARKS,
    MONO,
    NVS,
    Benchmark,
    VideoBenchmark,
    get_benchmark,
    parse_participant,
)
from nersemble_cli.core.errors import MissingFileError, UsageError, unknown_name

if TYPE_CHECKING:
    import pyvista as pv

    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
    from nersemble_cli.core.scenes import Look

TURN_FRAMES, TURN_FPS = 120, Fraction(24)
SMALLEST, LARGEST = 64, 8192
VIDEO, MODEL = ".mp4", ".ply"
_DATA, _PICTURE = "What is shown", "How it is shown"


def _participant(*benchmarks: Benchmark) -> Any:
    names = " or ".join(benchmark.name for benchmark in benchmarks)
    return typer.Argument(
        metavar="PARTICIPANT",
        help=f"A participant of {names}.",
        show_default=False,
    )


SequenceOption = Annotated[
    str | None,
    typer.Option(
        "--sequence", "-s", help="The sequence.", show_default="the first one here", rich_help_panel=_DATA
    ),
]
TimestepOption = Annotated[
    int | None,
    typer.Option("--timestep", "-t", help="The frame, counted from 0.", show_default="0", rich_help_panel=_DATA),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The file to write: .png, .html, .mp4, .gltf, .glb or .ply. An older one is replaced.",
        show_default="a window; without a display, a new .png",
        rich_help_panel=_PICTURE,
    ),
]
FramesOption = Annotated[
    str | None,
    typer.Option(
        metavar="0-99",
        help="The timesteps of an .mp4.",
        show_default="all that are here",
        rich_help_panel=_PICTURE,
    ),
]
SizeOption = Annotated[
    str, typer.Option(metavar="WxH", help="Width and height in pixels.", rich_help_panel=_PICTURE)
]
BackgroundOption = Annotated[
    str, typer.Option(metavar="COLOUR", help="white, black, lightgrey, #rrggbb.", rich_help_panel=_PICTURE)
]
BACKGROUND = "#eef1f4"

app = typer.Typer(
    cls=options.Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:\n\nnersemble visualize cameras 388",
)


@app.callback()
def visualize() -> None:
    """Show cameras, FLAME or point clouds.

    In a window, or as a picture, a page, a model or a video.
    """


@options.command(
    app,
    "nersemble visualize cameras 388 -o cameras.png",
    "nersemble visualize cameras 393 -s EXP-1-head -t 10 -o cameras.html",
)
def cameras(
    participant: Annotated[str, _participant(NVS, MONO)],
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="nvs|mono",
            help="The benchmark's task.",
            show_default="the participant's",
            rich_help_panel=_DATA,
        ),
    ] = None,
    sequence: SequenceOption = None,
    timestep: TimestepOption = None,
    folder: options.FolderOption = None,
    output: OutputOption = None,
    size: SizeOption = "1200x900",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show all cameras as frustums.

    Each training camera shows what it sees, hold-out cameras are red. With them come their serials, the world's
    axes, a scale bar in metres, and the point cloud of the timestep if it is here. An .mp4 goes once around them.
    """
    out, suffix = _begin(output)
    data = _open_data(participant, _benchmark_of(participant, benchmark), folder)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    target = _target(output, f"cameras_{data.participant:03d}_{name}_{t:05d}.png")
    from nersemble_cli.core.scenes import cameras_scene, title, turntable_frames

    plotter = cameras_scene(data, name, t, _look(size, background, target), out.note)
    if target is not None and suffix == VIDEO:
        _film(turntable_frames(plotter, TURN_FRAMES), target, TURN_FRAMES, TURN_FPS, out)
    else:
        _deliver(plotter, target, title(data, name, t), out)


@options.command(
    app,
    "nersemble visualize flame 393 -s EXP-1-head -o flame.png",
    "nersemble visualize flame 393 -s FREE --frames 0-99 -o flame.mp4",
)
def flame(
    participant: Annotated[str, _participant(MONO)],
    sequence: SequenceOption = None,
    timestep: TimestepOption = None,
    flame_model: Annotated[
        Path | None,
        typer.Option(
            help="flame2023.pkl.",
            show_default="$NERSEMBLE_FLAME_MODEL, ~/.cache/FLAME/flame2023.pkl",
            rich_help_panel=_DATA,
        ),
    ] = None,
    folder: options.FolderOption = None,
    output: OutputOption = None,
    frames: FramesOption = None,
    size: SizeOption = "1600x720",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show the tracked FLAME mesh.

    Amid the cameras; beside it, its vertices are drawn over the training camera's image.

    Hold-out sequences have no images; there, the vertices are drawn over black. An .mp4 plays the sequence, a .ply
    is the mesh alone. It needs PyTorch, and FLAME 2023, which is yours to download.
    """
    out, suffix = _begin(output, timestep, frames)
    data = _open_data(participant, MONO, folder)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    target = _target(output, f"flame_{data.participant:03d}_{name}_{t:05d}.png")
    from nersemble_cli.core.scenes import flame_frames, flame_scene, title

    if target is not None and suffix == MODEL:
        from nersemble_cli.core.flame.provider import FlameProvider
        from nersemble_cli.core.formats.ply import mesh_to_ply
        from nersemble_cli.core.scenes.export import save_bytes

        mesh = FlameProvider(data.load_flame_tracking(name), flame_model).get_mesh(t)
        save_bytes(mesh_to_ply(mesh.vertices, mesh.faces), target)
        out.print(str(target))
        return
    look = _look(size, background, target)
    if target is not None and suffix == VIDEO:
        timesteps = _timesteps(data, name, frames)
        pictures = flame_frames(data, name, timesteps, flame_model, look, out.note)
        _film(pictures, target, len(timesteps), data.benchmark.fps, out)
    else:
        _deliver(flame_scene(data, name, t, flame_model, look, out.note), target, title(data, name, t), out)


@options.command(
    app,
    "nersemble visualize pointcloud 388 -o pointcloud.png",
    "nersemble visualize pointcloud 388 --color normals --frames 0-23 -o normals.mp4",
)
def pointcloud(
    participant: Annotated[str, _participant(NVS)],
    sequence: SequenceOption = None,
    timestep: TimestepOption = None,
    color: Annotated[
        str,
        typer.Option(
            metavar="rgb|normals",
            help="What the points' colours tell.",
            rich_help_panel=_DATA,
        ),
    ] = "rgb",
    folder: options.FolderOption = None,
    output: OutputOption = None,
    frames: FramesOption = None,
    point_size: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="In pixels.", show_default="fits the number of points", rich_help_panel=_PICTURE
        ),
    ] = None,
    size: SizeOption = "1000x1000",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show a point cloud.

    Coloured by what the cameras saw or by its normals.

    An .mp4 plays the point clouds that were downloaded, or turns around a single one; a .ply is as 3D Gaussian
    Splatting reads it.
    """
    out, suffix = _begin(output, timestep, frames)
    from nersemble_cli.core.scenes import COLORS, pointcloud_frames, pointcloud_scene, title, turntable_frames

    kind = next((known for known in COLORS if known == color), None)
    if kind is None:
        raise unknown_name("colour", color, COLORS)
    data = _open_data(participant, NVS, folder)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    target = _target(output, f"pointcloud_{data.participant:03d}_{name}_{t:05d}_{color}.png")
    if target is not None and suffix == MODEL:
        data.export_pointcloud(name, t, target)
        out.print(str(target))
        return
    look = _look(size, background, target, point_size)
    timesteps = _timesteps_of_pointclouds(data, name, frames, out) if suffix == VIDEO else []
    if target is not None and len(timesteps) > 1:
        _film(
            pointcloud_frames(data, name, timesteps, kind, look), target, len(timesteps), data.benchmark.fps, out
        )
        return
    plotter = pointcloud_scene(data, name, timesteps[0] if timesteps else t, kind, look)
    if target is not None and suffix == VIDEO:
        _film(turntable_frames(plotter, TURN_FRAMES), target, TURN_FRAMES, TURN_FPS, out)
    else:
        _deliver(plotter, target, title(data, name, t), out)


def _begin(output: Path | None, timestep: int | None = None, frames: str | None = None) -> tuple[Output, str]:
    """Looks at what can be known before any work is done; returns the output and the suffix of the file."""
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.scenes.display import start_probe
    from nersemble_cli.core.scenes.export import check_output

    suffix = "" if output is None else check_output(output).suffix.lower()
    if frames is not None and suffix != VIDEO:
        raise UsageError("--frames is for videos.", "Name a video: -o out.mp4, or a single frame: -t 5")
    if timestep is not None and suffix == VIDEO and frames is not None:
        raise UsageError("--timestep and --frames exclude each other.", "Leave --timestep out.")
    start_probe()
    return Output(), suffix


def _benchmark_of(participant: str, name: str | None) -> VideoBenchmark:
    """The benchmark that is named, else the one that the participant belongs to."""
    if name is not None:
        benchmark = get_benchmark(name)
        if not isinstance(benchmark, VideoBenchmark):
            raise UsageError(f"{benchmark.name} has no cameras, only single images.", "Valid: nvs, mono.")
        return benchmark
    videos = [benchmark for benchmark in BENCHMARKS.values() if isinstance(benchmark, VideoBenchmark)]
    number = int(participant) if participant.isascii() and participant.isdigit() else -1
    owners = [benchmark for benchmark in BENCHMARKS.values() if number in benchmark.participants]
    if not owners:
        raise unknown_name("participant", participant, [p for benchmark in videos for p in benchmark.participants])
    if not isinstance(owners[0], VideoBenchmark):
        raise UsageError(
            f"Participant {participant} belongs to {owners[0].name}, which has no cameras, only single images.",
            "; ".join(f"{b.name} has {', '.join(map(str, b.participants))}" for b in videos) + ".",
        )
    return owners[0]


def _open_data(participant: str, benchmark: VideoBenchmark, folder: Path | None) -> Any:
    """The participant's data. Raises `MissingFileError` if nothing of it was downloaded."""
    from nersemble_cli.core.data.managers import open_data
    from nersemble_cli.core.settings import existing_folder, find_folder

    number = parse_participant(participant, benchmark)
    place = existing_folder(folder)
    if place is None or not (place / benchmark.folder / f"{number:03d}").is_dir():
        target = find_folder(folder)
        named = f" -f {target}" if folder is not None else ""
        raise MissingFileError(
            f"Nothing of participant {number} is in {target}.",
            f"Fetch it with: nersemble download {benchmark.name} -p {number}{named}\n"
            "If it lies elsewhere, name the folder: -f FOLDER",
        )
    return open_data(benchmark, place, number)


def _sequence_of(data: NVSDataManager | MonoFlameAvatarDataManager, name: str | None) -> str:
    """The sequence that is named, else the first one with videos, else the first one that is here."""
    every = (*data.benchmark.train_sequences[data.participant], *data.benchmark.test_sequences[data.participant])
    if name is not None:
        if name not in every:
            raise unknown_name(f"sequence of participant {data.participant}", name, dict.fromkeys(every))
        return name
    here = [sequence for sequence in data.list_sequences() if sequence in every]
    return next((sequence for sequence in here if data.list_serials(sequence)), here[0] if here else every[0])


def _target(output: Path | None, default: str) -> Path | None:
    """Where to write; None means a window. Without a display, a file of a new name beside the user."""
    from nersemble_cli.core.files import check_target
    from nersemble_cli.core.scenes.display import prepare_rendering
    from nersemble_cli.core.scenes.export import check_output, free_name

    if output is not None:
        return check_output(output)
    return None if prepare_rendering() else check_target(free_name(Path(default)), overwrite=False)


def _look(size: str, background: str, target: Path | None, point_size: float | None = None) -> Look:
    from nersemble_cli.core.scenes import Look

    width, _, height = size.lower().replace("×", "x").partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()) or not (
        SMALLEST <= int(width) <= LARGEST and SMALLEST <= int(height) <= LARGEST
    ):
        raise UsageError(
            f"--size '{size}' is no size of a picture.",
            f"Give width and height, {SMALLEST} to {LARGEST} pixels each: 1200x900",
        )
    sides = [int(width), int(height)]
    if target is not None and target.suffix.lower() == VIDEO:
        sides = [side // 2 * 2 for side in sides]  # the videos' pixel format has one colour for 2×2 pixels
    return Look(sides[0], sides[1], background, point_size, off_screen=None if target is None else True)


def _timesteps(data: MonoFlameAvatarDataManager | NVSDataManager, sequence: str, frames: str | None) -> list[int]:
    """The timesteps that are wanted, all of them by default. Raises `UsageError` for one that does not exist."""
    from nersemble_cli.core.download.selection import parse_frames

    ranges = None if frames is None else parse_frames("--frames", frames)
    if ranges is None:
        return data.list_timesteps(sequence)
    for part in ranges:
        data.check_timestep(sequence, part[-1])
    return sorted({timestep for part in ranges for timestep in part})


def _timesteps_of_pointclouds(data: NVSDataManager, sequence: str, frames: str | None, out: Output) -> list[int]:
    """The timesteps that are wanted, by default those whose point clouds are here; they are here all."""
    from nersemble_cli.core.download.selection import as_ranges

    here = data.list_pointclouds(sequence)
    wanted = here if frames is None else _timesteps(data, sequence, frames)
    if missing := sorted(set(wanted or [0]) - set(here)):
        raise MissingFileError(
            f"{len(missing)} of {len(wanted or [0])} point clouds are not here.",
            data.fetch_hint("pointclouds", sequence=sequence, timestep=as_ranges(missing)),
        )
    if len(wanted) == 1 and frames is None:
        hint = data.fetch_hint("pointclouds", sequence=sequence, timestep="all")
        out.note(f"Only the point cloud of timestep {wanted[0]} is here, so the video turns around it. {hint}")
    return wanted


def _film(frames: Any, target: Path, n_frames: int, fps: Fraction, out: Output) -> None:
    from nersemble_cli.core.scenes.export import save_video

    with out.progress() as bars:
        save_video(frames, target, n_frames, fps, bars)
    out.print(str(target))


def _deliver(plotter: pv.Plotter, target: Path | None, title: str, out: Output) -> None:
    """Opens a window, or writes the file and prints its name."""
    from nersemble_cli.core.scenes.export import save_scene

    if target is None:
        out.note("Drag to turn, scroll to zoom, q to close.")
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # VTK's loop never gives Python a chance to handle them
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        plotter.show(title=title)
        return
    save_scene(plotter, target, title)
    out.print(str(target))

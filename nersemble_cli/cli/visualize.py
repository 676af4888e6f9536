"""`nersemble visualize cameras|flame|pointcloud|mesh|submission`."""

from __future__ import annotations

import signal
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
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, UsageError, unknown_name
from nersemble_cli.core.platform import signals

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
    from nersemble_cli.core.scenes import PictureOptions
    from nersemble_cli.core.scenes.export import Drawing, Frames

SMALLEST, LARGEST = 64, 8192
VIDEO, MODEL = ".mp4", ".ply"
_DATA, _PICTURE = "Data", "Picture"


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
        help="The file to write: .png, .html, .mp4, .gltf, .glb or .ply. An existing file is replaced.",
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
FlameModelOption = Annotated[
    Path | None,
    typer.Option(
        help="flame2023.pkl, or the folder that holds it.",
        show_default="$NERSEMBLE_FLAME_MODEL, ~/.cache/FLAME/flame2023.pkl",
        rich_help_panel=_DATA,
    ),
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
    """Draw the data and your results.

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
    flame_model: FlameModelOption = None,
    folder: options.FolderOption = None,
    output: OutputOption = None,
    size: SizeOption = "1200x900",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show all cameras as frustums.

    Each training camera shows its image, hold-out cameras are red. With them come their serials, the world's axes,
    a scale bar in metres, and the person: the point cloud or the FLAME mesh if it is here, else an ellipsoid of a
    head's size. An .mp4 goes once around them.
    """
    out = _begin(output)
    data = _open_data(participant, _benchmark_of(participant, benchmark), folder)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    from nersemble_cli.core.scenes import cameras_scene, title
    from nersemble_cli.core.scenes.export import Drawing

    drawing = Drawing(
        title(data, name, t),
        lambda options: cameras_scene(data, name, t, options, out.note, flame_model),
    )
    _deliver(drawing, output, f"cameras_{data.participant:03d}_{name}_{t:05d}", size, background, out)


@options.command(
    app,
    "nersemble visualize flame 393 -s EXP-1-head -o flame.png",
    "nersemble visualize flame 393 --overlay shaded --opacity 0.7 -o shaded.png",
    "nersemble visualize flame 393 -s FREE --frames 0-99 -o flame.mp4",
)
def flame(
    participant: Annotated[str, _participant(MONO)],
    sequence: SequenceOption = None,
    timestep: TimestepOption = None,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            "-c",
            metavar="SERIAL",
            help="The camera whose image the mesh is drawn over.",
            show_default="the training camera",
            rich_help_panel=_DATA,
        ),
    ] = None,
    flame_model: FlameModelOption = None,
    folder: options.FolderOption = None,
    output: OutputOption = None,
    frames: FramesOption = None,
    overlay: Annotated[
        str,
        typer.Option(
            metavar="points|wireframe|shaded",
            help="How the mesh is drawn over the image.",
            rich_help_panel=_PICTURE,
        ),
    ] = "points",
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Of the mesh over the image.", rich_help_panel=_PICTURE)
    ] = 1.0,
    size: SizeOption = "1600x720",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show the tracked FLAME mesh.

    In the world among the cameras, and beside it over the image of one camera.

    Hold-out sequences and cameras have no images; there, the mesh is drawn over black. An .mp4 plays the sequence,
    a .ply is the mesh alone. Needs PyTorch and FLAME 2023, which you download yourself.
    """
    out = _begin(output, timestep, frames)
    from nersemble_cli.core.scenes import OVERLAYS, flame_frames, flame_scene, title
    from nersemble_cli.core.scenes.export import Drawing

    style = next((known for known in OVERLAYS if known == overlay), None)
    if style is None:
        raise unknown_name("overlay", overlay, OVERLAYS)
    data = _open_data(participant, MONO, folder)
    cameras = (*MONO.train_serials, *MONO.hold_out_serials)
    if camera is not None and camera not in cameras:
        raise unknown_name("camera", camera, cameras)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    over: Any = {"serial": camera, "overlay": style, "opacity": opacity}

    def play(options: PictureOptions) -> Frames:
        timesteps = _timesteps(data, name, frames)
        pictures = flame_frames(data, name, timesteps, flame_model, options, out.note, **over)
        return pictures, len(timesteps), data.benchmark.fps

    def write_mesh(path: Path) -> None:
        from nersemble_cli.core.flame.provider import FlameProvider
        from nersemble_cli.core.formats.ply import mesh_to_ply

        mesh = FlameProvider(data.load_flame_tracking(name), flame_model).get_mesh(t)
        path.write_bytes(mesh_to_ply(mesh.vertices, mesh.faces))

    drawing = Drawing(
        title(data, name, t),
        lambda options: flame_scene(data, name, t, flame_model, options, out.note, **over),
        play,
        write_mesh,
    )
    _deliver(drawing, output, f"flame_{data.participant:03d}_{name}_{t:05d}", size, background, out)


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
            help="What the colours show.",
            rich_help_panel=_DATA,
        ),
    ] = "rgb",
    folder: options.FolderOption = None,
    output: OutputOption = None,
    frames: FramesOption = None,
    point_size: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Diameter in pixels.",
            show_default="closes the surface",
            rich_help_panel=_PICTURE,
        ),
    ] = None,
    size: SizeOption = "1000x1000",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show a point cloud.

    Coloured by what the cameras saw or by its normals.

    An .mp4 plays the point clouds that were downloaded, or turns around a single one; a .ply is in the form that
    3D Gaussian Splatting reads.
    """
    out = _begin(output, timestep, frames)
    from nersemble_cli.core.scenes import COLORS, pointcloud_frames, pointcloud_scene, title
    from nersemble_cli.core.scenes.export import Drawing

    kind = next((known for known in COLORS if known == color), None)
    if kind is None:
        raise unknown_name("colour", color, COLORS)
    data = _open_data(participant, NVS, folder)
    name, t = _sequence_of(data, sequence), timestep or 0
    data.check_timestep(name, t)
    timesteps = [t]
    if output is not None and output.suffix.lower() == VIDEO and timestep is None:
        timesteps = _timesteps_of_pointclouds(data, name, frames, out)

    def play(options: PictureOptions) -> Frames | None:
        if len(timesteps) < 2:
            return None
        pictures = pointcloud_frames(data, name, timesteps, kind, options)
        return pictures, len(timesteps), data.benchmark.fps

    drawing = Drawing(
        title(data, name, t),
        lambda options: pointcloud_scene(data, name, timesteps[0], kind, options),
        play,
        lambda path: data.export_pointcloud(name, t, path),
    )
    default = f"pointcloud_{data.participant:03d}_{name}_{t:05d}_{color}"
    _deliver(drawing, output, default, size, background, out, point_size)


@options.command(
    app,
    "nersemble visualize mesh mesh_posed.ply --landmarks landmarks_posed.npy -o mesh.png",
    "nersemble visualize mesh mesh_neutral.ply -o mesh.html",
)
def mesh(
    path: Annotated[Path, typer.Argument(metavar="MESH", help="A PLY file.", show_default=False)],
    landmarks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Its NoW landmarks: an .npy file of shape (7, 3).",
            show_default="none",
            rich_help_panel=_DATA,
        ),
    ] = None,
    output: OutputOption = None,
    size: SizeOption = "900x900",
    background: BackgroundOption = BACKGROUND,
) -> None:
    """Show a mesh with its 7 NoW landmarks.

    The landmarks are numbered in their order: 1 to 4 the corners of the eyes from your left to your right, 5 below
    the nose, 6 and 7 the corners of the mouth. With landmarks, the face is seen from the front; without, from +z
    with y upwards. The scale bar is in the mesh's unit. An .mp4 goes once around the mesh.
    """
    out = _begin(output)
    from nersemble_cli.core.formats.npy import read_npy
    from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply
    from nersemble_cli.core.scenes import mesh_scene
    from nersemble_cli.core.scenes.display import require
    from nersemble_cli.core.scenes.export import Drawing

    require("trimesh")
    geometry = _read(path, read_ply)
    points = None if landmarks is None else _read(landmarks, read_npy)
    if points is not None and points.dtype.kind not in "fiu":
        raise UsageError(f"{landmarks} holds {points.dtype}, not numbers.")
    drawing = Drawing(
        path.name,
        lambda options: mesh_scene(geometry.vertices, geometry.faces, points, path.name, options),
        geometry=lambda target: target.write_bytes(mesh_to_ply(geometry.vertices, geometry.faces)),
        unit="",
    )
    try:
        _deliver(drawing, output, path.stem, size, background, out)
    except InvalidInputError as error:
        raise UsageError(f"{path} cannot be shown: {error.message}", error.hint) from error


@options.command(
    app,
    "nersemble visualize submission submission.zip -o sheet.html",
    "nersemble visualize submission renders/ -o sheet.png",
)
def submission(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="SUBMISSION.zip|RENDERS",
            help="A submission, or the folder of your results.",
            show_default=False,
        ),
    ],
    flame_model: FlameModelOption = None,
    folder: options.FolderOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .html, .png or .mp4. An existing file is replaced.",
            show_default="a new SUBMISSION_sheet.html",
            rich_help_panel=_PICTURE,
        ),
    ] = None,
) -> None:
    """Draw a submission's proof sheet.

    Look at it before you upload. It has each video's first, middle and last frame beside the nearest training
    views of the same moment (NVS) or with the tracked FLAME mesh (Mono), or each input image beside its posed and
    neutral mesh (SVFR). With them come the findings of `nersemble validate`, the worst first.

    The .html plays renders and training views in step. It is a single file, which needs no network.
    """
    from nersemble_cli.cli.output import Output, human_size
    from nersemble_cli.core.scenes.export import free_name
    from nersemble_cli.core.scenes.sheet import summary, write_sheet

    out = Output()
    target = output or free_name(Path(f"{path.absolute().stem}_sheet.html"))
    with out.progress() as progress:
        sheet, notes = write_sheet(path, target, folder, flame_model, progress)
    for note in [*sheet.report.notes, *sheet.unknown, *notes]:
        out.note(note)
    out.note(f"{summary(sheet)} ({human_size(target.stat().st_size)})")
    out.print(str(target))


def _read(path: Path, reader: Any) -> Any:
    """What `reader` makes of a file. Raises `UsageError` if it cannot be read."""
    try:
        return reader(path.expanduser().read_bytes())
    except InvalidInputError as error:
        raise UsageError(f"{path} cannot be read: {error.message}", error.hint) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


def _begin(output: Path | None, timestep: int | None = None, frames: str | None = None) -> Output:
    """Checks what can be checked before any work is done."""
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.scenes.display import require, start_probe
    from nersemble_cli.core.scenes.export import check_output

    suffix = "" if output is None else check_output(output).suffix.lower()
    if suffix != MODEL:  # which may need no drawing
        require("pyvista", "vtkmodules")
    if frames is not None and suffix != VIDEO:
        raise UsageError("--frames is for videos.", "Name a video: -o out.mp4, or a single frame: -t 5")
    if timestep is not None and suffix == VIDEO and frames is not None:
        raise UsageError("--timestep and --frames exclude each other.", "Leave --timestep out.")
    start_probe()
    return Output()


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
    """The participant's data. Raises `MissingFileError` if none of it was downloaded."""
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
            "If it is elsewhere, name the folder: -f FOLDER",
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
    """Where to write; None means a window. Without a display, a new file in the working directory."""
    from nersemble_cli.core.files import check_target
    from nersemble_cli.core.scenes.display import prepare_rendering
    from nersemble_cli.core.scenes.export import check_output, free_name

    if output is not None:
        return check_output(output)
    return None if prepare_rendering() else check_target(free_name(Path(f"{default}.png")), overwrite=False)


def _picture_options(size: str, background: str, point_size: float | None) -> PictureOptions:
    from nersemble_cli.core.scenes import PictureOptions

    width, _, height = size.lower().replace("×", "x").partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()) or not (
        SMALLEST <= int(width) <= LARGEST and SMALLEST <= int(height) <= LARGEST
    ):
        raise UsageError(
            f"--size '{size}' is not the size of a picture.",
            f"Give width and height, {SMALLEST} to {LARGEST} pixels each: 1200x900",
        )
    return PictureOptions(int(width), int(height), background, point_size)


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


def _deliver(
    drawing: Drawing,
    output: Path | None,
    default: str,
    size: str,
    background: str,
    out: Output,
    point_size: float | None = None,
) -> None:
    """Opens a window, or writes the file and prints its name."""
    from dataclasses import replace

    from nersemble_cli.core.scenes.export import save

    picture = _picture_options(size, background, point_size)
    target = _target(output, default)
    if target is not None:
        with out.progress() as bars:
            save(drawing, target, replace(picture, off_screen=True), bars)
        out.print(str(target))
        return
    plotter = drawing.scene(picture)
    out.note("Drag to turn, scroll to zoom, q to close.")
    for number in signals("SIGINT", "SIGTERM", "SIGHUP"):  # VTK's loop never gives Python a chance to handle them
        signal.signal(number, signal.SIG_DFL)
    plotter.show(title=drawing.title)

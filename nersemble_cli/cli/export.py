"""`nersemble export nerfstudio|colmap|gaussian-avatars|frames`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nersemble_cli.cli import options

if TYPE_CHECKING:
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.export.run import Exported
    from nersemble_cli.core.export.selection import Request

_WHAT, _HOW = "What is exported", "How it is exported"

ParticipantArgument = Annotated[
    str, typer.Argument(metavar="PARTICIPANT", help="A participant of nvs or mono.", show_default=False)
]
OutArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OUT", help="The folder to write; a second run writes what is missing.", show_default=False
    ),
]


def _listed(long: str, short: str, metavar: str, text: str, default: str) -> Any:
    return typer.Option(long, short, metavar=metavar, help=text, show_default=default, rich_help_panel=_WHAT)


SequencesOption = Annotated[
    list[str] | None, _listed("--sequence", "-s", "NAME", "Only these sequences.", "all with videos here")
]
SequenceOption = Annotated[
    list[str] | None, _listed("--sequence", "-s", "NAME", "The sequence.", "the first with videos here")
]
CamerasOption = Annotated[
    list[str] | None, _listed("--camera", "-c", "SERIAL", "Only these cameras.", "all with videos here")
]
TimestepsOption = Annotated[str | None, _listed("--timesteps", "-t", "0-99:2", "Only these timesteps.", "all")]
TimestepOption = Annotated[str | None, _listed("--timesteps", "-t", "0-99:2", "These timesteps; or: all.", "0")]
HoldOutOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SERIALS",
        help="Cameras or sequences to leave out of the training split, to be scored later.",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
PointsOption = Annotated[
    int,
    typer.Option(
        "--points", metavar="N", min=0, help="Most points to start from; 0: none.", rich_help_panel=_WHAT
    ),
]
ScaleOption = Annotated[
    float, typer.Option(metavar="S", help="0.5 halves width and height.", rich_help_panel=_HOW)
]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="png|jpg", help="Of the images.", rich_help_panel=_HOW)
]
CenterOption = Annotated[
    bool,
    typer.Option(
        "--center", help="Pad with white until the principal point is the image's centre.", rich_help_panel=_HOW
    ),
]
MasksOption = Annotated[
    bool, typer.Option("--masks/--no-masks", help="Write the alpha maps as masks.", rich_help_panel=_HOW)
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be written, and its size.", rich_help_panel=_HOW)
]

app = typer.Typer(
    cls=options.Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:\n\nnersemble export colmap 388 scene/",
)


@app.callback()
def export() -> None:
    """Write the data as trainers read it.

    Every export has a README with the line that starts a training, and what its reader loses.
    """


@options.command(
    app,
    "nersemble export nerfstudio 388 scene/",
    "nersemble export nerfstudio 388 scene/ -t 0-99:2 --hold-out 222200040,220700191,222200043",
)
def nerfstudio(
    participant: ParticipantArgument,
    out: OutArgument,
    folder: options.FolderOption = None,
    sequence: SequenceOption = None,
    camera: CamerasOption = None,
    timesteps: TimestepOption = None,
    hold_out: HoldOutOption = None,
    points: PointsOption = 100_000,
    scale: ScaleOption = 1.0,
    image_format: FormatOption = "png",
    masks: MasksOption = True,
    center: CenterOption = False,
    workers: options.WorkersOption = None,
    dry_run: DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write what nerfstudio reads.

    Images, masks, transforms.json and points.

    Beside it are transforms_train.json, _val and _test for 4DGaussians and other readers of D-NeRF's format.
    """
    from nersemble_cli.core.export.nerfstudio import make_export

    request = _request(
        participant, sequence, camera, timesteps, hold_out, scale, image_format,
        n_points=points, masks=masks, center=center,
    )  # fmt: skip
    _run(make_export, request, out, folder, workers, dry_run, as_json)


@options.command(
    app,
    "nersemble export colmap 388 scene/",
    "nersemble export colmap 388 scene/ -t 0-49 --scale 0.5 --hold-out 222200040",
)
def colmap(
    participant: ParticipantArgument,
    out: OutArgument,
    folder: options.FolderOption = None,
    sequence: SequenceOption = None,
    camera: CamerasOption = None,
    timesteps: TimestepOption = None,
    hold_out: HoldOutOption = None,
    points: PointsOption = 100_000,
    scale: ScaleOption = 1.0,
    image_format: FormatOption = "png",
    masks: MasksOption = False,
    center: CenterOption = False,
    workers: options.WorkersOption = None,
    dry_run: DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write a COLMAP model.

    For gsplat, 3D Gaussian Splatting and others.

    Several timesteps become a model each: colmap_0/, colmap_1/ and so on, as SpacetimeGaussians reads them.
    """
    from nersemble_cli.core.export.colmap import make_export

    request = _request(
        participant, sequence, camera, timesteps, hold_out, scale, image_format,
        n_points=points, masks=masks, center=center,
    )  # fmt: skip
    _run(make_export, request, out, folder, workers, dry_run, as_json)


@options.command(
    app,
    "nersemble export gaussian-avatars 393 avatar/",
    "nersemble export gaussian-avatars 393 avatar/ --hold-out EXP-9-jaw-2,SEN-07-fond_note_fried",
)
def gaussian_avatars(
    participant: Annotated[
        str, typer.Argument(metavar="PARTICIPANT", help="A participant of mono.", show_default=False)
    ],
    out: OutArgument,
    folder: options.FolderOption = None,
    sequence: SequencesOption = None,
    timesteps: TimestepsOption = None,
    hold_out: HoldOutOption = None,
    flame_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The FLAME 2023 model.",
            show_default="$NERSEMBLE_FLAME_MODEL, ~/.cache/FLAME/flame2023.pkl",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    scale: ScaleOption = 1.0,
    workers: options.WorkersOption = None,
    dry_run: DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write what GaussianAvatars reads.

    It is the layout that VHAP writes, with the benchmark's tracking. Beside it is what the frames of a submission
    are rendered from.
    """
    from nersemble_cli.core.export.gaussian_avatars import make_export
    from nersemble_cli.core.flame.model import load_flame_model

    request = _request(participant, sequence, None, timesteps, hold_out, scale, "png", center=True)
    _run(
        lambda selection: make_export(selection, load_flame_model(flame_model)),
        request, out, folder, workers, dry_run, as_json, everything=True,
    )  # fmt: skip


@options.command(
    app,
    "nersemble export frames 388 frames/ -c 222200040 -t 0-99",
    "nersemble export frames 393 shards/ --format jpg --shards 500MB",
)
def frames(
    participant: ParticipantArgument,
    out: OutArgument,
    folder: options.FolderOption = None,
    sequence: SequencesOption = None,
    camera: CamerasOption = None,
    timesteps: TimestepsOption = None,
    hold_out: HoldOutOption = None,
    scale: ScaleOption = 1.0,
    image_format: FormatOption = "png",
    alpha: Annotated[
        str,
        typer.Option(
            metavar="beside|rgba|none",
            help="Alpha maps as files of their own, as a fourth channel, or not at all.",
            rich_help_panel=_HOW,
        ),
    ] = "beside",
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Write WebDataset shards of this size: 500MB.",
            show_default="single files",
            rich_help_panel=_HOW,
        ),
    ] = None,
    center: CenterOption = False,
    workers: options.WorkersOption = None,
    dry_run: DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write images and cameras.json.

    Files are PARTICIPANT/SEQUENCE/cam_SERIAL/00000.png. In shards, a sample has its image, alpha map, camera, and
    FLAME parameters if there are any.
    """
    from nersemble_cli.core.export.frames import make_export
    from nersemble_cli.core.export.shards import parse_size

    size = None if shards is None else parse_size(shards)
    request = _request(participant, sequence, camera, timesteps, hold_out, scale, image_format, center=center)
    _run(
        lambda selection: make_export(selection, alpha, size),
        request, out, folder, workers, dry_run, as_json, everything=True,
    )  # fmt: skip


def _request(
    participant: str,
    sequences: list[str] | None,
    cameras: list[str] | None,
    timesteps: str | None,
    hold_out: list[str] | None,
    scale: float,
    image_format: str,
    **more: Any,
) -> Request:
    from nersemble_cli.core.download.selection import split_names
    from nersemble_cli.core.export.selection import Request

    names = [tuple(split_names(values or ())) for values in (sequences, cameras, hold_out)]
    image_format = {"jpeg": "jpg"}.get(image_format.lower(), image_format.lower())
    return Request(
        participant, sequences=names[0], serials=names[1], timesteps=timesteps, hold_out=names[2],
        scale=scale, image_format=image_format, **more,
    )  # fmt: skip


def _run(
    make_export: Any,
    request: Request,
    out: Path,
    folder: Path | None,
    workers: int | None,
    dry_run: bool,
    as_json: bool,
    *,
    everything: bool = False,
) -> None:
    """Selects, exports and shows the result; `everything` is meant where the request says nothing."""
    from nersemble_cli.cli.output import Output
    from nersemble_cli.core.export.run import run_export
    from nersemble_cli.core.export.selection import select
    from nersemble_cli.core.settings import existing_folder, find_folder

    output = Output(as_json)
    place = existing_folder(folder) or find_folder(folder)
    selection = select(request, place, every_timestep=everything, every_sequence=everything)
    with output.progress() as progress:
        done = run_export(make_export(selection), out, workers=workers, dry_run=dry_run, progress=progress)
    output.json(_as_json(done))
    _show(output, done)


def _show(output: Output, done: Exported) -> None:
    from nersemble_cli.cli.output import human_size

    missing = done.num_images - done.num_there
    images = f"{missing:,} image{'' if missing == 1 else 's'}"
    there = f" ({done.num_there:,} were there)" if done.num_there else ""
    for loss in done.losses:
        output.warning(loss)
    for note in done.notes:
        output.note(note)
    if done.dry_run:
        output.print(
            f"Would write {images} to {done.out}{there}: about {human_size(done.num_bytes)},"
            f" {human_size(done.free_bytes)} free."
        )
        return
    output.print(f"Wrote {images} to {done.out}{there}: {human_size(done.num_bytes)}.", style="bold green")
    if done.held_out:
        output.print(f"Held out: {', '.join(done.held_out)}")
    for name, line in done.lines.items():
        output.print(f"{name}:")
        output.print(line, indent=2, wrap=False)


def _as_json(done: Exported) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "out": str(done.out),
        "format": done.format,
        "dry_run": done.dry_run,
        "images": done.num_images,
        "images_there_before": done.num_there,
        "bytes": done.num_bytes,
        "free_bytes": done.free_bytes,
        "held_out": list(done.held_out),
        "losses": done.losses,
        "notes": done.notes,
        "train": dict(done.lines),
    }

"""Scenes as files: pictures, pages, models and videos. Each appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.files import check_target, replacing
from nersemble_cli.core.scenes import page
from nersemble_cli.core.scenes.build import turntable_frames
from nersemble_cli.core.scenes.display import require
from nersemble_cli.core.scenes.drawing import PictureOptions
from nersemble_cli.core.threads import NullProgress, Progress
from nersemble_cli.core.video.encode import encode_video

if TYPE_CHECKING:
    import pyvista as pv

TURN_FRAMES, TURN_FPS = 120, Fraction(24)
VIDEO = ".mp4"

Frames = tuple[Iterable[NDArray[np.uint8]], int, Fraction]


@dataclass(frozen=True)
class Drawing:
    """What a command shows, each form made only when it is asked for.

    `scene` draws it. `frames` plays it: pictures, how many, and frames per second; None, or its answer None: the
    video turns around the scene. `geometry` writes it as PLY, if that is more than the scene's own geometry.
    `unit` is that of lengths.
    """

    title: str
    scene: Callable[[PictureOptions], pv.Plotter]
    frames: Callable[[PictureOptions], Frames | None] | None = None
    geometry: Callable[[Path], object] | None = None
    unit: str = "m"


def _write_picture(drawing: Drawing, options: PictureOptions, path: Path, progress: Progress) -> None:
    drawing.scene(options).screenshot(path, return_img=False)


def _write_page(drawing: Drawing, options: PictureOptions, path: Path, progress: Progress) -> None:
    path.write_text(page.to_html(drawing.scene(options), drawing.title, drawing.unit), "utf-8")


def _write_gltf(drawing: Drawing, options: PictureOptions, path: Path, progress: Progress) -> None:
    path.write_bytes(page.to_gltf(drawing.scene(options), binary=path.suffix == ".glb"))


def _write_ply(drawing: Drawing, options: PictureOptions, path: Path, progress: Progress) -> None:
    if drawing.geometry is not None:
        drawing.geometry(path)
    else:
        path.write_bytes(page.to_ply(drawing.scene(options)))


def _write_video(drawing: Drawing, options: PictureOptions, path: Path, progress: Progress) -> None:
    # The video's pixel format has one colour for 2×2 pixels.
    even = PictureOptions(
        options.width // 2 * 2, options.height // 2 * 2, options.background, options.point_size, options.off_screen
    )
    played = drawing.frames(even) if drawing.frames is not None else None
    frames, n, fps = played or (turntable_frames(drawing.scene(even), TURN_FRAMES), TURN_FRAMES, TURN_FPS)
    progress.start(f"Rendering {drawing.title}", n, "frames")

    def counted() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            yield frame
            progress.advance()

    encode_video(counted(), path, even.width, even.height, fps)


@dataclass(frozen=True)
class Format:
    """An output format: what it is for, what writes it, and the modules that this needs beside pyvista."""

    purpose: str
    write: Callable[[Drawing, PictureOptions, Path, Progress], None]
    needs: tuple[str, ...] = ()


# Every command of `nersemble visualize` writes all of them.
FORMATS = {
    ".png": Format("a picture", _write_picture),
    ".html": Format("a page for any browser", _write_page, ("trimesh", "cv2")),
    VIDEO: Format("a video", _write_video),
    ".gltf": Format("a model for Blender and others", _write_gltf, ("trimesh",)),
    ".glb": Format("the same model in one binary file", _write_gltf, ("trimesh",)),
    ".ply": Format("the bare geometry", _write_ply, ("trimesh",)),
}


class FileFormat(Protocol):
    """What a file format is for, and the modules that writing it needs."""

    @property
    def purpose(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...


def check_output(path: Path, formats: Mapping[str, FileFormat] = FORMATS) -> Path:
    """Where to write, if `path` ends in a known format and can be written. An older file there will be replaced.

    Raises `UsageError`, which lists the known formats, for another one; if no file can be written there; or if the
    packages that the format needs are not installed.
    """
    found = formats.get(path.suffix.lower())
    if found is None:
        known = ", ".join(f"{suffix} ({format_.purpose})" for suffix, format_ in formats.items())
        raise UsageError(f"The file name {path} does not end in a known format.", f"Known: {known}.")
    require(*found.needs)
    return check_target(path.expanduser(), overwrite=True)


def free_name(path: Path) -> Path:
    """`path`, or if there is such a file already, `path` with the first number that makes it a new one."""
    number, candidate = 1, path
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return candidate


def save(drawing: Drawing, path: Path, options: PictureOptions, progress: Progress | None = None) -> None:
    """Writes a drawing in the format of the file's name, one of `FORMATS`."""
    with replacing(path) as place:
        FORMATS[path.suffix.lower()].write(drawing, options, place, progress or NullProgress())

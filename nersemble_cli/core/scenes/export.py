"""Scenes as files: pictures, pages, models and videos. Each appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.files import check_target, scratch_folder
from nersemble_cli.core.scenes import page
from nersemble_cli.core.threads import NullProgress, Progress
from nersemble_cli.core.video.encode import encode_video

if TYPE_CHECKING:
    import pyvista as pv

VIDEO = ".mp4"
FORMATS = {
    ".png": "a picture",
    ".html": "a page that turns in any browser",
    VIDEO: "a video",
    ".gltf": "a model for other tools",
    ".glb": "the same, smaller",
    ".ply": "the bare geometry",
}


def check_output(path: Path) -> Path:
    """Where to write, if `path` can be written in a format that is known. An older file there will be replaced.

    Raises `UsageError`, which lists the known formats, for another one; and if no file can be written there.
    """
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(f"{suffix} ({what})" for suffix, what in FORMATS.items())
        raise UsageError(f"{path} ends in no format that is known.", f"Known: {known}.")
    return check_target(path.expanduser(), overwrite=True)


def free_name(path: Path) -> Path:
    """`path`, or if there is such a file already, `path` with the first number that makes it a new one."""
    number, candidate = 1, path
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return candidate


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A place to write what becomes `path` when the block ends well."""
    with scratch_folder(path) as scratch:
        place = scratch / path.name
        yield place
        place.replace(path)


def save_scene(plotter: pv.Plotter, path: Path, title: str) -> None:
    """Writes the scene in the format of the file's name; videos are written by `save_video`."""
    writers: dict[str, Callable[[Path], object]] = {
        ".png": lambda place: plotter.screenshot(place, return_img=False),
        ".html": lambda place: place.write_text(page.to_html(plotter, title), "utf-8"),
        ".gltf": lambda place: place.write_bytes(page.to_gltf(plotter, binary=False)),
        ".glb": lambda place: place.write_bytes(page.to_gltf(plotter, binary=True)),
        ".ply": lambda place: place.write_bytes(page.to_ply(plotter)),
    }
    with _complete(path) as place:
        writers[path.suffix.lower()](place)


def save_bytes(data: bytes, path: Path) -> None:
    with _complete(path) as place:
        place.write_bytes(data)


def save_video(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    n_frames: int,
    fps: Fraction,
    progress: Progress | None = None,
) -> None:
    """Encodes (H, W, 3) uint8 RGB pictures, all of one even size."""
    progress = progress or NullProgress()
    progress.start(f"Rendering {path.name}", n_frames, "frames")
    source = iter(frames)
    first = next(source)

    def counted() -> Iterator[NDArray[np.uint8]]:
        yield first
        progress.advance()
        for frame in source:
            yield frame
            progress.advance()

    with _complete(path) as place:
        encode_video(counted(), place, first.shape[1], first.shape[0], fps)

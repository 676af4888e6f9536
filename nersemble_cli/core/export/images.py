"""Images on their way from the videos to files: decoded in order, scaled, padded, encoded in parallel."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError, MissingFileError
from nersemble_cli.core.export.selection import Camera, Selection, VideoData, View
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.threads import Cancel, in_threads
from nersemble_cli.core.video.encode import encode_jpeg
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import borrow_reader

_WHITE, _BACKGROUND = 255, 0


@dataclass(frozen=True)
class ImageFile:
    """A view and the files that it becomes, relative to the export's folder; `mask` is None if not wanted."""

    view: View
    image: str
    mask: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image,) if self.mask is None else (self.image, self.mask)


@dataclass(frozen=True)
class _Decoded:
    of: ImageFile
    frame: av.VideoFrame
    matte: av.VideoFrame | None


def check_mattes(selection: Selection, without: str) -> None:
    """Raises `MissingFileError` if a selected video has no alpha map; `without` says how to do without."""
    data = selection.data
    for sequence, serial in product(selection.sequences, selection.cameras):
        path = Path(data.get_alpha_maps_path(sequence, serial))
        if not path.is_file():
            hint = data.fetch_hint("alpha_maps", sequence=sequence, serial=serial)
            raise MissingFileError(f"{path} is not there.", f"{hint}\n{without}")


def encode_image(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """(H, W, 1, 3 or 4) uint8 as the bytes of a file; `suffix` is `.png`, or `.jpg` for three channels."""
    return encode_png(pixels) if suffix == ".png" else encode_jpeg(pixels)


def _decode(data: VideoData, files: Iterable[ImageFile], step: int, with_mattes: bool) -> Iterator[_Decoded]:
    for file in files:
        view = file.view
        with borrow_reader(Path(data.get_images_path(view.sequence, view.serial)), view.timestep) as reader:
            frame = reader.frame(view.timestep, step)
        matte = None
        if with_mattes:
            path = Path(data.get_alpha_maps_path(view.sequence, view.serial))
            with borrow_reader(path, view.timestep) as reader:
                matte = reader.frame(view.timestep, step)
        yield _Decoded(file, frame, matte)


def _pixels(frame: av.VideoFrame, camera: Camera, scale: float, channels: int, fill: int) -> NDArray[np.uint8]:
    """(H, W, channels) uint8: the frame as the exported camera sees it, surrounded by `fill`."""
    rgb = to_rgb(frame, None if scale == 1 else scale)[..., :channels]
    pad = camera.padding
    height, width = rgb.shape[0] + pad.top + pad.bottom, rgb.shape[1] + pad.left + pad.right
    if (width, height) != (camera.width, camera.height):
        raise InvalidInputError(
            f"Camera {camera.serial} has images of different sizes: {width}×{height} and"
            f" {camera.width}×{camera.height}.",
            "Fetch its videos again with: nersemble download --overwrite",
        )
    if pad.left == pad.right == pad.top == pad.bottom == 0:
        return np.ascontiguousarray(rgb)
    padded = np.full((height, width, channels), fill, np.uint8)
    padded[pad.top : pad.top + rgb.shape[0], pad.left : pad.left + rgb.shape[1]] = rgb
    return padded


def common_step(files: Iterable[ImageFile]) -> int:
    """The distance between the timesteps of consecutive files of a video, 1 if it varies.

    With it, the decoder leaves out frames that nobody needs.
    """
    steps = set()
    last: dict[tuple[str, str], int] = {}
    for file in files:
        view = file.view
        before = last.get((view.sequence, view.serial))
        if before is not None:
            steps.add(view.timestep - before)
        last[view.sequence, view.serial] = view.timestep
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else 1


def encoded_files(
    selection: Selection, files: list[ImageFile], workers: int, *, alpha_inside: bool = False
) -> Generator[tuple[ImageFile, dict[str, bytes]], None, None]:
    """Yields each of `files` with the contents of its files, as they are ready: not in order.

    One video is decoded at a time, by several threads; `workers` encode. Memory holds twice as many frames as
    there are workers. `alpha_inside` makes images RGBA: white background, straight alpha.
    """
    with_mattes = alpha_inside or any(file.mask for file in files)
    scale = selection.request.scale

    def encode(item: _Decoded, cancel: Cancel) -> dict[str, bytes]:
        cancel.check()
        camera = selection.cameras[item.of.view.serial]
        pixels = _pixels(item.frame, camera, scale, 3, _WHITE)
        matte = None if item.matte is None else _pixels(item.matte, camera, scale, 1, _BACKGROUND)
        if alpha_inside and matte is not None:
            pixels = np.concatenate([pixels, matte], axis=-1)
        contents = {item.of.image: encode_image(pixels, Path(item.of.image).suffix)}
        if item.of.mask is not None and matte is not None:
            contents[item.of.mask] = encode_image(matte, Path(item.of.mask).suffix)
        return contents

    decoded = _decode(selection.data, files, common_step(files), with_mattes)
    with closing(in_threads(encode, decoded, workers)) as results:
        for item, contents in results:
            yield item.of, contents

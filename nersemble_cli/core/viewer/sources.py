"""Where the viewer's frames come from: videos of the benchmark folder, and the user's renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.scenes.overlay import shrink
from nersemble_cli.core.submission.frame_order import has_number, order_frames
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import borrow_reader
from nersemble_cli.core.viewer.frames import Image


@dataclass(frozen=True)
class VideoFile:
    """A video on disk."""

    path: Path

    @property
    def n_frames(self) -> int:
        with borrow_reader(self.path) as reader:
            return reader.n_frames

    @property
    def key_frames(self) -> list[int]:
        with borrow_reader(self.path) as reader:
            return list(reader.index.keys)

    def read(self, number: int, longest: int) -> Image:
        with borrow_reader(self.path, number) as reader:
            frame = reader.frame(number)
            scale = longest / max(frame.width, frame.height)
            return to_rgb(frame, scale if scale < 1 else None)


def in_order(frames: Mapping[str, Path]) -> list[Path]:
    """Frames by name without suffix, in the order in which `pack` takes them; by name where it would refuse."""
    names = sorted(name for name in frames if has_number(name))
    with suppress(InvalidInputError):
        names = [names[i] for i in order_frames(names).order] if names else []
    return [frames[name] for name in names]


@dataclass(frozen=True)
class ImageFiles:
    """Frames that are one file each, in order."""

    paths: Sequence[Path]

    @property
    def n_frames(self) -> int:
        return len(self.paths)

    @property
    def key_frames(self) -> list[int]:
        return list(range(0, len(self.paths), max(1, len(self.paths) // 8)))

    def read(self, number: int, longest: int) -> Image:
        return shrink(read_rgb(self.paths[number]), longest)

"""Decoded frames kept as files, so that training can read them in any order without decoding videos again.

Every frame is one file: it is there or not, whole or not at all, and any process can read it, however the
processes were started. A cache in memory is the same on a file system in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import UsageError, unknown_name
from nersemble_cli.core.files import free_space, replace_file
from nersemble_cli.core.platform import folder_in_memory
from nersemble_cli.core.video.encode import encode_jpeg
from nersemble_cli.core.video.pixels import to_rgb

CacheFormat = Literal["raw", "jpeg"]
MEMORY = "memory"
_FORMATS = ("raw", "jpeg")
_SPARE = 1.05
_ABANDONED = 600  # seconds; a frame is written in less than one
_LOG = logging.getLogger(__name__)

Frame = NDArray[np.uint8]


class FrameCache:
    """A bounded store of (H, W, C) uint8 frames by number, C being 3 or 4 (RGB and alpha).

    `place` is a folder, or "memory". Frames of a `fingerprint` are kept apart from others in the same folder, and
    are found again by later runs; a cache in memory goes with the process that made it. At most `limit` bytes are
    kept: if the `n_frames` frames take more, an evenly spread part of them is. `sample` gives a frame to measure.
    "raw" keeps frames as they are, "jpeg" takes a tenth of the space and 40 dB.

    Logs a warning with the size it may reach. Raises `UsageError` if there is not that much space.
    """

    def __init__(
        self,
        place: str | Path,
        n_frames: int,
        fingerprint: Any,
        sample: Callable[[], Frame],
        format: CacheFormat = "raw",  # noqa: A002  # as torchvision and Pillow call it
        limit: int | None = None,
    ) -> None:
        if format not in _FORMATS:
            raise unknown_name("format of the cache", format, _FORMATS)
        frame = sample()
        self.format, self.shape, self.n_frames = format, frame.shape, n_frames
        folder = folder_in_memory("nersemble_cache_") if place == MEMORY else Path(place).expanduser()
        key = json.dumps([fingerprint, format], sort_keys=True, default=str)
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        wanted = n_frames * len(self._encode(frame))
        self.limit = wanted if limit is None else limit
        self._share = min(1.0, self.limit / max(1, wanted))
        self.num_bytes = round(wanted * self._share)
        if not self.folder.exists() and self.num_bytes * _SPARE > (free := free_space(folder)):
            raise UsageError(
                f"The cache takes about {self.num_bytes / 1e9:.2f} GB, but {folder} has {free / 1e9:.2f} GB free.",
                'Give another folder, cache_format="jpeg", a smaller scale, or a cache_limit in bytes.',
            )
        kept = "" if self._share == 1 else f", {self._share:.0%} of the frames"
        _LOG.warning("The cache may take %.2f GB in %s%s.", self.num_bytes / 1e9, self.folder, kept)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_parts()
        if place == MEMORY:
            weakref.finalize(self, _remove, folder, os.getpid())

    def _remove_parts(self) -> None:
        """Removes what workers that were killed left, but nothing that another run may be writing."""
        for part in self.folder.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    part.unlink()

    def keeps(self, number: int) -> bool:
        """Whether frame `number` is one of those that are kept."""
        return int((number + 1) * self._share) > int(number * self._share)

    def get(self, number: int, make: Callable[[], Frame]) -> Frame:
        """Frame `number`, made and kept if it is not there yet."""
        if not self.keeps(number):
            return make()
        path = self.folder / f"{number:07d}.{self.format}"
        try:
            return self._read(path)
        except (FileNotFoundError, ValueError, av.FFmpegError):
            frame = make()
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_bytes(self._encode(frame))
            replace_file(part, path)
        except OSError as error:  # a full disk costs time, not the training
            part.unlink(missing_ok=True)
            _LOG.warning("A frame cannot be cached: %s.", error)
        return frame

    def _encode(self, frame: Frame) -> bytes:
        if self.format == "raw":
            return frame.tobytes()
        # A JPEG has three channels, so alpha becomes a picture of its own behind the first one.
        pictures = [encode_jpeg(frame[..., :3])]
        if frame.shape[2] > 3:
            pictures.append(encode_jpeg(np.repeat(frame[..., 3:], 3, axis=2)))
        return len(pictures[0]).to_bytes(8, "little") + b"".join(pictures)

    def _read(self, path: Path) -> Frame:
        """The frame of a file. Raises ValueError or `av.FFmpegError` if it is damaged."""
        if self.format == "raw":
            return np.fromfile(path, np.uint8).reshape(self.shape)
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        parts = [_decode_jpeg(content[8 : 8 + size])]
        if self.shape[2] > 3:
            parts.append(_decode_jpeg(content[8 + size :])[..., :1])
        return np.concatenate(parts, axis=2).reshape(self.shape)


def _decode_jpeg(content: bytes) -> Frame:
    decoder = av.CodecContext.create("mjpeg", "r")
    packet = av.Packet(content)
    frames = decoder.decode(packet) or decoder.decode(None)
    if len(frames) != 1:
        raise ValueError("not one picture")
    (frame,) = frames
    assert isinstance(frame, av.VideoFrame)
    return to_rgb(frame)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker has a copy of the cache, but not its end
        shutil.rmtree(folder, ignore_errors=True)

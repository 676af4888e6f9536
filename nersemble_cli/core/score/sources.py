"""What is compared with what: a render and its ground truth, frame by frame."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.score.metrics import Image, Matte
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.members import CHUNK, UNREADABLE, Member
from nersemble_cli.core.submission.renders import VideoSource
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import open_video
from nersemble_cli.core.video.roundtrip import through_codec

Source = VideoSource | Member
"""PNGs in order, or a video."""


@dataclass(frozen=True)
class Job:
    """A video to be scored, called `path`.

    `alpha` is the alpha map, if it is wanted. `timesteps` are the frames that count, of `num_frames`; `width` and
    `height` are in pixels. `crf` is None if a render is not to be encoded first. `rendered` are the timesteps of
    the render's PNGs; None means all of them.
    """

    path: str
    render: Source
    truth: Source
    alpha: Source | None
    num_frames: int
    width: int
    height: int
    fps: Fraction
    timesteps: Sequence[int]
    crf: int | None
    findings: tuple[Finding, ...] = field(default=())
    rendered: tuple[int, ...] | None = None

    @property
    def codec(self) -> str:
        """How the render was encoded, in words."""
        if not isinstance(self.render, VideoSource):
            return "as it was encoded"
        return "lossless" if self.crf is None else f"h264, CRF {self.crf}"


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of both videos, (H, W, 3) uint8 RGB, and the (H, W) float32 alpha map from 0 to 1 if it is
    wanted."""

    timestep: int
    render: Image
    truth: Image
    matte: Matte | None


def digest(source: Source) -> str:
    """A hash of what is in a source's files, which does not depend on their names. Raises OSError, zipfile
    errors."""
    sha = hashlib.sha256()
    if isinstance(source, VideoSource):
        for path in source.frames:
            sha.update(hashlib.sha256(path.read_bytes()).digest())
        sha.update(repr(source.box).encode())
    else:
        with source.open() as file:
            while chunk := file.read(CHUNK):
                sha.update(chunk)
    return sha.hexdigest()


def _decoded(source: Member) -> Generator[av.VideoFrame, None, None]:
    try:
        with source.open() as file, open_video(file) as (container, stream):
            yield from container.decode(stream)
    except (av.FFmpegError, *UNREADABLE) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"{source.path} cannot be decoded: {reason}.") from error


def read(source: Source, wanted: Sequence[int], job: Job, crf: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """The wanted frames of a source, which are numbered upwards, as (H, W, 3) uint8 RGB.

    Frames are encoded first if there is a `crf` and they are PNGs; all of them up to the last wanted one, because
    an encoder makes each frame from others. Raises `InvalidInputError` if a frame is damaged or missing.
    """
    if not wanted:
        return
    if isinstance(source, VideoSource) and crf is None:
        for number in wanted:
            yield source.read(number)
        return
    if isinstance(source, VideoSource):
        frames = (source.read(number) for number in range(len(source.frames)))
        decoded = through_codec(frames, job.width, job.height, job.fps, crf or 0)
    else:
        decoded = _decoded(source)
    numbers = iter(wanted)
    number = next(numbers)
    with closing(decoded):
        for n, frame in enumerate(decoded):
            if n == number:
                yield to_rgb(frame)
                following = next(numbers, None)
                if following is None:
                    return
                number = following
    raise InvalidInputError(f"{job.path}: frame {number} is missing, although the header says that it is there.")


def frames(job: Job, timesteps: Sequence[int]) -> Generator[Frame, None, None]:
    """The frames of both videos at these timesteps, one after the other. Raises `InvalidInputError`."""
    assert all(a < b for a, b in pairwise(timesteps))
    places = timesteps if job.rendered is None else [job.rendered.index(t) for t in timesteps]
    render = read(job.render, places, job, job.crf)
    truth = read(job.truth, timesteps, job)
    mattes: Iterator[Matte | None] = (None for _ in timesteps)
    if job.alpha is not None:
        mattes = (image[..., 0].astype(np.float32) / 255 for image in read(job.alpha, timesteps, job))
    try:
        for timestep in timesteps:
            yield Frame(timestep, next(render), next(truth), next(mattes))
    finally:
        for source in (render, truth):
            if isinstance(source, Generator):
                source.close()

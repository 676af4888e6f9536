"""Encoding frames with ffmpeg, and opening videos to decode them with PyAV."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from nersemble_cli.core.errors import EncodingError, InvalidInputError
from nersemble_cli.core.threads import Cancel
from nersemble_cli.core.video.pixels import new_image

if TYPE_CHECKING:
    import av
    import av.container
    import av.video.plane
    import numpy as np
    from numpy.typing import NDArray

CRF = 14
UNSPECIFIED_COLORSPACE, UNSPECIFIED_RANGE = 2, 0  # as FFmpeg numbers them, after ITU-T H.273
_READ_BUFFER = 1 << 20
_LAST_WORDS = 600
_OF_THREAD = threading.local()


def _has_x264(executable: str) -> bool:
    try:
        listed = subprocess.run(
            [executable, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "libx264" in listed.stdout


@functools.lru_cache(maxsize=1)
def find_ffmpeg() -> str:
    """The ffmpeg to encode with: the user's own if it has libx264, else the one that imageio-ffmpeg brings."""
    own = shutil.which("ffmpeg")
    if own and _has_x264(own):
        return own
    import imageio_ffmpeg

    try:
        bundled: str = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        bundled = ""
    if bundled and _has_x264(bundled):
        return bundled
    found = f"{own} has no libx264" if own else "there is no ffmpeg on PATH"
    raise EncodingError(
        f"No ffmpeg that can encode h264: {found}, and imageio-ffmpeg brings none for this machine.",
        "Install ffmpeg with libx264, for example: apt-get install ffmpeg, or conda install ffmpeg",
    )


def encode_command(path: Path, width: int, height: int, fps: Fraction, crf: int = CRF) -> list[str]:
    """The ffmpeg call that turns raw RGB frames on its standard input into a video as the benchmark wants it.

    Everything that is not set here is left to ffmpeg's defaults on purpose, colour tags among them: readers
    then assume BT.601 in limited range, which is what ffmpeg's conversion from RGB makes.
    """
    import ffmpeg

    rate = str(fps.numerator) if fps.denominator == 1 else str(float(fps))
    source = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=rate)
    output = source.output(str(path), an=None, vcodec="libx264", pix_fmt="yuv420p", crf=crf)
    command: list[str] = output.global_args("-v", "error").overwrite_output().compile(cmd=find_ffmpeg())
    return command


def encode_video(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    width: int,
    height: int,
    fps: Fraction,
    crf: int = CRF,
    cancel: Cancel | None = None,
) -> int:
    """Encodes (height, width, 3) uint8 RGB frames to `path`, one at a time; returns how many there were.

    Raises `InvalidInputError` for a frame of another shape or type and `EncodingError` if ffmpeg fails. What
    was written until then is of no use.
    """
    cancel = cancel or Cancel()
    n = 0
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            encode_command(path, width, height, fps, crf),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us; we end ffmpeg ourselves
        )
        try:
            assert process.stdin is not None
            try:
                for frame in frames:
                    cancel.check()
                    _check_frame(frame, n, width, height)
                    _write_all(process.stdin, frame)
                    n += 1
                process.stdin.close()
                if n == 0:
                    raise InvalidInputError("There are no frames to encode.")
            except BrokenPipeError:
                pass  # ffmpeg has ended too early; its exit status and last words tell why
            while process.poll() is None:
                cancel.check()
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
            process.wait()
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
        if process.returncode != 0:
            stderr.seek(0)
            raise _encoding_error(process.returncode, n, stderr.read().decode(errors="replace"))
    return n


def _check_frame(frame: NDArray[np.uint8], index: int, width: int, height: int) -> None:
    import numpy as np

    if not isinstance(frame, np.ndarray) or frame.shape != (height, width, 3) or frame.dtype != np.uint8:
        found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        hint = "Frames are RGB with values 0 to 255, height first."
        if isinstance(frame, np.ndarray) and frame.shape[:2] == (width, height):
            hint = "Height and width are swapped: frame.swapaxes(0, 1)."
        elif isinstance(frame, np.ndarray) and frame.dtype.kind == "f":
            hint = "Convert: (frame * 255).round().clip(0, 255).astype('uint8')."
        raise InvalidInputError(f"Frame {index} is {found}, expected uint8 ({height}, {width}, 3).", hint)


def _write_all(pipe: object, frame: NDArray[np.uint8]) -> None:
    """Writes a whole frame to an unbuffered pipe, which may take part of it at a time."""
    import numpy as np

    rest = np.ascontiguousarray(frame).data.cast("B")
    while rest:
        rest = rest[pipe.write(rest) :]  # type: ignore[attr-defined]


def _encoding_error(returncode: int, n: int, stderr: str) -> EncodingError:
    said = stderr.strip()[-_LAST_WORDS:] or "without a word"
    if returncode < 0:
        message = f"ffmpeg was killed by signal {-returncode} after {n} frames: {said}."
        return EncodingError(message, "Is there enough memory? Fewer workers (-j 1) need less.")
    if "No space left" in said:
        return EncodingError(f"The disk is full: {said}", "Free some space, or write to another disk.")
    return EncodingError(f"ffmpeg ended with status {returncode} after {n} frames: {said}")


def to_rgb(frame: av.VideoFrame, scale: float | None = None, is_one_of_many: bool = False) -> NDArray[np.uint8]:
    """A decoded frame as (H, W, 3) uint8 RGB; `scale` 0.5 halves height and width. See `new_image`.

    At its own size it has the same values as `ffmpeg -pix_fmt rgb24` gives.
    """
    is_plain = frame.colorspace == UNSPECIFIED_COLORSPACE and frame.color_range == UNSPECIFIED_RANGE
    rgb = _through_filter(frame) if scale is None and is_plain else _reformat(frame, scale)
    rows = plane_rows(rgb.planes[0])[: rgb.height, : 3 * rgb.width]
    image = new_image((rgb.height, rgb.width, 3), "u1", is_one_of_many)
    image[:] = rows.reshape(image.shape)  # the caller's own, without padding
    return image


def _through_filter(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame in RGB, converted by a filter that reuses its memory: four times as fast as `_reformat`, most of
    whose time goes into memory that was never touched before. Only for frames without colour tags."""
    import av
    import av.filter

    key = (frame.width, frame.height, frame.format.name)
    if getattr(_OF_THREAD, "filter_key", None) != key:
        graph = av.filter.Graph()
        graph.threads = 1  # more would not survive a fork
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1)
        )
        to_rgb24, sink = graph.add("format", "rgb24"), graph.add("buffersink")
        source.link_to(to_rgb24)
        to_rgb24.link_to(sink)
        graph.configure()
        _OF_THREAD.filter, _OF_THREAD.filter_key = graph, key
    _OF_THREAD.filter.push(frame)
    return cast("av.VideoFrame", _OF_THREAD.filter.pull())


def _reformat(frame: av.VideoFrame, scale: float | None) -> av.VideoFrame:
    """The frame in RGB and scaled, whatever its colour tags."""
    from av.video.reformatter import VideoReformatter

    if not hasattr(_OF_THREAD, "reformatter"):
        _OF_THREAD.reformatter = VideoReformatter()  # keeps FFmpeg's tables for the next frame
    height, width, interpolation = frame.height, frame.width, "BILINEAR"
    if scale is not None:
        height, width = (max(1, round(size * scale)) for size in (height, width))
        interpolation = "AREA" if scale < 1 else "BICUBIC"
    convert = functools.partial(
        _OF_THREAD.reformatter.reformat, frame, width, height, "rgb24", interpolation=interpolation
    )
    try:
        # Many frames are converted in parallel, so more threads for each would only be in the way.
        rgb = convert(threads=1)
    except TypeError:  # older releases of PyAV have one thread anyway
        rgb = convert()
    return cast("av.VideoFrame", rgb)


def plane_rows(plane: av.video.plane.VideoPlane, dtype: str = "u1") -> NDArray[Any]:
    """The memory of a decoded plane as (rows, samples) without a copy; rows end with padding."""
    import numpy as np

    samples = np.frombuffer(cast(bytes, plane), dtype)  # PyAV does not declare that planes are buffers
    return samples.reshape(-1, plane.line_size // samples.itemsize)


@contextmanager
def open_video(
    source: str | BinaryIO, threads: int = 0
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video and its first video stream, ready to decode with `threads` threads (0: one per processor).

    Damaged data raises `av.FFmpegError` when it is decoded, instead of being patched up.
    """
    import av

    name = source if isinstance(source, str) else None
    with av.open(source, "r", buffer_size=_READ_BUFFER) as container:
        if not container.streams.video:
            raise InvalidInputError(f"{name or 'The file'} has no video stream.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InvalidInputError(f"{name or 'The file'} is encoded in a way that FFmpeg does not know.")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream

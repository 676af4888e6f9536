"""Encoding frames with ffmpeg, and opening videos to decode them with PyAV."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import Cancelled, EncodingError, InvalidInputError
from nersemble_cli.core.platform import kill_group, without_ctrl_c
from nersemble_cli.core.threads import Cancel
from nersemble_cli.core.video import file_url
from nersemble_cli.core.video.pixels import convert

CRF = 14
STALLED_AFTER = 120  # seconds without any progress
_LAST_WORDS = 600
_JPEG_QUANTIZER = "2"  # the finest of FFmpeg's encoder


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
    # Not `ffmpeg` itself: pyfvvdp asks for another package of that name, whose `__init__` hides ours.
    from ffmpeg import _ffmpeg, _run  # noqa: F401

    rate = str(fps.numerator) if fps.denominator == 1 else str(float(fps))
    source = _ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=rate)
    output = source.output(file_url(path), an=None, vcodec="libx264", pix_fmt="yuv420p", crf=crf)
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
            **without_ctrl_c(),
        )
        watchdog = _Watchdog(process, path, cancel)
        try:
            assert process.stdin is not None
            try:
                for frame in frames:
                    cancel.check()
                    _check_frame(frame, n, width, height)
                    with watchdog.waiting():
                        _write_all(process.stdin, frame)
                    n += 1
                process.stdin.close()
                if n == 0:
                    raise InvalidInputError("There are no frames to encode.")
            except BrokenPipeError:
                pass  # ffmpeg has ended too early; its exit status and last words tell why
            with watchdog.waiting():
                process.wait()
        finally:
            watchdog.stop()
            kill_group(process)
            process.wait()
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
        cancel.check()
        if watchdog.has_stalled:
            message = f"ffmpeg made no progress for {STALLED_AFTER} seconds after {n} frames, so it was ended."
            raise EncodingError(message, "Try again with fewer workers (-j 1), or with another ffmpeg on PATH.")
        if process.returncode != 0:
            stderr.seek(0)
            raise _encoding_error(process.returncode, n, stderr.read().decode(errors="replace"))
    return n


class _Watchdog:
    """Ends ffmpeg when the work is cancelled, or when we wait for it and neither its input nor its output moves.

    A write to a pipe that nobody reads cannot be given up otherwise.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path, cancel: Cancel) -> None:
        self._process, self._output, self._cancel = process, output, cancel
        self._since: float | None = None
        self._over = threading.Event()
        self.has_stalled = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While the block runs, ffmpeg must make progress."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        size = -1
        moved = time.monotonic()
        while not self._over.wait(0.2):
            try:
                self._cancel.check()
            except Cancelled:
                kill_group(self._process)
                return
            since = self._since
            written = self._output.stat().st_size if self._output.exists() else 0
            if written != size:
                size, moved = written, time.monotonic()
            if since is not None and time.monotonic() - max(since, moved) > STALLED_AFTER:
                self.has_stalled = True
                kill_group(self._process)
                return


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file: every pixel with its own colour (4:4:4), 40 dB and more.

    Colours are BT.601 in full range, as JFIF defines them.
    """
    frame = convert(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), "yuvj444p")
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj444p"
    encoder.time_base = Fraction(1)
    encoder.options = {"qmin": _JPEG_QUANTIZER, "qmax": _JPEG_QUANTIZER}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _check_frame(frame: NDArray[np.uint8], index: int, width: int, height: int) -> None:
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

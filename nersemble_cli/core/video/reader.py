"""Frames of videos by number: readers that keep their decoder and position, and a pool of them.

The next frame of a video costs one decode, any other the way from its key frame; of the frames on that way,
those that no other frame refers to are skipped. Readers are borrowed from a pool, so that each has one user
at a time whatever the threads do, and a forked process opens its own.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError, NersembleError, UsageError
from nersemble_cli.core.platform import run_in_forked_children
from nersemble_cli.core.video import file_url
from nersemble_cli.core.video.pixels import forget_recycled, to_rgb

# Threads decode one frame each and often wait for each other, so more of them than processors still help a
# little. Each has frames of its own in memory, in each of the many decoders that are open.
DECODER_THREADS = 6
# All 16 cameras with their alpha maps.
MAX_IDLE = 32
# Decoding this many frames more is cheaper than a seek, which empties the decoder.
_SEEK_PAYS = 12
# So many frames, at most, are decoded before one that is shown earlier (h264, annex A).
_LARGEST_REORDERING = 16
_READ_BUFFER = 1 << 20
# Whatever PyAV raises for damaged data: texts that are not text, numbers that are too large, and its own errors.
DAMAGE = (av.FFmpegError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError, EOFError)
# Tags may be text in any encoding. PyAV 19 takes them as they come.
_LENIENT: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


@dataclass(frozen=True)
class VideoIndex:
    """Where the frames of a video are, in its stream's time base.

    `times` has the presentation time of each frame, `keys` the numbers of the frames at which decoding can
    begin, and `key_times` the times to seek to for them.
    """

    times: Sequence[int]
    keys: Sequence[int]
    key_times: Sequence[int]

    def number(self, time: int) -> int:
        """The number of the frame shown at `time`."""
        return bisect_left(self.times, time)

    def key_before(self, number: int) -> int:
        """The position in `keys` of the last key frame that is not after frame `number`."""
        return max(0, bisect_right(self.keys, number) - 1)


class _Timed(NamedTuple):
    """What an index needs to know of a packet, in its stream's time base."""

    pts: int
    dts: int | None
    is_keyframe: bool


def _index_of(container: av.container.InputContainer, stream: av.VideoStream) -> VideoIndex:
    """The index of a video, from its header if that suffices, else from all its packets."""
    first = list(islice(_packets(container, stream), _LARGEST_REORDERING + 1))
    if index := _index_from_header(container, stream, first):
        return index
    container.seek(-(1 << 62), stream=stream)
    places = [(p.pts, p.dts, p.is_keyframe) for p in _packets(container, stream)]
    times = sorted(pts for pts, *_ in places)
    keys = sorted((bisect_left(times, pts), dts) for pts, dts, is_key in places if is_key and dts is not None)
    return VideoIndex(times, [number for number, _ in keys], [time for _, time in keys])


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[_Timed]:
    """The packets of frames that are shown, without decoding them."""
    for packet in container.demux(stream):
        if packet.pts is not None and not packet.is_discard:
            yield _Timed(packet.pts, packet.dts, packet.is_keyframe)


def _index_from_header(
    container: av.container.InputContainer, stream: av.VideoStream, first: Sequence[_Timed]
) -> VideoIndex | None:
    """The index if frames are evenly spaced; None if they are not, or if the header does not tell.

    The header lists decoding times. Those of a video that was cut without encoding it again may be even while its
    last frames, in the order of presentation, are missing: hence the look at the packets at the end.
    """
    entries = [(e.timestamp, e.is_keyframe, e.is_discard) for e in getattr(stream, "index_entries", ())]
    gaps = {later[0] - earlier[0] for earlier, later in pairwise(entries)} or {1}
    is_complete = len(entries) == stream.frames > 0  # some containers list key frames only
    if not first or not is_complete or len(gaps) > 1 or any(discard for *_, discard in entries):
        return None
    n_last = min(len(entries), _LARGEST_REORDERING + 1)
    container.seek(entries[-n_last][0], stream=stream, any_frame=True)
    last = list(_packets(container, stream))
    (gap,) = gaps
    start = min(packet.pts for packet in first)
    times = range(start, start + gap * len(entries), gap)
    is_cut_short = (
        len(last) < n_last
    )  # the file ends early: the frames that are there have their numbers all the same
    if not is_cut_short and max(packet.pts for packet in last) != times[-1]:
        return None
    if any(packet.pts not in times for packet in (*first, *last)):
        return None
    # In mp4, a seek to the decoding time of a key frame ends at the key frame before it: FFmpeg compares
    # presentation times there.
    keys = [n for n, (_, is_key, _) in enumerate(entries) if is_key]
    return VideoIndex(times, keys, [times[n] for n in keys])


_DECODERS: weakref.WeakSet[_Decoder] = weakref.WeakSet()


class _Decoder:
    """An open video: where it is, and what was asked of it."""

    def __init__(self, path: Path) -> None:
        self._resources = ExitStack()
        with ExitStack() as on_failure:
            on_failure.callback(self._resources.close)
            self._container, self._stream = self._resources.enter_context(open_video(path, DECODER_THREADS))
            self.index = _index_of(self._container, self._stream)
            if not self.index.times or not self.index.keys:
                raise InvalidInputError(f"{path} has no frames.", DAMAGED_HINT)
            on_failure.pop_all()
        self._frames: Generator[tuple[int, av.VideoFrame], None, None]
        self._next = 0  # no frame before this one will come
        # Frames wanted from the packets to come: every `step`-th from `start` on. Others may be missing.
        self._start, self._step = 0, 1
        self._last: tuple[int, av.VideoFrame] | None = None
        self._seek(0)
        self.is_abandoned = False
        _DECODERS.add(self)

    def close(self) -> None:
        self._frames.close()
        self._last = None
        self._resources.close()

    def abandon(self) -> None:
        """In a forked process: leaks the parent's decoder on purpose, whether anybody still uses it or not.

        Its threads exist in the parent only, and freeing it here would wait for them for ever.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        self.is_abandoned = True

    def distance(self, number: int) -> int:
        """How many frames are to be decoded for frame `number`, roughly."""
        return number - self._next if self._goes_on(number, 1) else number + _SEEK_PAYS

    def frame(self, number: int, step: int) -> av.VideoFrame | None:
        """Frame `number`; None if the file has no data for it."""
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if not self._goes_on(number, step):
            self._seek(number)
        self._start, self._step = number, step
        for found, frame in self._frames:
            self._next = found + 1
            if found == number:
                self._last = (found, frame)
                return frame
            if found > number:
                break
        return None

    def _goes_on(self, number: int, step: int) -> bool:
        """Whether `number` is best reached from the current position."""
        return (
            number >= self._next
            and (number - self._start) % self._step == 0
            and step % self._step == 0
            and self.index.keys[self.index.key_before(number)] <= self._next + _SEEK_PAYS
        )

    def _seek(self, number: int) -> None:
        key = self.index.key_before(number)
        self._container.seek(self.index.key_times[key], stream=self._stream)
        self._frames = self._decode()
        self._next = self.index.keys[key]

    def _decode(self) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """The frames from the current position on with their numbers, those not wanted left out if possible."""
        for packet in self._container.demux(self._stream):
            if packet.pts is not None:
                number = self.index.number(packet.pts)
                wanted = number >= self._start and (number - self._start) % self._step == 0
                self._stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
            for frame in packet.decode():
                number = len(self.index.times) if frame.pts is None else self.index.number(frame.pts)
                if number < len(self.index.times) and self.index.times[number] == frame.pts:
                    yield number, frame


class VideoReader:
    """A video that knows where it is, opened when it is first needed. One user at a time; see `borrow_reader`.

    Raises `InvalidInputError` if the file is not a video or is damaged. After an error it begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder: _Decoder | None = None

    @property
    def is_open(self) -> bool:
        return self._decoder is not None and not self._decoder.is_abandoned

    def _open(self) -> _Decoder:
        if self._decoder is None or self._decoder.is_abandoned:
            with self._explaining("is not a readable video"):
                self._decoder = _Decoder(self.path)
        return self._decoder

    @contextmanager
    def _explaining(self, problem: str) -> Iterator[None]:
        """Turns whatever PyAV raises for damaged data into an `InvalidInputError`, and closes the decoder."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, DAMAGE) and not isinstance(error, NersembleError):
                raise InvalidInputError(f"{self.path} {problem}: {reason(error)}.", DAMAGED_HINT) from error
            raise

    def close(self) -> None:
        """Lets go of the file and the decoder; they are opened again when they are needed."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None and not decoder.is_abandoned:
            decoder.close()

    @property
    def index(self) -> VideoIndex:
        return self._open().index

    @property
    def n_frames(self) -> int:
        """The number of frames, from the file's header."""
        return len(self.index.times)

    def distance(self, number: int) -> int:
        """How many frames are to be decoded for frame `number`; a guess for choosing between readers."""
        if self._decoder is None or self._decoder.is_abandoned:
            return number + _SEEK_PAYS
        return self._decoder.distance(number)

    def frame(self, number: int, step: int = 1) -> av.VideoFrame:
        """Frame `number`, counted from 0. With `step`, it says that only every `step`-th after it is wanted.

        Raises `UsageError` for a number beyond the video's end.
        """
        n_frames = self.n_frames
        if not 0 <= number < n_frames:
            raise UsageError(f"{self.path} has no frame {number}.", f"It has {n_frames}: 0 to {n_frames - 1}.")
        with self._explaining(f"cannot be decoded at frame {number}"):
            frame = self._open().frame(number, step)
        if frame is None:
            self.close()
            raise InvalidInputError(
                f"{self.path} has no data for frame {number}, although its header lists {n_frames} frames.",
                DAMAGED_HINT,
            )
        return frame

    def rgb(self, number: int) -> NDArray[np.uint8]:
        """Frame `number` as (H, W, 3) uint8 RGB, see `to_rgb`."""
        return to_rgb(self.frame(number))


@dataclass
class _Pool:
    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: list[tuple[tuple[str, int, int], VideoReader]] = field(default_factory=list)  # last used last


_POOL = _Pool()


def _after_fork() -> None:
    _POOL.lock = threading.Lock()  # a thread that does not exist here may have held it
    for decoder in _DECODERS:
        decoder.abandon()
    # A decoder that is garbage by now would wait for its threads, which do not exist here: never collect it.
    gc.freeze()


run_in_forked_children(_after_fork)


@contextmanager
def borrow_reader(path: Path, number: int = 0) -> Iterator[VideoReader]:
    """A reader of the video at `path`, if possible one that is just before frame `number`; the caller's alone.

    It goes back to the process's pool afterwards, of which the least recently used beyond `MAX_IDLE` are
    closed. A file that has changed on disk is opened anew. Raises FileNotFoundError if there is none.
    """
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size)
    with _POOL.lock:
        places = [i for i, (other, _) in enumerate(_POOL.idle) if other == key]
        best = min(places, key=lambda i: _POOL.idle[i][1].distance(number), default=None)
        reader = VideoReader(path) if best is None else _POOL.idle.pop(best)[1]
    try:
        yield reader
    finally:
        with _POOL.lock:
            _POOL.idle.append((key, reader))
            surplus = [reader for _, reader in _POOL.idle[:-MAX_IDLE]]
            del _POOL.idle[:-MAX_IDLE]
        for reader in surplus:
            reader.close()


def close_readers() -> None:
    """Closes all readers that nobody uses, for the memory and the files that they hold, and forgets other memory
    that was kept for the next images."""
    forget_recycled()
    with _POOL.lock:
        idle, _POOL.idle = _POOL.idle, []
    for _, reader in idle:
        reader.close()


def reason(error: BaseException) -> str:
    """Why a video could not be read, for the end of a sentence."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


@contextmanager
def open_video(
    source: Path | str | BinaryIO, threads: int = 0
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video (a path or a seekable file) and its first video stream, ready to decode with `threads` threads
    (0: one per processor).

    Raises `InvalidInputError` if it has no video that FFmpeg knows, and any of `DAMAGE` if it is damaged; damaged
    frames raise when they are decoded, instead of being patched up.
    """
    name = source if isinstance(source, (str, Path)) else None
    # Any file may turn out to be a playlist, which must not make FFmpeg reach for other hosts.
    with av.open(
        file_url(name) if name else source, "r",
        buffer_size=_READ_BUFFER, options={"protocol_whitelist": "file"}, **_LENIENT,
    ) as container:  # fmt: skip
        if not container.streams.video:
            raise InvalidInputError(f"{name or 'The file'} has no video stream.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InvalidInputError(f"{name or 'The file'} has a codec that FFmpeg does not know.")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream

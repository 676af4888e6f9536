"""Frames of videos by number: readers that keep their decoder and position, and a pool of them.

The next frame of a video costs one decode, any other the way from its key frame; of the frames on that way,
those that no other frame refers to are skipped. Readers are borrowed from a pool, so that each has one user
at a time whatever the threads do, and a forked process opens its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import BinaryIO

import av
import av.container
import av.video.plane
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError, UsageError
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
_DAMAGED_HINT = "It is damaged or incomplete: delete it and run the same `nersemble download` again."


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


def _index_of(container: av.container.InputContainer, stream: av.VideoStream) -> VideoIndex:
    """The index of a video, from its header if the frames are evenly spaced, else from all its packets."""
    packets = (p for p in container.demux(stream) if p.pts is not None and not p.is_discard)
    first = list(islice(packets, _LARGEST_REORDERING + 1))
    entries = [(e.timestamp, e.is_keyframe, e.is_discard) for e in getattr(stream, "index_entries", ())]
    gaps = {later[0] - earlier[0] for earlier, later in pairwise(entries)} or {1}
    is_complete = len(entries) == stream.frames > 0  # some containers list key frames only
    if is_complete and len(gaps) == 1 and not any(discard for *_, discard in entries):
        (gap,) = gaps
        start = min(p.pts for p in first if p.pts is not None)
        times: Sequence[int] = range(start, start + gap * len(entries), gap)
        # In mp4, a seek to the decoding time of a key frame ends at the key frame before it: FFmpeg compares
        # presentation times there.
        keys = [(n, times[n]) for n, (_, is_key, _) in enumerate(entries) if is_key]
    else:
        places = [(p.pts, p.dts, p.is_keyframe) for p in chain(first, packets)]
        times = sorted(pts for pts, *_ in places if pts is not None)
        keys = sorted(
            (bisect_left(times, pts), dts)
            for pts, dts, is_key in places
            if is_key and pts is not None and dts is not None
        )
    return VideoIndex(times, [number for number, _ in keys], [time for _, time in keys])


class VideoReader:
    """An open video that knows where it is. One user at a time; see `borrow_reader`.

    Raises `InvalidInputError` if the file is no video or is damaged. After an error it begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._resources: ExitStack | None = None
        _READERS.add(self)

    def _open(self) -> None:
        resources = ExitStack()
        try:
            container, stream = resources.enter_context(open_video(str(self.path), DECODER_THREADS))
            index = _index_of(container, stream)
            if not index.times or not index.keys:
                raise InvalidInputError(f"{self.path} has no frames.", _DAMAGED_HINT)
        except av.FFmpegError as error:
            resources.close()
            raise InvalidInputError(
                f"{self.path} is no readable video: {error.strerror}.", _DAMAGED_HINT
            ) from error
        except BaseException:
            resources.close()
            raise
        self._resources, self._container, self._stream, self._index = resources, container, stream, index
        self._seek(0)
        self._last: tuple[int, av.VideoFrame] | None = None
        # Frames wanted from the packets to come: every `step`-th from `start` on. Others may be missing.
        self._start, self._step = 0, 1

    def close(self) -> None:
        """Lets go of the file and the decoder; they are opened again when they are needed."""
        if self._resources is not None:
            self._decoded.close()
            self._last = None
            resources, self._resources = self._resources, None
            del self._container, self._stream, self._decoded
            resources.close()

    def abandon(self) -> None:
        """In a forked process: forgets the parent's decoder without touching it.

        Its threads exist in the parent only, and freeing it here would wait for them for ever; so it is
        leaked on purpose.
        """
        if self._resources is not None:
            for leaked in (
                self._resources, self._decoded, self._container, self._stream, self._last
            ):  # fmt: skip
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(leaked))
            self._resources = None

    @property
    def index(self) -> VideoIndex:
        if self._resources is None:
            self._open()
        return self._index

    @property
    def n_frames(self) -> int:
        """The number of frames, from the file's header."""
        return len(self.index.times)

    def distance(self, number: int) -> int:
        """How many frames are to be decoded for frame `number`; a guess for choosing between readers."""
        if self._resources is None or not self._goes_on(number, 1):
            return number + _SEEK_PAYS
        return number - self._next

    def _decode(self) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """The frames from the current position on with their numbers, those not wanted left out if possible."""
        for packet in self._container.demux(self._stream):
            if packet.pts is not None:
                number = self._index.number(packet.pts)
                wanted = number >= self._start and (number - self._start) % self._step == 0
                self._stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
            for frame in packet.decode():
                number = len(self._index.times) if frame.pts is None else self._index.number(frame.pts)
                if number < len(self._index.times) and self._index.times[number] == frame.pts:
                    yield number, frame

    def _goes_on(self, number: int, step: int) -> bool:
        """Whether `number` is best reached from the current position."""
        return (
            number >= self._next
            and (number - self._start) % self._step == 0
            and step % self._step == 0
            and self._index.keys[self._index.key_before(number)] <= self._next + _SEEK_PAYS
        )

    def frame(self, number: int, step: int = 1) -> av.VideoFrame:
        """Frame `number`, counted from 0. With `step`, it says that only every `step`-th after it is wanted.

        Raises `UsageError` for a number beyond the video's end.
        """
        if not 0 <= number < self.n_frames:
            raise UsageError(
                f"{self.path} has no frame {number}.", f"It has {self.n_frames}: 0 to {self.n_frames - 1}."
            )
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        try:
            if not self._goes_on(number, step):
                self._seek(number)
            self._start, self._step = number, step
            for found, frame in self._decoded:
                self._next = found + 1
                if found == number:
                    self._last = (found, frame)
                    return frame
                if found > number:
                    break
        except av.FFmpegError as error:
            self.close()
            raise InvalidInputError(
                f"{self.path} cannot be decoded at frame {number}: {error.strerror}.", _DAMAGED_HINT
            ) from error
        n_frames = self.n_frames
        self.close()
        raise InvalidInputError(
            f"{self.path} has no data for frame {number}, although it says that it has {n_frames}.", _DAMAGED_HINT
        )

    def _seek(self, number: int) -> None:
        key = self._index.key_before(number)
        self._container.seek(self._index.key_times[key], stream=self._stream)
        self._decoded = self._decode()
        self._next = self._index.keys[key]  # no frame before this one will come

    def rgb(self, number: int) -> NDArray[np.uint8]:
        """Frame `number` as (H, W, 3) uint8 RGB, see `to_rgb`."""
        return to_rgb(self.frame(number))


@dataclass
class _Pool:
    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: list[tuple[tuple[str, int, int], VideoReader]] = field(default_factory=list)  # last used last


_POOL = _Pool()
_READERS: weakref.WeakSet[VideoReader] = weakref.WeakSet()


def _after_fork() -> None:
    _POOL.lock = threading.Lock()  # a thread that does not exist here may have held it
    for reader in _READERS:
        reader.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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


_READ_BUFFER = 1 << 20


@contextmanager
def open_video(
    source: str | BinaryIO, threads: int = 0
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video and its first video stream, ready to decode with `threads` threads (0: one per processor).

    Damaged data raises `av.FFmpegError` when it is decoded, instead of being patched up.
    """
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

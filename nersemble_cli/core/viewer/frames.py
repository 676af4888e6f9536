"""Small frames of many videos at once, decoded in the background around the timestep that is looked at."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.platform import cpu_count

Image = NDArray[np.uint8]

# Frames of one video that are decoded before the next video gets its turn: all of them move on together.
_TURN = 6
_QUALITY = 82
CAPACITY = 400 << 20  # bytes of JPEG


class Source(Protocol):
    """The frames of one camera."""

    @property
    def n_frames(self) -> int:
        """How many frames there are. Raises `NersembleError` if they cannot be read."""

    @property
    def key_frames(self) -> list[int]:
        """The frames that are quick to reach, in order."""

    def read(self, number: int, longest: int) -> Image:
        """Frame `number` as (H, W, 3) uint8 RGB, its longer side at most `longest` pixels."""


@dataclass(eq=False)
class _Track:
    """What is known of one video. `frames` holds JPEGs by number, `numbers` the same numbers in order."""

    source: Source
    frames: dict[int, bytes] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    n_frames: int = 0
    todo: list[int] = field(default_factory=list)  # key frames that are not decoded yet
    is_open: bool = False
    is_busy: bool = False
    error: str = ""

    def next_missing(self, start: int) -> int | None:
        """The first frame from `start` on, or from the beginning, that is not decoded yet."""
        if len(self.numbers) == self.n_frames:
            return None
        for begin in (start, 0):
            number = begin
            position = bisect_left(self.numbers, number)
            while position < len(self.numbers) and self.numbers[position] == number:
                number, position = number + 1, position + 1
            if number < self.n_frames:
                return number
        return None


class FrameCache:
    """JPEG frames of several videos, kept in memory and filled by threads that follow the playhead.

    `get` never waits: it gives the wanted frame, else the nearest one that is there. The key frames come first, so
    that a jump shows something at once. Beyond `capacity` bytes, frames far from the playhead go.
    `on_error` is called once for each video that cannot be read; the others go on.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        longest: int,
        on_error: Callable[[str, str], None] = lambda name, reason: None,
        capacity: int = CAPACITY,
        workers: int | None = None,
    ) -> None:
        self._tracks = {name: _Track(source) for name, source in sources.items()}
        self._longest, self._capacity, self._on_error = longest, capacity, on_error
        self._n_bytes = 0
        self._playhead = 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name="viewer frames", daemon=True)
            for _ in range(min(workers or cpu_count(), len(self._tracks)))
        ]
        for thread in self._threads:
            thread.start()

    def seek(self, timestep: int) -> None:
        """Says which timestep is looked at."""
        with self._changed:
            self._playhead = timestep
            self._changed.notify_all()

    def get(self, name: str, timestep: int) -> tuple[int, Image] | None:
        """The decoded frame nearest to `timestep`: its number and (H, W, 3) uint8 RGB; None if there is none."""
        with self._changed:
            track = self._tracks.get(name)
            if track is None or not track.numbers:
                return None
            place = bisect_left(track.numbers, timestep)
            around = track.numbers[max(0, place - 1) : place + 1]
            number = min(around, key=lambda n: abs(n - timestep))
            data = track.frames[number]
        return number, decode_jpeg(data)

    def n_ready(self, timestep: int) -> int:
        """How many videos have exactly this frame."""
        with self._changed:
            return sum(timestep in track.frames for track in self._tracks.values())

    @property
    def n_bytes(self) -> int:
        """The size of the JPEGs that are kept; never above `capacity`."""
        with self._changed:
            return self._n_bytes

    @property
    def n_playing(self) -> int:
        """How many videos can be read, as far as is known."""
        with self._changed:
            return sum(not track.error for track in self._tracks.values())

    def wait(self, timestep: int, seconds: float) -> bool:
        """Waits until every readable video has this frame, at most so long; whether they do."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or all(timestep in t.frames or t.error for t in self._tracks.values()),
                seconds,
            )

    def close(self) -> None:
        """Ends the threads, after the frame that each is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _take(self) -> tuple[str, _Track, int] | None:
        """The video and the frame that are most wanted; waits while there is nothing to do. None at the end."""
        with self._changed:
            while not self._closed:
                best: tuple[tuple[int, int], str, _Track, int] | None = None
                for name, track in self._tracks.items():
                    if track.is_busy or track.error:
                        continue
                    if not track.is_open:
                        number: int | None = 0
                        urgency = (-1, 0)
                    elif track.todo:
                        number = min(track.todo, key=lambda key: abs(key - self._playhead))
                        urgency = (0, abs(number - self._playhead))
                    else:
                        number = track.next_missing(self._playhead)
                        if number is None:
                            continue
                        ahead = number - self._playhead
                        urgency = (1, ahead if ahead >= 0 else ahead + track.n_frames)
                        if self._n_bytes >= self._capacity and urgency[1] > track.n_frames // 4:
                            continue  # memory is full, and what is near is there
                    if best is None or urgency < best[0]:
                        best = (urgency, name, track, number or 0)
                if best is not None:
                    best[2].is_busy = True
                    return best[1:]
                self._changed.wait(1.0)
        return None

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            name, track, number = taken
            reason = ""
            try:
                self._advance(track, number)
            except (NersembleError, OSError) as error:
                reason = error.message if isinstance(error, NersembleError) else str(error)
            with self._changed:
                track.is_busy = False
                track.error = reason
                self._changed.notify_all()
            if reason:
                self._on_error(name, reason)

    def _advance(self, track: _Track, number: int) -> None:
        """Opens a video, or decodes one key frame or a few frames in a row."""
        if not track.is_open:
            n_frames, keys = track.source.n_frames, track.source.key_frames
            with self._changed:
                track.n_frames, track.todo, track.is_open = n_frames, list(keys), True
            return
        is_key = number in track.todo
        for wanted in range(number, number + 1 if is_key else min(number + _TURN, track.n_frames)):
            if self._closed:
                return
            data = encode_jpeg(track.source.read(wanted, self._longest))
            with self._changed:
                if wanted not in track.frames:
                    track.frames[wanted] = data
                    insort(track.numbers, wanted)
                    self._n_bytes += len(data)
                if wanted in track.todo:
                    track.todo.remove(wanted)
                self._make_room()
                self._changed.notify_all()

    def _make_room(self) -> None:
        """Drops frames that are farthest from the playhead. Called with the lock held."""
        while self._n_bytes > self._capacity:
            track = max(self._tracks.values(), key=lambda t: len(t.numbers))
            first, last = track.numbers[0], track.numbers[-1]
            farthest = first if self._playhead - first > last - self._playhead else last
            track.numbers.remove(farthest)
            self._n_bytes -= len(track.frames.pop(farthest))


def encode_jpeg(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert ok
    return data.tobytes()


def decode_jpeg(data: bytes) -> Image:
    """JPEG as (H, W, 3) uint8 RGB."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)

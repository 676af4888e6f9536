"""Decoded frames as RGB arrays, and the memory for them.

An image takes megabytes, and waiting for fresh memory can take longer than everything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import mmap
import threading
import weakref
from collections import deque
from fractions import Fraction
from typing import Any, cast

import av
import av.container
import av.filter
import av.video.plane
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import DTypeLike, NDArray

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as mallopt(3) numbers them
_LARGEST_ON_HEAP = 32 << 20  # the most that glibc allows
_KEPT = 256 << 20
_DROPPED: deque[NDArray[np.uint8]] = deque(maxlen=1)


def new_image(shape: tuple[int, ...], dtype: DTypeLike, is_one_of_many: bool = False) -> NDArray[Any]:
    """Memory for an image, to be filled by the caller.

    An image that is dropped before the next one is made gets the same memory again. `is_one_of_many` is for
    those that stay, whose memory was never touched before. Large arrays of numpy ask for huge pages, which cost
    three times as much as ordinary ones in a virtual machine that gives free memory back to its host, and
    little less in others.
    """
    if not is_one_of_many or not hasattr(mmap, "MAP_PRIVATE"):  # Windows has no huge pages by default
        return np.empty(shape, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, n_bytes, flags=flags), dtype).reshape(shape)


def recycled_image(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Memory for images of many megabytes, if possible that of the last such array, once nobody holds it any more.

    The system's allocator would give it back and fetch fresh memory for each time step.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = None
    with contextlib.suppress(IndexError):
        memory = _DROPPED.pop()
    if memory is None or len(memory) != n_bytes:
        memory = np.empty(n_bytes, np.uint8)
    # Arrays and their views hold the handle, so it lives as long as any of them.
    handle = (ctypes.c_uint8 * n_bytes).from_buffer(memory.data)
    weakref.finalize(handle, _DROPPED.append, memory).atexit = False
    image: NDArray[Any] = np.frombuffer(memoryview(handle), dtype).reshape(shape)
    return image


def forget_recycled() -> None:
    """Gives back what `recycled_image` keeps."""
    _DROPPED.clear()


def keep_freed_memory() -> None:
    """Lets this process keep the memory of images that it drops, for the next ones, if its C library is glibc.

    By default it goes back to the system each time; for a PNG that is read, a third of the time. It is for
    commands: a library does not change what is its host's.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


# As FFmpeg numbers them, after ITU-T H.273.
UNSPECIFIED_COLORSPACE = 2


UNSPECIFIED_RANGE = 0


_OF_THREAD = threading.local()


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
    samples = np.frombuffer(cast(bytes, plane), dtype)  # PyAV does not declare that planes are buffers
    return samples.reshape(-1, plane.line_size // samples.itemsize)

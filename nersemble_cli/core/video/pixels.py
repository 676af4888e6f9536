"""Decoded frames as arrays, and the memory for the largest of them."""

from __future__ import annotations

import contextlib
import ctypes
import math
import threading
import weakref
from collections import deque
from typing import Any, cast

import av
import av.filter
import av.video.plane
import numpy as np
from numpy.typing import DTypeLike, NDArray

_DROPPED: deque[NDArray[np.uint8]] = deque(maxlen=1)
_OF_THREAD = threading.local()
_MOST_GRAPHS = 4  # an image and its alpha map, each in two sizes


def recycled_image(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialised array of many megabytes, in the last such array's memory if nobody holds it any more.

    The system's allocator would give that memory back and fetch new pages for each timestep, which takes about as
    long as converting one of 13 images.
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
    """Frees the memory that `recycled_image` keeps."""
    _DROPPED.clear()


def to_rgb(
    frame: av.VideoFrame, scale: float | None = None, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """A decoded frame as (H, W, 3) uint8 RGB; `scale` 0.5 halves height and width, `size` is (width, height).

    The values are those of `ffmpeg -pix_fmt rgb24`, after `-vf scale=W:H:flags=area` (or bicubic, to enlarge) if
    there is a `scale` or `size`. The frame's colour tags count.
    """
    if scale is not None:
        size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb = convert(frame, "rgb24", size)
    rows = plane_rows(rgb.planes[0])[: rgb.height, : 3 * rgb.width]
    image = np.empty((rgb.height, rgb.width, 3), np.uint8)
    image[:] = rows.reshape(image.shape)  # the caller's own, without padding
    return image


def convert(
    frame: av.VideoFrame, pixel_format: str, size: tuple[int, int] | None = None, scaler: str | None = None
) -> av.VideoFrame:
    """The frame in another pixel format, and of another size (width, height) if one is given.

    `scaler` is FFmpeg's name of the way to scale; by default "area" to shrink and "bicubic" to enlarge. The result
    may share memory with that of the next call: copy what you keep.

    Nothing else here converts frames. `VideoFrame.reformat` allocates each one anew, and its threads do not
    survive a fork: PyAV 19 keeps them for each thread that called it, and a child process that another thread
    forks waits for them for ever.
    """
    tags = (int(frame.colorspace), int(frame.color_range))
    key = (frame.width, frame.height, frame.format.name, *tags, pixel_format, size, scaler)
    graphs: dict[Any, av.filter.Graph] = _OF_THREAD.__dict__.setdefault("graphs", {})
    if key not in graphs:
        if len(graphs) >= _MOST_GRAPHS:
            graphs.clear()
        graphs[key] = _make_graph(frame, tags, pixel_format, size, scaler)
    graphs[key].vpush(frame)
    return graphs[key].vpull()


def _make_graph(
    frame: av.VideoFrame,
    tags: tuple[int, int],
    pixel_format: str,
    size: tuple[int, int] | None,
    scaler: str | None,
) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1  # many frames are converted in parallel already, and more would not survive a fork
    colorspace, color_range = map(str, tags)
    filters = [
        graph.add(
            "buffer", video_size=f"{frame.width}x{frame.height}", pix_fmt=frame.format.name, time_base="1/1",
            colorspace=colorspace, range=color_range,
        )
    ]  # fmt: skip
    if size is not None:
        width, height = size
        scaler = scaler or ("area" if width < frame.width else "bicubic")
        filters.append(graph.add("scale", f"{width}:{height}:flags={scaler}"))
    filters += [graph.add("format", pixel_format), graph.add("buffersink")]
    graph.link_nodes(*filters).configure()
    return graph


def plane_rows(plane: av.video.plane.VideoPlane, dtype: str = "u1") -> NDArray[Any]:
    """The memory of a decoded plane as (rows, samples) without a copy; rows end with padding."""
    samples = np.frombuffer(cast(bytes, plane), dtype)  # PyAV does not declare that planes are buffers
    return samples.reshape(-1, plane.line_size // samples.itemsize)

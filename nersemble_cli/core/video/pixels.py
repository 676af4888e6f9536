"""Memory for images. Each takes megabytes, and to wait for fresh ones can take longer than all else."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
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
    import numpy as np

    if not is_one_of_many or not hasattr(mmap, "MAP_PRIVATE"):  # Windows has no huge pages by default
        return np.empty(shape, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, n_bytes, flags=flags), dtype).reshape(shape)


def recycled_image(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Memory for images of many megabytes, if possible that of the last such array, once nobody holds it any more.

    The system's allocator would give it back and fetch fresh memory for each time step.
    """
    import numpy as np

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

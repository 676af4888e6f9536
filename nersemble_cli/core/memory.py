"""Memory for images. Each takes megabytes, and to wait for fresh ones can take longer than all else."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as mallopt(3) numbers them
_LARGEST_ON_HEAP = 32 << 20  # the most that glibc allows
_KEPT = 256 << 20


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


def keep_freed_memory() -> None:
    """Lets this process keep the memory of images that it drops, for the next ones, if its C library is glibc.

    By default it goes back to the system each time; for a PNG that is read, a third of the time. It is for
    commands: a library does not change what is its host's.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)

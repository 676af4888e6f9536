"""NumPy arrays from untrusted files.

Reasons of errors are clauses that go on after the file's name: "has no NPY header".
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and dtype of an NPY file; nothing is unpickled. Raises `InvalidInputError` with the reason."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # numpy raises whatever its parser meets
        raise InvalidInputError(f"has no NPY header ({error})") from error
    return shape, dtype


def read_npy(data: bytes) -> NDArray[np.generic]:
    """The array of an NPY file; nothing is unpickled. Raises `InvalidInputError` with the reason."""
    try:
        array: NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise InvalidInputError(f"cannot be read ({error})") from error
    return array

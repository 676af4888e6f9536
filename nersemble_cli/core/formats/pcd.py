"""Point clouds: untrusted PCD files, as the Point Cloud Library reads them.

Reasons of errors are clauses that go on after the file's name: "is cut short".
Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError

_PCD_HEADER_SIZE = 4096  # more than any header has
_KINDS = {"F": "f", "I": "i", "U": "u"}
_DTYPES = {
    f"{kind}{size}"
    for kind, sizes in {"f": (4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items()
    for size in sizes
}
_BEST_COMPRESSION = 88  # LZF makes at most 264 bytes of 3


@dataclass(frozen=True)
class PcdHeader:
    """The header of a point cloud file. `data` is "ascii", "binary" or "binary_compressed".

    `size` is its own length in bytes, `compressed_size` that of the packed points which follow it.
    Source: the Point Cloud Library's description of PCD v0.7.
    """

    version: str
    fields: tuple[str, ...]
    sizes: tuple[int, ...]
    types: tuple[str, ...]
    counts: tuple[int, ...]
    n_points: int
    width: int
    height: int
    data: str
    size: int
    compressed_size: int | None = None

    @property
    def point_size(self) -> int:
        """Bytes of one point in `binary` data."""
        return sum(size * count for size, count in zip(self.sizes, self.counts, strict=True))

    @property
    def dtype(self) -> np.dtype[np.void]:
        """A structure with a field for each of the file's; those that pad (`_`) are numbered apart."""
        fields: list[Any] = []
        for i, (name, size, kind, count) in enumerate(
            zip(self.fields, self.sizes, self.types, self.counts, strict=True)
        ):
            unique = name if self.fields.index(name) == i else f"{name} {i}"
            shape = () if count == 1 else (count,)
            fields.append((unique, f"<{_KINDS[kind]}{size}", shape))
        return np.dtype(fields)

    def without_empty_fields(self) -> PcdHeader:
        """Fields of COUNT 0 have no values."""
        kept = [i for i, count in enumerate(self.counts) if count]
        return replace(
            self,
            fields=tuple(self.fields[i] for i in kept),
            sizes=tuple(self.sizes[i] for i in kept),
            types=tuple(self.types[i] for i in kept),
            counts=tuple(self.counts[i] for i in kept),
        )

    def check_size(self, size_of_file: int) -> None:
        """Raises `InvalidInputError` if the points that are promised do not fit into the file."""
        expected = {
            "ascii": 2 * sum(self.counts) * self.n_points - 1,  # a digit and a space, no newline at the end
            "binary": self.n_points * self.point_size,
            "binary_compressed": 8 + (self.compressed_size or 0),
        }[self.data]
        found = size_of_file - self.size
        if found < expected:
            raise InvalidInputError(
                f"is cut short: {found:,} bytes of points, {expected:,} expected for {self.n_points:,}"
            )


def read_pcd_header(file: BinaryIO) -> PcdHeader:
    """Reads the header from the start of a .pcd. Raises `InvalidInputError` if there is none."""
    head = file.read(_PCD_HEADER_SIZE)
    values: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in values:
        end = head.find(b"\n", position)
        if end < 0:
            raise InvalidInputError("has no complete PCD header")
        words = head[position:end].decode("ascii", "replace").split()
        position = end + 1
        if words and not words[0].startswith("#"):
            values[words[0]] = words[1:]
    try:
        fields = tuple(values["FIELDS"])
        sizes = tuple(map(int, values["SIZE"]))
        types = tuple(values["TYPE"])
        counts = tuple(map(int, values.get("COUNT", ["1"] * len(fields))))
        n_points = int(values["POINTS"][0])
        width, height = int(values.get("WIDTH", [str(n_points)])[0]), int(values.get("HEIGHT", ["1"])[0])
        (data,) = values["DATA"]
    except (KeyError, ValueError, IndexError) as error:
        raise InvalidInputError(f"has a PCD header that lacks or garbles {error!s:.80}") from None
    if not len(fields) == len(sizes) == len(types) == len(counts):
        raise InvalidInputError("has a PCD header whose FIELDS, SIZE, TYPE and COUNT differ in number")
    if data not in ("ascii", "binary", "binary_compressed"):
        raise InvalidInputError(f"has PCD data {data!r}, which is neither ascii nor binary nor binary_compressed")
    if min(n_points, width, height, *sizes, *counts) < 0:
        raise InvalidInputError("has a PCD header with negative numbers")
    for kind, size in zip(types, sizes, strict=True):
        if kind not in _KINDS or f"{_KINDS[kind]}{size}" not in _DTYPES:
            raise InvalidInputError(f"has a field of TYPE {kind} and SIZE {size}, which PCD does not know")
    compressed = head[position : position + 4]
    return PcdHeader(
        version=" ".join(values.get("VERSION", ["?"])),
        fields=fields,
        sizes=sizes,
        types=types,
        counts=counts,
        n_points=n_points,
        width=width,
        height=height,
        data=data,
        size=position,
        compressed_size=int.from_bytes(compressed, "little") if data == "binary_compressed" else None,
    )


def read_pcd(path: Path) -> NDArray[np.void]:
    """The (N,) points of a PCD file, as a structure with the file's fields. Fields of COUNT 0 are left out.

    Raises `InvalidInputError` with the reason if the header does not fit the data, before memory is taken for it;
    OSError.
    """
    with path.open("rb") as file:
        header = read_pcd_header(file)
        header.check_size(path.stat().st_size)
        header = header.without_empty_fields()
        n = header.n_points
        if header.width * header.height != n:
            raise InvalidInputError(f"has POINTS {n} in its header, but {header.width} × {header.height} points")
        if not header.fields:
            raise InvalidInputError("has no fields")
        file.seek(header.size)
        if header.data == "ascii":
            return _read_ascii(file, header)
        if header.data == "binary":
            return np.frombuffer(file.read(n * header.point_size), header.dtype, n)
        return _read_compressed(file, header)


def _read_ascii(file: BinaryIO, header: PcdHeader) -> NDArray[np.void]:
    if not header.n_points:
        return np.empty(0, header.dtype)
    try:
        # Integers that hold colours are larger than a float32 tells apart, so each column has its own type.
        points = np.loadtxt(file, header.dtype, encoding="ascii", comments=None, max_rows=header.n_points, ndmin=1)
    except (ValueError, OverflowError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"has points that cannot be read ({error!s:.100})") from None
    if len(points) != header.n_points:
        raise InvalidInputError(f"has {len(points):,} points, its header promises {header.n_points:,}")
    return points


def _read_compressed(file: BinaryIO, header: PcdHeader) -> NDArray[np.void]:
    """Source: the field-wise order and the two leading sizes are those of PCL's `PCDWriter`."""
    import lzf

    packed_size, size = (int.from_bytes(file.read(4), "little") for _ in range(2))
    expected = header.n_points * header.point_size
    if size != expected or size > _BEST_COMPRESSION * packed_size:
        raise InvalidInputError(f"unpacks to {size:,} bytes, expected {expected:,} for {header.n_points:,} points")
    points = np.empty(header.n_points, header.dtype)
    if not size:
        return points
    try:
        data = lzf.decompress(file.read(packed_size), size)
    except ValueError:
        data = None
    if data is None or len(data) != size:
        raise InvalidInputError("has compressed points that do not unpack")
    position = 0
    for name in header.dtype.names or ():
        column = points[name]
        column[...] = np.frombuffer(data, column.dtype, column.size, position).reshape(column.shape)
        position += column.nbytes
    return points

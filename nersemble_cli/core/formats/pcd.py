"""Point cloud files: the header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from nersemble_cli.core.errors import InvalidInputError

_PCD_HEADER_SIZE = 4096  # more than any header has


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
        raise InvalidInputError(f"has a PCD header that lacks or garbles {error}") from None
    if not len(fields) == len(sizes) == len(types) == len(counts):
        raise InvalidInputError("has a PCD header whose FIELDS, SIZE, TYPE and COUNT differ in number")
    if data not in ("ascii", "binary", "binary_compressed"):
        raise InvalidInputError(f"has PCD data {data!r}, which is neither ascii nor binary nor binary_compressed")
    if n_points < 0 or min(sizes, default=1) < 0 or min(counts, default=1) < 0:
        raise InvalidInputError("has a PCD header with negative numbers")
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

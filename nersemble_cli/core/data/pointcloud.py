"""Point clouds: reading the benchmark's PCD files, and writing PLY for 3D Gaussian Splatting and other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError
from nersemble_cli.core.files import replacing
from nersemble_cli.core.formats.pcd import read_pcd

_PLY_FLOATS = ("x", "y", "z", "nx", "ny", "nz")
_PLY_COLORS = ("red", "green", "blue")


class PointCloud(NamedTuple):
    """A point cloud in world space. Absent colours or normals have shape (0, 3).

    `points` (N, 3) float32, metres, NaN where the file has it; `colors` (N, 3) float32 RGB in [0, 1];
    `normals` (N, 3) float32.
    """

    points: NDArray[np.float32]
    colors: NDArray[np.float32]
    normals: NDArray[np.float32]


def load_pointcloud(path: Path) -> PointCloud:
    """Reads a PCD 0.7 file: ascii, binary or binary_compressed, `rgb` or `rgba` packed in four bytes.

    Raises `InvalidInputError` if the file is cut short, its header does not fit its data, or it has no x, y, z;
    FileNotFoundError if it is missing.
    """
    try:
        data = read_pcd(path)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} {error.message}.", DAMAGED_HINT) from error
    names = data.dtype.names or ()
    if not {"x", "y", "z"}.issubset(names):
        raise InvalidInputError(f"{path} has the fields {', '.join(names)}, expected x, y, z.", DAMAGED_HINT)

    def columns(*fields: str) -> NDArray[np.float32]:
        if not set(fields).issubset(names):
            return np.empty((0, 3), np.float32)
        table = np.empty((len(data), 3), np.float32)
        for column, field in enumerate(fields):
            table[:, column] = data[field]
        return table

    colors = np.empty((0, 3), np.float32)
    packed_in = next((name for name in ("rgb", "rgba") if name in names), None)
    if packed_in is not None:
        packed = np.ascontiguousarray(data[packed_in])
        if packed.dtype.itemsize != 4:
            raise InvalidInputError(
                f"{path}: {packed_in} has {packed.dtype.itemsize} bytes a point, expected 4.", DAMAGED_HINT
            )
        # 0xAARRGGBB: whatever the type says, the bits are what counts.
        bytes_bgr = packed.view("<u4").view(np.uint8).reshape(-1, 4)
        colors = np.divide(bytes_bgr[:, 2::-1], np.float32(255), dtype=np.float32)
    return PointCloud(columns("x", "y", "z"), colors, columns("normal_x", "normal_y", "normal_z"))


def export_pointcloud(
    path: Path | str,
    points: NDArray[Any],
    colors: NDArray[Any] | None = None,
    normals: NDArray[Any] | None = None,
) -> None:
    """Writes `pointcloud_to_ply` to a file, which appears whole or not at all."""
    path = Path(path)
    content = pointcloud_to_ply(points, colors, normals)
    with replacing(path) as part:
        part.write_bytes(content)


def pointcloud_to_ply(
    points: NDArray[Any], colors: NDArray[Any] | None = None, normals: NDArray[Any] | None = None
) -> bytes:
    """A binary PLY as 3D Gaussian Splatting reads it for its initialisation.

    Vertices are x y z, nx ny nz (zeros without normals) as float32 and red green blue as uint8 (white without
    colours). `points` (N, 3) metres, `colors` (N, 3) in [0, 1], `normals` (N, 3); (0, 3) is as good as None. NaN
    points are written as they are.
    """
    n = len(points)
    vertices = np.zeros(
        n,
        [
            *((name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")),
            *((c, "u1") for c in ("red", "green", "blue")),
        ],
    )
    rgb = np.full((n, 3), 255, np.uint8)
    if colors is not None and len(colors):
        rgb = (np.asarray(colors, np.float32) * 255).round().clip(0, 255).astype(np.uint8)
    parts = [(points, _PLY_FLOATS[:3]), (rgb, _PLY_COLORS)]
    if normals is not None and len(normals):
        parts.append((normals, _PLY_FLOATS[3:]))
    for values, names in parts:
        if np.shape(values) != (n, 3):
            raise InvalidInputError(
                f"{names[0]}, {names[1]}, {names[2]} come as {np.shape(values)}, expected ({n}, 3).",
                "Points, colours and normals are rows that belong together.",
            )
        for column, name in enumerate(names):
            vertices[name] = values[:, column]
    properties = "".join(
        f"property {'uchar' if vertices.dtype[name] == np.uint8 else 'float'} {name}\n"
        for name in vertices.dtype.names or ()
    )
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {n}\n{properties}end_header\n"
    return header.encode("ascii") + vertices.tobytes()

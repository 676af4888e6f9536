"""Meshes: untrusted PLY files, read and written with trimesh.

Reasons of errors are clauses that go on after the file's name: "is cut short".
"""

from __future__ import annotations

import functools
import io
import logging
import warnings
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.threads import off_main_thread

_PLY_FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
_LONGEST_HEADER = 1 << 16
_LARGEST_ASCII = 64 << 20  # reading takes 17 times as much memory
_TYPE_SIZES = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2,
    "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY header promises. `smallest_size` is the least number of bytes that takes, header included.

    `triangle_size` is the size of a face at the end of a binary file if it is a triangle, and 0 if faces are not
    the last thing in the file or have more than their corners.
    """

    format: str
    num_vertices: int
    num_faces: int
    smallest_size: int
    triangle_size: int


def read_ply_header(file: BinaryIO) -> PlyHeader:
    """Reads the header at the beginning of a PLY file.

    Raises `InvalidInputError` with the reason if it is none. Source: G. Turk, The PLY Polygon File Format.
    """
    text, end, _ = file.read(_LONGEST_HEADER).partition(b"end_header")
    lines = text.decode("ascii", errors="replace").split("\n")
    if lines[0].strip() != "ply" or not end:
        raise InvalidInputError("has no PLY header")
    format_, counts, size = "", {"vertex": 0, "face": 0}, len(text) + len(end)
    element, count, is_ascii, triangle_size = "", 0, False, 0
    try:
        for words in (line.split() for line in lines[1:]):
            match words:
                case ["format", kind, _]:
                    format_, is_ascii = kind, kind == "ascii"
                case ["element", element, number]:
                    count = int(number)
                    if count < 0:
                        raise ValueError(number)
                    counts[element], triangle_size = count, 0
                case ["property", *_] if not element:
                    raise ValueError("'property' before any 'element'")
                case ["property", "list", length_type, index_type, _]:
                    is_only_one = element == "face" and not triangle_size and _TYPE_SIZES[length_type] == 1
                    triangle_size = 1 + 3 * _TYPE_SIZES[index_type] if is_only_one and not is_ascii else -1
                    size += count * (2 if is_ascii else _TYPE_SIZES[length_type])
                case ["property", type_, _]:
                    triangle_size = -1
                    size += count * (2 if is_ascii else _TYPE_SIZES[type_])  # ascii: a digit and a space
    except (ValueError, KeyError) as error:
        raise InvalidInputError(f"has a PLY header with an unknown value: {error}") from error
    if format_ not in _PLY_FORMATS:
        raise InvalidInputError(f"has the PLY format '{format_}', expected one of {', '.join(_PLY_FORMATS)}")
    return PlyHeader(format_, counts["vertex"], counts["face"], size, max(0, triangle_size))


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3) float64 and triangles (F, 3) int64, in the file's order.

    `has_polygons`: some faces were split into triangles. `n_seam_vertices`: how many vertices more a reader of
    textures gets, as it splits those that have several texture coordinates (trimesh does by default).
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    has_polygons: bool = False
    n_seam_vertices: int = 0


def read_ply(data: bytes) -> Mesh:
    """Reads a PLY file with trimesh; vertex count and order stay as they are.

    Raises `InvalidInputError` with the reason if the file is not what its header says.
    """
    header = read_ply_header(io.BytesIO(data))
    if header.smallest_size > len(data) + 1:  # the last line of an ascii file may lack its end
        raise InvalidInputError(
            f"is cut short: its header promises {header.num_vertices:,} vertices and {header.num_faces:,} faces, "
            f"but it has only {len(data):,} bytes"
        )
    if header.format == "ascii" and len(data) > _LARGEST_ASCII:
        raise InvalidInputError(f"is ascii and has {len(data):,} bytes: export it as binary PLY")
    if broken := _count_broken_faces(header, data):
        raise InvalidInputError(f"has {broken} broken faces of {header.num_faces:,}, as a half-written file has")
    loaded, n_seam_vertices = off_main_thread(lambda: _load(data))
    try:
        vertices, faces = _as_arrays(loaded)
    except Exception as error:  # ragged rows, words in place of numbers
        raise InvalidInputError(f"has vertices or faces that are not tables of numbers ({error})") from error
    if header.num_vertices != len(vertices):
        raise InvalidInputError(f"promises {header.num_vertices} vertices in its header but holds {len(vertices)}")
    return Mesh(vertices, faces, len(faces) > header.num_faces, n_seam_vertices)


def _as_arrays(loaded: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The vertices (V, 3) and triangles (F, 3) in what trimesh loaded."""
    with np.errstate(all="ignore"):  # signalling NaN
        vertices = np.asarray(loaded.get("vertices", np.empty((0, 3))), dtype=np.float64).reshape(-1, 3)
    faces = loaded.get("faces")
    faces = np.empty((0, 3), np.int64) if faces is None else np.asarray(faces)
    if faces.dtype == object or (faces.size and faces.shape[-1] != 3):
        from trimesh.geometry import triangulate_quads

        faces = triangulate_quads(faces)
    return vertices, np.asarray(faces, dtype=np.int64).reshape(-1, 3)


def _load(data: bytes) -> tuple[dict[str, Any], int]:
    """What trimesh finds in a PLY, and how many vertices it would add for the seams of a texture."""
    from trimesh.exchange.ply import load_ply

    _quieten_trimesh()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            loaded = load_ply(io.BytesIO(data), fix_texture=False, skip_materials=True)
            n_vertices = len(loaded.get("vertices", ()))
            if b"texcoord" not in data[:_LONGEST_HEADER].partition(b"end_header")[0]:
                return loaded, 0
            split = load_ply(io.BytesIO(data), fix_texture=True, skip_materials=True)
            return loaded, len(split.get("vertices", ())) - n_vertices
    except Exception as error:  # each loader of trimesh fails in its own way on a broken file
        raise InvalidInputError(f"cannot be read by trimesh ({type(error).__name__}: {error})") from error


@functools.cache
def _quieten_trimesh() -> None:
    """trimesh logs a traceback for each texture that is missing, which goes to stderr if nobody handles it."""
    logging.getLogger("trimesh").addHandler(logging.NullHandler())


def _count_broken_faces(header: PlyHeader, data: bytes) -> int:
    """How many faces do not say that they have three corners, in a file of just the size for triangles.

    trimesh does not look: it takes what follows for three indices.
    """
    faces_size = header.num_faces * header.triangle_size
    rest = len(data) - header.smallest_size - (faces_size - header.num_faces)
    if not faces_size or rest not in (1, 2):  # what is left is the end of the header's last line
        return 0
    lengths = np.frombuffer(data, np.uint8, offset=len(data) - faces_size)[:: header.triangle_size]
    return int(np.count_nonzero(lengths != 3))


def mesh_to_ply(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> bytes:
    """Binary little-endian PLY of float32 vertices (V, 3) and int32 triangles (F, 3), in the given order."""

    def export() -> bytes:
        import trimesh

        mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
        return cast(bytes, mesh.export(file_type="ply", vertex_normal=False))

    return off_main_thread(export)

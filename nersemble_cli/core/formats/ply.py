"""Meshes: untrusted PLY files, read and written with trimesh.

Reasons of errors are clauses that go on after the file's name: "is cut short".
"""

from __future__ import annotations

import functools
import io
import logging
import math
import struct
import warnings
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.threads import off_main_thread

_PLY_FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
_LONGEST_HEADER = 1 << 16
_LARGEST_ASCII = 64 << 20  # reading takes 17 times as much memory
_TYPES = {
    "char": "i1", "uchar": "u1", "int8": "i1", "uint8": "u1", "short": "i2", "ushort": "u2", "int16": "i2",
    "uint16": "u2", "int": "i4", "uint": "u4", "int32": "i4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_INDICES = ("vertex_indices", "vertex_index")  # what the list of a face's corners is called


@dataclass(frozen=True)
class Property:
    """A value of an element, of a numpy type; with `length_type` a list, which begins with its length."""

    name: str
    type: str
    length_type: str | None = None


@dataclass(frozen=True)
class Element:
    """`count` rows of properties."""

    name: str
    count: int
    properties: tuple[Property, ...] = ()

    @property
    def num_lists(self) -> int:
        return sum(property_.length_type is not None for property_ in self.properties)

    def smallest_size(self, is_ascii: bool) -> int:
        """The least number of bytes that the rows take: in ascii a digit and a space for each value."""
        types = [property_.length_type or property_.type for property_ in self.properties]
        return self.count * sum(2 if is_ascii else np.dtype(type_).itemsize for type_ in types)


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY header promises. `size` is its own size in bytes without the end of its last line."""

    format: str
    elements: tuple[Element, ...]
    size: int

    def count(self, name: str) -> int:
        return sum(element.count for element in self.elements if element.name == name)

    @property
    def num_vertices(self) -> int:
        return self.count("vertex")

    @property
    def num_faces(self) -> int:
        return self.count("face")

    @property
    def smallest_size(self) -> int:
        """The least number of bytes that such a file has."""
        return self.size + sum(element.smallest_size(self.format == "ascii") for element in self.elements)


def read_ply_header(file: BinaryIO) -> PlyHeader:
    """Reads the header at the beginning of a PLY file.

    Raises `InvalidInputError` with the reason if it is none. Source: G. Turk, The PLY Polygon File Format.
    """
    text, end, _ = file.read(_LONGEST_HEADER).partition(b"end_header")
    lines = text.decode("ascii", errors="replace").split("\n")
    if lines[0].strip() != "ply" or not end:
        raise InvalidInputError("has no PLY header")
    format_ = ""
    elements: list[Element] = []
    try:
        for words in (line.split() for line in lines[1:]):
            match words:
                case ["format", format_, _]:
                    pass
                case ["element", name, number]:
                    elements.append(Element(name, int(number)))
                    if elements[-1].count < 0:
                        raise ValueError(number)
                case ["property", *_] if not elements:
                    raise ValueError("'property' before any 'element'")
                case ["property", "list", length_type, type_, name]:
                    if _TYPES[length_type][0] == "f":
                        raise ValueError(f"a list with a length of {length_type}")
                    _add(elements, Property(name, _TYPES[type_], _TYPES[length_type]))
                case ["property", type_, name]:
                    _add(elements, Property(name, _TYPES[type_]))
    except (ValueError, KeyError) as error:
        raise InvalidInputError(f"has a PLY header with an unknown value: {error}") from error
    if format_ not in _PLY_FORMATS:
        raise InvalidInputError(f"has the PLY format '{format_}', expected one of {', '.join(_PLY_FORMATS)}")
    return PlyHeader(format_, tuple(elements), len(text) + len(end))


def _add(elements: list[Element], property_: Property) -> None:
    elements[-1] = replace(elements[-1], properties=(*elements[-1].properties, property_))


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3) float64 and triangles (F, 3) int64, in the file's order.

    `has_polygons`: some faces were split into triangles. `is_mixed`: the file is binary and its faces have
    different numbers of corners, which trimesh does not read. `n_seam_vertices`: how many vertices more a reader
    of textures gets, as it splits those that have several texture coordinates (trimesh does by default).
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    has_polygons: bool = False
    is_mixed: bool = False
    n_seam_vertices: int = 0


def triangulate(corners: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Splits polygons into fans of triangles (F, 3) around their first corner, in the polygons' order.

    `corners` are the vertex indices of all polygons in one row, and `lengths` says how many each of them has.
    Polygons of fewer than three corners have no triangles.
    """
    n_triangles = np.maximum(np.asarray(lengths, np.int64) - 2, 0)
    first = np.repeat(np.cumsum(lengths) - lengths, n_triangles)
    nth = np.arange(n_triangles.sum()) - np.repeat(np.cumsum(n_triangles) - n_triangles, n_triangles)
    places = np.stack([first, first + nth + 1, first + nth + 2], axis=1)
    faces: NDArray[np.int64] = np.asarray(corners, np.int64)[places].reshape(-1, 3)
    return faces


def read_ply(data: bytes) -> Mesh:
    """Reads a PLY file with trimesh; vertex count and order stay as they are, and polygons become triangles.

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
    if mixed := _read_mixed(header, data):
        return mixed
    # trimesh does not look: it takes what follows for three indices.
    lengths = _triangle_lengths(header, data)
    if lengths is not None and (broken := int(np.count_nonzero(lengths != 3))):
        raise InvalidInputError(f"has {broken} broken faces of {header.num_faces:,}, as a half-written file has")
    loaded, n_seam_vertices = off_main_thread(lambda: _load(data))
    try:
        vertices, faces = _as_arrays(loaded)
    except Exception as error:  # ragged rows, words in place of numbers
        raise InvalidInputError(f"has vertices or faces that are not tables of numbers ({error})") from error
    if header.num_vertices != len(vertices):
        raise InvalidInputError(f"promises {header.num_vertices} vertices in its header but holds {len(vertices)}")
    return Mesh(vertices, faces, len(faces) > header.num_faces, n_seam_vertices=n_seam_vertices)


def _as_arrays(loaded: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The vertices (V, 3) and triangles (F, 3) in what trimesh loaded."""
    with np.errstate(all="ignore"):  # signalling NaN
        vertices = np.asarray(loaded.get("vertices", np.empty((0, 3))), dtype=np.float64).reshape(-1, 3)
    polygons = loaded.get("faces", ())
    if not len(polygons):
        return vertices, np.empty((0, 3), np.int64)
    if np.shape(polygons[0]) == (3,) and getattr(polygons, "ndim", 0) == 2:
        return vertices, np.asarray(polygons, dtype=np.int64)
    lengths = np.array([len(polygon) for polygon in polygons])
    return vertices, triangulate(np.concatenate(list(polygons)), lengths)


def _read_mixed(header: PlyHeader, data: bytes) -> Mesh | None:
    """The mesh in a binary file whose faces have different numbers of corners, which trimesh does not read.

    None if it is another kind of file, or damaged.
    """
    names = [element.name for element in header.elements]
    with_lists = [element.name for element in header.elements if element.num_lists]
    if header.format == "ascii" or with_lists != ["face"] or not header.num_faces:
        return None
    if names.count("vertex") != 1 or names.count("face") != 1:
        return None
    order = "<" if header.format == "binary_little_endian" else ">"
    at = data.find(b"\n", header.size) + 1
    vertices, faces = np.empty((0, 3)), np.empty((0, 3), np.int64)
    for element in header.elements:
        if element.name == "face":
            polygons = _read_polygons(element, data, at, order)
            if polygons is None:
                return None
            faces, at = polygons
            continue
        row = np.dtype([(f"{i}", order + property_.type) for i, property_ in enumerate(element.properties)])
        end = at + element.count * row.itemsize
        if end > len(data):
            return None
        if element.name == "vertex":
            columns = {property_.name: f"{i}" for i, property_ in enumerate(element.properties)}
            if not columns.keys() >= {"x", "y", "z"}:
                return None
            rows = np.frombuffer(data[at:end], row)
            with np.errstate(all="ignore"):  # signalling NaN
                vertices = np.stack([rows[columns[axis]].astype(np.float64) for axis in "xyz"], axis=1)
        at = end
    return Mesh(vertices, faces, has_polygons=True, is_mixed=True) if at == len(data) else None


def _read_polygons(face: Element, data: bytes, at: int, order: str) -> tuple[NDArray[np.int64], int] | None:
    """The triangles of the faces that begin at byte `at`, and where the faces end; None if they are damaged, or if
    all have the same number of corners."""
    values = [(property_, np.dtype(order + property_.type).itemsize) for property_ in face.properties]
    lengths_of = {p.name: struct.Struct(order + np.dtype(p.length_type).char) for p, _ in values if p.length_type}
    corners_of = next((name for name in _INDICES if name in lengths_of), next(iter(lengths_of)))
    if _are_alike(face, data, at, order):
        return None
    corners, lengths = [], []
    try:
        for _ in range(face.count):
            for property_, size in values:
                n = 1
                if length := lengths_of.get(property_.name):
                    (n,) = length.unpack_from(data, at)
                    at += length.size
                if property_.name == corners_of:
                    corners.append(data[at : at + n * size])
                    lengths.append(n)
                at += n * size
    except struct.error:  # past the end
        return None
    if at > len(data) or min(lengths) < 3:
        return None
    type_ = next(property_.type for property_, _ in values if property_.name == corners_of)
    return triangulate(np.frombuffer(b"".join(corners), order + type_), np.array(lengths)), at


def _are_alike(face: Element, data: bytes, at: int, order: str) -> bool:
    """Whether the lists of all faces are as long as those of the first, as far as a look without a loop tells."""
    columns: list[tuple[str, str, tuple[int, ...]]] = []
    end = at
    for i, property_ in enumerate(face.properties):
        shape: tuple[int, ...] = ()
        if property_.length_type:
            length = np.dtype(order + property_.length_type)
            if end + length.itemsize > len(data):
                return False
            shape = (max(0, int(np.frombuffer(data[end : end + length.itemsize], length)[0])),)
            columns.append((f"length {i}", length.str, ()))
            end += length.itemsize
        columns.append((f"{i}", order + property_.type, shape))
        end += math.prod(shape) * np.dtype(property_.type).itemsize
    if at + face.count * (end - at) > len(data):
        return False
    rows = np.frombuffer(data[at : at + face.count * (end - at)], np.dtype(columns))
    lengths = [rows[name] for name, _, _ in columns if name.startswith("length")]
    return all(bool((column == column[0]).all()) for column in lengths)


def _triangle_lengths(header: PlyHeader, data: bytes) -> NDArray[np.uint8] | None:
    """The number of corners of each face, in a binary file of just the size for triangles; None for any other."""
    face = header.elements[-1] if header.elements else Element("", 0)
    length_types = [property_.length_type for property_ in face.properties]
    if header.format == "ascii" or face.name != "face" or length_types not in (["u1"], ["i1"]):
        return None
    triangle_size = 1 + 3 * np.dtype(face.properties[0].type).itemsize
    faces_size = face.count * triangle_size
    rest = len(data) - header.smallest_size - (faces_size - face.count)
    if not faces_size or rest not in (1, 2):  # what is left is the end of the header's last line
        return None
    return np.frombuffer(data, np.uint8, offset=len(data) - faces_size)[::triangle_size]


def has_only_triangles(data: bytes) -> bool:
    """Whether a PLY file certainly has triangles and nothing else as faces. A quick look: False may be wrong.

    Raises `InvalidInputError` with the reason if the file has no PLY header.
    """
    lengths = _triangle_lengths(read_ply_header(io.BytesIO(data)), data)
    return lengths is not None and bool((lengths == 3).all())


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


def mesh_to_ply(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> bytes:
    """Binary little-endian PLY of float32 vertices (V, 3) and int32 triangles (F, 3), in the given order."""

    def export() -> bytes:
        import trimesh

        mesh = trimesh.Trimesh(vertices, faces, process=False, validate=False)
        return cast(bytes, mesh.export(file_type="ply", vertex_normal=False))

    return off_main_thread(export)

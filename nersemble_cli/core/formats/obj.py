"""Meshes: untrusted Wavefront OBJ files. Only vertices and faces are read.

Readers of whole OBJ files, trimesh's among them, make a vertex of each pair of position and texture coordinate,
and a mesh of each material. Here the vertices stay as they are written.
"""

from __future__ import annotations

import re

import numpy as np

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.ply import Mesh, triangulate

_CONTINUED = re.compile(rb"\\\r?\n")


def read_obj(data: bytes) -> Mesh:
    """Reads the vertices (`v`) and faces (`f`) of an OBJ file, in their number and order.

    Polygons become triangles. Texture coordinates, normals, colours, groups and materials are left out.

    Raises `InvalidInputError` with the reason. Source: Wavefront, Object Files (.obj).
    """
    vertices: list[list[float]] = []
    corners: list[int] = []
    lengths: list[int] = []
    lines = _CONTINUED.sub(b" ", data).splitlines()
    for words in map(bytes.split, lines):
        keyword = words[0] if words else b""
        try:
            if keyword == b"v":
                x, y, z, *_ = map(float, words[1:])
                vertices.append([x, y, z])
            elif keyword in (b"f", b"fo"):
                indices = [int(word.partition(b"/")[0]) for word in words[1:]]
                # From 1 up, or from the last vertex so far down.
                corners += [index - 1 if index > 0 else len(vertices) + index for index in indices]
                lengths.append(len(indices))
                if 0 in indices or len(indices) < 3:
                    raise ValueError
        except ValueError:
            line = b" ".join(words)[:80].decode("ascii", "replace")
            raise InvalidInputError(f"has a line that is neither a vertex nor a face: {line}") from None
    if not vertices:
        raise InvalidInputError("has no vertices, so it is not an OBJ file or an empty one")
    try:
        places = np.array(corners, np.int64)
    except OverflowError:
        raise InvalidInputError("has a face with an impossible vertex number") from None
    is_polygon = any(length > 3 for length in lengths)
    return Mesh(np.array(vertices), triangulate(places, np.array(lengths, np.int64)), has_polygons=is_polygon)

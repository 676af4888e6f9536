"""Meshes as the server wants them: PLY of triangles without texture, whatever they were."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.obj import read_obj
from nersemble_cli.core.formats.ply import Mesh, has_only_triangles, mesh_to_ply, read_ply

OBJ = ".obj"
FROM_OBJ = "converted from OBJ to PLY, with the vertices in their order and without texture"
FROM_POLYGONS = "faces of more than three corners split into triangles, with the vertices in their order"
FROM_TEXTURED = "texture coordinates left out, as the server's reader would split vertices at their seams"


def convert_mesh(file: Path) -> tuple[bytes, str]:
    """The mesh as the bytes of a PLY that the server reads, and how it was converted ("": not at all).

    OBJ, polygons and seams of a texture are converted; vertices keep their number and order. Raises
    `InvalidInputError` with the reason if the file is damaged, and OSError if it cannot be read.
    """
    data = file.read_bytes()
    if file.suffix.lower() == OBJ:
        return _to_ply(read_obj(data)), FROM_OBJ
    if has_only_triangles(data):
        return data, ""
    mesh = read_ply(data)
    how = FROM_POLYGONS if mesh.has_polygons else FROM_TEXTURED if mesh.n_seam_vertices else ""
    return (_to_ply(mesh), how) if how else (data, "")


def _to_ply(mesh: Mesh) -> bytes:
    outside = mesh.faces[(mesh.faces < 0) | (mesh.faces >= len(mesh.vertices))]
    if outside.size:  # as int32 it could become the number of another vertex
        what = f"{len(mesh.vertices)} vertices, but a face that refers to vertex {outside[0]}"
        raise InvalidInputError(f"has {what} (counted from 0)")
    return mesh_to_ply(mesh.vertices, mesh.faces)


@dataclass(frozen=True)
class ConvertibleMesh:
    """A mesh on disk that is to become `path` of a submission.

    If it has to be converted, `conversions` says under its path how, once it was opened.
    """

    path: str
    file: Path
    conversions: dict[str, str] = field(repr=False)

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    def open(self) -> BinaryIO:
        """The mesh, converted. Raises `InvalidInputError` if it is damaged and OSError if it cannot be read."""
        data, how = convert_mesh(self.file)
        if how:
            self.conversions[self.path] = how
        return io.BytesIO(data)

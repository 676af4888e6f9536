"""Reading and writing PLY."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply
from tests import made_up


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(3, 30), st.just(3)), elements=st.floats(-1, 1, width=32)),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_mesh_round_trip(vertices: np.ndarray, data: st.DataObject) -> None:
    shape = st.tuples(st.integers(1, 20), st.just(3))
    faces = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, len(vertices) - 1)))
    read = read_ply(mesh_to_ply(vertices, faces))
    assert np.array_equal(read.vertices.astype(np.float32), vertices)
    assert np.array_equal(read.faces, faces)


def test_a_property_before_any_element_is_told() -> None:
    with pytest.raises(InvalidInputError, match="'property' before any 'element'"):
        read_ply(b"ply\nformat ascii 1.0\nproperty list uchar int vertex_indices\nend_header\n")


def test_vertices_are_not_split_at_the_seams_of_a_texture() -> None:
    vertices, faces = made_up.face_vertices(200), made_up.face_triangles(200)
    uv = np.random.default_rng(0).random((200, 2), np.float32)[faces]
    uv[:40] += 0.5  # a seam: other coordinates at the same vertices
    table = np.zeros(len(faces), [("n", "u1"), ("i", "<i4", 3), ("k", "u1"), ("t", "<f4", 6)])
    table["n"], table["i"], table["k"], table["t"] = 3, faces, 6, uv.reshape(-1, 6)
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment TextureFile tex.png\nelement vertex 200\n"
        f"property float x\nproperty float y\nproperty float z\nelement face {len(faces)}\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
    )
    mesh = read_ply(header.encode() + vertices.astype("<f4").tobytes() + table.tobytes())
    assert np.array_equal(mesh.vertices.astype(np.float32), vertices)
    assert np.array_equal(mesh.faces, faces)
    assert mesh.n_seam_vertices > 0


MIXED = [[0, 1, 2], [2, 1, 3, 4], [4, 3, 5, 6, 7], [7, 5, 0]]
SPLIT = [[0, 1, 2], [2, 1, 3], [2, 3, 4], [4, 3, 5], [4, 5, 6], [4, 6, 7], [7, 5, 0]]


@pytest.mark.parametrize("extra", ["", "property uchar flags\n", "property list uchar float texcoord\n"])
@pytest.mark.parametrize("length_type", ["uchar", "ushort", "int"])
@pytest.mark.parametrize("encoding", ["binary_little_endian", "binary_big_endian"])
def test_triangles_and_polygons_in_one_binary_file_are_read(encoding: str, length_type: str, extra: str) -> None:
    vertices = made_up.face_vertices(8)
    mesh = read_ply(made_up.polygons_ply(vertices, MIXED, encoding, length_type, extra))
    assert np.array_equal(mesh.vertices.astype(np.float32), vertices)
    assert mesh.faces.tolist() == SPLIT
    assert (mesh.has_polygons, mesh.is_mixed) == (True, True)


def test_quad_first_and_as_many_corners_as_quads_have_is_read_as_mixed() -> None:
    polygons = [[0, 1, 2, 3], [4, 5, 6], [0, 2, 4, 6, 7]]  # trimesh would read three quads
    mesh = read_ply(made_up.polygons_ply(made_up.face_vertices(8), polygons, "binary_little_endian"))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [0, 2, 4], [0, 4, 6], [0, 6, 7]]


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_quads_alone_are_read_in_their_order(encoding: str) -> None:
    mesh = read_ply(made_up.polygons_ply(made_up.face_vertices(8), [[0, 1, 2, 3], [4, 5, 6, 7]], encoding))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    assert (mesh.has_polygons, mesh.is_mixed) == (True, False)


def test_triangles_and_polygons_in_ascii_are_read() -> None:
    mesh = read_ply(made_up.polygons_ply(made_up.face_vertices(8), MIXED, "ascii"))
    assert {frozenset(face) for face in mesh.faces.tolist()} == {frozenset(face) for face in SPLIT}
    assert (mesh.has_polygons, mesh.is_mixed) == (True, False)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_mesh_without_faces_is_read(encoding: str) -> None:
    mesh = read_ply(made_up.polygons_ply(made_up.face_vertices(8), [], encoding))
    assert (len(mesh.vertices), mesh.faces.shape) == (8, (0, 3))


@pytest.mark.parametrize("at", [-1, -5, -30])
def test_mixed_file_that_is_cut_short_is_refused(at: int) -> None:
    with pytest.raises(InvalidInputError):
        read_ply(made_up.polygons_ply(made_up.face_vertices(8), MIXED, "binary_little_endian")[:at])

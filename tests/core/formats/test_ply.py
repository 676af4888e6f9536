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
        "property float x\nproperty float y\nproperty float z\nelement face 400\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
    )
    mesh = read_ply(header.encode() + vertices.astype("<f4").tobytes() + table.tobytes())
    assert np.array_equal(mesh.vertices.astype(np.float32), vertices)
    assert np.array_equal(mesh.faces, faces)
    assert mesh.n_seam_vertices > 0

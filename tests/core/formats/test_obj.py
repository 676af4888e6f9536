"""Reading OBJ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.obj import read_obj

SQUARE = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
PLACES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ("f 1 2 3", [[0, 1, 2]]),
        ("f 1 2 3 4", [[0, 1, 2], [0, 2, 3]]),
        ("f 1/9 2/8 3/7\nf 1/1/1 3/2/2 4/3/3", [[0, 1, 2], [0, 2, 3]]),
        ("f 1//5 2//6 3//7", [[0, 1, 2]]),
        ("f -4 -3 -2", [[0, 1, 2]]),
        ("f -4/-1 -3/-1 -1/-1\nv 5 5 5\nf -5 -4 -1", [[0, 1, 3], [0, 1, 4]]),
        ("usemtl skin\nf 1 2 3\nusemtl eyes\ng eye\nf 1 3 4", [[0, 1, 2], [0, 2, 3]]),
        ("f 1 2 \\\n3 4", [[0, 1, 2], [0, 2, 3]]),
        ("\r\n# a comment\r\n\tf  1\t2 3\r\n", [[0, 1, 2]]),
        ("f 1 2 9", [[0, 1, 8]]),
    ],
)
def test_faces_refer_to_vertices_as_they_are_written(faces: str, expected: list[list[int]]) -> None:
    assert read_obj(SQUARE + faces.encode()).faces.tolist() == expected


def test_texture_coordinates_neither_split_nor_reorder_vertices() -> None:
    seam = b"vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 3/1 2/2 1/3\nf 1/4 4/1 3/2\n"
    mesh = read_obj(SQUARE + seam)
    assert np.array_equal(mesh.vertices, PLACES)
    assert mesh.faces.tolist() == [[2, 1, 0], [0, 3, 2]]


def test_colours_and_weights_of_vertices_are_left_out() -> None:
    mesh = read_obj(b"v 1 2 3 0.5 0.5 0.5\nv 4 5 6 1\nv 7 8 9\nf 1 2 3\n")
    assert mesh.vertices.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-1e9, 1e9)), st.data())
@settings(max_examples=30, deadline=None)
def test_round_trip(vertices: np.ndarray, data: st.DataObject) -> None:
    shape = st.tuples(st.integers(0, 20), st.just(3))
    faces = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, len(vertices) - 1)))
    lines = ["v " + " ".join(map(repr, row)) for row in vertices.tolist()]
    lines += ["f " + " ".join(str(corner + 1) for corner in row) for row in faces.tolist()]
    mesh = read_obj("\n".join(lines).encode())
    assert np.array_equal(mesh.vertices, vertices)
    assert np.array_equal(mesh.faces, faces)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "has no vertices"),
        (b"\x00\x01\xff" * 50, "has no vertices"),
        (SQUARE + b"f 1 2", "neither a vertex nor a face: f 1 2"),
        (SQUARE + b"f 0 1 2", "neither a vertex nor a face: f 0 1 2"),
        (SQUARE + b"f 1 2 x", "neither a vertex nor a face: f 1 2 x"),
        (b"v 1 2\n", "neither a vertex nor a face: v 1 2"),
        (SQUARE + b"f 1 2 99999999999999999999\n", "impossible vertex number"),
    ],
)
def test_broken_file_is_told_apart(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read_obj(data)

"""Reading and writing PLY."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply


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

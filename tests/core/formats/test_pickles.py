"""Pickles: what plain arrays need is read, everything else is refused, and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats import pickles
from nersemble_cli.core.formats.pickles import read_pickle


def read(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data))


def refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        read(data)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
EMPTY = RECONSTRUCT + NDARRAY + b"K\x00\x85" + b"C\x01b" + b"\x87R"
FLOAT = b"cnumpy\ndtype\n" + text("f8") + b"K\x00K\x01\x87R"


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i4", "i8", "u4", "u1", ">f8", "b1"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.integers(0, 5),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_arrays_come_back(array: np.ndarray, protocol: int, is_fortran: bool) -> None:
    array = np.asfortranarray(array) if is_fortran else array
    loaded = read(pickle.dumps({"a": array, "b": [array, (1, "x")]}, protocol=protocol))
    assert loaded["a"].dtype == array.dtype
    assert np.array_equal(loaded["a"], array, equal_nan=array.dtype.kind == "f")
    assert loaded["b"][1] == (1, "x")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol: int) -> None:
    values = {"a": [1, -2.5, None, True, "é", b"\x00\xff", 10**30], "b": (), 3: {"c": np.float32(0.5)}}
    assert read(pickle.dumps(values, protocol=protocol)) == values


@pytest.mark.parametrize(
    "value",
    [os.system, eval, np.load, getattr, pickle.loads, np.ndarray, np.dtype, open],
    ids=lambda v: v.__name__,
)
def test_a_function_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        read(pickle.dumps({"v_template": value}))


def test_ndarray_is_not_called() -> None:
    refused(NDARRAY + b"K\x02\x85R.", "would run numpy.ndarray")


def test_an_array_of_objects_is_refused() -> None:
    refused(pickle.dumps(np.array([None, 1], object)), "array of objects")
    state = b"(K\x01K\x02\x85cnumpy\ndtype\n" + text("O8") + b"K\x00K\x01\x87R\x89C\x10" + bytes(16) + b"t"
    refused(EMPTY + state + b"b.", "array of objects")


@pytest.mark.parametrize("code", ["V8", "O", "S10", "U4", "f8,O", "M8[s]", "(2,)f8"])
def test_other_types_are_refused(code: str) -> None:
    refused(b"cnumpy\ndtype\n" + text(code) + b"K\x00K\x01\x87R.", "array of type")


def test_a_tampered_dtype_changes_nothing() -> None:
    # numpy's own __setstate__ would take fields, a subtype and an item size from here.
    state = b"(K\x03" + text("<") + b"NNNJ\x00\x01\x00\x00J\x00\x01\x00\x00K\x3ft"
    array = EMPTY + b"(K\x01K\x01\x85" + FLOAT + state + b"b" + b"\x89C\x08" + struct.pack("<d", 2.5) + b"tb."
    assert read(array).tolist() == [2.5]


def test_an_array_has_as_many_bytes_as_its_shape() -> None:
    state = b"(K\x01J\xff\xff\xff\x7f\x85" + FLOAT + b"\x89C\x08" + bytes(8) + b"t"
    refused(EMPTY + state + b"b.", "with 8 bytes, expected 17179869176")


def test_functions_have_no_state_that_could_be_changed() -> None:
    before = pickles._reconstruct.__defaults__
    refused(RECONSTRUCT + b"N}" + text("__defaults__") + b"K\x01\x85s\x86b.", "changes ")
    assert pickles._reconstruct.__defaults__ is before


def test_a_memo_far_beyond_the_file_takes_no_memory() -> None:
    assert read(b"K\x07r\xff\xff\xff\xff.") == 7


def test_billion_laughs_end() -> None:
    laughs: Any = ["ha"]
    for _ in range(30):
        laughs = [laughs] * 10
    refused(pickle.dumps(laughs), "too large or too deep")


def test_billion_laughs_as_a_key_end() -> None:
    laughs: Any = ("ha",)
    for _ in range(30):
        laughs = (laughs, laughs)
    data = pickle.dumps([laughs])
    refused(b"}" + data[2:-1] + b"Ns.", "key of type|instruction|too large")


def test_a_structure_that_holds_itself_ends() -> None:
    refused(b"]q\x00h\x00a.", "too large or too deep")


def test_a_sparse_matrix_of_terabytes_is_refused() -> None:
    arrays = {name: np.zeros(1, np.int32) for name in ("data", "indices", "indptr")}
    state = pickle.dumps(arrays | {"_shape": (10**6, 10**6)}, protocol=2)[2:-1]
    refused(b"cscipy.sparse.csc\ncsc_matrix\n)\x81" + state + b"b.", "sparse matrix of shape")


@pytest.mark.parametrize("index", [-1, 3])
def test_indices_outside_of_a_sparse_matrix_are_refused(index: int) -> None:
    arrays: dict[str, Any] = {"data": np.ones(1), "indices": np.array([index]), "indptr": np.array([0, 1])}
    state = pickle.dumps(arrays | {"_shape": (3, 1)}, protocol=2)[2:-1]
    refused(b"cscipy.sparse.csc\ncsc_matrix\n)\x81" + state + b"b.", "do not fit its shape")


def test_a_huge_number_of_digits_is_refused() -> None:
    refused(b"I" + b"9" * 10_000 + b"\n.", "is damaged")


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_a_value_or_a_reason(data: bytes) -> None:
    try:
        read(data)
    except InvalidInputError as error:
        assert error.message


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_ends_in_a_value_or_a_reason(data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": [1, "x"]}, protocol=2))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(whole))
    except InvalidInputError as error:
        assert error.message


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "LARGEST", 10)
    refused(pickle.dumps(list(range(100))), "larger than")

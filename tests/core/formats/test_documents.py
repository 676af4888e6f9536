"""JSON that nobody can be trusted to have written well."""

from __future__ import annotations

import pytest

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.documents import read_json


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_makes_no_difference(mark: bytes) -> None:
    assert read_json(mark + '{"é": [1]}'.encode()) == {"é": [1]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "holds a JSON array, expected a JSON object"),
        (b"null", "holds null"),
    ],
)
def test_anything_but_an_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_json(data)

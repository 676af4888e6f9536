"""Untrusted JSON documents."""

from __future__ import annotations

import json
from typing import Any

from nersemble_cli.core.errors import InvalidInputError

_KINDS = {list: "a JSON array", str: "a JSON string", int: "a number", float: "a number", bool: "true or false"}


def parse_json(data: bytes) -> Any:
    """A JSON document in UTF-8, with or without a byte order mark.

    Raises `InvalidInputError` whose message follows the file's name ("is not JSON: …").
    """
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise InvalidInputError("is not JSON: it is nested too deeply") from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of too many digits
        raise InvalidInputError(f"is not JSON: {error}") from None


def read_json(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises `InvalidInputError` as `parse_json` does, also for a document of another type."""
    document = parse_json(data)
    if not isinstance(document, dict):
        kind = "null" if document is None else _KINDS[type(document)]
        raise InvalidInputError(f"holds {kind}, expected a JSON object")
    return document

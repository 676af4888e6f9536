from __future__ import annotations

import pytest

from nersemble_cli.core.errors import unknown_name


@pytest.mark.parametrize(
    ("typed", "near", "valid"),
    [
        ("EXP2-eyes", "EXP-2-eyes", ["EXP-1-head", "EXP-2-eyes"]),
        ("EMO-1-shout_laugh", "EMO-1-shout+laugh", ["FREE", "EMO-1-shout+laugh"]),
        (457, "475", [388, 422, 443, 445, 475]),
        ("glasses", "GLASSES", ["GLASSES", "HAIR"]),
    ],
)
def test_nearest_name_is_proposed(typed: object, near: str, valid: list[object]) -> None:
    error = unknown_name("name", typed, valid)
    assert error.hint == f"Did you mean {near}? Valid: {', '.join(map(str, valid))}."


@pytest.mark.parametrize("typed", ["", "+", "something else"])
def test_nothing_is_proposed_for_a_name_that_is_not_near(typed: str) -> None:
    assert unknown_name("sequence", typed, ["GLASSES", "HAIR"]).hint == "Valid: GLASSES, HAIR."

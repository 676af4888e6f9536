from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nersemble_cli.core.submission.frame_order import (
    AmbiguousOrderError,
    DuplicateFrameError,
    has_number,
    order_frames,
)


@pytest.mark.parametrize(
    "right",
    [
        ["frame_-2", "frame_-1", "frame_0", "frame_1"],
        ["-10", "-9", "0", "3"],
        ["render-2", "render-1", "render0"],
        ["frame-0", "frame-1", "frame-2"],
        ["t_12.25", "t_12.5", "t_13.0"],
        ["1e-05", "2e-05", "0.5"],
        ["00000_08", "00001_08", "00002_08"],
        ["0_512", "9_512", "10_512"],
        ["00000_iter30000", "00001_iter30000"],
        ["run7_9", "run7_10", "run7_11"],
        ["00000_0.0", "00001_0.04", "00002_0.08"],
        ["a_1", "b_2", "c3"],
        ["2024-05-01_0009", "2024-05-01_0010"],
        ["frame_00000/cam", "frame_00001/cam"],
    ],
)
def test_order_is_numeric_by_the_number_that_varies(right: list[str]) -> None:
    shuffled = sorted(right, reverse=True)
    assert [shuffled[i] for i in order_frames(shuffled).order] == right


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["0_0", "0_1", "1_0", "1_1"], "2 numbers vary in the names (0, 0, … and 0, 1, …)"),
        (["0_9", "1_8", "2_7"], "disagree about the order"),
        (["shot.1.9", "shot.1.10"], "whether 1.9 is a decimal number"),
        (["img", "img_1"], "1 name without a number: img"),
        (["x²", "٣"], "2 names without a number"),
    ],
)
def test_names_that_can_be_read_in_two_ways_are_refused(names: list[str], says: str) -> None:
    with pytest.raises(AmbiguousOrderError) as error:
        order_frames(names)
    assert says in error.value.message


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a_512", "b_512"], "All 2 names have the same number (512)"),
        (["1", "01"], "All 2 names have the same number (1)"),
        (["a_1", "b_1", "a_2"], "1 number occurs more than once, such as 1: a_1, b_1"),
    ],
)
def test_names_with_the_same_number_are_refused(names: list[str], says: str) -> None:
    with pytest.raises(DuplicateFrameError) as error:
        order_frames(names)
    assert says in error.value.message


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=50, unique=True),
    st.sampled_from(["", "_08", "_x"]),
)
def test_any_whole_numbers_come_in_order(numbers: list[int], tail: str) -> None:
    ordered = order_frames([f"frame_{n}{tail}" for n in numbers])
    assert [numbers[i] for i in ordered.order] == sorted(numbers)


def test_left_out_numbers_are_named() -> None:
    assert order_frames(["0", "3", "6", "12"]).missing == (9,)
    assert order_frames(["0", "3", "6"]).missing == ()


def test_numbers_are_found() -> None:
    assert has_number("frame_00001")
    assert not has_number("frame")

"""Memory for images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from nersemble_cli.core.video.pixels import forget_recycled, keep_freed_memory, new_image, recycled_image

SHAPE = (3, 40, 50, 3)


@pytest.fixture(autouse=True)
def nothing_recycled() -> Iterator[None]:
    forget_recycled()
    yield
    forget_recycled()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("is_one_of_many", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_new_image_can_be_written(is_one_of_many: bool, dtype: type) -> None:
    image = new_image(SHAPE, dtype, is_one_of_many)
    image[:] = 7
    assert (image.shape, image.dtype, image.sum()) == (SHAPE, np.dtype(dtype), 7 * image.size)
    assert image.flags.c_contiguous


def test_memory_of_a_dropped_array_is_used_again() -> None:
    first = recycled_image(SHAPE, np.float32)
    place = address(first)
    del first
    assert address(recycled_image(SHAPE, np.float32)) == place


def test_memory_that_is_still_held_is_left_alone() -> None:
    first = recycled_image(SHAPE, np.uint8)
    first[:] = 1
    view = first[0, 5:]
    del first
    second = recycled_image(SHAPE, np.uint8)
    second[:] = 2
    assert (view == 1).all()


def test_memory_of_another_size_is_not_used() -> None:
    small = recycled_image((2, 2), np.uint8)
    del small
    large = recycled_image(SHAPE, np.float32)
    large[:] = 1
    assert large.shape == SHAPE


def test_memory_can_be_kept_more_than_once() -> None:
    keep_freed_memory()
    keep_freed_memory()
    assert new_image(SHAPE, np.uint8).shape == SHAPE

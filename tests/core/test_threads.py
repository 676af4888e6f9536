"""Work in threads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nersemble_cli.core.errors import Cancelled
from nersemble_cli.core.threads import Cancel, in_threads


def test_failure_of_one_part_cancels_the_others() -> None:
    cancelled = []

    def work(item: int, cancel: Cancel) -> None:
        if item == 3:
            raise ValueError("three")
        try:
            while True:
                cancel.check()
        except Cancelled:
            cancelled.append(item)
            raise

    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, [1, 2, 3], 3))
    assert sorted(cancelled) == [1, 2]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_every_item_comes_back_once(items: list[int], workers: int) -> None:
    assert sorted(in_threads(lambda item, _: -item, items, workers)) == sorted((i, -i) for i in items)

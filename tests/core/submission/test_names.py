"""Names in a submission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.submission import names


@given(
    st.sampled_from([n for b in BENCHMARKS.values() for n in names.expected_names(b)]),
    st.booleans(),
    st.booleans(),
)
def test_canonical_name_is_the_same_however_it_is_written(name: str, backslashes: bool, unpadded: bool) -> None:
    written = name.replace("cam_", "").upper().replace(".MP4", ".mp4")
    written = written.replace("/", "\\") if backslashes else written
    written = written.lstrip("0") if unpadded else f"0{written}"
    assert names.canonical(written) == names.canonical(name)


def test_canonical_names_are_distinct() -> None:
    for benchmark in BENCHMARKS.values():
        expected = names.expected_names(benchmark)
        assert len({names.canonical(name) for name in expected}) == len(expected)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_is_recognised_by_a_single_file(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert names.recognise(names.expected_names(benchmark)[3:4]) is benchmark

"""Damaged files of every kind: each is read or refused in the project's own words. `perf/fuzz.py` tries more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzzing import KINDS, fuzz, make_input, read_one

N_INPUTS = 60
SEED = 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused(name: str) -> None:
    assert list(fuzz(name, SEED, 0, N_INPUTS)) == []


def test_the_same_seed_makes_the_same_input() -> None:
    inputs = [make_input("calibration", SEED, number) for number in range(20)]
    assert inputs == [make_input("calibration", SEED, number) for number in range(20)]
    assert len(set(inputs)) > 15


def test_a_foreign_exception_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OverflowError

    monkeypatch.setitem(
        KINDS, "settings", KINDS["settings"].__class__(".env", lambda: [b""], fail, lambda d, r: d)
    )
    with pytest.raises(OverflowError):
        read_one("settings", tmp_path / ".env")

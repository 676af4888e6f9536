"""The tasks as data."""

from __future__ import annotations

import json

import pytest

from nersemble_cli import constants
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR, choose, get_benchmark, parse_participant
from nersemble_cli.core.errors import UsageError


def test_submissions_have_the_documented_sizes() -> None:
    assert len(NVS.slots) == 15
    assert len(MONO.slots) == 80
    assert len(SVFR.slots) == 2 * 391
    assert sum(NVS.n_frames.values()) * 3 == 10548


def test_timesteps_are_padded_in_submissions_only() -> None:
    padded = [s for s in SVFR.slots if s.kind == "posed" and f"_{s.key.timestep}_" not in s.path]
    assert len(padded) == 116
    assert "{timestep}" in SVFR.assets[0].path


def test_constants_have_the_official_types() -> None:
    assert constants.BENCHMARK_NVS_IDS_AND_SEQUENCES[0] == (388, "GLASSES")
    assert len(constants.BENCHMARK_NVS_TRAIN_SERIALS) == 13
    assert constants.BENCHMARK_SVFR_IMAGE_KEYS[17][0] == ("EMO-1-shout+laugh", 156, "221501007")
    assert sum(map(len, constants.BENCHMARK_SVFR_IMAGE_KEYS.values())) == 391


@pytest.mark.parametrize("value", ["17", "017", 17, " 17 "])
def test_participant_may_be_padded(value: str | int) -> None:
    assert parse_participant(value, SVFR) == 17


def test_participant_of_another_benchmark_is_told_apart() -> None:
    with pytest.raises(UsageError, match="388 belongs to nvs"):
        parse_participant(388, MONO)


def test_choice_keeps_the_valid_order() -> None:
    assert choose("letter", ["c", "a"], "abc") == ("a", "c")
    assert choose("letter", [], "abc") == ("a", "b", "c")


def test_unknown_benchmark_lists_the_known() -> None:
    with pytest.raises(UsageError, match="nvs, mono, svfr"):
        get_benchmark("nvs2")


def test_svfr_images_are_package_data() -> None:
    from importlib import resources

    text = resources.files("nersemble_cli").joinpath("data/svfr_images.json").read_text("utf-8")
    assert sum(map(len, json.loads(text).values())) == 391

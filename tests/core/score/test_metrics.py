from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.score.metrics import (
    IMAGE_METRICS,
    by_batches,
    image_metrics,
    is_dropped,
    mean_squared_error,
    summarise,
)
from tests.core.score.cases import CASES

REFERENCE: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("reference.json").read_text())["values"]
NEARLY = {"psnr": 1e-3, "ssim": 2e-5, "ms_ssim": 2e-5, "mse": 1e-7}


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_those_of_torchmetrics_in_batches_of_16(name: str) -> None:
    render, truth = CASES[name]()
    found, _ = summarise([image_metrics(a, b, IMAGE_METRICS) for a, b in zip(render, truth, strict=True)])
    expected = {key: value for key, value in REFERENCE[name].items() if key != "lpips"}
    assert set(found) - {"ssim_cropped"} == set(expected)
    for key, value in expected.items():
        wanted = math.inf if value is None else value
        assert found[key] == pytest.approx(wanted, abs=NEARLY[key]), key


def test_a_short_last_batch_weighs_as_much_as_a_full_one() -> None:
    assert by_batches("ssim", [1.0] * 16 + [0.0]) == 0.5
    assert by_batches("mse", [1.0] * 16 + [0.0]) == pytest.approx(16 / 17)


def test_psnr_pools_the_errors_of_a_batch() -> None:
    assert by_batches("psnr", [0.01] * 8 + [0.0] * 8) == pytest.approx(-10 * math.log10(0.005))


def test_both_averages_are_given_and_differ() -> None:
    frames = [{"mse": mse, "psnr": -10 * math.log10(mse)} for mse in (1e-2, 1e-4)]
    batches, means = summarise(frames)
    assert means["psnr"] == pytest.approx(30)
    assert batches["psnr"] == pytest.approx(-10 * math.log10((1e-2 + 1e-4) / 2))


def test_a_metric_that_a_frame_lacks_is_not_averaged() -> None:
    assert "ssim" not in summarise([{"mse": 0.1, "ssim": 1.0}, {"mse": 0.1}])[0]
    assert summarise([]) == ({}, {})


def test_the_cropped_ssim_leaves_the_border_out() -> None:
    truth = np.full((40, 40, 3), 200, np.uint8)
    render = truth.copy()
    render[:3] = 0
    values = image_metrics(render, truth, ["ssim"])
    assert values["ssim"] < values["ssim_cropped"] < 1


def test_a_matte_leaves_the_background_out() -> None:
    truth = np.full((200, 200, 3), 255, np.uint8)
    render = truth.copy()
    truth[50:150, 50:150], render[50:150, 50:150] = 100, 110
    matte = np.zeros((200, 200), np.float32)
    matte[50:150, 50:150] = 1
    assert mean_squared_error(render, truth, matte) == pytest.approx((10 / 255) ** 2)
    assert mean_squared_error(render, truth) == pytest.approx((10 / 255) ** 2 / 4)
    whole, inside = (image_metrics(render, truth, IMAGE_METRICS, m) for m in (None, matte))
    assert inside["ssim"] < whole["ssim"]
    full = image_metrics(render, truth, IMAGE_METRICS, np.ones_like(matte))
    assert full == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize(("values", "dropped"), [((0, 128), True), ((0,), True), ((128, 255), False)])
def test_marker_frames_are_dropped(values: tuple[int, ...], dropped: bool) -> None:
    frame = np.full((8, 8, 3), values[0], np.uint8)
    frame[4:] = values[-1]
    assert is_dropped(frame) is dropped

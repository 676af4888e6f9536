from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.score.document import NOTICE, Score, VideoScore
from nersemble_cli.core.score.jobs import Request, pair_job
from nersemble_cli.core.score.plan import make_plan
from nersemble_cli.core.score.report import error_map, make_page, number, worst_frames, write_video
from nersemble_cli.core.score.run import new_score, run
from nersemble_cli.core.score.sources import Job
from nersemble_cli.core.video.reader import VideoReader
from tests.conftest import missing
from tests.core.score.test_run import write

N = 4


def video(path: str, *ssim: float) -> VideoScore:
    rows = [{"timestep": t, "mse": 0.01, "psnr": 20.0, "ssim": value} for t, value in enumerate(ssim)]
    return VideoScore(path, "lossless", 73.0, rows)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """White against white, with a dark square in the render of timestep 2."""
    truth = np.full((N, 32, 48, 3), 255, np.uint8)
    render = truth.copy()
    render[2, 8:16, 8:16] = 40
    return pair_job(write(tmp_path / "a", render), write(tmp_path / "b", truth), Fraction(24), Request())


def scored(job: Job) -> Score:
    plan = make_plan("psnr,ssim,mse")
    score = new_score("pair", None, plan)
    run(score, [job], plan)
    return score


def test_the_page_shows_the_worst_frames_and_needs_no_network(job: Job) -> None:
    page = make_page(scored(job), [job], 1)
    assert html.escape(NOTICE) in page
    assert "<h2>The worst frame</h2>" in page
    assert "timestep 2</h3>" in page
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("<svg") == 2  # PSNR and SSIM


def test_worst_frames_are_ordered() -> None:
    found = worst_frames([video("a", 0.9, 0.5), video("b", 0.7)], 2)
    assert [(v.path, row["timestep"]) for v, row in found] == [("a", 1), ("b", 0)]


def test_the_change_to_a_baseline_is_shown_with_its_direction() -> None:
    new, old = (Score("nvs", 14, {}, [video("a", value)]) for value in (0.8, 0.9))
    page = make_page(new, [], 8, old)
    assert '<span class="worse">(-0.1000)</span>' in page
    assert '<span class="better">(+0.1000)</span>' in make_page(old, [], 8, new)


def test_names_of_files_are_text_not_markup() -> None:
    page = make_page(Score("nvs", 14, {}, [video("<script>alert(1)</script>", 0.5)]), [], 0)
    assert "<script>alert" not in page


def test_the_error_map_has_one_scale() -> None:
    truth = np.zeros((1, 3, 3), np.uint8)
    render = truth.copy()
    render[0, 1] = 43  # three times that is just above the end of the scale
    render[0, 2] = 255
    colors = error_map(render, truth)[0]
    assert tuple(colors[1]) == tuple(colors[2])
    assert colors[0, 2] > colors[0, 0]  # dark blue
    assert colors[2, 0] > colors[2, 2]  # dark red


def test_numbers_that_are_not() -> None:
    assert [number("psnr", value) for value in (None, float("inf"), 30.123)] == ["–", "∞", "30.12"]


@pytest.mark.slow
def test_the_video_has_all_three_side_by_side(job: Job, tmp_path: Path) -> None:
    write_video(tmp_path / "side.mp4", [job])
    reader = VideoReader(tmp_path / "side.mp4")
    assert reader.n_frames == N
    frame = reader.rgb(2)
    assert frame.shape == (32, 144, 3)
    assert frame[12, 12].max() < 80  # the render
    assert frame[12, 60].min() > 230  # the truth
    assert frame[12, 108, 0] > frame[12, 108, 2] + 50  # the error is red
    with pytest.raises(UsageError, match="different sizes"):
        from dataclasses import replace

        write_video(tmp_path / "two.mp4", [job, replace(job, width=46)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if (chromium := shutil.which("chromium") or shutil.which("chromium-browser")) is None:
        missing("Chromium is", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(browser: Any, width: int, job: Job, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(make_page(scored(job), [job], 2), "utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].slice(0, -1).every(image => image.naturalWidth > 0)")
    enlarged = page.locator("dialog img")
    assert not enlarged.is_visible()
    small = page.locator("button.picture img").first
    small.click()
    assert enlarged.is_visible()
    assert enlarged.bounding_box()["width"] > small.bounding_box()["width"]
    assert enlarged.get_attribute("src") == small.get_attribute("src")
    enlarged.click()
    assert not enlarged.is_visible()
    assert complaints == []
    page.close()

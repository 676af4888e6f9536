"""Makes the pictures of the README and the site again, from a made-up benchmark, and writes them to docs/images.

    python docs/make_images.py            all of them
    python docs/make_images.py view       those whose names contain "view"

The pictures of `visualize` are made by the commands beside them; those of pages are taken in Chromium.
Needs the extra `dev` and takes some minutes.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.scenes.sheet import write_sheet
from nersemble_cli.core.synthetic import Recipe, make_benchmark, write_flame_model
from nersemble_cli.core.synthetic.benchmark import render_frames
from nersemble_cli.core.viewer.results import open_results
from nersemble_cli.core.viewer.server import Choice, Viewer

HERE = Path(__file__).resolve().parent
LARGEST = 800  # pixels of a picture's longer side
VIEW_FRAMES = 10
PAUSE = 1500  # milliseconds; without a GPU the browser draws slowly
CHROMIUM_FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    readme = (HERE.parent / "README.md").read_text("utf-8")
    commands = re.findall(r"^(?:\$ )?nersemble (visualize .*-o \S+\.png)\b", readme, re.MULTILINE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_benchmark(
            folder / "nersemble_benchmark",
            Recipe(n_points=200_000),
            participants={"nvs": [388], "mono": [393]},
            sequences=["GLASSES", "EXP-1-head"],
        )
        model = write_flame_model(folder / "flame")
        environment = {
            **os.environ,
            "NERSEMBLE_FLAME_MODEL": str(model),
            "NERSEMBLE_BENCHMARK_FOLDER": str(data),
            "PYTHONPATH": str(HERE.parent),
        }
        for words in map(shlex.split, commands):
            if wanted not in words[-1]:
                continue
            subprocess.run(
                [sys.executable, "-m", "nersemble_cli", *words], cwd=folder, env=environment, check=True
            )
            picture = Image.open(folder / words[-1]).convert("RGB")
            picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            save(picture, words[-1])
        if wanted in "view.png view.webp":
            make_view_images(folder)
        if wanted in "sheet.png":
            make_sheet_image(folder)


def save(picture: Image.Image, name: str, **options: Any) -> None:
    target = HERE / "images" / name
    picture.save(target, **options)
    print(f"{target.relative_to(HERE.parent)}: {target.stat().st_size:,} bytes")


def write_renders(place: Path, recipe: Recipe) -> Path:
    """What a method makes of the hold-out cameras of 388."""
    for serial in NVS.hold_out_serials:
        target = place / f"388/GLASSES/cam_{serial}"
        target.mkdir(parents=True)
        for timestep, frame in enumerate(render_frames(NVS, 388, "GLASSES", serial, recipe)):
            (target / f"{timestep:05d}.png").write_bytes(encode_png(frame))
    return place


def make_sheet_image(place: Path) -> None:
    """A proof sheet's page, for a video whose last frame is missing."""
    recipe = Recipe(n_frames=VIEW_FRAMES)
    data = make_benchmark(place / "proofed", recipe, participants={"nvs": [388]}, sequences=["GLASSES"])
    renders = write_renders(place / "proofed_renders", recipe)
    (renders / f"388/GLASSES/cam_{NVS.hold_out_serials[0]}/{VIEW_FRAMES - 1:05d}.png").unlink()
    write_sheet(renders, place / "sheet.html", data)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 860})
        page.goto((place / "sheet.html").as_uri())
        page.locator("body[data-ready]").wait_for()
        page.evaluate("document.querySelector('.card').scrollIntoView()")
        page.wait_for_timeout(PAUSE)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    save(picture.quantize(192), "sheet.png", optimize=True)


def make_view_images(place: Path) -> None:
    """A picture of `nersemble view` and a short recording: time moves, then the eye goes to a hold-out camera."""
    recipe = Recipe(n_frames=VIEW_FRAMES, n_points=100_000)
    data = make_benchmark(place / "viewed", recipe, participants={"nvs": [388]}, sequences=["GLASSES"])
    results = open_results(write_renders(place / "renders", recipe))
    viewer = Viewer(data, Choice(NVS, 388), results, port=18080)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.set_default_timeout(120_000)
        page.goto(f"http://127.0.0.1:{viewer.port}")
        page.get_by_text("Participant").first.wait_for()
        page.locator(".mantine-Notification-closeButton").first.click()  # that WebGL is slow without a GPU

        def shot() -> Image.Image:
            page.wait_for_timeout(PAUSE)
            return Image.open(io.BytesIO(page.screenshot())).convert("RGB")

        page.wait_for_timeout(10 * PAUSE)
        first = shot()
        save(first.quantize(192), "view.png", optimize=True)
        frames = [first]
        for _ in range(VIEW_FRAMES - 1):
            page.get_by_role("button", name="+1", exact=True).click()
            frames.append(shot())
        page.get_by_label("Look through").click()
        page.get_by_role("option", name=NVS.hold_out_serials[0]).click()
        page.wait_for_timeout(3 * PAUSE)
        for _ in range(VIEW_FRAMES - 1):
            frames.append(shot())
            page.get_by_role("button", name="−1", exact=True).click()
        browser.close()
    viewer.close()
    results.close()
    for frame in frames:
        frame.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    save(
        frames[0], "view.webp", save_all=True, append_images=frames[1:], duration=250, loop=0, quality=60, method=6
    )


if __name__ == "__main__":
    main()

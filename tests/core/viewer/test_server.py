"""The viewer's page, in a real browser."""

from __future__ import annotations

import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import viser.transforms as tf

from nersemble_cli.core.benchmarks import BENCHMARKS, NVS, SVFR, VideoSlot
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.viewer.results import UserResults, open_results
from nersemble_cli.core.viewer.server import Choice, Viewer, free_port, participants_in
from nersemble_cli.core.viewer.stage import difference
from tests import made_up
from tests.conftest import missing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 90_000  # milliseconds; WebGL is drawn by the processor here


@pytest.fixture
def renders(tmp_path: Path) -> Path:
    """Frames of a hold-out camera and of a training camera."""
    for serial in ("222200037", "222200042"):
        folder = tmp_path / f"renders/388/GLASSES/cam_{serial}"
        folder.mkdir(parents=True)
        for t in range(made_up.RECIPE.n_frames):
            (folder / f"{t:05d}.png").write_bytes(made_up.png(np.full((32, 22, 3), 40 * t, np.uint8)))
    return tmp_path / "renders"


def open_viewer(folder: Path, name: str, results: UserResults | None = None) -> Viewer:
    benchmark = BENCHMARKS[name]
    return Viewer(folder, Choice(benchmark, benchmark.participants[0]), results or UserResults(), port=18080)


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        missing("Chromium is", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def visit(browser: Any, viewer: Viewer, width: int = 800, height: int = 500) -> Any:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(f"http://127.0.0.1:{viewer.port}")
    page.get_by_text("Participant").first.wait_for(timeout=PATIENCE)
    return page


def until(condition: Any, seconds: float = 30) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 50


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Cannot listen at 192\.0\.2\.1"):
        free_port("192.0.2.1", 8080)


def test_participants_are_those_with_data(synthetic: Path) -> None:
    assert participants_in(synthetic) == {b.name: [b.participants[0]] for b in BENCHMARKS.values()}


def test_difference_is_grey_where_equal() -> None:
    a = np.full((2, 2, 3), 100, np.uint8)
    assert difference(a, a).tolist() == np.full((2, 2, 3), 128).tolist()
    assert difference(a, a + 20)[0, 0].tolist() == [148] * 3


def test_results_of_any_camera_are_found(renders: Path) -> None:
    results = open_results(renders)
    assert sorted(results.renders[388, "GLASSES"]) == ["222200037", "222200042"]
    assert results.task == "nvs"


@pytest.mark.slow
def test_videos_of_a_zip_are_unpacked_when_looked_at(tmp_path: Path) -> None:
    slot = NVS.slots[0]
    video = made_up.video("nvs", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(slot.path, video)
    results = open_results(tmp_path / "a.zip")
    source = results.renders[slot.participant, slot.sequence][slot.serial]
    assert source.n_frames == 3
    assert source.read(2, 100).shape == (100, 69, 3)
    results.close()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="belongs to a submission"):
        open_results(tmp_path)


def test_slots_of_results_are_recognised_by_any_spelling(tmp_path: Path) -> None:
    assert VideoSlot(388, "GLASSES", "222200037").path == "388/GLASSES/cam_222200037.mp4"
    folder = tmp_path / "0388/glasses/222200037"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(made_up.png(np.zeros((4, 4, 3), np.uint8)))
    assert list(open_results(tmp_path).renders) == [(388, "GLASSES")]


def test_renders_in_another_layout_are_found(tmp_path: Path) -> None:
    for t in (2, 0, 1):
        path = tmp_path / f"renders/388/GLASSES/frame_{t:05d}/cam_222200042.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(made_up.png(np.full((4, 4, 3), 100 * t, np.uint8)))
    source = open_results(tmp_path / "renders").renders[388, "GLASSES"]["222200042"]
    assert [int(source.read(t, 4)[0, 0, 0]) for t in range(source.n_frames)] == [0, 100, 200]


@pytest.mark.slow
def test_slider_and_camera_in_a_browser(synthetic: Path, renders: Path, browser: Any) -> None:
    viewer = open_viewer(synthetic, "nvs", open_results(renders))
    page = visit(browser, viewer)
    stage = viewer._page._stage  # type: ignore[union-attr]
    slider = page.locator("input[type=text], input[inputmode]").first
    assert slider.count() == 1
    page.get_by_role("button", name="+1", exact=True).click(timeout=PATIENCE)
    assert until(lambda: viewer._page._slider.value == 1)  # type: ignore[union-attr]
    assert until(lambda: stage._shown.get("222200042", ("", -1))[1] == 1)
    page.get_by_label("Look through").click(timeout=PATIENCE)
    page.get_by_role("option", name="222200037").click(timeout=PATIENCE)
    center = stage.calibration.cam_2_world("222200037")[:3, 3]

    def is_there() -> bool:
        clients = list(viewer._server.get_clients().values())
        return bool(clients) and bool(np.allclose(clients[0].camera.position, center, atol=1e-2))

    assert until(is_there)
    assert until(lambda: viewer._page._overlay is not None)  # type: ignore[union-attr]
    viewer.close()


@pytest.mark.slow
def test_a_click_on_a_frustum_looks_through_its_camera(synthetic: Path, browser: Any) -> None:
    viewer = open_viewer(synthetic, "mono")
    page = visit(browser, viewer)
    viewed: Any = viewer._page
    stage = viewed._stage
    assert until(lambda: len(viewer._server.get_clients()) == 1)
    (client,) = viewer._server.get_clients().values()

    def center(serial: str) -> np.ndarray:
        """Where the middle of a camera's image is in the window: pixels, and the depth in metres."""
        intrinsics, depth = stage.calibration.intrinsics[serial], stage.rig.depth
        height, width = stage.size
        x, y = ((np.array([width, height]) / 2 - intrinsics[:2, 2]) / intrinsics[[0, 1], [0, 1]]) * depth
        pose = stage.calibration.cam_2_world(serial)
        point = tf.SO3(client.camera.wxyz).inverse() @ ((pose @ [x, y, depth, 1])[:3] - client.camera.position)
        focal = 250 / np.tan(client.camera.fov / 2)
        return np.array([400 + focal * point[0] / point[2], 250 + focal * point[1] / point[2], point[2]])

    # The nearest one of those that the controls on the right do not cover.
    serial = min(
        (s for s in stage.serials if 20 < center(s)[0] < 480 and 20 < center(s)[1] < 480),
        key=lambda s: center(s)[2],
    )

    def clicked() -> bool:
        """Clicks until the scene is drawn: what is not there yet cannot be hit."""
        x, y, _ = center(serial)
        page.mouse.click(x, y, delay=200)
        return until(lambda: viewed._through.value == serial, 3)

    assert until(clicked, 60)
    assert np.allclose(client.camera.position, stage.calibration.cam_2_world(serial)[:3, 3], atol=1e-2)
    viewer.close()


@pytest.mark.slow
def test_two_clients_and_one_that_vanishes(synthetic: Path, browser: Any) -> None:
    viewer = open_viewer(synthetic, "mono")
    first, second = visit(browser, viewer), visit(browser, viewer, 390, 700)
    assert until(lambda: len(viewer._server.get_clients()) == 2)
    first.close()
    assert until(lambda: len(viewer._server.get_clients()) == 1)
    second.get_by_role("button", name="+1", exact=True).click(timeout=PATIENCE)
    assert until(lambda: viewer._page._slider.value == 1)  # type: ignore[union-attr]
    viewer.close()


def test_a_broken_video_is_said_in_the_page(synthetic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "benchmark"
    shutil.copytree(synthetic, folder)
    next(folder.glob("nvs/388/sequences/GLASSES/images/*.mp4")).write_bytes(b"no video")
    viewer = open_viewer(folder, "nvs")
    page = viewer._page
    assert until(lambda: "cannot be read" in page._messages.content)  # type: ignore[union-attr]
    assert until(lambda: page._stage.frames.n_ready(0) == 1)  # type: ignore[union-attr]
    viewer.close()


def test_a_broken_cloud_is_said_in_the_page(synthetic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "benchmark"
    shutil.copytree(synthetic, folder)
    (folder / "nvs/388/sequences/GLASSES/pointclouds/frame_00000.pcd").write_bytes(b"no cloud")
    viewer = open_viewer(folder, "nvs")
    page: Any = viewer._page
    assert until(lambda: "frame_00000.pcd" in page._messages.content)
    assert until(lambda: page._stage.frames.n_ready(0) == len(page._stage.sources))
    viewer.close()


def test_meshes_stand_beside_the_image(synthetic: Path, tmp_path: Path) -> None:
    slot = SVFR.slots[0]
    ply = made_up.ply(2000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(slot.path, ply)
        archive.writestr(slot.landmarks_path, made_up.npy(made_up.now_landmarks()))
    results = open_results(tmp_path / "a.zip")
    viewer = open_viewer(synthetic, "svfr", results)
    scene = viewer._server.scene
    assert scene.get_handle_by_name(f"/{slot.kind}/mesh") is not None
    assert scene.get_handle_by_name(f"/{slot.kind}/7/label") is not None
    assert scene.get_handle_by_name("/input/image") is not None
    assert "No neutral mesh." in viewer._page._text.content  # type: ignore[union-attr]
    viewer.close()
    results.close()


def test_the_sequence_can_be_changed(synthetic: Path) -> None:
    viewer = open_viewer(synthetic, "mono")
    page: Any = viewer._page
    page._choice.value = "FREE"
    assert until(lambda: page._stage.sequence == "FREE")
    assert until(lambda: "held out" in page._messages.content)
    viewer.close()

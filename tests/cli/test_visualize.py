"""`nersemble visualize`: what is written and printed, and what is said to wrong arguments."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import trimesh

from nersemble_cli.cli import visualize
from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT, MONO, NVS, VideoSlot
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.scenes import display, export
from nersemble_cli.core.synthetic import render_frames
from tests.conftest import ROOT, Run, missing
from tests.made_up import RECIPE, encode, png, write_zip

pytestmark = pytest.mark.slow

SIZE = ("--size", "240x180")


@pytest.fixture(autouse=True)
def _folder(synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_FOLDER", str(synthetic))


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch, drawing: None) -> None:
    if display.find_surface() == "display":
        monkeypatch.setattr("nersemble_cli.core.scenes.display.prepare_rendering", lambda: False)


def n_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# What is written


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("arguments", [("cameras", "388"), ("pointcloud", "388"), ("cameras", "393")])
def test_a_picture(arguments: tuple[str, str], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    result = run("visualize", *arguments, "-o", path, *SIZE)
    assert (result.status, result.out) == (0, f"{path}\n"), result.err
    picture = read_rgb(path)
    assert picture.shape == (180, 240, 3) and picture.std() > 5


@pytest.mark.usefixtures("drawing")
def test_flame(run: Run, flame_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "flame.png"
    arguments = ("-s", "EXP-1-head", "-t", "2", "--flame-model", flame_model, "-o", path, *SIZE)
    result = run("visualize", "flame", "393", *arguments)
    assert (result.status, result.out, result.err) == (0, f"{path}\n", "")
    assert read_rgb(path).std() > 5


@pytest.mark.usefixtures("no_display")
def test_without_a_display_new_pictures_lie_beside_the_user(run: Run) -> None:
    first = run("visualize", "cameras", "388", *SIZE)
    Path("cameras_388_GLASSES_00000.png").write_bytes(b"somebody else's by now")
    second = run("visualize", "cameras", "388", *SIZE)
    assert (first.out, second.out) == ("cameras_388_GLASSES_00000.png\n", "cameras_388_GLASSES_00000_2.png\n")
    assert Path("cameras_388_GLASSES_00000.png").read_bytes() == b"somebody else's by now"
    assert read_rgb(Path("cameras_388_GLASSES_00000_2.png")).shape == (180, 240, 3)


@pytest.mark.usefixtures("drawing")
def test_with_a_display_a_window_opens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyvista as pv

    shown: list[str] = []
    monkeypatch.setattr("nersemble_cli.core.scenes.display.prepare_rendering", lambda: True)
    monkeypatch.setattr(pv.Plotter, "show", lambda self, title: shown.append(title))
    handlers: list[tuple[int, object]] = []  # the test's process keeps its own
    monkeypatch.setattr(visualize.signal, "signal", lambda *given: handlers.append(given))
    result = run("visualize", "pointcloud", "388", *SIZE)
    assert (result.status, result.out) == (0, "")
    assert shown == ["388 · GLASSES · timestep 0"]
    assert "q to close" in result.err
    assert (signal.SIGINT, signal.SIG_DFL) in handlers  # Ctrl-C ends it, in spite of VTK's loop
    assert list(Path().glob("*.png")) == []


@pytest.mark.usefixtures("drawing")
def test_o_replaces_an_older_file(run: Run) -> None:
    Path("a.png").write_bytes(b"old")
    assert run("visualize", "cameras", "388", "-o", "a.png", *SIZE).status == 0
    assert read_rgb(Path("a.png")).shape == (180, 240, 3)


@pytest.mark.usefixtures("drawing")
def test_the_sequence_plays(run: Run, flame_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    assert run("visualize", "flame", "393", "--frames", "1-4", "-o", "f.mp4", *SIZE).out == "f.mp4\n"
    assert run("visualize", "flame", "393", "-s", "FREE", "-o", "all.mp4", "--size", "201x151").status == 0
    assert run("visualize", "pointcloud", "388", "-o", "p.mp4", *SIZE).status == 0
    assert (n_frames(Path("f.mp4")), n_frames(Path("all.mp4"))) == (4, 6)
    assert n_frames(Path("p.mp4")) == 2  # as many point clouds as are here
    with av.open("all.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (200, 150)
        assert stream.average_rate == MONO.fps


@pytest.mark.usefixtures("drawing")
def test_a_turn_around_the_cameras(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TURN_FRAMES", 5)
    assert run("visualize", "cameras", "388", "-o", "turn.mp4", *SIZE).out == "turn.mp4\n"
    assert n_frames(Path("turn.mp4")) == 5


@pytest.mark.usefixtures("drawing")
def test_a_single_point_cloud_turns(
    run: Run, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TURN_FRAMES", 3)
    shutil.copytree(synthetic / "nvs", tmp_path / "one" / "nvs")
    next((tmp_path / "one").rglob("frame_00000.pcd")).unlink()
    result = run("visualize", "pointcloud", "388", "-f", tmp_path / "one", "-o", "turn.mp4", *SIZE)
    assert result.status == 0
    assert "timestep 3" in result.err and "--pointcloud-frames all" in result.err
    assert n_frames(Path("turn.mp4")) == 3


def test_ply_of_flame_and_of_a_point_cloud_need_no_opengl(
    run: Run, flame_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "find_surface", lambda: "nothing")
    assert run("visualize", "flame", "393", "--flame-model", flame_model, "-o", "head.ply").out == "head.ply\n"
    assert len(trimesh.load("head.ply", process=False).vertices) == FLAME_VERTEX_COUNT
    assert run("visualize", "pointcloud", "388", "-o", "cloud.ply").status == 0
    assert b"property float nx" in Path("cloud.ply").read_bytes()[:500]


@pytest.mark.usefixtures("drawing")
def test_names_of_files_are_names(run: Run, synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TURN_FRAMES", 2)
    Path("12:30").mkdir()
    assert run("visualize", "cameras", "388", "-o", "12:30/X.PNG", *SIZE).out == "12:30/X.PNG\n"
    assert read_rgb(Path("12:30/X.PNG")).shape == (180, 240, 3)
    assert run("visualize", "cameras", "388", "-o", "a:b.Mp4", *SIZE).out == "a:b.Mp4\n"
    assert n_frames(Path("a:b.Mp4").absolute()) == 2


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("overlay", ["points", "wireframe", "shaded"])
def test_flame_over_any_camera(overlay: str, run: Run, flame_model: Path) -> None:
    arguments = ("-s", "EXP-1-head", "-c", "222200046", "--overlay", overlay, "--opacity", "0.5")
    result = run(
        "visualize", "flame", "393", *arguments, "--flame-model", flame_model.parent, "-o", "a.png", *SIZE
    )
    assert (result.status, result.out) == (0, "a.png\n"), result.err
    assert "222200046 is held out" in result.err
    assert read_rgb(Path("a.png")).std() > 5


@pytest.mark.usefixtures("drawing")
def test_a_mesh(run: Run) -> None:
    ball = trimesh.creation.icosphere(2, 0.1)
    ball.export("ball.ply")
    np.save("landmarks.npy", np.array([[x, 0.02 * (x > 0), 0.1] for x in np.linspace(-0.05, 0.05, 7)]))
    result = run("visualize", "mesh", "ball.ply", "--landmarks", "landmarks.npy", "-o", "a.png", *SIZE)
    assert (result.status, result.out, result.err) == (0, "a.png\n", "")
    assert read_rgb(Path("a.png")).std() > 5
    assert run("visualize", "mesh", "ball.ply", "-o", "copy.ply").status == 0
    assert len(trimesh.load("copy.ply", process=False).vertices) == len(ball.vertices)


@pytest.mark.usefixtures("drawing")
def test_files_that_are_not_a_mesh_or_landmarks(run: Run) -> None:
    trimesh.creation.icosphere(1).export("ball.ply")
    np.save("68.npy", np.zeros((68, 3)))
    np.save("words.npy", np.array(["a"]))
    for arguments, said in (
        (("68.npy",), "68.npy"),
        (("nowhere.ply",), "No such file"),
        (("ball.ply", "--landmarks", "ball.ply"), "ball.ply"),
        (("ball.ply", "--landmarks", "68.npy"), "(7, 3)"),
        (("ball.ply", "--landmarks", "words.npy"), "not numbers"),
    ):
        result = run("visualize", "mesh", *arguments, "-o", "a.png")
        assert result.status == 2 and said in result.err and "Unexpected" not in result.err
    assert not Path("a.png").exists()


@pytest.mark.parametrize(
    ("module", "package", "arguments"),
    [
        ("pyvista", "pyvista", ("cameras", "388", "-o", "a.png")),
        ("vtkmodules", "vtk", ("pointcloud", "388")),
        ("trimesh", "trimesh", ("cameras", "388", "-o", "a.glb")),
        ("trimesh", "trimesh", ("mesh", "ball.ply", "-o", "a.png")),
        ("cv2", "opencv-python", ("pointcloud", "388", "-o", "a.html")),
    ],
)
def test_packages_that_are_not_installed(
    module: str, package: str, arguments: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run("visualize", *arguments)
    assert result.status == 2
    assert f"pip install {package}" in result.err and "bug" not in result.err


def test_the_help_names_all_formats(run: Run) -> None:
    text = run("visualize", "cameras", "--help").out
    assert all(suffix in text for suffix in export.FORMATS)


# What is said


def test_an_unknown_format_lists_the_known_ones(run: Run) -> None:
    result = run("visualize", "cameras", "999", "-f", "nowhere", "-o", "a.tiff")  # comes before all else
    assert result.status == 2
    for suffix in (".png", ".html", ".mp4", ".gltf", ".glb", ".ply"):
        assert suffix in result.err


def test_a_folder_that_is_not_there(run: Run) -> None:
    result = run("visualize", "cameras", "388", "-o", "no/a.png")
    assert result.status == 2
    assert "mkdir" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cameras", "999"), "388"),
        (("cameras", "17"), "svfr"),
        (("cameras", "388", "--benchmark", "mono"), "388 belongs to nvs"),
        (("cameras", "388", "--benchmark", "svfr"), "no cameras"),
        (("flame", "388"), "388 belongs to nvs"),
        (("pointcloud", "393"), "393 belongs to mono"),
        (("cameras", "388", "-s", "FREE"), "GLASSES"),
        (("cameras", "388", "-t", "6"), "0 to 5"),
        (("cameras", "388", "-t", "-1"), "0 to 5"),
        (("flame", "393", "-s", "FREE", "-t", "6"), "0 to 5"),
        (("flame", "393", "--frames", "0-6", "-o", "a.mp4"), "0 to 5"),
        (("flame", "393", "--frames", "3-1", "-o", "a.mp4"), "--frames"),
        (("flame", "393", "--frames", "0-3"), "-o out.mp4"),
        (("flame", "393", "--frames", "0-3", "-t", "1", "-o", "a.mp4"), "--timestep"),
        (("pointcloud", "388", "--color", "depth"), "rgb, normals"),
        (("cameras", "388", "--size", "big"), "1200x900"),
        (("cameras", "388", "--size", "99999x10"), "1200x900"),
        (("cameras", "388", "--background", "blurple", "-o", "a.png"), "#rrggbb"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: tuple[str, ...], said: str, run: Run, drawing: None) -> None:
    result = run("visualize", *arguments)
    assert result.status == 2, result.err
    assert said in result.err
    assert "Unexpected" not in result.err
    assert sorted(path.name for path in Path().iterdir()) == []


def test_nothing_downloaded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("visualize", "cameras", "388", "-f", tmp_path / "empty")
    assert result.status == 1
    assert f"nersemble download nvs -p 388 -f {tmp_path / 'empty'}" in result.err


def test_no_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NERSEMBLE_BENCHMARK_FOLDER")
    result = run("visualize", "flame", "393")
    assert result.status == 1
    assert "nersemble download mono -p 393" in result.err and "-f FOLDER" in result.err


def test_point_clouds_that_are_not_here(run: Run) -> None:
    result = run("visualize", "pointcloud", "388", "-t", "1", "-o", "a.png")
    assert result.status == 1
    assert "--pointcloud-frames 1" in result.err
    result = run("visualize", "pointcloud", "388", "--frames", "0-5", "-o", "a.mp4")
    assert result.status == 1
    assert "4 of 6" in result.err and "--pointcloud-frames 1-2,4-5" in result.err


@pytest.mark.usefixtures("drawing")
def test_what_is_missing_is_said_and_the_rest_is_shown(run: Run) -> None:
    result = run("visualize", "cameras", "388", "-o", "a.png", *SIZE)
    assert result.status == 0
    assert "11 of 13 training cameras have no images here" in result.err
    assert "nersemble download nvs" in result.err


@pytest.mark.usefixtures("drawing")
def test_no_flame_model(run: Run) -> None:
    pytest.importorskip("torch")
    result = run("visualize", "flame", "393", "-o", "a.png")
    assert result.status == 2
    assert "flame2023.pkl" in result.err and "https://flame.is.tue.mpg.de" in result.err


@pytest.mark.usefixtures("drawing")
def test_no_torch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in ("layer", "provider"):
        monkeypatch.delitem(sys.modules, f"nersemble_cli.core.flame.{module}", raising=False)
    result = run("visualize", "flame", "393", "-o", "a.png")
    assert result.status == 2
    assert "[flame]" in result.err


@pytest.mark.parametrize("output", [(), ("-o", "a.png"), ("-o", "a.html")])
def test_no_opengl(output: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "find_surface", lambda: "nothing")
    result = run("visualize", "cameras", "388", *output)
    assert result.status == 2
    assert "apt-get install -y libgl1 libegl1" in result.err
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("drawing")
def test_a_process_of_its_own_says_nothing_but_the_path(synthetic: Path, tmp_path: Path) -> None:
    """What VTK writes in C++ would go past Python, straight to the terminal."""
    command = [sys.executable, "-m", "nersemble_cli", "visualize", "pointcloud", "388", "-f", str(synthetic)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "a.png"), *SIZE],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'a.png'}\n", "")


# Completion


@pytest.mark.parametrize("name", ["missing.pkl", "wrong2023.pkl", "folder"])
def test_a_wrong_flame_model_is_wrong_usage(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong2023.pkl").write_text("not a pickle")
    (tmp_path / "folder").mkdir()
    result = run("visualize", "flame", "393", "--flame-model", tmp_path / name, "-o", "a.png")
    assert result.status == 2
    assert name in result.err and "Unexpected" not in result.err


# The proof sheet


@pytest.fixture(scope="session")
def flawed_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small videos of a submission: one right but for its size, one that is no video, and a stranger with a name
    that is markup."""
    files = {}
    for serial in NVS.hold_out_serials[:2]:
        frames = render_frames(NVS, 388, "GLASSES", serial, RECIPE)
        height, width = RECIPE.size(NVS)
        files[VideoSlot(388, "GLASSES", serial).path] = encode(NVS, frames, width=width, height=height)
    files[VideoSlot(388, "GLASSES", NVS.hold_out_serials[2]).path] = b"not a video" * 400
    files["<script>alert(1)<"] = b"?"
    return write_zip(tmp_path_factory.mktemp("sheet") / "out.zip", files)


def test_a_sheet(run: Run, flawed_zip: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    result = run("visualize", "submission", flawed_zip, "-o", path)
    assert (result.status, result.out) == (0, f"{path}\n"), result.err
    assert "The validator found" in result.err and "on the server only" in result.err
    document = path.read_text("utf-8")
    for said in ("unreadable_video", "wrong_resolution", "missing_file", "training view 222200042", "° away"):
        assert said in document
    assert "<script>alert" not in document and path.stat().st_size < 20_000_000
    places = [document.index(f"camera {serial}</h2>") for serial in NVS.hold_out_serials]
    assert len(set(places)) == 3 and document.count('class="card error"') == 3


def test_a_sheet_has_a_name_of_its_own(
    run: Run, flawed_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("visualize", "submission", flawed_zip).out == "out_sheet.html\n"
    assert run("visualize", "submission", flawed_zip).out == "out_sheet_2.html\n"


def test_a_sheet_without_training_data_says_so(
    run: Run, flawed_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NERSEMBLE_BENCHMARK_FOLDER")
    monkeypatch.chdir(tmp_path)
    result = run("visualize", "submission", flawed_zip, "-o", "sheet.html")
    assert result.status == 0 and "nersemble download nvs -p 388" in result.err
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert "training view 2222" not in document and "nersemble download nvs -p 388" in document


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_a_sheet_as_picture_and_video(suffix: str, run: Run, flawed_zip: Path, tmp_path: Path) -> None:
    path = tmp_path / f"sheet{suffix}"
    result = run("visualize", "submission", flawed_zip, "-o", path)
    assert (result.status, result.out) == (0, f"{path}\n"), result.err
    if suffix == ".png":
        assert read_rgb(path).shape[1] == 1760
    else:
        assert n_frames(path) == 3 * RECIPE.n_frames


def test_a_sheet_of_a_folder(run: Run, flame_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for serial in MONO.submission_serials[:2]:
        folder = tmp_path / "renders" / "393" / "FREE" / f"cam_{serial}"
        folder.mkdir(parents=True)
        for t, frame in enumerate(render_frames(MONO, 393, "FREE", serial, RECIPE)):
            (folder / f"{t:05d}.png").write_bytes(png(frame))
    middle = (RECIPE.n_frames - 1) // 2
    (folder / f"{middle:05d}.png").write_bytes(b"no PNG")
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ("visualize", "submission", tmp_path / "renders", "-o", tmp_path / "sheet.html")
    without = run(*arguments)
    assert without.status == 0 and "flame2023.pkl" in without.err and "not a submission yet" in without.err
    document = (tmp_path / "sheet.html").read_text("utf-8")
    assert '<path class="head"' in document and "FLAME tracking over it" not in document
    assert "training view of EXP-1-head" in document and ">no frame" not in document
    why = f'class="why">{folder / f"{middle:05d}.png"} does not decode'
    assert document.count(why) == 2  # in the player, and at its moment
    with_flame = run(*arguments, "--flame-model", flame_model)
    assert with_flame.status == 0 and "flame2023.pkl" not in with_flame.err, with_flame.err
    assert "FLAME tracking over it" in (tmp_path / "sheet.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "output", "said"),
    [
        ("nowhere.zip", "sheet.html", "does not exist"),
        (".", "sheet.html", "belongs to a submission"),
        ("out.zip", "sheet.pdf", "does not end in a known format"),
        ("out.zip", "no/sheet.html", "folder"),
    ],
)
def test_no_sheet(
    name: str, output: str, said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("visualize", "submission", name, "-o", output)
    assert (result.status, result.out) == (2, "") and said in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_sheet_plays_in_a_browser(run: Run, flawed_zip: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        missing("Chromium is", "chromium")
    run("visualize", "submission", flawed_zip, "-o", tmp_path / "sheet.html")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto((tmp_path / "sheet.html").as_uri())
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        card = page.locator(".card", has=page.locator("[data-track]")).first
        images = card.locator("[data-track]:not(.empty) img")
        card.scroll_into_view_if_needed()  # what nobody sees does not play
        before = images.evaluate_all("all => all.map(image => image.src)")
        page.locator("input[type=range]").focus()
        page.keyboard.press("End")
        last = f"frame {RECIPE.n_frames - 1} / {RECIPE.n_frames - 1}"
        card.locator(".now", has_text=last).wait_for()
        after = images.evaluate_all("all => all.map(image => image.src)")
        assert len(before) == 3 and all(a != b for a, b in zip(before, after, strict=True))
        page.locator("input[name=silhouette]").uncheck()
        assert not card.locator("path.silhouette").first.is_visible()
        page.locator(".stills .frame:not(.empty)").first.click()
        assert page.locator("dialog img").is_visible()
        page.keyboard.press("Escape")
        page.locator("select").select_option("error")
        assert page.locator(".card:visible").count() == 3
        browser.close()
    assert complaints == []

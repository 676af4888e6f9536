"""Code for the official toolkit runs when only its import lines are changed.

The first tests make the calls of its README, of the README's early version and of its scripts, in their order. Others
run those documents themselves if NERSEMBLE_OFFICIAL names them: README and .py files, separated as in PATH. The last
one compares arrays with the official toolkit's, if NERSEMBLE_OFFICIAL_PYTHON is a Python that has it.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.submission.writer import SubmissionIncompleteWarning
from nersemble_cli.core.synthetic import make_benchmark
from tests import made_up
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SEQUENCE = "EXP-1-head"


@pytest.fixture(autouse=True)
def _flame(flame_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))


# The README


def test_the_readme_loads_images_and_cameras(everybody: Path) -> None:
    from nersemble_cli import BENCHMARK_NVS_IDS_AND_SEQUENCES, BENCHMARK_NVS_TRAIN_SERIALS, NVSDataManager

    person, sequence = BENCHMARK_NVS_IDS_AND_SEQUENCES[0]
    serial = BENCHMARK_NVS_TRAIN_SERIALS[0]
    manager = NVSDataManager(str(everybody), person)
    image = manager.load_image(sequence, serial, 0)
    assert image.dtype.kind == "f" and 0 <= image.min() < image.max() <= 1
    on_white = manager.load_image(sequence, serial, 0, apply_alpha_map=True)  # the early README's way
    alpha = manager.load_alpha_map(sequence, serial, 0)
    assert on_white.shape == image.shape and alpha.shape == (*image.shape[:2], 1)
    cameras = manager.load_camera_calibration()
    assert cameras.world_2_cam[serial].shape == (4, 4) and cameras.intrinsics[serial].shape == (3, 3)
    points, colors, normals = manager.load_pointcloud(sequence, 0)
    assert points.shape == colors.shape == normals.shape == (len(points), 3)


def test_the_readme_walks_the_hold_out_cameras(everybody: Path) -> None:
    from nersemble_cli import (
        BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS,
        BENCHMARK_MONO_FLAME_AVATAR_IDS,
        BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST,
        BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL,
        BENCHMARK_NVS_HOLD_OUT_SERIALS,
        BENCHMARK_NVS_IDS_AND_SEQUENCES,
        FlameProvider,
        MonoFlameAvatarDataManager,
        NVSDataManager,
    )

    for person, _ in BENCHMARK_NVS_IDS_AND_SEQUENCES:
        cameras = NVSDataManager(str(everybody), person).load_camera_calibration()
        assert all(cameras.world_2_cam[serial].shape == (4, 4) for serial in BENCHMARK_NVS_HOLD_OUT_SERIALS)
    serials = [BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL, *BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS]
    for person in BENCHMARK_MONO_FLAME_AVATAR_IDS:
        manager = MonoFlameAvatarDataManager(str(everybody), person)
        cameras = manager.load_camera_calibration()
        for sequence in BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST:
            tracking = manager.load_flame_tracking(sequence)
            mesh = FlameProvider(tracking).get_mesh(0)
            assert mesh.vertices.shape == (5023, 3)
            assert tracking.expression.shape == (made_up.RECIPE.n_frames, 100)
            assert all(cameras.intrinsics[serial].shape == (3, 3) for serial in serials)


def test_the_readme_walks_the_svfr_images(everybody: Path) -> None:
    from nersemble_cli import BENCHMARK_SVFR_IDS, SVFRDataManager

    for person in BENCHMARK_SVFR_IDS:
        manager = SVFRDataManager(str(everybody), person)
        (key,) = manager.list_image_keys()
        assert manager.load_image(key).ndim == 3


def test_the_readme_writes_videos(everybody: Path, tmp_path: Path) -> None:
    from nersemble_cli import MonoFlameAvatarSubmissionDataWriter, NVSSubmissionDataWriter

    for kind, benchmark in (
        (NVSSubmissionDataWriter, made_up.NVS), (MonoFlameAvatarSubmissionDataWriter, made_up.MONO),
    ):  # fmt: skip
        slot = benchmark.slots[0]
        zip_path = str(tmp_path / f"{benchmark.name}.zip")
        with pytest.warns(SubmissionIncompleteWarning), kind(zip_path) as writer:
            writer.add_video(slot.participant, slot.sequence, slot.serial, made_up.head_frames(benchmark))
        assert zipfile.ZipFile(zip_path).namelist() == [slot.path]


def test_the_readme_writes_meshes(tmp_path: Path) -> None:
    from nersemble_cli import BENCHMARK_SVFR_IMAGE_KEYS, SVFRSubmissionDataWriter

    mesh = SimpleNamespace(vertices=made_up.face_vertices(), faces=made_up.face_triangles())
    zip_path = str(tmp_path / "svfr.zip")
    with SVFRSubmissionDataWriter(zip_path) as writer:
        for person, keys in BENCHMARK_SVFR_IMAGE_KEYS.items():
            for sequence, timestep, serial in keys:
                writer.add_posed_mesh(person, sequence, timestep, serial, mesh, made_up.now_landmarks())
    assert len(zipfile.ZipFile(zip_path).namelist()) == 2 * 391


def test_the_early_readme_closes_no_writer(tmp_path: Path) -> None:
    """It ends after `add_video`; the program leaves a zip all the same."""
    code = (
        "import sys; from nersemble_cli import NVSSubmissionDataWriter; from tests import made_up\n"
        "writer = NVSSubmissionDataWriter(sys.argv[1])\n"
        "writer.add_video(388, 'GLASSES', '222200037', made_up.head_frames(made_up.NVS))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "nvs.zip")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert zipfile.ZipFile(tmp_path / "nvs.zip").namelist() == ["388/GLASSES/cam_222200037.mp4"]
    assert "was never closed" in done.stderr


# The scripts


@pytest.fixture
def shown(drawing: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[np.ndarray]]:
    """The pictures of the plotters that are shown. They draw off screen."""
    import pyvista as pv

    from nersemble_cli.core.scenes.display import prepare_rendering

    prepare_rendering()
    pictures: list[np.ndarray] = []
    monkeypatch.setattr(pv, "OFF_SCREEN", True)
    monkeypatch.setattr(
        pv.Plotter, "show", lambda self: pictures.append(np.asarray(self.screenshot(return_img=True)))
    )
    yield pictures
    pv.close_all()


def has_red(picture: np.ndarray) -> bool:
    return bool(((picture[..., 0] > 180) & (picture[..., 1:] < 90).all(-1)).any())


def test_the_cameras_script_draws(everybody: Path, shown: list[np.ndarray]) -> None:
    import pyvista as pv

    from nersemble_cli import (
        BENCHMARK_NVS_HOLD_OUT_SERIALS,
        BENCHMARK_NVS_IDS_AND_SEQUENCES,
        NVSDataManager,
        add_camera_frustum,
        add_coordinate_axes,
    )

    manager = NVSDataManager(str(everybody), 388)
    (sequence,) = [sequence for person, sequence in BENCHMARK_NVS_IDS_AND_SEQUENCES if person == 388]
    cameras = manager.load_camera_calibration()
    plotter = pv.Plotter()
    add_coordinate_axes(plotter, scale=0.1)
    for serial in manager.list_serials(sequence):
        image = manager.load_image(sequence, serial, 0)
        add_camera_frustum(plotter, cameras.world_2_cam[serial], cameras.intrinsics[serial], image=image)
    for serial in BENCHMARK_NVS_HOLD_OUT_SERIALS:
        add_camera_frustum(plotter, cameras.world_2_cam[serial], cameras.intrinsics[serial], color="red")
    assert Path(manager.get_pointcloud_path(sequence, 0)).exists()
    points, colors, _ = manager.load_pointcloud(sequence, 0)
    plotter.add_points(points, scalars=colors, rgb=True)
    plotter.show()
    assert has_red(shown[0])


def test_the_flame_script_draws(everybody: Path, shown: list[np.ndarray]) -> None:
    import pyvista as pv

    from nersemble_cli import (
        BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS,
        BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL,
        FlameProvider,
        MonoFlameAvatarDataManager,
        add_camera_frustum,
        draw_onto_image,
        project,
    )

    manager = MonoFlameAvatarDataManager(str(everybody), 461)
    cameras = manager.load_camera_calibration()
    mesh = FlameProvider(manager.load_flame_tracking(SEQUENCE)).get_mesh(3)
    plotter = pv.Plotter()
    plotter.add_mesh(mesh)
    hold_out = BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS
    for serial in [BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL, *hold_out]:
        pose, intrinsics = cameras.world_2_cam[serial], cameras.intrinsics[serial]
        image: Any = np.zeros((512, 512, 3))
        if has_video := manager.has_video(SEQUENCE, serial):
            image = manager.load_image(SEQUENCE, serial, 3, as_uint8=True)
        before = image.copy()
        draw_onto_image(image, project(mesh.vertices, pose, intrinsics), (0, 255, 0))
        drawn = (image != before).any(-1)
        assert has_video == (serial not in hold_out) and drawn.sum() > 100
        if has_video:  # the vertices are on the head
            assert manager.load_alpha_map(SEQUENCE, serial, 3)[drawn].mean() > 200
        color = "red" if serial in hold_out else "lightgray"
        add_camera_frustum(plotter, pose, intrinsics, image=image, color=color, label=serial)
    plotter.show()
    assert has_red(shown[0])


# The documents themselves

OFFICIAL = [Path(path).absolute() for path in os.environ.get("NERSEMBLE_OFFICIAL", "").split(os.pathsep) if path]
READMES = [path for path in OFFICIAL if path.suffix == ".md"]
SCRIPTS = [path for path in OFFICIAL if path.suffix == ".py"]
_IMPORT = re.compile(r"^from (?:nersemble_benchmark|dreifus)[\w.]* import", re.MULTILINE)


def with_our_imports(code: str) -> str:
    return _IMPORT.sub("from nersemble_cli import", code)


def blocks() -> list[Any]:
    """The Python of the documents, but for settings and the listing of FlameTracking's fields."""
    return [
        pytest.param(code, id=f"{path.stem}-{number}")
        for path in READMES
        for number, code in enumerate(re.findall(r"^ *```python\n(.*?)^ *```$", path.read_text(), re.M | re.S))
        if "NERSEMBLE_BENCHMARK_URL =" not in code and not code.startswith("class FlameTracking")
    ]


@pytest.mark.skipif(not READMES, reason="NERSEMBLE_OFFICIAL names no document")
@pytest.mark.parametrize("code", blocks())
def test_a_block_of_the_official_readme_runs(code: str, everybody: Path, tmp_path: Path) -> None:
    """With our imports. Where a block leaves something to the reader (`images = ...`), it gets something made up."""
    import nersemble_cli as door

    benchmark = made_up.MONO if "Mono" in code or "MONO" in code else made_up.NVS
    slot = benchmark.slots[0]
    mono = door.MonoFlameAvatarDataManager(everybody, 393)
    sequence = SEQUENCE if "mono_flame_data_manager" in code else "GLASSES"
    names: dict[str, Any] = {
        "benchmark_folder": str(everybody),
        "participant_id": 393 if benchmark is made_up.MONO else 388,
        "participant": slot.participant,
        "sequence_name": slot.sequence if "add_video" in code else sequence,
        "serial": slot.serial if "add_video" in code else "222200042",
        "timestep": 0,
        "data_manager": mono if benchmark is made_up.MONO else door.NVSDataManager(everybody, 388),
        "nvs_data_manager": door.NVSDataManager(everybody, 388),
        "mono_flame_data_manager": mono,
        "flame_tracking": mono.load_flame_tracking(SEQUENCE),
        "FlameProvider": door.FlameProvider,
        "given_zip_path": tmp_path / "submission.zip",
        "given_images": made_up.head_frames(benchmark),
        "given_mesh": SimpleNamespace(vertices=made_up.face_vertices(), faces=made_up.face_triangles()),
        "given_now_landmarks": None,
    }
    code = re.sub(r"\b(zip_path|images|mesh|now_landmarks) = \.\.\.", r"\1 = given_\1", with_our_imports(code))
    code = code.replace('"path/to/local/benchmark/folder"', "given_folder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SubmissionIncompleteWarning)
        exec(code, names | {"given_folder": str(everybody)})
    if "zip_path" in code and "with " in code:
        assert zipfile.is_zipfile(tmp_path / "submission.zip")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything of the two participants whom the scripts show."""
    recipe = type(made_up.RECIPE)(n_frames=92, scale=0.1, n_points=500)
    return make_benchmark(
        tmp_path_factory.mktemp("whole"), recipe, participants={"nvs": [388], "mono": [461], "svfr": []},
        sequences=["GLASSES", SEQUENCE],
    )  # fmt: skip


@pytest.mark.skipif(not SCRIPTS, reason="NERSEMBLE_OFFICIAL names no script")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_official_script_runs(
    script: Path, whole: Path, shown: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(main: Callable[..., None]) -> None:
        main(str(whole), 388) if "cameras" in script.stem else main(str(whole))

    monkeypatch.setitem(sys.modules, "tyro", SimpleNamespace(cli=call))  # type: ignore[arg-type]
    exec(compile(with_our_imports(script.read_text()), str(script), "exec"), {"__name__": "__main__"})
    assert has_red(shown[0])


# The official toolkit itself

OFFICIAL_PYTHON = os.path.abspath(os.environ.get("NERSEMBLE_OFFICIAL_PYTHON", ""))  # noqa: PTH100 (keeps links)
_LOAD = """
import json
def load(folder, door):
    constants = {name: getattr(door, name) for name in door.CONSTANTS}
    yield "constants", json.dumps(constants, sort_keys=True)
    nvs, mono = door.NVSDataManager(folder, 388), door.MonoFlameAvatarDataManager(folder, 393)
    for manager, sequence, serial in ((nvs, "GLASSES", "222200042"), (mono, "EXP-1-head", "222200037")):
        for t in (0, 3):
            yield "image", manager.load_image(sequence, serial, t, as_uint8=True)
            yield "float", manager.load_image(sequence, serial, t)
            yield "alpha", manager.load_alpha_map(sequence, serial, t)
        yield "video", manager.load_all_images(sequence, serial, as_uint8=True, every_nth_frame=2)
        yield "lists", repr([sorted(manager.list_serials(sequence)), manager.list_timesteps(sequence)])
        cameras = manager.load_camera_calibration()
        for table in (cameras.world_2_cam, cameras.intrinsics):
            yield from (("camera", table[name].numpy()) for name in sorted(table))
    yield from (("cloud", part) for part in nvs.load_pointcloud("GLASSES", 0))
    tracking = mono.load_flame_tracking("EXP-1-head")
    yield from (("tracking", getattr(tracking, name)) for name in ("shape", "expression", "rotation", "neck", "eyes"))
    flame = door.FlameProvider(tracking)
    for t in (0, 3):
        yield "vertices", flame.get_vertices(t)
        yield "landmarks", flame.get_landmarks(t)
        yield "transform", flame.get_model_to_world_transformation(t)
        yield "faces", flame.get_mesh(t).faces
    svfr = door.SVFRDataManager(folder, 17)
    for key in svfr.list_image_keys():
        yield "key", key.to_key()
        yield "svfr", svfr.load_image(key)
"""
_OFFICIAL_SIDE = (
    _LOAD
    + """
import pickle, sys, types
import numpy as np
from nersemble_benchmark import constants
from nersemble_benchmark.data import benchmark_data
from nersemble_benchmark.models import flame
door = types.SimpleNamespace(**(vars(constants) | vars(benchmark_data) | vars(flame)))
door.CONSTANTS = sys.argv[3].split(",")
items = [(name, x if isinstance(x, str) else np.asarray(x)) for name, x in load(sys.argv[1], door)]
pickle.dump([(name, x if isinstance(x, str) else (x.dtype.str, x.shape, x.tobytes())) for name, x in items],
            open(sys.argv[2], "wb"))
"""
)


@pytest.mark.skipif("NERSEMBLE_OFFICIAL_PYTHON" not in os.environ, reason="NERSEMBLE_OFFICIAL_PYTHON is not set")
def test_arrays_equal_the_official_ones(everybody: Path, flame_model: Path, tmp_path: Path) -> None:
    import nersemble_cli

    names = [name for name in nersemble_cli.__all__ if name.isupper()]
    cache = tmp_path / ".cache" / "FLAME"
    cache.parent.mkdir()
    cache.symlink_to(flame_model.parent)
    subprocess.run(
        [OFFICIAL_PYTHON, "-W", "ignore", "-c", _OFFICIAL_SIDE, everybody, tmp_path / "out", ",".join(names)],
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ""}, check=True, timeout=300,
    )  # fmt: skip
    scope: dict[str, Any] = {}
    exec(_LOAD, scope)
    door = SimpleNamespace(
        **{name: getattr(nersemble_cli, name) for name in nersemble_cli.__all__}, CONSTANTS=names
    )
    ours = list(scope["load"](str(everybody), door))
    theirs = pickle.loads((tmp_path / "out").read_bytes())
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (name, our), (_, their) in zip(ours, theirs, strict=True):
        if isinstance(their, str):
            assert our == their, name
            continue
        dtype, shape, data = their
        array = np.frombuffer(data, dtype).reshape(shape)
        tolerance = 1e-7 if name in ("float", "vertices", "landmarks", "transform") else 0
        assert np.allclose(np.asarray(our), array, rtol=0, atol=tolerance), name
        assert np.asarray(our).dtype == array.dtype or name == "float", name

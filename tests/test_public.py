"""What a document may import, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys

import pytest

import nersemble_cli
from tests.conftest import ROOT

HEAVY = ("numpy", "cv2", "av", "trimesh", "vtk", "pyvista", "torch")
OLD = {
    "nersemble_cli.core.cameras": ["project_points", "rescale_intrinsics", "swap_opencv_opengl"],
    "nersemble_cli.core.download": ["prepare", "run"],
    "nersemble_cli.core.inspection": ["inspect_file"],
    "nersemble_cli.core.overview": ["survey"],
    "nersemble_cli.core.plan": ["parse_selection"],
    "nersemble_cli.core.settings": ["require_url"],
    "nersemble_cli.core.transfer": ["Server"],
    "nersemble_cli.core.benchmarks": ["NVS"],
    "nersemble_cli.torch_dataset": ["GroupedBatchSampler", "NVSDataset"],
}
"""What the README of 0.1.0 imported from elsewhere than `nersemble_cli`."""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(nersemble_cli._HOME_OF))
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(nersemble_cli, name) is not None
    assert name in dir(nersemble_cli)


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = python(f"import sys, nersemble_cli; sys.exit(str({{*{HEAVY!r}, 'typing'}} & set(sys.modules) or ''))")
    assert done.stderr == "\n"


@pytest.mark.parametrize("module", sorted(OLD))
def test_import_paths_of_0_1_0_still_work(module: str) -> None:
    if "torch" in module:
        pytest.importorskip("torch")
    for name in OLD[module]:
        assert getattr(importlib.import_module(module), name) is not None


def test_looking_at_the_package_without_libraries_is_harmless() -> None:
    code = f"""
import importlib.abc, inspect, pydoc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {("torch", "trimesh", "pyvista", "vtk", "vtkmodules", "cv2")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import nersemble_cli
from nersemble_cli import *
assert hasattr(nersemble_cli, "FlameProvider")
assert len(inspect.getmembers(nersemble_cli)) > 40
pydoc.render_doc(nersemble_cli)
try:
    FlameProvider(None)
except nersemble_cli.NersembleError as error:
    assert "torch" in str(error).lower() and "pip install" in str(error), error
else:
    sys.exit("FlameProvider works without torch")
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_type_checkers_know_the_public_names() -> None:
    stub = ast.parse((ROOT / "nersemble_cli" / "__init__.pyi").read_text("utf-8"))
    known = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert known == set(nersemble_cli._HOME_OF)


def test_constants_are_those_of_the_official_toolkit() -> None:
    from nersemble_cli import constants

    assert constants.OPTIONAL_ASSETS == ["flame2023_tracking"]
    assert constants.FLAME_TRACKING_CURRENT_VERSION == 2
    assert constants.ASSETS["mono_flame_avatar"]["test_assets"] == ["flame2023_tracking_v2"]
    assert constants.ASSETS["nvs"]["per_timestep"]["pointclouds"].format(
        p_id=388, seq_name="GLASSES", timestep=7
    ) == ("388/sequences/GLASSES/pointclouds/frame_00007.pcd")
    assert constants.ASSETS["svfr"]["per_image"]["images"].format(
        p_id=17, seq_name="FREE", timestep=6, serial="1"
    ) == ("017/FREE_6_1/rgb.png")


def test_image_key_has_the_official_names() -> None:
    key = nersemble_cli.ImageKey(sequence_name="FREE", timestep=6, serial="221501007")
    assert (key.sequence, key.to_key()) == ("FREE", "FREE_006_221501007")

"""Starting the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["pack", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from nersemble_cli.cli.app import main\n"
        f"sys.argv = ['nersemble', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit as end: status = end.code\n"
        "heavy = {'numpy', 'cv2', 'av', 'trimesh', 'vtk', 'torch', 'requests', 'pyvista'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} {status}' if heavy or status else 0)"
    )
    root = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr

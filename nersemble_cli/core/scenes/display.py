"""What this machine can draw on: a display, memory through EGL or OSMesa, or nothing.

Without OpenGL, VTK ends the process with a segmentation fault, which no `except` catches. A small child process
(`opengl_probe.py`) therefore looks first.
"""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from nersemble_cli.core.errors import MissingLibraryError, UsageError

WINDOW_VARIABLE = "VTK_DEFAULT_OPENGL_WINDOW"
_WINDOWS = {"egl": "vtkEGLRenderWindow", "osmesa": "vtkOSOpenGLRenderWindow"}
_TIMEOUT = 20  # seconds; a display at the other end of a broken connection never answers
_SURFACES = {10: "display", 11: "egl", 12: "osmesa"}  # by the probe's exit status

_PROBE = Path(__file__).with_name("opengl_probe.py")
# The package of each module that drawing needs.
_PACKAGES = {"pyvista": "pyvista", "vtkmodules": "vtk", "cv2": "opencv-python", "trimesh": "trimesh"}


def require(*modules: str) -> None:
    """Raises `MissingLibraryError`, with the line that installs them, if needed packages are absent."""
    absent = [_PACKAGES[module] for module in modules if find_spec(module) is None]
    if absent:
        raise MissingLibraryError(
            f"This needs {' and '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed.",
            f"Install it with: pip install {' '.join(absent)}",
        )


@functools.cache
def start_probe() -> subprocess.Popen[bytes] | None:
    """Starts the probe, which runs while other work goes on; None where there is always a display."""
    if not sys.platform.startswith("linux") or not sys.executable:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PROBE)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@functools.cache
def find_surface() -> str:
    """What can be drawn on: "display", "egl", "osmesa" or "nothing"."""
    probe = start_probe()
    if probe is None:
        return "display"
    try:
        status = probe.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        probe.kill()
        status = probe.wait()
    return _SURFACES.get(status, "nothing")  # a driver that crashes is as good as none


def prepare_rendering() -> bool:
    """Makes VTK draw on what there is. Returns whether that is a display, so that a window can be opened.

    Raises `UsageError`, naming the package to install, if there is nothing to draw on or to draw with.
    """
    require("pyvista", "vtkmodules")
    surface = find_surface()
    if surface == "nothing":
        raise UsageError(
            "There is no OpenGL on this machine, and drawing needs it.",
            "Install it: apt-get install -y libgl1 libegl1 libglib2.0-0  (dnf install mesa-libGL mesa-libEGL; on"
            " machines with an NVIDIA driver it comes with the driver)",
        )
    if surface in _WINDOWS:
        os.environ.setdefault(WINDOW_VARIABLE, _WINDOWS[surface])  # VTK would try a display first, and complain
    # pyvista loads Matplotlib, which complains about a home folder that is not writable.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    return surface == "display"

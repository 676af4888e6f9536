"""What this machine can draw on: a display, memory through EGL or OSMesa, or nothing.

VTK does not ask: without OpenGL it ends the process with a segmentation fault, which no `except` catches. So a
small child process looks first.
"""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys

from nersemble_cli.core.errors import UsageError

WINDOW_VARIABLE = "VTK_DEFAULT_OPENGL_WINDOW"
_WINDOWS = {"egl": "vtkEGLRenderWindow", "osmesa": "vtkOSOpenGLRenderWindow"}
_PATIENCE = 20  # seconds; a display at the other end of a broken connection never answers
_SURFACES = {10: "display", 11: "egl", 12: "osmesa"}  # by the probe's exit status

# Goes the way that VTK goes: a display, else an EGL device with desktop OpenGL, else OSMesa. It imports nothing
# but ctypes, so that it takes 0.07 s and not the second that VTK takes.
_PROBE = """
import ctypes, os

def load(*names):
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass

def function(address, result, *arguments):
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None

def has_display():
    x11 = load("libX11.so.6") if os.environ.get("DISPLAY") and load("libGL.so.1") else None
    if x11:
        x11.XOpenDisplay.restype = ctypes.c_void_p
        return bool(x11.XOpenDisplay(None))

def has_egl():
    egl = load("libEGL.so.1", "libEGL.so")
    if not egl:
        return False
    pointer, number = ctypes.c_void_p, ctypes.c_int
    egl.eglGetProcAddress.restype = pointer
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    query = function(egl.eglGetProcAddress(b"eglQueryDevicesEXT"), number, number, pointer, pointer)
    display = function(egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT"), pointer, number, pointer, pointer)
    devices, n = (pointer * 16)(), number(0)
    if not (query and display and query(16, devices, ctypes.byref(n))):
        return False
    DEVICE, OPENGL = 0x313F, 0x30A2
    return any(
        egl.eglInitialize(display(DEVICE, device, None), None, None) and egl.eglBindAPI(OPENGL)
        for device in devices[: n.value]
    )

raise SystemExit(10 if has_display() else 11 if has_egl() else
                 12 if load("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so") else 0)
"""


@functools.cache
def start_probe() -> subprocess.Popen[bytes] | None:
    """Begins to look what there is, while other work goes on; None where there is always a display."""
    if not sys.platform.startswith("linux") or not sys.executable:
        return None
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROBE],
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
        status = probe.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        probe.kill()
        status = probe.wait()
    return _SURFACES.get(status, "nothing")  # a driver that crashes is as good as none


def prepare_rendering() -> bool:
    """Makes VTK draw on what there is. Returns whether that is a display, on which a window can be opened.

    Raises `UsageError`, naming the package to install, if there is nothing to draw on.
    """
    surface = find_surface()
    if surface == "nothing":
        raise UsageError(
            "There is no OpenGL on this machine, so nothing can be drawn.",
            "Install it: apt-get install -y libgl1 libegl1 libglib2.0-0  (dnf install mesa-libGL mesa-libEGL; on"
            " machines with an NVIDIA driver it comes with the driver)",
        )
    if surface in _WINDOWS:
        os.environ.setdefault(WINDOW_VARIABLE, _WINDOWS[surface])  # VTK would try a display first, and complain
    # pyvista loads Matplotlib, which complains of a home that cannot be written to.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    return surface == "display"

"""Run as a program: its exit status says what VTK could draw on. 10 a display, 11 EGL, 12 OSMesa, 0 nothing.

It looks in the order in which VTK does: a display, then an EGL device with desktop OpenGL, then OSMesa. It imports
nothing but ctypes, and so takes 0.07 s instead of VTK's second.
"""

import ctypes
import os
from typing import Any

EGL_PLATFORM_DEVICE, EGL_OPENGL_API = 0x313F, 0x30A2


def load(*names: str) -> Any:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass
    return None


def function(address: Any, result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def has_display() -> bool:
    x11 = load("libX11.so.6") if os.environ.get("DISPLAY") and load("libGL.so.1") else None
    if not x11:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    return bool(x11.XOpenDisplay(None))


def has_egl() -> bool:
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
    return any(
        egl.eglInitialize(display(EGL_PLATFORM_DEVICE, device, None), None, None)
        and egl.eglBindAPI(EGL_OPENGL_API)
        for device in devices[: n.value]
    )


def main() -> int:
    if has_display():
        return 10
    if has_egl():
        return 11
    return 12 if load("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so") else 0


if __name__ == "__main__":
    raise SystemExit(main())

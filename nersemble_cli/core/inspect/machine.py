"""What this machine offers: what one wants to know first when something does not work."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from nersemble_cli import __version__
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.files import free_space
from nersemble_cli.core.flame.model import DYNAMIC_EMBEDDING, STATIC_EMBEDDING
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.scenes.display import find_surface
from nersemble_cli.core.settings import env_problems, find_flame_model, find_folder, find_url
from nersemble_cli.core.video.encode import find_ffmpeg

LIBRARIES = ("av", "numpy", "pypcd4", "pyvista", "requests", "torch", "trimesh", "typer", "vtk")


def diagnose(folder: Path | None = None) -> dict[str, Any]:
    """Versions, ffmpeg, OpenGL, FLAME model, settings and space; for people to paste into a report.

    The benchmark's URL is not in it, only whether there is one, and the home folder is written `~`.
    """
    place = find_folder(folder)
    return {
        "nersemble": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": cpu_count(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "ffmpeg": _ffmpeg(),
        "drawing_on": find_surface(),
        "flame_model": _flame_model(),
        "url_configured": find_url() is not None,
        "env_problems": env_problems(),
        "folder": {
            "path": _tilde(place.absolute()),
            "exists": place.is_dir(),
            "writable": os.access(_existing(place), os.W_OK),
            "free_bytes": free_space(place),
        },
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> dict[str, Any] | None:
    """The ffmpeg that encodes, which has libx264; None if there is no such."""
    try:
        path = find_ffmpeg()
    except NersembleError:
        return None
    shown = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout
    return {"path": _tilde(Path(path)), "libx264": True, "version": " ".join(shown.split()[2:3])}


def _flame_model() -> dict[str, Any]:
    try:
        path = find_flame_model()
    except NersembleError:  # a user without a home
        return {"path": None, "found": False, "missing_embeddings": []}
    missing = [name for name in (STATIC_EMBEDDING, DYNAMIC_EMBEDDING) if not (path.parent / name).is_file()]
    return {"path": _tilde(path), "found": path.is_file(), "missing_embeddings": missing}


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _tilde(path: Path) -> str:
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (RuntimeError, ValueError):
        return str(path)

"""Toolbox for the NeRSemble 3D Head Avatar benchmark: everything that you need in Python is here.

A name is imported from its module when it is first used, so that `import nersemble_cli` costs nothing. For type
checkers and editors, `__init__.pyi` says the same; `python completions/generate.py` writes it.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would take most of the time
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "nersemble_cli.constants": (
        "ASSETS",
        "BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS",
        "BENCHMARK_MONO_FLAME_AVATAR_IDS",
        "BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES",
        "BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST",
        "BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TRAIN",
        "BENCHMARK_MONO_FLAME_AVATAR_SERIALS",
        "BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL",
        "BENCHMARK_NVS_HOLD_OUT_SERIALS",
        "BENCHMARK_NVS_IDS_AND_SEQUENCES",
        "BENCHMARK_NVS_TRAIN_SERIALS",
        "BENCHMARK_SVFR_IDS",
        "BENCHMARK_SVFR_IMAGE_KEYS",
        "FLAME_TRACKING_CURRENT_VERSION",
        "FLAME_TRACKING_VERSION_MAPPING",
        "NERSEMBLE_ACCESS_FORM_URL",
        "OPTIONAL_ASSETS",
        "SERIALS",
    ),
    "nersemble_cli.core.benchmarks": ("ImageKey",),
    "nersemble_cli.core.data.calibration": ("CameraCalibration", "CameraCalibration as CameraParams"),
    "nersemble_cli.core.data.cameras": (
        "crop_intrinsics",
        "invert_pose",
        "project_points",
        "rescale_intrinsics",
        "swap_opencv_opengl",
        "unproject_pixels",
        "visible_points",
    ),
    "nersemble_cli.core.data.datasets": ("MonoDataset", "NVSDataset", "SVFRDataset"),
    "nersemble_cli.core.data.poses": ("CameraCoordinateConvention", "Intrinsics", "Pose", "PoseType"),
    "nersemble_cli.core.data.sampling": ("GroupedBatchSampler",),
    "nersemble_cli.core.data.managers": ("MonoFlameAvatarDataManager", "NVSDataManager", "SVFRDataManager"),
    "nersemble_cli.core.download.batch": ("download",),
    "nersemble_cli.core.errors": ("NersembleError", "UsageError"),
    "nersemble_cli.core.flame.provider": ("FlameProvider",),
    "nersemble_cli.core.inspect.file": ("inspect_file as inspect", "inspect_file"),
    "nersemble_cli.core.inspect.folder": ("survey",),
    "nersemble_cli.core.scenes": (
        "PictureOptions",
        "cameras_scene",
        "flame_frames",
        "flame_scene",
        "mesh_scene",
        "pointcloud_frames",
        "pointcloud_scene",
        "turntable_frames",
    ),
    "nersemble_cli.core.scenes.scripts": (
        "add_camera_frustum",
        "add_coordinate_axes",
        "draw_onto_image",
        "project",
    ),
    "nersemble_cli.core.submission.findings": ("Finding", "Report"),
    "nersemble_cli.core.submission.packing": ("pack",),
    "nersemble_cli.core.submission.reader": (
        "MonoFlameAvatarSubmissionDataReader",
        "NVSSubmissionDataReader",
        "SVFRSubmissionDataReader",
    ),
    "nersemble_cli.core.submission.validation": ("validate_submission",),
    "nersemble_cli.core.submission.writer": (
        "MonoFlameAvatarSubmissionDataWriter",
        "NVSSubmissionDataWriter",
        "SVFRSubmissionDataWriter",
    ),
    "nersemble_cli.core.flame.tracking": ("FlameTracking",),
}
_HOME_OF = {
    name.rpartition(" ")[2]: (module, name.partition(" ")[0]) for module, names in _HOMES.items() for name in names
}

# `import *` would hide the standard library's inspect.
__all__ = ["__version__", *(name for name in _HOME_OF if name != "inspect")]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nersemble_cli' has no attribute '{name}'")
    try:
        module, original = _HOME_OF[name]
        return getattr(importlib.import_module(module), original)
    except ImportError as error:
        return _unavailable(name, error)


def _unavailable(name: str, reason: ImportError) -> type:
    """Stands for a name that needs a library that is not installed: looking at it is harmless, using it raises."""

    def __new__(cls: type, *arguments: object, **options: object) -> object:  # noqa: N807
        raise reason

    return type(name, (), {"__new__": __new__, "__doc__": str(reason), "__module__": __name__})


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])

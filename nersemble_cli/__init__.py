"""Toolbox for the NeRSemble 3D Head Avatar benchmark.

The public names are imported from the modules below when they are first used, so that `import nersemble_cli`
costs nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know the name; importing `typing` for it would take most of the time

__version__ = "0.1.0"

if TYPE_CHECKING:
    from typing import Any

    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS as BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS,
    )
    from nersemble_cli.constants import BENCHMARK_MONO_FLAME_AVATAR_IDS as BENCHMARK_MONO_FLAME_AVATAR_IDS
    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES as BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES,
    )
    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST as BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST,
    )
    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TRAIN as BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TRAIN,
    )
    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_SERIALS as BENCHMARK_MONO_FLAME_AVATAR_SERIALS,
    )
    from nersemble_cli.constants import (
        BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL as BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL,
    )
    from nersemble_cli.constants import BENCHMARK_NVS_HOLD_OUT_SERIALS as BENCHMARK_NVS_HOLD_OUT_SERIALS
    from nersemble_cli.constants import BENCHMARK_NVS_IDS_AND_SEQUENCES as BENCHMARK_NVS_IDS_AND_SEQUENCES
    from nersemble_cli.constants import BENCHMARK_NVS_TRAIN_SERIALS as BENCHMARK_NVS_TRAIN_SERIALS
    from nersemble_cli.constants import BENCHMARK_SVFR_IDS as BENCHMARK_SVFR_IDS
    from nersemble_cli.constants import BENCHMARK_SVFR_IMAGE_KEYS as BENCHMARK_SVFR_IMAGE_KEYS
    from nersemble_cli.constants import SERIALS as SERIALS
    from nersemble_cli.core.benchmarks import ImageKey as ImageKey
    from nersemble_cli.core.data.cameras import CameraCalibration as CameraCalibration
    from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager as MonoFlameAvatarDataManager
    from nersemble_cli.core.data.managers import NVSDataManager as NVSDataManager
    from nersemble_cli.core.data.managers import SVFRDataManager as SVFRDataManager
    from nersemble_cli.core.errors import NersembleError as NersembleError
    from nersemble_cli.core.flame.provider import FlameProvider as FlameProvider
    from nersemble_cli.core.flame.tracking import FlameTracking as FlameTracking
    from nersemble_cli.core.scenes import cameras_scene as cameras_scene
    from nersemble_cli.core.scenes import flame_scene as flame_scene
    from nersemble_cli.core.scenes import pointcloud_scene as pointcloud_scene
    from nersemble_cli.core.submission.findings import Finding as Finding
    from nersemble_cli.core.submission.findings import Report as Report
    from nersemble_cli.core.submission.validation import validate_submission as validate_submission
    from nersemble_cli.core.submission.writer import (
        MonoFlameAvatarSubmissionDataWriter as MonoFlameAvatarSubmissionDataWriter,
    )
    from nersemble_cli.core.submission.writer import NVSSubmissionDataWriter as NVSSubmissionDataWriter
    from nersemble_cli.core.submission.writer import SVFRSubmissionDataWriter as SVFRSubmissionDataWriter

_HOMES = {
    "nersemble_cli.constants": (
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
        "SERIALS",
    ),
    "nersemble_cli.core.benchmarks": ("ImageKey",),
    "nersemble_cli.core.data.cameras": ("CameraCalibration",),
    "nersemble_cli.core.data.managers": ("MonoFlameAvatarDataManager", "NVSDataManager", "SVFRDataManager"),
    "nersemble_cli.core.errors": ("NersembleError",),
    "nersemble_cli.core.flame.provider": ("FlameProvider",),
    "nersemble_cli.core.scenes": ("cameras_scene", "flame_scene", "pointcloud_scene"),
    "nersemble_cli.core.submission.findings": ("Finding", "Report"),
    "nersemble_cli.core.submission.validation": ("validate_submission",),
    "nersemble_cli.core.submission.writer": (
        "MonoFlameAvatarSubmissionDataWriter",
        "NVSSubmissionDataWriter",
        "SVFRSubmissionDataWriter",
    ),
    "nersemble_cli.core.flame.tracking": ("FlameTracking",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'nersemble_cli' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])

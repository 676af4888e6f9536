"""The calibration of a participant's cameras: `camera_params.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import is_rigid
from nersemble_cli.core.data.poses import CameraCoordinateConvention, Intrinsics, Pose, PoseType
from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError, unknown_name
from nersemble_cli.core.formats.documents import read_json


class _BySerial(dict[str, Any]):
    """Serial → matrix; an unknown serial is answered with the known ones."""

    def __missing__(self, serial: str) -> None:
        raise unknown_name("camera in the calibration", serial, self)


@dataclass(frozen=True)
class CameraCalibration:
    """The calibrated cameras of a participant, hold-out cameras included.

    `world_2_cam[serial]` is a `Pose`, (4, 4) float32: world → camera, OpenCV axes, metres. `intrinsics[serial]`
    is an `Intrinsics`, (3, 3) float32 in pixels of the benchmark's videos. An unknown serial raises `UsageError`,
    which lists the known ones.
    """

    world_2_cam: Mapping[str, Pose]
    intrinsics: Mapping[str, Intrinsics]

    def __post_init__(self) -> None:
        """Plain arrays become `Pose` and `Intrinsics`. Raises `UsageError` if a pose is not rigid."""
        for name, kind in (("world_2_cam", Pose), ("intrinsics", Intrinsics)):
            given = getattr(self, name).items()
            table = _BySerial({serial: m if isinstance(m, kind) else kind(m) for serial, m in given})
            object.__setattr__(self, name, table)

    @property
    def serials(self) -> list[str]:
        """The cameras, in the order of the file."""
        return list(self.world_2_cam)

    def cam_2_world(self, serial: str) -> Pose:
        """(4, 4) float32: camera → world, OpenCV axes. Its last column is the camera's centre."""
        pose = self.world_2_cam[serial].change_pose_type(PoseType.CAM_2_WORLD, inplace=False)
        return pose.change_camera_coordinate_convention(CameraCoordinateConvention.OPEN_CV)

    def to_json(self) -> dict[str, dict[str, list[list[float]]]]:
        """What a `camera_params.json` holds: the tables `world_2_cam` and `intrinsics`, each serial → rows."""
        return {
            "world_2_cam": {serial: pose.tolist() for serial, pose in self.world_2_cam.items()},
            "intrinsics": {serial: k.tolist() for serial, k in self.intrinsics.items()},
        }


def _matrix(value: Any, size: int, name: str, path: Path) -> NDArray[np.float64]:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{path}: {name} is not a matrix of numbers.", DAMAGED_HINT) from error
    # float32, as which it is handed out, holds less than float64.
    finite = np.abs(matrix) < np.finfo(np.float32).max
    flaw = ""
    if matrix.shape != (size, size):
        flaw = f"has shape {matrix.shape}, expected ({size}, {size})"
    elif not finite.all():
        flaw = f"has {np.count_nonzero(~finite)} values that are not finite or too large for float32"
    if flaw:
        raise InvalidInputError(f"{path}: {name} {flaw}.", DAMAGED_HINT)
    return matrix


class CameraMatrices(NamedTuple):
    """What a calibration has for one camera: `world_2_cam` (4, 4) and `intrinsics` (3, 3), float64."""

    world_2_cam: NDArray[np.float64]
    intrinsics: NDArray[np.float64]


def read_calibration(path: Path) -> dict[str, CameraMatrices]:
    """The finite matrices in a `camera_params.json` by serial, whatever transform or camera they stand for.

    Raises `InvalidInputError` if its form is not the benchmark's; FileNotFoundError if it is missing.
    """
    try:
        document = read_json(path.read_bytes())
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} {error.message}.", DAMAGED_HINT) from None
    poses, intrinsics = document.get("world_2_cam"), document.get("intrinsics")
    if not isinstance(poses, dict) or not isinstance(intrinsics, dict):
        raise InvalidInputError(
            f"{path} is not a calibration: it needs the tables world_2_cam and intrinsics.", DAMAGED_HINT
        )
    if missing := sorted(poses.keys() ^ intrinsics.keys()):
        raise InvalidInputError(
            f"{path}: camera {missing[0]} is in only one of world_2_cam and intrinsics.", DAMAGED_HINT
        )
    return {
        serial: CameraMatrices(
            _matrix(poses[serial], 4, f"world_2_cam of camera {serial}", path),
            _matrix(intrinsics[serial], 3, f"intrinsics of camera {serial}", path),
        )
        for serial in poses
    }


def load_calibration(path: Path) -> CameraCalibration:
    """Reads a `camera_params.json`.

    Raises `InvalidInputError` if it does not have the benchmark's form, a pose is not rigid, or intrinsics are not
    those of a pinhole camera; FileNotFoundError if it is missing.
    """
    matrices = read_calibration(path)
    for serial, (pose, k) in matrices.items():
        if not is_rigid(pose):
            raise InvalidInputError(
                f"{path}: world_2_cam of camera {serial} is not a rigid transform: determinant"
                f" {np.linalg.det(pose[:3, :3]):.4g} (expected 1), last row {pose[3].tolist()}.",
                DAMAGED_HINT,
            )
        if not (k[0, 0] > 0 and k[1, 1] > 0 and np.allclose(k[2], [0, 0, 1])):
            raise InvalidInputError(
                f"{path}: intrinsics of camera {serial} are {k.tolist()}, expected positive focal lengths and"
                " a last row 0 0 1.",
                DAMAGED_HINT,
            )
    return CameraCalibration(
        {serial: Pose(camera.world_2_cam) for serial, camera in matrices.items()},
        {serial: Intrinsics(camera.intrinsics) for serial, camera in matrices.items()},
    )

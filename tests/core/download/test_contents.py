"""What a file of the benchmark must hold."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.download.contents import check_content
from nersemble_cli.core.errors import InvalidInputError
from tests.fault_server import content, pointcloud, tracking

CALIBRATION = "475/calibration/camera_params.json"
TRACKING = "393/sequences/FREE/tracking/flame2023_tracking_v2.npz"
CLOUD = "388/sequences/GLASSES/pointclouds/pcd_00000.pcd"
VIDEO = "475/sequences/HAIR/images/cam_222200042.mp4"


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def calibration(**changes: Any) -> bytes:
    return json.dumps(json.loads(content(".json")) | changes).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (CALIBRATION, content(".json")),
        (CALIBRATION, b"\xef\xbb\xbf" + content(".json")),
        (TRACKING, npz(**tracking())),
        (TRACKING.replace("_v2", ""), npz(**tracking())),
        (CLOUD, pointcloud()),
        (VIDEO, content(".mp4")),
        ("17/rgb.png", content(".png")),
    ],
)
def test_takes_what_the_benchmark_has(name: str, data: bytes) -> None:
    check_content(io.BytesIO(data), name)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (CALIBRATION, b'{"error": "quota exceeded"}', "needs a table world_2_cam of cameras, but holds error"),
        (CALIBRATION, b"{}", "but holds nothing"),
        (CALIBRATION, calibration(intrinsics={}), "needs a table intrinsics"),
        (CALIBRATION, calibration(intrinsics=[1]), "needs a table intrinsics"),
        (CALIBRATION, calibration(intrinsics={"1": [[1, 0], [0, 1]]}), "not 3×3 finite numbers"),
        (CALIBRATION, calibration(intrinsics={"1": [[1e999, 0, 0]] * 3}), "not 3×3 finite numbers"),
        (CALIBRATION, calibration(intrinsics={"1": [[10**400, 0, 0]] * 3}), "not 3×3 finite numbers"),
        (CALIBRATION, calibration(intrinsics={"1": [["1", 0, 0]] * 3}), "not 3×3 finite numbers"),
        (CALIBRATION, calibration(intrinsics={"1": [[1, 0, 0]] * 3}), "in only one of"),
        (TRACKING, npz(error=np.zeros(3)), "no array shape, expression"),
        (TRACKING, npz(**tracking() | {"jaw": np.zeros((1, 3))}), "jaw is (1, 3), expected"),
        (TRACKING, npz(**tracking(0)), "is not a FLAME tracking"),
        (CLOUD, pointcloud().replace(b"POINTS 50", b"POINTS 00").replace(b"WIDTH 50", b"WIDTH 00"), "without points"),
        (CLOUD, pointcloud().replace(b"FIELDS x y z", b"FIELDS a b c"), "no field x"),
        (VIDEO, content(".mp4").replace(b"vide", b"soun"), "without a video track"),
    ],
)  # fmt: skip
def test_refuses_well_formed_files_that_hold_something_else(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_content(io.BytesIO(data), name)
    assert reason in refused.value.message

"""What a file of the benchmark must hold: a well-formed file of the right type may still be an error message."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.flame.tracking import TRACKING_SHAPES
from nersemble_cli.core.formats.npy import read_npy_header
from nersemble_cli.core.formats.pcd import read_pcd_header
from nersemble_cli.core.formats.sniff import check_file, mp4_boxes

_MOOV_SIZE = 64 << 20  # bytes; an index of the longest video has far fewer


def check_content(file: BinaryIO, name: str) -> None:
    """Reads as much of an open file as shows that it is whole and holds what a benchmark file of this name holds.

    Raises `InvalidInputError` whose message continues a sentence after the file's name ("is cut short …"), and
    OSError if the file cannot be read.
    """
    check_file(file, name)
    for pattern, check in _MUST_HOLD.items():
        if PurePosixPath(name).match(pattern):
            file.seek(0)
            check(file)


def _check_calibration(file: BinaryIO) -> None:
    """Cameras, each with a world_2_cam of 4×4 and intrinsics of 3×3 finite numbers."""
    document = json.loads(file.read().decode("utf-8-sig"))
    tables = {"world_2_cam": 4, "intrinsics": 3}
    for name, size in tables.items():
        table = document.get(name)
        if not isinstance(table, dict) or not table:
            found = ", ".join(list(document)[:5]) or "nothing"
            raise InvalidInputError(f"is not a calibration: it needs a table {name} of cameras, but holds {found}")
        for serial, matrix in table.items():
            if not _is_matrix(matrix, size):
                raise InvalidInputError(
                    f"is not a calibration: {name} of camera {serial} is not {size}×{size} finite numbers"
                )
    if odd := sorted(document["world_2_cam"].keys() ^ document["intrinsics"].keys()):
        raise InvalidInputError(
            f"is not a calibration: camera {odd[0]} is in only one of world_2_cam and intrinsics"
        )


def _is_matrix(value: Any, size: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == size
        and all(isinstance(row, list) and len(row) == size for row in value)
        and all(_is_finite(number) for row in value for number in row)
    )


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond floating point
        return False


def _check_tracking(file: BinaryIO) -> None:
    """The arrays of `TRACKING_SHAPES`, all of one T."""
    with zipfile.ZipFile(file) as archive:
        if flawed := archive.testzip():
            raise InvalidInputError(f"is damaged: the checksum of {flawed} is wrong")
        names = set(archive.namelist())
        if missing := [name for name in TRACKING_SHAPES if f"{name}.npy" not in names]:
            raise InvalidInputError(f"is not a FLAME tracking: it has no array {', '.join(missing)}")
        shapes = {}
        for name in TRACKING_SHAPES:
            with archive.open(f"{name}.npy") as member:
                shapes[name] = tuple(read_npy_header(cast(BinaryIO, member))[0])
    n_frames = shapes["expression"][0] if shapes["expression"] else 0
    for name, template in TRACKING_SHAPES.items():
        expected = tuple(n_frames if size == "T" else size for size in template)
        if shapes[name] != expected or not n_frames:
            raise InvalidInputError(
                f"is not a FLAME tracking: its array {name} is {shapes[name]}, expected {expected}"
            )


def _check_pointcloud(file: BinaryIO) -> None:
    """At least one point, with a position."""
    header = read_pcd_header(file)
    if missing := {"x", "y", "z"} - set(header.fields):
        found = ", ".join(header.fields) or "none"
        raise InvalidInputError(f"is not a point cloud: it has no field {min(missing)} (its fields: {found})")
    if not header.n_points:
        raise InvalidInputError("is a point cloud without points")


def _check_video(file: BinaryIO) -> None:
    """A video track, whose handler is `vide`. Source: ISO/IEC 14496-12, section 8.4.3."""
    for kind, start, end in mp4_boxes(file):
        if kind == b"moov":
            file.seek(start)
            if b"vide" in file.read(min(end - start, _MOOV_SIZE)):
                return
    raise InvalidInputError("is an mp4 without a video track")


_MUST_HOLD: dict[str, Callable[[BinaryIO], None]] = {
    "camera_params.json": _check_calibration,
    "flame2023_tracking*.npz": _check_tracking,
    "*.pcd": _check_pointcloud,
    "*.mp4": _check_video,
}
"""What a file must hold beyond the structure that `check_file` demands of its type, by patterns of its name."""

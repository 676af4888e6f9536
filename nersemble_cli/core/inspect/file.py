"""What is in a single file: facts by name, for people and programs to read. Nothing is judged but damage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT
from nersemble_cli.core.data.calibration import read_calibration
from nersemble_cli.core.data.cameras import invert_pose, is_rigid
from nersemble_cli.core.data.pointcloud import load_pointcloud
from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError, UsageError
from nersemble_cli.core.formats.documents import read_json
from nersemble_cli.core.formats.npy import read_npy, read_npy_header
from nersemble_cli.core.formats.npz import read_npz_headers
from nersemble_cli.core.formats.pcd import read_pcd_header
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.formats.png import check_png
from nersemble_cli.core.formats.sniff import check_file
from nersemble_cli.core.submission.members import open_zip, sort_members
from nersemble_cli.core.submission.mesh_checks import LANDMARK_SHAPE
from nersemble_cli.core.submission.names import recognise
from nersemble_cli.core.video.reader import open_video

Facts = dict[str, Any]

TRACKING_ARRAYS = ("expression", "rotation", "translation", "frames")
TREE_DEPTH = 2


def inspect_file(path: Path) -> Facts:
    """The facts about a file of one of the benchmark's types; values are plain, tables are lists of dicts.

    "kind" names the type. Raises `UsageError` if there is no such file or it is of no known type,
    `InvalidInputError` if it cannot be read as what its name says.
    """
    if not path.exists():
        raise UsageError(f"Nothing at {path}.", "Give a file, or a benchmark folder; without a PATH: -f FOLDER")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path}: unknown file type '{path.suffix}'.", f"Known: {', '.join(_READERS)}.")
    try:
        with path.open("rb") as file:
            check_file(file, path.name.lower())
        facts = read(path)
    except InvalidInputError as error:
        if error.message.startswith(str(path)):  # from a reader of the benchmark's data, which words it itself
            raise
        raise InvalidInputError(f"{path} {error.message}.", DAMAGED_HINT) from None
    return {"path": str(path), "kind": facts.pop("kind"), "bytes": path.stat().st_size, **facts}


def _video(path: Path) -> Facts:
    try:
        with open_video(str(path), threads=1) as (container, stream):
            codec = stream.codec_context
            fps = stream.average_rate
            facts: Facts = {
                "kind": "video",
                "codec": codec.name,
                "width": codec.width,
                "height": codec.height,
                "fps": float(fps) if fps else None,
                "n_frames_in_header": stream.frames,
                "n_frames_counted": sum(1 for packet in container.demux(stream) if packet.size),
                "pixel_format": codec.pix_fmt,
                "audio_tracks": len(container.streams.audio),
            }
    except av.FFmpegError as error:
        raise InvalidInputError(f"cannot be read as a video ({error.strerror})") from None
    facts["seconds"] = round(facts["n_frames_counted"] / facts["fps"], 3) if facts["fps"] else None
    return facts


def _cameras(path: Path) -> Facts:
    rows = [
        {
            "serial": serial,
            "fx": round(float(intrinsics[0, 0]), 2),
            "fy": round(float(intrinsics[1, 1]), 2),
            "cx": round(float(intrinsics[0, 2]), 2),
            "cy": round(float(intrinsics[1, 2]), 2),
            "center": _rounded(invert_pose(world_2_cam)[:3, 3]),
            "rigid": is_rigid(world_2_cam),
        }
        for serial, (world_2_cam, intrinsics) in read_calibration(path).items()
    ]
    not_rigid = [str(row["serial"]) for row in rows if not row["rigid"]]
    return {
        "kind": "cameras",
        "n_cameras": len(rows),
        "poses": f"NOT rigid: {', '.join(not_rigid)}" if not_rigid else "all rigid, world to camera",
        "units": "focal lengths and principal points in pixels, centers in metres",
        "cameras": rows,
    }


def _json(path: Path) -> Facts:
    document = read_json(path.read_bytes())
    if "world_2_cam" in document:
        return _cameras(path)
    return {"kind": "json", "keys": list(document)}


def _pointcloud(path: Path) -> Facts:
    with path.open("rb") as file:
        header = read_pcd_header(file)
    points = load_pointcloud(path).points
    finite = points[np.isfinite(points).all(axis=1)]
    return {
        "kind": "point cloud",
        "n_points": header.n_points,
        "n_points_not_finite": len(points) - len(finite),
        "data": header.data,
        "version": header.version,
        "fields": " ".join(header.fields),
        **_extent(finite),
        "units": "metres",
    }


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _extent(points: NDArray[Any]) -> Facts:
    """The corners of the box around finite points (N, 3), None if there are none."""
    return {
        "minimum": _rounded(points.min(axis=0)) if len(points) else None,
        "maximum": _rounded(points.max(axis=0)) if len(points) else None,
    }


def _arrays(path: Path) -> Facts:
    headers = read_npz_headers(path)
    rows = [{"array": n, "shape": list(h.shape), "dtype": str(h.dtype)} for n, h in headers.items()]
    if not all(name in headers for name in TRACKING_ARRAYS):
        return {"kind": "arrays", "arrays": rows}
    version = 2 if path.stem.endswith("_v2") else 1 if path.stem == "flame2023_tracking" else None
    frames = headers["frames"].shape
    return {
        "kind": "FLAME tracking",
        "version": version,
        "n_frames": frames[0] if frames else None,
        "arrays": rows,
    }


def _mesh(path: Path) -> Facts:
    mesh = read_ply(path.read_bytes())
    n_vertices = len(mesh.vertices)
    finite = mesh.vertices[np.isfinite(mesh.vertices).all(axis=1)]
    return {
        "kind": "mesh",
        "n_vertices": n_vertices,
        "n_faces": len(mesh.faces),
        "flame_topology": n_vertices == FLAME_VERTEX_COUNT,
        "triangles_only": not mesh.has_polygons,
        "n_vertices_not_finite": n_vertices - len(finite),
        **_extent(finite),
    }


def _array(path: Path) -> Facts:
    with path.open("rb") as file:
        shape, dtype = read_npy_header(file)
    facts: Facts = {
        "kind": "array",
        "shape": list(shape),
        "dtype": str(dtype),
        "now_landmarks": shape == LANDMARK_SHAPE,
    }
    if dtype.kind not in "fiu":
        return facts
    array = read_npy(path.read_bytes())
    facts["finite"] = bool(np.isfinite(array).all())
    if array.size:
        facts |= {"minimum": float(array.min()), "maximum": float(array.max())}
    if shape == LANDMARK_SHAPE:
        facts["values"] = [dict(zip("xyz", (round(float(v), 5) for v in row), strict=True)) for row in array]
    return facts


def _submission(path: Path) -> Facts:
    with open_zip(path) as archive:
        members, flaws, others = sort_members(archive)
    benchmark = recognise(members)
    folders: defaultdict[str, list[int]] = defaultdict(list)
    for name, member in members.items():
        parts = PurePosixPath(name.replace("\\", "/")).parts
        folders["/".join(parts[: min(TREE_DEPTH, len(parts) - 1)]) or "."].append(member.size)
    return {
        "kind": "zip",
        "submission_to": benchmark.name if benchmark else None,
        "n_files": len(members),
        "bytes_unpacked": sum(member.size for member in members.values()),
        "not_opened": [finding.message for finding in (*flaws.values(), *others)],
        "tree": [
            {"folder": name, "files": len(sizes), "bytes": sum(sizes)} for name, sizes in sorted(folders.items())
        ],
        "hint": "nersemble validate says whether it is a valid submission.",
    }


def _image(path: Path) -> Facts:
    info = check_png(path)
    return {"kind": "image", "width": info.width, "height": info.height}


_READERS: dict[str, Callable[[Path], Facts]] = {
    ".mp4": _video,
    ".json": _json,
    ".pcd": _pointcloud,
    ".npz": _arrays,
    ".ply": _mesh,
    ".npy": _array,
    ".zip": _submission,
    ".png": _image,
}

"""COLMAP models of known cameras: what pycolmap, gsplat and the Inria trainer read.

Format: https://colmap.github.io/format.html. Poses are world → camera with OpenCV's axes, like the benchmark's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.pointcloud import PointCloud, pointcloud_to_ply
from nersemble_cli.core.export.images import ImageFile, check_mattes
from nersemble_cli.core.export.points import load_points, source_timesteps
from nersemble_cli.core.export.rotations import matrix_to_quaternion
from nersemble_cli.core.export.run import Export
from nersemble_cli.core.export.selection import Camera, Selection

NAME = "colmap"
_PINHOLE = 1
_HELD_OUT = "held_out/"


@dataclass(frozen=True, eq=False)
class _Image:
    name: str
    camera: Camera


def make_export(selection: Selection) -> Export:
    """A model for each timestep: in the folder itself if there is one, else in `colmap_{timestep}/`."""
    request = selection.request
    sequence = selection.only_sequence(NAME)
    if request.masks:
        check_mattes(selection, "Or do without: --no-masks")
    timesteps = selection.timesteps[sequence]
    notes: list[str] = []
    sources = source_timesteps(selection, sequence, timesteps, notes)
    images: list[ImageFile] = []
    small: dict[str, Callable[[], bytes]] = {}
    large: dict[str, Callable[[], bytes]] = {}
    for timestep in timesteps:
        model = "" if len(timesteps) == 1 else f"colmap_{timestep}/"
        for folder, is_held_out in ((model, False), (f"{model}{_HELD_OUT}", True)):
            cameras = [c for s, c in selection.cameras.items() if (s in selection.held_out) == is_held_out]
            if not cameras:
                continue
            listed = [_Image(f"cam_{camera.serial}.{request.image_format}", camera) for camera in cameras]
            small |= _cameras_and_images(f"{folder}sparse/0/", listed)
            source = None if sources is None else sources[timestep]
            large |= _points(f"{folder}sparse/0/", selection, sequence, source)
    for view in selection.views():
        model = "" if len(timesteps) == 1 else f"colmap_{view.timestep}/"
        folder = f"{model}{_HELD_OUT}" if view.held_out else model
        mask = f"{folder}masks/cam_{view.serial}.png" if request.masks else None
        images.append(ImageFile(view, f"{folder}images/cam_{view.serial}.{request.image_format}", mask))
    scene = "{out}" if len(timesteps) == 1 else f"{{out}}/colmap_{timesteps[0]}"
    lines = {
        "gsplat, in its folder examples/": "python simple_trainer.py default --data_factor 1 --test_every 1000"
        f" --no-normalize-world-space --data_dir {scene} --result_dir results",
        "3D Gaussian Splatting (Inria), in its folder": f"python train.py --white_background -s {scene} -m output",
    }
    if len(timesteps) > 1:
        lines["SpacetimeGaussians, in its folder"] = (
            f"python train.py --quiet --config configs/techni_lite/Birthday.json --source_path {scene}"
            " --model_path output"
        )
    return Export(
        NAME, selection, images, small, large, _losses(selection), notes,
        lines=lines,
        fixed={"sequence": sequence, "one_timestep": len(timesteps) == 1, "masks": bool(request.masks),
               "held_out": list(selection.held_out)},
    )  # fmt: skip


def _losses(selection: Selection) -> list[str]:
    shift = max(camera.off_center for camera in selection.cameras.values())
    inria = (
        "The Inria trainer and its descendants ignore the principal point and take the image's centre, which is up"
        f" to {shift:.1f} px off it."
    )
    if shift > 1:
        inria += (
            " --center pads the images with white until it is central; `nersemble pack --crop` cuts renders"
            " back. gsplat and nerfstudio use the principal point as it is."
        )
    eighth = (
        "Neither reads a split: gsplat, and the Inria trainer with --eval, hold out every 8th image by name."
        " The commands in the README train on all images (gsplat: on all but the first)."
    )
    losses = [inria, eighth]
    if selection.held_out:
        losses.append(f"Cameras that you hold out are a model of their own, in {_HELD_OUT}")
    return losses


def _cameras_and_images(folder: str, images: list[_Image]) -> dict[str, Callable[[], bytes]]:
    return {
        f"{folder}cameras.txt": lambda: _cameras_txt(images),
        f"{folder}images.txt": lambda: _images_txt(images),
        f"{folder}cameras.bin": lambda: _cameras_bin(images),
        f"{folder}images.bin": lambda: _images_bin(images),
    }


def _points(
    folder: str, selection: Selection, sequence: str, timestep: int | None
) -> dict[str, Callable[[], bytes]]:
    def load() -> PointCloud:
        if timestep is None:
            return PointCloud(*[np.empty((0, 3), np.float32)] * 3)
        return load_points(selection, sequence, timestep)

    files = {
        f"{folder}points3D.txt": lambda: _points_txt(load()),
        f"{folder}points3D.bin": lambda: _points_bin(load()),
    }
    if timestep is not None:  # the Inria trainer would make it, without normals
        files[f"{folder}points3D.ply"] = lambda: pointcloud_to_ply(*load())
    return files


def _pinhole(camera: Camera) -> tuple[float, float, float, float]:
    k = camera.intrinsics
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def _pose(camera: Camera) -> list[float]:
    """Quaternion and translation, world → camera."""
    return [*matrix_to_quaternion(camera.world_2_cam[:3, :3]).tolist(), *camera.world_2_cam[:3, 3].tolist()]


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _cameras_txt(images: Sequence[_Image]) -> bytes:
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, image in enumerate(images, start=1):
        camera = image.camera
        lines.append(f"{number} PINHOLE {camera.width} {camera.height} {_numbers(_pinhole(camera))}")
    return _text(lines)


def _images_txt(images: Sequence[_Image]) -> bytes:
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, image in enumerate(images, start=1):
        lines += [f"{number} {_numbers(_pose(image.camera))} {number} {image.name}", ""]
    return _text(lines)


def _points_txt(cloud: PointCloud) -> bytes:
    lines = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for number, (xyz, rgb) in enumerate(zip(cloud.points, _bytes_rgb(cloud), strict=True), start=1):
        lines.append(f"{number} {_numbers(xyz)} {rgb[0]} {rgb[1]} {rgb[2]} 0")
    return _text(lines)


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _cameras_bin(images: Sequence[_Image]) -> bytes:
    parts = [struct.pack("<Q", len(images))]
    for number, image in enumerate(images, start=1):
        camera = image.camera
        parts.append(struct.pack("<IiQQ4d", number, _PINHOLE, camera.width, camera.height, *_pinhole(camera)))
    return b"".join(parts)


def _images_bin(images: Sequence[_Image]) -> bytes:
    parts = [struct.pack("<Q", len(images))]
    for number, image in enumerate(images, start=1):
        parts.append(struct.pack("<I7dI", number, *_pose(image.camera), number))
        parts.append(image.name.encode() + b"\0" + struct.pack("<Q", 0))  # no 2D points
    return b"".join(parts)


def _points_bin(cloud: PointCloud) -> bytes:
    record = np.dtype(
        [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track_length", "<u8")]
    )
    points = np.zeros(len(cloud.points), record)
    points["id"] = np.arange(1, len(points) + 1)
    points["xyz"], points["rgb"] = cloud.points, _bytes_rgb(cloud)
    return struct.pack("<Q", len(points)) + points.tobytes()


def _bytes_rgb(cloud: PointCloud) -> NDArray[np.uint8]:
    """(N, 3) uint8; grey for a cloud without colours."""
    if not len(cloud.colors):
        return np.full((len(cloud.points), 3), 128, np.uint8)
    rgb: NDArray[np.uint8] = (cloud.colors * 255).round().clip(0, 255).astype(np.uint8)
    return rgb

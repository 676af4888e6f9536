"""`transforms.json` for nerfstudio, and `transforms_{train,val,test}.json` for readers of D-NeRF's format.

Sources: nerfstudio 1.1.5, docs/quickstart/data_conventions.md, data/dataparsers/{nerfstudio,dnerf}_dataparser.py.
Camera axes are OpenGL's (x right, y up, z backward), poses map camera → world.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from nersemble_cli.core.data.cameras import invert_pose, swap_opencv_opengl
from nersemble_cli.core.data.pointcloud import pointcloud_to_ply
from nersemble_cli.core.export.images import ImageFile, check_mattes
from nersemble_cli.core.export.points import load_points, source_timesteps
from nersemble_cli.core.export.run import Export
from nersemble_cli.core.export.selection import Camera, Selection, View

NAME = "nerfstudio"
_POINTS = "points3D.ply"
_SPLITS = ("train", "val", "test")


def make_export(selection: Selection) -> Export:
    """All views of one sequence in one `transforms.json`, with the time of each."""
    request = selection.request
    sequence = selection.only_sequence(NAME)
    with_masks = request.masks is not False
    if with_masks:
        check_mattes(selection, "Or do without: --no-masks")
    suffix = f".{request.image_format}"
    images = [
        ImageFile(view, f"images/{stem}{suffix}", f"masks/{stem}.png" if with_masks else None)
        for view in selection.views()
        for stem in [f"cam_{view.serial}/{view.timestep:05d}"]
    ]
    notes: list[str] = []
    large: dict[str, Callable[[], bytes]] = {}
    sources = source_timesteps(selection, sequence, selection.timesteps[sequence][:1], notes)
    if sources:
        (first,) = sources.values()
        large[_POINTS] = lambda: pointcloud_to_ply(*load_points(selection, sequence, first))
    small: dict[str, Callable[[], bytes]] = {}
    losses = [
        "nerfstudio recentres and rescales the scene unless told not to, as the command in the README does.",
        "nerfstudio counts pixels from the corner of the first pixel, OpenCV from its centre. The principal point"
        " is written as the benchmark has it, so the two may differ by half a pixel.",
    ]
    if len(selection.timesteps[sequence]) > 1:
        losses.append(
            "nerfstudio's own parser ignores `time`: a static method such as splatfacto mixes all timesteps."
        )
    if with_masks:
        losses.append(
            "With masks, nerfstudio ignores the background, but the benchmark scores it, and it must be white."
            " To train on the whole images, export with --no-masks."
        )
    if not selection.held_out:
        losses.append(
            "No camera is held out (--hold-out), so the val and test splits repeat a training camera,"
            " and scores on them mean little."
        )
    if request.image_format == "png":  # D-NeRF's readers add .png themselves
        small |= {f"transforms_{split}.json": _dnerf(selection, images, split) for split in _SPLITS}
        losses.append(_dnerf_loss(selection))
    small["transforms.json"] = lambda: _dump(_transforms(selection, images, bool(large)))
    background = "--pipeline.model.background-color white"
    unmoved = "--orientation-method none --center-method none --auto-scale-poses False"
    points = " --load-3D-points True" if large else ""
    lines = {
        "3D Gaussian Splatting in nerfstudio": f"ns-train splatfacto {background} nerfstudio-data --data {{out}}"
        f" {unmoved}{points}",
    }
    if "transforms_train.json" in small:
        expname = selection.data.participant
        lines["4DGaussians, in its folder"] = f"python train.py -s {{out}} --white_background --expname {expname}"
    return Export(
        NAME, selection, images, small, large, losses, notes,
        lines=lines,
        fixed={"masks": with_masks, "sequence": sequence},
    )  # fmt: skip


def opengl_pose(camera: Camera) -> list[list[float]]:
    """(4, 4) camera → world with OpenGL's axes."""
    pose: list[list[float]] = swap_opencv_opengl(invert_pose(camera.world_2_cam), is_cam_2_world=True).tolist()
    return pose


def intrinsics_fields(camera: Camera) -> dict[str, float]:
    """`fl_x fl_y cx cy w h`, in pixels; cy counts from the top."""
    k = camera.intrinsics
    return {
        "fl_x": float(k[0, 0]),
        "fl_y": float(k[1, 1]),
        "cx": float(k[0, 2]),
        "cy": float(k[1, 2]),
        "w": camera.width,
        "h": camera.height,
    }


def field_of_view(size: int, focal: float) -> float:
    """The angle in radians that an image of `size` pixels covers."""
    return 2 * math.atan(size / (2 * focal))


def _in_split(selection: Selection, split: str) -> Callable[[View], bool]:
    """Whether a view is in a split. Readers fail on an empty one, so without hold-outs one camera comes twice."""
    if split == "train":
        return lambda view: not view.held_out
    if selection.held_out:
        return lambda view: view.held_out
    first = next(iter(selection.cameras))
    return lambda view: view.serial == first


def _time(selection: Selection, view: View) -> float:
    """0 for the first timestep that is exported, 1 for the last."""
    steps = selection.timesteps[view.sequence]
    return (view.timestep - steps[0]) / max(1, steps[-1] - steps[0])


def _transforms(selection: Selection, images: list[ImageFile], has_points: bool) -> dict[str, Any]:
    frames = []
    for file in images:
        camera = selection.cameras[file.view.serial]
        frame: dict[str, Any] = {"file_path": file.image}
        if file.mask is not None:
            frame["mask_path"] = file.mask
        frame |= intrinsics_fields(camera)
        frame |= {"camera": file.view.serial, "timestep": file.view.timestep, "time": _time(selection, file.view)}
        frame["transform_matrix"] = opengl_pose(camera)
        frames.append(frame)
    document: dict[str, Any] = {"camera_model": "OPENCV", "orientation_override": "none"}
    document |= dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)
    if has_points:
        document["ply_file_path"] = _POINTS
    for split in _SPLITS:
        belongs = _in_split(selection, split)
        document[f"{split}_filenames"] = [file.image for file in images if belongs(file.view)]
    document["frames"] = frames
    return document


def _dnerf(selection: Selection, images: list[ImageFile], split: str) -> Callable[[], bytes]:
    belongs = _in_split(selection, split)

    def make() -> bytes:
        frames = [
            {
                "file_path": f"./{PurePosixPath(file.image).with_suffix('')}",
                "time": _time(selection, file.view),
                "transform_matrix": opengl_pose(selection.cameras[file.view.serial]),
            }
            for file in images
            if belongs(file.view)
        ]
        return _dump({"camera_angle_x": field_of_view(*_shared_focal(selection)), "frames": frames})

    return make


def _shared_focal(selection: Selection) -> tuple[int, float]:
    """The width and the mean focal length of all cameras, for readers that know only one."""
    cameras = selection.cameras.values()
    focal = sum(float(camera.intrinsics[0, 0]) for camera in cameras) / len(cameras)
    return max(camera.width for camera in cameras), focal


def _dnerf_loss(selection: Selection) -> str:
    _, focal = _shared_focal(selection)
    worst = max(
        abs(float(camera.intrinsics[axis, axis]) / focal - 1) * camera.width / 2
        for camera in selection.cameras.values()
        for axis in (0, 1)
    )
    shift = max(camera.off_center for camera in selection.cameras.values())
    text = (
        "The D-NeRF files (transforms_train.json, …) hold one focal length for all cameras: the mean, which is up"
        f" to {worst:.1f} px off at the edges of the images. Their readers put the principal point at the image's"
        f" centre, which is up to {shift:.1f} px off."
    )
    if shift > 1:
        text += " --center pads the images with white until it is central."
    return f"{text} 4DGaussians also resizes images to 800×800."


def _dump(document: Any) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()

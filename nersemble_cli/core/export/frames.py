"""Plain images with their cameras, as files or as WebDataset's shards."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager
from nersemble_cli.core.errors import UsageError, unknown_name
from nersemble_cli.core.export.images import ImageFile, check_mattes
from nersemble_cli.core.export.run import Export
from nersemble_cli.core.export.selection import Camera, Selection, View
from nersemble_cli.core.flame.tracking import FlameTracking

NAME = "frames"
ALPHA = ("beside", "rgba", "none")
_BESIDE, _RGBA, _ = ALPHA
_TRACKED = ("expression", "rotation_matrices", "translation", "jaw", "neck", "eyes")


def make_export(selection: Selection, alpha: str = _BESIDE, shard_size: int | None = None) -> Export:
    """`{participant}/{sequence}/cam_{serial}/{timestep}.png` with alpha maps beside or inside, and `cameras.json`.

    With `shard_size` (bytes), tar files of about that size instead: each sample has its image, its alpha map, its
    camera, and the FLAME parameters of its timestep if the sequence is tracked.
    """
    request = selection.request
    if alpha not in ALPHA:
        raise unknown_name("place of the alpha maps", alpha, ALPHA)
    if alpha == _RGBA and request.image_format != "png":
        raise UsageError("JPEG files have no alpha.", "Use --format png, or --alpha beside.")
    if alpha in (_BESIDE, _RGBA):
        check_mattes(selection, "Or do without: --alpha none")
    participant = f"{selection.data.participant:03d}"

    def file_of(view: View) -> ImageFile:
        folder, name = f"{participant}/{view.sequence}", f"{view.timestep:05d}"
        image = f"{folder}/cam_{view.serial}/{name}.{request.image_format}"
        mask = f"{folder}/alpha_{view.serial}/{name}.png"
        if shard_size is not None:
            key = f"{participant}_{view.sequence}_{view.serial}_{name}"
            image, mask = f"{key}.{request.image_format}", f"{key}.alpha.png"
        return ImageFile(view, image, mask if alpha == _BESIDE else None)

    views = selection.views()
    if shard_size is not None:  # cameras take turns, so that a shard read in order has all of them
        views = iter(sorted(views, key=lambda view: (view.held_out, view.sequence, view.timestep)))
    losses = ["Images are on white already, also where RGBA is transparent: colours are not divided by alpha."]
    if alpha != _RGBA:
        losses = []
    return Export(
        NAME, selection, [file_of(view) for view in views],
        small={"cameras.json": lambda: _dump(_cameras(selection))},
        losses=losses,
        lines=_lines(selection, shard_size),
        fixed={"alpha": alpha, "shard_size": shard_size, **_membership(selection, shard_size)},
        alpha_inside=alpha == _RGBA,
        shard_size=shard_size,
        sample=_Samples(selection) if shard_size is not None else None,
    )  # fmt: skip


def _membership(selection: Selection, shard_size: int | None) -> dict[str, Any]:
    """What decides which sample is in which shard."""
    if shard_size is None:
        return {}
    timesteps = {sequence: list(steps) for sequence, steps in selection.timesteps.items()}
    return {
        "timesteps": timesteps,
        "cameras": list(selection.cameras),
        "held_out": list(selection.held_out),
    }


def _lines(selection: Selection, shard_size: int | None) -> dict[str, str]:
    if shard_size is not None:
        shards = 'sorted(glob.glob("{path}/train-*.tar"))'
        return {
            "WebDataset, in Python": f"webdataset.WebDataset({shards}, shardshuffle=100,"
            ' nodesplitter=webdataset.split_by_node).shuffle(1000).decode("torchrgb")'
        }
    folder = f"{selection.data.participant:03d}/{selection.sequences[0]}/cam_{next(iter(selection.cameras))}"
    suffix = selection.request.image_format
    rate = float(selection.benchmark.fps)
    return {
        "A video, with ffmpeg": f"ffmpeg -framerate {rate:g} -pattern_type glob"
        f" -i {{out}}/'{folder}/*.{suffix}' out.mp4"
    }


def camera_fields(camera: Camera) -> dict[str, Any]:
    """A camera as JSON: `world_2_cam` (4×4) with OpenCV's axes, metres; `intrinsics` (3×3), pixels."""
    return {
        "width": camera.width,
        "height": camera.height,
        "intrinsics": camera.intrinsics.tolist(),
        "world_2_cam": camera.world_2_cam.tolist(),
    }


def _cameras(selection: Selection) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "held_out": list(selection.held_out),
        "cameras": {serial: camera_fields(camera) for serial, camera in selection.cameras.items()},
    }


class _Samples:
    """What a sample of a shard holds beside its images, by suffix."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._tracking = {s: t for s in selection.sequences if (t := _tracking(selection, s)) is not None}

    def __call__(self, view: View) -> dict[str, bytes]:
        selection = self._selection
        document = {
            "participant": selection.data.participant,
            "sequence": view.sequence,
            "serial": view.serial,
            "timestep": view.timestep,
            **camera_fields(selection.cameras[view.serial]),
        }
        members = {"json": _dump(document)}
        tracking = self._tracking.get(view.sequence)
        if tracking is not None and view.timestep < tracking.n_timesteps:
            buffer = io.BytesIO()
            moving = {name: getattr(tracking, name)[view.timestep] for name in _TRACKED}
            np.savez(buffer, allow_pickle=False, shape=tracking.shape[0], scale=tracking.scale.ravel(), **moving)
            members["flame.npz"] = buffer.getvalue()
        return members


def _tracking(selection: Selection, sequence: str) -> FlameTracking | None:
    data = selection.data
    if not isinstance(data, MonoFlameAvatarDataManager):
        return None
    return data.load_flame_tracking(sequence)


def _dump(document: Any) -> bytes:
    return (json.dumps(document) + "\n").encode()

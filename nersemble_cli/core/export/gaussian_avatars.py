"""The layout that VHAP writes and GaussianAvatars reads: images, masks, and FLAME parameters for each timestep.

Sources: GaussianAvatars, scene/dataset_readers.py and scene/flame_gaussian_model.py; VHAP,
vhap/export_as_nerf_dataset.py. The benchmark turns a head about the origin of FLAME's space and scales it,
v = s·R·v₀ + t. FLAME itself turns about its root joint J₀, v = R·(v₀ − J₀) + J₀ + T. With T = t/s − J₀ + R·J₀ both
are the same but for the scale, so camera positions are divided by s. J₀ depends on shape and expression.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT
from nersemble_cli.core.data.cameras import invert_pose
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.export.images import ImageFile, check_mattes, encode_image
from nersemble_cli.core.export.nerfstudio import field_of_view, intrinsics_fields, opengl_pose
from nersemble_cli.core.export.rotations import matrix_to_axis_angle
from nersemble_cli.core.export.run import Export
from nersemble_cli.core.export.selection import Camera, Selection
from nersemble_cli.core.flame.model import N_SHAPE, FlameModel
from nersemble_cli.core.flame.tracking import FlameTracking

NAME = "gaussian-avatars"
_OPEN_JAW = 0.3  # radians, in the canonical pose that VHAP writes
_TEST = "submission"
_WHITE = "white.png"
_ROOT = 0


@dataclass(frozen=True, eq=False)
class World:
    """The exported world: the benchmark's, divided by the head's `scale`, then moved by −`center` (3,), metres."""

    scale: float
    center: NDArray[np.float64]

    def camera(self, camera: Camera) -> Camera:
        """The same camera, with the same pixels, in the exported world."""
        pose = invert_pose(camera.world_2_cam)
        pose[:3, 3] = pose[:3, 3] / self.scale - self.center
        return replace(camera, world_2_cam=invert_pose(pose))


class Heads:
    """FLAME's parameters as GaussianAvatars takes them, for one tracked sequence."""

    def __init__(self, tracking: FlameTracking, model: FlameModel) -> None:
        self.tracking = tracking
        # Joints are linear in the coefficients: this is all of the model that is needed.
        regressor = model.joint_regressor[_ROOT]
        self._root = regressor @ model.v_template + np.einsum(
            "v,vcs,s->c", regressor, model.shapedirs[..., :N_SHAPE], tracking.shape[0]
        )
        self._root_directions = np.einsum("v,vce->ce", regressor, model.shapedirs[..., N_SHAPE:])

    @property
    def scale(self) -> float:
        return float(self.tracking.scale.item())

    def translation(self, timestep: int) -> NDArray[np.float64]:
        """(3,) T, before the world is centred."""
        tracking = self.tracking
        root = self._root + self._root_directions @ tracking.expression[timestep]
        turn = tracking.rotation_matrices[timestep].astype(np.float64)
        moved: NDArray[np.float64] = tracking.translation[timestep] / self.scale - root + turn @ root
        return moved

    def parameters(self, timestep: int, center: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        """The arrays of a `flame_param/*.npz`; rotations are axis-angle in radians."""
        tracking = self.tracking
        turn = tracking.rotation_matrices[timestep].astype(np.float64)
        arrays = {
            "translation": self.translation(timestep)[None] - center,
            "rotation": matrix_to_axis_angle(turn)[None],
            "neck_pose": tracking.neck[timestep][None],
            "jaw_pose": tracking.jaw[timestep][None],
            "eyes_pose": tracking.eyes[timestep][None],
            "shape": tracking.shape[0],
            "expr": tracking.expression[timestep][None],
            "static_offset": np.zeros((1, FLAME_VERTEX_COUNT, 3)),
        }
        return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


@dataclass(frozen=True)
class _Frame:
    """One entry of a transforms file."""

    camera: Camera
    camera_index: int
    timestep_index: int
    timestep_id: str
    image: str
    mask: str
    flame: str


def make_export(selection: Selection, model: FlameModel) -> Export:
    """All views, timesteps counted through all sequences; beside them, what a submission is rendered from."""
    data = selection.data
    if not isinstance(data, MonoFlameAvatarDataManager):
        raise UsageError(
            f"Participant {data.participant} is of {selection.benchmark.name}, which has no FLAME tracking.",
            "GaussianAvatars needs a participant of mono: 393, 404, 461, 477, 486.",
        )
    if selection.request.image_format != "png":
        raise UsageError("GaussianAvatars reads PNG only.", "Leave out --format.")
    check_mattes(selection, "GaussianAvatars' format needs them.")
    test_sequences = data.benchmark.test_sequences[data.participant]
    heads = {s: Heads(data.load_flame_tracking(s), model) for s in (*selection.sequences, *test_sequences)}
    for sequence in selection.sequences:
        n_tracked = heads[sequence].tracking.n_timesteps
        if (last := selection.timesteps[sequence][-1]) >= n_tracked:
            raise UsageError(
                f"Timestep {last} of {sequence} is not tracked: its tracking has {n_tracked} frames.",
                f"Export fewer timesteps: -t 0-{n_tracked - 1}",
            )
    moments = [(s, t) for s in selection.sequences for t in selection.timesteps[s]]
    center = np.mean([heads[s].translation(t) for s, t in moments], axis=0)
    worlds = {sequence: World(head.scale, center) for sequence, head in heads.items()}
    number = {moment: index for index, moment in enumerate(moments)}
    camera_index = {serial: index for index, serial in enumerate(selection.cameras)}

    images: list[ImageFile] = []
    frames: dict[str, list[_Frame]] = {"train": [], "val": [], "test": []}
    for view in selection.views():
        index = number[view.sequence, view.timestep]
        stem = f"{index:05d}_{camera_index[view.serial]:02d}.png"
        image = ImageFile(view, f"images/{stem}", f"fg_masks/{stem}")
        images.append(image)
        split = "train" if not view.held_out else "test" if view.sequence in selection.held_out else "val"
        frames[split].append(
            _Frame(
                camera=worlds[view.sequence].camera(selection.cameras[view.serial]),
                camera_index=camera_index[view.serial],
                timestep_index=index,
                timestep_id=f"{view.sequence}_{view.timestep:05d}",
                image=image.image,
                mask=f"fg_masks/{stem}",
                flame=f"flame_param/{index:05d}.npz",
            )
        )
    every = [frame for split in frames.values() for frame in split]
    small: dict[str, Callable[[], bytes]] = {
        "canonical_flame_param.npz": lambda: _npz(_canonical(heads[selection.sequences[0]])),
        "transforms.json": lambda: _transforms(every),
        **{f"transforms_{split}.json": _later(frames[split]) for split in frames},
    }
    large = {f"flame_param/{i:05d}.npz": _flame(heads[s], t, center) for (s, t), i in number.items()}
    for name, make in _submission(selection, heads, worlds).items():
        (large if name.endswith((".npz", ".png")) else small)[name] = make
    return Export(
        NAME, selection, images, small, large, _losses(selection, worlds), _notes(selection),
        world="The world is not the benchmark's: see below.",
        lines={
            "GaussianAvatars, in its folder": "python train.py -s {out} -m output --eval --bind_to_mesh"
            " --white_background",
            "Renders for a submission, there": f"for view in {{out}}/{_TEST}/*/; do"
            " python render.py -s {out} -m output --target_path $view; done",
        },
        fixed={
            "timesteps": {s: list(t) for s, t in selection.timesteps.items()},
            "cameras": list(selection.cameras),
            "world_scale": {sequence: world.scale for sequence, world in worlds.items()},
            "world_center": center.tolist(),
        },
    )  # fmt: skip


def _losses(selection: Selection, worlds: Mapping[str, World]) -> list[str]:
    world = worlds[selection.sequences[0]]
    offset = ", ".join(f"{value:.4f}" for value in world.center)
    losses = [
        "GaussianAvatars ignores the principal point, so images are padded with white until it is central to half"
        " a pixel. `nersemble pack --crop crop.json` cuts renders back.",
        f"The world is the benchmark's divided by the head's scale, {world.scale:g}, then moved by minus"
        f" ({offset}) m, as VHAP does. export.json has both as world_scale and world_center.",
        "cy counts from the top, as nerfstudio has it; VHAP's own files count from the bottom. GaussianAvatars"
        " reads neither.",
        "Without --eval, GaussianAvatars trains on the val and test splits too.",
    ]
    if len(selection.cameras) == 1:
        losses.append(
            "GaussianAvatars multiplies the learning rate of positions by the distance between cameras, which is 0"
            " for one camera: in its scene/__init__.py, set self.cameras_extent to 1."
        )
    if not selection.held_out:
        losses.append(
            "No sequence is held out (--hold-out EXP-9-jaw-2, for example), so the val and test splits are empty."
        )
    return losses


def _notes(selection: Selection) -> list[str]:
    return [
        f"{_TEST}/ has the hidden test set's views, with white images. render.py writes"
        f" output/SEQUENCE_cam_SERIAL/; `nersemble pack mono` wants these frames in"
        f" {selection.data.participant}/SEQUENCE/cam_SERIAL/."
    ]


def _submission(
    selection: Selection,
    heads: Mapping[str, Heads],
    worlds: Mapping[str, World],
) -> dict[str, Callable[[], bytes]]:
    """A target path for each video of a submission: all of its frames in transforms_train.json."""
    some = next(iter(selection.rig.values()))
    white = np.full((some.height, some.width, 3), 255, np.uint8)
    files: dict[str, Callable[[], bytes]] = {_WHITE: lambda: encode_image(white, ".png")}
    for sequence in selection.benchmark.test_sequences[selection.data.participant]:
        names = [f"flame_param/{sequence}_{t:05d}.npz" for t in range(heads[sequence].tracking.n_timesteps)]
        files |= {name: _flame(heads[sequence], t, worlds[sequence].center) for t, name in enumerate(names)}
        for serial in selection.benchmark.submission_serials:
            camera = worlds[sequence].camera(selection.rig[serial])
            frames = [
                _Frame(camera, 0, t, f"{sequence}_{t:05d}", f"../../{_WHITE}", "", f"../../{name}")
                for t, name in enumerate(names)
            ]
            folder = f"{_TEST}/{sequence}_cam_{serial}"
            files[f"{folder}/transforms_train.json"] = _later(frames)
            files |= {f"{folder}/transforms_{split}.json": _later([]) for split in ("val", "test")}
    return files


def _flame(heads: Heads, timestep: int, center: NDArray[np.float64]) -> Callable[[], bytes]:
    return lambda: _npz(heads.parameters(timestep, center))


def _canonical(heads: Heads) -> dict[str, NDArray[np.float32]]:
    """Everything zero but the shape and a slightly open jaw."""
    arrays = {name: np.zeros_like(array) for name, array in heads.parameters(0, np.zeros(3)).items()}
    arrays["shape"] = heads.tracking.shape[0].astype(np.float32)
    arrays["jaw_pose"][0, 0] = _OPEN_JAW
    return arrays


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for its own option
    return buffer.getvalue()


def _later(frames: list[_Frame]) -> Callable[[], bytes]:
    return lambda: _transforms(frames)


def _transforms(frames: Iterable[_Frame]) -> bytes:
    entries = []
    for frame in frames:
        camera = frame.camera
        entry: dict[str, Any] = {
            "timestep_index": frame.timestep_index,
            "timestep_index_original": int(frame.timestep_id.rpartition("_")[2]),
            "timestep_id": frame.timestep_id,
            "camera_index": frame.camera_index,
            "camera_id": camera.serial,
            **_angles(camera),
            "transform_matrix": opengl_pose(camera),
            "file_path": frame.image,
            "flame_param_path": frame.flame,
        }
        if frame.mask:
            entry["fg_mask_path"] = frame.mask
        entries.append(entry)
    document: dict[str, Any] = {"frames": entries}
    if entries:
        shared = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
        document |= {name: entries[0][name] for name in shared}
        document["timestep_indices"] = sorted({entry["timestep_index"] for entry in entries})
        document["camera_indices"] = sorted({entry["camera_index"] for entry in entries})
    return (json.dumps(document, indent=1) + "\n").encode()


def _angles(camera: Camera) -> dict[str, float]:
    fields = intrinsics_fields(camera)
    return {
        **fields,
        "camera_angle_x": field_of_view(camera.width, fields["fl_x"]),
        "camera_angle_y": field_of_view(camera.height, fields["fl_y"]),
    }

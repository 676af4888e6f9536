"""What stands in the scene for one sequence: cameras with their images, point cloud, FLAME mesh.

Everything is placed by the data managers and the geometry that `visualize` uses.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.scenes.geometry import (
    FRUSTUM_FRAME,
    FRUSTUM_RAYS,
    Rig,
    frustum,
    measure_rig,
)
from nersemble_cli.core.viewer.frames import FrameCache, Image, Source
from nersemble_cli.core.viewer.sources import VideoFile

if TYPE_CHECKING:
    import viser

    from nersemble_cli.core.flame.provider import FlameProvider

VideoData = NVSDataManager | MonoFlameAvatarDataManager
MeshStyle = Literal["shaded", "wireframe", "transparent"]
Kind = Literal["labels", "frustums", "images"]

THUMBNAIL = 192  # pixels of the longer side of the images in the frustums
OVERLAY = 900  # of the image that is looked at
BESIDE = 480  # of each image in the side bar
_HOLD_OUT_COLOR, _TRAIN_COLOR = (220, 60, 50), (70, 120, 200)
_HEAD_COLOR, _SECOND_COLOR = (230, 215, 200), (150, 60, 200)
_LANDMARK_COLOR, _VERTEX_COLOR = (255, 140, 0), (0, 200, 255)
_N_POINTS = 80_000
_CLOUDS_KEPT = 24
_LABEL_OUTWARD = 0.06  # metres behind the camera


class Stage:
    """The nodes of one sequence in viser's scene. World coordinates in metres, as the benchmark's.

    `note(text)` is called with what is missing and which command fetches it, and with what is damaged.
    `renders` are the user's frames by camera.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        data: VideoData,
        sequence: str,
        note: Callable[[str], None],
        renders: Mapping[str, Source] | None = None,
        n_points: int = _N_POINTS,
    ) -> None:
        self._scene, self._data, self.sequence, self._note = server.scene, data, sequence, note
        self.calibration: CameraCalibration = data.load_camera_calibration()
        self.n_timesteps = self._count()
        self.serials = self.calibration.serials
        self.renders = dict(renders or {})
        self._images: dict[str, Any] = {}
        self._shown: dict[str, tuple[str, int]] = {}
        self._nodes: dict[Kind, list[Any]] = {"labels": [], "frustums": [], "images": []}
        self._n_points = n_points
        self._cloud_node: Any = None
        self._cloud_at: int | None = None
        self._missing_clouds: set[int] = set()
        self._tracked: dict[int, tuple[FlameProvider, NDArray[np.float32]]] = {}
        self._flame_nodes: dict[int, list[Any]] = {}
        self._load_cloud = lru_cache(_CLOUDS_KEPT)(self._load_cloud_from_disk)
        self.sources = self._training_sources()
        self.size = self._image_size()
        self.rig: Rig = measure_rig(self.calibration, self.size[1])
        self.frames = FrameCache(
            {**self.sources, **{f"render {s}": source for s, source in self.renders.items()}},
            THUMBNAIL,
            self._tell_broken,
        )
        server.scene.set_up_direction(self.rig.up)

    def close(self) -> None:
        """Ends the decoding and removes what is in the scene."""
        self.frames.close()
        self._load_cloud.cache_clear()
        self._scene.reset()

    def _count(self) -> int:
        try:
            return self._data.get_n_timesteps(self.sequence)
        except NersembleError as error:
            self._note(str(error))
            return 1

    def _training_sources(self) -> dict[str, Source]:
        wanted = self._data.benchmark.train_serials
        here = [s for s in self._data.list_serials(self.sequence) if s in wanted]
        if self.sequence not in self._data.benchmark.train_sequences[self._data.participant]:
            self._note(f"{self.sequence} is held out: no camera has images of it.")
        elif missing := len(wanted) - len(here):
            hint = self._data.fetch_hint("images", sequence=self.sequence)
            self._note(f"{missing} of {len(wanted)} training cameras have no images here. {hint}")
        return {s: VideoFile(Path(self._data.get_images_path(self.sequence, s))) for s in here}

    def _image_size(self) -> tuple[int, int]:
        """Height and width that the intrinsics are for: those of the videos here, as made-up ones may be small."""
        for source in self.sources.values():
            try:
                return source.read(0, sys.maxsize).shape[:2]
            except NersembleError:
                continue  # reported when it is played
        return self._data.benchmark.height, self._data.benchmark.width

    def _tell_broken(self, name: str, reason: str) -> None:
        self._note(f"{name} cannot be read: {reason}")

    # Cameras

    def is_hold_out(self, serial: str) -> bool:
        return serial in self._data.benchmark.hold_out_serials

    def add_cameras(self, on_click: Callable[[str, Any], None]) -> None:
        """Draws every calibrated camera; a click on one calls `on_click(serial, client)`."""
        for serial in self.serials:
            corners = frustum(
                self.calibration.world_2_cam[serial],
                self.calibration.intrinsics[serial],
                *self.size,
                self.rig.depth,
            )
            color = _HOLD_OUT_COLOR if self.is_hold_out(serial) else _TRAIN_COLOR
            ends = np.array([[corners[a], corners[b]] for a, b in (*FRUSTUM_RAYS, *FRUSTUM_FRAME)])
            lines = self._scene.add_line_segments(
                f"/cameras/{serial}/frustum", ends, color, thickness=2.0, thickness_units="screen"
            )
            self._nodes["frustums"].append(lines)
            outward = corners[0] - corners[1:].mean(0)
            place = corners[0] + _LABEL_OUTWARD * outward / np.linalg.norm(outward)
            label = self._scene.add_label(
                f"/cameras/{serial}/label", serial, position=place, anchor="center-center"
            )
            self._nodes["labels"].append(label)
            has_image = serial in self.sources or serial in self.renders
            image = self._scene.add_image(
                f"/cameras/{serial}/image",
                np.full((8, 8, 3), 245, np.uint8) if has_image else _glass(color),
                **_plane(corners, self.calibration.cam_2_world(serial)),
                cast_shadow=False,
                receive_shadow=False,
            )
            image.on_click(partial(_clicked, on_click, serial))
            self._nodes["images"].append(image)
            if has_image:
                self._images[serial] = image

    def set_visible(self, kind: Kind, visible: bool) -> None:
        for node in self._nodes[kind]:
            node.visible = visible

    def field_of_view(self, serial: str, aspect: float) -> float:
        """The vertical field of view (radians) at which a window of this aspect ratio holds the camera's image."""
        height, width = self.size
        fy, fx = self.calibration.intrinsics[serial][1, 1], self.calibration.intrinsics[serial][0, 0]
        needed = max(height / fy, width / fx / aspect)
        return float(2 * np.arctan(needed / 2))

    def look_through(self, serial: str | None) -> dict[str, Any] | None:
        """Where the image of a camera is laid over the scene, as arguments of `add_image`."""
        if serial is None:
            return None
        corners = frustum(
            self.calibration.world_2_cam[serial], self.calibration.intrinsics[serial], *self.size, self.rig.depth
        )
        return _plane(corners, self.calibration.cam_2_world(serial))

    # What moves

    def picture(self, serial: str, timestep: int, mode: str, longest: int) -> Image | None:
        """The picture of a camera at a timestep: its truth, the user's render, or their difference ("difference":
        grey where equal); None if there is neither. Decodes, so call it from a thread of your own."""
        truth, render = self.sources.get(serial), self.renders.get(serial)
        if mode == "difference" and truth and render:
            pictures = [_read(source, timestep, longest) for source in (truth, render)]
            return difference(*pictures)
        source = (render or truth) if mode in ("render", "difference") else (truth or render)
        return _read(source, timestep, longest) if source else None

    def beside(self, serial: str, timestep: int, longest: int = BESIDE) -> Image | None:
        """The user's render beside the truth, for a hold-out camera beside the nearest training view.

        None without a render.
        """
        render = self.renders.get(serial)
        neighbour = serial if serial in self.sources else self.nearest_with_image(serial)
        if render is None or neighbour is None:
            return None
        left, right = (_read(source, timestep, longest) for source in (render, self.sources[neighbour]))
        height = min(len(left), len(right))
        return np.concatenate([left[:height], right[:height]], axis=1)

    def nearest_with_image(self, serial: str) -> str | None:
        """Of the training cameras with images here, the one that looks most in the direction of `serial`."""
        forward = self.calibration.world_2_cam[serial][2, :3]
        return max(
            self.sources,
            key=lambda other: float(self.calibration.world_2_cam[other][2, :3] @ forward),
            default=None,
        )

    def show(self, timestep: int, mode: str, with_vertices: bool) -> None:
        """Brings every thumbnail to the timestep, or to the nearest frame that is decoded."""
        self.frames.seek(timestep)
        for serial, node in self._images.items():
            names = [f"render {serial}", serial] if mode == "render" else [serial, f"render {serial}"]
            names = [
                name for name in names if name in self.sources or name.removeprefix("render ") in self.renders
            ]
            for name in names:
                found = self.frames.get(name, timestep)
                if found is None:
                    continue
                number, image = found
                key = (f"{name}{with_vertices}", number)
                if self._shown.get(serial) != key:
                    self._shown[serial] = key
                    node.image = self.with_vertices(image, serial, number) if with_vertices else image
                break

    def with_vertices(self, image: Image, serial: str, timestep: int) -> Image:
        """The image with a dot where each FLAME vertex of the timestep is projected to."""
        if not self._tracked:
            return image
        _, sequence = next(iter(self._tracked.values()))
        vertices = sequence[min(timestep, len(sequence) - 1)]
        pixels = project_points(
            vertices, self.calibration.world_2_cam[serial], self.calibration.intrinsics[serial]
        )
        height, width = image.shape[:2]
        places = (pixels.pixels + 0.5) * [width / self.size[1], height / self.size[0]]
        inside = ((places >= 0) & (places < [width, height])).all(-1)
        columns, rows = places[inside].astype(int).T
        drawn = image.copy()
        drawn[rows, columns] = _VERTEX_COLOR
        return drawn

    def _load_cloud_from_disk(self, timestep: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        assert isinstance(self._data, NVSDataManager)
        points, colors, _ = self._data.load_pointcloud(self.sequence, timestep)
        keep = np.flatnonzero(np.isfinite(points).all(1))
        if len(keep) > self._n_points:
            keep = np.random.default_rng(0).choice(keep, self._n_points, replace=False)
        shown = colors[keep] if len(colors) else np.full((len(keep), 3), 0.6, np.float32)
        return points[keep], (shown * 255).round().astype(np.uint8)

    @property
    def has_clouds(self) -> bool:
        return isinstance(self._data, NVSDataManager)

    def show_cloud(self, timestep: int, visible: bool, point_size: float) -> None:
        """Shows the point cloud of the timestep; the last one stays while one is missing."""
        if not visible or not isinstance(self._data, NVSDataManager):
            if self._cloud_node is not None:
                self._cloud_node.visible = False
            return
        if timestep != self._cloud_at:
            path = Path(self._data.get_pointcloud_path(self.sequence, timestep))
            if not path.is_file():
                if not self._missing_clouds:
                    hint = self._data.fetch_hint("pointclouds", sequence=self.sequence, timestep="all")
                    self._note(f"No point cloud of timestep {timestep} here. {hint}")
                self._missing_clouds.add(timestep)
            else:
                try:
                    points, colors = self._load_cloud(timestep)
                    self._cloud_node = self._scene.add_point_cloud(
                        "/point cloud", points, colors, point_size=point_size, point_shape="circle"
                    )
                except NersembleError as error:
                    self._note(str(error))
            self._cloud_at = timestep
        if self._cloud_node is not None:
            self._cloud_node.visible = True
            self._cloud_node.point_size = point_size

    # FLAME

    def load_flame(self, versions: Sequence[int]) -> None:
        """Computes the tracked meshes of the whole sequence.

        Without tracking, model or PyTorch there is no mesh, and a note says what is missing.
        """
        if not isinstance(self._data, MonoFlameAvatarDataManager):
            return
        for version in versions:
            if version in self._tracked:
                continue
            try:
                from nersemble_cli.core.flame.provider import FlameProvider

                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that version 1 does not count on the leaderboard
                    tracking = self._data.load_flame_tracking(self.sequence, version=version)
                provider = FlameProvider(tracking)
                self._tracked[version] = provider, provider.get_vertices(slice(None))
            except NersembleError as error:
                self._note(f"FLAME tracking, version {version}: {error}")

    def show_flame(
        self, timestep: int, versions: Sequence[int], style: MeshStyle | None, with_landmarks: bool
    ) -> None:
        """Shows the mesh of each version at the timestep, the second one as a wireframe over the first.

        `style` None shows no mesh.
        """
        for version in {*self._flame_nodes, *versions}:
            for node in self._flame_nodes.pop(version, ()):
                node.remove()
            if version not in versions or version not in self._tracked:
                continue
            provider, vertices = self._tracked[version]
            at = min(timestep, len(vertices) - 1)
            nodes = self._flame_nodes.setdefault(version, [])
            if style is not None:
                is_second = version != versions[0]
                nodes.append(
                    self._scene.add_mesh_simple(
                        f"/FLAME/mesh {version}",
                        vertices[at],
                        provider.faces,
                        color=_SECOND_COLOR if is_second else _HEAD_COLOR,
                        wireframe=is_second or style == "wireframe",
                        opacity=0.45 if style == "transparent" else None,
                        cast_shadow=False,
                        receive_shadow=False,
                    )
                )
            if with_landmarks:
                try:
                    landmarks = provider.get_landmarks(at)
                except NersembleError as error:
                    self._note(str(error))
                    continue
                nodes.append(
                    self._scene.add_point_cloud(
                        f"/FLAME/landmarks {version}",
                        landmarks,
                        _LANDMARK_COLOR,
                        point_size=0.003,
                        point_shape="circle",
                    )
                )


def _clicked(on_click: Callable[[str, Any], None], serial: str, event: Any) -> None:
    on_click(serial, event.client)


def _glass(color: tuple[int, int, int]) -> Image:
    """A pane that can be clicked but hardly seen."""
    pane = np.empty((8, 8, 4), np.uint8)
    pane[..., :3], pane[..., 3] = color, 24
    return pane


def _plane(corners: NDArray[Any], cam_2_world: NDArray[Any]) -> dict[str, Any]:
    """The image plane of `frustum` corners as arguments of viser's `add_image`."""
    import viser.transforms as tf

    top_left, top_right, bottom_right, bottom_left = corners[1:]
    rotation = tf.SO3.from_matrix(cam_2_world[:3, :3].astype(np.float64))
    return {
        "render_width": float(np.linalg.norm(top_right - top_left)),
        "render_height": float(np.linalg.norm(bottom_left - top_left)),
        "wxyz": rotation.wxyz,
        "position": (top_left + bottom_right) / 2,
    }


def _read(source: Source, timestep: int, longest: int) -> Image:
    return source.read(min(timestep, source.n_frames - 1), longest)


def difference(truth: Image, render: Image) -> Image:
    """Where two (H, W, 3) uint8 images differ: grey where equal, brighter where the render is brighter."""
    import cv2

    if truth.shape != render.shape:
        render = np.asarray(cv2.resize(render, truth.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    change = render.astype(np.int16) - truth
    return np.asarray(np.clip(128 + change, 0, 255), np.uint8)

"""The scenes: functions that return a `pyvista.Plotter`, to which a notebook can add what it likes, and the same
scenes frame by frame for videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import InvalidInputError, UsageError, unknown_name
from nersemble_cli.core.scenes.display import start_probe
from nersemble_cli.core.scenes.drawing import (
    Look,
    Note,
    Stage,
    VideoData,
    add_caption,
    add_picture,
    add_rig,
    add_scale_bar,
    axes_of,
    look_from,
    open_plotter,
    quiet,
    set_stage,
    view_of,
)
from nersemble_cli.core.scenes.geometry import VIEW_ANGLE, View, direction, fit_view
from nersemble_cli.core.scenes.overlay import draw_vertices, enlarge, shrink
from nersemble_cli.core.threads import cpu_count

if TYPE_CHECKING:
    import pyvista as pv

Color = Literal["rgb", "normals"]
COLORS: tuple[Color, ...] = ("rgb", "normals")

_HEAD_COLOR = "#e6d7c8"
_THUMBNAIL = 512
_OVERLAY = 1024
_PANEL = 0.42  # of a picture's width at most, for the overlay
# Where one looks from, degrees to the right and up: over the cameras at the person, so that images are seen from
# their right side; and at a face.
_RIG_VIEW = (24.0, 34.0)
_HEAD_VIEW = (20.0, 5.0)
_TURN_DISTANCE = 0.7  # of that from which a ball around everything fits: its corners are empty
_AROUND = 1.1  # of the size of a point cloud without its outliers is what must be in the picture
_OUTLIERS = 0.5  # per cent of a point cloud on each side that need not be in the picture
_COVER = 15  # how often all points together cover the side of a cube around them


def title(data: VideoData, sequence: str, timestep: int) -> str:
    """What a scene shows, in words."""
    return f"{data.participant} · {sequence} · timestep {timestep}"


def cameras_scene(
    data: VideoData, sequence: str, timestep: int = 0, look: Look | None = None, note: Note = quiet
) -> pv.Plotter:
    """All calibrated cameras of a participant as frustums of true shape: what each training camera sees at the
    timestep in its frame, hold-out cameras red and without image; serials, the world's axes, a scale bar in
    metres, and the point cloud of the timestep if it is there.

    `note` is told what is missing. Raises `MissingFileError` without a calibration, and `UsageError` for a
    sequence or a timestep that does not exist.
    """
    look = look or Look()
    start_probe()
    stage = set_stage(data)
    data.check_timestep(sequence, timestep)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load_thumbnails, data, sequence, timestep, note)
        plotter = open_plotter(look)  # importing pyvista takes as long as decoding
        images = loading.result()
    content: NDArray[Any] = np.empty((0, 3))
    if isinstance(data, NVSDataManager) and Path(data.get_pointcloud_path(sequence, timestep)).is_file():
        content = _add_points(plotter, data, sequence, timestep, "rgb", look)
    view = _view_of_rig(stage, content, look.width, look.height)
    if len(content):
        _fit_points(plotter, content, view, look)
    for serial, image in images.items():
        add_picture(plotter, serial, stage.frustums[serial][1:], image)
    add_rig(plotter, stage, data.benchmark.hold_out_serials, view)
    add_caption(plotter, title(data, sequence, timestep), view)
    look_from(plotter, view)
    return plotter


def _load_thumbnails(data: VideoData, sequence: str, timestep: int, note: Note) -> dict[str, NDArray[np.uint8]]:
    train = data.benchmark.train_serials
    serials = [serial for serial in data.list_serials(sequence) if serial in train]
    if sequence not in data.benchmark.train_sequences[data.participant]:
        note(f"Sequence {sequence} is held out: no camera has images of it.")
    elif missing := [serial for serial in train if serial not in serials]:
        hint = data.fetch_hint("images", sequence=sequence)
        note(f"{len(missing)} of {len(train)} training cameras have no images here. {hint}")
    if not serials:
        return {}
    scale = min(1.0, _THUMBNAIL / max(data.benchmark.height, data.benchmark.width))

    def load(serial: str) -> NDArray[np.uint8]:
        # Scaled down while it is converted to RGB, which saves most of the work on a large image.
        (image,) = data.iter_images(sequence, serial, timestep, timestep + 1, as_uint8=True, scale=scale)
        return cast("NDArray[np.uint8]", image)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return dict(zip(serials, pool.map(load, serials), strict=True))


def _view_of_rig(stage: Stage, content: NDArray[Any], width: int, height: int) -> View:
    points = np.concatenate([*stage.frustums.values(), content, axes_of(stage)])
    rig = stage.rig
    return fit_view(points, direction(rig, *_RIG_VIEW), rig.up, width, height, about=rig.target)


def _add_points(
    plotter: pv.Plotter,
    data: NVSDataManager,
    sequence: str,
    timestep: int,
    color: Color,
    look: Look,
) -> NDArray[np.float32]:
    """Draws a point cloud; returns the (N, 3) points that are finite."""
    import pyvista as pv

    points, colors, normals = data.load_pointcloud(sequence, timestep)
    values = colors if color == "rgb" else (normals + 1) / 2
    if len(points) and not len(values):
        other = next(name for name in COLORS if name != color)
        raise UsageError(
            f"{data.get_pointcloud_path(sequence, timestep)} has no {'colours' if color == 'rgb' else 'normals'}.",
            f"Try --color {other}.",
        )
    finite = np.isfinite(points).all(1)
    if not finite.any():
        raise InvalidInputError(
            f"{data.get_pointcloud_path(sequence, timestep)} has no point with finite coordinates.",
            "Delete it and fetch it again.",
        )
    cloud = pv.PolyData(points[finite])
    cloud["colors"] = (np.nan_to_num(values[finite]) * 255).round().clip(0, 255).astype(np.uint8)
    plotter.add_mesh(
        cloud, scalars="colors", rgb=True, style="points", name="points",
        render_points_as_spheres=True, lighting=False, reset_camera=False, render=False,
    )  # fmt: skip
    kept: NDArray[np.float32] = points[finite]
    return kept


def _bulk(points: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle (3,) of a point cloud and half its size (3,), both without the few points that lie far out."""
    low, high = np.percentile(points, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
    return (low + high) / 2, (high - low) / 2 * _AROUND


def _fit_points(plotter: pv.Plotter, points: NDArray[Any], view: View, look: Look) -> None:
    """Makes points as large as they must be to cover a surface, of which they lie at random places."""
    _, half = _bulk(points)
    side = 2 * np.linalg.norm(half) / np.sqrt(3) / view.pixel
    size = float(np.clip(side * np.sqrt(_COVER / len(points)), 1.5, 16))
    plotter.actors["points"].prop.point_size = look.point_size or size


def _stage_pointcloud(
    data: NVSDataManager, sequence: str, color: Color, look: Look
) -> tuple[pv.Plotter, Callable[[int], None]]:
    """An empty scene, and what shows a timestep in it. The point of view is the first one's."""
    if color not in COLORS:
        raise unknown_name("colour", color, COLORS)
    start_probe()
    stage = set_stage(data)
    plotter = open_plotter(look)
    views: list[View] = []

    def show(timestep: int) -> None:
        data.check_timestep(sequence, timestep)
        points = _add_points(plotter, data, sequence, timestep, color, look)
        if not views:
            middle, side = _bulk(points)
            bulk = points[(np.abs(points - middle) <= side).all(1)]
            towards = direction(stage.rig, *_HEAD_VIEW)
            view = fit_view(bulk, towards, stage.rig.up, look.width, look.height, about=middle)
            views.append(view)
            look_from(plotter, view)
        _fit_points(plotter, points, views[0], look)
        add_caption(plotter, title(data, sequence, timestep), views[0])

    return plotter, show


def pointcloud_scene(
    data: NVSDataManager, sequence: str, timestep: int = 0, color: Color = "rgb", look: Look | None = None
) -> pv.Plotter:
    """The point cloud of a timestep, coloured by "rgb" or by "normals" (x, y, z from -1…1 to red, green, blue),
    seen from where the cameras are.

    Raises `MissingFileError`, naming the command that fetches it, if it is not there; `UsageError` if it has no
    such colours, or for a sequence or timestep that does not exist.
    """
    plotter, show = _stage_pointcloud(data, sequence, color, look or Look())
    show(timestep)
    return plotter


def pointcloud_frames(
    data: NVSDataManager, sequence: str, timesteps: Iterable[int], color: Color = "rgb", look: Look | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) uint8 of `pointcloud_scene` for one timestep after the other."""
    return _frames(*_stage_pointcloud(data, sequence, color, look or Look()), timesteps)


def _frames(
    plotter: pv.Plotter, show: Callable[[int], None], timesteps: Iterable[int]
) -> Iterator[NDArray[np.uint8]]:
    try:
        for timestep in timesteps:
            show(timestep)
            yield take_picture(plotter)
    finally:
        plotter.close()


def take_picture(plotter: pv.Plotter) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the scene as it is now."""
    plotter.render()
    picture = plotter.screenshot(return_img=True)
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[..., :3])


def turntable_frames(plotter: pv.Plotter, n_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) uint8 of a turn around the middle of a scene, from so far that all of it stays inside."""
    has_bar = "scale bar" in plotter.actors
    for name in ("scale bar", "label scale bar") if has_bar else ():
        plotter.remove_actor(plotter.actors[name], render=False)  # it belongs to the picture, not to what turns
    center, diagonal = np.array(plotter.center), plotter.length
    towards = np.array(plotter.camera.position) - np.array(plotter.camera.focal_point)
    distance = 0.5 * diagonal / np.sin(np.radians(VIEW_ANGLE / 2))
    plotter.camera.focal_point = center
    plotter.camera.position = center + _TURN_DISTANCE * distance * towards / np.linalg.norm(towards)
    for _ in range(n_frames):
        if has_bar:
            add_scale_bar(plotter, view_of(plotter))
        yield take_picture(plotter)
        plotter.camera.Azimuth(360 / n_frames)
        plotter.reset_camera_clipping_range()


def _stage_flame(
    data: MonoFlameAvatarDataManager, sequence: str, flame_model: str | Path | None, look: Look, note: Note
) -> tuple[pv.Plotter, Callable[[int], None]]:
    """The cameras of a scene without its head, and what shows a timestep in it."""
    from nersemble_cli.core.flame.provider import FlameProvider

    start_probe()
    stage = set_stage(data)
    provider = FlameProvider(data.load_flame_tracking(sequence), flame_model)
    (serial,) = data.benchmark.train_serials
    pose, intrinsics = stage.calibration.world_2_cam[serial], stage.calibration.intrinsics[serial]
    has_video = data.has_video(sequence, serial)
    if sequence not in data.benchmark.train_sequences[data.participant]:
        note(f"Sequence {sequence} is held out and has no images: the vertices are drawn over black.")
    elif not has_video:
        hint = data.fetch_hint("images", sequence=sequence, serial=serial)
        note(f"The images of {sequence} are not here: the vertices are drawn over black. {hint}")

    height, width = stage.size
    side = min(round(_PANEL * look.width), round(look.height * width / height))
    plotter = open_plotter(look, shape=(1, 2), col_weights=[look.width - side, side])
    panel = np.array([[0, height, 0], [width, height, 0], [width, 0, 0], [0, 0, 0]], np.float64)
    plotter.subplot(0, 1)
    plotter.renderer.SetInteractive(False)  # a picture, not a thing to turn
    plotter.camera.parallel_projection = True
    plotter.camera.position, plotter.camera.focal_point = (width / 2, height / 2, 1), (width / 2, height / 2, 0)
    plotter.camera.up, plotter.camera.parallel_scale = (0, 1, 0), max(height / 2, width / 2 * look.height / side)
    plotter.camera_set = True
    views: list[View] = []

    def show(timestep: int) -> None:
        mesh = provider.get_mesh(timestep)
        black = np.zeros((height, width, 3), np.uint8)
        image = data.load_image(sequence, serial, timestep, as_uint8=True) if has_video else black
        large, k = enlarge(cast("NDArray[np.uint8]", image), intrinsics, _OVERLAY)
        drawn = draw_vertices(large, mesh.vertices, mesh.vertex_normals, pose, k)
        plotter.subplot(0, 1)
        add_picture(plotter, "overlay", panel, drawn)
        plotter.reset_camera_clipping_range()
        plotter.subplot(0, 0)
        _add_head(plotter, mesh.vertices, mesh.faces)
        add_picture(plotter, serial, stage.frustums[serial][1:], shrink(drawn, _THUMBNAIL))
        if not views:
            views.append(_view_of_rig(stage, mesh.vertices, look.width - side, look.height))
            add_rig(plotter, stage, data.benchmark.hold_out_serials, views[0])
            look_from(plotter, views[0])
        add_caption(plotter, title(data, sequence, timestep), views[0])

    return plotter, show


def _add_head(plotter: pv.Plotter, vertices: NDArray[Any], faces: NDArray[Any]) -> None:
    import pyvista as pv

    triangles = np.insert(faces, 0, 3, axis=1)
    head = pv.PolyData(np.asarray(vertices, np.float32), triangles.ravel())
    plotter.add_mesh(
        head,
        color=_HEAD_COLOR,
        smooth_shading=True,
        ambient=0.2,
        specular=0.1,
        name="head",
        reset_camera=False,
        render=False,
    )


def flame_scene(
    data: MonoFlameAvatarDataManager,
    sequence: str,
    timestep: int = 0,
    flame_model: str | Path | None = None,
    look: Look | None = None,
    note: Note = quiet,
) -> pv.Plotter:
    """The tracked FLAME mesh in the world with the cameras around it; beside it, and in the training camera's
    frame, the projected vertices over what that camera sees at the timestep (over black, without images).

    `flame_model` as in `load_flame_model`. Raises `MissingFileError` without the model, the tracking or the
    calibration, and `UsageError` without PyTorch or for a sequence or timestep that does not exist.
    """
    plotter, show = _stage_flame(data, sequence, flame_model, look or Look(1600, 720), note)
    show(timestep)
    return plotter


def flame_frames(
    data: MonoFlameAvatarDataManager,
    sequence: str,
    timesteps: Iterable[int],
    flame_model: str | Path | None = None,
    look: Look | None = None,
    note: Note = quiet,
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) uint8 of `flame_scene` for one timestep after the other."""
    return _frames(*_stage_flame(data, sequence, flame_model, look or Look(1600, 720), note), timesteps)

"""The scenes: functions that return a `pyvista.Plotter`, to which a notebook can add anything, and the same scenes
frame by frame for videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError, unknown_name
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.scenes.display import require, start_probe
from nersemble_cli.core.scenes.drawing import (
    STAND_IN_COLOR,
    Note,
    PictureOptions,
    Stage,
    VideoData,
    add_caption,
    add_head,
    add_markers,
    add_picture,
    add_rig,
    add_scale_bar,
    add_splats,
    axes_of,
    font_size,
    labels_of,
    look_from,
    open_plotter,
    quiet,
    set_stage,
    show_labels,
    view_of,
)
from nersemble_cli.core.scenes.geometry import (
    View,
    clear_direction,
    direction,
    ellipsoid,
    fit_view,
    orbit,
    splat_radii,
    swept_points,
    thin_out,
)
from nersemble_cli.core.scenes.overlay import OVERLAYS, Overlay, draw_overlay, enlarge, shrink

if TYPE_CHECKING:
    import pyvista as pv

Color = Literal["rgb", "normals"]
COLORS: tuple[Color, ...] = ("rgb", "normals")

_THUMBNAIL = 512
_OVERLAY = 1024
_PANEL = 0.42  # of a picture's width at most, for the overlay
_HEAD_VIEW = (20.0, 5.0)  # degrees to the right of a face and above it
_AROUND = 1.1  # times the size of a point cloud without its outliers must be in the picture
_SMALLEST_SPLAT = 0.75  # pixels; the disc of a smaller one may miss the centres of all pixels
_LABEL_REACH = 3.2  # font sizes: half a serial's width, and some for labels nearer than the middle
_OUTLIERS = 0.5  # per cent of a point cloud on each side that need not be in the picture
_SMALLEST_MARKER = 3.0  # pixels, the radius of a landmark in a small picture
_FLAME_OPTIONS = PictureOptions(1600, 720)


def title(data: VideoData, sequence: str, timestep: int) -> str:
    """What a scene shows, in words."""
    return f"{data.participant} · {sequence} · timestep {timestep}"


def cameras_scene(
    data: VideoData,
    sequence: str,
    timestep: int = 0,
    options: PictureOptions | None = None,
    note: Note = quiet,
    flame_model: str | Path | None = None,
) -> pv.Plotter:
    """All calibrated cameras of a participant as frustums, true to their intrinsics.

    The frame of each training camera shows its image of the timestep; hold-out cameras are red and have none.
    With them come the serials, the world's axes, a scale bar in metres, and the person: the timestep's point
    cloud, else the tracked FLAME mesh, else an ellipsoid of a head's size where the cameras look.

    `note` is called with what is missing. Raises `MissingFileError` without a calibration, and `UsageError` for a
    sequence or a timestep that does not exist.
    """
    options = options or PictureOptions()
    start_probe()
    stage = set_stage(data)
    data.check_timestep(sequence, timestep)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load_thumbnails, data, stage.calibration, sequence, timestep, note)
        plotter = open_plotter(options)  # importing pyvista takes as long as decoding
        images = loading.result()
    cloud = None
    if isinstance(data, NVSDataManager) and Path(data.get_pointcloud_path(sequence, timestep)).is_file():
        cloud = _load_points(data, sequence, timestep, "rgb")
        person, _ = _without_outliers(cloud[0])
    else:
        person = _add_person(plotter, data, stage, sequence, timestep, flame_model)
    view = _view_of_rig(stage, person, options.width, options.height)
    if cloud is not None:
        _add_points(plotter, *cloud, view, options)
    for serial, image in images.items():
        add_picture(plotter, serial, stage.frustums[serial][1:], image)
    add_rig(plotter, stage, data.benchmark.hold_out_serials, view, person)
    add_caption(plotter, title(data, sequence, timestep), view)
    look_from(plotter, view)
    return plotter


def _load_thumbnails(
    data: VideoData, calibration: CameraCalibration, sequence: str, timestep: int, note: Note
) -> dict[str, NDArray[np.uint8]]:
    train = data.benchmark.train_serials
    here = [serial for serial in data.list_serials(sequence) if serial in train]
    if sequence not in data.benchmark.train_sequences[data.participant]:
        note(f"Sequence {sequence} is held out: no camera has images of it.")
    elif missing := [serial for serial in train if serial not in here]:
        hint = data.fetch_hint("images", sequence=sequence)
        note(f"{len(missing)} of {len(train)} training cameras have no images here. {hint}")
    serials = [serial for serial in here if serial in calibration.serials]
    if uncalibrated := [serial for serial in here if serial not in serials]:
        note(f"Not drawn, because the calibration does not have them: {', '.join(uncalibrated)}.")
    if not serials:
        return {}
    scale = min(1.0, _THUMBNAIL / max(data.benchmark.height, data.benchmark.width))

    def load(serial: str) -> NDArray[np.uint8]:
        # Scaled down while it is converted to RGB, which saves most of the work on a large image.
        (image,) = data.iter_images(sequence, serial, timestep, timestep + 1, as_uint8=True, scale=scale)
        return cast("NDArray[np.uint8]", image)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return dict(zip(serials, pool.map(load, serials), strict=True))


def _add_person(
    plotter: pv.Plotter,
    data: VideoData,
    stage: Stage,
    sequence: str,
    timestep: int,
    flame_model: str | Path | None,
) -> NDArray[Any]:
    """Draws the FLAME mesh if it can be had, else an ellipsoid; returns its (V, 3) vertices."""
    if isinstance(data, MonoFlameAvatarDataManager) and find_spec("torch"):
        try:
            from nersemble_cli.core.flame.provider import FlameProvider

            mesh = FlameProvider(data.load_flame_tracking(sequence), flame_model).get_mesh(timestep)
        except NersembleError:
            if flame_model is not None:
                raise
        else:
            add_head(plotter, mesh.vertices, mesh.faces)
            return np.asarray(mesh.vertices)
    vertices, faces = ellipsoid(stage.rig)
    add_head(plotter, vertices, faces, STAND_IN_COLOR)
    return vertices


def _view_of_rig(stage: Stage, person: NDArray[Any], width: int, height: int) -> View:
    frustums = np.stack(list(stage.frustums.values()))
    towards = clear_direction(stage.rig, frustums, person)
    points = np.concatenate([frustums.reshape(-1, 3), person, axes_of(stage)])
    return fit_view(points, towards, stage.rig.up, width, height, about=stage.rig.target)


def _load_points(
    data: NVSDataManager, sequence: str, timestep: int, color: Color
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The (N, 3) finite points of a point cloud, and their (N, 3) colours."""
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
            f"{data.get_pointcloud_path(sequence, timestep)} has no points with finite coordinates.",
            data.fetch_hint("pointclouds", sequence=sequence, timestep=str(timestep)),
        )
    return points[finite], (np.nan_to_num(values[finite]) * 255).round().clip(0, 255).astype(np.uint8)


def _without_outliers(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The points without the few outliers, and the middle (3,) of the rest."""
    low, high = np.percentile(points, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * _AROUND
    return points[(np.abs(points - middle) <= half).all(1)], middle


def _add_points(
    plotter: pv.Plotter,
    points: NDArray[np.float32],
    colors: NDArray[np.uint8],
    view: View,
    options: PictureOptions,
) -> None:
    if options.point_size is None:
        radii = splat_radii(points)
    else:
        radii = np.full(len(points), options.point_size / 2 * view.pixel, np.float32)
    add_splats(plotter, points, colors, np.maximum(radii, np.float32(_SMALLEST_SPLAT * view.pixel)))


def _stage_pointcloud(
    data: NVSDataManager, sequence: str, color: Color, options: PictureOptions, thin: bool = False
) -> tuple[pv.Plotter, Callable[[int], None]]:
    """An empty scene, and what shows a timestep in it. The point of view is that of the first timestep shown.

    `thin` leaves out points that the picture is too small for, which is quicker.
    """
    if color not in COLORS:
        raise unknown_name("colour", color, COLORS)
    start_probe()
    stage = set_stage(data)
    plotter = open_plotter(options)
    views: list[View] = []

    def show(timestep: int) -> None:
        data.check_timestep(sequence, timestep)
        points, colors = _load_points(data, sequence, timestep, color)
        if not views:
            bulk, middle = _without_outliers(points)
            towards = direction(stage.rig, *_HEAD_VIEW)
            view = fit_view(bulk, towards, stage.rig.up, options.width, options.height, about=middle)
            views.append(view)
        if thin:
            chosen = thin_out(points, views[0].pixel)
            points, colors = points[chosen], colors[chosen]
        _add_points(plotter, points, colors, views[0], options)
        add_caption(plotter, title(data, sequence, timestep), views[0])
        look_from(plotter, views[0])

    return plotter, show


def pointcloud_scene(
    data: NVSDataManager,
    sequence: str,
    timestep: int = 0,
    color: Color = "rgb",
    options: PictureOptions | None = None,
) -> pv.Plotter:
    """The point cloud of a timestep, coloured by "rgb" or by "normals" (x, y, z from -1…1 to red, green, blue),
    seen from where the cameras are. Each point is a disc, large enough that discs close the surface.

    Raises `MissingFileError`, naming the command that fetches it, if it was not downloaded; `UsageError` if it has
    no such colours, or for a sequence or timestep that does not exist.
    """
    plotter, show = _stage_pointcloud(data, sequence, color, options or PictureOptions())
    show(timestep)
    return plotter


def pointcloud_frames(
    data: NVSDataManager,
    sequence: str,
    timesteps: Iterable[int],
    color: Color = "rgb",
    options: PictureOptions | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) uint8 of `pointcloud_scene` for one timestep after the other."""
    return _frames(*_stage_pointcloud(data, sequence, color, options or PictureOptions(), thin=True), timesteps)


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
    actors = plotter.renderers[0].actors
    has_bar = "scale bar" in actors
    for name in ("scale bar", "label scale bar") if has_bar else ():
        plotter.remove_actor(actors[name], render=False)  # it belongs to the picture, not to what turns
    actors = plotter.renderers[0].actors
    points = np.concatenate([_points_of(actor) for actor in actors.values()])
    placed = labels_of(plotter)
    labels = np.array(list(placed.values())).reshape(-1, 3)
    center = (points.min(0) + points.max(0)) / 2
    first = view_of(plotter)
    start, outer = first, points
    for _ in range(3):  # how wide labels are in the world depends on how far away they are seen from
        swept = swept_points(outer, center, first.up)
        start = fit_view(swept, first.position - first.focus, first.up, first.width, first.height, about=center)
        outward = labels - center
        outward -= (outward @ first.up)[:, None] * first.up
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        outer = np.concatenate([points, labels + outward * _LABEL_REACH * font_size(first) * start.pixel])
    if "points" in actors:
        cloud = actors["points"].mapper.dataset
        chosen = thin_out(np.asarray(cloud.points), start.pixel)
        if len(chosen) < cloud.n_points:
            kept, colors = np.asarray(cloud.points)[chosen], np.asarray(cloud["colors"])[chosen]
            radii = np.asarray(cloud["radius"])[chosen] * np.float32(np.sqrt(cloud.n_points / len(chosen)))
            add_splats(plotter, kept, colors, np.maximum(radii, np.float32(_SMALLEST_SPLAT * start.pixel)))
    for i in range(n_frames):
        view = orbit(start, center, 360 * i / n_frames)
        if has_bar:
            add_scale_bar(plotter, view)
        show_labels(plotter, placed, view)
        look_from(plotter, view)  # last, as it fits the clipping range to all that is there
        yield take_picture(plotter)


def _points_of(actor: Any) -> NDArray[np.float64]:
    """(N, 3) the outline of an actor; none of a text on the picture."""
    dataset = getattr(getattr(actor, "mapper", None), "dataset", None)
    if dataset is not None:
        points = np.asarray(dataset.points, np.float64)
        if "radius" not in dataset.array_names:
            return points
        radii = np.asarray(dataset["radius"])[:, None]
        return np.concatenate([points - radii, points + radii])
    position = actor.GetPosition() if hasattr(actor, "GetPosition") else ()
    return np.array([position], np.float64) if len(position) == 3 else np.empty((0, 3))


def _stage_flame(
    data: MonoFlameAvatarDataManager,
    sequence: str,
    flame_model: str | Path | None,
    options: PictureOptions,
    note: Note,
    serial: str | None,
    overlay: Overlay,
    opacity: float,
) -> tuple[pv.Plotter, Callable[[int], None]]:
    """The cameras of a scene without its head, and what shows a timestep in it."""
    from nersemble_cli.core.flame.provider import FlameProvider

    if overlay not in OVERLAYS:
        raise unknown_name("overlay", overlay, OVERLAYS)
    require("cv2")
    start_probe()
    stage = set_stage(data)
    provider = FlameProvider(data.load_flame_tracking(sequence), flame_model)
    if serial is None:
        (serial,) = data.benchmark.train_serials
    pose, intrinsics = stage.calibration.world_2_cam[serial], stage.calibration.intrinsics[serial]
    has_video = data.has_video(sequence, serial)
    if sequence not in data.benchmark.train_sequences[data.participant]:
        note(f"Sequence {sequence} is held out and has no images: the mesh is drawn over black.")
    elif serial in data.benchmark.hold_out_serials:
        note(f"Camera {serial} is held out and has no images: the mesh is drawn over black.")
    elif not has_video:
        hint = data.fetch_hint("images", sequence=sequence, serial=serial)
        note(f"The images of {sequence} are not here: the mesh is drawn over black. {hint}")

    height, width = stage.size
    side = min(round(_PANEL * options.width), round(options.height * width / height))
    plotter = open_plotter(options, shape=(1, 2), col_weights=[options.width - side, side])
    panel = np.array([[0, height, 0], [width, height, 0], [width, 0, 0], [0, 0, 0]], np.float64)
    plotter.subplot(0, 1)
    plotter.renderer.SetInteractive(False)  # a picture, which does not turn
    plotter.camera.parallel_projection = True
    plotter.camera.position, plotter.camera.focal_point = (width / 2, height / 2, 1), (width / 2, height / 2, 0)
    plotter.camera.up, plotter.camera.parallel_scale = (
        (0, 1, 0),
        max(height / 2, width / 2 * options.height / side),
    )
    plotter.camera_set = True
    longest = min(_OVERLAY, round(side * max(1.0, height / width)))
    views: list[View] = []

    def show(timestep: int) -> None:
        mesh = provider.get_mesh(timestep)
        black = np.zeros((height, width, 3), np.uint8)
        image = data.load_image(sequence, serial, timestep, as_uint8=True) if has_video else black
        large, k = enlarge(cast("NDArray[np.uint8]", image), intrinsics, longest)
        drawn = draw_overlay(large, mesh, pose, k, overlay, opacity)
        plotter.subplot(0, 1)
        add_picture(plotter, "overlay", panel, drawn)
        plotter.reset_camera_clipping_range()
        plotter.subplot(0, 0)
        add_head(plotter, mesh.vertices, mesh.faces)
        add_picture(plotter, serial, stage.frustums[serial][1:], shrink(drawn, _THUMBNAIL))
        if not views:
            views.append(_view_of_rig(stage, mesh.vertices, options.width - side, options.height))
            add_rig(plotter, stage, data.benchmark.hold_out_serials, views[0], np.asarray(mesh.vertices))
            look_from(plotter, views[0])
        add_caption(plotter, title(data, sequence, timestep), views[0])

    return plotter, show


def flame_scene(
    data: MonoFlameAvatarDataManager,
    sequence: str,
    timestep: int = 0,
    flame_model: str | Path | None = None,
    options: PictureOptions | None = None,
    note: Note = quiet,
    *,
    serial: str | None = None,
    overlay: Overlay = "points",
    opacity: float = 1.0,
) -> pv.Plotter:
    """The tracked FLAME mesh in the world with the cameras around it. Beside it, and in the frame of one camera,
    the mesh is drawn over what that camera sees at the timestep (over black, without images).

    The camera is that of the training data unless `serial` names another one. `overlay` draws the mesh as
    "points" (its vertices), as a "wireframe" or "shaded", with `opacity` from 0 to 1. `flame_model` as in
    `load_flame_model`. Raises `MissingFileError` without the model, the tracking or the calibration, and
    `UsageError` without PyTorch or for a camera, sequence or timestep that does not exist.
    """
    options = options or _FLAME_OPTIONS
    plotter, show = _stage_flame(data, sequence, flame_model, options, note, serial, overlay, opacity)
    show(timestep)
    return plotter


def flame_frames(
    data: MonoFlameAvatarDataManager,
    sequence: str,
    timesteps: Iterable[int],
    flame_model: str | Path | None = None,
    options: PictureOptions | None = None,
    note: Note = quiet,
    *,
    serial: str | None = None,
    overlay: Overlay = "points",
    opacity: float = 1.0,
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) uint8 of `flame_scene` for one timestep after the other."""
    options = options or _FLAME_OPTIONS
    staged = _stage_flame(data, sequence, flame_model, options, note, serial, overlay, opacity)
    return _frames(*staged, timesteps)


def mesh_scene(
    vertices: NDArray[Any],
    faces: NDArray[Any],
    landmarks: NDArray[Any] | None = None,
    caption: str = "",
    options: PictureOptions | None = None,
) -> pv.Plotter:
    """A mesh of (V, 3) vertices and (F, 3) triangles, with its (7, 3) NoW landmarks as numbered red balls: 1 to 4
    the corners of the eyes from the viewer's left to right, 5 below the nose, 6 and 7 the corners of the mouth.

    With landmarks, the face is seen from the front, whichever way it is turned; without, y points up and the mesh
    is seen from +z, which is the front of FLAME. The scale bar has the mesh's unit. Raises `InvalidInputError`
    for coordinates that are not finite, for faces that point to no vertex, and for landmarks of another shape.
    """
    options = options or PictureOptions(900, 900)
    start_probe()
    checked = _check_mesh(vertices, faces, landmarks)
    plotter = open_plotter(options)
    view = _show_mesh(plotter, *checked, options)
    add_scale_bar(plotter, view, unit="")
    add_caption(plotter, caption, view)
    return plotter


def mesh_picture(
    plotter: pv.Plotter,
    vertices: NDArray[Any],
    faces: NDArray[Any],
    landmarks: NDArray[Any] | None,
    options: PictureOptions,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: a mesh as `mesh_scene` shows it, without scale bar and caption.

    What the plotter, opened with the same `options`, showed before is gone. So, many meshes are quickly drawn.
    """
    checked = _check_mesh(vertices, faces, landmarks)
    plotter.clear_actors()
    _show_mesh(plotter, *checked, options)
    return take_picture(plotter)


def _check_mesh(
    vertices: NDArray[Any], faces: NDArray[Any], landmarks: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float64] | None]:
    """What `mesh_scene` is given, as arrays. Raises `InvalidInputError` if it cannot be drawn."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    if not len(vertices) or not len(faces):
        raise InvalidInputError(f"The mesh has {len(vertices)} vertices and {len(faces)} faces.")
    if not np.isfinite(vertices).all() or np.abs(vertices).max() > 1e15:
        raise InvalidInputError("The mesh has coordinates that are not finite.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InvalidInputError(
            f"The mesh has faces with vertices that do not exist: 0 to {len(vertices) - 1} do."
        )
    if landmarks is None:
        return vertices, faces, None
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (7, 3) or not np.isfinite(landmarks).all():
        raise InvalidInputError(f"The landmarks are {landmarks.shape}, expected finite numbers (7, 3).")
    return vertices, faces, landmarks


def _show_mesh(
    plotter: pv.Plotter,
    vertices: NDArray[np.float64],
    faces: NDArray[Any],
    landmarks: NDArray[np.float64] | None,
    options: PictureOptions,
) -> View:
    """Draws a mesh with its landmarks and returns where it is seen from."""
    towards, up = np.array([0.0, 0, 1]), np.array([0.0, 1, 0])
    shown = vertices
    if landmarks is not None:
        towards, up = _front_of(landmarks, towards, up)
        shown = np.concatenate([vertices, landmarks])
    middle = (shown.min(0) + shown.max(0)) / 2
    view = fit_view(shown, towards, up, options.width, options.height, about=middle)
    add_head(plotter, vertices, faces)
    if landmarks is not None:
        radius = max(_SMALLEST_MARKER, 5 * options.height / 900)
        add_markers(plotter, landmarks, radius * view.pixel, view)
    look_from(plotter, view)
    return view


def _front_of(
    landmarks: NDArray[np.float64], towards: NDArray[Any], up: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where one looks from to see the face of (7, 3) landmarks, and upwards, as unit vectors; what is given if the
    landmarks have no front."""
    across = landmarks[2:4].mean(0) - landmarks[:2].mean(0)
    upward = landmarks[:4].mean(0) - landmarks[5:].mean(0)
    front = np.cross(across, upward)
    if np.linalg.norm(front) < 1e-6 * np.linalg.norm(across) * np.linalg.norm(upward) or not front.any():
        return towards, up
    upward = np.cross(front, across)
    return front / np.linalg.norm(front), upward / np.linalg.norm(upward)

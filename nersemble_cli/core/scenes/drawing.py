"""The parts of scenes, as actors of a `pyvista.Plotter`. World coordinates in metres.

Each has a name: "image 222200037", "frustum 222200037", "label 222200037", "axis x", "scale bar", "points",
"head", "caption", "legend 0". A frustum carries its camera as field data: `world_2_cam`, `intrinsics`, `size`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import unproject_pixels
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.scenes.display import prepare_rendering
from nersemble_cli.core.scenes.geometry import (
    FRUSTUM_FRAME,
    FRUSTUM_RAYS,
    VIEW_ANGLE,
    Rig,
    View,
    frustum,
    measure_rig,
    place_labels,
    round_length,
    sample_frustums,
    visible_labels,
)

if TYPE_CHECKING:
    import pyvista as pv

VideoData = NVSDataManager | MonoFlameAvatarDataManager
Note = Callable[[str], object]

HOLD_OUT_COLOR = "#d81e2c"
TRAIN_COLORS = {True: "#44546a", False: "#9db0c8"}  # on a bright background, on a dark one
# Everything but heads is drawn in its own colour, without shading. Nothing moves the point of view.
_FLAT: Mapping[str, Any] = MappingProxyType(
    {"lighting": False, "reset_camera": False, "render": False, "pickable": False}
)
_IN_FRONT = 0.4  # of the way from the viewer to a label
_BACK_COLOR = "#cfd6de"
HEAD_COLOR = "#e6d7c8"
STAND_IN_COLOR = "#b9c2cd"
_DISC = """//VTK::Color::Impl
if (dot(offsetVCVSOutput.xy, offsetVCVSOutput.xy) > 1.0) discard;
"""
AXIS_COLORS = {"x": "#e0783a", "y": "#3a9a4b", "z": "#3465c8"}
_INK = {True: "#20242a", False: "#e6e9ee"}


@dataclass(frozen=True)
class PictureOptions:
    """How a scene is drawn: `width` × `height` pixels, `background` a colour's name or #rrggbb, `point_size` the
    diameter of points in pixels (None: as large as closes their surface). `off_screen` False opens a window when
    the scene is shown; None does so if there is a display."""

    width: int = 1200
    height: int = 900
    background: str = "#eef1f4"
    point_size: float | None = None
    off_screen: bool | None = None


def quiet(_: str) -> None:
    pass


def open_plotter(options: PictureOptions, **layout: Any) -> pv.Plotter:
    has_display = prepare_rendering()
    import pyvista as pv

    pv.vtk_verbosity("off")  # VTK's own messages go straight to the terminal
    try:
        background = pv.Color(options.background)
    except ValueError:
        raise UsageError(
            f"Unknown colour '{options.background}'.", "Give a name (white, black, lightgrey) or #rrggbb."
        ) from None
    plotter = pv.Plotter(
        off_screen=not has_display if options.off_screen is None else options.off_screen,
        window_size=[options.width, options.height],
        border=False,
        **layout,
    )
    plotter.background_color = background
    return plotter


def _is_bright(plotter: pv.Plotter) -> bool:
    red, green, blue = plotter.background_color.float_rgb
    return bool(0.3 * red + 0.59 * green + 0.11 * blue > 0.45)


def font_size(view: View) -> int:
    return max(8, min(view.height // 52, view.width // 75))


def look_from(plotter: pv.Plotter, view: View) -> None:
    plotter.camera.position, plotter.camera.focal_point = view.position, view.focus
    plotter.camera.up, plotter.camera.view_angle = view.up, VIEW_ANGLE
    plotter.camera_set = True
    plotter.reset_camera_clipping_range()


def view_of(plotter: pv.Plotter) -> View:
    """Where the first view of a plotter is seen from."""
    camera = plotter.renderers[0].camera
    left, bottom, right, top = plotter.renderers[0].GetViewport()
    width, height = plotter.window_size
    position, focus, up = (np.array(v, np.float64) for v in (camera.position, camera.focal_point, camera.up))
    return View(position, focus, up, round(width * (right - left)), round(height * (top - bottom)))


def _tubes(points: NDArray[Any], edges: Sequence[tuple[int, int]], radius: float) -> pv.PolyData:
    import pyvista as pv

    lines = np.array([[2, *edge] for edge in edges]).ravel()
    wires = pv.PolyData(np.asarray(points, np.float32), lines=lines)
    tubes: pv.PolyData = wires.tube(radius=radius, n_sides=10, capping=True)
    return tubes


def _write(
    plotter: pv.Plotter, name: str, text: str, place: NDArray[Any], color: str, size: int, bold: bool = False
) -> None:
    """A text at a place in the world that always faces the viewer."""
    import pyvista as pv
    from vtkmodules.vtkRenderingCore import vtkBillboardTextActor3D

    actor = vtkBillboardTextActor3D()
    actor.SetInput(text)
    actor.SetPosition(*map(float, place))
    style = actor.GetTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(size)
    style.SetBold(bold)
    style.SetColor(*pv.Color(color).float_rgb)
    style.SetJustificationToCentered()
    style.SetVerticalJustificationToCentered()
    # pyvista takes any vtkProp; its types name only some.
    plotter.add_actor(cast("pv.Actor", actor), name=name, reset_camera=False, render=False, pickable=False)


def add_picture(plotter: pv.Plotter, name: str, corners: NDArray[Any], image: NDArray[np.uint8]) -> None:
    """An image on the quad (4, 3) from its top left corner clockwise. Its back is grey instead of mirrored."""
    import pyvista as pv

    points = np.asarray(corners, np.float32)
    # Counterclockwise as the camera sees it: that is the front.
    front = pv.PolyData(points, faces=[4, 3, 2, 1, 0])
    front.active_texture_coordinates = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    texture = pv.Texture(np.ascontiguousarray(image))
    texture.interpolate = True
    texture.mipmap = True
    plotter.add_mesh(front, texture=texture, name=f"image {name}", culling="back", **_FLAT)
    back = pv.PolyData(points, faces=[4, 0, 1, 2, 3])
    plotter.add_mesh(back, color=_BACK_COLOR, name=f"back {name}", culling="back", **_FLAT)


def add_splats(
    plotter: pv.Plotter, points: NDArray[Any], colors: NDArray[np.uint8], radii: NDArray[np.float32]
) -> None:
    """(N, 3) points as discs of (N,) radii that face the viewer, in their (N, 3) uint8 RGB colours."""
    import pyvista as pv

    cloud = pv.PolyData(points)
    cloud["colors"], cloud["radius"] = colors, radii
    actor = plotter.add_mesh(
        cloud, scalars="colors", rgb=True, style="points_gaussian", emissive=False, name="points", **_FLAT
    )
    mapper: Any = actor.mapper
    mapper.SetScaleArray("radius")
    mapper.SetScaleFactor(1.0)
    mapper.SetBoundScale(1.0)
    mapper.SetSplatShaderCode(_DISC)
    actor.ForceOpaqueOn()  # VTK takes splats for translucent and would blend those behind


def add_head(
    plotter: pv.Plotter,
    vertices: NDArray[Any],
    faces: NDArray[Any],
    color: str = HEAD_COLOR,
    opacity: float = 1.0,
) -> None:
    """A shaded mesh of (V, 3) vertices and (F, 3) triangles."""
    import pyvista as pv

    triangles = np.insert(faces, 0, 3, axis=1)
    head = pv.PolyData(np.asarray(vertices, np.float32), triangles.ravel())
    plotter.add_mesh(
        head, color=color, smooth_shading=True, ambient=0.2, specular=0.1, name="head", opacity=opacity,
        reset_camera=False, render=False, pickable=False,
    )  # fmt: skip


def add_markers(plotter: pv.Plotter, points: NDArray[Any], radius: float, view: View) -> None:
    """(N, 3) points as red balls, numbered from 1."""
    import pyvista as pv

    font = round(1.6 * font_size(view))
    texts = [str(i) for i in range(1, len(points) + 1)]
    middle = np.broadcast_to(points.mean(0), points.shape)
    places = place_labels(points, middle, texts, view, font, points)
    for text, point, place in zip(texts, points, places, strict=True):
        ball = pv.Sphere(radius=radius, center=point, theta_resolution=20, phi_resolution=20)
        plotter.add_mesh(ball, color=HOLD_OUT_COLOR, name=f"landmark {text}", **_FLAT)
        nearer = view.position + 0.9 * (place - view.position)  # in front of the mesh
        _write(plotter, f"label {text}", text, nearer, HOLD_OUT_COLOR, font, bold=True)


@dataclass(frozen=True, eq=False)
class Stage:
    """The cameras that are drawn: their `calibration`, the `size` (height, width) of their images, what they have
    in common, and their frustums (5, 3) by serial."""

    calibration: CameraCalibration
    size: tuple[int, int]
    rig: Rig
    frustums: dict[str, NDArray[np.float64]]


def set_stage(data: VideoData) -> Stage:
    benchmark = data.benchmark
    calibration = data.load_camera_calibration()
    if not calibration.serials:
        raise InvalidInputError(
            f"The calibration of participant {data.participant} has no cameras.",
            data.fetch_hint("calibration"),
        )
    rig = measure_rig(calibration, benchmark.width)
    frustums = {
        serial: frustum(
            calibration.world_2_cam[serial],
            calibration.intrinsics[serial],
            benchmark.height,
            benchmark.width,
            rig.depth,
        )
        for serial in calibration.serials
    }
    return Stage(calibration, (benchmark.height, benchmark.width), rig, frustums)


def axes_of(stage: Stage) -> NDArray[np.float64]:
    """(4, 3) the origin and the ends of the axes; as long as the scale bar."""
    distance = np.linalg.norm(next(iter(stage.frustums.values()))[0] - stage.rig.target)
    return np.vstack([np.zeros(3), np.eye(3) * round_length(0.2 * float(distance))])


def add_rig(plotter: pv.Plotter, stage: Stage, hold_out: Sequence[str], view: View, head: NDArray[Any]) -> None:
    """Frustums with their serials, the world's axes, a scale bar and a legend. `head` (N, 3): points to keep
    labels away from."""
    ink, font = _INK[_is_bright(plotter)], font_size(view)
    serials = list(stage.frustums)
    corners = np.stack([stage.frustums[serial] for serial in serials])
    axes = axes_of(stage)
    part = np.linspace(0, 1, 16)[:, None]
    obstacles = np.concatenate(
        [sample_frustums(corners), head[:: max(1, len(head) // 500)], *(axes[0] + part * end for end in axes[1:])]
    )
    train_color = TRAIN_COLORS[_is_bright(plotter)]
    n_hold_out = sum(serial in hold_out for serial in serials)
    groups = (("training", len(serials) - n_hold_out, train_color), ("hold-out", n_hold_out, HOLD_OUT_COLOR))
    legend = {f"{n} {kind} camera{'s' if n > 1 else ''}": color for kind, n, color in groups if n}
    reserved = _reserved(view, len(legend))
    places = place_labels(corners[:, 0], corners[:, 1:].mean(1), serials, view, font, obstacles, reserved)
    for serial, points, place in zip(serials, corners, places, strict=True):
        is_hold_out = serial in hold_out
        # The rays are thinner than the frame, as they cross the images.
        radius = view.pixel * (1.2 if is_hold_out else 1.0)
        edges = _tubes(points, FRUSTUM_RAYS, 0.6 * radius).merge(_tubes(points, FRUSTUM_FRAME, radius))
        edges.field_data["world_2_cam"] = stage.calibration.world_2_cam[serial]
        edges.field_data["intrinsics"] = stage.calibration.intrinsics[serial]
        edges.field_data["size"] = np.array(stage.size)
        color = HOLD_OUT_COLOR if is_hold_out else train_color
        plotter.add_mesh(edges, color=color, name=f"frustum {serial}", **_FLAT)
        label_color = HOLD_OUT_COLOR if is_hold_out else ink
        _write(plotter, f"label {serial}", serial, place, label_color, font, bold=is_hold_out)
    for i, (name, color) in enumerate(AXIS_COLORS.items(), start=1):
        plotter.add_mesh(_tubes(axes, [(0, i)], 1.5 * view.pixel), color=color, name=f"axis {name}", **_FLAT)
        _write(plotter, f"label {name}", name, axes[i] * 1.12, color, font, bold=True)
    add_scale_bar(plotter, view)
    for i, (text, color) in enumerate(legend.items()):
        _add_text(plotter, f"legend {i}", text, color, view, right=True, row=i)


def _reserved(view: View, legend_rows: int) -> NDArray[np.float64]:
    """(3, 4) the boxes of pixels of what belongs to the picture: caption, scale bar and legend."""
    font = font_size(view)
    return np.array(
        [
            [0, view.height - 2.5 * font, 0.45 * view.width, view.height],
            [0.68 * view.width, view.height - 3.5 * font, view.width, view.height],
            [view.width - 15 * font, 0, view.width, (1 + 1.6 * legend_rows) * font],
        ]
    )


def labels_of(plotter: pv.Plotter) -> dict[Any, NDArray[np.float64]]:
    """The labels of what is in the world, by actor, with their places (3,)."""
    return {
        actor: np.array(actor.GetPosition())
        for name, actor in plotter.renderers[0].actors.items()
        if name.startswith("label") and name != "label scale bar"
    }


def show_labels(plotter: pv.Plotter, labels: dict[Any, NDArray[np.float64]], view: View) -> None:
    """Shows labels in another view than the one that they were placed for: in front of everything, and only those
    that cover neither a nearer one nor caption, scale bar and legend."""
    if not labels:
        return
    places = np.array(list(labels.values()))
    texts = [actor.GetInput() for actor in labels]
    font = next(iter(labels)).GetTextProperty().GetFontSize()
    n_legends = sum(name.startswith("legend") for name in plotter.renderers[0].actors)
    shown = visible_labels(places, texts, view, font, _reserved(view, n_legends))
    for actor, place, is_shown in zip(labels, places, shown, strict=True):
        actor.SetVisibility(bool(is_shown))
        actor.SetPosition(*(view.position + _IN_FRONT * (place - view.position)))


def add_scale_bar(plotter: pv.Plotter, view: View, unit: str = "m") -> None:
    """A bar at the bottom right of the picture. It measures at the depth of the view's focus."""
    camera, ink, font = view.as_camera(), _INK[_is_bright(plotter)], font_size(view)
    depth = float(np.linalg.norm(view.focus - view.position))
    length = round_length(0.25 * view.width * view.pixel)
    right, y, tick = view.width - 1.5 * font, view.height - 1.5 * font, 0.4 * font
    left = right - length / view.pixel
    corners = [[left, y], [right, y], [left, y - tick], [left, y + tick], [right, y - tick], [right, y + tick]]
    points = unproject_pixels(np.array(corners), np.full(6, depth), *camera)
    bar = _tubes(points, [(0, 1), (2, 3), (4, 5)], view.pixel)
    plotter.add_mesh(bar, color=ink, name="scale bar", **_FLAT)
    (place,) = unproject_pixels(np.array([[(left + right) / 2, y - 0.9 * font]]), np.array([depth]), *camera)
    _write(plotter, "label scale bar", f"{length:g} {unit}".strip(), place, ink, font)


def add_caption(plotter: pv.Plotter, text: str, view: View) -> None:
    """What the scene shows, at the bottom left of the picture."""
    _add_text(plotter, "caption", text, _INK[_is_bright(plotter)], view)


def _add_text(
    plotter: pv.Plotter, name: str, text: str, color: str, view: View, right: bool = False, row: int = 0
) -> None:
    """A line of text at the bottom left of the picture, or at its top right."""
    import pyvista as pv

    font = font_size(view)
    x, y = (view.width - font, view.height - (2 + 1.6 * row) * font) if right else (font, font)
    line = pv.Text(text, position=(round(x), round(y)))
    line.prop.font_size, line.prop.color = font, color
    line.prop.bold = right
    line.prop.justification_horizontal = "right" if right else "left"
    plotter.add_actor(line, name=name, reset_camera=False, render=False, pickable=False)

"""The parts that scenes are made of, as actors of a `pyvista.Plotter`.

Each has a name: "image 222200037", "frustum 222200037", "label 222200037", "axis x", "scale bar", "points",
"head". World coordinates as everywhere: metres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import CameraCalibration, unproject_pixels
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import UsageError
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
)

if TYPE_CHECKING:
    import pyvista as pv

VideoData = NVSDataManager | MonoFlameAvatarDataManager
Note = Callable[[str], object]

HOLD_OUT_COLOR = "#d81e2c"
TRAIN_COLORS = {True: "#44546a", False: "#9db0c8"}  # on a bright background, on a dark one
# How everything is added but a head: in its own colour, without shading, and without moving the point of view.
_FLAT: Mapping[str, Any] = MappingProxyType(
    {"lighting": False, "reset_camera": False, "render": False, "pickable": False}
)
_BACK_COLOR = "#cfd6de"
_AXIS_COLORS = {"x": "#e0783a", "y": "#3a9a4b", "z": "#3465c8"}
_INK = {True: "#20242a", False: "#e6e9ee"}


@dataclass(frozen=True)
class Look:
    """How a picture is to be: `width` × `height` pixels, the `background` as a colour's name or #rrggbb, points
    `point_size` pixels wide (None: as their number asks for). `off_screen` False opens a window when it is shown;
    None does if there is a display."""

    width: int = 1200
    height: int = 900
    background: str = "#eef1f4"
    point_size: float | None = None
    off_screen: bool | None = None


def quiet(_: str) -> None:
    pass


def open_plotter(look: Look, **layout: Any) -> pv.Plotter:
    has_display = prepare_rendering()
    import pyvista as pv

    pv.vtk_verbosity("off")  # what VTK has to say in C++ goes straight to the terminal
    try:
        background = pv.Color(look.background)
    except ValueError:
        raise UsageError(
            f"Unknown colour '{look.background}'.", "Give a name (white, black, lightgrey) or #rrggbb."
        ) from None
    plotter = pv.Plotter(
        off_screen=not has_display if look.off_screen is None else look.off_screen,
        window_size=[look.width, look.height],
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
    """A text at a place in the world that always faces whoever looks."""
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
    # pyvista takes any vtkProp, but names only some.
    plotter.add_actor(cast("pv.Actor", actor), name=name, reset_camera=False, render=False, pickable=False)


def add_picture(plotter: pv.Plotter, name: str, corners: NDArray[Any], image: NDArray[np.uint8]) -> None:
    """An image on the quad (4, 3) from its top left corner clockwise. Its back is grey, so that nobody sees it
    mirrored."""
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


@dataclass(frozen=True, eq=False)
class Stage:
    """The cameras that are drawn, and what is drawn with them."""

    calibration: CameraCalibration
    size: tuple[int, int]
    rig: Rig
    frustums: dict[str, NDArray[np.float64]]


def set_stage(data: VideoData) -> Stage:
    benchmark = data.benchmark
    calibration = data.load_camera_calibration()
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


def add_rig(plotter: pv.Plotter, stage: Stage, hold_out: Sequence[str], view: View) -> None:
    """Frustums with their serials, the world's axes and a scale bar."""
    ink, font = _INK[_is_bright(plotter)], font_size(view)
    serials = list(stage.frustums)
    corners = np.stack([stage.frustums[serial] for serial in serials])
    places = place_labels(corners[:, 0], corners[:, 1:].mean(1), serials, view, font, corners[:, 1:])
    for serial, points, place in zip(serials, corners, places, strict=True):
        color = HOLD_OUT_COLOR if serial in hold_out else TRAIN_COLORS[_is_bright(plotter)]
        # The rays are thinner than the frame, as they cross the images.
        radius = view.pixel * (1.2 if serial in hold_out else 1.0)
        edges = _tubes(points, FRUSTUM_RAYS, 0.6 * radius).merge(_tubes(points, FRUSTUM_FRAME, radius))
        plotter.add_mesh(edges, color=color, name=f"frustum {serial}", **_FLAT)
        _write(
            plotter, f"label {serial}", serial, place, HOLD_OUT_COLOR if serial in hold_out else ink, font,
            bold=serial in hold_out,
        )  # fmt: skip
    axes = axes_of(stage)
    for i, (name, color) in enumerate(_AXIS_COLORS.items(), start=1):
        plotter.add_mesh(_tubes(axes, [(0, i)], 1.5 * view.pixel), color=color, name=f"axis {name}", **_FLAT)
        _write(plotter, f"label {name}", name, axes[i] * 1.12, color, font, bold=True)
    add_scale_bar(plotter, view)


def add_scale_bar(plotter: pv.Plotter, view: View) -> None:
    """A bar at the bottom right of the picture, as far away as the focus: that is where it measures."""
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
    _write(plotter, "label scale bar", f"{length:g} m", place, ink, font)


def add_caption(plotter: pv.Plotter, text: str, view: View) -> None:
    """What the scene shows, at the bottom left of the picture."""
    import pyvista as pv

    font = font_size(view)
    caption = pv.Text(text, position=(font, font))
    caption.prop.font_size, caption.prop.color = font, _INK[_is_bright(plotter)]
    plotter.add_actor(caption, name="caption", reset_camera=False, render=False, pickable=False)

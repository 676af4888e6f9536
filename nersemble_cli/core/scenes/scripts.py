"""What the official toolkit's scripts draw with, on a pyvista Plotter of the user's.

Those scripts import the four functions from dreifus, whose `add_camera_frustum` fails with current releases of
pyvista. Names and arguments are those of dreifus 0.1.28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nersemble_cli.core.data.poses import CameraCoordinateConvention, Intrinsics, Pose, PoseType
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.scenes.display import require
from nersemble_cli.core.scenes.drawing import AXIS_COLORS
from nersemble_cli.core.scenes.geometry import FRUSTUM_FRAME, FRUSTUM_RAYS, frustum

if TYPE_CHECKING:
    import pyvista as pv


def _world_2_cam(pose: Pose) -> NDArray[np.float32]:
    """A pose of any type and convention as (4, 4): world → camera, OpenCV axes."""
    turned = pose.change_pose_type(PoseType.WORLD_2_CAM, inplace=False)
    return turned.change_camera_coordinate_convention(CameraCoordinateConvention.OPEN_CV).numpy()


def project(points: ArrayLike, pose: Pose, intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(N, 3) float64: the column and the row of (N, 3) world points in pixels, and their depth in metres.

    `pose` may be of any type and convention. Points behind the camera are projected too: their depth is negative.
    """
    pose_matrix = _world_2_cam(pose).astype(np.float64)
    in_camera = np.asarray(points, np.float64) @ pose_matrix[:3, :3].T + pose_matrix[:3, 3]
    projected: NDArray[np.float64] = in_camera @ intrinsics.astype(np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        projected[:, :2] /= projected[:, 2:]
    return projected


def draw_onto_image(image: NDArray[Any], points: ArrayLike, values: ArrayLike) -> None:
    """Sets the pixels of an (H, W, …) image, in place, at (N, 2 or 3) points: column and row, as from `project`.

    `values` are one colour for all points, or one for each of them. Points outside the image are left out.
    """
    columns_rows = np.asarray(points, np.float64)[:, :2].round()
    height, width = image.shape[:2]
    inside = np.all((columns_rows >= 0) & (columns_rows < [width, height]), axis=1)
    columns, rows = columns_rows[inside].astype(np.int64).T
    colors = np.asarray(values)
    one_each = colors.ndim == image.ndim - 1 and len(colors) == len(inside)
    image[rows, columns] = colors[inside] if one_each else colors


def add_camera_frustum(
    p: pv.Plotter,
    pose: Pose,
    intrinsics: Intrinsics,
    img_w: float | None = None,
    img_h: float | None = None,
    image: NDArray[Any] | None = None,
    color: str = "lightgray",
    size: float = 0.3,
    label: str | int | None = None,
    line_width: float = 1,
    look_vector_length: float = 0,
) -> None:
    """Adds a camera to a scene: the edges of what it sees up to `size` metres before it.

    `pose` may be of any type and convention. `image` (H, W, 3) fills the frustum's end: uint8 0–255, or floats 0–1
    (0–255 if any is above 1). Without it, the image is `img_w` × `img_h` pixels, else twice the principal point.
    `label` is written at the camera's centre; `look_vector_length` draws an arrow that long, in metres.
    """
    require("pyvista")
    import pyvista as pv

    height, width = (2 * intrinsics.cy, 2 * intrinsics.cx) if image is None else image.shape[:2]
    shape = round(img_h or height), round(img_w or width)
    corners = frustum(_world_2_cam(pose), intrinsics.numpy(), *shape, size)
    lines = np.array([(2, a, b) for a, b in FRUSTUM_RAYS + FRUSTUM_FRAME])
    p.add_mesh(pv.PolyData(corners, lines=lines.ravel()), color=color, line_width=line_width, lighting=False)
    if image is not None:
        end = pv.PolyData(corners[1:], faces=[4, 3, 2, 1, 0])
        end.active_texture_coordinates = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])
        p.add_mesh(end, texture=pv.Texture(_as_uint8(image)), lighting=False)
    if look_vector_length:
        look = [float(x) for x in pose.get_look_direction()]
        p.add_mesh(pv.Arrow(start=corners[0], direction=look, scale=look_vector_length), color=color)
    if label is not None:
        p.add_point_labels(corners[:1], [str(label)], show_points=False, always_visible=True)


def _as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8:
        image = np.rint(image * (1 if image.max(initial=0) > 1 else 255)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image)


def add_coordinate_axes(
    p: pv.Plotter,
    max_length: int = 10,
    ticks_frequency: float = 1,
    line_width: float = 1,
    tick_length: float = 0.2,
    arrow_size: float = 0.5,
    draw_labels: bool = True,
    scale: float = 1,
) -> None:
    """Adds the world's axes to a scene: `max_length` long, with a tick every `ticks_frequency`, an arrow head and
    a name.

    All lengths are in units of `scale` metres. Raises `UsageError` for a length or frequency that is not positive.
    """
    require("pyvista")
    import pyvista as pv

    if min(max_length, ticks_frequency, scale) <= 0:
        raise UsageError("max_length, ticks_frequency and scale must be above zero.")
    ticks = np.arange(ticks_frequency, max_length, ticks_frequency)
    for axis, (name, color) in enumerate(AXIS_COLORS.items()):
        along, across = np.eye(3)[axis], np.eye(3)[(axis + 1) % 3]
        middle = ticks[:, None] * along
        ends = np.stack([middle - across * tick_length / 2, middle + across * tick_length / 2], axis=1)
        points = np.concatenate([[np.zeros(3), max_length * along], *ends]) * scale
        lines = np.column_stack([np.full(len(points) // 2, 2), np.arange(len(points)).reshape(-1, 2)])
        style: dict[str, Any] = {"color": color, "lighting": False}
        p.add_mesh(pv.PolyData(points, lines=lines.ravel()), line_width=line_width, **style)
        tip = (max_length + arrow_size / 2) * along * scale
        head = pv.Cone(center=tip, direction=along, height=arrow_size * scale, radius=arrow_size * scale / 4)
        p.add_mesh(head, **style)
        if draw_labels:
            p.add_point_labels(
                [(max_length + 1.5 * arrow_size) * along * scale], [name], show_points=False, always_visible=True
            )

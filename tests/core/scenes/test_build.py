"""Scenes: where things are, which way round images are, what a rendered picture shows, what other programs get."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trimesh

from nersemble_cli import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.benchmarks import NVS, SERIALS
from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import project_points, unproject_pixels
from nersemble_cli.core.data.poses import Intrinsics, Pose
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, UsageError
from nersemble_cli.core.flame.tracking import HEAD_SIZE
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.scenes import (
    PictureOptions,
    cameras_scene,
    display,
    flame_frames,
    flame_scene,
    mesh_scene,
    page,
    pointcloud_frames,
    pointcloud_scene,
    turntable_frames,
)
from nersemble_cli.core.scenes.build import take_picture
from nersemble_cli.core.scenes.drawing import (
    HOLD_OUT_COLOR,
    add_picture,
    add_splats,
    look_from,
    open_plotter,
    view_of,
)
from nersemble_cli.core.scenes.export import Drawing, save
from nersemble_cli.core.scenes.geometry import (
    View,
    clear_direction,
    direction,
    ellipsoid,
    fit_view,
    frustum,
    measure_rig,
    orbit,
    place_labels,
    round_length,
    sample_frustums,
    splat_radii,
    swept_points,
    thin_out,
    visible_labels,
)
from nersemble_cli.core.scenes.overlay import DOT_COLOR, draw_mesh, draw_vertices, enlarge, shrink
from nersemble_cli.core.synthetic.benchmark import write_pcd
from nersemble_cli.core.synthetic.render import make_rig
from tests.conftest import missing

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    import pyvista as pv

BOX = np.array([[x, y, z] for x in (0.2, 0.4) for y in (1.3, 1.7) for z in (-0.5, -0.3)])
SIZE = (160, 110)
FOCAL = 300.0
SMALL = PictureOptions(480, 360, "white")
RED = np.array([int(HOLD_OUT_COLOR[i : i + 2], 16) for i in (1, 3, 5)])


def arc(n: int = 5) -> CameraCalibration:
    """`n` cameras on a level arc of 90°, a metre and a half from the middle of BOX, looking at it from +x."""
    middle = BOX.mean(0)
    poses, intrinsics = {}, {}
    for i, angle in enumerate(np.radians(np.linspace(-45, 45, n))):
        backward = np.array([np.cos(angle), 0, np.sin(angle)])
        down = np.array([0, -1.0, 0])
        rotation = np.stack([np.cross(down, -backward), down, -backward])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (middle + 1.5 * backward)
        poses[f"{i}"] = Pose(pose)
        height, width = SIZE
        intrinsics[f"{i}"] = Intrinsics(FOCAL, FOCAL, (width - 1) / 2, (height - 1) / 2)
    return CameraCalibration(poses, intrinsics)


@pytest.fixture
def nvs(synthetic: Path) -> NVSDataManager:
    return NVSDataManager(synthetic, 388)


@pytest.fixture
def mono(synthetic: Path) -> MonoFlameAvatarDataManager:
    return MonoFlameAvatarDataManager(synthetic, 393)


# Geometry


def test_frustum_of_a_camera_at_the_origin() -> None:
    k = np.array([[100, 0, 49.5], [0, 100, 99.5], [0, 0, 1.0]])
    points = frustum(np.eye(4), k, height=200, width=100, depth=2)
    np.testing.assert_allclose(points, [[0, 0, 0], [-1, -2, 2], [1, -2, 2], [1, 2, 2], [-1, 2, 2]], atol=1e-12)


@pytest.mark.parametrize("serial", ["0", "2", "4"])
def test_frustum_corners_are_the_corners_of_the_image(serial: str) -> None:
    calibration = arc()
    pose, k = calibration.world_2_cam[serial], calibration.intrinsics[serial]
    points = frustum(pose, k, *SIZE, depth=0.4)
    pixels, depth = project_points(points[1:], pose, k)
    height, width = SIZE
    corners = [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]]
    np.testing.assert_allclose(pixels, corners, atol=1e-3)
    np.testing.assert_allclose(depth, 0.4, atol=1e-6)
    np.testing.assert_allclose(points[0], calibration.cam_2_world(serial)[:3, 3], atol=1e-6)


def test_the_rig_of_an_arc() -> None:
    rig = measure_rig(arc(), SIZE[1])
    np.testing.assert_allclose(rig.target, BOX.mean(0), atol=1e-5)
    np.testing.assert_allclose(rig.up, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rig.front, [1, 0, 0], atol=1e-5)
    assert 0.1 < rig.depth < 0.75  # before the box, and no needle


@pytest.mark.parametrize("n", [5, 9, 16])
def test_neighbouring_frustums_do_not_run_into_each_other(n: int) -> None:
    calibration = arc(n)
    rig = measure_rig(calibration, SIZE[1])
    middles = np.stack([frustum(p, k, *SIZE, rig.depth)[1:].mean(0) for p, k in zip(
        calibration.world_2_cam.values(), calibration.intrinsics.values(), strict=True)])  # fmt: skip
    apart = np.linalg.norm(np.diff(middles, axis=0), axis=1).min()
    assert SIZE[1] / FOCAL * rig.depth < apart


@pytest.mark.parametrize("n", [1, 2])
def test_the_rig_of_few_cameras(n: int) -> None:
    rig = measure_rig(arc(n), SIZE[1])
    assert np.isfinite([*rig.target, *rig.front]).all() and rig.depth > 0
    assert abs(rig.front @ rig.up) < 1e-6 and np.linalg.norm(rig.front) == pytest.approx(1)


def test_directions_are_seen_from_the_target() -> None:
    rig = measure_rig(arc(), SIZE[1])
    np.testing.assert_allclose(direction(rig, 0, 0), rig.front, atol=1e-9)
    np.testing.assert_allclose(
        direction(rig, 90, 0), [0, 0, -1], atol=1e-5
    )  # to the right of who looks along -front
    np.testing.assert_allclose(direction(rig, 0, 90), rig.up, atol=1e-9)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1200, 300)])
def test_a_view_shows_all_points_and_no_more(size: tuple[int, int]) -> None:
    rig = measure_rig(arc(), SIZE[1])
    view = fit_view(BOX, direction(rig, 20, 30), rig.up, *size, about=rig.target)
    pixels = project_points(BOX, *view.as_camera()).pixels / size
    assert (pixels > 0.05).all() and (pixels < 0.95).all()
    assert max(np.ptp(pixels, axis=0)) > 0.8


def labels(width: int, height: int) -> tuple[np.ndarray, View, int]:
    """The pixels of the labels of the made-up rig's 16 cameras."""
    poses, intrinsics = make_rig(1604, 1100, 4100)
    calibration = CameraCalibration(poses, intrinsics)
    rig = measure_rig(calibration, 1100)
    corners = np.stack([frustum(poses[s], intrinsics[s], 1604, 1100, rig.depth) for s in SERIALS])
    view = fit_view(corners.reshape(-1, 3), direction(rig, 24, 34), rig.up, width, height, about=rig.target)
    font = max(8, height // 52)
    texts = list(SERIALS)
    places = place_labels(corners[:, 0], corners[:, 1:].mean(1), texts, view, font, sample_frustums(corners))
    return project_points(places, *view.as_camera()).pixels, view, font


@pytest.mark.parametrize("size", [(320, 240), (480, 640), (1200, 900), (2400, 1800)])
def test_labels_do_not_overlap_and_are_in_the_picture(size: tuple[int, int]) -> None:
    pixels, _, font = labels(*size)
    box = np.array([9 * 0.56 * font, font])
    apart = np.abs(pixels[:, None] - pixels)
    overlapping = (apart < box).all(-1)
    np.fill_diagonal(overlapping, False)
    assert not overlapping.any()
    assert (pixels >= box / 2 - 1).all() and (pixels <= np.array(size) - box / 2 + 1).all()


def test_labels_keep_off_what_is_drawn() -> None:
    """Few labels lie on a frustum's lines or images, in a picture with room for them."""
    pixels, view, font = labels(1200, 900)
    poses, intrinsics = make_rig(1604, 1100, 4100)
    rig = measure_rig(CameraCalibration(poses, intrinsics), 1100)
    corners = np.stack([frustum(poses[s], intrinsics[s], 1604, 1100, rig.depth) for s in SERIALS])
    drawn = project_points(sample_frustums(corners), *view.as_camera()).pixels
    half = np.array([9 * 0.56 * font, font]) / 2
    hits = (np.abs(drawn[None] - pixels[:, None]) < half).all(-1).any(1)
    assert hits.sum() <= 2


def sphere(n: int, radius: float = 0.1) -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(n, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


def test_splats_are_as_large_as_points_are_sparse() -> None:
    sparse, dense = sphere(2_000), sphere(32_000) + np.array([1, 0, 0])
    radii = splat_radii(np.concatenate([sparse, dense]))
    assert radii.dtype == np.float32 and radii.shape == (34_000,)
    alone = np.median(splat_radii(sparse)) / np.median(splat_radii(dense))
    assert alone == pytest.approx(4, rel=0.2)  # a sixteenth of the points, four times as far apart
    assert np.median(radii[:2_000]) > 1.5 * np.median(radii[2_000:])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_points_have_finite_splats(n: int) -> None:
    radii = splat_radii(sphere(n))
    assert radii.shape == (n,) and np.isfinite(radii).all() and (radii >= 0).all()


def test_small_pictures_need_fewer_points() -> None:
    points = sphere(10_000)
    np.testing.assert_array_equal(thin_out(points, 1e-4), np.arange(10_000))
    few = thin_out(points, 0.01)
    assert 500 < len(few) < 5_000 and len(set(few)) == len(few)
    np.testing.assert_array_equal(few, thin_out(points, 0.01))


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1200, 300)])
def test_a_whole_turn_stays_in_the_picture(size: tuple[int, int]) -> None:
    up = np.array([0, 1.0, 0])
    center = BOX.mean(0) + np.array([0.1, 0, 0])
    start = fit_view(swept_points(BOX, center, up), np.array([0.3, 0.6, 1]), up, *size, about=center)
    extent = []
    for angle in range(0, 360, 10):
        view = orbit(start, center, angle)
        pixels = project_points(BOX, *view.as_camera()).pixels / size
        assert (pixels > 0.05).all() and (pixels < 0.95).all()
        extent.append(pixels)
        assert view.up is start.up
    all_pixels = np.concatenate(extent)
    assert max(np.ptp(all_pixels, axis=0)) > 0.75  # and no smaller than it must be
    np.testing.assert_allclose(orbit(start, center, 360).position, start.position)


def test_a_turn_goes_to_the_right() -> None:
    view = View(np.array([0, 0, 2.0]), np.zeros(3), np.array([0, 1.0, 0]), 100, 100)
    np.testing.assert_allclose(orbit(view, np.zeros(3), 90).position, [2, 0, 0], atol=1e-12)


def test_the_head_is_not_behind_an_image() -> None:
    """Where the usual view has a frustum before the head, another one is taken."""
    poses, intrinsics = make_rig(1604, 1100, 4100)
    rig = measure_rig(CameraCalibration(poses, intrinsics), 1100)
    head, _ = ellipsoid(rig)
    corners = np.stack([frustum(poses[s], intrinsics[s], 1604, 1100, rig.depth) for s in SERIALS])
    usual = direction(rig, 24, 34)
    np.testing.assert_allclose(clear_direction(rig, corners[:1], head), usual)
    right = np.cross(rig.up, usual)
    upward = np.cross(usual, right)
    corner = np.array([[0, 0], [-1, 1], [1, 1], [1, -1], [-1, -1]]) * 0.15
    before = rig.target + 0.5 * usual + corner[:, :1] * right + corner[:, 1:] * upward
    before[0] += 0.3 * usual
    other = clear_direction(rig, before[None], head)
    assert other @ usual < np.cos(np.radians(10))


def test_an_ellipsoid_of_a_heads_size() -> None:
    rig = measure_rig(arc(), SIZE[1])
    vertices, faces = ellipsoid(rig)
    axes = np.stack([np.cross(rig.up, rig.front), rig.up, rig.front])
    np.testing.assert_allclose(np.ptp((vertices - rig.target) @ axes.T, axis=0), HEAD_SIZE, atol=2e-3)
    mesh = trimesh.Trimesh(vertices, faces)
    assert mesh.volume == pytest.approx(np.pi / 6 * np.prod(HEAD_SIZE), rel=0.02)  # closed, facing outwards


@pytest.mark.parametrize(("extent", "length"), [(0.3, 0.2), (0.5, 0.5), (0.99, 0.5), (1, 1), (0.049, 0.02)])
def test_scale_bars_have_round_lengths(extent: float, length: float) -> None:
    assert round_length(extent) == pytest.approx(length)


# Images


def test_shrink_keeps_proportions() -> None:
    image = np.zeros((200, 100, 3), np.uint8)
    image[:100] = 255
    small = shrink(image, 50)
    assert small.shape == (50, 25, 3)
    assert small[:24].min() == 255 and small[26:].max() == 0
    assert shrink(small, 50) is small


def test_enlarge_takes_the_camera_along() -> None:
    image = np.zeros((20, 10, 3), np.uint8)
    image[5, 7] = 255
    k = np.array([[10.0, 0, 7], [0, 10, 5], [0, 0, 1]])  # the bright pixel is the principal point
    large, large_k = enlarge(image, k, 80)
    assert large.shape == (80, 40, 3)
    row, column = np.argwhere(large[..., 0] >= large.max() * 0.99).mean(0)
    assert (column, row) == pytest.approx((large_k[0, 2], large_k[1, 2]), abs=0.51)


def test_vertices_are_drawn_where_they_are_seen() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    vertices = np.array([[0, 0, 1], [0.3, -0.2, 1], [-0.3, 0.3, 1], [0, 0, -1], [9, 9, 1]])
    normals = np.array([[0, 0, -1], [0, 0, -1], [0, 0, 1], [0, 0, 1], [0, 0, -1.0]])
    drawn = draw_vertices(np.zeros((100, 100, 3), np.uint8), vertices, normals, np.eye(4), k)
    assert tuple(drawn[50, 50]) == DOT_COLOR and tuple(drawn[30, 80]) == DOT_COLOR
    assert not drawn[80, 20].any()  # turns its back
    assert 2 <= np.count_nonzero(drawn.any(-1)) <= 40


def test_a_shaded_mesh_hides_what_is_behind_it() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    near, far = (trimesh.creation.box((0.4, 0.4, 0.1)) for _ in range(2))
    near.apply_translation((0, 0, 1))
    far.apply_translation((0.1, 0, 1.5))
    image = np.zeros((100, 100, 3), np.uint8)
    drawn = draw_mesh(image, trimesh.util.concatenate([near, far]), np.eye(4), k)
    assert (drawn[50, 50] > 200).all()  # faces the camera, which carries the light
    assert not drawn[20, 50].any()
    half = draw_mesh(image, near, np.eye(4), k, opacity=0.5)
    np.testing.assert_allclose(half[50, 50], drawn[50, 50] / 2, atol=1)
    assert not image.any()


def test_a_wireframe_shows_edges_alone_and_none_that_are_hidden() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    near, far = (trimesh.creation.box((0.4, 0.4, 0.1)) for _ in range(2))
    near.apply_translation((0, 0, 1))
    far.apply_translation((0, 0, 2))
    both = trimesh.util.concatenate([far, near])
    alone, hidden = (
        draw_mesh(np.zeros((100, 100, 3), np.uint8), m, np.eye(4), k, "wireframe") for m in (near, both)
    )
    assert 0 < alone.any(-1).mean() < 0.2
    np.testing.assert_array_equal(alone, hidden)


@pytest.mark.usefixtures("drawing")
class TestPictures:
    """An image on a quad, seen from the camera's side and from the other one."""

    COLORS = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
    )  # top left, top right, bottom right, bottom left
    CORNERS = np.array([[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0.0]])

    def seen_from(self, z: float) -> list[np.ndarray]:
        image = np.zeros((64, 64, 3), np.uint8)
        quarters = ((0, 0), (0, 32), (32, 32), (32, 0))
        for (row, column), color in zip(quarters, self.COLORS, strict=True):
            image[row : row + 32, column : column + 32] = color
        plotter = open_plotter(PictureOptions(200, 200, "white", off_screen=True))
        add_picture(plotter, "test", self.CORNERS, image)
        look_from(plotter, View(np.array([0, 0, z]), np.zeros(3), np.array([0, 1.0, 0]), 200, 200))
        picture = take_picture(plotter).astype(int)
        plotter.close()
        return [picture[row, column] for row, column in ((75, 75), (75, 125), (125, 125), (125, 75))]

    def test_the_image_is_the_right_way_round(self) -> None:
        np.testing.assert_allclose(self.seen_from(8), self.COLORS, atol=8)

    def test_its_back_is_grey(self) -> None:
        for color in self.seen_from(-8):
            assert np.ptp(color) < 30 and 150 < color.mean() < 240


# Scenes


def actors(plotter: pv.Plotter, kind: str) -> list[str]:
    return sorted(name.removeprefix(f"{kind} ") for name in plotter.actors if name.startswith(f"{kind} "))


def is_red(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - RED).max(-1) < 60) & (picture[..., 0].astype(int) - picture[..., 1] > 90)


@pytest.mark.usefixtures("drawing")
def test_cameras_scene(nvs: NVSDataManager) -> None:
    notes: list[str] = []
    plotter = cameras_scene(nvs, "GLASSES", 3, SMALL, notes.append)
    assert actors(plotter, "frustum") == sorted(SERIALS)
    assert set(actors(plotter, "label")) == {*SERIALS, "x", "y", "z", "scale bar"}
    assert actors(plotter, "legend") == ["0", "1"]
    assert actors(plotter, "image") == sorted(nvs.list_serials("GLASSES"))
    assert actors(plotter, "axis") == ["x", "y", "z"]
    assert {"points", "scale bar", "caption"} < set(plotter.actors)
    red = [s for s in SERIALS if plotter.actors[f"frustum {s}"].prop.color.hex_rgb == HOLD_OUT_COLOR]
    assert sorted(red) == sorted(NVS.hold_out_serials)
    (note,) = notes
    assert "11 of 13" in note and "nersemble download nvs" in note
    assert not read_label_overlaps(plotter)
    plotter.close()


def read_label_overlaps(plotter: pv.Plotter) -> list[tuple[str, str]]:
    found = page._labels_of(plotter)
    view = view_of(plotter)
    pixels = project_points(np.array([label["position"] for label in found]), *view.as_camera()).pixels
    return [
        (a["text"], b["text"])
        for i, a in enumerate(found)
        for j, b in enumerate(found[:i])
        if abs(pixels[i] - pixels[j])[1] < 7 and abs(pixels[i] - pixels[j])[0] < 4 * max(len(a["text"]), len(b["text"]))
    ]  # fmt: skip


@pytest.mark.usefixtures("drawing")
def test_frustums_are_where_the_cameras_are(nvs: NVSDataManager) -> None:
    plotter = cameras_scene(nvs, "GLASSES", 1, SMALL)
    calibration = nvs.load_camera_calibration()
    rig = measure_rig(calibration, NVS.width)
    for serial in SERIALS:
        pose, k = calibration.world_2_cam[serial], calibration.intrinsics[serial]
        expected = frustum(pose, k, NVS.height, NVS.width, rig.depth)
        edges = np.asarray(plotter.actors[f"frustum {serial}"].mapper.dataset.points)
        distances = np.linalg.norm(edges[:, None] - expected, axis=-1).min(0)
        assert distances.max() < 0.01
        inward = expected[1:].mean(0) - expected[0]
        assert inward @ (rig.target - expected[0]) > 0
        if f"image {serial}" in plotter.actors:
            quad = np.asarray(plotter.actors[f"image {serial}"].mapper.dataset.points)
            np.testing.assert_allclose(quad, expected[1:], atol=1e-5)
    assert "points" not in plotter.actors  # timestep 1 has none
    plotter.close()


@pytest.mark.usefixtures("drawing")
def test_red_is_where_hold_out_cameras_are_and_nowhere_else(nvs: NVSDataManager) -> None:
    plotter = cameras_scene(nvs, "GLASSES", 1, PictureOptions(800, 600, "white"))
    for name in [name for name in plotter.actors if not name.startswith("frustum")]:
        plotter.remove_actor(name)
    picture, view = take_picture(plotter), view_of(plotter)
    calibration, rig = nvs.load_camera_calibration(), measure_rig(nvs.load_camera_calibration(), NVS.width)
    red = is_red(picture)
    assert picture.std() > 5
    explained = np.zeros_like(red)
    for serial in NVS.hold_out_serials:
        points = frustum(
            calibration.world_2_cam[serial], calibration.intrinsics[serial], NVS.height, NVS.width, rig.depth
        )
        hits = []
        for a, b in ((1, 2), (2, 3), (3, 4), (4, 1), (0, 1), (0, 2), (0, 3), (0, 4)):
            for part in np.linspace(0, 1, 60):
                column, row = project_points(points[a] + part * (points[b] - points[a]), *view.as_camera()).pixels
                around = np.s_[
                    max(0, round(row) - 2) : round(row) + 3, max(0, round(column) - 2) : round(column) + 3
                ]
                explained[around] = True
                hits.append(red[around].any())
        assert np.mean(hits) > 0.7  # other frustums cross before it
    assert not (red & ~explained).any()
    plotter.close()


@pytest.mark.usefixtures("drawing")
def test_cameras_of_mono(mono: MonoFlameAvatarDataManager) -> None:
    plotter = cameras_scene(mono, "EXP-1-head", 0, SMALL)
    assert actors(plotter, "image") == ["222200037"]
    assert len(actors(plotter, "frustum")) == 4
    plotter.close()


@pytest.mark.usefixtures("drawing")
def test_four_cameras_do_not_stand_in_an_empty_room(
    mono: MonoFlameAvatarDataManager, flame_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NERSEMBLE_FLAME_MODEL", raising=False)
    for model, n_faces in ((None, 2304), (flame_model, 9976)):
        plotter = cameras_scene(mono, "EXP-1-head", 0, SMALL, flame_model=model)
        head = plotter.actors["head"].mapper.dataset
        assert head.n_cells == n_faces
        target = measure_rig(mono.load_camera_calibration(), 512).target
        assert np.linalg.norm(np.asarray(head.points).mean(0) - target) < 0.15
        plotter.close()
    with pytest.raises(MissingFileError):
        cameras_scene(mono, "EXP-1-head", 0, SMALL, flame_model="nowhere.pkl")


@pytest.mark.usefixtures("drawing")
def test_a_camera_without_calibration_is_left_out(synthetic: Path, tmp_path: Path) -> None:
    shutil.copytree(synthetic / "nvs", tmp_path / "nvs")
    data = NVSDataManager(tmp_path, 388)
    path = next((tmp_path / "nvs" / "388").rglob("camera_params.json"))
    document = json.loads(path.read_text())
    for table in document.values():
        table.pop("222200042", None)
    path.write_text(json.dumps(document))
    notes: list[str] = []
    plotter = cameras_scene(data, "GLASSES", 0, SMALL, notes.append)
    assert actors(plotter, "image") == ["222200044"] and len(actors(plotter, "frustum")) == 15
    assert "222200042" in notes[-1]
    plotter.close()
    path.write_text(json.dumps({"world_2_cam": {}, "intrinsics": {}}))
    with pytest.raises(InvalidInputError, match="no cameras"):
        cameras_scene(data, "GLASSES", 0, SMALL)


@pytest.mark.usefixtures("drawing")
def test_the_back_of_a_point_cloud_does_not_shine_through() -> None:
    """A ball, bright before and dark behind: how much of its disc is not bright?"""
    points = sphere(20_000)
    colors = np.where(points[:, 2:] > 0, [[255, 255, 255]], [[0, 0, 0]]).astype(np.uint8)
    plotter = open_plotter(PictureOptions(400, 400, "black", off_screen=True))
    view = View(np.array([0, 0, 0.6]), np.zeros(3), np.array([0, 1.0, 0]), 400, 400)
    look_from(plotter, view)
    add_splats(plotter, points, colors, splat_radii(points))
    picture = take_picture(plotter)
    plotter.close()
    rows, columns = np.mgrid[:400, :400] - 199.5
    inside = np.hypot(rows, columns) < 0.97 * 0.1 / np.sqrt(0.36 - 0.01) * 200 / np.tan(np.radians(15))
    assert inside.sum() > 40_000
    assert (picture[inside] < 128).any(-1).sum() == 0


@pytest.mark.usefixtures("drawing")
def test_a_mesh_is_seen_from_the_front_with_its_landmarks() -> None:
    """Turned any way, the same picture: the face is where the landmarks are."""
    face = trimesh.creation.icosphere(3, 0.1)
    places = [[-4, 3, 8], [-2, 3, 9], [2, 3, 9], [4, 3, 8], [0, -2, 10], [-3, -5, 8], [3, -5, 8]]
    landmarks = np.array(places) / 100
    pictures = []
    for angle in (0, 130):
        turn = trimesh.transformations.rotation_matrix(np.radians(angle), [1, 2, 3])[:3, :3]
        plotter = mesh_scene(
            face.vertices @ turn.T, face.faces, landmarks @ turn.T, "face", PictureOptions(300, 300)
        )
        assert actors(plotter, "landmark") == list("1234567")
        pictures.append(take_picture(plotter).astype(int))
        plotter.close()
    assert np.abs(pictures[0] - pictures[1]).mean() < 2
    rows = np.argwhere(is_red(pictures[0]))[:, 0]
    assert len(rows) > 100 and 60 < rows.min() < 150 < rows.max() < 240


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize(
    ("vertices", "faces", "landmarks", "said"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), None, "0 vertices"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), None, "not finite"),
        (np.eye(3), np.array([[0, 1, 3]]), None, "do not exist"),
        (np.eye(3), np.array([[0, 1, 2]]), np.zeros((68, 3)), "expected finite numbers"),
    ],
)
def test_what_is_not_a_mesh(vertices: np.ndarray, faces: np.ndarray, landmarks: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        mesh_scene(vertices, faces, landmarks)


@pytest.mark.usefixtures("drawing")
def test_a_hold_out_sequence_has_no_images(mono: MonoFlameAvatarDataManager) -> None:
    notes: list[str] = []
    plotter = cameras_scene(mono, "FREE", 0, SMALL, notes.append)
    assert actors(plotter, "image") == []
    assert "held out" in notes[0]
    plotter.close()


@pytest.mark.usefixtures("drawing")
def test_the_head_of_a_point_cloud_is_upright_and_not_mirrored(nvs: NVSDataManager) -> None:
    plotter = pointcloud_scene(nvs, "GLASSES", 0, options=PictureOptions(300, 300, "white"))
    picture = take_picture(plotter).astype(int)
    plotter.close()
    rows = np.nonzero((picture < 240).any(-1))[0]
    assert rows.min() < 60 and np.ptp(rows) > 200
    # The person's shirt is at the bottom, red on the viewer's left and blue on the right.
    red = np.argwhere(picture[..., 0] - picture[..., 2] > 90)
    blue = np.argwhere(picture[..., 2] - picture[..., 0] > 90)
    assert len(red) > 200 and len(blue) > 200
    assert red[:, 1].mean() < blue[:, 1].mean() - 40
    assert np.median(blue[:, 0]) > rows.mean() + 40


@pytest.mark.usefixtures("drawing")
def test_colours_of_normals(nvs: NVSDataManager) -> None:
    plotter = pointcloud_scene(nvs, "GLASSES", 0, "normals", SMALL)
    cloud = plotter.actors["points"].mapper.dataset
    points, _, normals = nvs.load_pointcloud("GLASSES", 0)
    np.testing.assert_array_equal(cloud.points, points)
    np.testing.assert_allclose(np.asarray(cloud["colors"]) / 127.5 - 1, normals, atol=0.01)
    plotter.close()


@pytest.fixture
def odd_clouds(synthetic: Path, tmp_path: Path) -> NVSDataManager:
    """Timestep 0 has neither colours nor finite points, timestep 3 has NaN among its points."""
    shutil.copytree(synthetic / "nvs", tmp_path / "nvs")
    data = NVSDataManager(tmp_path, 388)
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    write_pcd(Path(data.get_pointcloud_path("GLASSES", 1)), points, None, None)
    write_pcd(Path(data.get_pointcloud_path("GLASSES", 0)), points * np.nan, np.zeros_like(points), points)
    points[::2] = np.nan
    write_pcd(Path(data.get_pointcloud_path("GLASSES", 3)), points, np.zeros_like(points), points)
    return data


@pytest.mark.usefixtures("drawing")
def test_points_that_are_not_finite_are_left_out(odd_clouds: NVSDataManager) -> None:
    plotter = pointcloud_scene(odd_clouds, "GLASSES", 3, options=SMALL)
    assert plotter.actors["points"].mapper.dataset.n_points == 25
    plotter.close()
    with pytest.raises(InvalidInputError, match="finite"):
        pointcloud_scene(odd_clouds, "GLASSES", 0, options=SMALL)


@pytest.mark.usefixtures("drawing")
def test_a_point_cloud_without_colours(odd_clouds: NVSDataManager) -> None:
    with pytest.raises(UsageError, match="no colours") as error:
        pointcloud_scene(odd_clouds, "GLASSES", 1, options=SMALL)
    assert "normals" in str(error.value.hint)


def test_a_point_cloud_that_is_not_here(nvs: NVSDataManager) -> None:
    with pytest.raises(MissingFileError, match="--pointcloud-frames 2"):
        next(pointcloud_frames(nvs, "GLASSES", [2]))


@pytest.mark.usefixtures("drawing")
def test_flame_scene(mono: MonoFlameAvatarDataManager, flame_model: Path) -> None:
    plotter = flame_scene(mono, "EXP-1-head", 2, flame_model, SMALL)
    plotter.subplot(0, 0)
    assert {"head", "image 222200037", "scale bar"} < set(plotter.actors)
    assert len(actors(plotter, "frustum")) == 4
    from nersemble_cli import FlameProvider

    expected = FlameProvider(mono.load_flame_tracking("EXP-1-head"), flame_model).get_vertices(2)
    head = plotter.actors["head"].mapper.dataset
    assert head.n_cells == 9976
    # pyvista may double vertices where it splits normals; none moves.
    assert np.abs(np.asarray(head.points).max(0) - expected.max(0)).max() < 1e-5
    plotter.close()


def test_projected_vertices_lie_on_the_person(mono: MonoFlameAvatarDataManager, flame_model: Path) -> None:
    from nersemble_cli import FlameProvider

    serial = "222200037"
    cameras = mono.load_camera_calibration()
    mesh = FlameProvider(mono.load_flame_tracking("EXP-1-head"), flame_model).get_mesh(2)
    alpha = mono.load_alpha_map("EXP-1-head", serial, 2).repeat(3, axis=-1)
    person, k = enlarge(alpha, cameras.intrinsics[serial], 500)  # the made-up pictures are small
    drawn = draw_vertices(
        np.zeros_like(person), mesh.vertices, mesh.vertex_normals, cameras.world_2_cam[serial], k
    )
    dots = drawn.any(-1)
    assert dots.sum() > 3000
    import cv2

    within_a_pixel = cv2.dilate((person[..., 0] > 100).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    assert (dots & ~within_a_pixel).sum() < 0.01 * dots.sum()
    # And they reach its edges: the person's outline is the outline of the dots.
    for axis in (0, 1):
        for edge in (0, -1):
            of_dots, of_person = (np.flatnonzero(m.any(axis))[edge] for m in (dots, person[..., 0] > 100))
            assert abs(of_dots - of_person) <= 12


@pytest.mark.usefixtures("drawing")
def test_a_hold_out_sequence_is_drawn_over_black(mono: MonoFlameAvatarDataManager, flame_model: Path) -> None:
    notes: list[str] = []
    (picture,) = flame_frames(mono, "FREE", [1], flame_model, SMALL, notes.append)
    assert "held out" in notes[0] and "black" in notes[0]
    panel = picture[:, 320:]
    assert (panel.max(-1) < 10).mean() > 0.3
    assert (panel[..., 2] > 150).any()


# Frames


@pytest.mark.usefixtures("drawing")
def test_frames_show_their_timesteps(
    nvs: NVSDataManager, mono: MonoFlameAvatarDataManager, flame_model: Path
) -> None:
    options = PictureOptions(200, 160, "white")
    clouds = list(pointcloud_frames(nvs, "GLASSES", [0, 3, 0], options=options))
    heads = list(flame_frames(mono, "EXP-1-head", [0, 4, 0], flame_model, options))
    for first, other, again in (clouds, heads):
        assert first.shape == (160, 200, 3) and first.dtype == np.uint8
        assert np.abs(first.astype(int) - other).mean() > 0.2
        assert np.abs(first.astype(int) - again).mean() < 0.05


@pytest.mark.usefixtures("drawing")
def test_a_turn_shows_all_sides_and_cuts_nothing(nvs: NVSDataManager) -> None:
    for scene in (cameras_scene, pointcloud_scene):
        plotter = scene(nvs, "GLASSES", 0, options=PictureOptions(200, 160, "white"))
        pictures = list(turntable_frames(plotter, 12))
        plotter.close()
        assert len(pictures) == 12
        for picture in pictures:
            sides = (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:])
            assert min(side.min() for side in sides) > 200
            assert picture.min() < 100
        assert min(np.abs(pictures[0].astype(int) - other).mean() for other in pictures[1:]) > 1


@pytest.mark.usefixtures("drawing")
def test_labels_do_not_overlap_anywhere_in_a_turn(nvs: NVSDataManager) -> None:
    plotter = cameras_scene(nvs, "GLASSES", 0, PictureOptions(400, 300, "white"))
    n_shown = []
    for _ in turntable_frames(plotter, 10):
        labels = [
            actor
            for name, actor in plotter.renderers[0].actors.items()
            if name.startswith("label 22") and actor.GetVisibility()
        ]
        places = np.array([actor.GetPosition() for actor in labels])
        pixels, depth = project_points(places, *view_of(plotter).as_camera())
        nearest, farthest = plotter.camera.clipping_range
        assert ((depth > nearest) & (depth < farthest)).all()
        font = labels[0].GetTextProperty().GetFontSize()
        overlapping = (np.abs(pixels[:, None] - pixels) < np.array([9 * 0.56 * font, font])).all(-1)
        assert overlapping.sum() == len(labels)  # each with itself
        n_shown.append(len(labels))
    plotter.close()
    assert min(n_shown) >= 6 and len(set(n_shown)) > 1


def test_nearer_label_hides_the_one_behind_it() -> None:
    view = View(np.array([0.0, 0, 2]), np.zeros(3), np.array([0.0, 1, 0]), 400, 300)
    places = np.array([[0.0, 0, 0], [0, 0.001, 0.5], [0.3, 0, 0], [0, 0, 3]])
    assert visible_labels(places, ["222200037"] * 4, view, 12).tolist() == [False, True, True, False]
    corner = np.array([[200.0, 0, 400, 300]])
    assert visible_labels(places[2:3], ["1"], view, 12, corner).tolist() == [False]


# For other programs


@pytest.fixture
def scene(nvs: NVSDataManager, drawing: None) -> Iterator[pv.Plotter]:
    plotter = cameras_scene(nvs, "GLASSES", 0, SMALL)
    yield plotter
    plotter.close()


def test_png(scene: pv.Plotter, tmp_path: Path) -> None:
    save(Drawing("title", lambda _: scene), tmp_path / "a.png", SMALL)
    picture = read_rgb(tmp_path / "a.png")
    assert picture.shape == (360, 480, 3) and picture.std() > 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "home"]


@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
def test_gltf(scene: pv.Plotter, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scene{suffix}"
    save(Drawing("title", lambda _: scene), path, SMALL)
    loaded = trimesh.load_scene(path)
    assert {"frustum 222200037", "image 222200042", "points", "axis x"} < set(loaded.geometry)
    assert loaded.geometry["image 222200042"].visual.material.baseColorTexture is not None
    expected = np.asarray(scene.actors["frustum 222200037"].mapper.dataset.bounds).reshape(3, 2).T
    np.testing.assert_allclose(loaded.geometry["frustum 222200037"].bounds, expected, atol=1e-6)
    if suffix == ".gltf":
        tree = json.loads(path.read_text())
        assert "KHR_materials_unlit" in tree["extensionsUsed"]
        assert all(buffer["uri"].startswith("data:") for buffer in tree["buffers"])  # one file, with all inside


def test_gltf_cameras_see_what_the_cameras_see(scene: pv.Plotter, nvs: NVSDataManager, tmp_path: Path) -> None:
    save(Drawing("title", lambda _: scene), tmp_path / "scene.gltf", SMALL)
    tree = json.loads((tmp_path / "scene.gltf").read_text())
    nodes = {node["name"]: node for node in tree["nodes"]}
    calibration = nvs.load_camera_calibration()
    roots = [tree["nodes"][i]["name"] for i in tree["scenes"][0]["nodes"]]
    for serial in SERIALS:
        node = nodes[f"camera {serial}"]
        assert f"camera {serial}" in roots
        lens = tree["cameras"][node["camera"]]["perspective"]
        k, pose = calibration.intrinsics[serial], calibration.world_2_cam[serial]
        # A point that the camera sees at a pixel, through glTF's camera: x right, y up, looking along -z.
        at = unproject_pixels(np.array([200.0, 300]) + k[:2, 2], np.array(0.9), pose, k)
        x, y, z, _ = np.linalg.inv(np.array(node["matrix"]).reshape(4, 4).T) @ [*at, 1]
        half = np.tan(lens["yfov"] / 2)
        assert z == pytest.approx(-0.9, abs=1e-4)
        assert x / -z / (half * lens["aspectRatio"]) * NVS.width / 2 == pytest.approx(200, abs=0.05)
        assert y / -z / half * NVS.height / 2 == pytest.approx(-300, abs=0.05)


def test_gltf_images_are_not_mirrored(scene: pv.Plotter, nvs: NVSDataManager, tmp_path: Path) -> None:
    save(Drawing("title", lambda _: scene), tmp_path / "scene.glb", SMALL)
    quad = trimesh.load_scene(tmp_path / "scene.glb").geometry["image 222200042"]
    calibration = nvs.load_camera_calibration()
    pixels = project_points(
        quad.vertices, calibration.world_2_cam["222200042"], calibration.intrinsics["222200042"]
    )
    # In glTF as trimesh loads it, v counts upwards.
    across, down = pixels.pixels.T
    np.testing.assert_allclose(quad.visual.uv[:, 0], (across + 0.5) / NVS.width, atol=1e-3)
    np.testing.assert_allclose(1 - quad.visual.uv[:, 1], (down + 0.5) / NVS.height, atol=1e-3)
    image = np.asarray(quad.visual.material.baseColorTexture.convert("RGB")).astype(int)
    assert image[:5].min() > 200  # above the head it is white
    assert image[-30:].min() < 100


def test_ply(scene: pv.Plotter, tmp_path: Path) -> None:
    save(Drawing("title", lambda _: scene), tmp_path / "scene.ply", SMALL)
    mesh = trimesh.load(tmp_path / "scene.ply", process=False)
    n_points = scene.actors["points"].mapper.dataset.n_points
    assert len(mesh.vertices) > n_points + 16 * 80
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3]
    assert (np.abs(colors.astype(int) - RED).max(-1) < 2).any()


def test_a_page_needs_nothing_from_outside(scene: pv.Plotter) -> None:
    document = page.to_html(scene, "388 <GLASSES>")
    assert "<title>388 &lt;GLASSES&gt;</title>" in document
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", document)
    assert all(serial in document for serial in SERIALS)
    assert document.rstrip().endswith("</html>")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or missing("Chromium is", "chromium")


def screenshot(chromium: str, file: Path, folder: Path) -> tuple[str, np.ndarray]:
    """A page's document after its scripts have run, and a picture of it."""
    options = [
        "--headless", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=600,450",
        "--virtual-time-budget=30000", "--host-resolver-rules=MAP * ~NOTFOUND",
    ]  # fmt: skip
    picture = folder / "page.png"
    done = subprocess.run(
        [chromium, *options, "--dump-dom", f"--screenshot={picture}", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, read_rgb(picture)


def test_no_text_ends_the_script(nvs: NVSDataManager, drawing: None) -> None:
    text = "<!--<script> </script> \u2028 & 'x'"
    plotter = pointcloud_scene(nvs, "GLASSES", 0, options=SMALL)
    document = page.to_html(plotter, text)
    plotter.close()
    assert data_of(document)["title"] == text
    assert "<!--" not in document.partition("page-data")[2]


_DRIVE = """<script>(function drive() {
  if (!document.body.dataset.ready) { setTimeout(drive, 20); return; }
  const canvas = document.querySelector("canvas"), report = {};
  canvas.setPointerCapture = function () {};
  function send(type, x, y, extra) {
    canvas.dispatchEvent(new PointerEvent(type, Object.assign(
      { pointerId: 1, clientX: x, clientY: y, buttons: 1, bubbles: true }, extra)));
  }
  const level = () => new THREE.Vector3(1, 0, 0).transformDirection(camera.matrixWorld).dot(camera.up);
  const length = () => document.getElementById("scale").textContent;
  const before = camera.position.clone(), far = before.distanceTo(controls.target);
  report.first = length();
  send("pointerdown", 300, 200);
  [[380, 260], [150, 90], [420, 400], [90, 350]].forEach(([x, y]) => send("pointermove", x, y));
  send("pointerup", 90, 350);
  report.level = level();
  report.moved = before.distanceTo(camera.position);
  report.turned = camera.position.distanceTo(controls.target) / far;
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -1500 }));
  report.zoomed = camera.position.distanceTo(controls.target) / far;
  report.last = length();
  const close = document.querySelector("#inset button");
  report.inset = Boolean(close);
  if (close) close.click();
  report.closed = !document.getElementById("inset");
  document.body.dataset.report = JSON.stringify(report);
})();</script>"""


def test_a_page_turns_without_rolling_and_its_overlay_closes(
    mono: MonoFlameAvatarDataManager, flame_model: Path, drawing: None, chromium: str, tmp_path: Path
) -> None:
    plotter = flame_scene(mono, "EXP-1-head", 0, flame_model, SMALL)
    path = tmp_path / "page.html"
    path.write_text(page.to_html(plotter, "393").replace("</body>", f"{_DRIVE}</body>"), "utf-8")
    plotter.close()
    document, _ = screenshot(chromium, path, tmp_path)
    (found,) = re.findall(r'data-report="([^"]+)"', document)
    report = json.loads(html.unescape(found))
    assert abs(report["level"]) < 1e-5 and report["moved"] > 0.1
    assert report["turned"] == pytest.approx(1, abs=1e-3) and 0.1 < report["zoomed"] < 0.3
    assert report["first"].endswith(" m") and report["last"].endswith(" m") and report["first"] != report["last"]
    assert report["inset"] and report["closed"]


def test_a_page_opens_in_chromium(scene: pv.Plotter, chromium: str, tmp_path: Path) -> None:
    save(Drawing("388", lambda _: scene), tmp_path / "scene.html", SMALL)
    document, picture = screenshot(chromium, tmp_path / "scene.html", tmp_path)
    assert 'data-ready="yes"' in document
    assert is_red(picture).sum() > 100
    expected = take_picture(scene)[::2, ::2].mean((0, 1))
    assert np.abs(picture.mean((0, 1)) - expected).max() < 8  # as bright as VTK draws it


def data_of(document: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="page-data">(.*?)</script>', document)
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_page_shows_the_overlay(
    mono: MonoFlameAvatarDataManager, flame_model: Path, drawing: None, tmp_path: Path
) -> None:
    plotter = flame_scene(mono, "EXP-1-head", 0, flame_model, SMALL)
    document = page.to_html(plotter, "393")
    plotter.close()
    data = data_of(document)["inset"].removeprefix("data:image/jpeg;base64,")
    import cv2

    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and min(image.shape[:2]) >= 202  # as many pixels as the panel has
    assert io.StringIO(document).readline().startswith("<!DOCTYPE html>")


# What there is to draw on


@pytest.fixture
def fresh_probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The probe is asked once in a process; here it is asked anew, and forgotten."""
    display.start_probe.cache_clear()
    display.find_surface.cache_clear()
    yield
    monkeypatch.undo()
    display.start_probe.cache_clear()
    display.find_surface.cache_clear()


def set_probe(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "probe.py").write_text(program)
    monkeypatch.setattr(display, "_PROBE", folder / "probe.py")


@pytest.mark.usefixtures("fresh_probe")
@pytest.mark.parametrize(
    "program",
    ["import os; os.abort()", "raise SystemExit(1)", "pass"],
    ids=["crash", "fail", "none"],
)
def test_no_opengl_is_an_error_with_the_packages(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_probe(program, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="no OpenGL") as error:
        display.prepare_rendering()
    assert "apt-get install -y libgl1 libegl1" in str(error.value.hint)


@pytest.mark.usefixtures("fresh_probe")
@pytest.mark.parametrize(("status", "surface"), [(10, "display"), (11, "egl"), (12, "osmesa"), (0, "nothing")])
def test_the_probe_answers_by_its_exit_status(
    status: int, surface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_probe(f"raise SystemExit({status})", tmp_path, monkeypatch)
    assert display.find_surface() == surface


@pytest.mark.usefixtures("fresh_probe")
def test_a_probe_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_probe("import time; time.sleep(100)", tmp_path, monkeypatch)
    monkeypatch.setattr(display, "_TIMEOUT", 0.1)
    assert display.find_surface() == "nothing"
    probe: Any = display.start_probe()
    assert probe.poll() is not None


@pytest.mark.usefixtures("fresh_probe")
def test_a_display_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch, drawing: None) -> None:
    display.start_probe.cache_clear()
    display.find_surface.cache_clear()
    monkeypatch.setenv("DISPLAY", ":4711")
    assert display.find_surface() in ("egl", "osmesa")


def test_opencv_and_vtk_share_a_process(drawing: None) -> None:
    import cv2
    import pyvista  # noqa: F401

    ok, data = cv2.imencode(".png", np.full((4, 4, 3), 200, np.uint8))
    assert ok and cv2.imdecode(data, cv2.IMREAD_COLOR)[0, 0, 0] == 200

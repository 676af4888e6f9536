"""What a camera should see, from what others see."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraMatrices
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.submission.compare import hull
from nersemble_cli.core.submission.compare.multiview import choose_timesteps, nearest_cameras
from nersemble_cli.core.synthetic.render import make_rig
from nersemble_cli.core.video.reader import VideoIndex

HEIGHT, WIDTH = 100, 68
RADIUS = 0.1
poses, intrinsics = make_rig(HEIGHT, WIDTH, 256.0)
CAMERAS = {serial: CameraMatrices(poses[serial], intrinsics[serial]) for serial in poses}
HELD_OUT = "222200037"
TRAIN = [serial for serial in CAMERAS if serial != HELD_OUT]


def ball(camera: CameraMatrices, center: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.uint8]:
    """(H, W) the silhouette of a ball around `center`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ((u, v),), (depth,) = project_points(np.array([center]), *camera)
    reach = camera.intrinsics[0, 0] * RADIUS / np.sqrt(depth**2 - RADIUS**2)
    return np.where((x - u) ** 2 + (y - v) ** 2 < reach**2, 255, 0).astype(np.uint8)


def test_the_axes_meet_where_all_cameras_look() -> None:
    np.testing.assert_allclose(hull.focus(list(CAMERAS.values())), (0, -0.01, 0), atol=1e-6)


def test_points_fall_on_the_pixels_that_show_them() -> None:
    camera = CAMERAS[HELD_OUT]
    points = np.array([[0, 0, 0], [0.05, 0.02, 0.01], [9, 0, 0], [0, 0, 9]], np.float32)
    (u, v), *_ = project_points(points[:1].astype(float), *camera).pixels
    place = hull.pixel_indices(points, camera, HEIGHT, WIDTH)
    assert place[0] == round(v) * WIDTH + round(u)
    assert place[1] >= 0
    assert place[2:].tolist() == [-1, -1]  # beside the image, and behind the camera


@pytest.mark.slow
def test_a_hull_shows_a_camera_that_was_held_out_what_it_should_see() -> None:
    silhouettes = [ball(CAMERAS[serial]) for serial in TRAIN]
    images = [np.where(s[..., None] > 0, np.uint8([200, 100, 50]), np.uint8(255)) for s in silhouettes]
    cameras = [CAMERAS[serial] for serial in TRAIN]
    carver = hull.make_carver(cameras, [silhouettes])
    assert carver is not None
    outside = carver.carve(silhouettes)
    image, mask = hull.predict(carver, outside, CAMERAS, TRAIN, images, silhouettes, HELD_OUT)
    true = ball(CAMERAS[HELD_OUT]) > 0
    assert (mask & true).sum() / (mask | true).sum() > 0.9
    np.testing.assert_array_equal(np.unique(image[mask & true], axis=0), [[200, 100, 50]])
    assert (image[~mask] == 255).all()


@pytest.mark.slow
def test_a_training_camera_is_expected_from_the_others_only() -> None:
    silhouettes = [ball(CAMERAS[serial]) for serial in TRAIN]
    silhouettes[4] = np.zeros_like(silhouettes[4])  # it would carve everything away
    cameras = [CAMERAS[serial] for serial in TRAIN]
    carver = hull.make_carver(cameras, [silhouettes])
    assert carver is not None
    outside = carver.carve(silhouettes)
    images = [np.repeat(s[..., None], 3, axis=2) for s in silhouettes]
    _, own = hull.predict(carver, outside, CAMERAS, TRAIN, images, silhouettes, TRAIN[4])
    _, other = hull.predict(carver, outside, CAMERAS, TRAIN, images, silhouettes, TRAIN[5])
    assert own.sum() > 0.9 * (ball(CAMERAS[TRAIN[4]]) > 0).sum()
    assert not other.any()


def test_nothing_has_no_hull() -> None:
    empty = [np.zeros((HEIGHT, WIDTH), np.uint8) for _ in TRAIN]
    assert hull.make_carver([CAMERAS[serial] for serial in TRAIN], [empty]) is None


def test_the_camera_beside_is_the_nearest() -> None:
    assert nearest_cameras(CAMERAS, HELD_OUT, TRAIN)[0] in ("222200041", "222200038", "220700191")


@pytest.mark.parametrize(
    ("n", "keys", "expected"),
    [
        (259, [0, 250], (0, 250)),
        (1118, [0, 250, 500, 750, 1000], (0, 250, 500, 750, 1000)),
        (10, [0], (0,)),
    ],
)
def test_timesteps_are_those_that_cost_little(n: int, keys: list[int], expected: tuple[int, ...]) -> None:
    index = VideoIndex(range(n), keys, keys)
    chosen = choose_timesteps(n, [index] * 26)
    assert set(expected) <= set(chosen)
    cost = sum(26 * (t - max(k for k in keys if k <= t) + 1) for t in chosen)
    assert cost <= 3 * n or chosen == (0,)

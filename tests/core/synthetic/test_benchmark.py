"""The made-up benchmark: FLAME's counts, an upright head that is not mirrored, and clean edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from nersemble_cli.core.benchmarks import FLAME_FACE_COUNT, FLAME_VERTEX_COUNT, MONO, NVS, SERIALS
from nersemble_cli.core.data.cameras import is_rigid
from nersemble_cli.core.flame.tracking import euler_xyz_to_matrix
from nersemble_cli.core.formats.png import encode_png, read_rgb
from nersemble_cli.core.submission.frame_counts import frame_counts
from nersemble_cli.core.synthetic import Recipe, render_frames, render_view
from nersemble_cli.core.synthetic.benchmark import make_tracking
from nersemble_cli.core.synthetic.head import make_flame_model
from nersemble_cli.core.synthetic.render import make_rig, rasterize
from tests.made_up import N_FRAMES, RECIPE


def test_the_model_has_the_counts_of_flame() -> None:
    model = make_flame_model()
    assert model.v_template.shape == (FLAME_VERTEX_COUNT, 3)
    assert model.faces.shape == (FLAME_FACE_COUNT, 3)
    assert len(np.unique(model.faces)) == FLAME_VERTEX_COUNT


def test_every_part_of_the_model_is_oriented_outwards() -> None:
    model = make_flame_model()
    mesh = trimesh.Trimesh(model.v_template, model.faces, process=False)
    assert mesh.is_winding_consistent
    assert all(part.volume > 0 for part in mesh.split(only_watertight=False, repair=False))


def test_weights_and_joints_are_averages() -> None:
    model = make_flame_model()
    assert np.allclose(model.weights.sum(1), 1) and (model.weights >= 0).all()
    assert np.allclose(model.joint_regressor.sum(1), 1)


def test_the_tracking_fits_together_and_is_the_same_every_time() -> None:
    tracking, again = make_tracking(404, "FREE", 5), make_tracking(404, "FREE", 5)
    assert np.array_equal(tracking.jaw, again.jaw)
    assert np.allclose(tracking.rotation_matrices, euler_xyz_to_matrix(tracking.rotation))
    assert np.abs(np.diff(tracking.rotation, axis=0)).max() > 0.01


def test_cameras_are_rigid_and_look_at_the_head() -> None:
    poses, intrinsics = make_rig(1604, 1100, 4000)
    assert tuple(poses) == SERIALS
    for pose in poses.values():
        assert is_rigid(pose)
        x, y, z = pose[:3, :3] @ [0, -0.01, 0] + pose[:3, 3]
        assert abs(x) < 1e-9 and abs(y) < 1e-9 and z > 1
        # The world's up is the image's up.
        assert (pose[:3, :3] @ [0, 1, 0])[1] < -0.9
    assert len({k.tobytes() for k in intrinsics.values()}) > 10


def test_hold_out_cameras_are_left_centre_and_right() -> None:
    poses, _ = make_rig(1604, 1100, 4000)
    left, centre, right = (np.linalg.inv(poses[serial])[0, 3] for serial in NVS.hold_out_serials)
    assert left < -0.3 and abs(centre) < 1e-9 and right > 0.3


@pytest.fixture(scope="module")
def view() -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    return render_view(NVS, 388, "GLASSES", 0, "222200037", Recipe(n_frames=1, scale=0.2))


def _center(mask: np.ndarray) -> tuple[float, float]:  # type: ignore[type-arg]
    row, column = np.nonzero(mask)
    return float(row.mean()), float(column.mean())


def test_the_head_is_upright_and_not_mirrored(view: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    rgb, alpha = view[0].astype(int), view[1][..., 0] > 127
    red, green, blue = np.moveaxis(rgb, -1, 0)
    left_shirt = alpha & (blue > 2 * red)
    right_shirt = alpha & (red > 3 * blue) & (red > 3 * green)
    # The person's left, which is blue, is on the viewer's right.
    assert _center(left_shirt)[1] > _center(right_shirt)[1] + 10
    # Shirt below, hair above.
    hair = alpha & (rgb.max(-1) < 50)
    assert _center(hair)[0] < _center(left_shirt)[0] - 50


def test_a_camera_sees_more_of_its_own_side() -> None:
    def blue_share(serial: str) -> float:
        rgb, _ = render_view(NVS, 388, "GLASSES", 0, serial, Recipe(n_frames=1, scale=0.2))
        red, green, blue = np.moveaxis(rgb.astype(int), -1, 0)
        left, right = (blue > 2 * red).sum(), ((red > 3 * blue) & (red > 3 * green)).sum()
        return float(left / (left + right))

    left, centre, right = (blue_share(serial) for serial in NVS.hold_out_serials)
    assert left < centre < right


def test_the_background_is_white_and_alpha_is_clean(view: tuple[np.ndarray, np.ndarray]) -> None:  # type: ignore[type-arg]
    rgb, alpha = view
    assert (rgb[alpha[..., 0] == 0] == 255).all()
    assert set(np.unique(alpha)) == {0, 255}
    assert 0.2 < (alpha > 0).mean() < 0.7
    assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any()


def test_full_size_pictures_have_soft_edges() -> None:
    rgb, alpha = render_view(NVS, 388, "GLASSES", 0, "222200042", Recipe(n_frames=1))
    assert rgb.shape == alpha.shape == (1604, 1100, 3)
    assert ((alpha > 0) & (alpha < 255)).any()
    assert (rgb[alpha[..., 0] == 0] == 255).all()


def test_the_head_moves() -> None:
    first, second = (f.astype(int) for f in render_frames(NVS, 388, "GLASSES", "222200046", Recipe(2, 0.1)))
    assert np.abs(first - second).mean() > 1


def test_the_rasteriser_hides_what_is_behind() -> None:
    corners = np.array([[1, 1], [8, 1], [1, 8]] * 2, float)
    depth = np.array([2.0, 2, 2, 1, 1, 1])
    colors = np.repeat([[1, 0, 0], [0, 1, 0]], 3, axis=0)
    image, mask = rasterize(corners, depth, np.array([[3, 5, 4], [0, 2, 1]]), colors, 10, 10)
    assert image[2, 2].tolist() == [0, 1, 0] and mask[2, 2]
    assert image[9, 9].tolist() == [1, 1, 1] and not mask[9, 9]


def test_the_rasteriser_leaves_out_what_turns_its_back() -> None:
    corners = np.array([[1, 1], [8, 1], [1, 8]], float)
    _, mask = rasterize(corners, np.ones(3), np.array([[0, 1, 2]]), np.ones((3, 3)), 10, 10)
    assert not mask.any()


def test_pictures_are_written_as_png_without_loss(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    (tmp_path / "x.png").write_bytes(encode_png(picture))
    assert np.array_equal(read_rgb(tmp_path / "x.png"), picture)


def test_nothing_of_it_can_be_taken_for_the_real_one(synthetic: Path) -> None:
    assert "do not exist" in (synthetic / "SYNTHETIC.txt").read_text()
    for benchmark in (NVS, MONO):
        assert json.loads((synthetic / benchmark.folder / "metadata.json").read_text())["synthetic"] is True


def test_its_metadata_gives_its_own_frame_counts(synthetic: Path) -> None:
    assert RECIPE.n_frames != N_FRAMES
    for benchmark in (NVS, MONO):
        counts = frame_counts(benchmark, synthetic)
        assert set(counts.counts.values()) == {RECIPE.n_frames}

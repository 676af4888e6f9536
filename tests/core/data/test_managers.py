"""The data managers, on the made-up benchmark: what they load, and what they say when it is not there."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli import ImageKey, MonoFlameAvatarDataManager, NVSDataManager, SVFRDataManager
from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.cameras import project_points
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, NersembleError, UsageError
from nersemble_cli.core.formats.png import psnr
from nersemble_cli.core.synthetic import make_benchmark, render_view
from tests.made_up import RECIPE

SEQUENCE, SERIAL = "GLASSES", "222200042"
H, W = RECIPE.size(NVS)
N = RECIPE.n_frames


@pytest.fixture
def nvs(synthetic: Path) -> NVSDataManager:
    return NVSDataManager(synthetic, 388)


@pytest.fixture
def mono(synthetic: Path) -> MonoFlameAvatarDataManager:
    return MonoFlameAvatarDataManager(str(synthetic), 393)


@pytest.fixture
def svfr(synthetic: Path) -> SVFRDataManager:
    return SVFRDataManager(synthetic, 17)


@pytest.fixture
def copy(synthetic: Path, tmp_path: Path) -> Path:
    """A benchmark folder of which files may be damaged or removed."""
    return Path(shutil.copytree(synthetic, tmp_path / "copy"))


# Images


def test_an_image_is_float32_rgb_in_0_to_1(nvs: NVSDataManager) -> None:
    image = nvs.load_image(SEQUENCE, SERIAL, 2)
    assert image.shape == (H, W, 3) and image.dtype == np.float32
    assert 0 <= image.min() < 0.2 and image.max() == 1


def test_uint8_and_float32_are_the_same_image(nvs: NVSDataManager) -> None:
    whole = nvs.load_image(SEQUENCE, SERIAL, 2, as_uint8=True)
    assert whole.dtype == np.uint8
    assert np.array_equal(nvs.load_image(SEQUENCE, SERIAL, 2), whole / np.float32(255))


@pytest.mark.parametrize("apply_alpha_map", [False, True])
@pytest.mark.parametrize("as_uint8", [False, True])
def test_images_belong_to_the_caller(nvs: NVSDataManager, as_uint8: bool, apply_alpha_map: bool) -> None:
    image = nvs.load_image(SEQUENCE, SERIAL, 2, as_uint8, apply_alpha_map)
    before = image.copy()
    image[:] = 0
    assert image.flags.c_contiguous
    assert np.array_equal(nvs.load_image(SEQUENCE, SERIAL, 2, as_uint8, apply_alpha_map), before)


@pytest.mark.parametrize("timestep", [0, N - 1])
def test_an_image_shows_what_was_rendered(nvs: NVSDataManager, timestep: int) -> None:
    rendered, _ = render_view(NVS, 388, SEQUENCE, timestep, SERIAL, RECIPE)
    assert psnr(rendered, nvs.load_image(SEQUENCE, SERIAL, timestep, as_uint8=True)) > 28


def test_an_alpha_map_is_one_channel_of_uint8(nvs: NVSDataManager) -> None:
    alpha = nvs.load_alpha_map(SEQUENCE, SERIAL, 1)
    rendered = render_view(NVS, 388, SEQUENCE, 1, SERIAL, RECIPE)[1]
    assert alpha.shape == (H, W, 1) and alpha.dtype == np.uint8
    assert ((alpha > 127) == (rendered[..., :1] > 127)).mean() > 0.99


def test_the_alpha_map_composites_on_white(copy: Path) -> None:
    nvs = NVSDataManager(copy, 388)
    image = nvs.load_image(SEQUENCE, SERIAL, 1, as_uint8=True).astype(float)
    alpha = nvs.load_alpha_map(SEQUENCE, SERIAL, 1) / 255
    composited = nvs.load_image(SEQUENCE, SERIAL, 1, as_uint8=True, apply_alpha_map=True)
    assert np.abs(composited - (image * alpha + 255 * (1 - alpha))).max() <= 0.5


def test_float_images_composite_too(nvs: NVSDataManager) -> None:
    whole = nvs.load_image(SEQUENCE, SERIAL, 1, as_uint8=True, apply_alpha_map=True)
    assert np.array_equal(nvs.load_image(SEQUENCE, SERIAL, 1, apply_alpha_map=True), whole / np.float32(255))


def test_all_images_are_each_of_them(nvs: NVSDataManager) -> None:
    images = nvs.load_all_images(SEQUENCE, SERIAL, as_uint8=True)
    assert len(images) == N
    for t, image in enumerate(images):
        assert np.array_equal(image, nvs.load_image(SEQUENCE, SERIAL, t, as_uint8=True))


def test_every_nth_image_begins_with_the_first(nvs: NVSDataManager) -> None:
    images = nvs.load_all_images(SEQUENCE, SERIAL, every_nth_frame=4)
    assert [np.array_equal(a, nvs.load_image(SEQUENCE, SERIAL, t)) for a, t in zip(images, (0, 4), strict=True)]


def test_scaled_images_are_rounded_to_whole_pixels(nvs: NVSDataManager) -> None:
    (image, *_) = nvs.load_all_images(SEQUENCE, SERIAL, as_uint8=True, scale=0.33, apply_alpha_map=True)
    assert image.shape == (round(H * 0.33), round(W * 0.33), 3)


@pytest.mark.parametrize(
    ("start", "stop", "step"), [(0, None, 1), (2, 5, 1), (1, None, 2), (0, N, 3), (3, 3, 1), (4, 2, 1)]
)
def test_iter_images_is_a_slice_of_the_video(nvs: NVSDataManager, start: int, stop: int | None, step: int) -> None:
    every = nvs.load_all_images(SEQUENCE, SERIAL, as_uint8=True)
    some = list(nvs.iter_images(SEQUENCE, SERIAL, start, stop, step, as_uint8=True))
    expected = every[start:stop:step]
    assert len(some) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(some, expected, strict=True))


def test_iter_images_is_not_disturbed_by_load_image(nvs: NVSDataManager) -> None:
    every = nvs.load_all_images(SEQUENCE, SERIAL, as_uint8=True)
    for t, image in enumerate(nvs.iter_images(SEQUENCE, SERIAL, as_uint8=True)):
        nvs.load_image(SEQUENCE, SERIAL, N - 1 - t)
        assert np.array_equal(image, every[t])


def test_iter_images_needs_the_memory_of_a_frame(nvs: NVSDataManager) -> None:
    frame = H * W * 3
    next(nvs.iter_images(SEQUENCE, SERIAL))
    tracemalloc.start()
    try:
        for _ in nvs.iter_images(SEQUENCE, SERIAL, as_uint8=True):
            pass
        assert tracemalloc.get_traced_memory()[1] < 3 * frame
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("as_uint8", [True, False])
def test_all_cameras_of_a_timestep_come_with_their_calibration(nvs: NVSDataManager, as_uint8: bool) -> None:
    views = nvs.load_images(SEQUENCE, 3, as_uint8=as_uint8)
    calibration = nvs.load_camera_calibration()
    assert views.serials == ("222200042", "222200044")
    assert views.images.shape == (2, H, W, 3) and views.images.dtype == (np.uint8 if as_uint8 else np.float32)
    for i, serial in enumerate(views.serials):
        assert np.array_equal(views.images[i], nvs.load_image(SEQUENCE, serial, 3, as_uint8))
        assert np.array_equal(views.world_2_cam[i], calibration.world_2_cam[serial])
        assert np.array_equal(views.intrinsics[i], calibration.intrinsics[serial])


def test_cameras_come_in_the_order_that_was_asked_for(nvs: NVSDataManager) -> None:
    views = nvs.load_images(SEQUENCE, 3, ["222200044", "222200042"])
    assert views.serials == ("222200044", "222200042")


def test_an_image_whose_rows_need_no_padding_is_not_the_decoders_memory(mono: MonoFlameAvatarDataManager) -> None:
    image = mono.load_image("EXP-1-head", "222200037", 0, as_uint8=True)
    image[:] = 0
    assert mono.load_image("EXP-1-head", "222200037", 0, as_uint8=True).max() == 255


def test_an_svfr_image_is_uint8(svfr: SVFRDataManager) -> None:
    key = svfr.list_image_keys()[0]
    image = svfr.load_image(key)
    assert image.shape == (52, 52, 3) and image.dtype == np.uint8
    assert (image[0, 0] == 255).all() and image.min() < 100


def test_svfr_keys_are_named_as_in_the_official_toolkit(svfr: SVFRDataManager) -> None:
    key = svfr.list_image_keys()[0]
    assert (key.sequence_name, key.timestep, key.serial) == ("EMO-1-shout+laugh", 156, "221501007")
    assert svfr.get_asset_folder(key).endswith(f"/svfr/017/{key.to_key()}")
    assert np.array_equal(svfr.load_image(ImageKey(*key)), svfr.load_image(key))


# Other assets


def test_the_calibration_has_hold_out_cameras_too(nvs: NVSDataManager, mono: MonoFlameAvatarDataManager) -> None:
    assert len(nvs.load_camera_calibration().world_2_cam) == 16
    assert len(mono.load_camera_calibration().intrinsics) == 4


def test_a_point_cloud_is_unpacked_as_in_the_official_toolkit(nvs: NVSDataManager) -> None:
    points, colors, normals = nvs.load_pointcloud(SEQUENCE, 3)
    assert points.shape == colors.shape == normals.shape == (RECIPE.n_points, 3)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_a_point_cloud_is_exported(nvs: NVSDataManager, tmp_path: Path) -> None:
    nvs.export_pointcloud(SEQUENCE, 0, tmp_path / "points3d.ply")
    assert (tmp_path / "points3d.ply").read_bytes().startswith(b"ply\n")


def test_tracking_is_there_for_held_out_sequences(mono: MonoFlameAvatarDataManager) -> None:
    assert mono.load_flame_tracking("FREE").expression.shape == (N, 100)


def test_version_1_of_the_tracking_warns(copy: Path) -> None:
    mono = MonoFlameAvatarDataManager(copy, 393)
    v2 = Path(mono.get_flame_tracking_path("FREE"))
    v2.rename(v2.with_name("flame2023_tracking.npz"))
    with pytest.warns(UserWarning, match="must use version 2"):
        assert mono.load_flame_tracking("FREE", version=1).version == 1


# What is there


def test_lists_tell_what_was_downloaded(nvs: NVSDataManager, mono: MonoFlameAvatarDataManager) -> None:
    assert nvs.list_sequences() == ["GLASSES"]
    assert nvs.list_serials("GLASSES") == ["222200042", "222200044"]
    assert mono.list_sequences()[0] == "EXP-1-head" and len(mono.list_sequences()) == 5
    assert mono.list_serials("EXP-1-head") == ["222200037"]
    assert mono.list_serials("FREE") == []


def test_timesteps_are_those_of_the_video_or_of_the_tracking(
    nvs: NVSDataManager, mono: MonoFlameAvatarDataManager
) -> None:
    assert nvs.list_timesteps("GLASSES") == list(range(N))
    assert nvs.get_n_timesteps("GLASSES") == mono.get_n_timesteps("EXP-1-head") == N
    assert mono.get_n_timesteps("FREE") == N


def test_without_a_video_metadata_tells_the_number_of_timesteps(copy: Path) -> None:
    shutil.rmtree(copy / "nvs/388/sequences")
    assert NVSDataManager(copy, 388).get_n_timesteps("GLASSES") == N


def test_without_anything_the_table_tells_the_number_of_timesteps(tmp_path: Path) -> None:
    assert NVSDataManager(tmp_path, 388).get_n_timesteps("GLASSES") == 1118


def test_has_sequence_and_has_video_do_not_raise(nvs: NVSDataManager, mono: MonoFlameAvatarDataManager) -> None:
    assert nvs.has_sequence("GLASSES") and not nvs.has_sequence("FREE") and mono.has_sequence("FREE")
    assert nvs.has_video("GLASSES", SERIAL) and not nvs.has_video("GLASSES", "222200037")
    assert not mono.has_video("FREE", "222200037")


def test_paths_are_the_official_layout(nvs: NVSDataManager, mono: MonoFlameAvatarDataManager) -> None:
    assert nvs.get_images_path("GLASSES", "1").endswith("/nvs/388/sequences/GLASSES/images/cam_1.mp4")
    assert nvs.get_alpha_maps_path("GLASSES", "1").endswith("/nvs/388/sequences/GLASSES/alpha_maps/cam_1.mp4")
    assert nvs.get_camera_calibration_path().endswith("/nvs/388/calibration/camera_params.json")
    assert nvs.get_pointcloud_path("GLASSES", 3).endswith("/nvs/388/sequences/GLASSES/pointclouds/frame_00003.pcd")
    assert mono.get_flame_tracking_path("FREE").endswith("/393/sequences/FREE/tracking/flame2023_tracking_v2.npz")
    assert mono.get_flame_tracking_path("FREE", 1).endswith("/tracking/flame2023_tracking.npz")


# What is not there

Call = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda f: NVSDataManager(f, 422).load_camera_calibration(), "nvs -f {f} -p 422 -a calibration"),
        (
            lambda f: NVSDataManager(f, 388).load_image("GLASSES", "222200040", 0),
            "nvs -f {f} -p 388 -s GLASSES -c 222200040 -a images",
        ),
        (
            lambda f: NVSDataManager(f, 422).load_images("EXP-2-eyes", 0, as_uint8=True),
            "nvs -f {f} -p 422 -a calibration",
        ),
        (
            lambda f: NVSDataManager(f, 388).load_alpha_map("GLASSES", "222200040", 0),
            "nvs -f {f} -p 388 -s GLASSES -c 222200040 -a alpha_maps",
        ),
        (
            lambda f: NVSDataManager(f, 388).load_pointcloud("GLASSES", 2),
            "nvs -f {f} -p 388 -s GLASSES -a pointclouds --pointcloud-frames 2",
        ),
        (
            lambda f: MonoFlameAvatarDataManager(f, 393).load_flame_tracking("EXP-2-eyes"),
            "mono -f {f} -p 393 -s EXP-2-eyes -a flame2023_tracking_v2",
        ),
        (
            lambda f: MonoFlameAvatarDataManager(f, 393).get_n_timesteps("EXP-2-eyes") and None,
            None,
        ),
        (lambda f: SVFRDataManager(f, 60).list_image_keys(), "svfr -f {f} -p 060 -a images"),
    ],
)
def test_a_missing_file_names_the_command_that_fetches_it(
    synthetic: Path, call: Call, command: str | None
) -> None:
    if command is None:
        assert call(synthetic) is None  # metadata.json knows
        return
    with pytest.raises(MissingFileError) as error:
        call(synthetic)
    assert error.value.hint == f"Fetch it with: nersemble download {command.format(f=synthetic)}"
    assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: NVSDataManager(f, 393), r"participant of nvs '393'.\n393 belongs to mono.*Valid: 388, 422"),
        (lambda f: SVFRDataManager(f, 1), r"Valid: 17, 60"),
        (lambda f: NVSDataManager(f, 388).load_image("HAIR", SERIAL, 0), r"sequence .*'HAIR'.\nValid: GLASSES"),
        (lambda f: NVSDataManager(f, 388).list_serials("HAIR"), r"Valid: GLASSES"),
        (lambda f: NVSDataManager(f, 388).load_pointcloud("HAIR", 0), r"Valid: GLASSES"),
        (lambda f: NVSDataManager(f, 388).load_image("GLASSES", "1", 0), r"camera of nvs '1'.\nValid: 222200042"),
        (
            lambda f: NVSDataManager(f, 388).load_image("GLASSES", "222200037", 0),
            r"222200037 is held out.*\nCameras with videos: 222200042",
        ),
        (lambda f: NVSDataManager(f, 388).load_image("GLASSES", SERIAL, N), rf"no timestep {N}.\n.*0 to {N - 1}"),
        (lambda f: NVSDataManager(f, 388).load_image("GLASSES", SERIAL, -1), r"no timestep -1"),
        (lambda f: NVSDataManager(f, 388).load_alpha_map("GLASSES", SERIAL, N), rf"no timestep {N}"),
        (lambda f: NVSDataManager(f, 388).load_images("GLASSES", N), rf"no timestep {N}"),
        (lambda f: NVSDataManager(f, 388).load_pointcloud("GLASSES", N), rf"no timestep {N}.*\n.*0 to {N - 1}"),
        (lambda f: list(NVSDataManager(f, 388).iter_images("GLASSES", SERIAL, 0, 99)), r"no timestep 98"),
        (lambda f: NVSDataManager(f, 388).load_all_images("GLASSES", SERIAL, every_nth_frame=0), "step is 0"),
        (lambda f: NVSDataManager(f, 388).load_all_images("GLASSES", SERIAL, scale=0), "scale is 0"),
        (
            lambda f: MonoFlameAvatarDataManager(f, 393).load_image("FREE", "222200037", 0),
            r"Sequence FREE is held out.*\nSequences with videos: EXP-1-head",
        ),
        (
            lambda f: MonoFlameAvatarDataManager(f, 393).load_flame_tracking("FREE", 3),
            r"version .*'3'.\nValid: 1, 2",
        ),
        (
            lambda f: SVFRDataManager(f, 17).load_image(ImageKey("FREE", 0, "1")),
            r"image of participant 017 'FREE_000_1'",
        ),
    ],
)
def test_something_that_the_benchmark_does_not_have_is_told_what_it_has(
    synthetic: Path, call: Call, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        call(synthetic)


@pytest.mark.parametrize(
    ("path", "load"),
    [
        ("sequences/GLASSES/images/cam_222200042.mp4", lambda m: m.load_image(SEQUENCE, SERIAL, 0)),
        ("sequences/GLASSES/alpha_maps/cam_222200042.mp4", lambda m: m.load_alpha_map(SEQUENCE, SERIAL, 0)),
        ("sequences/GLASSES/pointclouds/frame_00000.pcd", lambda m: m.load_pointcloud(SEQUENCE, 0)),
        ("calibration/camera_params.json", lambda m: m.load_camera_calibration()),
    ],
)
def test_a_damaged_file_is_named(copy: Path, path: str, load: Callable[[NVSDataManager], Any]) -> None:
    file = copy / "nvs/388" / path
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InvalidInputError, match=file.name):
        load(NVSDataManager(copy, 388))


def test_errors_are_all_of_the_projects_own_kind(synthetic: Path) -> None:
    with pytest.raises(NersembleError):
        NVSDataManager(synthetic, "abc")


# The parts of the made-up benchmark agree with each other, or its users would see nonsense


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from dataclasses import replace

    recipe = replace(RECIPE, n_frames=2, scale=0.25, n_points=4000)
    folder = tmp_path_factory.mktemp("large")
    yield make_benchmark(folder, recipe, {"nvs": [422]}, serials=["222200042", "221501007"])


@pytest.mark.parametrize("serial", ["222200042", "221501007"])
def test_points_have_the_colour_of_the_pixels_that_they_project_to(large: Path, serial: str) -> None:
    nvs = NVSDataManager(large, 422)
    points, colors, normals = nvs.load_pointcloud("EXP-2-eyes", 0)
    calibration = nvs.load_camera_calibration()
    center = calibration.cam_2_world(serial)[:3, 3]
    facing = ((center - points) * normals).sum(1) > 0.6
    pixels, _ = project_points(points[facing], calibration.world_2_cam[serial], calibration.intrinsics[serial])
    column, row = np.round(pixels).astype(int).T
    seen: NDArray[Any] = nvs.load_image("EXP-2-eyes", serial, 0)[row, column]
    difference = np.abs(seen - colors[facing]).mean(1)
    assert np.median(difference) < 0.03 and (difference < 0.1).mean() > 0.9


def test_points_project_inside_of_the_alpha_map(large: Path) -> None:
    nvs = NVSDataManager(large, 422)
    points = nvs.load_pointcloud("EXP-2-eyes", 0).points
    calibration = nvs.load_camera_calibration()
    pixels, _ = project_points(points, calibration.world_2_cam[SERIAL], calibration.intrinsics[SERIAL])
    column, row = np.round(pixels).astype(int).T
    assert (nvs.load_alpha_map("EXP-2-eyes", SERIAL, 0)[row, column] > 64).mean() > 0.97

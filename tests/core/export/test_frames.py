"""Plain images, and shards as WebDataset reads them."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from nersemble_cli import MonoFlameAvatarDataManager, NVSDataManager
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.export.frames import make_export
from nersemble_cli.core.export.shards import parse_size
from tests.core.export.conftest import Write
from tests.made_up import RECIPE

# webdataset leaves the files that it has read to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

T = RECIPE.n_frames


def _samples(pattern: Path) -> list[dict[str, Any]]:
    shards = sorted(str(path) for path in pattern.parent.glob(pattern.name))
    return list(webdataset.WebDataset(shards, shardshuffle=False))


@pytest.mark.parametrize("alpha", ["beside", "rgba", "none"])
def test_images_and_alpha_are_those_of_the_videos(
    write: Write, synthetic: Path, tmp_path: Path, alpha: str
) -> None:
    write(functools.partial(make_export, alpha=alpha), timesteps="3", everything=True)
    nvs = NVSDataManager(synthetic, 388)
    folder = tmp_path / "out" / "388" / "GLASSES"
    expected = nvs.load_image("GLASSES", "222200044", 3, as_uint8=True)
    matte = nvs.load_alpha_map("GLASSES", "222200044", 3)
    with Image.open(folder / "cam_222200044" / "00003.png") as image:
        pixels = np.asarray(image)
    assert np.array_equal(pixels[..., :3], expected)
    assert pixels.shape[2] == (4 if alpha == "rgba" else 3)
    if alpha == "rgba":
        assert np.array_equal(pixels[..., 3:], matte)
    beside = folder / "alpha_222200044" / "00003.png"
    assert beside.is_file() == (alpha == "beside")
    if alpha == "beside":
        with Image.open(beside) as image:
            assert np.array_equal(np.asarray(image), matte[..., 0])


def test_cameras_are_beside_the_images(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(make_export, timesteps="0", everything=True, hold_out=("222200042",))
    document = json.loads((tmp_path / "out" / "cameras.json").read_text("utf-8"))
    calibration = NVSDataManager(synthetic, 388).load_camera_calibration()
    assert document["held_out"] == ["222200042"]
    for serial, camera in document["cameras"].items():
        assert np.allclose(camera["world_2_cam"], calibration.world_2_cam[serial], atol=1e-7)
        assert np.allclose(camera["intrinsics"], calibration.intrinsics[serial], rtol=1e-7)
        assert (camera["width"], camera["height"]) == (110, 160)


def test_webdataset_reads_every_view_once(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(functools.partial(make_export, shard_size=60_000), everything=True)
    shards = list((tmp_path / "out").glob("train-*.tar"))
    assert len(shards) > 2
    assert max(path.stat().st_size for path in shards) < 90_000
    samples = _samples(tmp_path / "out" / "train-*.tar")
    nvs = NVSDataManager(synthetic, 388)
    calibration = nvs.load_camera_calibration()
    seen = set()
    for sample in samples:
        known = json.loads(sample["json"])
        serial, timestep = known["serial"], known["timestep"]
        seen.add((serial, timestep))
        pixels = np.asarray(Image.open(io.BytesIO(sample["png"])))
        assert np.array_equal(pixels, nvs.load_image("GLASSES", serial, timestep, as_uint8=True))
        matte = np.asarray(Image.open(io.BytesIO(sample["alpha.png"])))
        assert np.array_equal(matte, nvs.load_alpha_map("GLASSES", serial, timestep)[..., 0])
        assert np.allclose(known["world_2_cam"], calibration.world_2_cam[serial], atol=1e-7)
    assert len(samples) == len(seen) == 2 * T


def test_cameras_take_turns_in_a_shard(write: Write, tmp_path: Path) -> None:
    write(functools.partial(make_export, shard_size=10**9), everything=True)
    order = [json.loads(sample["json"]) for sample in _samples(tmp_path / "out" / "train-*.tar")]
    assert [sample["timestep"] for sample in order] == sorted([*range(T)] * 2)


def test_held_out_views_have_shards_of_their_own(write: Write, tmp_path: Path) -> None:
    write(functools.partial(make_export, shard_size=10**9), everything=True, hold_out=("222200042",))
    for split, serial in (("train", "222200044"), ("held_out", "222200042")):
        samples = _samples(tmp_path / "out" / f"{split}-*.tar")
        assert {json.loads(sample["json"])["serial"] for sample in samples} == {serial}
        assert len(samples) == T


def test_samples_of_mono_have_flame_parameters(write: Write, synthetic: Path, tmp_path: Path) -> None:
    write(functools.partial(make_export, shard_size=10**9), "393", everything=True, image_format="jpg")
    tracking = MonoFlameAvatarDataManager(synthetic, 393).load_flame_tracking("EXP-1-head")
    for sample in _samples(tmp_path / "out" / "train-*.tar"):
        timestep = json.loads(sample["json"])["timestep"]
        with np.load(io.BytesIO(sample["flame.npz"])) as arrays:
            assert np.array_equal(arrays["expression"], tracking.expression[timestep])
            assert np.array_equal(arrays["rotation_matrices"], tracking.rotation_matrices[timestep])
            assert arrays["shape"].shape == (300,)
        assert sample["jpg"][:2] == b"\xff\xd8"


def test_only_a_missing_shard_is_written_again_with_the_same_bytes(write: Write, tmp_path: Path) -> None:
    make = functools.partial(make_export, shard_size=60_000)
    write(make, everything=True)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    before = [path.read_bytes() for path in shards]
    times = [path.stat().st_mtime_ns for path in shards]
    shards[1].unlink()
    again = write(make, everything=True)
    assert 0 < again.num_images - again.num_there < 2 * T
    assert [path.read_bytes() for path in shards] == before
    assert [path.stat().st_mtime_ns == time for path, time in zip(shards, times, strict=True)].count(False) == 1


def test_shards_of_another_choice_are_refused(write: Write) -> None:
    make = functools.partial(make_export, shard_size=60_000)
    write(make, everything=True)
    with pytest.raises(UsageError, match="timesteps was"):
        write(make, everything=True, timesteps="0-2")


@pytest.mark.parametrize(("text", "size"), [("500MB", 5e8), ("1.5 gb", 1.5e9), ("2GiB", 2**31), ("1000", 1000)])
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1XB", "nan", "inf", "0"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--shards"):
        parse_size(text)


@pytest.mark.parametrize(("options", "match"), [({"alpha": "x"}, "Unknown"), ({"alpha": "rgba"}, "JPEG")])
def test_alpha_that_cannot_be(write: Write, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        write(functools.partial(make_export, **options), image_format="jpg")

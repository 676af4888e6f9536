"""Conversion of decoded frames, and memory for images."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from nersemble_cli.core.benchmarks import MONO
from nersemble_cli.core.data.frame_cache import _decode_jpeg
from nersemble_cli.core.synthetic.render import render
from nersemble_cli.core.video import file_url
from nersemble_cli.core.video.encode import encode_jpeg, find_ffmpeg
from nersemble_cli.core.video.pixels import convert, forget_recycled, recycled_image, to_rgb
from tests import made_up

SHAPE = (3, 40, 50, 3)


@pytest.fixture(autouse=True)
def nothing_recycled() -> Iterator[None]:
    forget_recycled()
    yield
    forget_recycled()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_of_a_dropped_array_is_used_again() -> None:
    first = recycled_image(SHAPE, np.float32)
    place = address(first)
    del first
    assert address(recycled_image(SHAPE, np.float32)) == place


def test_memory_that_is_still_held_is_left_alone() -> None:
    first = recycled_image(SHAPE, np.uint8)
    first[:] = 1
    view = first[0, 5:]
    del first
    second = recycled_image(SHAPE, np.uint8)
    second[:] = 2
    assert (view == 1).all()


def test_memory_of_another_size_is_not_used() -> None:
    small = recycled_image((2, 2), np.uint8)
    del small
    large = recycled_image(SHAPE, np.float32)
    large[:] = 1
    assert large.shape == SHAPE


TAGS = {
    "none": (),
    "BT.601": ("-colorspace", "smpte170m", "-color_range", "tv"),
    "BT.709": ("-colorspace", "bt709"),
    "full range": ("-pix_fmt", "yuvj420p"),
    "4:4:4": ("-pix_fmt", "yuv444p"),
    "10 bit": ("-pix_fmt", "yuv420p10le"),
}


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [None, 0.5, 2])
@pytest.mark.parametrize("tags", TAGS)
def test_pixels_are_those_of_ffmpeg_whatever_the_tags(tags: str, scale: float | None, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(made_up.encode_with(*TAGS[tags], benchmark=MONO))
    size = round(512 * (scale or 1))
    scaling = ["-vf", f"scale={size}:{size}:flags={'area' if scale == 0.5 else 'bicubic'}"] if scale else []
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), *scaling, "-frames:v", "1", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    assert np.array_equal(to_rgb(first_frame(path), scale), np.frombuffer(raw, np.uint8).reshape(size, size, 3))


def test_frames_of_many_kinds_may_be_mixed(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(made_up.video("mono"))
    frame = first_frame(path)
    scales = [None, 0.5, 0.25, 0.125, 2, 1.5]
    expected = [to_rgb(frame, scale) for scale in scales]
    assert all(np.array_equal(to_rgb(frame, scale), image) for scale, image in zip(scales, expected, strict=True))


PICTURE = np.full((64, 48, 3), 90, np.uint8)
CONVERSIONS: dict[str, Callable[[av.VideoFrame], object]] = {
    "colours": lambda frame: convert(frame, "rgb24"),
    "size": lambda frame: convert(frame, "rgb24", (256, 256)),
    "image": lambda frame: to_rgb(frame, 0.5),
    "JPEG": lambda frame: _decode_jpeg(encode_jpeg(PICTURE)),
    "render": lambda frame: render(
        np.eye(3) + 2, np.array([[0, 1, 2]]), np.eye(3), np.eye(4), np.eye(3), 64, 48, 0.5
    ),
}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_conversion_leaves_no_threads_behind(kind: str, tmp_path: Path) -> None:
    """They would not survive a fork, and the forked process would wait for them."""
    path = tmp_path / "video.mp4"
    path.write_bytes(made_up.video("mono"))
    frame = first_frame(path)

    def count() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before, counted = count(), []

    def work() -> None:
        CONVERSIONS[kind](frame)
        counted.append(count())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counted == [before + 1]


@pytest.mark.parametrize(
    "name", ["2024-05-01T12:30", "-i", "pipe:1", "concat:a|b", "file:", "50%d", "%05d", "a b'", "data:,x", "~"]
)
def test_a_file_name_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(made_up.video("mono"))
    with av.open(file_url(Path(name))) as container:
        assert container.streams.video[0].frames == made_up.N_FRAMES

"""Frames of many videos, decoded around the playhead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.viewer.frames import FrameCache, Image, Source, decode_jpeg, encode_jpeg
from nersemble_cli.core.viewer.sources import ImageFiles, VideoFile, in_order
from tests import made_up

N = 30


class Grey:
    """A video whose frame n is grey of level 8 n, with a key frame every ten."""

    n_frames = N

    def __init__(self, may_go: Callable[[int], bool] = lambda number: True) -> None:
        self.key_frames = [0, 10, 20]
        self.read_numbers: list[int] = []
        self._may_go = may_go
        self.stopped = threading.Event()

    def read(self, number: int, longest: int) -> Image:
        if not self._may_go(number):
            self.stopped.wait(10)
        self.read_numbers.append(number)
        return np.full((6, 8, 3), 8 * number, np.uint8)


class Broken(Grey):
    def read(self, number: int, longest: int) -> Image:
        raise InvalidInputError("is damaged")


def level(found: tuple[int, Image] | None) -> int:
    assert found is not None
    number, image = found
    assert abs(int(image.mean()) - 8 * number) <= 2
    return number


def test_jpeg_keeps_the_order_of_the_channels() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (200, 100, 30)
    assert np.abs(decode_jpeg(encode_jpeg(image)).astype(int) - image).max() < 6


@pytest.fixture
def make_cache() -> Iterator[Callable[..., FrameCache]]:
    """Makes caches and closes them: a thread that is inside OpenCV when the interpreter ends aborts it."""
    with ExitStack() as stack:

        def make(sources: Mapping[str, Source], *args: Any, **options: Any) -> FrameCache:
            return stack.enter_context(closing(FrameCache(sources, 8, *args, **options)))

        yield make


def test_every_frame_arrives(make_cache: Callable[..., FrameCache]) -> None:
    cache = make_cache({"a": Grey(), "b": Grey()})
    for timestep in range(N):
        assert cache.wait(timestep, 10)
    assert [level(cache.get("b", timestep)) for timestep in range(N)] == list(range(N))


def test_a_jump_shows_the_nearest_key_frame_at_once(make_cache: Callable[..., FrameCache]) -> None:
    source = Grey(may_go=lambda number: number in (0, 10, 20))
    cache = make_cache({"a": source}, workers=1)
    assert cache.wait(20, 10)
    assert level(cache.get("a", 17)) == 20
    assert level(cache.get("a", 14)) == 10
    source.stopped.set()


def test_decoding_follows_the_playhead(make_cache: Callable[..., FrameCache]) -> None:
    gate = threading.Event()
    source = Grey(may_go=lambda number: gate.is_set())
    cache = make_cache({"a": source}, workers=1)
    cache.seek(21)
    gate.set()
    source.stopped.set()
    assert cache.wait(29, 10)
    others = [number for number in source.read_numbers if number not in source.key_frames]
    assert others[:3] == [21, 22, 23]


def test_a_broken_video_is_told_once_and_the_others_go_on(make_cache: Callable[..., FrameCache]) -> None:
    told: list[tuple[str, str]] = []
    cache = make_cache({"bad": Broken(), "good": Grey()}, lambda *what: told.append(what))
    assert cache.wait(N - 1, 10)
    assert (told, cache.get("bad", 0), cache.n_playing) == ([("bad", "is damaged")], None, 1)


def test_memory_is_bounded(make_cache: Callable[..., FrameCache]) -> None:
    capacity = 12 * len(encode_jpeg(np.zeros((6, 8, 3), np.uint8)))
    cache = make_cache({"a": Grey()}, capacity=capacity)
    for timestep in (0, 15, 29):
        cache.seek(timestep)
        assert cache.wait(timestep, 10)
        assert 0 < cache.n_bytes <= capacity


def test_frames_of_a_video_are_scaled(synthetic: Path) -> None:
    path = next(synthetic.glob("nvs/388/sequences/GLASSES/images/*.mp4"))
    video = VideoFile(path)
    assert video.n_frames == made_up.RECIPE.n_frames
    assert video.key_frames == [0]
    assert max(video.read(1, 40).shape[:2]) == 40


@pytest.mark.parametrize("names", [["2.png", "10.png", "1.png"], ["a_1.png", "b_2.png", "a_10.png"]])
def test_images_are_in_numeric_order(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(made_up.png(np.zeros((4, 4, 3), np.uint8)))
    paths = in_order({path.stem: path for path in tmp_path.iterdir()})
    assert [path.name for path in paths] == sorted(names, key=lambda n: int(n.split("_")[-1].removesuffix(".png")))
    assert ImageFiles(paths).read(0, 8).shape == (4, 4, 3)

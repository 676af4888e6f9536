"""Reading PNGs."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.png import check_png, psnr, read_rgb
from tests import made_up


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), st.booleans())
@settings(max_examples=60, deadline=None)
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, interlaced: bool) -> None:
    path = tmp_path_factory.mktemp("png") / "image.png"
    path.write_bytes(made_up.png(pixels, interlaced))
    info = check_png(path, inflate=True)
    assert (info.height, info.width) == pixels.shape[:2]
    assert np.array_equal(read_rgb(path), pixels)


def test_large_png_is_read_as_opencv_does(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), pixels[..., ::-1])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_straight_and_on_white(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    alpha = pixels[..., -1:] / 255
    on_white = np.round(pixels[..., :-1] * alpha + 255 * (1 - alpha))
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.broadcast_to(on_white, (5, 7, 3)))


def test_palette_with_a_transparent_entry_is_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_rgb(tmp_path / "a.png")
    assert (pixels[0, 0].tolist(), pixels[1, 2].tolist()) == ([255, 255, 255], [40, 50, 60])


def test_sixteen_bits_are_rounded_not_cut(tmp_path: Path) -> None:
    pixels = np.array([[[0, 128, 129], [65535, 65406, 65407]]], np.uint16)
    (tmp_path / "a.png").write_bytes(made_up.png(pixels))
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0, 0, 1], [255, 254, 255]]]
    assert check_png(tmp_path / "a.png").conversion == "16 bits rounded to 8"


def test_grey_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(made_up.png(np.array([[0, 77, 255]], np.uint8)))
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0] * 3, [77] * 3, [255] * 3]]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_of_a_png_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = made_up.png(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    position = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.getbasetemp() / "changed.png"
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    with pytest.raises(InvalidInputError):
        check_png(path)
    with pytest.raises(InvalidInputError):
        read_rgb(path)


def test_png_of_impossible_size_is_refused(tmp_path: Path) -> None:
    whole = made_up.png(np.zeros((9, 9, 3), np.uint8))
    header = b"IHDR" + b"\xff" * 8 + whole[24:29]
    (tmp_path / "a.png").write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
    with pytest.raises(InvalidInputError, match="too large for a frame"):
        check_png(tmp_path / "a.png", inflate=True)


@pytest.mark.parametrize("keep", [0, 7, 20, 60, -1])
def test_png_cut_short_is_found(keep: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(made_up.png(np.zeros((9, 9, 3), np.uint8))[:keep])
    with pytest.raises(InvalidInputError):
        check_png(tmp_path / "a.png")


def test_psnr_of_a_known_difference() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    assert psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(a, a) == float("inf")


def test_a_small_file_is_not_unpacked_to_gigabytes(tmp_path: Path) -> None:
    whole = made_up.png(np.zeros((9, 9, 3), np.uint8))
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + whole[24:29]
    (tmp_path / "a.png").write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
    with pytest.raises(InvalidInputError, match="30000×30000 pixels"):
        read_rgb(tmp_path / "a.png")

"""PNG frames: a complete check without decoding, and decoding to RGB as the benchmark wants it."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from isal import isal_zlib
from isal.isal_zlib import adler32, crc32
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.video.pixels import convert, plane_rows

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey with alpha", 2), 6: ("RGBA", 4)}
_HIGHEST_FILTER = 4
_FILTER_LEFT = 1
_FASTEST_THAT_PACKS = 1  # of isal's levels 0 to 3
_ROWS = 64
_LARGEST = 1 << 28  # bytes of pixels; a frame of the benchmark has 8 MB as RGBA, a photograph of 60 MP 240 MB
_CHUNK_HEADER = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_IEND = bytes.fromhex("00000000 49454e44 ae426082")
# Where the pixels of each pass begin (left, top) and how far apart they are (right, down).
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_STORED_BLOCK, _STORED_HEADER = 0xFFFF, struct.Struct("<BHH")  # RFC 1951, 3.2.4


@dataclass(frozen=True)
class PngInfo:
    """What the header of a PNG says. `conversion` is what `read_rgb` does to it beyond decoding, or ""."""

    width: int
    height: int
    conversion: str


@dataclass(frozen=True)
class _Png:
    """The chunks of a PNG, whose checksums are right, and what its header says."""

    width: int
    height: int
    depth: int
    color_type: int
    is_interlaced: bool
    is_transparent: bool
    before_pixels: list[memoryview]  # whole chunks
    packed: list[memoryview]  # what the IDAT chunks hold


def check_png(path: Path, inflate: bool = False) -> PngInfo:
    """Reads a PNG to its end, comparing the checksum of every chunk.

    Only with `inflate` the pixels are unpacked and their number is compared with the header's: that takes ten
    times as long, and finds nothing but what a faulty program wrote. `read_rgb` does it in any case.

    Raises `InvalidInputError` with the reason (for a message after the file's name) if it would not decode.
    """
    return check_png_data(path.read_bytes(), inflate)


def check_png_data(content: bytes, inflate: bool = False) -> PngInfo:
    """`check_png` for what was read already."""
    png = _parse(content)
    if inflate:
        _unpack(png)
    return PngInfo(png.width, png.height, _conversion(png.depth, png.color_type, png.is_transparent))


def _parse(content: bytes) -> _Png:
    """Source: PNG specification, ISO/IEC 15948, sections 5 and 11."""
    data = memoryview(content)
    if bytes(data[:8]) != _SIGNATURE:
        kind = "is empty" if not data else f"begins with {bytes(data[:8])!r}, unlike any PNG file"
        raise InvalidInputError(kind)
    position = 8
    before_pixels: list[memoryview] = []
    packed: list[memoryview] = []
    kinds = set()
    while position + 12 <= len(data):
        length, kind_of_chunk = _CHUNK_HEADER.unpack_from(data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidInputError(f"is damaged: checksum of chunk {kind_of_chunk!r} at byte {position}")
        if position == 8 and (kind_of_chunk != b"IHDR" or length != _IHDR.size):
            raise InvalidInputError("has no IHDR chunk at its start")
        if kind_of_chunk == b"IDAT":
            packed.append(data[position + 8 : end - 4])
        elif not packed:
            before_pixels.append(data[position:end])
        kinds.add(kind_of_chunk)
        position = end
        if kind_of_chunk == b"IEND":
            if not packed:
                raise InvalidInputError("has no image data")
            width, height, depth, color_type, _, _, interlaced = _IHDR.unpack_from(data, 16)
            if color_type not in _COLOR_TYPES or not width or not height:
                raise InvalidInputError(f"has an impossible header ({width}×{height}, colour {color_type})")
            if color_type == 3 and b"PLTE" not in kinds:
                raise InvalidInputError("has no palette")
            is_transparent = b"tRNS" in kinds
            return _Png(
                width, height, depth, color_type, bool(interlaced), is_transparent, before_pixels, packed
            )  # fmt: skip
    raise InvalidInputError("is cut short")


def _unpack(png: _Png) -> bytes:
    """The rows of a PNG, each with its filter's number before it.

    Raises `InvalidInputError` if there are fewer than the header says, or filters that do not exist.
    Source: PNG specification, ISO/IEC 15948, sections 8 to 10.
    """
    passes = []
    for left, top, right, down in _ADAM7 if png.is_interlaced else _WHOLE:
        width, height = -(-(png.width - left) // right), -(-(png.height - top) // down)
        if width > 0 and height > 0:
            passes.append((height, 1 + (width * png.depth * _COLOR_TYPES[png.color_type][1] + 7) // 8))
    size = sum(height * row_size for height, row_size in passes)
    if size > _LARGEST:  # a file of a thousandth of it can be unpacked to that
        raise InvalidInputError(f"has {png.width}×{png.height} pixels, which is too large for a frame")
    try:
        rows = isal_zlib.decompressobj().decompress(b"".join(png.packed), size)
    except isal_zlib.error as error:  # type: ignore[misc]  # it is declared as a value
        raise InvalidInputError(f"has broken pixel data ({error})") from error
    if len(rows) != size:
        raise InvalidInputError(f"has {len(rows):,} bytes of pixels, expected {size:,} for its size")
    position = 0
    for height, row_size in passes:
        if max(rows[position : position + height * row_size : row_size]) > _HIGHEST_FILTER:
            raise InvalidInputError("has rows with an unknown filter")
        position += height * row_size
    return rows


def _repack(png: _Png, rows: bytes) -> bytes:
    """The PNG with its rows stored as they are: FFmpeg takes twice as long to inflate as isal does."""
    stream: list[bytes | memoryview] = [b"\x78\x01"]
    view = memoryview(rows)
    for start in range(0, len(view), _STORED_BLOCK):
        block = view[start : start + _STORED_BLOCK]
        is_last = start + _STORED_BLOCK >= len(view)
        stream += [_STORED_HEADER.pack(is_last, len(block), len(block) ^ 0xFFFF), block]
    stream.append(adler32(rows).to_bytes(4, "big"))
    chunk = [_CHUNK_HEADER.pack(sum(map(len, stream)), b"IDAT"), *stream]
    checksum = functools.reduce(lambda crc, part: crc32(part, crc), stream, crc32(b"IDAT"))
    return b"".join([_SIGNATURE, *png.before_pixels, *chunk, checksum.to_bytes(4, "big"), _IEND])


def _conversion(depth: int, color_type: int, transparent: bool) -> str:
    steps = []
    if depth == 16:
        steps.append("16 bits rounded to 8")
    if color_type in (0, 4):
        steps.append("grey repeated in R, G and B")
    if color_type == 3:
        steps.append("palette looked up")
    if color_type in (4, 6) or transparent:
        steps.append("composited on white")
    return ", ".join(steps)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The image as (H, W, 3) uint8 RGB.

    Alpha (straight, as PNG defines it) is composited on white, 16 bits are rounded to 8, grey is repeated.
    Raises `InvalidInputError` if the file does not decode, OSError if it cannot be read.
    """
    try:
        png = _parse(path.read_bytes())
        content = _repack(png, _unpack(png))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} does not decode: it {error.message}.", "Render it again.") from error
    pixels: NDArray[Any]
    try:
        decoder = av.CodecContext.create("png", "r")
        data = av.Packet(content)
        frames = decoder.decode(data) or decoder.decode(None)
        if len(frames) != 1:
            raise InvalidInputError(f"{path} does not decode.", "Render it again.")
        (frame,) = frames
        assert isinstance(frame, av.VideoFrame)
        name = frame.format.name
        if name.startswith("pal") or name == "monob":
            pixels = convert(frame, "rgba").to_ndarray()
        elif name.startswith("ya"):  # grey with alpha, which PyAV does not turn into an array itself
            rows = plane_rows(frame.planes[0], "u1" if name == "ya8" else ">u2")
            pixels = rows[: frame.height, : 2 * frame.width].reshape(frame.height, frame.width, 2)
        else:
            pixels = frame.to_ndarray()
    except av.FFmpegError as error:
        raise InvalidInputError(f"{path} does not decode: {error.strerror}.", "Render it again.") from error
    if pixels.dtype.itemsize == 2:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] in (2, 4):
        return on_white(pixels[..., :-1].astype(np.uint8), pixels[..., -1:].astype(np.uint8))
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def on_white(color: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 1 or 3) with straight alpha (H, W, 1), all uint8, on white: (H, W, 3), rounded to nearest."""
    # The largest sum is 255² + 127, so 16 bits are enough.
    blended = color * alpha.astype(np.uint16)
    blended += 127
    blended //= 255
    blended += 255 - alpha
    return np.array(np.broadcast_to(blended, (*blended.shape[:2], 3)), dtype=np.uint8, order="C")


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W), or (H, W, C) with 1, 3 (RGB) or 4 (RGBA) channels, uint8, as a PNG file.

    Every row is stored as differences to the pixel on its left and packed by isal: a quarter of the time that
    FFmpeg's fastest setting takes, for files of the same size.
    """
    height, width = pixels.shape[:2]
    channels = pixels.size // (height * width)
    color_type = {1: 0, 3: 2, 4: 6}[channels]
    samples = np.ascontiguousarray(pixels).reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _FILTER_LEFT
    rows[:, 1 : 1 + channels] = samples[:, :channels]
    np.subtract(samples[:, channels:], samples[:, :-channels], out=rows[:, 1 + channels :])
    header = _IHDR.pack(width, height, 8, color_type, 0, 0, 0)
    packed = isal_zlib.compress(rows.data, _FASTEST_THAT_PACKS)
    chunks = []
    for kind, body in ((b"IHDR", header), (b"IDAT", packed)):
        checksum = crc32(body, crc32(kind))
        chunks += [_CHUNK_HEADER.pack(len(body), kind), body, checksum.to_bytes(4, "big")]
    return b"".join([_SIGNATURE, *chunks, _IEND])


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 images; infinite if they are equal."""
    # A few rows at a time: the squares of a whole frame would take more memory than all else.
    total = sum(
        int(np.square(a[rows].astype(np.int32) - b[rows]).sum())
        for rows in (slice(i, i + _ROWS) for i in range(0, len(a), _ROWS))
    )
    mse = total / a.size
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))

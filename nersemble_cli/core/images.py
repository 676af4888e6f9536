"""PNG frames: a complete check without decoding, and decoding to RGB as the benchmark wants it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.video import plane_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {0: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("grey with alpha", 2), 6: ("RGBA", 4)}
_HIGHEST_FILTER = 4
_ROWS = 64
_CHUNK_HEADER = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")


@dataclass(frozen=True)
class PngInfo:
    """What the header of a PNG says. `conversion` is what `read_rgb` does to it beyond decoding, or ""."""

    width: int
    height: int
    conversion: str


def check_png(path: Path, inflate: bool = False) -> PngInfo:
    """Reads a PNG to its end, comparing the checksum of every chunk.

    Only with `inflate` the pixels are unpacked and their number is compared with the header's: that takes as long
    as decoding, and finds nothing but what a faulty program wrote (decoders make up missing rows silently).

    Raises `InvalidInputError` with the reason (for a message after the file's name) if it would not decode.
    Source: PNG specification, ISO/IEC 15948, sections 5, 9 and 10.
    """
    return check_png_data(path.read_bytes(), inflate)


def check_png_data(content: bytes, inflate: bool = False) -> PngInfo:
    """`check_png` for what was read already."""
    data = memoryview(content)
    if bytes(data[:8]) != _SIGNATURE:
        kind = "is empty" if not data else f"begins with {bytes(data[:8])!r}, which is no PNG"
        raise InvalidInputError(kind)
    position, info, transparent = 8, None, False
    packed: list[memoryview] = []
    has_palette = False
    while position + 12 <= len(data):
        length, kind_of_chunk = _CHUNK_HEADER.unpack_from(data, position)
        body = data[position + 8 : position + 8 + length]
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(body, zlib.crc32(kind_of_chunk)) != int.from_bytes(data[end - 4 : end], "big"):
            raise InvalidInputError(f"is damaged: checksum of chunk {kind_of_chunk!r} at byte {position}")
        if position == 8:
            if kind_of_chunk != b"IHDR" or length != _IHDR.size:
                raise InvalidInputError("has no IHDR chunk at its start")
            info = _IHDR.unpack(body)
        if kind_of_chunk == b"IDAT":
            packed.append(body)
        has_palette |= kind_of_chunk == b"PLTE"
        transparent |= kind_of_chunk == b"tRNS"
        position = end
        if kind_of_chunk == b"IEND":
            if info is None or not packed:
                raise InvalidInputError("has no image data")
            width, height, depth, color_type, _, _, interlaced = info
            if color_type not in _COLOR_TYPES or not width or not height:
                raise InvalidInputError(f"has an impossible header ({width}×{height}, colour {color_type})")
            if color_type == 3 and not has_palette:
                raise InvalidInputError("has no palette")
            if inflate and not interlaced:
                _check_pixels(packed, height, 1 + (width * depth * _COLOR_TYPES[color_type][1] + 7) // 8)
            return PngInfo(width, height, _conversion(depth, color_type, transparent))
    raise InvalidInputError("is cut short")


def _check_pixels(packed: list[memoryview], height: int, row_size: int) -> None:
    """Raises `InvalidInputError` if the IDAT chunks do not hold `height` rows of a filter type and pixels."""
    inflater = zlib.decompressobj()
    size = height * row_size
    try:
        rows = inflater.decompress(b"".join(packed), size + 1)
    except zlib.error as error:
        raise InvalidInputError(f"has broken pixel data ({error})") from error
    if len(rows) != size:
        raise InvalidInputError(f"has {len(rows) // row_size} rows of pixels, its header says {height}")
    if max(rows[::row_size]) > _HIGHEST_FILTER:
        raise InvalidInputError("has rows with an unknown filter")


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
    import av
    import numpy as np

    pixels: NDArray[Any]
    try:
        decoder = av.CodecContext.create("png", "r")
        data = av.Packet(path.read_bytes())
        frames = decoder.decode(data) or decoder.decode(None)
        if len(frames) != 1:
            raise InvalidInputError(f"{path} does not decode.", "Render it again.")
        (frame,) = frames
        assert isinstance(frame, av.VideoFrame)
        name = frame.format.name
        if name.startswith("pal") or name == "monob":
            pixels = frame.to_ndarray(format="rgba")
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
    import numpy as np

    # The largest sum is 255² + 127, so 16 bits are enough.
    blended = color * alpha.astype(np.uint16)
    blended += 127
    blended //= 255
    blended += 255 - alpha
    return np.array(np.broadcast_to(blended, (*blended.shape[:2], 3)), dtype=np.uint8, order="C")


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 images; infinite if they are equal."""
    import numpy as np

    # A few rows at a time: the squares of a whole frame would take more memory than all else.
    total = sum(
        int(np.square(a[rows].astype(np.int32) - b[rows]).sum())
        for rows in (slice(i, i + _ROWS) for i in range(0, len(a), _ROWS))
    )
    mse = total / a.size
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))

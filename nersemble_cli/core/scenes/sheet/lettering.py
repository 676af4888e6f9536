"""Text on pictures, with VTK's own font, without OpenGL."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.scenes.sheet.entries import Image

Color = tuple[int, int, int]
_DPI = 72
_ELLIPSIS = "…"


def write(
    canvas: Image, text: str, place: tuple[int, int], size: int, color: Color, width: int, bold: bool = False
) -> int:
    """Writes a line into the (H, W, 3) uint8 RGB canvas, its top left corner at `place` (x, y), cut to `width`
    pixels. Returns how wide it is."""
    alpha = _alpha(_fit(text, size, bold, width), size, bold)
    x, y = place
    height, n = int(alpha.shape[0]), int(alpha.shape[1])
    part = canvas[y : y + height, x : x + n]
    cover = alpha[: part.shape[0], : part.shape[1], None].astype(np.float32) / 255
    part[:] = (part + (np.array(color, np.float32) - part) * cover).round()
    return n


def line_height(size: int) -> int:
    """Pixels from a line to the next."""
    return round(1.45 * size)


def wrap(text: str, size: int, width: int, most: int) -> list[str]:
    """A text in lines of at most `width` pixels, and at most so many lines."""
    lines = list(_wrapped(text, size, width))
    if len(lines) > most:
        lines[most - 1 :] = [f"{lines[most - 1]} {_ELLIPSIS}"]
    return lines


def _wrapped(text: str, size: int, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _width(longer, size, bold=False) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _fit(text: str, size: int, bold: bool, width: int) -> str:
    """The text, cut at its end if it is wider than `width`."""
    if _width(text, size, bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _width(text[:middle] + _ELLIPSIS, size, bold) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + _ELLIPSIS


def _width(text: str, size: int, bold: bool) -> int:
    return int(_alpha(text, size, bold).shape[1])


@functools.lru_cache(maxsize=2000)
def _alpha(text: str, size: int, bold: bool) -> NDArray[np.uint8]:
    """(H, W) uint8: how much of each pixel the text covers. H depends on the size only."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData

    renderer, style = _writer(size, bold)
    picture, used, box = vtkImageData(), [0, 0], [0, 0, 0, 0]
    # Control characters move nothing here, and a dollar begins no formula.
    clean = "".join(c if c.isprintable() else " " for c in text)
    height = line_height(size)
    alpha: NDArray[np.uint8] = np.zeros((height, 0), np.uint8)
    if not clean.strip() or not renderer.RenderString(style, clean, picture, used, _DPI, renderer.FreeType):
        return alpha
    renderer.GetBoundingBox(style, clean, box, _DPI, renderer.FreeType)
    width, rows, _ = picture.GetDimensions()
    pixels = vtk_to_numpy(picture.GetPointData().GetScalars())  # type: ignore[no-untyped-call]
    pixels = pixels.reshape(rows, width, -1)
    pixels = pixels[: used[1], : used[0], 3][::-1]
    alpha = np.zeros((height, used[0]), np.uint8)
    top = max(0, size - box[3])  # the baseline is `size` below the top
    kept = pixels[: max(0, height - top)]
    alpha[top : top + len(kept)] = kept
    return alpha


@functools.cache
def _writer(size: int, bold: bool) -> tuple[Any, Any]:
    import vtkmodules.vtkRenderingFreeType  # noqa: F401  # the implementation, which registers itself
    from vtkmodules.vtkRenderingCore import vtkTextProperty, vtkTextRenderer

    style = vtkTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(size)
    style.SetBold(bold)
    return vtkTextRenderer.GetInstance(), style

"""Cutting renders back to the benchmark's images, where an export padded them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError

_FIELDS = ("padded_width", "padded_height", "left", "top", "width", "height")
_HINT = "Name the crop.json that `nersemble export` wrote."


@dataclass(frozen=True)
class Box:
    """Where the benchmark's image is in a padded one, in pixels."""

    padded_width: int
    padded_height: int
    left: int
    top: int
    width: int
    height: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(padded_height, padded_width, C) → (height, width, C), a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def load_boxes(path: Path) -> Mapping[str, Box]:
    """Serial → box, from a `crop.json`.

    Raises `InvalidInputError` if it is something else or a box is not inside its image, OSError if it is missing.
    """
    try:
        cameras = json.loads(path.read_text("utf-8"))["cameras"]
        boxes = {serial: Box(*(int(camera[name]) for name in _FIELDS)) for serial, camera in cameras.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not a crop.json.", _HINT) from error
    for serial, box in boxes.items():
        fits_across = box.left >= 0 and box.width > 0 and box.left + box.width <= box.padded_width
        fits_down = box.top >= 0 and box.height > 0 and box.top + box.height <= box.padded_height
        if not (fits_across and fits_down):
            raise InvalidInputError(f"{path}: the box of camera {serial} is not inside its image: {box}.", _HINT)
    return boxes

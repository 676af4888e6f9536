"""How well pictures agree, and the picture that would agree better."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.submission.compare import colour
from nersemble_cli.core.submission.compare.matching import (
    MIRRORS,
    TURNS,
    Framing,
    agreement,
    detail,
    find_framing,
    find_head_framing,
    foreground,
    shifted,
)

Image = NDArray[np.uint8]


@pytest.fixture
def pictures() -> Image:
    """(2, 100, 68, 3) a head on white: an ellipse with a dark half, an eye, and another colour below."""
    y, x = np.mgrid[:100, :68].astype(float)
    pictures = np.full((2, 100, 68, 3), 255, np.uint8)
    for k, turn in enumerate((0, 4)):
        head = ((x - 32 - turn) / 18) ** 2 + ((y - 48) / 30) ** 2 < 1
        pictures[k][head] = [200, 150, 120]
        pictures[k][head & (y < 35)] = [60, 40, 30]
        pictures[k][head & (x < 25 + turn) & (y > 50)] = [150, 40, 60]
        pictures[k][((x - 40 - turn) ** 2 + (y - 45) ** 2) < 12] = [20, 40, 90]
    return pictures


def reframed(pictures: Image, framing: Framing) -> Image:
    return shifted(pictures.astype(np.float32), framing).round().astype(np.uint8)


def test_a_picture_agrees_with_itself_in_any_tone(pictures: Image) -> None:
    masks = foreground(pictures)
    darker = (255 - 0.7 * (255.0 - pictures)).round().astype(np.uint8)
    np.testing.assert_allclose(agreement(pictures, pictures, masks), 1, atol=1e-6)
    assert agreement(darker, pictures, masks).min() > 0.99


@pytest.mark.parametrize("name", [*MIRRORS, *TURNS])
def test_a_turned_picture_agrees_only_when_it_is_turned_back(pictures: Image, name: str) -> None:
    turn = {**MIRRORS, **TURNS}[name]
    spoilt = {**MIRRORS, **TURNS}["turned by 270°" if name == "turned by 90°" else name](pictures)
    if name == "turned by 270°":
        spoilt = TURNS["turned by 90°"](pictures)
    assert agreement(spoilt, pictures, foreground(pictures)).max() < 0.6
    assert agreement(turn(spoilt), pictures, foreground(pictures)).min() > 0.9


def test_missing_parts_do_no_harm_where_only_what_is_shown_counts(pictures: Image) -> None:
    bald = pictures.copy()
    bald[:, :36] = 255
    assert agreement(bald, pictures, foreground(pictures)).max() < 0.6
    assert agreement(bald, pictures, None).min() > 0.9


def test_nothing_agrees_with_an_empty_picture(pictures: Image) -> None:
    empty = np.full_like(pictures, 255)
    assert agreement(empty, pictures, foreground(pictures)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "framing",
    [Framing(1, 0, 0), Framing(1.1, 0, 0), Framing(0.8, 0, 0), Framing(1, 0.03, -0.02), Framing(1.3, -0.05, 0)],
)
def test_a_framing_is_found(pictures: Image, framing: Framing) -> None:
    found = find_framing(reframed(pictures, framing), pictures)
    np.testing.assert_allclose(found, framing, atol=0.006)


@pytest.mark.parametrize(
    "framing", [Framing(1, 0, 0), Framing(1.1, 0, 0), Framing(0.9, 0.02, 0), Framing(1, 0, -0.02)]
)
def test_the_framing_of_a_head_is_found_whatever_is_beside_it(pictures: Image, framing: Framing) -> None:
    masks = foreground(pictures)
    masks[:, 70:] = False  # the chin
    with_body = pictures.copy()
    with_body[:, 72:, 10:60] = [90, 10, 20]
    found = find_head_framing(reframed(with_body, framing), pictures, masks)
    np.testing.assert_allclose(found, framing, atol=1e-6)


def test_colours_are_compared_where_both_show_the_subject(pictures: Image) -> None:
    masks = foreground(pictures)
    actual, expected = colour.patches(pictures[..., ::-1], pictures, masks)
    assert colour.distance(actual[:, ::-1], expected) == 0
    assert colour.up_to_gain(actual, expected) > 20
    np.testing.assert_allclose(colour.channel_gains(expected * [1.2, 1, 0.8], expected), [1.2, 1, 0.8])


def test_opacity_and_cover(pictures: Image) -> None:
    masks = foreground(pictures)
    faint = (255 - 0.1 * (255.0 - pictures)).round().astype(np.uint8)
    assert colour.opacity(pictures, pictures, masks) == pytest.approx(1)
    assert colour.opacity(faint, pictures, masks) == pytest.approx(0.1, abs=0.01)
    assert (colour.cover(pictures, masks), colour.cover(faint, masks)) == (1, 0)


def test_curves_undo_each_other() -> None:
    values = np.linspace(0, 1, 20)[:, None]
    there, back = colour.TONES["linear light"], colour.TONES["gamma twice"]
    np.testing.assert_allclose(back(there(values)), values, atol=1e-4)


def test_a_blurred_picture_has_less_detail() -> None:
    sharp = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    coarse = np.repeat(np.repeat(sharp[:, ::8, ::8], 8, axis=1), 8, axis=2)
    assert detail(sharp) > 2 * detail(coarse) > 0

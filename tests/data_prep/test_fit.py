"""Tests of data_prep.pictures.fit."""

from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.pictures.fit import (
    MANNERS,
    PADDING,
    Fit,
    content_box,
    fit_square,
    middle_square,
)
from data_prep.prepare_settings import PrepareSettings

SIZES = [(40, 30), (30, 40), (64, 64), (200, 7), (1, 90), (1, 1), (30_000, 10)]
LANCZOS = Image.Resampling.LANCZOS


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth picture, width by height, so that resizing keeps it recognisable."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def padded(size: tuple[int, int], side: int, fit: Fit) -> tuple[np.ndarray, slice]:
    """A padded picture, laid so that its margins are above and below, and its rows."""
    pixels = fit_square(picture(size=size), side, fit)
    if size[0] < size[1]:
        pixels, size = pixels.swapaxes(0, 1), (size[1], size[0])
    inner = max(1, round(side * size[1] / size[0]))
    above = (side - inner) // 2
    return pixels, slice(above, above + inner)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [16, 33])
@pytest.mark.parametrize("fit", get_args(Fit))
def test_every_picture_becomes_a_square(
    fit: Fit, side: int, size: tuple[int, int]
) -> None:
    pixels = fit_square(picture(size=size), side, fit)
    assert pixels.shape == (side, side, 3)
    assert pixels.dtype == np.uint8
    flat = fit_square(Image.new("RGB", size, (9, 99, 200)), side, fit)
    middle = flat[(side - 1) // 2, (side - 1) // 2]
    assert_array_equal(middle, (9, 99, 200))
    if fit not in ("white", "black"):
        assert (flat == middle).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [16, 33])
def test_padding_keeps_the_shape_and_repeats_the_edges(
    size: tuple[int, int], side: int
) -> None:
    pixels, rows = padded(size, side, "pad")
    first, last = pixels[rows][:1], pixels[rows][-1:]
    assert_array_equal(pixels[: rows.start], np.repeat(first, rows.start, 0))
    below = side - rows.stop
    assert_array_equal(pixels[rows.stop :], np.repeat(last, below, 0))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", PADDING)
def test_only_the_margins_of_padded_pictures_differ(
    fit: Fit, size: tuple[int, int]
) -> None:
    expected, rows = padded(size, 33, "pad")
    pixels, _ = padded(size, 33, fit)
    assert_array_equal(pixels[rows], expected[rows])


@pytest.mark.parametrize("size", SIZES)
def test_margins_are_mirrored_or_of_one_colour(size: tuple[int, int]) -> None:
    for fit, level in (("white", 255), ("black", 0)):
        pixels, rows = padded(size, 33, fit)  # type: ignore[arg-type]
        outside = np.delete(pixels, np.arange(33)[rows], axis=0)
        assert (outside == level).all()
    pixels, rows = padded(size, 33, "reflect")
    n_rows = rows.stop - rows.start
    for row in range(33):
        # a triangle wave: 0 1 2 1 0 1 2 ... without the ends twice
        away = abs(row - rows.start) % max(1, 2 * (n_rows - 1))
        mirrored = rows.start + min(away, 2 * (n_rows - 1) - away)
        assert_array_equal(pixels[row], pixels[mirrored])


def test_the_padded_picture_is_the_resized_one() -> None:
    pixels = fit_square(picture(size=(64, 32)), 32, "pad")
    resized = picture(size=(64, 32)).resize((32, 16), LANCZOS)
    assert_array_equal(pixels[8:24], np.asarray(resized))


def test_squashing_fills_the_square() -> None:
    pixels = fit_square(picture(size=(64, 32)), 32, "squash")
    resized = picture(size=(64, 32)).resize((32, 32), LANCZOS)
    assert_array_equal(pixels, np.asarray(resized))


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (96, 32), (32, 32)])
def test_cropping_takes_the_middle_square(size: tuple[int, int]) -> None:
    pixels = fit_square(picture(size=size), 16, "crop")
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    middle = picture(size=size).crop((left, top, left + 32, top + 32))
    assert_array_equal(pixels, np.asarray(middle.resize((16, 16), LANCZOS)))


@pytest.mark.parametrize("size", SIZES)
def test_the_middle_square_is_as_large_as_it_can_be(size: tuple[int, int]) -> None:
    left, top, right, bottom = middle_square(size)
    assert right - left == bottom - top == min(size)
    assert 0 <= size[0] - right - left <= 1
    assert 0 <= size[1] - bottom - top <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [16, 33])
def test_the_content_is_what_margins_leave(size: tuple[int, int], side: int) -> None:
    black = Image.new("RGB", size)
    pixels = fit_square(black, side, "white")
    left, top, right, bottom = content_box(size, side, "white")
    assert (pixels[top:bottom, left:right] == 0).all()
    assert (pixels == 0).sum() == 3 * (bottom - top) * (right - left)
    for fit in ("crop", "squash"):
        assert content_box(size, side, fit) == (0, 0, side, side)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(64, 64), (33, 33)])
@pytest.mark.parametrize("fit", get_args(Fit))
def test_squares_are_the_same_whatever_the_manner(
    fit: Fit, size: tuple[int, int]
) -> None:
    pixels = fit_square(picture(size=size), 16, fit)
    assert_array_equal(pixels, fit_square(picture(size=size), 16, "squash"))


def test_every_manner_may_be_set_and_is_told() -> None:
    assert set(MANNERS) == set(get_args(Fit))
    assert set(PADDING) < set(get_args(Fit))
    for fit in get_args(Fit):
        assert PrepareSettings(fit=fit).fit == fit

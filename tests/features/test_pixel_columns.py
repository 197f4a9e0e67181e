"""Tests of features.pixel_columns."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from features.pixel_columns import pixel_columns

SEEDS = range(5)
N_COLOURS = 64


def pictures(n: int, side_px: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side_px, side_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("side_px", "side"), [(24, 12), (36, 12), (12, 12), (8, 2)])
def test_areas_of_whole_pixels_are_exact(side_px: int, side: int, seed: int) -> None:
    pixels = pictures(3, side_px, seed)
    step = side_px // side
    blocks = pixels.reshape(3, side, step, side, step, 3).astype(np.float64)
    expected = blocks.mean(axis=(2, 4)).astype(np.float32).reshape(3, -1)
    found = pixel_columns(pixels, np.arange(3), side)[:, : 3 * side**2]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("side_px", "side"), [(16, 12), (7, 3), (5, 12), (25, 12)])
def test_areas_of_parts_of_pixels_by_repeating_each(
    side_px: int, side: int, seed: int
) -> None:
    # Every pixel as side x side equal ones: then the areas are made of whole pixels.
    pixels = pictures(2, side_px, seed)
    large = pixels.repeat(side, axis=1).repeat(side, axis=2).astype(np.float64)
    expected = large.reshape(2, side, side_px, side, side_px, 3).mean(axis=(2, 4))
    found = pixel_columns(pixels, np.arange(2), side)[:, : 3 * side**2]
    assert_allclose(found, expected.reshape(2, -1), rtol=1e-5)


def test_colours_by_hand() -> None:
    pixels = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    pixels[0, 0] = [63, 64, 255]  # shades 0, 1 and 3
    pixels[0, 1, 1] = [255, 255, 255]
    found = pixel_columns(pixels, np.arange(1), side=1)[0]
    assert_allclose(found[:3], [(126 + 255) / 4, (128 + 255) / 4, 765 / 4])
    colours = found[3 : 3 + N_COLOURS]
    assert {k: colours[k] for k in np.flatnonzero(colours)} == {
        0: 0.25,
        0 * 16 + 1 * 4 + 3: 0.5,
        63: 0.25,
    }
    deviation = np.std([63, 63, 0, 255]), np.std([64, 64, 0, 255])
    assert_allclose(found[-6:-3], found[:3])
    assert_allclose(found[-3:-1], deviation, rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_facts_of_pictures_by_another_route(seed: int) -> None:
    pixels = pictures(4, 20, seed)
    found = pixel_columns(pixels, np.arange(4))
    flat = pixels.reshape(4, -1, 3)
    for one, columns in zip(flat, found, strict=True):
        counts, _ = np.histogramdd(one, bins=4, range=[(0, 256)] * 3)
        assert_allclose(columns[-6 - N_COLOURS : -6], counts.ravel() / 400)
    assert_allclose(found[:, -6:-3], flat.mean(axis=1), rtol=1e-5)
    assert_allclose(found[:, -3:], flat.std(axis=1), rtol=1e-5)


@pytest.mark.parametrize("n_at_once", [1, 4, 100])
def test_rows_are_read_in_any_order_from_a_file_in_pieces(
    n_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.pixel_columns.CHUNK", n_at_once * 6 * 6 * 3)
    pixels = pictures(11, 6)
    np.save(tmp_path / "images.npy", pixels)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.array([10, 3, 3, 0, 7, 9, 1, 2, 8])
    found = pixel_columns(mapped, rows)
    assert (found.dtype, found.shape) == (np.float32, (9, 3 * 144 + 64 + 6))
    for row, columns in zip(rows, found, strict=True):
        assert np.array_equal(pixel_columns(pixels, np.array([row]))[0], columns)
    assert pixel_columns(pixels, np.array([], dtype=np.int64)).shape == (0, 502)

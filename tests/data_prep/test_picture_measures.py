"""Tests of data_prep.reporting.picture_measures."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace

from data_prep.pictures.fit import PADDING, Fit, content_box, fit_square
from data_prep.reporting import picture_measures as measures
from data_prep.reporting.picture_measures import (
    border_shares,
    measures_of,
    measures_section,
    picture_measures,
)

SIDE = 24


def rows_of(sizes: list[tuple[int, int]]) -> pd.DataFrame:
    n = len(sizes)
    return pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "split": "train",
            "image_row": range(n),
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
        }
    )


def noise(n: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fit", ["pad", "white", "squash"])
def test_measures_are_those_of_each_picture_without_its_padding(
    fit: Fit, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "N_PIXELS", 3 * SIDE**2)  # three pictures a block
    rng = np.random.default_rng(seed)
    sizes = [tuple(map(int, rng.integers(5, 60, 2))) for _ in range(11)]
    images = noise(11, seed)
    measured = picture_measures(rows_of(sizes), images, fit)
    for k, (width, height) in enumerate(sizes):
        left, top, right, bottom = content_box((width, height), SIDE, fit)
        inner = images[k, top:bottom, left:right].astype(np.float64)
        grey = inner @ [0.299, 0.587, 0.114]
        expected = [
            max(width, height),
            width / height,
            grey.mean(),
            laplace(grey, mode="nearest").var(),
        ]
        kept = measured.iloc[k][["side", "aspect", "brightness", "sharpness"]]
        np.testing.assert_allclose(kept.to_numpy(dtype=float), expected, rtol=1e-3)


def test_rows_are_measured_by_their_place_in_the_store() -> None:
    images, rows = noise(4), rows_of([(9, 9)] * 4)
    straight = picture_measures(rows, images, "pad")
    turned = picture_measures(rows.iloc[[2, 0, 3, 1]], images, "pad")
    pd.testing.assert_frame_equal(turned, straight.loc[[2, 0, 3, 1]])
    assert picture_measures(rows.iloc[:0], images, "pad").empty


def test_a_border_is_of_one_shade_from_the_edge_inwards() -> None:
    grey = np.zeros((5, 10, 20), dtype=np.float32)
    grey[0, 2:9, 5:15] = np.random.default_rng(0).uniform(50, 250, (7, 10))
    grey[1] = np.arange(20) * 12.0  # each column of one shade, each row of many
    grey[3] = np.random.default_rng(1).uniform(0, 255, (10, 20))
    grey[4] = grey[3]
    grey[4, 4] = 7.0  # of one shade, but not at an edge
    shares = border_shares(grey)
    np.testing.assert_allclose(shares, [1 - 7 * 10 / 200, 1, 1, 0, 0])


def test_blur_lowers_the_sharpness_and_light_does_not_raise_it() -> None:
    image = Image.fromarray(noise(1)[0]).resize((60, 60), Image.Resampling.NEAREST)
    blurred = image.resize((8, 8)).resize((60, 60))
    squares = np.stack([fit_square(x, SIDE, "pad") for x in (image, blurred)])
    brighter = (squares[:1] // 2 + 100).astype(np.uint8)
    boxes = np.array([[0, 0, SIDE, SIDE]] * 3)
    sharpness = measures_of(np.concatenate([squares, brighter]), boxes)["sharpness"]
    assert sharpness[1] < sharpness[0] / 10
    assert sharpness[2] < sharpness[0]


@pytest.mark.parametrize("fit", PADDING)
def test_one_line_of_pixels_is_measured_too(fit: Fit) -> None:
    measured = picture_measures(rows_of([(5000, 10)]), noise(1), fit)
    assert np.isfinite(measured.to_numpy()).all()


def test_the_part_shows_the_ends_and_what_is_the_same_in_all() -> None:
    images = noise(20)
    images[7] = 0
    images[3] = images[3] // 8
    images[5] = np.repeat(np.arange(SIDE, dtype=np.uint8) * 10, 3).reshape(SIDE, 3)
    rows = rows_of([(30, 30)] * 20).assign(target=np.arange(20.0))
    measured = picture_measures(rows, images, "pad")
    text = str(measures_section(rows, images, measured).body)
    assert "The same in all pictures: original size 30 (longer side, px)" in text
    darkest, brightest = text.split("Darkest")[1].split("Brightest")
    assert re.findall(r'alt="(\w+)', darkest)[0] == "p3"  # p7 shows nothing
    assert "p7\n" not in darkest
    assert "p7\n100\n7" in brightest.split("Largest border")[1]
    assert "p0\n" not in brightest.split("Largest border")[1]

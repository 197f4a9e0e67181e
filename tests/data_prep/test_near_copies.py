"""Tests of near copies: data_prep.pictures.near_copies and what it is made of."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from data_prep.demo_collection import periods
from data_prep.dihedral import VIEWS, apply_view
from data_prep.pictures import near_copies
from data_prep.pictures.copies import LEAST_SIDE_PX, LISTED_LIKENESS, USUAL_LIKENESS
from data_prep.pictures.fingerprints import (
    N_NEAREST,
    THUMB_PX,
    fingerprints,
    seen_as,
    shortlist,
)
from data_prep.pictures.fit import content_box, fit_square
from data_prep.pictures.near_copies import clusters_of, near_pairs
from data_prep.pictures.registration import (
    coarse_contrast,
    likeness,
    local_contrast,
    moved,
)

SIDE_PX = 96
N_DRAWN = 14
Ends = tuple[int, int]


@pytest.fixture(scope="module")
def drawn() -> list[Image.Image]:
    """Sheets of as many projects, so that no two show the same."""
    rng = np.random.default_rng(0)
    years = [periods.year_of(k % 4, rng) for k in range(N_DRAWN)]
    sheets = [periods.draw_sheet(periods.plan(y, rng), 150, rng) for y in years]
    return [Image.fromarray(sheet) for sheet in sheets]


def search(
    pictures: Sequence[Image.Image], *, side: int = SIDE_PX, workers: int = 1
) -> pd.DataFrame:
    """Store pictures as the preparation does, and list their near copies."""
    squares = [fit_square(picture, side, "pad") for picture in pictures]
    shape = (len(squares), side, side, 3)
    images = np.stack(squares) if squares else np.empty(shape, np.uint8)
    return near_pairs(
        images,
        [content_box(picture.size, side, "pad") for picture in pictures],
        [hashlib.sha256(square.data).hexdigest() for square in squares],
        workers,
    )


def copies_in(pairs: pd.DataFrame, at_least: float = USUAL_LIKENESS) -> set[Ends]:
    """Give the rows of the pairs that are alike enough."""
    near = pairs[pairs["likeness"] >= at_least]
    return set(zip(near["first"].tolist(), near["second"].tolist(), strict=True))


def jpeg(picture: Image.Image, quality: int = 30) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(picture: Image.Image, *shares: float) -> Image.Image:
    """Cut shares off the left, the top, the right and the bottom."""
    width, height = picture.size
    left, top = shares[0] * width, shares[1] * height
    right, bottom = (1 - shares[2]) * width, (1 - shares[3]) * height
    return picture.crop((round(left), round(top), round(right), round(bottom)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": jpeg,
    "half": lambda picture: picture.resize(
        (picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC
    ),
    "squashed": lambda picture: picture.resize((120, 90)),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "darker": lambda picture: picture.point(lambda level: round(0.8 * level)),
    "cropped": lambda picture: cropped(picture, 0.02, 0.02, 0.02, 0.02),
    "cropped on one side": lambda picture: cropped(picture, 0.04, 0, 0, 0),
    "all at once": lambda picture: jpeg(
        cropped(picture, 0.02, 0.01, 0, 0.02).transpose(Image.Transpose.ROTATE_90), 60
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_a_near_copy_and_no_other_is(
    drawn: list[Image.Image], change: str
) -> None:
    pairs = search([*drawn, *map(CHANGES[change], drawn)])
    assert copies_in(pairs) == {(row, N_DRAWN + row) for row in range(N_DRAWN)}


@pytest.mark.parametrize("view", VIEWS)
def test_each_of_the_eight_views_is_known(drawn: list[Image.Image], view: str) -> None:
    turned = [
        Image.fromarray(np.ascontiguousarray(apply_view(view, np.asarray(p), (0, 1))))
        for p in drawn
    ]
    pairs = search([*drawn, *map(jpeg, turned)])
    assert copies_in(pairs) == {(row, N_DRAWN + row) for row in range(N_DRAWN)}
    # shown as the view that is told, the second looks like the first
    for pair in pairs[pairs["likeness"] >= USUAL_LIKENESS].to_dict("records"):
        first, second = drawn[pair["first"]], turned[pair["second"] - N_DRAWN]
        a, b = (np.asarray(p.resize((40, 40)), np.float64) for p in (first, second))
        assert np.abs(a - apply_view(pair["view"], b, (0, 1))).mean() < 6


def test_neither_order_nor_threads_change_the_list(drawn: list[Image.Image]) -> None:
    pictures = [*drawn, *map(jpeg, drawn[:5]), *map(CHANGES["cropped"], drawn[3:9])]
    expected = search(pictures)
    pd.testing.assert_frame_equal(search(pictures, workers=3), expected)

    def named(pairs: pd.DataFrame, order: NDArray[np.int64]) -> set[Any]:
        columns = (order[pairs["first"]], order[pairs["second"]], pairs["likeness"])
        return {
            (frozenset((a, b)), value) for a, b, value in zip(*columns, strict=True)
        }

    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(pictures))
        shuffled = search([pictures[row] for row in order])
        assert named(shuffled, order) == named(expected, np.arange(len(pictures)))


def test_a_higher_likeness_joins_less(drawn: list[Image.Image]) -> None:
    pairs = search([*drawn, *map(CHANGES["all at once"], drawn)])
    assert pairs["likeness"].is_monotonic_decreasing
    assert pairs["likeness"].between(LISTED_LIKENESS, 1).all()
    levels = [0.6, 0.8, 0.9, 0.95, 1.0]
    joined = [copies_in(pairs, at_least=level) for level in levels]
    assert all(more >= fewer for more, fewer in pairwise(joined))
    assert len(joined[0]) > len(joined[-1])


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_tiny_collection_has_the_copies_that_it_has(
    drawn: list[Image.Image], n: int
) -> None:
    pairs = search(drawn[:n])
    assert list(pairs.columns) == ["first", "second", "view", "likeness"]
    assert copies_in(pairs) == set()
    for change in ("jpeg", "cropped", "all at once"):
        pairs = search([*drawn[:n], *map(CHANGES[change], drawn[:n])])
        assert copies_in(pairs) == {(row, n + row) for row in range(n)}


def blank(level: float, noise: float, seed: int) -> Image.Image:
    """A page without anything on it, but for the noise of a scan."""
    rng = np.random.default_rng(seed)
    levels = level + noise * rng.standard_normal((80, 60, 1)) + np.zeros(3)
    return Image.fromarray(np.clip(levels.round(), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0, 10.0])
def test_blank_pages_are_no_copies_of_each_other(noise: float) -> None:
    pages = [blank(60 + 20 * seed, noise, seed) for seed in range(8)]
    assert copies_in(search(pages)) == set()


def test_shades_from_light_to_dark_are_no_copies_of_each_other() -> None:
    shades = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        ramp = np.linspace(40 + 10 * seed, 200, 120)[:, None, None]
        noisy = ramp + rng.normal(size=(120, 90, 1)) + np.zeros(3)
        shades.append(Image.fromarray(noisy.astype(np.uint8)))
    assert copies_in(search(shades)) == set()


def test_one_layout_and_one_black_border_make_no_copies(
    drawn: list[Image.Image],
) -> None:
    """What all sheets have in common tells nobody apart."""
    sheets = []
    for picture in drawn:
        sheet = Image.new("RGB", (120, 160), (246, 240, 222))
        sheet.paste((15, 12, 10), (0, 0, 120, 6))
        sheet.paste((15, 12, 10), (0, 0, 6, 160))
        sheet.paste((170, 165, 150), (22, 30, 98, 130))
        sheet.paste(picture.resize((60, 84)), (30, 38))
        sheets.append(sheet)
    assert copies_in(search(sheets)) == set()
    with_copies = copies_in(search([*sheets, *map(CHANGES["jpeg"], sheets)]))
    assert with_copies == {(row, N_DRAWN + row) for row in range(N_DRAWN)}


def test_many_copies_of_one_picture_are_one_cluster(
    drawn: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds its nearest only: islands of them are joined in further rounds."""
    monkeypatch.setattr("data_prep.pictures.fingerprints.N_NEAREST", 2)
    monkeypatch.setattr(near_copies, "N_NEAREST", 2)
    rng = np.random.default_rng(0)
    many = [
        jpeg(cropped(drawn[row], *rng.uniform(0, 0.02, 4)), 50 + number)
        for row in range(3)
        for number in range(20)
    ]
    pairs = search(many)
    near = pairs[pairs["likeness"] >= USUAL_LIKENESS]
    assert_array_equal(clusters_of(60, near), np.repeat([0, 1, 2], 20))
    assert not pairs.duplicated(["first", "second"]).any()


def test_equal_pictures_are_compared_once(drawn: list[Image.Image]) -> None:
    pairs = search([drawn[0], drawn[1], drawn[0], jpeg(drawn[0]), drawn[0]])
    assert copies_in(pairs) == {(0, 3)}


def test_clusters_are_connected_pairs() -> None:
    pairs = pd.DataFrame({"first": [1, 3, 0], "second": [3, 4, 5]})
    assert clusters_of(6, pairs).tolist() == [0, 1, 2, 1, 1, 0]
    assert clusters_of(0, pairs[:0]).tolist() == []


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("seed", range(3))
def test_the_coefficients_of_a_view_are_those_of_the_turned_picture(
    view: str, seed: int
) -> None:
    levels = np.random.default_rng(seed).normal(size=(4, 16, 16))
    spectra = dctn(levels, axes=(1, 2), norm="ortho")[:, :7, :7]
    turned = dctn(apply_view(view, levels), axes=(1, 2), norm="ortho")[:, :7, :7]
    assert_allclose(seen_as(view, spectra), turned, atol=1e-12)


@pytest.mark.parametrize("view", VIEWS)
def test_the_fingerprint_of_a_view_is_the_view_of_the_fingerprint(
    drawn: list[Image.Image], view: str
) -> None:
    thumbs = np.stack(
        [np.asarray(p.convert("L").resize((THUMB_PX, THUMB_PX))) for p in drawn]
    )
    turned = np.stack([apply_view(view, thumb) for thumb in thumbs])
    codes = fingerprints(np.concatenate([thumbs, turned]))
    assert_allclose(seen_as(view, codes[:N_DRAWN]), codes[N_DRAWN:], atol=1e-5)
    assert_allclose(np.linalg.norm(codes, axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_short_list_is_that_of_all_products(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(40, 3, 3)).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=(1, 2), keepdims=True)
    products = np.stack(
        [np.einsum("ikl,jkl->ij", codes, seen_as(view, codes)) for view in VIEWS]
    )
    best = products.max(axis=0)
    np.fill_diagonal(best, -1)
    expected = set()
    for row, of_row in enumerate(best):
        for column in np.argsort(-of_row)[:N_NEAREST]:
            if of_row[column] >= 0.5:
                expected.add((min(row, int(column)), max(row, int(column))))
    with ThreadPoolExecutor(2) as pool:
        first, second, views = shortlist(codes, pool)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert_array_equal(views, products[:, first, second].argmax(axis=0))


def smooth(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Give (n, T, T) random pictures of waves that are some pixels long."""
    places = np.linspace(0, 1, THUMB_PX)
    waves = np.zeros((n, THUMB_PX, THUMB_PX))
    for _ in range(30):
        y, x, phase = (
            rng.uniform(-40, 40, n),
            rng.uniform(-40, 40, n),
            rng.random(n) * 6,
        )
        angle = y[:, None, None] * places[:, None] + x[:, None, None] * places
        waves += np.cos(angle + phase[:, None, None])
    return (128 + 10 * waves).astype(np.float32)


def likeness_of(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[Any]:
    """Say how alike pairs are."""
    return likeness(first, second, coarse_contrast(first), coarse_contrast(second))


@pytest.mark.parametrize("view", VIEWS)
def test_the_contrast_of_a_view_is_the_view_of_the_contrast(view: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, size=(3, THUMB_PX, THUMB_PX))
    thumbs = levels.astype(np.uint8)
    expected = apply_view(view, coarse_contrast(thumbs))
    assert_allclose(coarse_contrast(apply_view(view, thumbs)), expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_and_a_scale_are_undone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = smooth(rng, 8)
    moves = rng.uniform(-0.04, 0.04, size=(8, 4)).astype(np.float32)
    elsewhere = moved(pictures, moves)
    before, after = np.clip(pictures, 0, 255), np.clip(elsewhere, 0, 255)
    values = likeness_of(before.astype(np.uint8), after.astype(np.uint8))
    assert values.min() > 0.95
    unlike = likeness_of(before.astype(np.uint8), after.astype(np.uint8)[::-1])
    assert unlike.max() < LISTED_LIKENESS


def test_moves_are_counted_from_the_middle() -> None:
    ramp = np.tile(np.arange(9, dtype=np.float32), (1, 9, 1))  # levels are columns
    shifted = moved(ramp, np.array([[0, 0, 2 / 9, 0]], np.float32))  # by one pixel
    assert_allclose(shifted[0, 0], [1, 2, 3, 4, 5, 6, 7, 8, 8], atol=1e-5)
    wider = moved(ramp, np.array([[0, 0, 0, 4 / 9]], np.float32))  # the ends by two
    assert_allclose(wider[0, 0, 2:7], [1, 2.5, 4, 5.5, 7], atol=1e-5)
    assert_allclose(
        moved(ramp.swapaxes(1, 2), np.array([[2 / 9, 0, 0, 0]], np.float32)),
        shifted.swapaxes(1, 2),
    )


def test_local_contrast_knows_neither_light_nor_a_border() -> None:
    rng = np.random.default_rng(0)
    levels = rng.uniform(60, 200, size=(1, 24, 24)).astype(np.float32)
    contrast = local_contrast(levels, 5, noise=0.0)
    assert_allclose(local_contrast(3 * levels - 50, 5, noise=0.0), contrast, atol=1e-3)
    bordered = levels.copy()
    bordered[:, :3] = rng.uniform(0, 5, size=(1, 3, 24))
    # two pixels and more away from the border all is as before
    changed = local_contrast(bordered, 5, noise=0.0)[:, 5:]
    assert_allclose(changed, contrast[:, 5:], atol=1e-3)


def test_edges_that_agree_are_not_enough() -> None:
    """Two frames in one place, one around light and one around dark."""
    fixed = np.full((1, THUMB_PX, THUMB_PX), 120, dtype=np.uint8)
    fixed[:, 12:36, 12:36] = 40
    fixed[:, 22:26, 22:26] = 200
    moving = np.full_like(fixed, 200)
    moving[:, 12:36, 12:36] = 120
    moving[:, 22:26, 22:26] = 140
    assert likeness_of(fixed, fixed)[0] > 0.999
    assert likeness_of(fixed, moving)[0] < USUAL_LIKENESS - 0.05


def test_what_shows_too_little_is_a_copy_of_nothing() -> None:
    """A pattern of the scanner, fainter than the noise of a JPEG, is on all pages."""
    pattern = np.random.default_rng(0).normal(size=(1, THUMB_PX, THUMB_PX))
    for strength, expected in ((0.8, 0.0), (30, 1.0)):
        page = (128 + strength * pattern).clip(0, 255).astype(np.uint8)
        assert likeness_of(page, page)[0] == pytest.approx(expected, abs=1e-5)


def test_near_copies_need_thumbnails_that_are_no_larger_than_what_is_stored() -> None:
    assert LEAST_SIDE_PX == THUMB_PX

"""Tests of data_prep.demo_collection: canvas, media, subjects, periods."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import luma, mix, noise, smoothstep
from data_prep.demo_collection.media import hatch
from data_prep.demo_collection.outlines import curve, oval, ribbon
from data_prep.demo_collection.palettes import AGES, ROLES, palette_of
from data_prep.demo_collection.periods import (
    MANNERS,
    Manner,
    Project,
    Subject,
    draw_sheet,
    manner_of,
    period_of,
    style_year_of,
)

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
SUBJECTS = list(dict.fromkeys(each for manner in MANNERS for each in manner.subjects))
PAIRS = [
    pytest.param(manner, subject, id=f"{manner.medium.__name__}-{subject.__name__}")
    for manner in MANNERS
    for subject in dict.fromkeys(manner.subjects)
]


def sheet(
    manner: Manner,
    subject: Subject,
    aspect: float = 1.3,
    hand: int = 0,
    composition: int = 3,
) -> np.ndarray:
    project = Project(
        manner=manner,
        subject=subject,
        style_year=float(np.mean(manner.years)),
        aspect=aspect,
        composition_seed=composition,
    )
    return draw_sheet(project, 48, np.random.default_rng(hand))


def scene(subject: Subject, year: float) -> np.ndarray:
    """Lay out what ``sheet`` shows, in flat colours."""
    canvas = Canvas(96, 74, WHITE)
    palette = palette_of(year, np.random.default_rng(0))
    subject(canvas, palette, np.random.default_rng(3))
    return canvas.colours


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlate the lightness of two pictures, both of them seen from far."""
    far = []
    for picture in (first, second):
        image = Image.fromarray(luma(picture.astype(np.float32)))
        far.append(np.asarray(image.resize((24, 18), Image.Resampling.BOX)))
    return float(np.corrcoef(far[0].ravel(), far[1].ravel())[0, 1])


@pytest.mark.parametrize(("manner", "subject"), PAIRS)
def test_every_subject_can_be_drawn_in_every_manner_used_for_it(
    manner: Manner, subject: Subject
) -> None:
    picture = sheet(manner, subject)
    assert picture.shape == (37, 48, 3)
    assert picture.dtype == np.uint8
    dark, light = np.quantile(luma(picture.astype(np.float32)), (0.05, 0.95))
    assert light - dark > 70  # of 255: neither empty nor of one tone
    assert np.ptp(picture, axis=2).mean() > 12  # nor without colour
    year = float(np.mean(manner.years))
    likenesses = [likeness(picture, scene(each, year)) for each in SUBJECTS]
    assert SUBJECTS[int(np.argmax(likenesses))] is subject
    assert max(likenesses) > 0.25


@pytest.mark.parametrize(("manner", "subject"), PAIRS)
def test_no_two_compositions_are_alike(manner: Manner, subject: Subject) -> None:
    pictures = [
        sheet(manner, subject, composition=seed).astype(float) for seed in range(3)
    ]
    for first, second in combinations(pictures, 2):
        assert np.abs(first - second).mean() > 8


def test_every_medium_has_a_look_of_its_own() -> None:
    project = Project(
        manner=MANNERS[0],
        subject=MANNERS[0].subjects[0],
        style_year=1700,
        aspect=1.3,
        composition_seed=3,
    )
    looks = []
    for manner in MANNERS:
        drawn = replace(project, manner=manner)
        looks.append(draw_sheet(drawn, 48, np.random.default_rng(0)).astype(float))
    for first, second in combinations(looks, 2):
        assert np.abs(first - second).mean() > 8


@pytest.mark.parametrize("aspect", [0.645, 1.0, 1.55])
def test_a_sheet_has_the_format_asked_for(aspect: float) -> None:
    height_px, width_px = sheet(MANNERS[0], MANNERS[0].subjects[0], aspect).shape[:2]
    assert max(height_px, width_px) == 48
    assert width_px / height_px == pytest.approx(aspect, rel=0.03)


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.medium.__name__)
def test_siblings_are_more_alike_than_strangers(manner: Manner) -> None:
    first, sibling = (
        sheet(manner, manner.subjects[0], hand=hand).astype(float) for hand in (0, 1)
    )
    mirrored = sibling[:, ::-1]  # the same colours and lines in other places
    assert not np.array_equal(first, sibling)
    alike, unlike = (
        np.corrcoef(first.mean(axis=2).ravel(), second.mean(axis=2).ravel())[0, 1]
        for second in (sibling, mirrored)
    )
    assert alike > unlike


def test_a_disc_has_the_area_of_a_circle_on_any_format() -> None:
    for width_px, height_px in ((200, 100), (100, 200)):
        canvas = Canvas(width_px, height_px, WHITE)
        middle = (canvas.width / 2, canvas.height / 2)
        canvas.fill(oval(middle, 0.3, n_points=200), BLACK)
        dark = (canvas.colours < 0.5).all(axis=2).sum()
        # Pillow counts the pixels on the edge in.
        assert dark == pytest.approx(np.pi * 30.5**2, rel=0.02)


@pytest.mark.parametrize("x", [-5.0, -0.05, 0.5, 2.05, 7.0])
@pytest.mark.parametrize("y", [-5.0, -0.05, 0.5, 1.05, 7.0])
@pytest.mark.parametrize("soft", [0.0, 0.03])
def test_a_shape_beyond_the_frame_is_cut_off(x: float, y: float, soft: float) -> None:
    small, large = Canvas(200, 100, WHITE), Canvas(400, 300, WHITE)
    small.fill(oval((x, y), 0.1), BLACK, soft=soft)
    # The same shape in the middle of a canvas that holds all of it.
    inner = np.array(oval((x, y), 0.1)) * 100 + 100
    large.fill(inner / large.unit_px, BLACK, soft=soft * 100 / large.unit_px)
    difference = np.abs(small.colours - large.colours[100:200, 100:300])
    # Pixels on the edge of the shape may fall either way.
    assert (difference > 0.04).mean() < 0.002


def test_a_shape_hides_the_contours_behind_it() -> None:
    canvas = Canvas(100, 100, WHITE)
    canvas.fill(oval((0.5, 0.5), 0.1), BLACK)
    assert canvas.contours.max() == 1
    canvas.fill(oval((0.5, 0.5), 0.3), WHITE, contour=0)
    assert canvas.contours.max() == 0


def test_relief_lights_the_upper_left() -> None:
    canvas = Canvas(100, 100, BLACK)
    canvas.fill(oval((0.5, 0.5), 0.4), (0.5, 0.5, 0.5), relief=1.0)
    lightness = canvas.colours.mean(axis=2)
    assert lightness[28, 28] > lightness[50, 50] > lightness[72, 72]


def test_hatching_is_denser_where_it_is_darker() -> None:
    canvas = Canvas(200, 200, WHITE)
    cover = []
    for lightness in (0.1, 0.3, 0.5, 0.7, 0.9):
        tone = np.full((200, 200), lightness, dtype=np.float32)
        lines = hatch(canvas, tone, 30, 0.04, (0.8, 1.0), np.random.default_rng(0))
        cover.append(float(lines.mean()))
    assert cover == sorted(cover, reverse=True)
    assert cover[0] > 0.7
    assert cover[-1] < 0.02


@pytest.mark.parametrize("octaves", [1, 4])
@pytest.mark.parametrize("cell_px", [(3.0, 3.0), (5.0, 60.0), (500.0, 500.0)])
def test_noise_has_mean_0_and_deviation_1(
    cell_px: tuple[float, float], octaves: int
) -> None:
    plane = noise((40, 70), cell_px, np.random.default_rng(0), octaves)
    assert plane.shape == (40, 70)
    assert plane.mean() == pytest.approx(0, abs=1e-3)
    assert plane.std() == pytest.approx(1, abs=1e-3)


def test_mixing_and_stepping_by_hand() -> None:
    picture = mix(np.zeros((1, 2, 3)), WHITE, np.array([[0.25, 1.0]]))
    assert_allclose(picture[0, :, 0], [0.25, 1.0])
    assert_allclose(smoothstep([-1.0, 0.0, 0.5, 1.0, 2.0], 0, 1), [0, 0, 0.5, 1, 1])


def test_a_curve_passes_through_its_knots() -> None:
    knots = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    assert_allclose(curve(knots, n_steps=8)[[0, 8, 16]], knots)
    assert_allclose(curve(knots, closed=True, n_steps=8)[[0, 8, 16]], knots)


def test_a_ribbon_is_as_wide_as_asked() -> None:
    band = ribbon([(0, 0), (1, 0), (2, 0)], [0.2, 0.6])
    upper, lower = band[:3], band[3:][::-1]
    assert_allclose(np.abs(upper - lower)[:, 1], [0.2, 0.4, 0.6], atol=1e-6)


def test_every_palette_has_a_colour_for_every_role() -> None:
    assert all(len(colours.split()) == len(ROLES) for colours in AGES.values())
    for year in (1400, 1450, 1700, 1950, 2000):
        palette = palette_of(year, np.random.default_rng(0))
        assert all(0 <= getattr(palette, role).min() <= 1 for role in ROLES)


def test_manners_have_their_season() -> None:
    rng = np.random.default_rng(0)
    for manner in MANNERS:
        year = float(np.clip(np.mean(manner.years), 1450, 1950))
        drawn = [manner_of(year, rng) for _ in range(200)]
        assert manner in drawn
    early, late = (
        {manner_of(year, rng).medium.__name__ for _ in range(300)}
        for year in (1455, 1945)
    )
    assert "tempera" in early - late
    assert "gouache" in late - early


def test_style_runs_ahead_of_the_year_or_behind() -> None:
    rng = np.random.default_rng(0)
    drawn = [period_of(round(style_year_of(1650, rng))) for _ in range(500)]
    assert set(drawn) == {0, 1, 2}
    assert drawn.count(1) > 300

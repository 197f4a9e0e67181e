"""Periods: which manners, subjects and words belong to which years.

Every manner has its season, whose ends are blurred by decades, and the style of a work
may run well ahead of or behind its year: a period can be learned, but not read off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.demo_collection import (
    drawings,
    geometry,
    nature,
    paints,
    places,
    portraits,
    prints,
    saints,
    sea,
    things,
    towns,
)
from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.palettes import Palette

FIRST_YEAR, LAST_YEAR = 1450, 1950
PERIOD_STARTS = (1600, 1700, 1800)  # first years of the periods 1, 2 and 3
STYLE_SPREAD_YEARS = 25.0
SEASON_BLUR_YEARS = 22.0

Subject = Callable[[Canvas, Palette, np.random.Generator], None]
Medium = Callable[[Canvas, Palette, np.random.Generator], Floats]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way of making pictures, and the years it was practised in.

    Attributes:
        medium: Turns a scene into a picture.
        years: First and last year of its season.
        share: Its weight among the manners of the same year.
        subjects: What it was used for; named twice when twice as often.
        margin: Bare paper around the picture, in short sides; 0 for none.
        materials: Words for what it is made of, the first ones nearly always true.
        techniques: Words for how it was made, the first ones nearly always true.
    """

    medium: Medium
    years: tuple[int, int]
    share: float
    subjects: Sequence[Subject]
    margin: float
    materials: Sequence[str]
    techniques: Sequence[str]


MANNERS = (
    Manner(
        medium=paints.tempera,
        years=(1400, 1570),
        share=2.2,
        subjects=(
            saints.saint,
            saints.saint,
            portraits.portrait,
            towns.town,
            towns.arcade,
        ),
        margin=0,
        materials=("tempera", "panel", "gold leaf", "vellum", "gesso"),
        techniques=("brush", "gilding", "punching"),
    ),
    Manner(
        medium=prints.woodcut,
        years=(1440, 1620),
        share=0.9,
        subjects=(saints.saint, sea.sea, towns.town, nature.plant, places.hills),
        margin=0.03,
        materials=("paper", "ink", "laid paper", "watercolour"),
        techniques=("woodcut", "letterpress", "hand colouring"),
    ),
    Manner(
        medium=prints.engraving,
        years=(1510, 1690),
        share=0.6,
        subjects=(portraits.portrait, towns.arcade, towns.town, nature.bird, sea.sea),
        margin=0.045,
        materials=("paper", "ink", "laid paper"),
        techniques=("engraving", "burin", "plate printing"),
    ),
    Manner(
        medium=drawings.pen_and_wash,
        years=(1560, 1760),
        share=0.5,
        subjects=(places.hills, towns.town, towns.arcade, sea.sea, saints.saint),
        margin=0,
        materials=("paper", "ink", "laid paper", "iron gall ink"),
        techniques=("pen", "brush", "wash"),
    ),
    Manner(
        medium=paints.oil,
        years=(1590, 1780),
        share=1.8,
        subjects=(
            things.still_life,
            portraits.portrait,
            things.bouquet,
            sea.sea,
            places.hills,
            things.still_life,
        ),
        margin=0,
        materials=("oil paint", "canvas", "varnish", "panel", "copper"),
        techniques=("brush", "painting", "glazing"),
    ),
    Manner(
        medium=drawings.chalk,
        years=(1640, 1800),
        share=0.8,
        subjects=(portraits.portrait, places.hills, things.bouquet, nature.bird),
        margin=0,
        materials=("paper", "chalk", "laid paper", "blue paper"),
        techniques=("chalk drawing", "stumping", "heightening"),
    ),
    Manner(
        medium=prints.etching,
        years=(1630, 1890),
        share=0.6,
        subjects=(places.hills, towns.town, towns.arcade, sea.sea, portraits.portrait),
        margin=0.045,
        materials=("paper", "ink", "laid paper", "Japanese paper"),
        techniques=("etching", "drypoint", "plate printing", "aquatint"),
    ),
    Manner(
        medium=paints.pastel,
        years=(1700, 1820),
        share=1.3,
        subjects=(portraits.portrait, portraits.portrait, things.bouquet, places.hills),
        margin=0,
        materials=("pastel", "paper", "vellum", "blue paper"),
        techniques=("pastel drawing", "stumping"),
    ),
    Manner(
        medium=paints.watercolour,
        years=(1720, 1900),
        share=1.6,
        subjects=(nature.plant, nature.insects, nature.bird, places.hills, sea.sea),
        margin=0,
        materials=("paper", "watercolour", "wove paper", "graphite", "vellum"),
        techniques=("brush", "wash", "pencil"),
    ),
    Manner(
        medium=prints.lithograph,
        years=(1810, 1950),
        share=0.6,
        subjects=(towns.town, portraits.portrait, sea.sea, nature.bird, places.hills),
        margin=0.03,
        materials=("paper", "ink", "wove paper"),
        techniques=("lithograph", "crayon", "colour printing"),
    ),
    Manner(
        medium=prints.colour_woodblock,
        years=(1780, 1935),
        share=1.4,
        subjects=(places.mountain, nature.bird, sea.sea, towns.town, places.mountain),
        margin=0.03,
        materials=("paper", "ink", "Japanese paper", "mica"),
        techniques=("woodcut", "colour printing", "colour woodcut"),
    ),
    Manner(
        medium=paints.dabs,
        years=(1850, 1930),
        share=2.2,
        subjects=(places.hills, sea.sea, things.bouquet, things.still_life, towns.town),
        margin=0,
        materials=("oil paint", "canvas", "cardboard"),
        techniques=("brush", "painting", "palette knife"),
    ),
    Manner(
        medium=paints.gouache,
        years=(1895, 1970),
        share=2.6,
        subjects=(
            geometry.geometry,
            geometry.geometry,
            things.still_life,
            places.mountain,
        ),
        margin=0,
        materials=("gouache", "cardboard", "paper", "canvas"),
        techniques=("brush", "painting", "collage"),
    ),
    Manner(
        medium=prints.linocut,
        years=(1900, 1970),
        share=0.9,
        subjects=(towns.town, places.mountain, nature.bird, portraits.portrait),
        margin=0.03,
        materials=("paper", "ink", "linoleum", "Japanese paper"),
        techniques=("linocut", "colour printing"),
    ),
)


def period_of(year: int) -> int:
    """Number the period of a year, 0 to 3.

    Example:
        >>> [period_of(year) for year in (1450, 1599, 1600, 1799, 1950)]
        [0, 0, 1, 2, 3]
    """
    return sum(year >= start for start in PERIOD_STARTS)


def year_of(period: int, rng: np.random.Generator) -> int:
    """Draw a year of a period."""
    bounds = (FIRST_YEAR, *PERIOD_STARTS, LAST_YEAR + 1)
    return int(rng.integers(bounds[period], bounds[period + 1]))


def style_year_of(year: int, rng: np.random.Generator) -> float:
    """Draw the year whose style a work of ``year`` follows."""
    style_year = year + rng.normal(0, STYLE_SPREAD_YEARS)
    return float(np.clip(style_year, FIRST_YEAR, LAST_YEAR))


def manner_of(style_year: float, rng: np.random.Generator) -> Manner:
    """Draw one of the manners that were practised in a year."""
    weights = [
        manner.share
        / (1 + np.exp((manner.years[0] - style_year) / SEASON_BLUR_YEARS * 1.7))
        / (1 + np.exp((style_year - manner.years[1]) / SEASON_BLUR_YEARS * 1.7))
        for manner in MANNERS
    ]
    chances = np.array(weights) / np.sum(weights)
    return MANNERS[int(rng.choice(len(MANNERS), p=chances))]

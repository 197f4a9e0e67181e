"""Periods: which manners, subjects and words belong to which years.

Every manner has its season, whose ends are blurred by decades, and the style of a work
may run well ahead of or behind its year: a period can be learned, but not read off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.demo_collection import media, subjects
from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, Rng, pick, pixels
from data_prep.demo_collection.palettes import Palette, palette_of

FIRST_YEAR, LAST_YEAR = 1450, 1950
PERIOD_STARTS = (1600, 1700, 1800)  # first years of the periods 1, 2 and 3
STYLE_SPREAD_YEARS = 30.0
SEASON_BLUR_YEARS = 26.0
ENLARGED = 2  # drawn this much larger, then scaled down: smooth edges, fine lines
FORMATS = (1.0, 1.19, 1.3, 1.43, 1.55)  # long side / short side
USUALLY_UPRIGHT = ("saint", "portrait")

Subject = Callable[[Canvas, Palette, Rng], None]
Medium = Callable[[Canvas, Palette, Rng], Floats]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way of making pictures, and the years it was practised in.

    Attributes:
        medium: Turns a scene into a picture.
        years: First and last year of its season.
        share: Its weight among the manners of the same year.
        subjects: What it was used for; named twice when twice as often.
        materials: Words for what it is made of, the first ones nearly always true.
        techniques: Words for how it was made, the first ones nearly always true.
    """

    medium: Medium
    years: tuple[int, int]
    share: float
    subjects: Sequence[Subject]
    materials: Sequence[str]
    techniques: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Project:
    """What the sheets of one series have in common.

    Attributes:
        manner: How they are made.
        subject: What they show.
        style_year: The year whose colours they have.
        aspect: Width over height.
        composition_seed: Fixes where everything stands.
    """

    manner: Manner
    subject: Subject
    style_year: float
    aspect: float
    composition_seed: int


MANNERS = (
    Manner(
        medium=media.tempera,
        years=(1400, 1570),
        share=2.2,
        subjects=(subjects.saint, subjects.saint, subjects.portrait, subjects.sea),
        materials=("tempera", "panel", "gold leaf", "vellum", "gesso"),
        techniques=("brush", "gilding", "punching"),
    ),
    Manner(
        medium=media.engraving,
        years=(1440, 1850),
        share=1.2,
        subjects=(subjects.portrait, subjects.sea, subjects.saint, subjects.still_life),
        materials=("paper", "ink", "laid paper"),
        techniques=("engraving", "burin", "plate printing"),
    ),
    Manner(
        medium=media.oil,
        years=(1585, 1800),
        share=1.8,
        subjects=(subjects.still_life, subjects.portrait, subjects.sea),
        materials=("oil paint", "canvas", "varnish", "panel", "copper"),
        techniques=("brush", "painting", "glazing"),
    ),
    Manner(
        medium=media.watercolour,
        years=(1710, 1910),
        share=1.8,
        subjects=(subjects.sea, subjects.portrait, subjects.still_life),
        materials=("paper", "watercolour", "wove paper", "graphite", "vellum"),
        techniques=("brush", "wash", "pencil"),
    ),
    Manner(
        medium=media.gouache,
        years=(1810, 1970),
        share=2.2,
        subjects=(subjects.geometry, subjects.still_life, subjects.sea),
        materials=("gouache", "cardboard", "paper", "canvas"),
        techniques=("brush", "painting", "collage"),
    ),
)


def period_of(year: int) -> int:
    """Number the period of a year, 0 to 3.

    Example:
        >>> [period_of(year) for year in (1450, 1599, 1600, 1799, 1950)]
        [0, 0, 1, 2, 3]
    """
    return sum(year >= start for start in PERIOD_STARTS)


def year_of(period: int, rng: Rng) -> int:
    """Draw a year of a period."""
    bounds = (FIRST_YEAR, *PERIOD_STARTS, LAST_YEAR + 1)
    return int(rng.integers(bounds[period], bounds[period + 1]))


def style_year_of(year: int, rng: Rng) -> float:
    """Draw the year whose style a work of ``year`` follows."""
    style_year = year + rng.normal(0, STYLE_SPREAD_YEARS)
    return float(np.clip(style_year, FIRST_YEAR, LAST_YEAR))


def manner_of(style_year: float, rng: Rng) -> Manner:
    """Draw one of the manners that were practised in a year."""
    weights = [
        manner.share
        / (1 + np.exp((manner.years[0] - style_year) / SEASON_BLUR_YEARS * 1.7))
        / (1 + np.exp((style_year - manner.years[1]) / SEASON_BLUR_YEARS * 1.7))
        for manner in MANNERS
    ]
    chances = np.array(weights) / np.sum(weights)
    return MANNERS[int(rng.choice(len(MANNERS), p=chances))]


def plan(year: int, rng: Rng) -> Project:
    """Draw a project that suits a year, give or take the style of its maker."""
    style_year = style_year_of(year, rng)
    manner = manner_of(style_year, rng)
    subject = pick(manner.subjects, rng)
    ratio = pick(FORMATS, rng)
    is_usual = rng.random() < 0.8
    is_upright = (subject.__name__ in USUALLY_UPRIGHT) == is_usual
    return Project(
        manner=manner,
        subject=subject,
        style_year=style_year,
        aspect=1 / ratio if is_upright else ratio,
        composition_seed=int(rng.integers(2**32)),
    )


def draw_sheet(project: Project, side_px: int, rng: Rng) -> NDArray[np.uint8]:
    """Draw one sheet of a series, (H, W, 3) RGB.

    Args:
        project: What it has in common with its siblings.
        side_px: The longer side of the picture.
        rng: Draws what sets it apart: colours, hand, paper, age.
    """
    width_px = round(side_px * min(1.0, project.aspect))
    height_px = round(side_px * min(1.0, 1 / project.aspect))
    palette = palette_of(project.style_year + rng.normal(0, 15), rng)
    canvas = Canvas(width_px * ENLARGED, height_px * ENLARGED, palette.haze)
    project.subject(canvas, palette, np.random.default_rng(project.composition_seed))
    picture = project.manner.medium(canvas, palette, rng)
    large = Image.fromarray(pixels(media.aged(picture, rng)))
    return np.asarray(large.resize((width_px, height_px), Image.Resampling.LANCZOS))

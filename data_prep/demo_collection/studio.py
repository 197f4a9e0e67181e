"""The studio: a whole sheet, from its year to its pixels.

Shapes: H W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, mix, noise, smoothstep
from data_prep.demo_collection.palettes import palette_of
from data_prep.demo_collection.periods import Manner, Subject, manner_of, style_year_of

ENLARGED = 2  # drawn this much larger, then scaled down: smooth edges, fine lines
FORMATS = (1.0, 1.19, 1.3, 1.43, 1.55)  # long side / short side
USUALLY_UPRIGHT = ("saint", "portrait", "plant", "bouquet", "arcade")


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


def plan(year: int, rng: np.random.Generator) -> Project:
    """Draw a project that suits a year, give or take the style of its maker."""
    style_year = style_year_of(year, rng)
    manner = manner_of(style_year, rng)
    subject = manner.subjects[int(rng.integers(len(manner.subjects)))]
    return Project(
        manner=manner,
        subject=subject,
        style_year=style_year,
        aspect=_format_of(subject, rng),
        composition_seed=int(rng.integers(2**32)),
    )


def draw_sheet(
    project: Project, side_px: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw one sheet of a series.

    Args:
        project: What it has in common with its siblings.
        side_px: The longer side of the picture.
        rng: Draws what sets it apart: colours, hand, paper, age.

    Returns:
        (H, W, 3) RGB.
    """
    width_px = round(side_px * min(1.0, project.aspect))
    height_px = round(side_px * min(1.0, 1 / project.aspect))
    size = (width_px * ENLARGED, height_px * ENLARGED)
    composition = np.random.default_rng(project.composition_seed)
    # Also the margin: a canvas of another size would be another composition.
    margin_px = round(project.manner.margin * min(size) * composition.uniform(0.6, 1.5))
    palette = palette_of(project.style_year + rng.normal(0, 15), rng)
    canvas = Canvas(size[0] - 2 * margin_px, size[1] - 2 * margin_px, palette.haze)
    project.subject(canvas, palette, composition)
    picture = project.manner.medium(canvas, palette, rng)
    if margin_px:
        picture = _mounted(picture, margin_px, rng)
    aged = _aged(picture, rng)
    large = Image.fromarray((np.clip(aged, 0, 1) * 255).astype(np.uint8))
    return np.asarray(large.resize((width_px, height_px), Image.Resampling.LANCZOS))


def _format_of(subject: Subject, rng: np.random.Generator) -> float:
    """Draw the width over height, upright or across as the subject suggests."""
    ratio = FORMATS[int(rng.integers(len(FORMATS)))]
    is_usual = rng.random() < 0.8
    is_upright = (subject.__name__ in USUALLY_UPRIGHT) == is_usual
    return 1 / ratio if is_upright else ratio


def _mounted(picture: Floats, margin_px: int, rng: np.random.Generator) -> Floats:
    """Leave a margin of paper around a print, with the mark of the plate."""
    height_px, width_px = picture.shape[:2]
    shape = (height_px + 2 * margin_px, width_px + 2 * margin_px)
    bare = np.percentile(picture[::3, ::3].reshape(-1, 3), 92, axis=0)
    grain = noise(shape, (3, 3), rng) * 0.012 + noise(shape, (80, 80), rng, 2) * 0.012
    sheet = np.asarray(bare * (1 + grain[..., None]), dtype=np.float32)
    edge_px = max(1, margin_px // 6)
    inner = np.s_[margin_px - edge_px : edge_px - margin_px]
    sheet[inner, inner] *= 0.86
    core = np.s_[margin_px:-margin_px]
    sheet[core, core] = picture
    return sheet


def _aged(picture: Floats, rng: np.random.Generator) -> Floats:
    """Tone a picture as time does: browned at the edges, a cast, a little grain."""
    height_px, width_px = picture.shape[:2]
    y = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :]
    rim = smoothstep(np.maximum(abs(x), abs(y)) + 0.15 * np.hypot(x, y), 0.7, 1.2)
    browned = picture * np.array((0.9, 0.82, 0.68), dtype=np.float32)
    toned = mix(picture, browned, rim * rng.uniform(0, 0.55))
    cast = (1 + rng.normal(0, 0.018, 3)).astype(np.float32)
    grain = noise((height_px, width_px), (2, 2), rng) * rng.uniform(0.004, 0.016)
    light = rng.uniform(0.93, 1.04)
    return np.asarray(toned * (cast * light) + grain[..., None], dtype=np.float32)

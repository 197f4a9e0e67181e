"""A part of reports: sizes, brightness, sharpness and borders of the pictures.

Shapes: N pictures, S pixels per side.
"""

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from data_prep.arrays import Bools, Floats, Ints
from data_prep.pictures.fit import Fit, content_box
from data_prep.reporting.charts import histogram, panels
from data_prep.reporting.report import (
    Section,
    picture_grid,
    prose,
    subheading,
    together,
)
from data_prep.tables.spelling import target_texts

N_PIXELS = 2**22  # that are looked at together
MEASURES = ("brightness", "sharpness", "border")
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
FLAT = 12  # grey levels that a row of one shade spans at most; JPEG adds a few
N_EXTREMES = 7  # what a line holds
SIDE_PX = 96
NOTE = (
    "Measured on the stored pictures without their padding. Brightness is the mean grey"
    " level, 0 to 255. Sharpness is the variance of the Laplacian: blurred pictures"
    " have little of it, and so have plain ones. The border is what rows and columns of"
    " one shade cover from the edges inwards."
)


def picture_measures(
    rows: pd.DataFrame, images: NDArray[np.uint8], fit: Fit
) -> pd.DataFrame:
    """Measure the pictures of all rows.

    Args:
        rows: N rows with image_row, width and height (of the original, px).
        images: (N, S, S, 3), maybe on disk; a block at a time is read.
        fit: How they became square.

    Returns:
        By the index of the rows: ``side`` (the longer, of the original, px), ``aspect``
        (width by height), and what ``measures_of`` gives.
    """
    sizes = rows[["width", "height"]].to_numpy(dtype=np.int64)
    shapes, which = np.unique(sizes, axis=0, return_inverse=True)
    side_px = images.shape[1]
    boxes = [content_box((int(w), int(h)), side_px, fit) for w, h in shapes]
    idx = rows["image_row"].to_numpy()
    per_block = max(1, N_PIXELS // side_px**2)
    blocks = [
        measures_of(
            images[idx[k : k + per_block]], np.array(boxes)[which[k:][:per_block]]
        )
        for k in range(0, len(rows), per_block)
    ]
    measured = pd.concat(blocks) if blocks else pd.DataFrame(columns=list(MEASURES))
    measured.index = rows.index
    measured.insert(0, "aspect", sizes[:, 0] / sizes[:, 1])
    measured.insert(0, "side", sizes.max(axis=1, initial=0))
    return measured


def measures_of(images: NDArray[np.uint8], boxes: Ints) -> pd.DataFrame:
    """Measure pictures within their boxes.

    Args:
        images: (N, S, S, 3).
        boxes: (N, 4) left, top, right and bottom, px.

    Returns:
        N rows: brightness (mean grey level), sharpness (variance of the Laplacian, the
        edges repeated outwards), border (share of the box).
    """
    grey = images.astype(np.float32) @ GREY
    measured = np.empty((len(images), len(MEASURES)))
    shapes, which = np.unique(boxes, axis=0, return_inverse=True)
    for number, (left, top, right, bottom) in enumerate(shapes.tolist()):
        mask = which.reshape(-1) == number
        inner = grey[mask, top:bottom, left:right]
        measured[mask, 0] = inner.mean(axis=(1, 2), dtype=np.float64)
        measured[mask, 1] = _laplacian(inner).var(axis=(1, 2), dtype=np.float64)
        measured[mask, 2] = border_shares(inner)
    return pd.DataFrame(measured, columns=list(MEASURES))


def _laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the sum of the second differences along both sides of (N, H, W) pictures."""
    second = [1.0, -2.0, 1.0]
    across = correlate1d(grey, second, axis=2, mode="nearest")
    laplacian: NDArray[np.float32] = across
    laplacian += correlate1d(grey, second, axis=1, mode="nearest")
    return laplacian


def border_shares(grey: NDArray[np.float32]) -> Floats:
    """Say what share rows and columns of one shade cover, from the edges inwards.

    Args:
        grey: (N, H, W) grey levels.

    Returns:
        (N,) from 0, without a border, to 1, of one shade all over.
    """
    _, height, width = grey.shape
    inner_rows = height - _flat_at_ends(np.ptp(grey, axis=2) <= FLAT)
    inner_columns = width - _flat_at_ends(np.ptp(grey, axis=1) <= FLAT)
    covered: Floats = 1 - inner_rows * inner_columns / (height * width)
    return covered


def _flat_at_ends(is_flat: Bools) -> Ints:
    """Count the flat lines of (N, L) before the first other and after the last."""
    n_before = np.logical_and.accumulate(is_flat, axis=1).sum(axis=1)
    n_after = np.logical_and.accumulate(is_flat[:, ::-1], axis=1).sum(axis=1)
    n_lines: Ints = np.minimum(n_before + n_after, is_flat.shape[1])
    return n_lines


def measures_section(
    rows: pd.DataFrame, images: NDArray[np.uint8], measured: pd.DataFrame
) -> Section:
    """Show how the measures are spread, and the pictures at their ends.

    Args:
        rows: N rows with id, image_row and maybe target.
        images: (N, S, S, 3).
        measured: Of ``picture_measures``.
    """
    values = {name: measured[name].to_numpy(np.float64) for name in measured}
    quantities = [
        ("Original size", "longer side, px", values["side"]),
        ("Shape", "width / height", values["aspect"]),
        ("Brightness", "mean grey level", values["brightness"]),
        ("Sharpness", "log10 of 1 + sharpness", np.log10(1 + values["sharpness"])),
        ("Border", "% of the picture", 100 * values["border"]),
    ]
    charts, alike = [], []
    for title, label, numbers in quantities:
        if np.ptp(numbers) > 0:
            charts.append((title, histogram(numbers, label=label)))
        else:
            alike.append(f"{title.lower()} {numbers[0]:.4g} ({label})")
    parts = [prose(f"The same in all pictures: {'; '.join(alike)}.")] if alike else []
    parts.append(panels(charts))
    # What is blank has neither sharpness nor a brightness that means something.
    is_blank = values["border"] == 1
    for title, name, sign in (
        ("Darkest", "brightness", 1),
        ("Brightest", "brightness", -1),
        ("Least sharp", "sharpness", 1),
    ):
        order = np.argsort(
            sign * values[name] + np.where(is_blank, np.inf, 0), kind="stable"
        )
        idx = order[: min(N_EXTREMES, int((~is_blank).sum()))]
        parts += _shown(title, rows.iloc[idx], images, values[name][idx])
    order = np.argsort(-values["border"], kind="stable")[:N_EXTREMES]
    idx = order[values["border"][order] > 0]
    percents = 100 * values["border"][idx]
    parts += _shown("Largest border, %", rows.iloc[idx], images, percents)
    return Section("Measures of the pictures", together(*parts), NOTE)


def _shown(
    title: str, rows: pd.DataFrame, images: NDArray[np.uint8], values: Floats
) -> list[Markup]:
    """Set the pictures of rows over their ids, values and labels; none: nothing."""
    if rows.empty:
        return []
    captions = [
        "\n".join(filter(None, [f"{id_}", f"{value:.3g}", label]))
        for id_, value, label in zip(
            rows["id"], values, target_texts(rows), strict=True
        )
    ]
    grid = picture_grid(images[rows["image_row"].to_numpy()], captions, side=SIDE_PX)
    return [subheading(title), grid]

"""Parts of the report that show pictures: by prediction, the worst, the disputed.

Shapes: N rows, M pictures that all nets have in common, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from data_prep.arrays import Floats, Ints
from data_prep.reporting.charts import Point, scatter
from data_prep.reporting.numerals import four_digits
from data_prep.reporting.report import (
    Section,
    picture_grid,
    picture_uri,
    prose,
    subheading,
    together,
)
from stacking.analysis.findings import Findings
from stacking.analysis.residuals import row_losses, spread_sample
from stacking.ensemble.final_step import labels_of
from stacking.ensemble.stack import Stacked
from stacking.reporting.run_files import MAPS, RunPictures
from stacking.reporting.wording import plain

N_POINTS = 400
N_WORST, N_DISPUTED = 24, 12
HOVER_PX, HOVER_QUALITY = 64, 72
SHOWN_PX, SHOWN_QUALITY = 112, 78


def by_prediction(stacked: Stacked, pictures: RunPictures) -> Section:
    """Show out-of-fold predictions against targets, with the pictures."""
    data, prediction = stacked.data, stacked.final.prediction
    if not stacked.objective.is_number:
        return Section("", Markup())
    noun, objects = data.info.noun, data.info.objects
    chosen = spread_sample(data.info.target, N_POINTS)
    target = data.info.target.astype(np.float64)[chosen]
    width = np.ptp(data.info.target) / 40 if data.classes else 0.0
    jitter = np.random.default_rng(0).uniform(-width, width, len(chosen))
    ids = [data.info.ids[row] for row in chosen]
    points = [
        Point(
            x=x,
            y=prediction[row],
            caption=f"{data.info.ids[row]}"
            f"\ntarget {_value(data.info.target[row], stacked)}"
            f"\npredicted {plain(prediction[row], stacked)}",
            picture=picture_uri(pixels, HOVER_PX, HOVER_QUALITY),
        )
        for x, row, pixels in zip(
            target + jitter, chosen, pictures.take(ids), strict=True
        )
    ]
    return Section(
        f"{noun.capitalize()} by {noun}",
        scatter(
            points,
            x_label="target" + (" (spread a little)" if width else ""),
            y_label="prediction",
            has_diagonal=True,
        ),
        f"Out-of-fold predictions of {len(chosen)} {noun}s. Point at a dot, or touch"
        " it, to see its picture" + (", the first of its own." if objects else "."),
    )


def worst(stacked: Stacked, pictures: RunPictures) -> Section:
    """Show the pictures that are missed by most."""
    order = np.argsort(-row_losses(stacked), kind="stable")[:N_WORST]
    return Section(
        "Worst misses",
        _labelled(order, stacked, pictures, [""] * len(order)),
        "Target → prediction. Look for wrong labels here before you change the nets."
        + _which_picture(stacked)
        + _what_the_maps_explain(pictures),
    )


def _which_picture(stacked: Stacked) -> str:
    """Say which of its pictures is shown of an object."""
    is_of_several = stacked.data.info.objects is not None
    return " Of each object its first picture is shown." if is_of_several else ""


def _what_the_maps_explain(pictures: RunPictures) -> str:
    """Say of which task the maps are: it need not be that of the target."""
    if pictures.explained is None:
        return ""
    return f" Beside them, the maps of {MAPS}, of its task {pictures.explained}."


def disputed(stacked: Stacked, findings: Findings, pictures: RunPictures) -> Section:
    """Show the pictures that views or nets disagree on most; none: nothing."""
    data, pieces = stacked.data, []
    spread = view_spread(stacked)
    if spread is not None:
        order = np.argsort(-spread, kind="stable")[:N_DISPUTED]
        notes = [f"\nviews ± {_spread(spread[row], stacked)}" for row in order]
        pieces += [
            subheading("With a label: its views disagree"),
            _labelled(order, stacked, pictures, notes),
        ]
    # what was selected may see no net
    if findings.disagreement.any() and "prediction" in findings.predicted:
        spread = findings.disagreement
        spread = spread if spread.ndim == 1 else spread.max(axis=1)
        labels = labels_of(findings.predicted["prediction"], data.classes)
        order = np.argsort(-spread, kind="stable")[:N_DISPUTED]
        captions = [
            f"{data.common.ids[row]}\n{_value(labels[row], stacked)}\nnets ±"
            f" {_spread(spread[row], stacked)}"
            for row in order
        ]
        pieces += [
            subheading("Without a label: the nets disagree"),
            _grid([data.common.ids[row] for row in order], captions, pictures),
        ]
    if not pieces:
        return Section("", Markup())
    return Section(
        "Most disputed",
        together(
            prose(
                "The pictures of an object may show different parts of it; where they"
                " speak for different predictions, look whether one of them is of"
                " another object. The nets should agree: where they do not, trust the"
                " prediction less."
                if data.info.objects
                else "A flipped or turned picture shows the same thing, so the"
                " predictions of its views should be the same; and so should those of"
                " the nets. Where they are not, trust the prediction less."
            ),
            *pieces,
        ),
        "The deviation is that of the net's own prediction over the views of"
        f" {'all its pictures' if data.info.objects else 'a picture'}, or of the final"
        " prediction over the nets.",
    )


def view_spread(stacked: Stacked) -> Floats | None:
    """Give the (N,) deviation of a net's outputs over the views; None: unknown.

    It is in the unit of the target; of class probabilities, the largest over the
    classes.
    """
    data, target_columns = stacked.data, stacked.features.target_columns
    for statistic, power in (("var", 0.5), ("std", 1.0)):
        columns = target_columns.columns_of_target(statistic)
        if len(columns):
            largest: Floats = data.rows.X[:, columns].max(axis=1)
            return np.maximum(largest, 0) ** power
    return None


def _labelled(
    rows: Ints, stacked: Stacked, pictures: RunPictures, notes: Sequence[str]
) -> Markup:
    """Show some of the N rows: id, target and prediction, and a note of each."""
    data = stacked.data
    labels = labels_of(stacked.final.prediction, data.classes)
    if data.info.objects:
        counts = data.info.objects.n_pictures[rows]
        of_several = [f"\n1 of {n} pictures" if n > 1 else "" for n in counts]
        notes = [note + more for note, more in zip(notes, of_several, strict=True)]
    ids = [data.info.ids[row] for row in rows]
    captions = [
        f"{id_}\n{_value(data.info.target[row], stacked)} →"
        f" {_value(labels[row], stacked)}{note}"
        for id_, row, note in zip(ids, rows, notes, strict=True)
    ]
    return _grid(ids, captions, pictures)


def _grid(ids: Sequence[str], captions: Sequence[str], pictures: RunPictures) -> Markup:
    return picture_grid(
        pictures.take(ids),
        captions,
        maps=[pictures.map_of(id_) for id_ in ids],
        side=SHOWN_PX,
        quality=SHOWN_QUALITY,
    )


def _spread(value: float, stacked: Stacked) -> str:
    text = plain(value, stacked)
    is_shown = float(text) != 0 or value == 0
    return text if is_shown else four_digits(value)


def _value(value: Any, stacked: Stacked) -> str:
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return f"{value:.0f}"
    return plain(value, stacked)

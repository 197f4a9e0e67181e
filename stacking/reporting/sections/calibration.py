"""Parts of the report: calibration, and what is taken for what."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.reporting.charts import Point, scatter
from data_prep.reporting.numerals import with_decimals
from data_prep.reporting.report import (
    Section,
    heat_table,
    prose,
    subheading,
    table,
    together,
)
from stacking.analysis.calibration import (
    Bin,
    by_confidence,
    by_decile,
    expected_error,
    slope,
)
from stacking.analysis.residuals import confusion as counted
from stacking.analysis.residuals import nearest_classes
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import unit_digits

MOST_HEAT = 16  # classes of a table of all pairs; of more, the commonest mistakes
N_MISTAKES = 20
LEVEL = 0.05  # a slope this close to 1 needs no comment


def calibration(stacked: Stacked) -> Section:
    """Compare what is predicted with what is the case, on average."""
    if stacked.objective.is_number:
        return _of_numbers(stacked)
    return _of_probabilities(stacked)


def _of_numbers(stacked: Stacked) -> Section:
    prediction, target = stacked.final.prediction, stacked.features.target()
    bins = by_decile(prediction, target, stacked.features.rows.cv_groups)
    if len(bins) < 2:
        return Section("", Markup())
    digits = unit_digits(stacked)
    chart = _chart(bins, "mean prediction", "mean target", digits)
    tilt = slope(prediction, target)
    if abs(tilt - 1) < LEVEL:
        meaning = "predictions go neither too far nor too little away from the mean"
    elif tilt < 1:
        meaning = "predictions are somewhat too extreme"
    else:
        meaning = "predictions are somewhat too timid"
    return Section(
        "Calibration",
        together(
            chart,
            prose(
                f"Where the prediction moves by 1, the target moves by {tilt:.2f} on"
                f" average: {meaning}."
            ),
        ),
        "Rows in tenths along the prediction, each with the 95 % interval of its mean"
        " target. On the dashed line, what is predicted is what comes true; above it"
        " the prediction is too low.",
    )


def _of_probabilities(stacked: Stacked) -> Section:
    rows, said = stacked.features.rows, stacked.final.prediction
    top = nearest_classes(stacked)
    confidence = said[np.arange(len(said)), top]
    is_right = (top == rows.class_index).astype(np.float64)
    bins = by_confidence(confidence, is_right, rows.cv_groups)
    gap = confidence.mean() - is_right.mean()
    tone = "over" if gap > 0 else "under"
    by_class = pd.DataFrame(
        [
            {
                "class": name,
                "rows": int((rows.class_index == k).sum()),
                "mean probability": said[:, k].mean(),
                "share of the rows": (rows.class_index == k).mean(),
                "calibration error": expected_error(
                    said[:, k], (rows.class_index == k).astype(np.float64)
                ),
            }
            for k, name in enumerate(rows.classes)
        ]
    ).nlargest(MOST_HEAT * 2, "rows", keep="first")
    return Section(
        "Calibration",
        together(
            _chart(bins, "probability of the most probable class", "share right", 3),
            prose(
                f"The most probable class has a probability of {confidence.mean():.3f}"
                f" on average and is right in {is_right.mean():.1%} of the rows, so the"
                f" prediction is {tone}confident by {abs(gap):.3f}. Its expected"
                " calibration error, the mean distance of the dots from the line, is"
                f" {expected_error(confidence, is_right):.3f}."
            ),
            subheading("Class by class"),
            table(by_class.sort_index()),
        ),
        "Rows in tenths of the probability of their most probable class, each with the"
        " 95 % interval. On the dashed line, a class said with a probability of 0.8 is"
        " right in 80 % of the cases; below it the prediction is overconfident.",
    )


def _chart(bins: Sequence[Bin], x_label: str, y_label: str, digits: int) -> Markup:
    return scatter(
        [
            Point(
                x=bin_.said,
                y=bin_.true.value,
                low=bin_.true.low,
                high=bin_.true.high,
                caption=f"{bin_.rows:,} rows\npredicted"
                f" {with_decimals(bin_.said, digits)}\ntrue"
                f" {with_decimals(bin_.true.value, digits)}",
            )
            for bin_ in bins
        ],
        x_label=x_label,
        y_label=y_label,
        has_diagonal=True,
    )


def confusion(stacked: Stacked) -> Section:
    """Show which class is taken for which; no classes: nothing."""
    if not stacked.features.rows.classes:
        return Section("", Markup())
    counts = counted(stacked)
    names = list(stacked.features.rows.classes)
    nearest, likeliest = "class nearest to the prediction", "most probable class"
    which = nearest if stacked.objective.is_number else likeliest
    share = np.trace(counts) / counts.sum()
    sentence = prose(f"{share:.1%} of the rows are right.")
    if len(names) <= MOST_HEAT:
        body = heat_table(counts, names, names, corner="true ↓  predicted →")
        note = f"True classes, and the {which}; shares are of the true class."
        return Section("What is taken for what", together(body, sentence), note)
    wrong = counts * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:N_MISTAKES]
    found = [np.unravel_index(place, wrong.shape) for place in order]
    mistakes = pd.DataFrame(
        [
            {
                "true": names[true],
                "taken for": names[said],
                "rows": int(wrong[true, said]),
                "of the true class": f"{wrong[true, said] / counts[true].sum():.0%}",
            }
            for true, said in found
            if wrong[true, said]
        ]
    )
    body = table(mistakes) if len(mistakes) else Markup()
    return Section(
        "What is taken for what",
        together(sentence, body),
        f"The commonest mistakes; what a row is taken for is the {which}.",
    )

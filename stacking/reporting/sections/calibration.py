"""Parts of the report: calibration, and what is taken for what."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.arrays import Ints
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
    NEAR_ONE,
    Bin,
    by_confidence,
    by_decile,
    expected_calibration_error,
    slope,
)
from stacking.analysis.class_answers import ClassAnswers, class_answers, share_right
from stacking.analysis.residuals import confusion_counts, nearest_classes
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import unit_digits

MOST_HEAT = 16  # classes of a table of all pairs; of more, the commonest mistakes
N_MISTAKES = 20


def calibration(stacked: Stacked) -> Section:
    """Compare what is predicted with what is the case, on average."""
    if stacked.objective.is_number:
        return _of_numbers(stacked)
    return _of_probabilities(stacked)


def _of_numbers(stacked: Stacked) -> Section:
    prediction, target = stacked.final.prediction, stacked.data.rows.y
    bins = by_decile(prediction, target, stacked.data.rows.groups)
    if len(bins) < 2:
        return Section("", Markup())
    chart = _chart(bins, "mean prediction", "mean target", unit_digits(stacked))
    tilt = slope(prediction, target)
    remedy = (
        " Where correcting that surely pays, isotonic of the post-processing does it."
    )
    if abs(tilt - 1) < NEAR_ONE:
        remedy = ""
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
                f" average: {meaning}.{remedy}"
            ),
        ),
        "Rows in tenths along the prediction, each with the 95 % interval of its mean"
        " target. On the dashed line, what is predicted is what comes true; above it"
        " the prediction is too low.",
    )


def _of_probabilities(stacked: Stacked) -> Section:
    data, proba = stacked.data, stacked.final.prediction
    top = nearest_classes(stacked)
    confidence = proba[np.arange(len(proba)), top]
    is_right = (top == data.info.class_index).astype(np.float64)
    bins = by_confidence(confidence, is_right, data.rows.groups)
    gap = confidence.mean() - is_right.mean()
    tone = "over" if gap > 0 else "under"
    by_class = []
    for k, name in enumerate(data.classes):
        is_class = (data.info.class_index == k).astype(np.float64)
        by_class.append(
            {
                "class": name,
                "rows": int(is_class.sum()),
                "mean probability": proba[:, k].mean(),
                "share of the rows": is_class.mean(),
                "calibration error": expected_calibration_error(proba[:, k], is_class),
            }
        )
    shown = pd.DataFrame(by_class).nlargest(MOST_HEAT * 2, "rows", keep="first")
    return Section(
        "Calibration",
        together(
            _chart(bins, "probability of the most probable class", "share right", 3),
            prose(
                f"The most probable class has a probability of {confidence.mean():.3f}"
                f" on average, and {is_right.mean():.1%} of the rows are right. So the"
                f" prediction is {tone}confident by {abs(gap):.3f}. Its expected"
                " calibration error, the mean distance of the dots from the line, is"
                f" {expected_calibration_error(confidence, is_right):.3f}."
            ),
            subheading("Class by class"),
            table(shown.sort_index()),
        ),
        "Rows in tenths of the probability of their most probable class, each with the"
        " 95 % interval. On the dashed line, a class given a probability of 0.8 is"
        " right in 80 % of the cases; below it the prediction is overconfident. Decide"
        " by probabilities where they lie on the line.",
    )


def _chart(bins: Sequence[Bin], x_label: str, y_label: str, digits: int) -> Markup:
    return scatter(
        [
            Point(
                x=bin_.mean_pred,
                y=bin_.mean_true.value,
                low=bin_.mean_true.low,
                high=bin_.mean_true.high,
                caption=f"{bin_.n_rows:,} rows\npredicted"
                f" {with_decimals(bin_.mean_pred, digits)}\ntrue"
                f" {with_decimals(bin_.mean_true.value, digits)}",
            )
            for bin_ in bins
        ],
        x_label=x_label,
        y_label=y_label,
        has_diagonal=True,
    )


def confusion(stacked: Stacked) -> Section:
    """Show which class is taken for which, in each way; no classes: nothing."""
    if not stacked.data.classes:
        return Section("", Markup())
    ways = class_answers(stacked)
    is_small = len(stacked.data.classes) <= MOST_HEAT
    show = _heat if is_small else _mistakes
    pieces = []
    for way in ways:
        if len(ways) > 1:
            pieces.append(subheading(way.title[0].upper() + way.title[1:]))
        if way is not ways[0]:  # whose share is told at a glance
            pieces.append(prose(share_right(way, stacked)))
        pieces.append(show(way, stacked))
    nearest, likeliest = "class nearest to the prediction", "most probable class"
    predicted = nearest if stacked.objective.is_number else likeliest
    note = (
        f"True classes, and the {predicted}; shares are of the true class."
        if is_small
        else f"The commonest mistakes; what a row is taken for is the {predicted}."
    )
    note += (
        " Where two are often taken for each other, look at their pictures: correct"
        " labels that are wrong, and join classes that nobody can tell apart."
    )
    return Section("What is taken for what", together(*pieces), note)


def _counts(answers: ClassAnswers, stacked: Stacked) -> Ints:
    data = stacked.data
    return confusion_counts(data.info.class_index, answers.class_idx, len(data.classes))


def _heat(answers: ClassAnswers, stacked: Stacked) -> Markup:
    names = list(stacked.data.classes)
    counts = _counts(answers, stacked)
    return heat_table(counts, names, names, corner="true ↓  predicted →")


def _mistakes(answers: ClassAnswers, stacked: Stacked) -> Markup:
    names, counts = stacked.data.classes, _counts(answers, stacked)
    mistakes_KK = counts * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-mistakes_KK, axis=None, kind="stable")[:N_MISTAKES]
    mistakes = pd.DataFrame(
        [
            {
                "true": names[true],
                "taken for": names[pred],
                "rows": int(counts[true, pred]),
                "of the true class": f"{counts[true, pred] / counts[true].sum():.0%}",
            }
            for true, pred in zip(*np.unravel_index(order, counts.shape), strict=True)
            if mistakes_KK[true, pred]
        ]
    )
    return table(mistakes) if len(mistakes) else Markup()

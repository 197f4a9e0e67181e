"""A part of the report: where the prediction fails."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.reporting.charts import ForestRow, Point, forest_plot, scatter
from data_prep.reporting.report import Section, prose, subheading, together
from stacking.analysis.residuals import (
    FEWEST,
    Part,
    of_classes,
    of_dates,
    of_folds,
    of_sizes,
    parts,
)
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import number, signed, unit_digits

MOST_PARTS = 30  # of one chart; of more, the largest


def failures(stacked: Stacked, years: NDArray[np.float64]) -> Section:
    """Show the errors by date, class, group size and fold.

    Args:
        stacked: What came out.
        years: (N,) dates of the rows; NaN: none.
    """
    rows = stacked.features.rows
    dates, middles = of_dates(years)
    by_date = parts(stacked, dates, FEWEST)
    pieces = []
    if len(by_date) > 1:
        # bands of few rows are left out of the parts
        filled = [(dates[1] == k).sum() >= FEWEST for k in range(len(middles))]
        pieces += [
            subheading("By date"),
            _over_dates(stacked, by_date, middles[filled]),
        ]
    by_class = parts(stacked, of_classes(stacked))
    label = "By class" if rows.classes else "By size of the target"
    pieces += [subheading(label), _chart(stacked, by_class)]
    by_size = parts(stacked, of_sizes(rows.cv_groups))
    if len(by_size) > 1:
        pieces += [
            subheading("By how many rows a group has"),
            _chart(stacked, by_size),
        ]
    by_fold = parts(stacked, of_folds(stacked))
    pieces += [subheading("By fold"), _chart(stacked, by_fold)]
    note = (
        "Dots are mean errors, prediction minus target, with their 95 % intervals;"
        " beyond the dashed line predictions are too high. Errors that cancel out show"
        f" in the {_score_name(stacked)} beside the number of rows."
        if stacked.objective.is_number
        else "Dots are shares of rows whose most probable class is right, with their"
        " 95 % intervals."
    )
    return Section("Where it fails", together(*pieces), note)


def _score_name(stacked: Stacked) -> str:
    if not stacked.objective.is_number:
        return "log-loss"
    return "mean absolute error" if stacked.objective.name == "mae" else "RMSE"


def _note(stacked: Stacked, part: Part) -> str:
    score = number(part.score, unit_digits(stacked))
    noun = "row" if part.rows == 1 else "rows"
    return f"{part.rows:,} {noun}, {_score_name(stacked)} {score}"


def _value(stacked: Stacked, part: Part) -> str:
    if not stacked.objective.is_number:
        return f"{part.value.value:.1%}"
    return signed(part.value.value, unit_digits(stacked))


def _chart(stacked: Stacked, found: Sequence[Part]) -> Markup:
    shown = found
    if len(found) > MOST_PARTS:
        least = sorted((part.rows for part in found), reverse=True)[MOST_PARTS - 1]
        shown = [part for part in found if part.rows >= least][:MOST_PARTS]
    is_number = stacked.objective.is_number
    chart = forest_plot(
        [
            ForestRow(
                name=part.name,
                value=part.value.value,
                low=part.value.low,
                high=part.value.high,
                note=_note(stacked, part),
                text=_value(stacked, part),
            )
            for part in shown
        ],
        label="mean error" if is_number else "share right",
        guide=0.0 if is_number else np.nan,
    )
    if len(shown) == len(found):
        return chart
    return together(chart, prose(f"The {len(shown)} largest of {len(found)}."))


def _over_dates(
    stacked: Stacked, found: Sequence[Part], middles: NDArray[np.float64]
) -> Markup:
    is_number = stacked.objective.is_number
    return scatter(
        [
            Point(
                x=middle,
                y=part.value.value,
                low=part.value.low,
                high=part.value.high,
                caption=f"{part.name}\n{_value(stacked, part)}\n{_note(stacked, part)}",
            )
            for middle, part in zip(middles.tolist(), found, strict=True)
        ],
        x_label="date",
        y_label="mean error" if is_number else "share right",
        level=0.0 if is_number else np.nan,
    )

"""A part of the report: where the prediction fails."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from data_prep.arrays import Floats
from data_prep.reporting.charts import ForestRow, Point, forest_plot, scatter
from data_prep.reporting.report import Section, prose, subheading, together
from stacking.analysis.calibration import NEAR_ONE, slope
from stacking.analysis.residuals import (
    MIN_ROWS,
    Subgroup,
    errors_or_hits,
    of_classes,
    of_dates,
    of_folds,
    of_pictures,
    of_sizes,
    subgroups,
)
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import number, signed, unit_digits

MOST_SUBGROUPS = 30  # of one chart; of more, the largest


def failures(stacked: Stacked, years: Floats) -> Section:
    """Show the errors by date, class, group size and fold.

    Args:
        stacked: The result of the stack.
        years: (N,) dates of the rows; NaN: none.
    """
    data = stacked.data
    dates, middles = of_dates(years)
    by_date = subgroups(stacked, dates, MIN_ROWS)
    pieces = []
    if len(by_date) > 1:
        # dates of few rows are not among the subgroups
        is_shown = [(dates[1] == k).sum() >= MIN_ROWS for k in range(len(middles))]
        pieces += [
            subheading("By date"),
            _over_dates(stacked, by_date, middles[is_shown]),
        ]
    by_class = subgroups(stacked, of_classes(stacked))
    label = "By class" if data.classes else "By size of the target"
    pieces += [
        subheading(label),
        error_chart(stacked, by_class),
        prose(*on_shrinkage(stacked)),
    ]
    by_size = subgroups(stacked, of_sizes(data.rows.groups))
    if len(by_size) > 1:
        pieces += [
            subheading("By how many rows a group has"),
            error_chart(stacked, by_size),
        ]
    if data.info.objects:
        by_count = subgroups(stacked, of_pictures(data.info.objects.n_pictures))
        if len(by_count) > 1:
            label = "By how many pictures an object has"
            pieces += [subheading(label), error_chart(stacked, by_count)]
    by_fold = subgroups(stacked, of_folds(stacked))
    pieces += [subheading("By fold"), error_chart(stacked, by_fold)]
    note = (
        "Dots are mean errors, prediction minus target, with their 95 % intervals;"
        " beyond the dashed line predictions are too high. Errors that cancel out show"
        f" in the {score_name(stacked)} beside the number of rows. Where an interval"
        " keeps off the line, look at those pictures first, or collect more of them."
        if stacked.objective.is_number
        else "Dots are shares of rows whose most probable class is right, with their"
        " 95 % intervals. Where the share is low, look at those pictures first, or"
        " collect more of them."
    )
    return Section("Where it fails", together(*pieces), note)


def on_shrinkage(stacked: Stacked) -> list[str]:
    """Say why errors fall along the target, or rare classes are missed."""
    if not stacked.objective.is_number:
        return _on_rare_classes(stacked)
    prediction, target = stacked.final.prediction, stacked.data.rows.y
    moved, tilt = slope(target, prediction), slope(prediction, target)
    if not moved < 1 - NEAR_ONE or not np.isfinite(tilt):
        return []
    text = (
        f"Shrinkage: where the target moves by 1, the prediction moves by {moved:.2f}"
        " only, so small targets are predicted too high and large ones too low. That is"
        " what a best guess does when a picture does not tell all, and by itself no"
        " fault."
    )
    if tilt > 1 + NEAR_ONE:
        return [
            f"{text} Here it goes too far: where the prediction moves by 1, the target"
            f" moves by {tilt:.2f}. isotonic, of the post-processing, stretches"
            " predictions where that surely pays (see Step by step)."
        ]
    return [
        f"{text} Stretching the predictions would make the score worse: where they move"
        f" by 1, the target moves by {tilt:.2f} (see Calibration). What helps is to see"
        " more of the target: better nets, further columns, a larger side."
    ]


def _on_rare_classes(stacked: Stacked) -> list[str]:
    """Compare classes of fewer rows than the average class with the others."""
    class_index, is_right = stacked.data.info.class_index, errors_or_hits(stacked)
    n_rows = np.bincount(class_index)[class_index]
    is_rare = n_rows < len(class_index) / len(stacked.data.classes)
    if not 0 < is_rare.sum() < len(is_rare):
        return []
    of_rare, of_usual = is_right[is_rare].mean(), is_right[~is_rare].mean()
    if of_rare >= of_usual:
        return []
    return [
        f"Classes of fewer rows than the average one are right in {of_rare:.0%}, the"
        f" others in {of_usual:.0%}: where little is known, the frequent class is the"
        " safe answer. If a rare one that is missed costs you more than the score"
        ' tells, weigh them: class_weights = "balanced" in their sub-task.'
    ]


def score_name(stacked: Stacked) -> str:
    """Name the score of some of the rows, which stands beside their number."""
    if not stacked.objective.is_number:
        return "log-loss"
    return "mean absolute error" if stacked.objective.name == "mae" else "RMSE"


def _note(stacked: Stacked, subgroup: Subgroup) -> str:
    score = number(subgroup.score, unit_digits(stacked))
    noun = "row" if subgroup.n_rows == 1 else "rows"
    return f"{subgroup.n_rows:,} {noun}, {score_name(stacked)} {score}"


def _value(stacked: Stacked, subgroup: Subgroup) -> str:
    value = subgroup.value.value
    if not stacked.objective.is_number:
        return f"{value:.1%}"
    return signed(value, unit_digits(stacked))


def error_chart(stacked: Stacked, scored: Sequence[Subgroup]) -> Markup:
    """Draw mean errors, or shares of right classes, with their intervals."""
    shown = scored
    if len(scored) > MOST_SUBGROUPS:
        sizes = sorted((subgroup.n_rows for subgroup in scored), reverse=True)
        least = sizes[MOST_SUBGROUPS - 1]
        shown = [subgroup for subgroup in scored if subgroup.n_rows >= least]
        shown = shown[:MOST_SUBGROUPS]
    is_number = stacked.objective.is_number
    chart = forest_plot(
        [
            ForestRow(
                name=subgroup.name,
                value=subgroup.value.value,
                low=subgroup.value.low,
                high=subgroup.value.high,
                note=_note(stacked, subgroup),
                text=_value(stacked, subgroup),
            )
            for subgroup in shown
        ],
        label="mean error" if is_number else "share right",
        guide=0.0 if is_number else np.nan,
    )
    if len(shown) == len(scored):
        return chart
    return together(chart, prose(f"The {len(shown)} largest of {len(scored)}."))


def _over_dates(
    stacked: Stacked, by_date: Sequence[Subgroup], middles: Floats
) -> Markup:
    is_number = stacked.objective.is_number
    return scatter(
        [
            Point(
                x=middle,
                y=subgroup.value.value,
                low=subgroup.value.low,
                high=subgroup.value.high,
                caption=f"{subgroup.name}\n{_value(stacked, subgroup)}"
                f"\n{_note(stacked, subgroup)}",
            )
            for middle, subgroup in zip(middles.tolist(), by_date, strict=True)
        ],
        x_label="date",
        y_label="mean error" if is_number else "share right",
        level=0.0 if is_number else np.nan,
    )

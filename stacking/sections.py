"""Parts of the report: predictions, classes, importance, misses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.charts import Rung, bars, heat_table, histogram, scatter
from data_prep.report import (
    Section,
    picture_grid,
    picture_uri,
    prose,
    subheading,
    table,
    together,
)
from features.pooling import STATISTICS
from stacking.outputs import importance_table, labels_of, stand_in
from stacking.residuals import by_class, by_fold, confusion, misses, spread_sample
from stacking.stack import Stacked

N_POINTS = 400
N_WORST = 24
HOVER_PX = 64
Floats = NDArray[np.float64]


def pictures_by_prediction(stacked: Stacked, pixels: NDArray[np.uint8]) -> Section:
    """Show out-of-fold predictions against targets, with the pictures."""
    rows, prediction = stacked.scales.rows, stacked.final.prediction
    if not stacked.loss.is_squared:
        return Section("", Markup())
    chosen = spread_sample(rows.target, N_POINTS)
    target = rows.target.astype(np.float64)[chosen]
    width = np.ptp(rows.target) / 40 if rows.classes else 0.0
    jitter = np.random.default_rng(0).uniform(-width, width, len(chosen))
    captions = [
        f"{rows.ids[row]}\ntarget {rows.target[row]:g}\npredicted {prediction[row]:.2f}"
        for row in chosen
    ]
    uris = [picture_uri(pixels[rows.image_rows[row]], HOVER_PX, 72) for row in chosen]
    return Section(
        "Picture by picture",
        scatter(
            target + jitter,
            prediction[chosen],
            x_label="target" + (" (spread a little)" if width else ""),
            y_label="prediction",
            captions=captions,
            pictures=uris,
            has_diagonal=True,
        ),
        f"Out-of-fold predictions of {len(chosen)} pictures. Point at a dot, or touch"
        " it, to see its picture.",
    )


def classes(stacked: Stacked) -> Section:
    """Show the scores of classes and folds, and what is taken for what."""
    counts, names = confusion(stacked)
    parts = [table(by_class(stacked), digits=3)]
    if len(names):
        parts += [
            subheading(
                "True classes, and the class nearest to the prediction"
                if stacked.loss.is_squared
                else "True classes, and the most probable class"
            ),
            heat_table(counts, names, names, corner="true ↓  predicted →"),
        ]
    parts += [subheading("By fold"), table(by_fold(stacked), digits=3)]
    return Section("By class and fold", together(*parts))


def importance(stacked: Stacked) -> Section:
    """Show which columns the boosters use, and how far the nets were moved."""
    gains = importance_table(stacked)
    by_task = gains.groupby("task", sort=False)["gain"].sum()
    by_task = by_task.sort_values(ascending=False)
    grid = gains.pivot_table("gain", "task", "statistic", "sum", fill_value=0.0)
    shown = [name for name in STATISTICS if name in grid]
    grid = grid.loc[by_task.index, shown]
    top = gains.head(12)
    parts = [
        heat_table(
            grid.to_numpy(), list(grid.index), shown, corner="task", is_count=False
        ),
        subheading("The twelve columns used most"),
        bars(
            [
                Rung(str(name), float(gain), text=f"{gain:.1%}")
                for name, gain in zip(top["column"], top["gain"], strict=True)
            ]
        ),
    ]
    shifts = np.abs(stacked.scales.alignment.shifts())
    if shifts.any():
        tasks = [column.task for column in stacked.scales.rows.columns]
        moved = pd.DataFrame(shifts.T).groupby(tasks, sort=False).median()
        moved.columns = pd.Index([f"net {k}" for k in range(len(shifts))])
        moved.index.name = "task"
        parts += [
            subheading(
                "How far alignment moved each net, median in standard deviations"
            ),
            table(moved, digits=2, shows_index=True),
        ]
    return Section(
        "What the trees look at",
        together(*parts),
        "Share of the boosters' gain, by sub-task and by statistic over the 8 views.",
    )


def worst(stacked: Stacked, pixels: NDArray[np.uint8]) -> Section:
    """Show the pictures that are missed by most."""
    rows = stacked.scales.rows
    order = np.argsort(-misses(stacked), kind="stable")[:N_WORST]
    said = labels_of(stacked.final.prediction, stacked)
    captions = [
        f"{rows.ids[row]}\n{_value(rows.target[row])} → {_value(said[row])}"
        for row in order
    ]
    return Section(
        "Worst misses",
        picture_grid(pixels[rows.image_rows[order]], captions, side=112, quality=78),
        "Target → prediction. Look for wrong labels here before you change the nets.",
    )


def _value(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def predicted(
    stacked: Stacked, common: Mapping[str, Floats], unreadable: Sequence[str]
) -> Sequence[Section]:
    """Show the predictions of the pictures without label; none: nothing.

    Args:
        stacked: What came out.
        common: (M, ...) predictions by name.
        unreadable: Ids that are given a constant.
    """
    rows = stacked.scales.rows
    if not common or not rows.is_predicted.any():
        return []
    said = common["prediction"][rows.is_predicted]
    nets = "the one net" if rows.is_label_free else f"all {len(rows.nets)} nets"
    note = f"{len(said):,} pictures, each through {nets}."
    if unreadable:
        note += f" {stand_in(stacked, unreadable)}."
    if stacked.loss.is_squared:
        spread = said.std() / max(stacked.final.prediction.std(), 1e-300)
        body = together(
            histogram(said, label="prediction"),
            prose(
                f"Their mean is {said.mean():.3f}, that of the out-of-fold predictions"
                f" {stacked.final.prediction.mean():.3f}; their spread is {spread:.2f}"
                " times theirs. Averaging narrows it a little; far from 1, the two"
                " parts differ in kind."
            ),
        )
    else:
        counts = np.bincount(said.argmax(axis=1), minlength=len(rows.classes))
        body = bars(
            [Rung(n, float(c)) for n, c in zip(rows.classes, counts, strict=True)]
        )
    return [Section("The predictions", body, note)]

"""Parts of the report: the predictions, and whether their pictures differ."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.reporting.charts import ForestRow, bars, histogram
from data_prep.reporting.report import Section, prose, table, together
from stacking.analysis.shift import TaskShift, verdict
from stacking.ensemble.stack import Stacked
from stacking.reporting.outputs import stand_in
from stacking.reporting.wording import plain

MOST_BARS = 30  # classes; of more, those predicted most

Floats = NDArray[np.float64]


def predicted(
    stacked: Stacked,
    common: Mapping[str, Floats],
    unreadable: Sequence[str],
    *,
    is_by_all: bool,
) -> Section:
    """Show the predictions of the pictures without label; none: nothing.

    Args:
        stacked: What came out.
        common: (M, ...) predictions by name.
        unreadable: Ids that are given a constant.
        is_by_all: The net of all rows predicts, not those of the folds.
    """
    rows = stacked.features.rows
    if not common or not rows.is_predicted.any():
        return Section("", Markup())
    said = common["prediction"][rows.is_predicted]
    nets = "the one net" if rows.is_label_free else f"all {len(rows.nets)} nets"
    nets = "the net of all rows" if is_by_all else nets
    note = f"{len(said):,} pictures, each through {nets}."
    if unreadable:
        note += f" {stand_in(stacked, unreadable)}."
    body = _numbers(said, stacked) if said.ndim == 1 else _classes(said, stacked)
    return Section("The predictions", body, note)


def _numbers(said: Floats, stacked: Stacked) -> Markup:
    measured = stacked.final.prediction
    mean, other = plain(said.mean(), stacked), plain(measured.mean(), stacked)
    spread = said.std() / max(measured.std(), 1e-300)
    return together(
        histogram(said, label="prediction"),
        prose(
            f"Their mean is {mean}, that of the out-of-fold"
            f" predictions {other}; their spread is {spread:.2f}"
            " times theirs. Averaging narrows it a little; far from 1, the two parts"
            " differ in kind."
        ),
    )


def _classes(said: Floats, stacked: Stacked) -> Markup:
    names = stacked.features.rows.classes
    counts = np.bincount(said.argmax(axis=1), minlength=len(names))
    measured = np.bincount(
        stacked.final.prediction.argmax(axis=1), minlength=len(names)
    )
    shown = np.sort(np.argsort(-counts, kind="stable")[:MOST_BARS])
    bar_rows = [
        ForestRow(
            name=names[k],
            value=float(counts[k]),
            note=f"{counts[k] / len(said):.1%}; out of fold"
            f" {measured[k] / measured.sum():.1%}",
        )
        for k in shown
    ]
    more = f" The {len(shown)} commonest of {len(names)}." * (len(names) > len(shown))
    sure = said.max(axis=1).mean()
    own = stacked.final.prediction.max(axis=1).mean()
    return together(
        bars(bar_rows),
        prose(
            "How often each class is the most probable one. Its probability is"
            f" {sure:.3f} on average; out of fold it is {own:.3f}.{more}"
        ),
    )


def shift(
    through_folds: Sequence[TaskShift], through_all: Sequence[TaskShift]
) -> Section:
    """Show how the pictures to predict differ from those learned from; none: nothing.

    Args:
        through_folds: By sub-task, through the nets of the folds.
        through_all: The same through the net that was trained on all rows.
    """
    if not through_folds and not through_all:
        return Section("", Markup())
    columns: dict[str, dict[str, float]] = {}
    for found, whose in (
        (through_folds, ""),
        (through_all, ", net of all rows"),
    ):
        if found:
            columns[f"spread ratio{whose}"] = {one.task: one.std_ratio for one in found}
            columns[f"AUC{whose}"] = {one.task: one.auc for one in found}
    frame = pd.DataFrame(columns).rename_axis("sub-task")
    return Section(
        "Do the pictures to predict differ?",
        together(
            prose(verdict(through_folds, through_all)),
            table(frame, digits=2, shows_index=True),
        ),
        "The spread ratio is the deviation of a sub-task's outputs on the pictures to"
        " predict over that on labelled pictures held out; at 1 they are alike. The AUC"
        " says how well a model tells the two apart by these outputs: at 0.5 not at"
        " all, at 1 always. Where it is far above 0.5, scores in cross-validation need"
        " not hold for the pictures to predict.",
    )

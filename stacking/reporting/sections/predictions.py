"""Parts of the report: the predictions, and whether their pictures differ."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.arrays import Floats
from data_prep.reporting.charts import ForestRow, bars, histogram
from data_prep.reporting.report import Section, prose, table, together
from stacking.analysis.findings import Findings
from stacking.analysis.shift import TaskShift, verdict
from stacking.ensemble.stack import Stacked
from stacking.reporting.outputs import describe_unreadable
from stacking.reporting.wording import plain

MOST_BARS = 30  # classes; of more, those predicted most


def predicted(
    stacked: Stacked, findings: Findings, unreadable: Sequence[str]
) -> Section:
    """Show the predictions of the pictures without label; none: nothing.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        unreadable: Ids that are given a constant.
    """
    data = stacked.data
    if not findings.predicted or not data.common.is_predicted.any():
        return Section("", Markup())
    pred = findings.predicted["prediction"][data.common.is_predicted]
    nets = f"all {len(data.common.nets)} nets"
    nets = "the one net" if data.info.is_label_free else nets
    nets = "the net of all rows" if findings.is_by_all else nets
    note = f"{len(pred):,} {data.info.noun}s, each through {nets}."
    if unreadable:
        note += f" {describe_unreadable(stacked, unreadable)}."
    body = _numbers(pred, stacked) if pred.ndim == 1 else _classes(pred, stacked)
    return Section("The predictions", body, note)


def _numbers(y_pred: Floats, stacked: Stacked) -> Markup:
    oof_pred = stacked.final.prediction
    spread = y_pred.std() / max(oof_pred.std(), 1e-300)
    return together(
        histogram(y_pred, label="prediction"),
        prose(
            f"Their mean is {plain(y_pred.mean(), stacked)}, that of the out-of-fold"
            f" predictions {plain(oof_pred.mean(), stacked)}; their spread is"
            f" {spread:.2f} times theirs. Averaging narrows it a little; far from 1,"
            " the two sets differ in kind: look at both before you hand predictions in."
        ),
    )


def _classes(proba: Floats, stacked: Stacked) -> Markup:
    names, oof_proba = stacked.data.classes, stacked.final.prediction
    counts, oof_counts = (
        np.bincount(values.argmax(axis=1), minlength=len(names))
        for values in (proba, oof_proba)
    )
    shown = np.sort(np.argsort(-counts, kind="stable")[:MOST_BARS])
    bar_rows = [
        ForestRow(
            name=names[k],
            value=float(counts[k]),
            note=f"{counts[k] / len(proba):.1%}; out of fold"
            f" {oof_counts[k] / len(oof_proba):.1%}",
        )
        for k in shown
    ]
    more = f" The {len(shown)} commonest of {len(names)}." * (len(names) > len(shown))
    return together(
        bars(bar_rows),
        prose(
            "How often each class is the most probable one. Its probability is"
            f" {proba.max(axis=1).mean():.3f} on average; out of fold it is"
            f" {oof_proba.max(axis=1).mean():.3f}.{more} Shares far from those out of"
            " fold say that the two sets differ in kind: look at both before you hand"
            " predictions in."
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
    for shifts, nets in ((through_folds, ""), (through_all, ", net of all rows")):
        if shifts:
            columns[f"spread ratio{nets}"] = {s.task: s.std_ratio for s in shifts}
            columns[f"AUC{nets}"] = {s.task: s.auc for s in shifts}
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

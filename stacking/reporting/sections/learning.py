"""A part of the report: how each net learned, and what it scored meanwhile."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from data_prep.reporting.charts import ChartLine, curve_legend, lines, panels
from data_prep.reporting.numerals import style_for
from data_prep.reporting.report import Section, prose, subheading, together
from features.scoreboard import is_error
from stacking.analysis.learning_curves import (
    TOTAL,
    TRAINED,
    WATCHED,
    Curves,
    held_out_scores,
    kept_epochs,
    training_losses,
)

LEARNED, HELD_OUT = "loss, rows learned from", "fold held out"


def learning(run: Path) -> Section:
    """Show each net's loss beside the scores of its held-out fold; no logs: nothing.

    Args:
        run: Folder of the run.
    """
    losses, scores = training_losses(run), held_out_scores(run)
    every = [*losses.values(), *scores.values()]
    if not every:
        return Section("", Markup())
    names = [curve.name for curve in max(every, key=len)]
    pieces = [curve_legend(names)] if len(names) > 1 else []
    for task in dict.fromkeys([*losses, *(task_of(score, losses) for score in scores)]):
        charts = [(LEARNED, _chart(losses[task]))] if task in losses else []
        of_task = {s: c for s, c in scores.items() if task_of(s, losses) == task}
        charts += [
            (f"{score.removeprefix(f'{task}_')}, {HELD_OUT}", _chart(curves))
            for score, curves in of_task.items()
        ]
        title = "all tasks together" if task == TOTAL and len(losses) > 1 else task
        texts = [text for s, c in of_task.items() if (text := end_text(s, c))]
        pieces += [subheading(title), panels(charts), prose(*texts)]
    if not scores:
        pieces.append(prose(_what_makes_it_appear(run)))
    return Section(
        "How the nets learned",
        together(*pieces),
        "A line for each net. Where both curves still get better at the end, train for"
        " more epochs. Where the loss falls and the held-out score gets worse, the net"
        " learns its rows by heart: fewer epochs, more augmentation or weight_decay.",
    )


def task_of(score: str, losses: Curves) -> str:
    """Find the task of a score such as ``target_rmse``."""
    tasks = [task for task in losses if score.startswith(f"{task}_")]
    return max(tasks, key=len, default=score.rpartition("_")[0])


def end_text(score: str, curves: Sequence[ChartLine]) -> str:
    """Compare the last epoch with the best one, as means over the folds.

    Args:
        score: Its name.
        curves: A line for each fold, values by epoch.

    Returns:
        A sentence; empty where no two epochs have the scores of all folds.
    """
    by_fold = [dict(curve.points()) for curve in curves]
    shared = set(by_fold[0]).intersection(*by_fold[1:])
    means = {e: float(np.mean([v[e] for v in by_fold])) for e in sorted(shared)}
    if len(means) < 2:
        return ""
    best = (min if is_error(score) else max)(means, key=lambda epoch: means[epoch])
    last = max(means)
    style = style_for(means[best], means[last])
    folds = "over the folds" if len(curves) > 1 else "of the fold"
    at_end, at_best = f"{means[last]:{style}}", f"{means[best]:{style}}"
    if best == last:
        return (
            f"{score}, {folds}: best at the end, {at_end} after epoch {last:.0f}; more"
            " epochs may help."
        )
    if at_best == at_end:
        return f"{score}, {folds}: {at_end} at the end, and no better before."
    return (
        f"{score}, {folds}: {at_end} at the end, after epoch {last:.0f}; the best was"
        f" {at_best}, after epoch {best:.0f}. Do not choose an"
        ' epoch by this, since these rows would judge themselves: select = "inner" in'
        f" [{TRAINED}] chooses on rows kept back."
    )


def _chart(curves: Sequence[ChartLine]) -> Markup:
    return lines(curves, x_label="epoch")


def _what_makes_it_appear(run: Path) -> str:
    missing = "The score of the held-out fold by epoch is not here."
    if n_kept := kept_epochs(run):
        return (
            f"{missing} {n_kept} epochs of each net are kept: python -m {WATCHED}"
            " scores them, and python -m stacking.fit --overwrite shows it."
        )
    return (
        f"{missing} It comes with score_every = 1 in [{TRAINED}], at the next training;"
        f" or from python -m {WATCHED} in a second terminal while the nets train."
    )

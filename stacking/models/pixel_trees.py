"""Boosted trees over colours and tiny pictures: a model that knows no net.

It is what nets and stack have to beat, and where they have not learned enough yet it
carries the prediction. Its steps are longer than those of the trees over the nets: it
takes a thousand rounds to learn from pixels what a net says in one column.
"""

from dataclasses import replace

from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models.boosted_trees import load
from stacking.models.boosting import Boosting, cross_fit_boosters, threads_for
from stacking.models.stacker import FitContext, StackerType

PIXELS = "pixels"
LONG_STEPS = {"learning_rate": 0.1}
PATIENCE = 30  # rounds, which go as far as 90 of the usual steps


def fit(rows: TrainingRows, context: FitContext) -> CrossFit:
    """Cross-fit the boosters; how many rounds is told by the other folds."""
    # a table several times as wide as that of the nets is large sooner
    n_cores = context.n_workers * context.n_threads
    n_workers, n_threads = threads_for(rows.X.size, n_cores)
    boosting = replace(
        Boosting.of(rows, context),
        patience=PATIENCE,
        tuned=LONG_STEPS,
        n_workers=n_workers,
        n_threads=n_threads,
    )
    return cross_fit_boosters(rows, boosting, names=context.columns, seed=context.seed)


STACKER = StackerType(
    name=PIXELS,
    title="no net: colours and tiny pixels, boosted",
    inputs="pixels",
    fit=fit,
    load=load,
)

"""The original's way to stack, for comparison only: it leaks.

The boosters of fold k learn from what net k says of the rows *it was trained on*, and
stop early on the fold that is then scored. At test time no row looks like that.

Source: the 18th place of atmaCup #11; its parameters are used as they were.
Differs: the predictions are the mean over the fold nets, each with its own booster;
the original trained one more net on all rows for them.
"""

from typing import Any

import numpy as np

from stacking.cross_fitting import CrossFit, Model, outer_folds
from stacking.ensemble.members import AlignedFeatures, Member
from stacking.models.boosting import Boosters, brought_back, objective, standardised

PARAMETERS: dict[str, Any] = {
    "num_leaves": 31,
    "learning_rate": 0.05,
    "feature_fraction": 0.9,
    "bagging_fraction": 0.8,
    "bagging_freq": 5,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
MAX_ROUNDS = 10_000
PATIENCE = 10


def fit_insample(features: AlignedFeatures, seed: int, n_threads: int) -> Member:
    """Fit the boosters the leaky way; their inner predictions leak as the outer do."""
    import lightgbm

    rows, target = features.rows, features.target()
    n_classes = target.shape[1] if target.ndim == 2 else 0
    labels = target.argmax(axis=1) if n_classes else target
    parameters = PARAMETERS | objective(n_classes)
    parameters |= {"seed": seed, "num_threads": n_threads}
    outer = np.empty_like(target)
    models: list[Model] = []
    notes: list[dict[str, Any]] = []
    for fold, _, held_out in outer_folds(rows.folds):
        seen = rows.in_sample[fold]
        unit, _ = standardised(labels[seen.rows], n_classes)
        standard = labels if n_classes else unit.standardise(labels)
        train = lightgbm.Dataset(
            seen.values,
            standard[seen.rows],
            feature_name=[column.name for column in rows.columns],
            params=parameters,
        )
        scored = lightgbm.Dataset(
            rows.X[held_out], standard[held_out], reference=train, params=parameters
        )
        booster = lightgbm.train(
            parameters,
            train,
            MAX_ROUNDS,
            valid_sets=[scored],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        best = booster.best_iteration
        models.append(Boosters([brought_back(booster, unit)]))
        outer[held_out] = models[-1].predict(rows.X[held_out])
        notes.append({"rounds": best})
    inner = CrossFit.of_fixed(outer, rows.folds).inner_oof
    fit = CrossFit(oof_pred=outer, inner_oof=inner, models=models, metadata=notes)
    every = np.arange(len(rows.columns))
    return Member("boosted trees, in-sample", fit, every)

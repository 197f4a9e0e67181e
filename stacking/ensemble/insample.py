"""The original's way to stack, for comparison only: it leaks.

The boosters of fold k learn from net k's outputs on the rows *it was trained on*, and
stop early on the fold that is then scored. At test time no row looks like that.

Source: the 18th place of atmaCup #11; its parameters are used as they were.
Differs: the predictions are the mean over the fold nets, each with its own booster;
the original trained one more net on all rows for them.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from data_prep.tables.units import Unit
from stacking.cross_fitting import CrossFit, Model, each_fold
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.members import Member
from stacking.models.boosting import Boosters, brought_back, objective

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

    data, rows = features.data, features.data.rows
    names = features.column_names
    labels: Any = rows.labels
    parameters = PARAMETERS | objective(rows.n_classes)
    parameters |= {"seed": seed, "num_threads": n_threads}
    oof_pred = np.empty_like(rows.y)
    models: list[Model] = []
    metadata: list[dict[str, Any]] = []
    for fold, _, val_idx in each_fold(rows.folds):
        in_sample = data.in_sample[fold]
        unit = Unit() if rows.n_classes else Unit.of(labels[in_sample.idx])
        y = labels if rows.n_classes else unit.standardise(labels)
        train = lightgbm.Dataset(
            in_sample.X, y[in_sample.idx], feature_name=names, params=parameters
        )
        val = lightgbm.Dataset(
            rows.X[val_idx], y[val_idx], reference=train, params=parameters
        )
        booster = lightgbm.train(
            parameters,
            train,
            MAX_ROUNDS,
            valid_sets=[val],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        metadata.append({"rounds": booster.best_iteration})
        models.append(Boosters([brought_back(booster, unit)]))
        oof_pred[val_idx] = models[-1].predict(rows.X[val_idx])
    fit = replace(
        CrossFit.of_fixed(oof_pred, rows.folds), models=models, metadata=metadata
    )
    return Member(
        title="boosted trees, in-sample", fit=fit, inputs=np.arange(len(names))
    )

"""Tune the boosted trees by optuna, nested: each fold's trials never see its labels.

A trial boosts on the inner folds of the rows outside the fold and is scored there. So
the outer score of the tuned boosters is as honest as that of the usual ones. The tables
are binned once; a study lies in a journal and goes on where it was.

The space, around the usual parameters for tables of some thousand rows: leaves 4 to 31,
rate 0.01 to 0.1, rows of a leaf 5 to 100, columns 0.1 to 1, rows of a tree 0.4 to 1,
L2 0.01 to 100, L1 0.001 to 10.

Shapes: N rows, C columns, K classes.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from stacking.cross_fitting import TrainingRows, outer_folds
from stacking.models.boosting import Boosting, boost_to_lowest, datasets, standardised

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.log"
MAX_BIN = 63


def tune_boosting(
    rows: TrainingRows,
    boosting: Boosting,
    n_trials: int,
    folder: Path,
    *,
    seed: int = 0,
) -> list[Boosting]:
    """Tune LightGBM for each outer fold, on the rows of the other folds alone.

    Args:
        rows: With (N, C) columns.
        boosting: The usual way, which is the first trial.
        n_trials: Trials per fold, with those of an earlier attempt.
        folder: For the journal of the trials.
        seed: Of the inner folds, the boosters and the search.

    Returns:
        How to boost for each fold, in the order of the folds.

    Raises:
        UserError: optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise UserError(
            "--tune needs optuna, which is not installed; pip install optuna, or leave"
            " --tune out"
        ) from None
    from tqdm import tqdm

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    labels = rows.y.argmax(axis=1) if boosting.n_classes else rows.y
    by_fold = []
    n_folds = int(rows.folds.max()) + 1
    with tqdm(total=n_trials * n_folds, desc="tuning", unit="trial") as bar:
        for fold, train_idx, _ in outer_folds(rows.folds):
            sample_weight = rows.sample_weight[train_idx]
            _, y = standardised(labels[train_idx], boosting.n_classes, sample_weight)
            tables = _Tables(
                X=rows.X[train_idx],
                y=y,
                inner_folds=rows.inner_folds(train_idx, seed),
                sample_weight=sample_weight,
                boosting=boosting,
                seed=seed,
            )
            study = optuna.create_study(
                study_name=f"fold{fold}",
                storage=storage,
                sampler=optuna.samplers.TPESampler(seed=seed + fold),
                load_if_exists=True,
            )
            if not study.trials:
                study.enqueue_trial(_usual(boosting, *tables.shape))
            n_done = sum(trial.state.is_finished() for trial in study.trials)
            bar.update(min(n_done, n_trials))
            study.optimize(
                tables.score,
                max(n_trials - n_done, 0),
                callbacks=[lambda *_: bar.update() and None],
            )
            tuned = dict(sorted(study.best_params.items()))
            by_fold.append(replace(boosting, tuned=tuned))
    return by_fold


def _usual(boosting: Boosting, n_rows: int, n_columns: int) -> dict[str, float]:
    usual = boosting.parameters(n_rows, n_columns, 0)
    return {
        "num_leaves": usual["num_leaves"],
        "learning_rate": usual["learning_rate"],
        "min_data_in_leaf": max(5, usual["min_data_in_leaf"]),
        "feature_fraction": max(0.1, usual["feature_fraction"]),
        "bagging_fraction": usual["bagging_fraction"],
        "lambda_l2": usual["lambda_l2"],
        "lambda_l1": 0.001,
    }


def _suggest(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "num_leaves": trial.suggest_int("num_leaves", 4, 31, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 100, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.1, 1.0, log=True),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.01, 100.0, log=True),
        "lambda_l1": trial.suggest_float("lambda_l1", 0.001, 10.0, log=True),
    }


class _Tables:
    """The rows outside a fold, binned once for each inner fold.

    Args:
        X: (N, C) columns.
        y: (N,) standardised numbers, or class numbers.
        inner_folds: (N,) inner fold of each row.
        sample_weight: (N,) how much each row is learned from.
        boosting: The usual way.
        seed: Of the boosters.
    """

    def __init__(
        self,
        X: Floats,
        y: Floats | Ints,
        inner_folds: Ints,
        sample_weight: Floats,
        boosting: Boosting,
        seed: int,
    ) -> None:
        self.shape = (len(X), X.shape[1])
        self.boosting, self.seed = boosting, seed
        self.sizes = np.bincount(inner_folds, sample_weight)
        # What a leaf may hold is tried too, so no column may be dropped for it.
        binning = {"max_bin": MAX_BIN, "feature_pre_filter": False, "verbosity": -1}
        self.pairs = []
        for inner_fold in range(int(inner_folds.max()) + 1):
            val_mask = inner_folds == inner_fold
            train, val = datasets(
                X=X,
                y=y,
                sample_weight=sample_weight,
                val_mask=val_mask,
                parameters=binning,
            )
            self.pairs.append((train.construct(), val.construct()))

    def score(self, trial: "optuna.Trial") -> float:
        """Give the lowest point of the mean curve of the inner folds."""
        import lightgbm

        boosting = replace(self.boosting, tuned=_suggest(trial))
        parameters = boosting.parameters(*self.shape, self.seed)
        parameters |= {"feature_pre_filter": False}
        boosters = []
        for train, val in self.pairs:
            booster = lightgbm.Booster(parameters, train)
            boosters.append(booster.add_valid(val, "held out"))
        return boost_to_lowest(boosters, self.sizes, boosting)[1]

"""Tune the boosted trees by optuna, nested: each fold's trials never see its labels.

A trial boosts on the inner folds of the rows outside the fold and is scored there. So
the outer score of the tuned boosters is as honest as that of the usual ones. The tables
are binned once; a study lies in a journal and goes on where it was.

Shapes: N rows, C columns, K classes.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Ints
from stacking.cross_fitting import TrainingRows, each_fold
from stacking.models.boosting import Boosting, Table, boost_to_lowest

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.log"
MAX_BIN = 63
# Around the usual parameters for tables of some thousand rows.
SPACE: dict[str, tuple[float, float]] = {
    "num_leaves": (4, 31),
    "learning_rate": (0.01, 0.1),
    "min_data_in_leaf": (5, 100),
    "feature_fraction": (0.1, 1.0),
    "bagging_fraction": (0.4, 1.0),
    "lambda_l2": (0.01, 100.0),
    "lambda_l1": (0.001, 10.0),
}


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
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from tqdm import tqdm

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    by_fold, n_columns = [], rows.X.shape[1]
    with tqdm(total=n_trials * rows.n_folds, desc="tuning", unit="trial") as bar:
        for fold, train_idx, _ in rows.each_fold():
            study = optuna.create_study(
                study_name=f"fold{fold}",
                storage=storage,
                sampler=optuna.samplers.TPESampler(seed=seed + fold),
                load_if_exists=True,
            )
            if not study.trials:
                study.enqueue_trial(_usual(boosting, len(train_idx), n_columns))
            n_done = sum(trial.state.is_finished() for trial in study.trials)
            bar.update(min(n_done, n_trials))
            study.optimize(
                _scorer(rows, train_idx, boosting, seed),
                max(n_trials - n_done, 0),
                callbacks=[lambda *_: bar.update() and None],
            )
            tuned = dict(sorted(study.best_params.items()))
            by_fold.append(replace(boosting, tuned=tuned))
    return by_fold


def _usual(boosting: Boosting, n_rows: int, n_columns: int) -> dict[str, float]:
    """Give the usual parameters, brought into the space; L1 has none."""
    usual = boosting.parameters(n_rows, n_columns, 0)
    return {name: max(low, usual.get(name, low)) for name, (low, _) in SPACE.items()}


def _suggest(trial: "optuna.Trial") -> dict[str, Any]:
    tried: dict[str, Any] = {}
    for name, (low, high) in SPACE.items():
        suggest: Any = (
            trial.suggest_int if isinstance(low, int) else trial.suggest_float
        )
        tried[name] = suggest(name, low, high, log=name != "bagging_fraction")
    return tried


def _scorer(
    rows: TrainingRows, train_idx: Ints, boosting: Boosting, seed: int
) -> "Callable[[optuna.Trial], float]":
    """Bin the rows outside a fold once, and give what scores a trial on them."""
    import lightgbm

    table, inner_folds = Table.of(rows, train_idx), rows.inner_folds(train_idx, seed)
    sizes = np.bincount(inner_folds, table.sample_weight)
    # What a leaf may hold is tried too, so no column may be dropped for it.
    binning = {"max_bin": MAX_BIN, "feature_pre_filter": False, "verbosity": -1}
    pairs = []
    for _, inner_idx, val_idx in each_fold(inner_folds):
        train = table.dataset(inner_idx, binning).construct()
        val = table.dataset(val_idx, binning, reference=train).construct()
        pairs.append((train, val))

    def score(trial: "optuna.Trial") -> float:
        """Give the lowest point of the mean curve of the inner folds."""
        tried = replace(boosting, tuned=_suggest(trial))
        parameters = tried.parameters(len(table.X), table.X.shape[1], seed)
        parameters |= {"feature_pre_filter": False}
        boosters = []
        for train, val in pairs:
            booster = lightgbm.Booster(parameters, train)
            boosters.append(booster.add_valid(val, "held out"))
        return boost_to_lowest(boosters, sizes, tried)[1]

    return score

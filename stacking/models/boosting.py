"""LightGBM for tables of some thousand rows, cross-fitted over the stored folds.

Trees are small, leaves large, steps short, and several seeds are averaged. How many
rounds to boost is read from cross-validation among the other folds, never from the fold
that is scored. Results are the same with any number of threads.

LightGBM keeps labels in float32, and some of its constants do not scale with them. So
numbers are standardised first, and the leaves are brought back to their unit.

Shapes: N rows, C columns, K classes.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.processes import n_cores as usable_cores
from data_prep.run_folders.drafts import write_text
from data_prep.tables.units import Unit
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows, each_fold
from stacking.models.stacker import FitContext

if TYPE_CHECKING:
    import lightgbm


QUICK_ROUNDS = 120
SMALL = 1_000_000  # values; measured: two threads gain nothing at 2,500 x 44


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """How to boost.

    Attributes:
        n_classes: 0 for a number.
        n_seeds: Boosters averaged per fold.
        max_rounds: Cap on the rounds.
        patience: Rounds without improvement after which the search ends.
        n_threads: Threads of LightGBM.
        n_workers: Folds boosted at the same time.
        tuned: Parameters of LightGBM that replace the usual ones.
    """

    n_classes: int = 0
    n_seeds: int = 3
    max_rounds: int = 2000
    patience: int = 80
    n_threads: int = 1
    n_workers: int = 1
    tuned: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: TrainingRows, context: FitContext) -> "Boosting":
        """Boost as a run asks for."""
        return cls(
            n_classes=rows.n_classes,
            n_seeds=context.n_seeds,
            max_rounds=context.max_rounds,
            n_threads=context.n_threads,
            n_workers=context.n_workers,
        )

    def parameters(self, n_rows: int, n_columns: int, seed: int) -> dict[str, Any]:
        """Give LightGBM's parameters for a table of this size."""
        return objective(self.n_classes) | {
            "num_leaves": 8,
            "learning_rate": 0.03,
            "min_data_in_leaf": max(3, min(40, n_rows // 30)),
            "feature_fraction": min(0.4, 160 / n_columns),
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "max_bin": 63,
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "num_threads": self.n_threads,
            "verbosity": -1,
            **self.tuned,
        }


@dataclass(frozen=True)
class Boosters:
    """Boosters of several seeds, averaged.

    Attributes:
        boosters: One or more.
    """

    boosters: Sequence["lightgbm.Booster"]

    def predict(self, X: Floats) -> Floats:
        """Give (N,) numbers, or (N, K) probabilities, of (N, C) rows."""
        by_seed = [booster.predict(X, num_threads=1) for booster in self.boosters]
        y_pred: Floats = np.mean(by_seed, axis=0)
        return y_pred

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write each booster as LightGBM's own text; return the names of the files."""
        files = []
        for number, booster in enumerate(self.boosters):
            file = f"{stem}{f'_seed{number}' if number else ''}.txt"
            # by Python: LightGBM would not say that the disk is full
            write_text(folder / file, booster.model_to_string())
            files.append(file)
        return files

    def gains(self) -> Floats:
        """Give the (C,) share of each column in the boosters' total gain."""
        total = np.sum([b.feature_importance("gain") for b in self.boosters], axis=0)
        gain_frac: Floats = total / max(total.sum(), 1e-300)
        return gain_frac


def objective(n_classes: int) -> dict[str, Any]:
    """Give LightGBM's parameters for that many classes; 0 for a number."""
    if n_classes:
        return {"objective": "multiclass", "num_class": n_classes}
    return {"objective": "regression"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows that boosters learn from.

    Attributes:
        X: (N, C) columns.
        y: (N,) standardised numbers, or class numbers.
        sample_weight: (N,) how much each row is learned from.
        unit: What brings ``y`` back to the numbers of the target.
    """

    X: Floats
    y: Floats | Ints
    sample_weight: Floats
    unit: Unit = field(default_factory=Unit)

    @classmethod
    def of(cls, rows: TrainingRows, idx: Ints) -> "Table":
        """Take some rows; the unit is that of those that are learned from."""
        y, sample_weight, unit = rows.labels[idx], rows.sample_weight[idx], Unit()
        if not rows.n_classes:
            unit = Unit.of(y[sample_weight > 0].astype(np.float64))
            y = unit.standardise(y.astype(np.float64))
        return cls(X=rows.X[idx], y=y, sample_weight=sample_weight, unit=unit)

    def dataset(
        self, idx: Ints | slice, parameters: dict[str, Any], **options: Any
    ) -> "lightgbm.Dataset":
        """Give some of the rows to LightGBM, with further options of a Dataset."""
        import lightgbm

        y, weight = self.y[idx], self.sample_weight[idx]
        return lightgbm.Dataset(
            self.X[idx], y, weight=weight, params=parameters, **options
        )


def brought_back(booster: "lightgbm.Booster", unit: Unit) -> "lightgbm.Booster":
    """Bring the leaves of a booster from standardised numbers to a unit.

    Its text then speaks in that unit, whoever loads it.
    """
    if unit == Unit():
        return booster
    by_tree = re.findall("^leaf_value=(.*)$", booster.model_to_string(), re.MULTILINE)
    for tree, values in enumerate(by_tree):
        start = 0.0 if tree else unit.centre  # the first tree holds the mean
        for leaf, value in enumerate(values.split()):
            booster.set_leaf_output(tree, leaf, start + unit.scale * float(value))
    return booster


def cross_fit_boosters(
    rows: TrainingRows,
    boosting: Boosting | Sequence[Boosting],
    *,
    names: Sequence[str],
    seed: int = 0,
) -> CrossFit:
    """Cross-fit boosters; each model is a ``Boosters``.

    Args:
        rows: With (N, C) columns.
        boosting: How to boost, or how around each fold.
        names: C names.
        seed: Seed of the inner folds and of the first booster.
    """
    n_folds = rows.n_folds
    by_fold = [boosting] * n_folds if isinstance(boosting, Boosting) else boosting

    def fit(fold: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        settings, table = by_fold[fold], Table.of(rows, train_idx)
        inner_folds = rows.inner_folds(train_idx, seed)
        rounds, inner_oof = find_rounds(table, inner_folds, settings, seed)
        seeds = range(seed, seed + settings.n_seeds)
        boosters = fit_boosters(table, settings, rounds, seeds=seeds, names=names)
        model = Boosters([brought_back(booster, table.unit) for booster in boosters])
        return FoldFit(
            inner_oof=table.unit.restore(inner_oof),
            val_pred=model.predict(rows.X[val_idx]),
            model=model,
            metadata={"rounds": rounds} | dict(settings.tuned),
        )

    return CrossFit.over(fit, rows, by_fold[0].n_workers)


def quick(rows: TrainingRows, boosting: Boosting) -> Floats:
    """Give (N, ...) out-of-fold predictions of boosters of fixed size, soon.

    Nothing is chosen on any label, so two tables can be compared by them.

    Args:
        rows: With (N, C) columns.
        boosting: Says how many classes, and what runs at the same time.
    """
    settings = replace(boosting, n_seeds=1, tuned={"learning_rate": 0.1})

    def fit(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        table = Table.of(rows, train_idx)
        # is not kept, so its leaves may stay as they are
        model = Boosters(fit_boosters(table, settings, QUICK_ROUNDS, seeds=[0]))
        return FoldFit(
            inner_oof=rows.y[train_idx],  # nobody asks for it
            val_pred=table.unit.restore(model.predict(rows.X[val_idx])),
            model=model,
        )

    return CrossFit.over(fit, rows, boosting.n_workers).oof_pred


def find_rounds(
    table: Table, inner_folds: Ints, boosting: Boosting, seed: int
) -> tuple[int, Floats]:
    """Find the round at which the mean curve of the inner folds is lowest.

    Args:
        table: N rows.
        inner_folds: (N,) inner fold of each row.
        boosting: How to boost.
        seed: Seed of the boosters.

    Returns:
        The rounds, and the (N, ...) predictions of each inner fold by the booster of
        the others.
    """
    import lightgbm

    boosters, n_columns = [], table.X.shape[1]
    for _, train_idx, val_idx in each_fold(inner_folds):
        parameters = boosting.parameters(len(train_idx), n_columns, seed)
        train = table.dataset(train_idx, parameters)
        val = table.dataset(val_idx, parameters, reference=train)
        booster = lightgbm.Booster(parameters, train)
        boosters.append(booster.add_valid(val, "held out"))
    sizes = np.bincount(inner_folds, table.sample_weight)
    best, _ = boost_to_lowest(boosters, sizes, boosting)
    n_classes, n_threads = boosting.n_classes, boosting.n_threads
    pred = np.empty((len(table.X), n_classes) if n_classes else len(table.X))
    for inner_fold, _, val_idx in each_fold(inner_folds):
        pred[val_idx] = boosters[inner_fold].predict(
            table.X[val_idx], num_iteration=best, num_threads=n_threads
        )
    return best, pred


def boost_to_lowest(
    boosters: Sequence["lightgbm.Booster"], sizes: Floats | Ints, boosting: Boosting
) -> tuple[int, float]:
    """Boost side by side until the mean error of the inner folds falls no more.

    Args:
        boosters: Each with an inner fold held out.
        sizes: What each inner fold weighs in the mean.
        boosting: Says when to give up.

    Returns:
        The round at which the mean is lowest, and how low.
    """
    # the error of a fold without weight is no number
    weights, best, lowest = np.asarray(sizes), 1, math.inf
    for number in range(1, boosting.max_rounds + 1):
        errors = []
        for booster in boosters:
            booster.update()
            errors.append(booster.eval_valid()[0][2])
        error = float(np.array(errors)[weights > 0] @ weights[weights > 0])
        error /= float(weights.sum())
        if error < lowest:
            best, lowest = number, error
        elif number - best >= boosting.patience:
            break
    return best, lowest


def fit_boosters(
    table: Table,
    boosting: Boosting,
    rounds: int,
    *,
    seeds: Sequence[int],
    names: Sequence[str] | None = None,
) -> list["lightgbm.Booster"]:
    """Fit a booster of each seed with a given number of rounds, on one binned table.

    Args:
        table: What is learned from.
        boosting: How to boost.
        rounds: How many trees each has.
        seeds: Of the boosters.
        names: Of the columns; None: they are numbered.
    """
    import lightgbm

    by_seed = [
        boosting.parameters(len(table.X), table.X.shape[1], seed) for seed in seeds
    ]
    feature_name = "auto" if names is None else list(names)
    train = table.dataset(slice(None), by_seed[0], feature_name=feature_name)
    return [
        lightgbm.train(parameters, train, num_boost_round=rounds)
        for parameters in by_seed
    ]


def threads_for(n_values: int, n_cores: int = 0) -> tuple[int, int]:
    """Share the cores between folds boosted side by side and threads of each.

    A small table is boosted fastest by one thread: others only wait for each other.

    Args:
        n_values: Of the table, rows times columns.
        n_cores: Cores to use; 0: those of OMP_NUM_THREADS, or all this process may use.

    Returns:
        Folds at the same time, and threads of each.
    """
    in_environment = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if not n_cores and in_environment.isdigit():
        n_cores = int(in_environment)
    n_cores = n_cores or usable_cores()
    return (n_cores, 1) if n_values < SMALL else (1, n_cores)

"""Do the outputs of the pictures to predict look like those the stack learned from?

Two figures for each sub-task. The spread ratio is how much the outputs vary on the
pictures to predict, over how much on labelled pictures held out: a net that saw every
label is surer than the fold nets, so its outputs may spread wider. The adversarial AUC
is how well small boosted trees tell the two sets of rows apart, by cross-validation:
at 0.5 not at all, at 1 always. Trees see what a linear model does not: that outputs
spread wider though their mean is the same.

Rows of one cv group stay in one part of that cross-validation, on both sides. Torn
cv groups would be recognised by their other half: measured with 3,500 test rows in
cv groups of 10, the AUC of two sets that do not differ was 0.53, of 100 it was 0.60.

Shapes: N rows held out, M pictures to predict, C columns, K nets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.scoring.metrics import METRICS
from data_prep.tables.units import ROUNDING
from stacking.cross_fitting import assign_inner_folds
from stacking.inputs.data import Column, columns_of

N_FOLDS = 3
N_ROUNDS = 40
MAX_ROWS = 10_000  # of each side; more do not sharpen an AUC that is read to 0.01
MAX_COLUMNS = 64  # of a sub-task: a layer's features are thousands
NOISE = 0.02  # of an AUC; measured deviation at 4,000 and 3,500 rows: 0.01
UNLIKE = 0.65  # an AUC from which scores in cross-validation need not hold


@dataclass(frozen=True, kw_only=True)
class TaskShift:
    """How the outputs of one sub-task differ.

    Attributes:
        task: Name of the sub-task.
        std_ratio: Median over its outputs of the standard deviation on the pictures to
            predict, over that on the rows held out; NaN where nothing varies.
        auc: How well the two are told apart, at 0.5 or less not at all; NaN where there
            are too few cv groups.
    """

    task: str
    std_ratio: float
    auc: float


def measure_shift(
    oof: Floats,
    test: Floats,
    columns: Sequence[Column],
    *,
    cv_groups: Ints,
    test_cv_groups: Ints,
    seed: int = 0,
) -> list[TaskShift]:
    """Compare rows held out with pictures to predict, sub-task by sub-task.

    Args:
        oof: (N, C) outputs of nets on rows that they did not see.
        test: (M, C) outputs of one net on the pictures to predict.
        columns: C columns.
        cv_groups: (N,) what belongs together.
        test_cv_groups: (M,) the same of the pictures to predict; a number means the
            same in both.
        seed: Seed of the folds and of the trees.
    """
    oof_idx, test_idx = _sample(len(oof), seed), _sample(len(test), seed)
    is_test = np.repeat([0.0, 1.0], [len(oof_idx), len(test_idx)])
    groups = np.concatenate([cv_groups[oof_idx], test_cv_groups[test_idx]])
    folds = assign_inner_folds(is_test, groups, seed, N_FOLDS)
    shifts = []
    for task in dict.fromkeys(column.task for column in columns):
        task_cols = columns_of(columns, task)
        mean_cols = columns_of(columns, task, "mean")
        mean_cols = mean_cols if len(mean_cols) else task_cols
        ratio = _spread_ratio(oof[:, mean_cols], test[:, mean_cols])
        if len(task_cols) > MAX_COLUMNS:
            n_means = len(mean_cols)
            spaced = np.linspace(0, n_means - 1, min(n_means, MAX_COLUMNS))
            task_cols = mean_cols[spaced.astype(np.int64)]
        X = np.concatenate(
            [oof[np.ix_(oof_idx, task_cols)], test[np.ix_(test_idx, task_cols)]]
        )
        auc = _adversarial_auc(X, is_test, folds, seed)
        shifts.append(TaskShift(task=task, std_ratio=ratio, auc=auc))
    return shifts


def shift_of_folds(
    X: Floats,
    folds: Ints,
    nets: Sequence[Floats],
    columns: Sequence[Column],
    *,
    cv_groups: Ints,
    test_cv_groups: Ints,
) -> list[TaskShift]:
    """Compare outputs of each fold net on its held-out rows and on those to predict.

    Args:
        X: (N, C) outputs on each row of the net that held it out, not aligned.
        folds: (N,) fold of each row.
        nets: K arrays (M, C), the pictures to predict through each net; or one, of the
            net that made all rows.
        columns: C columns.
        cv_groups: (N,) what belongs together.
        test_cv_groups: (M,) the same of the pictures to predict.

    Returns:
        The mean over the nets; nothing where there is no picture to predict.
    """
    if not len(test_cv_groups):
        return []
    by_net = []
    for fold, test in enumerate(nets):
        mask = folds == fold if len(nets) > 1 else np.full(len(X), True)
        groups = {"cv_groups": cv_groups[mask], "test_cv_groups": test_cv_groups}
        by_net.append(measure_shift(X[mask], test, columns, **groups))
    return [
        TaskShift(
            task=shifts[0].task,
            std_ratio=_mean([shift.std_ratio for shift in shifts]),
            auc=_mean([shift.auc for shift in shifts]),
        )
        for shifts in zip(*by_net, strict=True)
    ]


def verdict(fold_nets: Sequence[TaskShift], all_net: Sequence[TaskShift] = ()) -> str:
    """Say in a sentence or two which nets to trust with the pictures to predict.

    Args:
        fold_nets: As ``shift_of_folds`` gives it.
        all_net: The same through the net of all rows; nothing: there is no such net.
    """
    auc, all_net_auc = _mean_auc(fold_nets), _mean_auc(all_net)
    if np.isnan(auc):
        return "There are too few pictures to tell whether those to predict differ."
    sentences = [] if np.isnan(all_net_auc) else [_choice(fold_nets, all_net)]
    best = float(np.fmin(auc, all_net_auc))
    if best > UNLIKE:
        sentences.append(
            "The pictures to predict differ from the labelled ones through any net (AUC"
            f" {best:.2f}): expect other scores than in cross-validation."
        )
    elif not sentences:
        sentences.append(
            f"The pictures to predict look like the labelled ones (AUC {best:.2f})."
        )
    return " ".join(sentences)


def _choice(fold_nets: Sequence[TaskShift], all_net: Sequence[TaskShift]) -> str:
    auc, all_net_auc = _mean_auc(fold_nets), _mean_auc(all_net)
    ratio, all_net_ratio = (
        _mean([shift.std_ratio for shift in shifts]) for shifts in (fold_nets, all_net)
    )
    figures = (
        f"AUC {all_net_auc:.2f} instead of {auc:.2f},"
        f" spread ratio {all_net_ratio:.2f} instead of {ratio:.2f}"
    )
    if all_net_auc > auc + NOISE:
        most = max(all_net, key=lambda shift: np.nan_to_num(shift.auc)).task
        return (
            "Trust the fold nets: through the net of all rows the pictures to predict"
            " look less like the rows that the stack learned from"
            f" ({figures}; most in {most})."
        )
    if all_net_auc < auc - NOISE:
        return (
            "Trust the net of all rows: through it the pictures to predict look more"
            f" like the rows that the stack learned from ({figures})."
        )
    return (
        "Trust either: the pictures to predict look as like the rows that the stack"
        " learned from through the net of all rows as through the fold nets"
        f" ({figures})."
    )


def _spread_ratio(oof: Floats, test: Floats) -> float:
    oof_std, test_std = oof.std(axis=0), test.std(axis=0)
    is_varying = oof_std > ROUNDING * np.abs(oof).max(axis=0)
    if not is_varying.any():
        return float("nan")
    return float(np.median(test_std[is_varying] / oof_std[is_varying]))


def _adversarial_auc(X: Floats, is_test: Floats, folds: Ints, seed: int) -> float:
    """Give the mean AUC over the folds of trees that tell the rows to predict apart."""
    import lightgbm

    parameters = {
        "objective": "binary",
        "num_leaves": 8,
        "learning_rate": 0.1,
        "min_data_in_leaf": max(3, min(40, len(X) // 30)),
        "lambda_l2": 5.0,
        "max_bin": 63,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_threads": 1,
        "verbosity": -1,
    }
    aucs = []
    for fold in range(N_FOLDS):
        is_train, is_val = folds != fold, folds == fold
        # where groups are few, a fold may hold one side only, which has no AUC
        if len(np.unique(is_test[is_train])) < 2 or len(np.unique(is_test[is_val])) < 2:
            continue
        train = lightgbm.Dataset(X[is_train], is_test[is_train], params=parameters)
        booster = lightgbm.train(parameters, train, num_boost_round=N_ROUNDS)
        test_proba = np.asarray(booster.predict(X[is_val], num_threads=1))
        proba = np.column_stack([1 - test_proba, test_proba])
        aucs.append(METRICS["auc"](is_test[is_val], proba))
    return float(np.mean(aucs)) if aucs else float("nan")


def _sample(n: int, seed: int) -> Ints:
    """Give all n indices, or ``MAX_ROWS`` of them."""
    if n <= MAX_ROWS:
        return np.arange(n)
    return np.random.default_rng(seed).permutation(n)[:MAX_ROWS]


def _mean_auc(shifts: Sequence[TaskShift]) -> float:
    # Where cv groups are few it falls below 0.5, and means no more than that.
    return _mean([float(np.maximum(shift.auc, 0.5)) for shift in shifts])


def _mean(values: Sequence[float]) -> float:
    """Average what is not NaN."""
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")

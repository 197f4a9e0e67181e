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
from numpy.typing import NDArray

from data_prep.scoring.scores import METRICS
from data_prep.tables.units import ROUNDING
from stacking.cross_fitting import assign_inner_folds
from stacking.inputs.data import Column, columns_of

N_PARTS = 3
N_ROUNDS = 40
MAX_ROWS = 10_000  # of each side; more do not sharpen an AUC that is read to 0.01
MAX_COLUMNS = 64  # of a sub-task: a layer's features are thousands
NOISE = 0.02  # of an AUC; measured deviation at 4,000 and 3,500 rows: 0.01
UNLIKE = 0.65  # an AUC from which scores in cross-validation need not hold

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TaskShift:
    """How the outputs of one sub-task differ.

    Attributes:
        task: Its name.
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
    cv_groups: Ints,
    test_cv_groups: Ints,
    seed: int = 0,
) -> list[TaskShift]:
    """Compare rows held out with pictures to predict, sub-task by sub-task.

    Args:
        oof: (N, C) what nets say of rows that they did not see.
        test: (M, C) what a net says of the pictures to predict.
        columns: C columns.
        cv_groups: (N,) what belongs together.
        test_cv_groups: (M,) likewise; a number means the same in both.
        seed: Seed of the parts and of the trees.
    """
    found = []
    for task in dict.fromkeys(column.task for column in columns):
        own = columns_of(columns, task)
        means = columns_of(columns, task, "mean")
        means = means if len(means) else own
        ratio = _spread_ratio(oof[:, means], test[:, means])
        if len(own) > MAX_COLUMNS:
            own = means[_spaced(len(means), MAX_COLUMNS)]
        auc = _told_apart(oof[:, own], test[:, own], cv_groups, test_cv_groups, seed)
        found.append(TaskShift(task, ratio, auc))
    return found


def shift_of_folds(
    X: Floats,
    folds: Ints,
    nets: Sequence[Floats],
    columns: Sequence[Column],
    cv_groups: Ints,
    test_cv_groups: Ints,
    seed: int = 0,
) -> list[TaskShift]:
    """Compare what each fold net says of its held-out rows and of those to predict.

    Args:
        X: (N, C) what each row's own net says, as it says it: not aligned.
        folds: (N,) fold of each row.
        nets: K arrays (M, C), the pictures to predict through each net; or one, of the
            net that made all rows.
        columns: C columns.
        cv_groups: (N,) what belongs together.
        test_cv_groups: (M,) likewise.
        seed: Seed of the parts and of the trees.

    Returns:
        The mean over the nets; nothing where there is no picture to predict.
    """
    if not len(test_cv_groups):
        return []
    by_net = []
    for fold, test in enumerate(nets):
        own = folds == fold if len(nets) > 1 else np.full(len(X), True)
        by_net.append(
            measure_shift(X[own], test, columns, cv_groups[own], test_cv_groups, seed)
        )
    return [
        TaskShift(
            shifts[0].task,
            _mean([one.std_ratio for one in shifts]),
            _mean([one.auc for one in shifts]),
        )
        for shifts in zip(*by_net, strict=True)
    ]


def shift_of_all(
    aligned: Floats,
    folds: Ints,
    of_all: Floats,
    columns: Sequence[Column],
    cv_groups: Ints,
    test_cv_groups: Ints,
    seed: int = 0,
) -> list[TaskShift]:
    """Compare what the stack learned from with what the net of all rows says.

    It is done fold by fold, because trees tell more of more rows: the figures stand
    beside those of ``shift_of_folds``.

    Args:
        aligned: (N, C) what each row's own fold net says, aligned.
        folds: (N,) fold of each row.
        of_all: (M, C) the pictures to predict through the net of all rows.
        columns: C columns.
        cv_groups: (N,) what belongs together.
        test_cv_groups: (M,) likewise.
        seed: Seed of the parts and of the trees.
    """
    nets = [of_all] * (int(folds.max()) + 1)
    return shift_of_folds(
        aligned, folds, nets, columns, cv_groups, test_cv_groups, seed
    )


def verdict(fold_nets: Sequence[TaskShift], all_net: Sequence[TaskShift] = ()) -> str:
    """Say in a sentence or two which nets to trust with the pictures to predict.

    Args:
        fold_nets: What ``shift_of_folds`` found.
        all_net: What ``shift_of_all`` found; nothing: there is no such net.
    """
    auc, of_all = _mean_auc(fold_nets), _mean_auc(all_net)
    if np.isnan(auc):
        return "There are too few pictures to tell whether those to predict differ."
    sentences = [] if np.isnan(of_all) else [_choice(fold_nets, all_net)]
    best = float(np.fmin(auc, of_all))
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
    auc, of_all = _mean_auc(fold_nets), _mean_auc(all_net)
    ratio, ratio_of_all = (
        _mean([one.std_ratio for one in found]) for found in (fold_nets, all_net)
    )
    figures = (
        f"AUC {of_all:.2f} instead of {auc:.2f},"
        f" spread ratio {ratio_of_all:.2f} instead of {ratio:.2f}"
    )
    if of_all > auc + NOISE:
        most = max(all_net, key=lambda one: np.nan_to_num(one.auc)).task
        return (
            "Trust the fold nets: through the net of all rows the pictures to predict"
            " look less like the rows that the stack learned from"
            f" ({figures}; most in {most})."
        )
    if of_all < auc - NOISE:
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
    before, after = oof.std(axis=0), test.std(axis=0)
    is_varying = before > ROUNDING * np.abs(oof).max(axis=0)
    if not is_varying.any():
        return float("nan")
    return float(np.median(after[is_varying] / before[is_varying]))


def _told_apart(
    oof: Floats, test: Floats, cv_groups: Ints, test_cv_groups: Ints, seed: int
) -> float:
    """Give the mean AUC of the parts, each told apart by trees of the others."""
    import lightgbm

    some, others = _drawn(len(oof), seed), _drawn(len(test), seed)
    X = np.concatenate([oof[some], test[others]])
    is_test = np.repeat([0.0, 1.0], [len(some), len(others)])
    together = np.concatenate([cv_groups[some], test_cv_groups[others]])
    parts = assign_inner_folds(is_test, together, seed, N_PARTS)
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
    areas = []
    for part in range(N_PARTS):
        inside, outside = parts != part, parts == part
        if len(np.unique(is_test[inside])) < 2 or len(np.unique(is_test[outside])) < 2:
            continue
        train = lightgbm.Dataset(X[inside], is_test[inside], params=parameters)
        booster = lightgbm.train(parameters, train, num_boost_round=N_ROUNDS)
        said = np.asarray(booster.predict(X[outside], num_threads=1))
        shares = np.column_stack([1 - said, said])
        areas.append(METRICS["auc"](is_test[outside], shares))
    return float(np.mean(areas)) if areas else float("nan")


def _drawn(n: int, seed: int) -> Ints:
    """Give all n places, or ``MAX_ROWS`` of them."""
    if n <= MAX_ROWS:
        return np.arange(n)
    return np.random.default_rng(seed).permutation(n)[:MAX_ROWS]


def _spaced(n: int, limit: int) -> Ints:
    places: Ints = np.linspace(0, n - 1, min(n, limit)).astype(np.int64)
    return places


def _mean_auc(found: Sequence[TaskShift]) -> float:
    # Where cv groups are few it falls below 0.5, and means no more than that.
    return _mean([float(np.maximum(one.auc, 0.5)) for one in found])


def _mean(values: Sequence[float]) -> float:
    """Average what is not NaN."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")

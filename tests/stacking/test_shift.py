"""Tests of stacking.analysis.shift."""

import re
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from stacking.analysis import shift
from stacking.analysis.shift import (
    TaskShift,
    measure_shift,
    shift_of_folds,
    verdict,
)
from stacking.cross_fitting import assign_inner_folds
from stacking.inputs.data import Column

SEEDS = range(4)
STATISTICS = ("mean", "var")
COLUMNS = [
    Column(name=f"{task}__{statistic}", task=task, output="", statistic=statistic)
    for task in ("target", "date")
    for statistic in STATISTICS
]
N, M = 400, 300
APART = 10_000 + np.arange(M)  # cv groups of the rows to predict: each its own


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> None:
    """Let trees be as many as they are: here they are what is tested."""


def outputs(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4))


def measured(oof: np.ndarray, test: np.ndarray, seed: int = 0) -> dict[str, TaskShift]:
    cv_groups, test_cv_groups = np.arange(len(oof)), APART[: len(test)]
    shifts = measure_shift(
        oof,
        test,
        COLUMNS,
        cv_groups=cv_groups,
        test_cv_groups=test_cv_groups,
        seed=seed,
    )
    assert [each.task for each in shifts] == ["target", "date"]
    return {each.task: each for each in shifts}


def test_rows_alike_are_not_told_apart() -> None:
    aucs = [
        each.auc
        for seed in SEEDS
        for each in measured(outputs(seed, N), outputs(seed + 100, M), seed).values()
    ]
    assert abs(np.mean(aucs) - 0.5) < 0.03
    assert np.abs(np.array(aucs) - 0.5).max() < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_column_that_is_shifted_gives_its_task_away(seed: int) -> None:
    test = outputs(seed + 100, M)
    test[:, 3] += 4
    shifts = measured(outputs(seed, N), test, seed)
    assert shifts["date"].auc > 0.98
    assert shifts["target"].auc < 0.6
    assert abs(shifts["target"].std_ratio - 1) < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_that_spread_wider_are_told_apart_by_that_alone(seed: int) -> None:
    test = outputs(seed + 100, M)
    test[:, 0] *= 3
    shifts = measured(outputs(seed, N), test, seed)
    assert shifts["target"].auc > 0.65
    assert abs(shifts["target"].std_ratio - 3) < 0.5


def test_spread_ratio_by_hand() -> None:
    columns = [
        Column(name=f"t_{k}__mean", task="t", output=str(k), statistic="mean")
        for k in range(4)
    ]
    columns.append(Column(name="t_0__var", task="t", output="0", statistic="var"))
    base = np.tile([-1.0, 1.0], 20)[:, None]
    oof = base * [1, 2, 4, 0, 1] + [0, 0, 0, 5, 0]
    test = base * [1, 4, 20, 7, 99]  # ratios 1, 2, 5, of no variation none, of var none
    groups = np.arange(40)
    (only,) = measure_shift(
        oof, test, columns, cv_groups=groups, test_cv_groups=100 + groups
    )
    assert only.std_ratio == pytest.approx(2)


def test_columns_without_a_mean_are_compared_as_they_are() -> None:
    columns = [Column(name="width", task="columns", output="width", statistic="")]
    base = np.tile([-1.0, 1.0], 20)[:, None]
    groups = np.arange(40)
    (only,) = measure_shift(
        base, 3 * base, columns, cv_groups=groups, test_cv_groups=100 + groups
    )
    assert only.task == "columns"
    assert only.std_ratio == pytest.approx(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_auc_comes_out_by_another_route(seed: int) -> None:
    oof, test = outputs(seed, N), outputs(seed + 100, M) + 0.3
    cv_groups, test_cv_groups = np.arange(N) // 3, 10_000 + np.arange(M) // 5
    X, is_test = np.concatenate([oof, test]), np.repeat([0, 1], [N, M])
    parts = assign_inner_folds(
        is_test, np.concatenate([cv_groups, test_cv_groups]), seed, 3
    )
    model = LGBMClassifier(
        n_estimators=40,
        num_leaves=8,
        learning_rate=0.1,
        min_child_samples=(N + M) // 30,
        reg_lambda=5.0,
        max_bin=63,
        deterministic=True,
        force_row_wise=True,
        random_state=seed,
        n_jobs=1,
        verbosity=-1,
    )
    shifts = measure_shift(
        oof,
        test,
        COLUMNS,
        cv_groups=cv_groups,
        test_cv_groups=test_cv_groups,
        seed=seed,
    )
    for each, cols in zip(shifts, ([0, 1], [2, 3]), strict=True):
        split = PredefinedSplit(parts)
        probable = cross_val_predict(
            model, X[:, cols], is_test, cv=split, method="predict_proba"
        )[:, 1]
        areas = [
            roc_auc_score(is_test[parts == k], probable[parts == k]) for k in range(3)
        ]
        assert each.auc == pytest.approx(np.mean(areas), rel=1e-9)


def test_cv_groups_are_not_known_by_their_other_half() -> None:
    cv_groups = np.arange(1200) // 30

    def auc(is_torn: bool, seed: int) -> float:
        centres = np.random.default_rng(seed).normal(size=(40, 4))
        rows = centres[cv_groups] + 0.01 * outputs(seed, 1200)
        oof, test = rows[:600], rows[600:]
        test_cv_groups = 100 + np.arange(600) if is_torn else cv_groups[600:]
        return measure_shift(
            oof,
            test,
            COLUMNS,
            cv_groups=cv_groups[:600],
            test_cv_groups=test_cv_groups,
            seed=seed,
        )[0].auc

    torn, whole = (
        np.mean([auc(is_torn, seed) for seed in SEEDS]) for is_torn in (True, False)
    )
    assert whole < 0.58
    assert torn > whole + 0.1


def test_the_same_seed_finds_the_same() -> None:
    oof, test = outputs(0, N), outputs(1, M)
    assert measured(oof, test) == measured(oof, test)
    assert measured(oof, test) != measured(oof, test, seed=1)


def test_of_many_rows_and_columns_some_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = [
        Column(name=f"e_{k}__{statistic}", task="e", output=str(k), statistic=statistic)
        for k in range(200)
        for statistic in STATISTICS
    ]
    seen: list[tuple[int, ...]] = []
    true = shift.assign_inner_folds

    def spy(is_test: Any, cv_groups: Any, *arguments: Any) -> Any:
        seen.append((int((is_test == 0).sum()), int((is_test == 1).sum())))
        return true(is_test, cv_groups, *arguments)

    monkeypatch.setattr(shift, "assign_inner_folds", spy)
    monkeypatch.setattr(shift, "MAX_ROWS", 150)
    rng = np.random.default_rng(0)
    oof, test = rng.normal(size=(200, 400)), rng.normal(size=(100, 400))
    test[:, 1::2] += 9  # the variances, which are not looked at
    (only,) = measure_shift(
        oof,
        test,
        columns,
        cv_groups=np.arange(200),
        test_cv_groups=999 + np.arange(100),
    )
    assert seen == [(150, 100)]
    assert abs(only.auc - 0.5) < 0.12
    test[:, [0, -2]] += 9  # the first and the last mean are looked at
    (only,) = measure_shift(
        oof,
        test,
        columns,
        cv_groups=np.arange(200),
        test_cv_groups=999 + np.arange(100),
    )
    assert only.auc > 0.98


def test_too_few_rows_are_not_told_apart() -> None:
    shifts = measured(outputs(0, 3), outputs(1, 1))
    assert isnan(shifts["target"].auc)
    same = np.ones((60, 4))
    shifts = measured(same, same)
    assert isnan(shifts["target"].std_ratio)
    assert shifts["target"].auc == 0.5


# Several nets


def test_each_fold_net_is_compared_with_itself() -> None:
    # Nets on scales of their own: told apart only where rows of two nets are mixed.
    folds = np.arange(N) % 3
    features, offsets = np.array([1.0, 5, 0.2]), np.array([0.0, 20, -20])
    X = outputs(0, N) * features[folds, None] + offsets[folds, None]
    nets = [outputs(9, M) * a + b for a, b in zip(features, offsets, strict=True)]
    nets[1] = (nets[1] - 20) * 4 + 20
    shifts = shift_of_folds(
        X, folds, nets, COLUMNS, cv_groups=np.arange(N), test_cv_groups=APART
    )
    alone = [
        measure_shift(
            X[folds == k],
            nets[k],
            COLUMNS,
            cv_groups=np.flatnonzero(folds == k),
            test_cv_groups=APART,
        )
        for k in range(3)
    ]
    for k, each in enumerate(shifts):
        assert each.task == alone[0][k].task
        assert each.auc == pytest.approx(np.mean([a[k].auc for a in alone]))
        expected = np.mean([a[k].std_ratio for a in alone])
        assert each.std_ratio == pytest.approx(expected)
        assert abs(each.std_ratio - (1 + 4 + 1) / 3) < 0.3
    mixed = measure_shift(
        X, nets[0], COLUMNS, cv_groups=np.arange(N), test_cv_groups=APART
    )
    assert mixed[0].auc > 0.8


def test_the_net_of_all_rows_is_compared_with_every_fold() -> None:
    folds, cv_groups = np.arange(N) % 3, np.arange(N)
    X, net = outputs(0, N), 2 * outputs(9, M)
    shifts = shift_of_folds(
        X, folds, [net] * 3, COLUMNS, cv_groups=cv_groups, test_cv_groups=APART
    )
    assert abs(shifts[0].std_ratio - 2) < 0.3
    assert shifts[0].auc > 0.55


def test_one_net_of_all_rows_is_compared_with_all_rows() -> None:
    X, net, cv_groups = outputs(0, N), outputs(1, M), np.arange(N)
    shifts = shift_of_folds(
        X, np.arange(N) % 3, [net], COLUMNS, cv_groups=cv_groups, test_cv_groups=APART
    )
    assert shifts == measure_shift(
        X, net, COLUMNS, cv_groups=cv_groups, test_cv_groups=APART
    )


@pytest.mark.parametrize("nets", [[], [np.empty((0, 4))] * 3])
def test_without_pictures_to_predict_there_is_nothing(nets: list[np.ndarray]) -> None:
    folds, cv_groups = np.arange(N) % 3, np.arange(N)
    shifts = shift_of_folds(
        outputs(0, N),
        folds,
        nets,
        COLUMNS,
        cv_groups=cv_groups,
        test_cv_groups=APART[:0],
    )
    assert shifts == []


def test_a_net_that_says_nothing_is_left_out_of_the_mean() -> None:
    folds = (np.arange(N) > 1).astype(np.int64)  # fold 0 has two rows
    nets = [outputs(1, M)] * 2
    cv_groups = np.arange(N) % 2 + 2 * folds  # two cv groups in each fold
    shifts = shift_of_folds(
        outputs(0, N),
        folds,
        nets,
        COLUMNS,
        cv_groups=cv_groups,
        test_cv_groups=APART * 0,
    )
    assert isnan(shifts[0].auc)
    cv_groups = np.where(folds == 0, 0, np.arange(N))
    shifts = shift_of_folds(
        outputs(0, N), folds, nets, COLUMNS, cv_groups=cv_groups, test_cv_groups=APART
    )
    mask = folds == 1
    only = measure_shift(
        outputs(0, N)[mask],
        nets[1],
        COLUMNS,
        cv_groups=cv_groups[mask],
        test_cv_groups=APART,
    )
    assert_allclose([each.auc for each in shifts], [each.auc for each in only])


# Which to trust


def task(auc: float, ratio: float = 1.0, name: str = "target") -> TaskShift:
    return TaskShift(task=name, std_ratio=ratio, auc=auc)


@pytest.mark.parametrize(
    ("fold_nets", "all_net", "message"),
    [
        (
            [0.52],
            [0.60],
            "Trust the fold nets: .* less like .*AUC 0.60 instead of 0.52",
        ),
        (
            [0.62],
            [0.55],
            "Trust the net of all rows: .* more like .*AUC 0.55 instead of",
        ),
        (
            [0.52],
            [0.53],
            "Trust either: .*AUC 0.53 instead of 0.52, spread ratio 1.00 i",
        ),
        (
            [0.52],
            [],
            "^The pictures to predict look like the labelled ones .AUC 0.52.*$",
        ),
        (
            [0.90],
            [],
            "^The pictures to predict differ .*AUC 0.90.: expect other scores",
        ),
        ([0.90], [0.91], "^Trust either: .* The pictures to predict differ .*AUC 0.90"),
        ([0.60], [0.91], r"^Trust the fold nets: [^:]*\.$"),
        (
            [0.50, 0.60],
            [0.50, nan],
            "Trust the net of all rows: .*0.50 instead of 0.55",
        ),
        (
            [0.60],
            [nan],
            "^The pictures to predict look like the labelled ones .AUC 0.60",
        ),
        (
            [0.40],
            [0.30],
            "Trust either: .*AUC 0.50 instead of 0.50",
        ),  # of few cv groups
        ([nan], [0.60], "There are too few pictures to tell"),
        ([], [], "There are too few pictures to tell"),
    ],
)
def test_the_verdict(
    fold_nets: list[float], all_net: list[float], message: str
) -> None:
    sentence = verdict([task(auc) for auc in fold_nets], [task(auc) for auc in all_net])
    assert re.search(message, sentence), sentence


def test_the_verdict_names_the_task_that_differs_most() -> None:
    alike = [task(0.5, 0.9, name) for name in ("target", "date", "words")]
    worse = [task(nan, nan), task(0.7, 1.3, "date"), task(0.6, 1.1, "words")]
    sentence = verdict(alike, worse)
    assert "(AUC 0.65 instead of 0.50, spread ratio 1.20 instead of 0.90;" in sentence
    assert sentence.endswith("most in date).")

"""Tests of data_prep.scoring.metrics."""

from collections.abc import Callable
from math import isnan, log, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from data_prep.scoring.metrics import LEAST_PROBABILITY, METRICS

SEEDS = range(10)
SKLEARN: dict[str, Callable[..., float]] = {
    "rmse": sklearn_metrics.root_mean_squared_error,
    "mae": sklearn_metrics.mean_absolute_error,
    "r2": sklearn_metrics.r2_score,
    "accuracy": sklearn_metrics.accuracy_score,
    "macro_f1": lambda y, p: sklearn_metrics.f1_score(y, p, average="macro"),
    "quadratic_kappa": lambda y, p: sklearn_metrics.cohen_kappa_score(
        y, p, weights="quadratic"
    ),
}
OF_PROBA = [name for name in METRICS if METRICS[name].compared == "probabilities"]
OF_VALUES = [name for name in METRICS if name not in OF_PROBA]
Rows = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def rated(seed: int, n_groups: int = 30, offset: float = 0) -> Rows:
    """Give targets 1 to 5, predictions that err by group, and groups of 1 to 6."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 7, n_groups))
    y_true = rng.integers(1, 6, len(groups)).astype(np.float64)
    error = rng.normal(size=n_groups)[groups] + 0.3 * rng.normal(size=len(groups))
    return y_true + offset, np.clip(np.rint(y_true + error), 0, 9) + offset, groups


def rated_for(name: str, seed: int, n_groups: int = 30, n_classes: int = 4) -> Rows:
    """Give the like for any metric: class numbers and probabilities where it asks."""
    y_true, y_pred, groups = rated(seed, n_groups)
    if name in OF_VALUES:
        return y_true, y_pred, groups
    y_true, rating = (np.minimum(rows, n_classes) for rows in (y_true - 1, y_pred))
    y_true = np.minimum(y_true, n_classes - 1)
    distance = np.abs(rating[:, None] - 1 - np.arange(n_classes))
    proba = np.round(
        np.exp(-distance) / np.exp(-distance).sum(axis=1, keepdims=True), 2
    )
    proba[:, 0] += 1 - proba.sum(axis=1)
    return y_true, proba, groups


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("offset", [0, 1_000_000])
@pytest.mark.parametrize("name", OF_VALUES)
def test_same_as_scikit_learn(name: str, offset: float, seed: int) -> None:
    y_true, y_pred, _ = rated(seed, offset=offset)
    score, expected = (
        METRICS[name](y_true, y_pred),
        SKLEARN[name](y_true, y_pred),
    )
    assert score == pytest.approx(expected, rel=1e-9)
    assert type(score) is float


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_probabilities_score_as_in_scikit_learn(n_classes: int, seed: int) -> None:
    y_true, proba, _ = rated_for("auc", seed, n_classes=n_classes)
    classes = range(n_classes)
    score = METRICS["log_loss"](y_true, proba)
    assert score == pytest.approx(
        sklearn_metrics.log_loss(y_true, proba, labels=classes)
    )
    scored = proba[:, 1] if n_classes == 2 else proba
    area = sklearn_metrics.roc_auc_score(
        y_true, scored, multi_class="ovr", labels=classes
    )
    assert METRICS["auc"](y_true, proba) == pytest.approx(area)
    assert type(METRICS["auc"](y_true, proba)) is float


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", sqrt((0 + 1 + 0 + 4) / 4)),
        ("mae", (0 + 1 + 0 + 2) / 4),
        ("r2", 1 - 5 / 4),  # the targets' squared distances from 2: 1 + 1 + 1 + 1
        ("accuracy", 2 / 4),
        # class 1: 1 hit of 2 and 2; 2: none, though said once; 3: 1 hit of 2 and 1
        ("macro_f1", (2 / 4 + 0 + 2 / 3) / 3),
        # places 0 0 2 2 and 0 1 2 0; of all 16 pairs the squares sum to 28
        ("quadratic_kappa", 1 - 5 / (28 / 4)),
    ],
)
def test_four_rows_by_hand(name: str, expected: float) -> None:
    assert METRICS[name]([1, 1, 3, 3], [1, 2, 3, 1]) == pytest.approx(expected)


def test_three_classes_by_hand() -> None:
    y_true = [0, 1, 2, 2]
    proba = [[0.5, 0.3, 0.2], [0.5, 0.25, 0.25], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]]
    expected = -(log(0.5) + log(0.25) + log(0.2) + log(0.8)) / 4
    assert METRICS["log_loss"](y_true, proba) == pytest.approx(expected)
    # class 0 beats .5, .6 and .1 at .5: half, none and one; class 1 beats .3, .2 and .1
    # at .25: none, one and one; class 2 beats .2 and .25: half and none, one and one
    expected = (1.5 / 3 + 2 / 3 + 2.5 / 4) / 3
    assert METRICS["auc"](y_true, proba) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_a_better_prediction_scores_better(name: str) -> None:
    y_true = np.tile([0, 1, 2, 3], 5)
    metric = METRICS[name]

    def score(n_wrong: int) -> float:
        y_pred = np.where(np.arange(20) < n_wrong, 3 - y_true, y_true)
        is_of_proba = metric.compared == "probabilities"
        return metric(y_true, np.eye(4)[y_pred] if is_of_proba else y_pred)

    assert (score(2) > score(9)) is metric.higher_is_better


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_rows_is_nothing(name: str, seed: int) -> None:
    y_true, y_pred, _ = rated_for(name, seed)
    order = np.random.default_rng(seed).permutation(len(y_true))
    shuffled = METRICS[name](y_true[order], y_pred[order])
    assert shuffled == pytest.approx(METRICS[name](y_true, y_pred), rel=1e-12)


def test_classes_may_be_text_and_unevenly_spaced() -> None:
    assert METRICS["accuracy"](["oak", "elm", "oak"], ["oak", "oak", "oak"]) == 2 / 3
    names = np.array(["oak", "elm", "oak"], dtype=object)
    assert METRICS["macro_f1"](names, ["oak", "oak", "oak"]) == (4 / 5 + 0) / 2
    uneven = METRICS["quadratic_kappa"]([1, 2, 200, 2], [2, 2, 200, 1])
    assert uneven == METRICS["quadratic_kappa"]([0, 1, 2, 1], [1, 1, 2, 0])


@pytest.mark.parametrize("value", [0.1, 7.0, 1e6])
def test_what_is_not_defined_is_nan(value: float) -> None:
    same = np.full(30, value)
    assert isnan(METRICS["r2"](same, same + 1))
    assert isnan(METRICS["quadratic_kappa"](same, same))
    assert isnan(METRICS["auc"](np.zeros(30), np.full((30, 3), 1 / 3)))


@pytest.mark.parametrize("n", range(1, 50))
def test_a_draw_of_equal_targets_has_no_r2_for_all_rounding(n: int) -> None:
    away = 0.1  # from the median of all
    sums = np.sum([[1, away, away**2, 2.0]] * n, axis=0)
    assert isnan(METRICS["r2"].of_sums(sums))


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_that_no_row_has_are_left_out_of_the_mean(seed: int) -> None:
    y_true, proba, _ = rated_for("auc", seed)
    rows = y_true != 3
    without = [
        sklearn_metrics.roc_auc_score(y_true[rows] == k, proba[rows, k])
        for k in range(3)
    ]
    score = METRICS["auc"](y_true[rows], proba[rows])
    assert score == pytest.approx(np.mean(without))
    y_pred = np.minimum(proba.argmax(axis=1), 2)
    by_class = sklearn_metrics.f1_score(y_true[rows], y_pred[rows], average=None)
    assert len(by_class) == 3
    assert METRICS["macro_f1"](y_true[rows], y_pred[rows]) == pytest.approx(
        np.mean(by_class)
    )


@pytest.mark.parametrize("name", METRICS)
def test_a_draw_scores_as_the_rows_in_it(name: str) -> None:
    y_true, y_pred, groups = rated_for(name, 3)
    score_draws = METRICS[name].scorer(*typed(name, y_true, y_pred), groups)
    times = np.random.default_rng(0).integers(0, 3, (40, 30))
    times[0] = np.arange(30) < 2  # so few rows that classes are missing
    for score, draw in zip(score_draws(times), times, strict=True):
        rows = np.repeat(np.arange(len(y_true)), draw[groups])
        expected = METRICS[name](y_true[rows], y_pred[rows])
        assert score == pytest.approx(expected, nan_ok=True, abs=1e-12)


def typed(name: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    return y_true.astype(int) if name in OF_PROBA else y_true, y_pred


def test_one_sure_mistake_does_not_decide_the_log_loss() -> None:
    score = METRICS["log_loss"]([1, 1], [[1, 0], [0, 1]])
    assert score == pytest.approx(-log(LEAST_PROBABILITY) / 2)

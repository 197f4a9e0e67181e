"""Tests of stacking.ensemble.objective."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics

from data_prep.errors import UserError
from stacking.ensemble.objective import (
    OF_CLASSES,
    OF_NUMBERS,
    OF_ORDERED,
    TITLES,
    Objective,
)

N = 300
FOLDS, CV_GROUPS = np.arange(N) % 3, np.arange(N) // 2
VALUES = (0.0, 1.0, 2.0, 4.0)
LOG_LOSS = Objective(name="log_loss", class_values=(), is_number=False)


def numbers(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = np.array(VALUES)[rng.integers(4, size=N)]
    return target, target + rng.normal(size=N), target + 0.5 * rng.normal(size=N)


def classes(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = np.eye(3)[rng.integers(3, size=N)]
    first, second = (
        rng.dirichlet(np.ones(3), N) + share * target for share in (0.2, 0.5)
    )
    return target, first / first.sum(1)[:, None], second / second.sum(1)[:, None]


def theirs(name: str, target: np.ndarray, said: np.ndarray) -> float:
    """Score by scikit-learn."""
    if target.ndim == 2:
        index, top = target.argmax(axis=1), said.argmax(axis=1)
        scores = {
            "log_loss": lambda: metrics.log_loss(index, said),
            "auc": lambda: metrics.roc_auc_score(index, said, multi_class="ovr"),
            "accuracy": lambda: metrics.accuracy_score(index, top),
            "macro_f1": lambda: metrics.f1_score(index, top, average="macro"),
        }
        return float(scores[name]())
    near = np.array(VALUES)[np.abs(said[:, None] - np.array(VALUES)).argmin(axis=1)]
    scores = {
        "rmse": lambda: metrics.root_mean_squared_error(target, said),
        "mae": lambda: metrics.mean_absolute_error(target, said),
        "r2": lambda: metrics.r2_score(target, said),
        "accuracy": lambda: metrics.accuracy_score(target, near),
        "macro_f1": lambda: metrics.f1_score(target, near, average="macro"),
        "quadratic_kappa": lambda: metrics.cohen_kappa_score(
            target, near, weights="quadratic"
        ),
    }
    return float(scores[name]())


@pytest.mark.parametrize(
    ("name", "is_number"),
    [
        *((name, True) for name in OF_NUMBERS + OF_ORDERED),
        *((name, False) for name in OF_CLASSES),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_scores_and_gains_are_those_of_scikit_learn(
    name: str, is_number: bool, seed: int
) -> None:
    objective = Objective(
        name=name, class_values=VALUES if is_number else (), is_number=is_number
    )
    target, first, second = (numbers if is_number else classes)(seed)
    scores = [theirs(name, target, said) for said in (first, second)]
    assert objective.score(target, first) == pytest.approx(scores[0], abs=1e-6)
    assert objective.is_better(scores[1], scores[0])
    gain = objective.gain(target, first, second, CV_GROUPS)
    assert gain.value == pytest.approx(abs(scores[1] - scores[0]), abs=1e-6)
    assert gain.low > 0
    interval = objective.interval(target, second, CV_GROUPS)
    assert interval.low < scores[1] < interval.high
    own = FOLDS == 1
    expected = theirs(name, target[own], first[own])
    by_fold = objective.by_fold(target, first, FOLDS)
    assert by_fold.by_fold[1] == pytest.approx(expected, abs=1e-6)


def test_rows_are_judged_by_squares_by_distance_or_by_nll() -> None:
    target, said = np.array([1.0, 2.0]), np.array([3.0, 2.5])
    assert Objective(name="rmse").row_losses(target, said).tolist() == [4.0, 0.25]
    assert Objective(name="quadratic_kappa", class_values=VALUES).row_losses(
        target, said
    ).tolist() == [
        4.0,
        0.25,
    ]
    assert Objective(name="mae").row_losses(target, said).tolist() == [2.0, 0.5]
    shares = np.array([[0.5, 0.5], [0.75, 0.25]])
    assert_allclose(LOG_LOSS.row_losses(np.eye(2), shares), np.log([2, 4]))
    assert LOG_LOSS.score(np.eye(2), shares) == pytest.approx(np.log([2, 4]).mean())


def test_the_nearest_class_of_values_that_are_not_evenly_apart() -> None:
    objective = Objective(name="accuracy", class_values=VALUES)
    assert objective.nearest(np.array([-1.0, 0.5, 2.9, 3.1])).tolist() == [0, 0, 2, 3]


def test_the_usual_metric() -> None:
    assert Objective.named("", VALUES, is_number=True).name == "rmse"
    assert Objective.named("", (), is_number=False).name == "log_loss"
    assert Objective.named("quadratic_kappa", VALUES, is_number=True).is_of_ordered
    assert all(Objective(name=name).title for name in TITLES)


@pytest.mark.parametrize(
    ("name", "values", "is_number", "message"),
    [
        ("rsme", VALUES, True, "metric = 'rsme': did you mean 'rmse'"),
        ("auc", VALUES, True, "'auc' does not fit a target of numbers; give one of rm"),
        ("auc", VALUES, True, r'are names: target_kind = "classes" in \[data\]'),
        (
            "rmse",
            (),
            False,
            "a number for each class in the table, and leave target_ki",
        ),
        ("accuracy", (), True, "does not fit a target of numbers without classes"),
        ("rmse", (), False, "'rmse' does not fit a target of classes; give one of log"),
        ("quadratic_kappa", (), False, "does not fit a target of classes"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(
    name: str, values: tuple[float, ...], is_number: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Objective.named(name, values, is_number=is_number)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (1e-9, 0.0), (0.1, 0.3), (40, 1.6e9)])
def test_of_two_classes_as_near_it_is_the_lower_in_every_unit(
    a: float, b: float
) -> None:
    classes = a * np.array([0.0, 1.0, 2.0, 5.0]) + b
    values = a * np.array([-3.0, 0.49, 0.5, 0.51, 1.5, 3.5, 3.51, 9.0]) + b
    expected = [0, 0, 0, 1, 1, 2, 3, 3]
    assert (
        Objective(name="accuracy", class_values=tuple(classes)).nearest(values).tolist()
        == expected
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_tiny_probabilities_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = 10.0 ** rng.uniform(-30, -10, 40)  # of a class that a fold has not seen
    index = rng.integers(2, size=40)
    prediction = np.stack([1 - said, said], axis=1)
    score = Objective(name="auc", is_number=False).score(np.eye(2)[index], prediction)
    assert_allclose(score, metrics.roc_auc_score(index, said))

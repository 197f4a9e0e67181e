"""Tests of stacking.ensemble.postprocessors."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import cohen_kappa_score, f1_score

from data_prep.errors import UserError
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocessors import (
    MIN_PROBA,
    NEVER,
    POSTPROCESSORS,
    WEIGHTS,
    best_min_proba,
    choose_postprocessors,
    postprocessor_named,
)
from stacking.inputs.target_columns import NetPredictions

VALUES = (0.0, 1.0, 2.0, 3.0)
RMSE, MAE, KAPPA, F1, ACCURACY = (
    Objective(name=name, class_values=VALUES)
    for name in ("rmse", "mae", "quadratic_kappa", "macro_f1", "accuracy")
)
NOTHING = NetPredictions(regression=None, proba=None, class_values=np.array([]))
N = 300
CV_GROUPS = np.arange(N)


def by(target: np.ndarray, objective: Objective = RMSE) -> ScoringData:
    """Score rows of a group each."""
    return ScoringData(
        y_true=target, folds=CV_GROUPS % 3, groups=CV_GROUPS, objective=objective
    )


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, NetPredictions]:
    """Targets 0 to 3, a prediction of them, and what a net says beside it."""
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=N).astype(np.float64)
    prediction = target + rng.normal(0, 0.7, N)
    distances = (target[:, None] + rng.normal(0, 0.5, (N, 1)) - range(4)) ** 2
    shares = np.exp(-2 * distances)
    shares /= shares.sum(axis=1, keepdims=True)
    plain = target + rng.normal(0, 0.9, N)
    return (
        target,
        prediction,
        NetPredictions(regression=plain, proba=shares, class_values=np.array(VALUES)),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", [RMSE, MAE], ids=["rmse", "mae"])
@pytest.mark.parametrize("name", ["blend", "blend_expected"])
def test_the_weight_is_that_of_a_search_by_hand(
    name: str, objective: Objective, seed: int
) -> None:
    target, prediction, net_pred = rows(seed)
    assert net_pred.proba is not None
    other = (
        net_pred.regression if name == "blend" else net_pred.proba @ np.array(VALUES)
    )
    power = 1 if objective is MAE else 2
    errors = {
        w: (np.abs(w * prediction + (1 - w) * other - target) ** power).mean()
        for w in WEIGHTS.tolist()
    }
    rule = postprocessor_named(name).choose(prediction, net_pred, by(target, objective))
    assert rule["weight"] == min(errors, key=lambda w: errors[w])
    assert 0 < rule["weight"] < 1
    said = postprocessor_named(name).apply(prediction, net_pred, rule)
    assert_allclose(said, rule["weight"] * prediction + (1 - rule["weight"]) * other)


def test_what_is_as_good_alone_is_kept_as_it_is() -> None:
    target, prediction, net_pred = rows()
    same = replace(net_pred, regression=prediction)
    rule = postprocessor_named("blend").choose(prediction, same, by(target))
    assert rule == {"weight": 1.0}


def test_the_curve_is_that_of_scikit_learn_and_never_falls() -> None:
    target, prediction, net_pred = rows()
    isotonic = postprocessor_named("isotonic")
    rule = isotonic.choose(prediction, net_pred, by(target))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(prediction, target)
    asked = np.linspace(-3, 6, 50)
    said = isotonic.apply(asked, net_pred, rule)
    assert_allclose(said, theirs.predict(asked))
    worse = isotonic.choose(-prediction, net_pred, by(target))
    assert np.ptp(isotonic.apply(asked, net_pred, worse)) < 0.5  # flat, and not falling


def test_rounding_by_hand() -> None:
    shares = np.array([[0.95, 0.05, 0, 0], [0, 0.06, 0.94, 0], [0.4, 0.2, 0, 0.4]])
    net_pred = NetPredictions(
        regression=None, proba=shares, class_values=np.array([10.0, 20.0, 30.0, 40.0])
    )
    before = np.array([2.5, 2.5, 2.5])
    said = postprocessor_named("round").apply(
        before, net_pred, {"min_proba": [0.95] * 4}
    )
    assert said.tolist() == [10.0, 2.5, 2.5]
    own = {"min_proba": [NEVER, 0.5, 0.9, 0.4]}
    said = postprocessor_named("round_to_class").apply(before, net_pred, own)
    assert said.tolist() == [
        2.5,
        30.0,
        2.5,
    ]  # of equals, the first class is the sure one


def test_the_threshold_is_the_middle_of_the_plateau() -> None:
    # Rows surer than 0.80 are right and the others wrong, and no row lies between 0.6
    # and 0.8: all thresholds of that gap are equally good.
    top = np.concatenate([np.full(50, 0.5), np.full(50, 0.85)])
    won = np.concatenate([np.full(50, 64.0), np.full(50, -0.04)])
    found = best_min_proba(top, won, np.arange(100))
    level = MIN_PROBA[(MIN_PROBA > 0.5) & (MIN_PROBA <= 0.85)]
    assert found == pytest.approx(level[(len(level) - 1) // 2])


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_near_the_best_by_brute_force(seed: int) -> None:
    target, prediction, net_pred = rows(seed)
    assert net_pred.proba is not None
    rounding = postprocessor_named("round")
    rule = rounding.choose(prediction, net_pred, by(target))
    found = rule["min_proba"][0]
    assert rule["min_proba"] == [found] * 4
    losses = {
        t: (rounding.apply(prediction, net_pred, {"min_proba": [t] * 4}) - target) ** 2
        for t in MIN_PROBA.tolist()
    }
    best = min(losses, key=lambda t: losses[t].mean())
    difference = losses[found] - losses[best]
    assert difference.mean() <= difference.std() / np.sqrt(N) + 1e-12


def test_a_class_that_the_net_gets_wrong_is_never_rounded_to() -> None:
    target, prediction, net_pred = rows()
    assert net_pred.proba is not None
    index = net_pred.proba.argmax(axis=1)
    wrong = np.where(index == 2, 0.0, target)  # whoever seems sure of class 2 is wrong
    rounding = postprocessor_named("round_to_class")
    said = np.where(index == 2, 0.1, prediction)
    rule = rounding.choose(said, net_pred, by(wrong))
    assert rule["min_proba"][2] == NEVER
    assert all(t < 1 for t in rule["min_proba"][:2])


def test_thresholds_of_classes_are_chosen_apart() -> None:
    target, prediction, net_pred = rows(3)
    rounding = postprocessor_named("round_to_class")
    before = rounding.choose(prediction, net_pred, by(target))["min_proba"]
    assert net_pred.proba is not None
    is_other = net_pred.proba.argmax(axis=1) == 3
    changed = np.where(is_other, 0.0, target)
    after = rounding.choose(prediction, net_pred, by(changed))["min_proba"]
    assert before[:3] == after[:3]
    assert before[3] != after[3]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "objective", [KAPPA, F1, ACCURACY], ids=lambda objective: objective.name
)
def test_thresholds_are_no_worse_than_a_search_over_a_grid(
    objective: Objective, seed: int
) -> None:
    target, prediction, net_pred = rows(seed)
    shrunk = 1.5 + 0.4 * (prediction - 1.5)  # predictions that hug the mean
    thresholds = postprocessor_named("thresholds")
    rule = thresholds.choose(shrunk, net_pred, by(target, objective))
    assert rule["thresholds"] == sorted(rule["thresholds"])
    found = objective.score(target, thresholds.apply(shrunk, net_pred, rule))
    grid = np.linspace(0.7, 2.3, 13)
    best = max(
        objective.score(
            target, thresholds.apply(shrunk, net_pred, {"thresholds": list(three)})
        )
        for three in itertools.combinations(grid, 3)
    )
    assert found >= best - 0.01
    assert found > objective.score(target, shrunk) + 0.05


def test_thresholds_by_hand_and_scored_as_scikit_learn_scores() -> None:
    target, prediction, net_pred = rows()
    said = postprocessor_named("thresholds").apply(
        np.array([0.2, 1.0, 1.6, 9.0]), net_pred, {"thresholds": [0.5, 1.0, 1.7]}
    )
    assert said.tolist() == [0.0, 2.0, 2.0, 3.0]
    rule = {"thresholds": [0.4, 1.6, 2.2]}
    said = postprocessor_named("thresholds").apply(prediction, net_pred, rule)
    theirs = cohen_kappa_score(target, said, weights="quadratic")
    assert KAPPA.score(target, said) == pytest.approx(theirs)
    theirs = f1_score(target, said, average="macro")
    assert F1.score(target, said) == pytest.approx(theirs)


@pytest.mark.parametrize(
    "processor", POSTPROCESSORS, ids=lambda processor: processor.name
)
@pytest.mark.parametrize("seed", range(3))
def test_a_rule_is_plain_values_and_does_to_rows_what_it_does_to_all(
    processor: Any, seed: int
) -> None:
    target, prediction, net_pred = rows(seed)
    objective = KAPPA if processor.name == "thresholds" else RMSE
    rule = processor.choose(prediction, net_pred, by(target, objective))
    assert all(isinstance(value, float | list) for value in rule.values())
    some = np.arange(0, N, 7)
    said = processor.apply(prediction, net_pred, rule)
    assert_allclose(
        processor.apply(prediction[some], net_pred.take(some), rule), said[some]
    )


@pytest.mark.parametrize(
    ("net_pred", "objective", "names"),
    [
        (
            rows()[2],
            RMSE,
            ["blend", "blend_expected", "isotonic", "round", "round_to_class"],
        ),
        (rows()[2], KAPPA, [processor.name for processor in POSTPROCESSORS]),
        (NOTHING, Objective(name="rmse"), ["isotonic"]),
        (
            replace(NOTHING, proba=rows()[2].proba),
            Objective(name="log_loss", class_values=(), is_number=False),
            [],
        ),
    ],
)
def test_postprocessors_that_fit_are_tried(
    net_pred: Any, objective: Objective, names: list[str]
) -> None:
    assert [
        processor.name for processor in choose_postprocessors((), net_pred, objective)
    ] == names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "round",
            "postprocess = 'round' needs class probabilities of a target of numbers",
        ),
        ("blend", "postprocess = 'blend' needs a regression of the target"),
        ("thresholds", "postprocess = 'thresholds' needs a metric of ordered classes"),
        ("rounds", "postprocess = 'rounds': did you mean 'round'"),
    ],
)
def test_a_postprocessor_that_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_postprocessors((name,), NOTHING, Objective(name="rmse"))

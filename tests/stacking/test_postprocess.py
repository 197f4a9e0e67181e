"""Tests of stacking.ensemble.postprocess."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.cross_fitting import CrossFit
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocess import Start, run_chain
from stacking.ensemble.postprocessors import (
    POSTPROCESSORS,
    choose_postprocessors,
    postprocessor_named,
)
from stacking.inputs.target_columns import NetPredictions

VALUES = np.arange(4.0)
RMSE = Objective(name="rmse", class_values=tuple(VALUES))
N = 300
FOLDS = np.arange(N) % 3
CV_GROUPS = np.arange(N)


def proba_of(target: np.ndarray, seed: int, error: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    seen = target[:, None] + rng.normal(0, error, (len(target), 1))
    shares = np.exp(-2 * (seen - range(4)) ** 2)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def net_predictions(regression: np.ndarray, proba: np.ndarray) -> NetPredictions:
    return NetPredictions(regression=regression, proba=proba, class_values=VALUES)


def scored_by(y: np.ndarray, objective: Objective = RMSE) -> ScoringData:
    return ScoringData(y_true=y, folds=FOLDS, groups=CV_GROUPS, objective=objective)


def made_up(seed: int = 0) -> tuple[Start, NetPredictions, ScoringData]:
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=N).astype(np.float64)
    said, plain = (target + s * rng.normal(size=N) for s in (0.9, 0.9))
    net_pred = net_predictions(plain, proba_of(target, seed))
    start = Start(fit=CrossFit.of_fixed(said, FOLDS), apparent=said)
    return start, net_pred, scored_by(target)


def chain(start: Start, net_pred: NetPredictions, scoring: ScoringData) -> list[Any]:
    processors = choose_postprocessors((), net_pred, scoring.objective)
    return run_chain(processors, start, net_pred, scoring)


def test_nested_predictions_are_those_of_rules_from_the_other_folds() -> None:
    start, net_pred, scoring = made_up()
    blend = postprocessor_named("blend")
    (step,) = run_chain([blend], start, net_pred, scoring)
    said = start.fit.oof_pred
    for fold in range(3):
        rest, own = np.flatnonzero(fold != FOLDS), np.flatnonzero(fold == FOLDS)
        rule = blend.choose(said[rest], net_pred.take(rest), scoring.take(rest))
        expected = blend.apply(said[own], net_pred.take(own), rule)
        assert_allclose(step.after.fit.oof_pred[own], expected)
        assert step.rules[fold] == rule
    rule = blend.choose(said, net_pred, scoring)
    assert step.rule == rule
    assert_allclose(step.after.apparent, blend.apply(said, net_pred, rule))


@pytest.mark.parametrize("fold", range(3))
def test_nested_predictions_never_look_at_their_own_labels(fold: int) -> None:
    start, net_pred, scoring = made_up()
    own = fold == FOLDS
    other = np.where(own, 3 - scoring.y_true, scoring.y_true)
    changed = scored_by(other)
    other_rules = []
    for processor in choose_postprocessors((), net_pred, RMSE):
        (before,) = run_chain([processor], start, net_pred, scoring)
        (after,) = run_chain([processor], start, net_pred, changed)
        first, second = before.after.fit.oof_pred, after.after.fit.oof_pred
        assert np.array_equal(first[own], second[own]), processor.name
        assert before.rules[fold] == after.rules[fold]
        other_rules.append(before.rule != after.rule)
    assert sum(other_rules) >= 3  # it is not that labels do not matter


def test_the_rule_of_a_fold_is_chosen_on_its_inner_predictions() -> None:
    # The outer predictions may have seen other folds' labels through their models; only
    # the inner ones are clean. Here the outer are the target and the inner are noise.
    _, net_pred, scoring = made_up()
    noise = np.random.default_rng(5).normal(99, 1, N)
    liar = CrossFit(
        oof_pred=scoring.y_true.copy(),
        inner_oof=CrossFit.of_fixed(noise, FOLDS).inner_oof,
    )
    start = Start(fit=liar, apparent=scoring.y_true.copy())
    (step,) = run_chain([postprocessor_named("blend")], start, net_pred, scoring)
    assert all(rule["weight"] == 0 for rule in step.rules)
    assert step.rule["weight"] == 1  # apparent


def test_steps_that_pay_are_on_and_the_next_begins_from_them() -> None:
    steps = chain(*made_up())
    blend, expected, *_ = steps
    assert blend.is_on
    assert blend.gain == blend.alone
    assert expected.is_on
    # after the blend there is less to gain than alone
    assert 0 < expected.gain.value < expected.alone.value
    _, net_pred, scoring = made_up()
    (again,) = run_chain(
        [postprocessor_named("blend_expected")], blend.after, net_pred, scoring
    )
    assert np.array_equal(again.after.fit.oof_pred, expected.after.fit.oof_pred)


def test_a_step_that_is_off_leaves_the_chain_as_it_was() -> None:
    start, net_pred, scoring = made_up()
    useless = replace(net_pred, regression=start.fit.oof_pred)
    blend, expected, *_ = chain(start, useless, scoring)
    assert not blend.is_on
    assert blend.gain.value == 0
    (alone,) = run_chain(
        [postprocessor_named("blend_expected")], start, useless, scoring
    )
    assert np.array_equal(alone.after.fit.oof_pred, expected.after.fit.oof_pred)
    assert expected.gain == expected.alone


@pytest.mark.parametrize("seed", range(8))
def test_noise_does_not_pay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=N).astype(np.float64)
    steady = np.full(N, 1.5)
    net_pred = net_predictions(1.5 + rng.normal(size=N), rng.dirichlet(np.ones(4), N))
    start = Start(fit=CrossFit.of_fixed(steady, FOLDS), apparent=steady)
    steps = chain(start, net_pred, scored_by(target))
    assert not any(step.is_on for step in steps)


@pytest.mark.parametrize("name", [processor.name for processor in POSTPROCESSORS])
def test_every_postprocessor_can_pay_and_then_the_score_is_better(name: str) -> None:
    # Each is given what it is for: a net that is right, a bent scale, or classes that
    # are judged by kappa from predictions that hug the mean.
    rng = np.random.default_rng(0)
    target = rng.integers(4, size=N).astype(np.float64)
    said = target + 0.9 * rng.normal(size=N)
    sure = proba_of(target, 1, 0.1)
    objective = RMSE
    if name == "isotonic":
        said = target**2 / 9 * 3 + 0.1 * rng.normal(size=N)
    if name == "thresholds":
        objective, said = (
            Objective(name="quadratic_kappa", class_values=tuple(VALUES)),
            1.2 + 0.3 * (said - 1.5),
        )
    net_pred = net_predictions(target + 0.3 * rng.normal(size=N), sure)
    scoring = scored_by(target, objective)
    start = Start(fit=CrossFit.of_fixed(said, FOLDS), apparent=said)
    (step,) = run_chain([postprocessor_named(name)], start, net_pred, scoring)
    assert step.is_on
    before, after = (
        objective.score(target, fit.oof_pred) for fit in (start.fit, step.after.fit)
    )
    assert objective.is_better(after, before)
    assert step.gain.value == pytest.approx(abs(after - before))

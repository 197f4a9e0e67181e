"""Tests of stacking.analysis.diagnostics."""

import numpy as np
import pytest

from data_prep.errors import UserError
from stacking.analysis.diagnostics import expect_of_averaging, judge_control, permuted
from stacking.ensemble.objective import Objective, ScoringData

RMSE, LOG_LOSS = (
    Objective(name="rmse"),
    Objective(name="log_loss", class_values=(), is_number=False),
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_nets", [2, 3, 5])
def test_what_averaging_gains_is_what_it_does_gain(n_nets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=4000)
    shared = rng.normal(0, 0.5, 4000)  # an error that all nets make
    nets = target + shared + rng.normal(0, 0.6, (n_nets, 4000))
    single = np.sqrt(((nets - target) ** 2).mean())
    expected = expect_of_averaging(nets, float(single), RMSE)
    assert expected is not None
    assert expected.single_net == single
    averaged = np.sqrt(((nets.mean(axis=0) - target) ** 2).mean())
    assert expected.averaged == pytest.approx(
        averaged
    )  # an identity, where nothing is sampled
    assert expected.averaged < single


def test_what_averaging_gains_by_hand() -> None:
    by_net = np.array([[1.0, 2.0], [3.0, 2.0]])
    expected = expect_of_averaging(by_net, 2.0, RMSE)
    assert expected is not None
    assert expected.disagreement == pytest.approx(np.sqrt(0.5))
    assert expected.averaged == pytest.approx(np.sqrt(4 - 0.5))


@pytest.mark.parametrize("seed", range(3))
def test_what_averaging_gains_of_calibrated_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nets = rng.dirichlet(np.ones(3), size=(3, 20_000))
    mean = nets.mean(axis=0)
    index = (rng.random((20_000, 1)) > mean.cumsum(axis=1)).sum(axis=1)  # drawn from it
    target = np.eye(3)[index]
    single = np.mean([LOG_LOSS.score(target, net) for net in nets])
    expected = expect_of_averaging(nets, float(single), LOG_LOSS)
    assert expected is not None
    assert expected.averaged == pytest.approx(LOG_LOSS.score(target, mean), abs=0.02)


def test_nothing_is_expected_of_one_net_of_no_picture_or_of_other_metrics() -> None:
    some = np.random.default_rng(0).normal(size=(3, 10))
    assert expect_of_averaging(some[:1], 1.0, RMSE) is None
    assert expect_of_averaging(some[:, :0], 1.0, RMSE) is None
    assert (
        expect_of_averaging(
            some, 1.0, Objective(name="quadratic_kappa", class_values=(0.0, 1.0))
        )
        is None
    )


@pytest.mark.parametrize("seed", range(5))
def test_labels_stay_within_their_fold(seed: int) -> None:
    target, folds = np.arange(60.0), np.arange(60) % 3
    shuffled = permuted(target, folds, seed)
    assert (shuffled != target).any()
    for fold in range(3):
        mask = folds == fold
        assert sorted(shuffled[mask]) == sorted(target[mask])


def test_a_control_that_beats_the_constant_is_an_error() -> None:
    rng = np.random.default_rng(0)
    target, rows = rng.normal(size=300), np.arange(300)
    scoring = ScoringData(y_true=target, folds=rows % 3, groups=rows, objective=RMSE)
    nothing = judge_control(scoring, np.zeros(300))
    assert nothing.low <= 0
    with pytest.raises(
        UserError, match=r"the control failed.*something leaks from row"
    ):
        judge_control(scoring, 0.5 * target)

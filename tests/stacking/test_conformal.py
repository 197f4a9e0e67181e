"""Tests of stacking.analysis.conformal."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import UserError
from stacking.analysis.conformal import (
    conformal_radius,
    conformal_set_threshold,
    least_groups,
    prediction_sets,
)

N_GROUPS, N_SEEDS = 40, 400
Draw = tuple[NDArray[np.float64], NDArray[np.int64]]


def errors_of_groups(rng: np.random.Generator, n_groups: int, heavy: bool) -> Draw:
    """Errors that are mostly the group's; large groups err more than small ones."""
    sizes = rng.integers(1, 30, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    spread = 0.3 + sizes / 10
    of_group = spread * (
        rng.standard_t(2, n_groups) if heavy else rng.normal(size=n_groups)
    )
    return of_group[groups] + 0.3 * rng.normal(size=len(groups)), groups


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("heavy", [False, True])
def test_a_picture_of_a_new_group_is_covered_as_promised(
    heavy: bool, coverage: float
) -> None:
    covered, naive = [], []
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        errors, groups = errors_of_groups(rng, N_GROUPS, heavy)
        radius = conformal_radius(errors, groups, coverage)
        new, new_groups = errors_of_groups(rng, 50, heavy)
        by_group = np.bincount(new_groups)
        hits = np.abs(new) <= radius
        covered.append(np.mean(np.bincount(new_groups, hits) / by_group))
        plain = np.abs(new) <= np.quantile(np.abs(errors), coverage)
        naive.append(np.mean(np.bincount(new_groups, plain) / by_group))
    mean, margin = np.mean(covered), 3 * np.std(covered) / math.sqrt(N_SEEDS)
    assert mean > coverage - margin
    # above it by two votes at most, the bound of the module
    assert mean < coverage + 2 / (N_GROUPS + 1) + margin
    assert abs(np.mean(naive) - coverage) > margin  # the plain quantile is another


@pytest.mark.parametrize("n_groups", [4, 9, 19])
def test_few_groups_are_made_up_for_by_the_vote_of_the_one_to_come(
    n_groups: int,
) -> None:
    coverage = n_groups / (n_groups + 1)
    covered, too_little = [], []
    rng = np.random.default_rng(n_groups)
    for _ in range(1500):
        of_group = rng.normal(size=n_groups + 1)
        residuals = np.repeat(of_group[:-1], 3)
        groups = np.repeat(np.arange(n_groups), 3)
        new = abs(of_group[-1])
        covered.append(new <= conformal_radius(residuals, groups, coverage))
        too_little.append(new <= np.quantile(np.abs(residuals), coverage))
    margin = 3 * math.sqrt(coverage * (1 - coverage) / 1500)
    assert abs(np.mean(covered) - coverage) < margin
    assert np.mean(too_little) < coverage - margin


def test_the_weights_are_the_limit_of_drawing_a_row_of_each_group() -> None:
    rng = np.random.default_rng(0)
    errors, groups = errors_of_groups(rng, N_GROUPS, heavy=False)
    scores = np.abs(errors)
    rows = [np.flatnonzero(groups == group) for group in range(N_GROUPS)]
    drawn = np.sort([scores[rng.choice(own, 2000)] for own in rows], axis=None)
    # the share of draws below it, the one to come counted among those above
    radius = conformal_radius(errors, groups, 0.8)
    share = np.searchsorted(drawn, radius, side="right") / drawn.size
    assert share * N_GROUPS / (N_GROUPS + 1) == pytest.approx(0.8, abs=0.01)


def test_by_hand() -> None:
    # Votes: 1/2 each for a, 1/4 each for b, 1 each for c and d; four groups.
    residuals = [1.0, -9.0, 2.0, -2.5, 3.0, 4.0, -5.0, 6.0]
    groups = list("aabbbbcd")
    # Sorted: 1 (1/2), 2 (3/4), 2.5 (1), 3 (5/4), 4 (3/2), 5 (5/2), 6 (7/2), 9 (4).
    for coverage, radius in [
        (0.1, 1.0),  # 0.5 of 5 votes
        (0.15, 2.0),
        (0.2, 2.5),
        (0.21, 3.0),
        (0.3, 4.0),
        (0.31, 5.0),
        (0.5, 5.0),
        (0.51, 6.0),
        (0.8, 9.0),
        (0.81, math.inf),
    ]:
        assert conformal_radius(residuals, groups, coverage) == radius


@pytest.mark.parametrize("seed", range(10))
def test_order_and_names_do_not_matter_and_copies_of_a_row_do_not_count(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    errors, groups = errors_of_groups(rng, 20, heavy=True)
    radius = conformal_radius(errors, groups)
    order = rng.permutation(len(errors))
    names = np.array([f"g{k}" for k in rng.permutation(20)])
    assert conformal_radius(-errors[order], names[groups][order]) == radius
    doubled = np.repeat(np.arange(len(errors)), 1 + 6 * (groups == 0))
    assert conformal_radius(errors[doubled], groups[doubled]) == radius


@pytest.mark.parametrize("size", [1, 3, 7, 9, 49])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_the_least_number_of_groups_is_just_enough(size: int, coverage: float) -> None:
    n_groups = least_groups(coverage)
    for n, is_finite in ((n_groups, True), (n_groups - 1, False)):
        if n:
            groups = np.repeat(np.arange(n), size)
            radius = conformal_radius(np.arange(len(groups)), groups, coverage)
            assert math.isfinite(radius) is is_finite


def class_shares(
    rng: np.random.Generator, n_groups: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Probabilities of four classes, overconfident for whole groups."""
    sizes = rng.integers(1, 20, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    index = rng.integers(4, size=len(groups))
    seen = np.where(rng.uniform(size=n_groups)[groups] < 0.8, index, (index + 1) % 4)
    logits = rng.normal(size=(len(groups), 4))
    logits[np.arange(len(groups)), seen] += rng.uniform(0, 5, len(groups))
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True), index, groups


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_class_of_a_new_group_is_in_its_set_as_promised(coverage: float) -> None:
    covered, larger = [], []
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        threshold = conformal_set_threshold(*class_shares(rng, N_GROUPS), coverage)
        shares, index, groups = class_shares(rng, 50)
        sets = prediction_sets(shares, threshold)
        rows = np.arange(len(index))
        by_group = np.bincount(groups)
        # the sets of the theorem, and ours, which hold the likeliest class too
        of_theorem = shares[rows, index] >= threshold - 1e-12
        covered.append(np.mean(np.bincount(groups, of_theorem) / by_group))
        larger.append(np.mean(np.bincount(groups, sets[rows, index]) / by_group))
        assert sets.any(axis=1).all()
    mean, margin = np.mean(covered), 3 * np.std(covered) / math.sqrt(N_SEEDS)
    assert coverage - margin < mean < coverage + 2 / (N_GROUPS + 1) + margin
    assert np.mean(larger) >= mean


def test_the_sets_of_classes_by_hand() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    # True probabilities 0.7, 0.6, 0.3; three votes of four are asked for.
    threshold = conformal_set_threshold(shares, [0, 1, 1], [5, 6, 7], 0.75)
    assert threshold == pytest.approx(0.3)
    sets = prediction_sets(
        [[0.7, 0.2, 0.1], [0.4, 0.3, 0.3], [0.25] * 4][:2], threshold
    )
    assert sets.tolist() == [[True, False, False], [True, True, True]]
    assert prediction_sets([[0.25, 0.25, 0.5]], 0.6).tolist() == [[False, False, True]]
    # too few groups: every class, and no interval that ends
    threshold = conformal_set_threshold(shares, [0, 1, 1], [5, 6, 7], 0.9)
    assert prediction_sets(shares, threshold).all()


@pytest.mark.parametrize("p", np.random.default_rng(0).uniform(size=50))
def test_a_probability_at_the_threshold_is_in_the_set(p: float) -> None:
    shares = np.array([[p, 1 - p]] * 3)
    threshold = conformal_set_threshold(shares, [0, 0, 0], [0, 1, 2], 0.7)
    assert prediction_sets(shares, threshold)[:, 0].all()


def test_what_is_refused() -> None:
    for coverage in (0, 1, 90, math.nan):
        with pytest.raises(UserError, match="give a share between 0 and 1"):
            conformal_radius([1.0], [0], coverage)
    with pytest.raises(UserError, match="1 of 2 residuals are missing or not finite"):
        conformal_radius([1.0, math.nan], [0, 1])
    for residuals, groups in (([], []), ([1.0], [0, 1]), ([[1.0]], [0])):
        with pytest.raises(UserError, match=r"groups for residuals of shape"):
            conformal_radius(residuals, groups)

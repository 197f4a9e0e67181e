"""Tests of stacking.cross_fitting."""

import numpy as np
import pytest

from stacking.cross_fitting import CrossFit, assign_inner_folds, each_fold

SEEDS = range(20)


def rows(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cv_groups = rng.integers(n // 2, size=n)
    return rng.normal(size=n // 2)[cv_groups] + rng.normal(0, 0.1, n), cv_groups


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_parts", [2, 3, 4, 7])
def test_no_cv_group_is_torn_and_no_part_is_empty(n_parts: int, seed: int) -> None:
    target, cv_groups = rows(seed)
    parts = assign_inner_folds(target, cv_groups, seed, n_parts)
    assert all(
        len(set(parts[cv_groups == one])) == 1 for one in set(cv_groups.tolist())
    )
    assert sorted(set(parts)) == list(range(n_parts))


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_have_like_targets(seed: int) -> None:
    cv_groups = np.arange(400) // 2
    target = np.random.default_rng(seed).normal(size=200)[cv_groups]
    parts = assign_inner_folds(target, cv_groups, seed)
    means = [target[parts == part].mean() for part in range(4)]
    assert np.ptp(means) < 0.1  # by pure chance it would be about 0.3


def test_the_seed_decides() -> None:
    target, cv_groups = rows(0)
    first, again, other = (
        assign_inner_folds(target, cv_groups, seed) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_classes_are_spread_over_the_parts() -> None:
    shares = np.eye(2)[np.arange(40) % 2]
    parts = assign_inner_folds(shares, np.arange(40), 0)
    counts = [shares[parts == part].sum(axis=0).tolist() for part in range(4)]
    assert counts == [[5, 5]] * 4


def test_few_cv_groups_make_few_parts() -> None:
    cv_groups = np.repeat([0, 1], 10)
    parts = assign_inner_folds(np.arange(20.0), cv_groups, 0)
    assert sorted(set(parts)) == [0, 1]


def test_each_row_is_held_out_once() -> None:
    folds = np.array([2, 0, 1, 1, 0])
    seen = [held_out.tolist() for _, _, held_out in each_fold(folds)]
    assert seen == [[1, 4], [2, 3], [0]]
    for _, rest, held_out in each_fold(folds):
        assert sorted([*rest, *held_out]) == [0, 1, 2, 3, 4]


def test_fixed_predictions_hide_the_fold_itself() -> None:
    fit = CrossFit.of_fixed(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0]))
    assert np.isnan(fit.inner_oof).tolist() == [
        [True, False, True],
        [False, True, False],
    ]
    assert fit.inner_oof[0, 1] == 2.0

"""Folds of unkind tables: none empty, no group torn, as good as scikit-learn's."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from data_prep.errors import UserError
from data_prep.folds import (
    assign_folds,
    imbalance,
    strata,
    strata_of_one_fold,
)
from data_prep.rows import with_folds
from data_prep.schemes import SCHEMES
from tests.drilled import in_drills

STRUCTURES = ("huge", "alone", "few", "pairs", "mixed", "pure")


def groups_of(structure: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (n,) groups."""
    if structure == "huge":  # half of the rows or more in one, the others alone
        groups = np.arange(n)
        groups[: int(n * rng.uniform(0.5, 0.95))] = 0
        return groups
    if structure == "alone":
        return np.arange(n)
    if structure == "few":
        return rng.integers(0, rng.integers(2, 7), n)
    if structure == "pairs":
        return np.arange(n) // 2
    sizes = rng.geometric(0.3, n)
    return np.repeat(np.arange(n), sizes)[:n]


def labels_of(structure: str, groups: np.ndarray, rng: np.random.Generator) -> Any:
    """Draw (n,) targets: rare classes, a quantity, few values, some missing."""
    n, kind = len(groups), rng.integers(4)
    if kind == 0:
        target = rng.choice(5, n, p=[0.6, 0.3, 0.06, 0.03, 0.01]).astype(np.float64)
    elif kind == 1:
        target = rng.exponential(size=n)
    elif kind == 2:
        target = np.full(n, 7.0)
    else:
        target = np.minimum(rng.integers(0, n, n), 25).astype(np.float64)
    if structure == "pure":  # a group has one label
        target = rng.permutation(target)[np.unique(groups, return_inverse=True)[1]]
    return np.where(rng.random(n) < 0.1, np.nan, target)


def unkind(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw strata, groups and a number of folds."""
    rng = np.random.default_rng(seed)
    structure = STRUCTURES[seed % len(STRUCTURES)]
    n = int(rng.integers(6, 60))
    groups = groups_of(structure, n, rng)
    return strata(labels_of(structure, groups, rng)), groups, int(rng.integers(2, 7))


def faults(folds: np.ndarray, labels: np.ndarray) -> tuple[int, float]:
    return len(strata_of_one_fold(folds, labels)), round(imbalance(folds, labels), 9)


@pytest.mark.parametrize("n_tables", [24, in_drills(90)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_group_of_unkind_tables_is_torn(scheme: str, n_tables: int) -> None:
    n_refused = 0
    for seed in range(n_tables):
        labels, groups, n_folds = unkind(seed)
        try:
            folds = assign_folds(f"{scheme}{n_folds}", labels, groups, seed)
        except UserError as error:
            is_short = len(np.unique(groups)) < n_folds
            assert is_short, error  # noqa: PT017  the only reason there may be
            n_refused += 1
            continue
        assert_array_equal(np.unique(folds), np.arange(n_folds))
        assert pd.Series(folds).groupby(groups).nunique().max() == 1
        again = assign_folds(f"{scheme}{n_folds}", labels, groups, seed)
        assert_array_equal(again, folds)
    assert 0 < n_refused < n_tables / 3


@pytest.mark.parametrize("n_tables", [48, in_drills(200)])
@pytest.mark.parametrize(
    ("scheme", "splitter"),
    [
        ("sgkfold", StratifiedGroupKFold),
        ("gkfold", GroupKFold),
        ("skfold", StratifiedKFold),
    ],
)
def test_never_worse_than_scikit_learn(
    scheme: str, splitter: Any, n_tables: int
) -> None:
    n_better = n_compared = 0
    for structure in range(n_tables):
        labels, groups, n_folds = unkind(structure)
        has_groups = splitter is not StratifiedKFold
        n_units = len(np.unique(groups)) if has_groups else len(groups)
        if n_units < n_folds:
            continue
        theirs = np.full(len(labels), -1)
        is_even = np.bincount(labels + 1).max() >= n_folds
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            splits = splitter(n_folds).split(
                labels, labels if is_even else np.zeros_like(labels), groups
            )
            for fold, (_, val_idx) in enumerate(splits):
                theirs[val_idx] = fold
        ours = assign_folds(
            f"{scheme}{n_folds}", labels, groups if has_groups else None, structure
        )
        n_compared += 1
        if len(np.unique(theirs)) < n_folds:  # it left a fold empty
            n_better += 1
            continue
        assert faults(ours, labels) <= faults(theirs, labels)
        n_better += faults(ours, labels) < faults(theirs, labels)
    assert n_compared > 0.75 * n_tables
    assert n_better > 0.04 * n_tables or scheme == "skfold"


def test_rows_of_unkind_tables_keep_what_belongs_together() -> None:
    n_made = 0
    for seed in range(30):
        labels, groups, n_folds = unkind(seed)
        rng, n = np.random.default_rng(seed), len(groups)
        rows = pd.DataFrame(
            {
                "id": [f"p{k}" for k in range(n)],
                "split": rng.choice(["train", "test"], n, p=[0.9, 0.1]),
                "target": np.where(labels < 0, np.nan, labels),
                "date": rng.choice([1900.0, 1901.0, 1905.5], n),
                "group": [f"g{group}" if group % 5 else "" for group in groups],
                "pixels_sha256": [f"p{k}" for k in range(n)],
                "same_as": [str(k) for k in rng.integers(0, 4 * n, n)],
                "is_excluded": rng.random(n) < 0.1,
            }
        )
        for cv in (f"sgkfold{n_folds}", f"gkfold{n_folds}", "time2"):
            try:
                table = with_folds(rows, cv, has_group=True, seed=seed)
            except UserError as error:
                assert "\n" not in str(error)  # noqa: PT017
                continue
            n_made += 1
            held_out = table[table["fold"] >= 0]
            assert_array_equal(
                np.unique(held_out["fold"]),
                np.arange(int(cv[len(cv.rstrip("0123456789")) :])),
            )
            for name in ("cv_group", "same_as"):
                assert held_out.groupby(name)["fold"].nunique().max() == 1
            per_group = held_out.groupby("group")["fold"]
            assert per_group.nunique().max() == 1
            assert not held_out["is_excluded"].any()
    assert n_made > 30

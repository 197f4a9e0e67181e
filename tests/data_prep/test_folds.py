"""Tests of data_prep.folds."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.folds import (
    assign_folds,
    fold_hash,
    imbalance,
    join_cv_groups,
    lone_cv_group,
    strata,
    strata_of_one_fold,
    too_few_rows,
)
from data_prep.schemes import SCHEMES, parse_scheme

SEEDS = range(8)


def specimens(seed: int, n_groups: int = 45) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups: 1 to 6 rows a group, a rare class, and mixed groups."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    of_group = rng.choice(3, n_groups, p=[0.6, 0.3, 0.1])
    of_group[:6] = 2  # rare, yet in enough groups for every fold
    labels = np.where(rng.random(len(groups)) < 0.8, of_group[groups], 0)
    return labels, groups


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_every_row_is_held_out_once_and_no_group_is_torn(
    scheme: str, n_folds: int, seed: int
) -> None:
    labels, groups = specimens(seed)
    folds = assign_folds(f"{scheme}{n_folds}", labels, groups, seed)
    assert sorted(set(folds)) == list(range(n_folds))
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", ["skfold", "sgkfold"])
@pytest.mark.parametrize("has_groups", [True, False])
def test_the_stratified_schemes_keep_the_shares_of_the_classes(
    scheme: str, has_groups: bool, seed: int
) -> None:
    if scheme == "sgkfold" and not has_groups:
        return
    labels, groups = specimens(seed)
    folds = assign_folds(f"{scheme}3", labels, groups if has_groups else None, seed)
    for label in range(3):
        fracs = [(labels[folds == fold] == label).mean() for fold in range(3)]
        assert np.ptp(fracs) < 0.08
    assert strata_of_one_fold(folds, labels) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", ["kfold", "skfold"])
def test_without_groups_sizes_differ_by_one_at_most(scheme: str, seed: int) -> None:
    labels, _ = specimens(seed)
    counts = np.bincount(assign_folds(f"{scheme}4", labels, None, seed))
    assert np.ptp(counts) <= (1 if scheme == "kfold" else 3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides_and_names_do_not(scheme: str) -> None:
    labels, groups = specimens(0)
    first = assign_folds(f"{scheme}3", labels, groups, 0)
    again = assign_folds(f"{scheme}3", np.array(["a", "b", "c"])[labels], groups, 0)
    other_seed = assign_folds(f"{scheme}3", labels, groups, 1)
    assert_array_equal(first, again)
    assert (first != other_seed).any()


def test_several_trials_are_better_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    means = []
    for n_trials in (1, 8):
        monkeypatch.setattr("data_prep.folds.N_TRIALS", n_trials)
        imbalances = []
        for seed in SEEDS:
            labels, groups = specimens(seed)
            folds = assign_folds("gkfold3", labels, groups, 0)
            imbalances.append(imbalance(folds, labels))
        means.append(np.mean(imbalances))
    assert means[1] < 0.8 * means[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_classes_too_rare_for_every_fold_are_assigned_all_the_same(scheme: str) -> None:
    labels, groups = np.arange(12), np.arange(12) // 2
    folds = assign_folds(f"{scheme}3", labels, groups, 0)
    assert sorted(np.bincount(folds)) == [4, 4, 4]


def test_imbalance_by_hand() -> None:
    assert imbalance([0, 0, 1, 1], labels=[0, 1, 0, 1]) == 0
    # Class 0: 2 and 0 instead of 1 and 1, class 1 likewise; the sizes are right.
    assert imbalance([0, 0, 1, 1], labels=[0, 0, 1, 1]) == 1
    # Class 0: 3 and 1 instead of 2 and 2, and so are the sizes.
    assert imbalance([0, 0, 0, 1], labels=[7, 7, 7, 7]) == 1


def test_strata_are_classes_or_quantile_bins() -> None:
    assert_array_equal(strata(["b", None, "a", "b"]), [1, -1, 0, 1])
    quantity = np.append(np.random.default_rng(0).exponential(size=200), np.nan)
    bins = strata(quantity)
    assert bins[-1] == -1
    assert_array_equal(np.bincount(bins[:-1]), [20] * 10)
    order = np.argsort(quantity[:-1])
    assert (np.diff(bins[:-1][order]) >= 0).all()
    few = np.arange(60) % 20
    assert_array_equal(strata(few.astype(float)), few)


@pytest.mark.parametrize("seed", SEEDS)
def test_quantities_are_spread_evenly(seed: int) -> None:
    target = np.random.default_rng(seed).exponential(size=150)
    folds = assign_folds("skfold3", strata(target), None, seed)
    means = [target[folds == fold].mean() for fold in range(3)]
    assert np.ptp(means) < 0.35 * target.std()


def test_cv_groups_join_by_group_by_file_and_by_way_of_others() -> None:
    groups = ["a", "b", "", "c", "", "a"]
    digests = ["1", "2", "2", "3", "4", "5"]
    assert_array_equal(join_cv_groups(groups, digests), [0, 1, 1, 2, 3, 0])
    assert_array_equal(join_cv_groups(digests), [0, 1, 1, 2, 3, 4])
    # a - b by file 1, b - c by group y: all one
    assert_array_equal(join_cv_groups(["x", "y", "y"], ["1", "1", "2"]), [0, 0, 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_cv_groups_are_the_components_of_the_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [str(g) if g else "" for g in rng.integers(0, 20, 30)]
    digests = [str(d) for d in rng.integers(0, 25, 30)]
    linked = np.array(
        [
            [
                (bool(a) and a == b) or c == d
                for b, d in zip(groups, digests, strict=True)
            ]
            for a, c in zip(groups, digests, strict=True)
        ]
    )
    for _ in range(6):  # paths of up to 64 steps
        linked = linked @ linked
    codes = join_cv_groups(groups, digests)
    assert_array_equal(codes[:, None] == codes[None, :], linked)
    first_rows = np.unique(codes, return_index=True)[1]
    assert (np.diff(first_rows) > 0).all(), "numbered in order of appearance"


def test_the_hash_is_of_who_is_held_out_where() -> None:
    digest = fold_hash(["a", "b", "c"], [0, 1, -1])
    assert digest == fold_hash(["b", "d", "a"], [1, -1, 0])
    assert digest != fold_hash(["a", "b"], [1, 0])
    # printf 'a,0\nb,1\n' | sha256sum
    assert digest == "fe1c66410cb12b5eaa4d784e954ce9ca50d0a27b8a042011d912bd1691131bc8"


def test_strata_of_one_fold_are_what_lies_in_one_fold() -> None:
    assert strata_of_one_fold([0, 1, 2, 2], [0, 0, 1, 1]) == [1]


@pytest.mark.parametrize("cv", ["sgkfold", "sgkfold1", "3", "leaveoneout5", "SKFOLD3"])
def test_an_unknown_scheme_is_refused(cv: str) -> None:
    with pytest.raises(UserError, match="kfold, skfold, gkfold, sgkfold or time and 2"):
        parse_scheme(cv)


@pytest.mark.parametrize(
    ("cv", "meant"),
    [
        ("timefold3", "time3"),
        ("time", "time3"),
        ("GroupKFold5", "gkfold3"),
        ("stratified", "sgkfold3"),
        ("skfold", "skfold3"),
        ("", "sgkfold3"),
    ],
)
def test_the_nearest_scheme_is_named(cv: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"2 or more folds, such as {meant}$"):
        parse_scheme(cv)


@pytest.mark.parametrize(
    ("cv", "plain"), [("sgkfold3", "skfold3"), ("gkfold5", "kfold5")]
)
def test_a_grouped_scheme_without_groups_names_the_plain_one(
    cv: str, plain: str
) -> None:
    with pytest.raises(UserError, match=f"{cv}.*no column;.*set cv = '{plain}'"):
        assign_folds(cv, [0, 1, 0, 1])


def test_too_few_groups_or_rows_are_refused() -> None:
    with pytest.raises(UserError, match="'sgkfold3': 2 groups do not fill 3 folds"):
        assign_folds("sgkfold3", [0, 1, 0, 1], ["a", "a", "b", "b"])
    with pytest.raises(UserError, match="'kfold3': 2 rows do not fill 3 folds"):
        assign_folds("kfold3", [0, 1])


def test_a_fold_that_is_one_cv_group_is_named() -> None:
    assert lone_cv_group([0, 0, 1, 1, 1], [0, 1, 2, 2, 3]) == ""
    assert lone_cv_group([0, 0, 1, 1, 1], [0, 1, 2, 2, 2]).startswith("fold 1 is one")
    assert lone_cv_group([], []) == ""


def test_too_few_rows_are_counted_by_fold() -> None:
    assert too_few_rows([0, 1] * 10) == ""
    assert too_few_rows([0, 1] * 9).startswith("18 rows have a target and a fold ([9, ")
    assert too_few_rows([0] * 20 + [1]).startswith("21 rows")
    assert too_few_rows([0] * 20).startswith("20 rows")
    assert too_few_rows([]).startswith("0 rows")

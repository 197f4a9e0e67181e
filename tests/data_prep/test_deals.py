"""Tests of folds that are dealt several times."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep import folds as folding
from data_prep.deals import assign_deals, table_of_deal, with_deals
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import (
    assign_folds,
    count_folds,
    fold_columns,
    fold_hash,
    fold_masks,
    hash_of_folds,
    unseen_classes,
)
from data_prep.prepare_settings import PrepareSettings
from data_prep.reporting.fold_table import fold_table
from data_prep.row_metadata import metadata_of_rows
from data_prep.rows import with_folds
from data_prep.schemes import SCHEMES, check_count, count_deals, is_drawn, parse_scheme
from data_prep.user_folds import read_user_folds
from pretext.evaluation.probing import stored_splits
from tests.data_prep.test_folds import specimens
from tests.drilled import in_drills

SEEDS = range(3)


def together(folds: np.ndarray) -> np.ndarray:
    """Which pairs of rows lie in one fold."""
    return folds[:, None] == folds


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n_folds", "n_deals"), [in_drills(2, 2), (3, 3)])
def test_each_deal_holds_every_row_out_once_and_tears_no_group(
    scheme: str, n_folds: int, n_deals: int, seed: int
) -> None:
    labels, groups = specimens(seed)
    cv = f"{scheme}{n_folds}x{n_deals}"
    deals = assign_deals(cv, labels, groups, seed)
    assert deals.shape == (n_deals, len(labels))
    for number, folds in enumerate(deals):
        first = number * n_folds
        assert set(folds) == set(range(first, first + n_folds))
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert_array_equal(
        deals[0], assign_folds(f"{scheme}{n_folds}", labels, groups, seed)
    )
    for first, second in combinations(deals, 2):
        assert (together(first) != together(second)).any()
    assert_array_equal(deals, assign_deals(cv, labels, groups, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_more_deals_leave_the_first_ones_as_they_are(seed: int) -> None:
    labels, groups = specimens(seed)
    three = assign_deals("sgkfold3x3", labels, groups, seed)
    assert_array_equal(assign_deals("sgkfold3x2", labels, groups, seed), three[:2])
    other = assign_deals("sgkfold3x2", labels, groups, seed + 1)
    assert (together(other[1]) != together(three[1])).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_deals_are_balanced_like_the_first(seed: int) -> None:
    labels, groups = specimens(seed)
    for folds in assign_deals("sgkfold3x3", labels, groups, seed) % 3:
        for label in range(3):
            fracs = [(labels[folds == fold] == label).mean() for fold in range(3)]
            assert np.ptp(fracs) < 0.08


def test_what_the_splitter_gives_unshuffled_is_dealt_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int | None] = []

    def noted(*args: Any, seed: int | None) -> np.ndarray:
        seeds.append(seed)
        return original(*args, seed=seed)

    original = folding._assign_once
    monkeypatch.setattr(folding, "_assign_once", noted)
    labels, groups = specimens(0)
    assign_deals("sgkfold3x3", labels, groups, 0)
    assert seeds.count(None) == 1
    assert len(set(seeds)) == len(seeds)


def test_a_table_that_allows_too_few_deals_is_refused() -> None:
    # four groups in two folds: alone three partitions are even, and few are others
    groups = np.repeat(["a", "b"], 10)
    with pytest.raises(UserError, match=r"kfold2x2.*drawn 1 differs.*fewer deals"):
        assign_deals("gkfold2x2", np.zeros(20), groups)
    with pytest.raises(UserError, match=r"2 groups do not fill 3 folds"):
        assign_deals("gkfold3x2", np.zeros(20), groups)


def table_of(n: int = 40, *, cv: str = "sgkfold3x2") -> pd.DataFrame:
    """Rows with folds as ``data_prep.prepare`` has them; four are never held out."""
    index = np.arange(n)
    rows = pd.DataFrame(
        {
            "id": [f"p{k}" for k in index],
            "split": np.where(index < n - 6, "train", "test"),
            "group": [f"g{k // 2}" for k in index],
            "same_as": [f"s{k}" for k in index],
            "is_excluded": index < 4,
            "date": 1900.0,
            "target": (index // 2 % 4).astype(float),
            "class_index": index // 2 % 4,
            "weight": 1.0,
            "pixels_sha256": [f"s{k}" for k in index],
        }
    )
    return with_folds(rows, cv, has_group=True, seed=0)


def test_the_table_has_a_column_for_each_deal() -> None:
    once, table = table_of(cv="sgkfold3"), table_of()
    assert fold_columns(once) == ["fold"]
    assert fold_columns(table) == ["fold", "fold_1"]
    assert_array_equal(once["fold"], table["fold"])
    assert_array_equal(once.columns, table.drop(columns="fold_1").columns)
    is_held_out = table["fold"] >= 0
    assert_array_equal(table["fold_1"] >= 3, is_held_out)
    assert (table["fold_1"][~is_held_out] == -1).all()
    assert count_folds(table) == 6
    many = table.assign(**{f"fold_{k}": table["fold"] for k in range(2, 12)})
    assert fold_columns(many) == ["fold", *(f"fold_{k}" for k in range(1, 12))]


def test_masks_of_a_fold_are_of_its_own_deal() -> None:
    table = table_of()
    is_train = (table["split"] == "train").to_numpy()
    for number, column in enumerate(["fold", "fold_1"]):
        alone = table_of_deal(table, number)
        assert fold_columns(alone) == ["fold"]
        for fold in range(3):
            val_mask, train_mask = fold_masks(table, str(3 * number + fold))
            assert_array_equal(val_mask, table[column] == 3 * number + fold)
            assert not set(table["cv_group"][val_mask]) & set(
                table["cv_group"][train_mask]
            )
            assert (train_mask <= is_train).all()
            for mask, of_alone in zip(
                (val_mask, train_mask), fold_masks(alone, str(fold)), strict=True
            ):
                assert_array_equal(mask, of_alone)
    once = table_of(cv="sgkfold3")
    assert table_of_deal(once, 0) is once


def test_the_hash_is_of_all_deals() -> None:
    table = table_of()
    folds = [*table["fold"], *table["fold_1"]]
    assert hash_of_folds(table) == fold_hash([*table["id"]] * 2, folds)
    first = table.drop(columns="fold_1")
    assert hash_of_folds(first) == fold_hash(table["id"], table["fold"])
    swapped = table.assign(fold_1=table["fold_1"].replace({3: 4, 4: 3}))
    assert len({hash_of_folds(t) for t in (table, first, swapped)}) == 3
    metadata = metadata_of_rows(table, "sgkfold3x2", "numeric", 0)
    assert metadata["n_folds"] == 6
    assert metadata["fold_hash"] == hash_of_folds(table)


def test_the_report_has_each_deal() -> None:
    counted = fold_table(table_of(), classes=None)
    assert counted["deal"].tolist() == ["0"] * 3 + ["1"] * 3 + [""]
    assert counted["fold"].tolist() == ["0", "1", "2", "3", "4", "5", "all"]
    n_rows = counted["rows"].to_numpy()
    assert n_rows[:3].sum() == n_rows[3:6].sum() == n_rows[6] == 30
    assert "deal" not in fold_table(table_of(cv="sgkfold3"), classes=None)


def test_a_class_of_one_group_is_unseen_in_any_deal() -> None:
    table = table_of()
    rare = table.assign(class_index=np.where(table["cv_group"] == 7, 9, 0))
    assert unseen_classes(rare) == [9]
    # torn in the first deal alone: the net of the second never sees it
    torn = rare.assign(cv_group=np.arange(len(rare)))
    torn.loc[rare["class_index"] == 9, "fold"] = [0, 1]
    assert unseen_classes(torn) == [9]


def test_a_fold_of_one_group_is_refused_in_any_deal() -> None:
    deals = np.array([[0, 0, 1, 1], [2, 2, 3, 3]])
    rows = pd.DataFrame({"id": list("abcd")})
    assert_array_equal(
        with_deals(rows, deals[:, :2], np.array([1, 3]))[["fold", "fold_1"]],
        [[-1, -1], [0, 2], [-1, -1], [0, 2]],
    )
    with pytest.raises(UserError, match=r"fold \d is one group"):
        table_of(16, cv="gkfold2x3")


def test_probes_are_split_by_every_deal() -> None:
    table = table_of()
    times = np.sum([val_mask for val_mask, _ in stored_splits(table, 6)], axis=0)
    assert_array_equal(times, 2 * (table["fold"] >= 0))


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ("time3x2", r"by date, so there is one deal of them; set cv = 'time3'"),
        ("sgkfold3x1", r"after the x.*2 or more; once is cv = 'sgkfold3'"),
        ("sgkfold3x0", r"after the x"),
        ("sgkfold1x2", r"2 or more folds"),
        ("sgkfoldx2", r"such as sgkfold3"),
        ("sgkfold3x", r"such as sgkfold3"),
        ("own3x2", r"such as"),
    ],
)
def test_schemes_that_cannot_be_dealt_so_are_refused(cv: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PrepareSettings(cv=cv)


def test_names_of_schemes() -> None:
    assert parse_scheme("gkfold4x3") == ("gkfold", 4)
    assert count_deals("gkfold4x3") == 3
    assert [count_deals(cv) for cv in ("time3", "own2", None, "")] == [1] * 4
    assert is_drawn("kfold2x2")
    with pytest.raises(UserError, match="2 groups do not fill 3 folds"):
        check_count("sgkfold3x2", 2)


def test_folds_of_your_own_are_dealt_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dealt once; take one of the two out"):
        PrepareSettings(cv="sgkfold3x2", folds="folds.csv")
    path = tmp_path / "folds.csv"
    path.write_text("id,fold,fold_1\na,0,2\nb,1,3\n")
    rows = pd.DataFrame({"id": ["a", "b"], "split": "train", "is_excluded": False})
    data = DataSettings(images=tmp_path, train=tmp_path / "train.csv", id="id")
    with pytest.raises(UserError, match=r"2 deals of folds \(fold, fold_1\).*once"):
        read_user_folds(str(path), data, rows, np.ones(2, bool))

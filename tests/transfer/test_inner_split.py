"""Tests of transfer.inner_split."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.arrays import Ints
from data_prep.errors import UserError
from transfer.inner_split import inner_split


def made_up(seed: int, **columns: Any) -> tuple[pd.DataFrame, Ints]:
    """Give a table with groups of one to four rows, and the rows of two thirds."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 300))
    table = pd.DataFrame(
        {
            "id": [f"p{k:03d}" for k in rng.permutation(n)],
            "cv_group": np.repeat(np.arange(n), rng.integers(1, 5, n))[:n],
            "target": rng.choice(4, n, p=[0.1, 0.2, 0.3, 0.4]).astype(float),
        }
    ).assign(**columns)
    return table, np.flatnonzero(table["cv_group"] % 3 != 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_share_of_the_rows_is_kept_back_in_whole_groups(
    seed: int, share: float
) -> None:
    table, rows = made_up(seed)
    train, inner = inner_split(table, rows, seed=seed, share=share)
    assert np.sort(np.concatenate([train, inner])).tolist() == rows.tolist()
    assert not set(table["cv_group"].iloc[train]) & set(table["cv_group"].iloc[inner])
    assert share * len(rows) - 4 <= len(inner) <= share * len(rows)


def test_every_stratum_gives_its_share() -> None:
    table, _ = made_up(3)
    table["cv_group"] = np.arange(len(table))
    _, inner = inner_split(table, np.arange(len(table)), seed=0, share=0.2)
    counts = table["target"].value_counts()
    n_inner = table["target"].iloc[inner].value_counts()
    assert ((n_inner - 0.2 * counts).abs() <= 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_order_and_unit_and_other_rows_change_nothing(seed: int) -> None:
    table, rows = made_up(seed)

    def ids(other: pd.DataFrame, other_rows: Ints) -> set[str]:
        _, inner = inner_split(other, other_rows, seed=seed, share=0.2)
        return set(other["id"].iloc[inner])

    expected = ids(table, rows)
    order = np.random.default_rng(seed).permutation(len(table))
    numbers = np.random.default_rng(seed).permutation(len(table))
    mixed = table.iloc[order].assign(cv_group=numbers[table["cv_group"].iloc[order]])
    assert ids(mixed, np.flatnonzero(np.isin(order, rows))) == expected
    assert ids(table.assign(target=table["target"] * 1000 + 7), rows) == expected
    is_other = ~table.index.isin(rows)
    relabelled = table.assign(target=np.where(is_other, 99.0, table["target"]))
    assert ids(relabelled, rows) == expected
    _, with_another_seed = inner_split(table, rows, seed=seed + 100, share=0.2)
    assert set(table["id"].iloc[with_another_seed]) != expected


def test_a_group_larger_than_the_share_trains() -> None:
    table, _ = made_up(0)
    table["cv_group"] = np.where(np.arange(len(table)) < 40, -1, table["cv_group"])
    for seed in range(5):
        train, _ = inner_split(table, np.arange(len(table)), seed=seed, share=0.1)
        assert (table["cv_group"].iloc[train] == -1).sum() == 40


def test_few_large_groups_and_texts_and_no_target() -> None:
    table, _ = made_up(1)
    halves = table.assign(cv_group=np.where(np.arange(len(table)) < 20, 0, 1))
    rows = np.arange(len(table))
    _, inner = inner_split(halves, rows, seed=0, share=0.1)
    assert inner.tolist() == list(range(20))  # the smallest, for want of a smaller
    texts = table.assign(target=table["target"].map(str))
    _, of_texts = inner_split(texts, rows, seed=0, share=0.3)
    _, of_numbers = inner_split(table, rows, seed=0, share=0.3)
    assert of_texts.tolist() == of_numbers.tolist()
    _, without = inner_split(table.drop(columns="target"), rows, seed=0, share=0.3)
    assert 0 < len(without) <= 0.3 * len(rows)


def test_one_group_cannot_be_split() -> None:
    table, rows = made_up(0, cv_group=5)
    with pytest.raises(UserError, match=r"are one group, so none can be kept back"):
        inner_split(table, rows, seed=0, share=0.2)

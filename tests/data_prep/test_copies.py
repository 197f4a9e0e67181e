"""Tests of data_prep.pictures.copies."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.pictures.copies import (
    MANY,
    CopyCounts,
    count_copies,
    count_groups,
    repeats_of,
)


def rows_of(pixels: str, **columns: Any) -> pd.DataFrame:
    """A row per letter, which stands for the pixels."""
    n = len(pixels)
    rows = {
        "id": [f"p{k}" for k in range(n)],
        "split": ["train"] * n,
        "group": [""] * n,
        "pixels_sha256": list(pixels),
        "same_as": list(pixels),
    }
    return pd.DataFrame(rows | columns)


def files_of(rows: pd.DataFrame) -> dict[str, Path]:
    return {id_: Path(f"{id_}.png") for id_ in rows["id"]}


def test_copies_are_counted_once_each() -> None:
    rows = rows_of("aabaabc", split=["train"] * 3 + ["test"] * 4)
    assert count_copies(rows) == CopyCounts(n_equal=4, n_near=0, n_crossing=3)
    nothing = CopyCounts(n_equal=0, n_near=0, n_crossing=0)
    assert count_copies(rows_of("abc")) == nothing


def test_near_copies_are_counted_beside_the_equal_ones() -> None:
    # a, b and c are one picture in three versions; d is another
    rows = rows_of("aabcd", split=["train"] * 3 + ["test"] * 2)
    near = rows.assign(same_as=["p0", "p0", "p0", "p0", "p4"])
    assert count_copies(near) == CopyCounts(n_equal=1, n_near=2, n_crossing=1)
    alone = rows_of("aa", split=["train", "test"], same_as=["p0", "p1"])
    assert count_copies(alone) == CopyCounts(n_equal=1, n_near=0, n_crossing=1)


def test_the_most_frequent_picture_comes_first() -> None:
    rows = rows_of("abbaacb", target=[1.0, 2.0, 2.0, 3.0, None, 5.0, 2.0])
    listed = repeats_of(rows, files_of(rows), has_group=False)
    assert [repeat.ids for repeat in listed] == [("p0", "p3", "p4"), ("p1", "p2", "p6")]
    assert [repeat.n_targets for repeat in listed] == [2, 1]
    assert str(listed[0]) == (
        "p0.png and 2 others are one picture, with 2 values of the target"
    )
    assert str(listed[1]) == "p1.png and 2 others are one picture"


@pytest.mark.parametrize("has_group", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_groups_and_targets_are_counted_picture_by_picture(
    seed: int, has_group: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(
        rng.choice([*"abcdefgh"], 40),
        split=rng.choice(["train", "test"], 40),
        group=rng.choice(["", "s", "t", "p1"], 40),
        target=rng.choice([0, 1, np.nan], 40),
    )
    for repeat in repeats_of(rows, files_of(rows), has_group=has_group):
        copies = rows[rows["id"].isin(repeat.ids)]
        groups = copies["group"][copies["split"] == "train"]
        assert copies["pixels_sha256"].nunique() == 1
        assert repeat.n_groups == (count_groups(groups) if has_group else 0)
        assert repeat.n_targets == copies["target"].nunique()


@pytest.mark.parametrize(
    ("n", "columns", "is_placeholder"),
    [
        (MANY, {"target": [0, 0, 0, 0, 1]}, True),
        (MANY - 1, {"target": [0, 0, 0, 1]}, False),
        (MANY, {"target": [0] * MANY}, False),  # of one class: perhaps oversampled
        (MANY, {"group": list("abcde")}, True),
        (MANY, {"group": ["s"] * MANY}, False),  # of one series
        (MANY, {"split": ["unlabelled"] * MANY}, False),
    ],
)
def test_many_rows_that_differ_cannot_show_the_same(
    n: int, columns: dict[str, Any], is_placeholder: bool
) -> None:
    rows = rows_of("a" * n, **columns)
    (repeat,) = repeats_of(rows, files_of(rows), has_group="group" in columns)
    assert repeat.is_placeholder == is_placeholder


def test_each_row_without_a_group_is_its_own() -> None:
    assert count_groups(pd.Series(["a", "a", "", "", "b"])) == 4
    assert count_groups(pd.Series([], dtype=object)) == 0

"""Tests of data_prep.copy_groups: what copies join, and what may not be chained."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep import copy_groups
from data_prep.copy_groups import with_copies
from data_prep.folds import join_cv_groups
from data_prep.rows import names_kept_together, with_folds

Pairs = list[tuple[int, int, float]]


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say which rows the search is to find alike."""

    def set_pairs(pairs: Pairs) -> None:
        frame = pd.DataFrame(pairs, columns=["first", "second", "likeness"])
        frame.insert(2, "view", "e")
        monkeypatch.setattr(copy_groups, "near_pairs", lambda *_: frame)

    return set_pairs


def rows_of(n: int, **columns: Any) -> pd.DataFrame:
    rows = {
        "id": [f"p{k:03d}" for k in range(n)],
        "split": "train",
        "group": "",
        "width": 64,
        "height": 64,
        "pixels_sha256": [f"d{k}" for k in range(n)],
        "is_excluded": False,
        "date": np.nan,
    }
    return pd.DataFrame(rows | columns)


def copied(
    rows: pd.DataFrame, *, copies: Any = "near", side: int = 48, **settings: Any
) -> tuple[list[str], Any]:
    """Give same_as of the rows, and the near copies."""
    images = np.zeros((len(rows), side, side, 3), dtype=np.uint8)
    settings.setdefault("has_group", False)
    joined, near = with_copies(rows, images, copies=copies, **settings)
    return joined["same_as"].tolist(), near


def test_equal_and_near_copies_are_those_of_the_first(alike: Any) -> None:
    alike([(1, 4, 0.97), (4, 5, 0.9), (0, 2, 0.7)])
    rows = rows_of(7, pixels_sha256=list("abcdefb"))  # 1 and 6 are equal
    same_as, near = copied(rows)
    expected = ["p000", "p001", "p002", "p003", "p001", "p001", "p001"]
    assert same_as == expected
    assert near.pairs.to_numpy().tolist() == [
        ["p001", "p004", "e", 0.97, True],
        ["p004", "p005", "e", 0.9, True],
        ["p000", "p002", "e", 0.7, False],
    ]
    assert list(near.pairs.columns) == ["id", "other", "view", "likeness", "is_joined"]
    assert near.notes == ()
    assert copied(rows, likeness=0.95)[0][4:6] == ["p001", "p005"]
    assert copied(rows, likeness=0.6)[0][2] == "p000"


def test_the_setting_says_which_copies_count(alike: Any) -> None:
    alike([(0, 2, 0.97)])
    rows = rows_of(4, pixels_sha256=list("aabc"))
    assert copied(rows)[0] == ["p000", "p000", "p000", "p003"]
    for copies, expected in (
        ("equal", ["p000", "p000", "p002", "p003"]),
        ("none", ["p000", "p001", "p002", "p003"]),
    ):
        same_as, near = copied(rows, copies=copies)
        assert same_as == expected
        assert near.pairs.empty
    same_as, near = copied(rows, side=47)
    assert same_as == ["p000", "p000", "p002", "p003"]
    assert "side = 47" in near.notes[0]


def test_a_chain_that_would_tie_the_collection_together_is_told(alike: Any) -> None:
    # 40 rows in a chain of look-alikes, two near copies beside them, and two equal ones
    chain = [(k, k + 1, 0.9) for k in range(39)]
    alike([(50, 51, 0.99), *chain])
    pixels = [f"d{k}" for k in range(60)]
    pixels[3] = pixels[30]
    same_as, near = copied(rows_of(60, pixels_sha256=pixels))
    assert same_as[51] == "p050"
    assert same_as[30] == "p003"
    assert pd.Series(same_as).nunique() == 58
    assert near.pairs["is_joined"].tolist() == [True] + [False] * 39
    (note,) = near.notes
    assert "39 pairs of near copies not joined" in note
    assert "40 rows, 67% of the training" in note


def test_a_chain_by_way_of_groups_is_one_too(alike: Any) -> None:
    # each pair ties a sheet to the next
    groups = [f"s{k // 2}" for k in range(60)]
    alike([(2 * k + 1, 2 * k + 2, 0.9) for k in range(20)])
    same_as, near = copied(rows_of(60, group=groups), has_group=True)
    assert same_as == [f"p{k:03d}" for k in range(60)]
    assert not near.pairs["is_joined"].any()
    # without groups these are pairs, and nothing else
    assert pd.Series(copied(rows_of(60))[0]).nunique() == 40


def test_rows_that_are_not_learned_from_may_hang_together(alike: Any) -> None:
    alike([(k, k + 1, 0.9) for k in range(39)])
    same_as, near = copied(rows_of(60, split="unlabelled"))
    assert set(same_as[:40]) == {"p000"}
    assert near.notes == ()


def test_a_group_of_the_user_may_be_as_large_as_it_is(alike: Any) -> None:
    groups = ["big"] * 40 + [f"s{k}" for k in range(20)]
    alike([(0, 39, 0.95), (41, 42, 0.9)])
    same_as, near = copied(rows_of(60, group=groups), has_group=True)
    assert near.pairs["is_joined"].all()
    assert same_as[39] == "p000"


@pytest.mark.parametrize("seed", range(12))
def test_no_fold_tears_what_is_joined(alike: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 120
    ends = np.sort(rng.integers(0, n, size=(15, 2)), axis=1)
    pairs = [(a, b, 0.9) for a, b in np.unique(ends, axis=0).tolist() if a < b]
    alike(pairs)
    has_group = seed % 2 == 0
    rows = rows_of(
        n,
        group=[f"s{k}" for k in rng.integers(0, 80, n)] if has_group else "",
        split=rng.choice(["train", "train", "train", "test"], n),
        pixels_sha256=[f"d{k}" for k in rng.integers(0, 10 * n, n)],
        target=rng.integers(0, 3, n).astype(float),
    )
    images = np.zeros((n, 48, 48, 3), dtype=np.uint8)
    joined, near = with_copies(rows, images, copies="near", has_group=has_group)
    cv = "sgkfold3" if has_group else "skfold3"
    dealt = with_folds(joined, cv, has_group=has_group, seed=seed)
    fold_of = dict(zip(dealt["id"], dealt["fold"], strict=True))
    group_of = dict(zip(dealt["id"], dealt["cv_group"], strict=True))
    for pair in near.pairs[near.pairs["is_joined"]].itertuples():
        assert group_of[pair.id] == group_of[pair.other]
        folds = {fold_of[pair.id], fold_of[pair.other]} - {-1}
        assert len(folds) <= 1
    in_folds = dealt[dealt["fold"] >= 0]
    for name in ("pixels_sha256", "same_as", *["group"] * has_group):
        assert in_folds.groupby(name)["fold"].nunique().max() == 1
    # and copies join no more than they must
    names = names_kept_together(rows, has_group=has_group)
    expected = join_cv_groups(*names, joined["same_as"].tolist())
    assert dealt["cv_group"].tolist() == expected.tolist()


def test_the_file_of_pairs_names_the_columns(alike: Any, tmp_path: Path) -> None:
    alike([(0, 1, 0.9)])
    _, near = copied(rows_of(3))
    near.pairs.to_csv(tmp_path / "near_copies.csv", index=False)
    text = (tmp_path / "near_copies.csv").read_text()
    assert text == "id,other,view,likeness,is_joined\np000,p001,e,0.9,True\n"

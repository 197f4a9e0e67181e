"""Tests of stacking.inputs.validation, and of what the estimators make of them."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from stacking.estimator import ClassStacker, Stacker
from stacking.inputs.validation import cv_groups_of, folds_of, weights_of

N = 90
QUICK: dict[str, Any] = {"cv": "kfold3", "stackers": ("ridge",), "seeds": 1}
DAY = datetime(1890, 5, 1)


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3))
    return X, np.clip(np.round(X[:, 0] + 1 + 0.3 * rng.normal(size=N)), 0, 2)


@pytest.mark.parametrize(
    "groups",
    [
        [None, "a", None, "b", "a"],
        ["", "a", "", "b", "a"],
        [np.nan, "a", np.nan, "b", "a"],
        np.array([np.nan, 1.0, np.nan, 2.0, 1.0]),
        np.array([None, 1, np.nan, "1", 1], dtype=object),
        [pd.NaT, DAY, pd.NaT, "a", DAY],
        pd.to_datetime(["NaT", "1890", "NaT", "1891", "1890"]),
        np.array(["NaT", "1890", "NaT", "1891", "1890"], dtype="M8[ns]"),
        pd.array([None, 1, None, 2, 1], dtype="Int64"),
        pd.Series([None, "a", pd.NA, "b", "a"], dtype="category"),
    ],
)
def test_a_row_without_a_group_is_one_of_its_own(groups: Any) -> None:
    assert cv_groups_of(groups, 5).tolist() == [2, 0, 3, 1, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [int, float, str])
def test_groups_are_numbered_in_their_order(seed: int, kind: Any) -> None:
    groups = np.random.default_rng(seed).integers(0, 30, N).astype(kind)
    expected = np.unique(groups, return_inverse=True)[1]
    assert cv_groups_of(groups, N).tolist() == expected.tolist()
    assert cv_groups_of(groups.tolist(), N).tolist() == expected.tolist()


def test_no_fold_tears_a_group_and_missing_ones_are_apart() -> None:
    X, y = rows()
    groups = [None if row % 3 == 0 else f"g{row // 6}" for row in range(N)]
    folds = Stacker(**QUICK).fit(X, y, groups=groups).folds_
    by_group = pd.Series(folds).groupby(groups).nunique()
    assert (by_group == 1).all()
    assert len(set(folds[::3])) == 3  # as one group, they would lie in one fold


@pytest.mark.parametrize(
    ("metric", "values"),
    [("rmse", None), ("accuracy", {0.0, 1.0, 2.0}), ("quadratic_kappa", {0, 1, 2})],
)
def test_what_is_predicted_is_what_was_scored(metric: str, values: Any) -> None:
    X, y = rows()
    model = Stacker(**QUICK, metric=metric).fit(X, y)
    said = model.predict(rows(1)[0])
    for predicted in (said, model.oof_prediction_):
        is_class = set(predicted) <= {0.0, 1.0, 2.0}
        assert is_class == (values is not None)
    if values:
        target = rows(1)[1]
        right = (said == target).mean()
        assert right > 0.6


@pytest.mark.parametrize("kind", [float, int, str, object])
def test_classes_are_given_back_as_they_came(kind: Any) -> None:
    X, y = rows()
    y = y.astype(int).astype(kind)
    model = ClassStacker(**QUICK | {"metric": "accuracy"}).fit(X, y)
    assert model.predict(X).dtype == np.unique(y).dtype
    assert set(model.predict(X)) <= set(y)
    names = ("0", "1", "2")
    assert model.stacked_.data.classes == names


def test_names_of_large_numbers_are_distinct() -> None:
    X, y = rows()
    model = Stacker(**QUICK, metric="accuracy").fit(X, 1.6e9 + 40 * y)
    names = model.stacked_.data.classes
    assert names == ("1600000000", "1600000040", "1600000080")
    assert set(model.predict(X)) <= {float(name) for name in names}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"groups": ["a"] * 3}, r"groups: an array of shape \(3,\) for 90 rows; give"),
        ({"groups": np.zeros((N, 2))}, r"groups: an array of shape \(90, 2\) for 90"),
        (
            {"groups": pd.Series([[1]] * N)},
            "groups: some of them are lists; give",
        ),
        ({"sample_weight": [1.0]}, r"sample_weight: an array of shape \(1,\) for 90"),
        ({"sample_weight": np.full(N, -1)}, "sample_weight: -1.0 in row 0; give numb"),
        ({"sample_weight": np.zeros(N)}, "from 0, not all of them 0"),
        ({"y": np.where(np.arange(N) == 7, np.nan, 1)}, "y: 1 of 90 targets are mis"),
        (
            {"groups": np.arange(N) // 2, "folds": np.arange(N) % 3},
            "folds: the rows of 45 groups lie in several folds; give those of a group",
        ),
    ],
)
def test_mistakes_are_one_line(changed: dict[str, Any], message: str) -> None:
    X, y = rows()
    with pytest.raises(UserError, match=message):
        Stacker(**QUICK).fit(X, **{"y": y} | changed)


def test_mistakes_in_classes_are_one_line() -> None:
    X, _ = rows()
    y = np.array(["a", None, "b"] * (N // 3), dtype=object)
    with pytest.raises(UserError, match="30 of 90 targets are missing, the first in r"):
        ClassStacker(**QUICK).fit(X, y)
    y = np.array(["a", 1, 2.0] * (N // 3), dtype=object)
    with pytest.raises(UserError, match=r"of several kinds \(float, int, str\) have"):
        ClassStacker(**QUICK).fit(X, y)
    with pytest.raises(UserError, match="in Python: ClassStacker"):
        Stacker(**QUICK, metric="auc").fit(*rows())


def test_checked_arrays_by_hand() -> None:
    cv_groups = np.array([0, 0, 1])
    assert folds_of([1, 1, 0], cv_groups).tolist() == [1, 1, 0]
    assert weights_of([0, 1, 2], 3).tolist() == [0.0, 1.0, 2.0]

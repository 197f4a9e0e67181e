"""Tests of features.pooling."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from features.pooling import STATISTICS, USUAL, pool, telling


def test_two_views_by_hand() -> None:
    values = np.array([[[1.0, -4.0], [3.0, 0.0]], [[5.0, 6.0], [5.0, 8.0]]])
    assert pool(values).tolist() == [
        [2, 1, 3, 1, -2, 4, 0, -4],
        [5, 0, 5, 5, 7, 1, 8, 6],
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "statistics", [["mean"], ["min", "var"], ["var", "max", "mean"], [*STATISTICS]]
)
def test_each_column_is_what_its_name_says(seed: int, statistics: list[str]) -> None:
    values = np.random.default_rng(seed).normal(size=(7, 8, 3)).astype(np.float32)
    names = [f"{output}__{name}" for output in "abc" for name in statistics]
    pooled = pool(values, statistics)
    assert pooled.shape == (7, len(names))
    for column, name in enumerate(names):
        output, statistic = name.split("__")
        views = values[:, :, "abc".index(output)].astype(np.float64).tolist()
        expected = {
            "mean": [sum(row) / 8 for row in views],
            "var": [sum((x - sum(row) / 8) ** 2 for x in row) / 8 for row in views],
            "max": [max(row) for row in views],
            "min": [min(row) for row in views],
            "median": [sum(sorted(row)[3:5]) / 2 for row in views],
            "std": [
                (sum((x - sum(row) / 8) ** 2 for x in row) / 8) ** 0.5 for row in views
            ],
            "identity": [row[0] for row in views],
        }[statistic]
        assert_allclose(pooled[:, column], expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_views_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 8, 3))
    shuffled = values[:, rng.permutation(8)]
    assert_allclose(pool(shuffled), pool(values), rtol=1e-12, atol=1e-14)


def test_one_view_has_no_variance() -> None:
    values = np.arange(6.0).reshape(3, 1, 2)
    assert_array_equal(pool(values, ["var"]), 0)
    assert_array_equal(pool(values, ["max"]), values[:, 0])


@pytest.mark.parametrize(("given", "found"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_half_precision_is_widened(given: str, found: str) -> None:
    pooled = pool(np.array([[[-300.0], [300.0]]], given), ["mean", "var"])
    assert pooled.dtype == found
    assert pooled.tolist() == [[0, 90_000]]


def test_no_rows_stay_no_rows() -> None:
    assert pool(np.empty((0, 8, 3))).shape == (0, 12)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        (["mean", "men"], "statistic 'men': did you mean 'mean'?"),
        (["mean", "mean"], "statistic 'mean' is named twice"),
        ([], "no statistic is named; there are: mean, var, max, min"),
    ],
)
def test_an_unknown_statistic_is_refused(statistics: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        pool(np.ones((1, 8, 1)), statistics)


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 4), (3,)])
def test_values_without_views_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="no views to pool"):
        pool(np.ones(shape))


@pytest.mark.parametrize(
    ("named", "n_views", "kept"),
    [
        (USUAL, 8, USUAL),
        (USUAL, 1, ("mean",)),
        (("std", "max", "mean"), 1, ("mean",)),
        (("var", "identity", "min"), 1, ("identity",)),
        (("var", "std"), 1, ()),
    ],
)
def test_of_one_view_the_copies_are_left_out(
    named: tuple[str, ...], n_views: int, kept: tuple[str, ...]
) -> None:
    assert telling(named, n_views) == kept
    values = np.random.default_rng(0).normal(size=(5, n_views, 3)).astype(np.float32)
    pooled = pool(values, named)
    if kept:
        columns = {column.tobytes() for column in pooled.T if column.any()}
        stored = {column.tobytes() for column in pool(values, kept).T}
        assert columns == stored, "what is left out is a copy or zero"

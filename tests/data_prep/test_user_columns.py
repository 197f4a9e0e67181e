"""Tests of data_prep.user_columns."""

import json
from dataclasses import asdict
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.user_columns import (
    MAX_VALUES,
    MIN_ROWS,
    UserColumns,
)

SEEDS = range(5)
NOBODY = pd.DataFrame()


def table(**columns: Any) -> pd.DataFrame:
    """Make a prepared table of the user's columns."""
    n = len(next(iter(columns.values())))
    named = {f"given.{name}": cells for name, cells in columns.items()}
    return pd.DataFrame({"image_row": range(n), **named})


def learned(**columns: Any) -> UserColumns:
    return UserColumns.learn(table(**columns), NOBODY, list(columns))


def test_numbers_stay_as_they_are() -> None:
    own = learned(year=[3, 1, 2], price=[0.5, -1.0, 7.25], is_new=[True, False, True])
    assert own.names == ("year", "price", "is_new")
    rows = table(year=[9, 1], price=[2.5, 0.0], is_new=[False, True])
    assert_allclose(own.apply(rows), [[9, 2.5, 0], [1, 0, 1]])


def test_missing_numbers_become_the_median_and_are_told() -> None:
    own = learned(year=[5, nan, 1, 2], price=[1.0, 2.0, 3.0, 9.0])
    assert own.names == ("year", "year_missing", "price")
    found = own.apply(table(year=[nan, 7], price=[nan, 7]))
    assert_allclose(found, [[2, 1, 2.5], [7, 0, 7]])


@pytest.mark.parametrize("missing", [None, nan, pd.NA])
def test_texts_of_a_csv_file_that_are_numbers_are_numbers(missing: Any) -> None:
    cells = pd.Series(["1890", missing, " 1.5e3"], dtype=object)
    own = learned(year=cells)
    assert own.names == ("year", "year_missing")
    assert_allclose(own.apply(table(year=cells)), [[1890, 0], [1695, 1], [1500, 0]])


def test_frequent_texts_get_a_column_each() -> None:
    cells = ["oil"] * MIN_ROWS + ["ink "] * (MIN_ROWS + 1) + ["egg"] * (MIN_ROWS - 1)
    own = learned(medium=cells)
    assert own.names == ("medium_ink", "medium_oil")
    rows = table(medium=["oil", "ink", "egg", None, "tar", "Oil"])
    expected = [[0, 1], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert np.array_equal(own.apply(rows), expected)


def test_of_many_texts_the_most_frequent_get_a_column() -> None:
    names = [f"n{k:02}" for k in range(MAX_VALUES + 5)]
    times = [MIN_ROWS + k % 7 for k in range(len(names))]
    own = learned(place=np.repeat(names, times))
    (column,) = own.columns
    expected = sorted(names, key=lambda n: (-times[names.index(n)], n))[:MAX_VALUES]
    assert column.values == tuple(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_hot_columns_as_pandas_makes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = pd.Series(rng.choice(["a", "b", "c"], 60), dtype=object)
    own = learned(kind=cells)
    expected = pd.get_dummies(cells, prefix="kind")[list(own.names)]
    assert_allclose(own.apply(table(kind=cells)), expected)


def test_names_are_plain_and_unique() -> None:
    cells = np.repeat(["a b", "a-b", "ä", "?"], MIN_ROWS)
    own = learned(**{"Größe, cm": range(20), "x": cells, "x_a": np.arange(20) % 2})
    assert all(name.isascii() and name.isidentifier() for name in own.names)
    assert own.names == ("Gr_e_cm", "x", "x_a_b", "x_a_b_2", "x_2", "x_a")


def test_what_was_learned_goes_through_json() -> None:
    rows = table(year=[1.0, nan] * 5, kind=["a", "b"] * 5)
    own = UserColumns.learn(rows, NOBODY, ["kind", "year", "kind"])
    again = UserColumns.from_json(json.loads(json.dumps(asdict(own))))
    assert again == own
    assert_allclose(again.apply(rows), own.apply(rows))
    assert own.names == ("kind_a", "kind_b", "year", "year_missing")


def test_rows_to_predict_decide_nothing() -> None:
    rows = table(year=[1.0, 2.0] * 5, kind=["a", "b"] * 5)
    asked = table(year=[nan, 99.0] * 9, kind=["c", "a"] * 9)
    own = UserColumns.learn(rows, asked, ["year", "kind"])
    assert own == UserColumns.learn(rows, NOBODY, ["year", "kind"])
    assert own.names == ("year", "kind_a", "kind_b")


def test_columns_of_ours_and_of_a_new_table() -> None:
    prepared = table(year=[1, 2]).assign(date=[1890.5, nan], width=[30, 40])
    own = UserColumns.learn(prepared, NOBODY, ["width", "date", "year"])
    assert_allclose(own.apply(prepared), [[30, 1890.5, 0, 1], [40, 1890.5, 1, 2]])
    new = pd.DataFrame({"year": ["7"], "date": ["1900"], "width": ["50"]}, dtype=object)
    assert_allclose(own.apply(new), [[50, 1900, 0, 7]])


@pytest.mark.parametrize("name", ["target", "fold", "class_index", "image_row"])
def test_columns_that_would_leak_are_not_there(name: str) -> None:
    rows = table(year=[1, 2]).assign(target=[0, 1], fold=[0, 1], class_index=[0, 1])
    with pytest.raises(UserError, match=f"there is no column '{name}'"):
        UserColumns.learn(rows, NOBODY, [name])


FEW = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("labelled", "asked", "message"),
    [
        (
            [1.0, inf, -inf],
            None,
            "column 'x': 2 of 3 values are no finite .*'inf'.*; cor",
        ),
        ([1.0, 2.0], [inf], "column 'x': 1 of 1 values are no finite number.* empty"),
        ([1.0, 2.0], ["c. 1890"], r"values are no finite number \('c. 1890'"),
        ([3, 3, 3], None, "column 'x' is '3' in all 3 rows .*; take it out of columns"),
        (["a"] * 9, None, "column 'x' is 'a' in all 9 rows to learn from and tells"),
        ([None, None], [1, 2], "column 'x' is empty in all 2 rows to learn from; fill"),
        (
            [1, 2],
            [nan, nan],
            "column 'x' is empty in all 2 rows to predict; fill it in",
        ),
        (FEW, None, "column 'x' has 4 texts and none in 5 rows or more; take it out"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(
    labelled: list[Any], asked: list[Any] | None, message: str
) -> None:
    others = NOBODY if asked is None else table(x=asked)
    with pytest.raises(UserError, match=message):
        UserColumns.learn(table(x=labelled), others, ["x"])


def test_what_is_missing_in_a_new_table_is_as_in_the_old_one() -> None:
    own = learned(year=["1890", "NA", "1900"], is_new=["True", "False", "True"])
    assert own.names == ("year", "year_missing", "is_new")
    new = table(year=["nan", "1891"], is_new=["False", "True"])
    assert_allclose(own.apply(new), [[1895, 1, 0], [1891, 0, 1]])
    rows, nobody = table(x=[1, 2]), table(x=["NA", "nan"])
    with pytest.raises(UserError, match="column 'x' is empty in all 2 rows to predict"):
        UserColumns.learn(rows, nobody, ["x"])


def test_decimal_commas_of_a_new_table_are_read() -> None:
    own = learned(size=[1.5, 2.0, 4.0])
    new = pd.DataFrame({"id": ["a", "b"], "size": ["1,5", "3"]}, dtype=object)
    new.attrs["separator"] = ";"
    assert_allclose(own.apply(new.set_index("id")), [[1.5], [3.0]])


def test_na_is_a_text_among_texts() -> None:
    own = learned(place=["NA"] * MIN_ROWS + ["EU"] * MIN_ROWS + [None])
    assert own.names == ("place_EU", "place_NA")


def test_numbers_with_units_are_no_texts() -> None:
    with pytest.raises(
        UserError, match=r"3 of its 3 texts are numbers .* unit .'1 cm'"
    ):
        learned(size=["1 cm", "2 cm", "3cm"] * MIN_ROWS)


def test_an_unknown_column_is_refused() -> None:
    rows = table(year=[1, 2])
    with pytest.raises(UserError, match="no column 'yaer'; did you mean 'year'"):
        UserColumns.learn(rows, NOBODY, ["yaer"])
    with pytest.raises(UserError, match="columns: there is no column 'year'"):
        UserColumns.learn(rows, table(price=[1]), ["year"])
    own = UserColumns.learn(rows, NOBODY, ["year"])
    with pytest.raises(UserError, match="no column 'year'; did you mean 'yaer'"):
        own.apply(pd.DataFrame({"yaer": [1]}))
    with pytest.raises(UserError, match="2 of 3 values are no finite number"):
        own.apply(table(year=["x", "1", "y"]))

"""Tests of data_prep.scoring.comparable."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.scoring.comparable import SUM_TOLERANCE, Compared, comparable

EVEN = [0.5, 0.5]


@pytest.mark.parametrize("compared", ["numbers", "classes"])
@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([1, 2], [1, 2, 3], "2 targets for 3 predictions"),
        ([], [], r"target of shape \(0,\)"),
        ([[1, 2]], [1, 2], r"target of shape \(1, 2\); give one value per row"),
        ([1, nan, nan], [1, 2, 3], "2 of 3 values of target are missing or not finite"),
        ([1, 2], [1, inf], "1 of 2 values of prediction are missing or not finite"),
        ([1, 2], ["a", None], "1 of 2 values of prediction are missing or not finite"),
    ],
)
def test_rows_that_do_not_match_are_refused(
    compared: Compared, y_true: list[Any], y_pred: list[Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        comparable(y_true, y_pred, compared)


@pytest.mark.parametrize("compared", ["numbers", "classes"])
def test_a_table_where_one_value_is_asked_is_refused(compared: Compared) -> None:
    message = r"prediction of shape \(1, 2\); give one value per row"
    with pytest.raises(UserError, match=message):
        comparable([1], [[1, 2]], compared)


@pytest.mark.parametrize(
    ("compared", "y_true", "y_pred", "message"),
    [
        ("numbers", ["oak", "elm"], [1, 2], "target holds texts such as 'oak', and"),
        (
            "numbers",
            [1, 2],
            ["oak", "elm"],
            "prediction holds texts such as 'oak', and",
        ),
        (
            "classes",
            ["1", "2"],
            [1, 2],
            "target holds texts and prediction numbers; na",
        ),
        (
            "classes",
            [1, 2],
            ["1", "2"],
            "target holds numbers and prediction texts; na",
        ),
        ("probabilities", [0, 1], [0.2, 0.3], r"of shape \(2,\); give one probability"),
        ("probabilities", [0, 1], [[1], [1]], r"\(2, 1\) .* for two classes both"),
        (
            "probabilities",
            [0, 1],
            [["a", "b"]] * 2,
            "a column of numbers for each cl",
        ),
        ("probabilities", [0, 1], [EVEN, [nan, 1]], "1 of 4 values of prediction are"),
        (
            "probabilities",
            [0, 2],
            [EVEN] * 2,
            "target 2.0 is the number of none of the 2",
        ),
        ("probabilities", [0, -1], [EVEN] * 2, "target -1.0 is the number of none"),
        ("probabilities", [0, 0.5], [EVEN] * 2, "number the classes 0 to 1"),
        ("probabilities", ["a", "b"], [EVEN] * 2, "target a is the number of none"),
        ("probabilities", [0, nan], [EVEN] * 2, "1 of 2 values of target are missing"),
        ("probabilities", [0, 1, 1], [EVEN] * 2, "3 targets for 2 predictions"),
    ],
)
def test_what_is_not_what_is_compared_is_refused(
    compared: Compared, y_true: list[Any], y_pred: list[Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        comparable(y_true, y_pred, compared)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({3: [0.5, 0.6]}, r"1 of 9 .* row 3, is \[0\.5, 0\.6\]; give shares"),
        ({5: [0, 0], 7: [0.5, 0.6]}, r"2 of 9 rows .* row 5, is \[0\.0, 0\.0\]"),
        ({3: [1.5, -0.5]}, r"1 of 9 rows .* row 3, is \[1\.5, -0\.5\];"),
    ],
)
def test_what_are_no_probabilities_is_counted_and_the_first_shown(
    rows: dict[int, list[float]], message: str
) -> None:
    proba = np.full((9, 2), 0.5)
    for row, values in rows.items():
        proba[row] = values
    with pytest.raises(UserError, match=message):
        comparable([0] * 9, proba, "probabilities")


@pytest.mark.parametrize("off", [-0.9, 0.9, -1.1, 1.1])
def test_a_little_rounding_of_probabilities_is_borne(off: float) -> None:
    proba = np.array([[0.25, 0.75 + off * SUM_TOLERANCE]])
    if abs(off) < 1:
        assert comparable([1], proba, "probabilities")[1] is not None
        return
    with pytest.raises(UserError, match="1 of 1 rows of prediction are no probab"):
        comparable([1], proba, "probabilities")


def test_what_is_comparable_comes_back_as_numbers_or_texts() -> None:
    names = np.array(["b", "a"], dtype=object)
    for rows in comparable(names, ["a", "a"], "classes"):
        assert rows.dtype.kind == "U"
    for rows in comparable(np.array([1, 2.5], dtype=object), [True, False], "numbers"):
        assert rows.dtype == np.float64
    y_true, proba = comparable([1.0], np.float32([EVEN]), "probabilities")
    assert (y_true.dtype, proba.dtype) == (np.int64, np.float64)

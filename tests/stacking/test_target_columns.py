"""Tests of stacking.inputs.target_columns: which outputs speak of the target."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.task_types.base import TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.date import Date
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.regression import Regression
from stacking.inputs.data import Column
from stacking.inputs.target_columns import TargetColumns

GRADES = ("", "1", "2", "0")  # of the classes high, low and mid, from the lowest up
OUTPUTS = {"grade": GRADES, "plain": ("",), "wide": ("", "q1", "q2"), "many": "012"}


def columns_of(*tasks: str) -> tuple[Column, ...]:
    """Name the columns of some tasks, two statistics of each output."""
    return tuple(
        Column(name=f"{task}_{output}", task=task, output=output, statistic=statistic)
        for task in tasks
        for output in OUTPUTS[task]
        for statistic in ("mean", "var")
    )


def find(is_number: bool = True, **tasks: TaskType) -> TargetColumns:
    return TargetColumns.find(
        columns_of(*tasks),
        ("5", "7", "9") if is_number else ("high", "low", "mid"),
        (5.0, 9.0) if is_number else None,
        tasks=tasks,
        target_column="condition",
    )


def test_the_probabilities_of_grades_are_put_in_the_order_of_the_classes() -> None:
    target_columns = find(is_number=False, grade=Ordinal(grades=("low", "mid", "high")))
    X = np.array([[1.5, 0, 0.2, 0, 0.3, 0, 0.5, 0]])  # low 0.2, mid 0.3, high 0.5
    assert target_columns.regression_task == ""
    assert_allclose(target_columns.fixed(X)["plain"], [[0.5, 0.2, 0.3]])


def test_a_numeric_grade_is_a_number_and_probabilities() -> None:
    target_columns = find(grade=Ordinal())
    assert (target_columns.regression_task, target_columns.proba_task) == ("grade",) * 2
    X = np.array([[6.6, 0.1, 0.2, 0, 0.3, 0, 0.5, 0]])
    fixed = target_columns.fixed(X)
    assert fixed["plain"].tolist() == [6.6]
    assert_allclose(fixed["expected"], [0.5 * 5 + 0.2 * 7 + 0.3 * 9])
    assert X[0, target_columns.columns_of_target("var")].tolist() == [0.1]


@pytest.mark.parametrize(
    ("tasks", "number", "proba"),
    [
        ({"wide": Regression(companion=True)}, "wide", ""),
        ({"plain": Regression(), "grade": Ordinal()}, "plain", "grade"),
        ({"grade": Ordinal(), "plain": Regression()}, "grade", "grade"),
        ({"many": Classes(), "grade": Ordinal()}, "grade", "many"),
        ({"grade": Ordinal(column="condition")}, "grade", "grade"),
        ({"grade": Ordinal(column="other"), "plain": Date()}, "", ""),
    ],
)
def test_the_first_task_of_the_target_counts(
    tasks: dict[str, TaskType], number: str, proba: str
) -> None:
    target_columns = find(**tasks)
    assert target_columns.regression_task == number
    assert target_columns.proba_task == proba
    if number == "wide":
        X = np.arange(6.0)[None] + 5
        assert target_columns.fixed(X)["plain"].tolist() == [5]

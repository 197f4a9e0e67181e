"""Tests of data_prep.task_types: the labels of grades, tags, weights and companions."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.head_losses.base import Labels
from data_prep.task_types.base import LabelSource, TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.date import Date
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.registry import TASK_TYPES
from data_prep.task_types.regression import Regression
from data_prep.task_types.tags import Tags
from data_prep.tasks import build_tasks

N = 40


def table_of(target: Any, classes: list[Any] | None = None, **given: Any) -> Any:
    """Make a source of N training rows and 5 to predict."""
    n = N + 5
    table = pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "split": ["train"] * N + ["test"] * 5,
            "target": [*target, *[None] * 5],
            **{
                f"given.{name}": [*column, *[None] * 5]
                for name, column in given.items()
            },
        }
    )
    if classes:
        number = {value: k for k, value in enumerate(classes)}
        table["class_index"] = [number.get(value, -1) for value in table["target"]]
    metadata = {"classes": classes, "target_column": "grade", "n_folds": 3, "words": 0}
    is_name = isinstance(target[0], str)
    metadata["target_kind"] = "classes" if is_name else "numeric"
    return LabelSource(table=table, prepared=None, metadata=metadata)


def labels(task_type: TaskType, source: LabelSource) -> Labels:
    return task_type.read_labels(source)


def test_numbers_are_grades_by_their_size() -> None:
    y = np.tile([10.0, 2.0, 5.0, 2.0], 10)
    source = table_of(y, [2.0, 5.0, 10.0])
    read = labels(Ordinal(), source)
    assert (read.values[:N, 0] == y).all()
    assert read.has_label.sum() == N
    assert (read.outputs, read.classes) == (("", "0", "1", "2"), ("2", "5", "10"))
    far = labels(Ordinal(), table_of(1.6e9 + y, [1.6e9 + k for k in (2.0, 5.0, 10.0)]))
    assert far.origin == 1.6e9 + 2
    assert far.classes == ("1600000002", "1600000005", "1600000010")


def test_codes_of_a_column_are_ordered_by_number_and_names_as_listed() -> None:
    codes = np.array(["10", "9", "3.0", "3"] * 10, dtype=object)
    names = np.array(["good", "poor", "fair", "fair"] * 10, dtype=object)
    names[:2], names[2] = "best", None  # two rows are too few
    source = table_of(np.arange(N), code=codes, name=names)
    read = labels(Ordinal(column="code"), source)
    assert read.classes == ("3", "9", "10")
    assert (read.values[:4, 0] == [10, 9, 3, 3]).all()
    assert read.outputs == ("", "0", "1", "2")
    grades = ("poor", "fair", "good")
    read = labels(Ordinal(column="name", grades=grades), source)
    assert read.classes == grades
    assert read.has_label[:N].tolist() == [False] * 3 + [True] * (N - 3)
    assert (read.values[4:8, 0] == [2, 0, 1, 1]).all()


def test_the_grades_of_the_target_keep_the_numbers_of_its_classes() -> None:
    names = np.tile(["low", "mid", "high", "mid"], 10)
    source = table_of(names, ["high", "low", "mid"])
    read = labels(Ordinal(grades=("low", "mid", "high")), source)
    assert read.outputs == ("", "1", "2", "0")
    assert (read.values[:4, 0] == [0, 1, 2, 1]).all()


def test_listed_grades_of_a_target_of_numbers_keep_its_unit() -> None:
    y = np.tile([10.0, 2.0, 5.0, 2.0], 10)
    source = table_of(y, [2.0, 5.0, 10.0])
    read = labels(Ordinal(grades=("2", "5", "10")), source)
    assert read.grades == (2, 5, 10)
    assert (read.values[:N, 0] == y).all()
    with pytest.raises(UserError, match="a number, and has its order by size"):
        labels(Ordinal(grades=("5", "2", "10")), source)


NAMES = np.tile(["a", "b", "c", "c"], 10)


@pytest.mark.parametrize(
    ("task_type", "message"),
    [
        (Ordinal(), r"names such as 'a' have no order.*grades = \['a', 'b', 'c'\]"),
        (
            Ordinal(grades=("a", "b", "cc")),
            "grades: there is no 'cc'; did you mean 'c'",
        ),
        (
            Ordinal(grades=("a", "b")),
            "grades: 'c' is missing; list all from the lowest",
        ),
        (Ordinal(column="one"), "1 of its values have 5 rows or more; grades are 2 to"),
        (Ordinal(column="many", min_count=2), "0 of its values have 2 rows or more"),
        (
            Classes(class_weights=("bb=2",)),
            "class_weights: there is no class 'bb'; did you mean 'b'",
        ),
        (Classes(column="lone"), "1 of its classes has 5 rows or more; two are needed"),
        (Regression(column="one"), "all 40 labels are 7, so there is nothing to learn"),
        (Date(column="year"), "all 40 labels are 1890, so there is nothing to learn"),
        (
            Regression(column="few"),
            "2 of its rows have a label, fewer than the 3 folds",
        ),
        (Regression(column="yera"), "there is no column 'yera'; did you mean 'year'"),
        (Tags(), r"\[data\] names no attributes; add attributes to it"),
    ],
)
def test_labels_that_do_not_fit_are_refused(task_type: TaskType, message: str) -> None:
    lone = np.where(np.arange(N) == 3, "b", "a")
    source = table_of(
        NAMES,
        ["a", "b", "c"],
        one=[7] * N,
        many=range(N),
        lone=lone,
        year=["1890"] * N,
        few=[1, 2, *[None] * (N - 2)],
    )
    with pytest.raises(UserError, match=rf"^\[tasks.x\](, column '\w+')?: {message}"):
        build_tasks({"x": task_type}, source.table, None, source.metadata)


@pytest.mark.parametrize("task_type", [Classes(), Ordinal()])
def test_a_class_of_a_single_row_is_refused(task_type: TaskType) -> None:
    y = np.where(np.arange(N) == 3, 4.0, np.arange(N) % 3)
    source = table_of(y, [0.0, 1.0, 2.0, 4.0])
    with pytest.raises(UserError, match=r"\[tasks.x\], column 'grade': '4' is the la"):
        build_tasks({"x": task_type}, source.table, None, source.metadata)


def test_codes_that_are_one_number_have_no_order() -> None:
    source = table_of(np.tile(["1", "01", "2"], 14)[:N], ["01", "1", "2"])
    with pytest.raises(UserError, match=r"names such as '01' have no order"):
        labels(Ordinal(), source)


def test_a_target_of_many_values_has_no_grades() -> None:
    with pytest.raises(
        UserError, match="too many values to be grades; use kind = 'reg"
    ):
        labels(Ordinal(), table_of(np.arange(N)))


@pytest.fixture
def tagged() -> LabelSource:
    """Rows of which the first has no name, and all others "paper"."""
    source = table_of(np.arange(N))
    names = [
        (id_, name)
        for k, id_ in enumerate(source.table["id"])
        for name, is_there in (
            ("paper", k > 0),
            ("ink", k % 2),
            ("wash", k % 3 == 1),
            ("gold", k == 7),
            ("silk", k >= N),  # in the rows to predict alone
        )
        if is_there
    ]
    attributes = pd.DataFrame(names, columns=["id", "name"])
    return LabelSource(**{**vars(source), "attributes": attributes})


def test_tags_are_the_frequent_names_that_some_lack(tagged: LabelSource) -> None:
    read = labels(Tags(min_count=5), tagged)
    assert read.classes == ("ink", "wash")
    assert read.has_label[:N].tolist() == [False] + [True] * (N - 1)
    assert not read.has_label[N:].any()
    k = np.arange(1, N)
    expected = np.column_stack([k % 2 == 1, k % 3 == 1])
    assert (read.values[1:N] == expected).all()
    assert not read.values[N:].any()
    assert not read.values[0].any()
    shuffled = tagged.attributes.sample(frac=1, random_state=0)
    again = labels(
        Tags(min_count=5), LabelSource(**vars(tagged) | {"attributes": shuffled})
    )
    assert (again.values == read.values).all()
    assert labels(Tags(min_count=5, max_tags=1), tagged).classes == ("ink",)
    with pytest.raises(UserError, match="is on 20 of the 39 labelled pictures or more"):
        labels(Tags(), tagged)


@pytest.mark.parametrize(
    ("slip", "question"),
    [("Pencill", r"did you mean 'Pencil'\? join"), ("Ink", "join")],
)
def test_a_class_of_a_single_row_is_refused_and_may_be_misspelled(
    slip: str, question: str
) -> None:
    target = [slip, *["Pencil", "Pastel"] * (N // 2)][:N]
    source = table_of(target, sorted(set(target)))
    metadata = dict(source.metadata) | {"target_kind": "classes"}
    message = rf"'{slip}' is the label of a single row, .* never sees one; {question}"
    with pytest.raises(UserError, match=message):
        build_tasks({"medium": Classes()}, source.table, None, metadata)


def test_tags_are_scored_by_the_area_under_the_curve() -> None:
    y_true = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]], dtype=float)
    y_pred = np.array(
        [[0.5, 0.9, 0.1], [0.5, 0.2, 0.3], [0.5, 0.4, 0.2], [0.5, 0.6, 0]]
    )
    assert Tags().score(y_true, y_pred) == ("auc", pytest.approx((3 / 4 + 2 / 3) / 2))
    assert Tags().score(y_true[:, :1], y_pred[:, :1]) == ("auc", 0.5)


def test_a_number_is_scored_without_its_companion() -> None:
    y_true, y_pred = np.array([[1.0], [2.0]]), np.array([[1.0, 9, 9], [4.0, 9, 9]])
    task_type = Regression(companion=True)
    assert task_type.score(y_true, y_pred) == ("rmse", pytest.approx(2**0.5))


PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "leaves.toml"
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    kinds = set()
    for block in blocks:
        file.write_text(block, encoding="utf-8")
        (task_type,) = read_experiment(file, tmp_path).tasks.values()
        kinds.add(task_type.name)
    assert kinds == set(TASK_TYPES)


def test_the_table_of_the_page_has_all_kinds_losses_and_keys() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \| .*\|.*\|.*\|$", PAGE, re.MULTILINE
    )
    assert [name for name, *_ in rows] == [
        *("regression", "date", "classes", "ordinal", "words", "tags"),
    ]
    listed = {
        name: [re.findall(r"`(\w+)`", cell) for cell in cells] for name, *cells in rows
    }
    listed["date"] = listed["regression"]
    for name, task_type in TASK_TYPES.items():
        common = {field.name for field in fields(TaskType)}
        keys = [field.name for field in fields(task_type) if field.name not in common]
        assert listed[name] == [list(task_type.losses), keys], name

"""Tests of data_prep.tasks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from data_prep.task_types.base import TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.date import Date
from data_prep.task_types.regression import Regression
from data_prep.task_types.words import Words
from data_prep.tasks import Task, build_tasks, output_origins
from tests.prepared_runs import STAGE, make_run, table_of


def tasks_of(
    run: Run, *only: str, table: pd.DataFrame | None = None, **asked: TaskType
) -> dict[str, Task]:
    """Build the tasks of a run, by name."""
    prepared = run.finished(STAGE)
    rows = table_of(run) if table is None else table
    tasks = build_tasks(asked, rows, prepared.folder, prepared.metadata, only)
    return {task.name: task for task in tasks}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("target", ["numeric", "classes", None])
@pytest.mark.parametrize("dates", [True, False])
@pytest.mark.parametrize("words", [3, 0])
def test_the_default_tasks_are_those_that_have_labels(
    tmp_path: Path, target: str | None, dates: bool, words: int
) -> None:
    run = make_run(tmp_path, target=target, dates=dates, words=words)
    expected = ["target"] * (target == "numeric") + ["onehot"] * (target is not None)
    expected += ["date"] * dates + ["words"] * bool(words)
    if not expected:
        with pytest.raises(UserError, match="give nothing to learn"):
            tasks_of(run)
    else:
        assert list(tasks_of(run)) == expected


def test_word_vectors_may_come_before_there_is_a_folder(run: Run) -> None:
    prepared, table = run.finished(STAGE), table_of(run)
    words = pd.read_parquet(prepared.folder / "words.parquet")
    labels = []
    for folder, vectors in ((prepared.folder, None), (None, words.iloc[::-1])):
        (task,) = build_tasks(
            {}, table, folder, prepared.metadata, only=["words"], words=vectors
        )
        labels.append(task)
    assert_array_equal(labels[0].values, labels[1].values)
    assert_array_equal(labels[0].has_label, labels[1].has_label)
    with pytest.raises(UserError, match="names no attributes"):
        build_tasks({"x": Words()}, table, None, prepared.metadata)


def test_labels_and_masks_are_those_of_the_tables(run: Run) -> None:
    tasks, table = tasks_of(run), table_of(run).set_index("id")
    words = pd.read_parquet(run.folder / STAGE / "words.parquet").set_index("id")
    is_train = table["split"] == "train"
    for row, id_ in enumerate(table.index):
        has_date = is_train[id_] and not np.isnan(table.loc[id_, "date"])
        has_words = is_train[id_] and id_ in words.index
        seen = {name: bool(task.has_label[row]) for name, task in tasks.items()}
        assert seen == {
            "target": is_train[id_],
            "onehot": is_train[id_],
            "date": has_date,
            "words": has_words,
        }
        if is_train[id_]:
            assert tasks["target"].values[row, 0] == table.loc[id_, "target"]
            assert tasks["onehot"].values[row, 0] == table.loc[id_, "target"]
        if has_date:
            assert tasks["date"].values[row, 0] == table.loc[id_, "date"]
        if has_words:
            assert (tasks["words"].values[row] == words.loc[id_]).all()
    for task in tasks.values():
        assert (task.values[~task.has_label] == 0).all()
        assert task.values.dtype == np.float64
        assert task.origin == 0
        assert np.array_equal(task.from_origin(), task.values)


def test_columns_and_activations(run: Run) -> None:
    tasks = tasks_of(run)
    assert {
        name: (task.columns, task.task_type.activation) for name, task in tasks.items()
    } == {
        "target": (["target"], "identity"),
        "onehot": ([f"onehot_{k}" for k in range(4)], "softmax"),
        "date": (["date"], "identity"),
        "words": ([f"words_{k}" for k in range(3)], "identity"),
    }


def test_a_date_of_a_test_picture_is_no_label(run: Run) -> None:
    table = table_of(run)
    is_test = table["split"] == "test"
    table["date"] = np.where(is_test, 1850.0, np.nan)
    assert "date" not in tasks_of(run, table=table)
    table.loc[table.index[~is_test][0], "date"] = 1850.0
    task = tasks_of(run, "date", table=table)["date"]
    assert task.has_label.sum() == 1
    assert not task.has_label[is_test].any()


def test_only_the_tasks_asked_for_are_built(run: Run) -> None:
    assert list(tasks_of(run, "words", "target")) == ["target", "words"]


def test_a_column_of_the_user_by_its_own_name(run: Run) -> None:
    tasks = tasks_of(
        run,
        plain=Regression(column="level"),
        when=Date(column="year"),
        size=Regression(column="size", loss="mae", weight=0.5),
    )
    usual, table = tasks_of(run), table_of(run)
    assert (tasks["plain"].values == usual["target"].values).all()
    assert (tasks["when"].values == usual["date"].values).all()
    has_size = (table["given.size"].notna() & (table["split"] == "train")).to_numpy()
    assert (tasks["size"].has_label == has_size).all()
    expected = table["given.size"][has_size].astype(float)
    assert (tasks["size"].values[has_size, 0] == expected).all()
    assert tasks["size"].task_type == Regression(column="size", loss="mae", weight=0.5)


def test_rare_classes_of_another_column_are_masked(run: Run) -> None:
    table = table_of(run)
    task = tasks_of(run, rare=Classes(column="rare"))["rare"]
    is_train = (table["split"] == "train").to_numpy()
    is_rare = (table["given.rare"] == "rare").to_numpy()
    assert is_rare.sum() < Classes().min_count
    assert task.classes == ("often0", "often1")
    assert (task.has_label == is_train & ~is_rare).all()
    names = np.array(task.classes)[task.values[:, 0].astype(int)]
    assert (names == table["given.rare"])[task.has_label].all()


def test_a_missing_cell_is_not_the_class_nan(run: Run) -> None:
    table = table_of(run)
    texts = np.array(["nan", "other", None] * len(table), object)[: len(table)]
    table["given.kind"] = texts
    task = tasks_of(run, table=table, kind=Classes(column="kind"))["kind"]
    is_train = (table["split"] == "train").to_numpy()
    assert task.classes == ("nan", "other")
    assert (task.has_label == is_train & (texts != None)).all()  # noqa: E711


def test_what_is_missing_depends_on_the_kind_of_task(run: Run) -> None:
    table = table_of(run)
    texts = np.array(["NA", "1890", "1891", ""] * len(table), object)[: len(table)]
    table["given.kind"] = texts
    tasks = tasks_of(
        run,
        table=table,
        a=Classes(column="kind"),
        b=Regression(column="kind"),
        c=Date(column="kind"),
    )
    is_train = (table["split"] == "train").to_numpy()
    is_number = is_train & (table["given.kind"].str.len() == 4).to_numpy()
    assert tasks["a"].classes == ("1890", "1891", "NA")
    assert (tasks["a"].has_label == is_train & (texts != "")).all()
    assert (tasks["b"].has_label == is_number).all()
    assert (tasks["c"].has_label == is_number).all()


def test_names_that_teach_nothing_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, words=0)
    names = pd.DataFrame({"id": ["p001", "p002"], "name": ["oak", "elm"]})
    names.to_parquet(run.folder / STAGE / "attributes.parquet")
    with pytest.raises(
        UserError, match=r"names never go together, so .*; take the task"
    ):
        tasks_of(run, x=Words())


def test_text_is_no_regression(tmp_path: Path) -> None:
    run = make_run(tmp_path, target="classes")
    with pytest.raises(UserError, match=r"\[tasks.x\].*24 labels are no numbers, such"):
        tasks_of(run, x=Regression())
    with pytest.raises(
        UserError, match=r"no numbers, such as 'kind.*use kind = 'classes'"
    ):
        tasks_of(run, x=Regression(column="kind"))
    with pytest.raises(UserError, match="24 labels are no dates, such as 'kind"):
        tasks_of(run, x=Date(column="kind"))


def test_an_unknown_column_is_named_with_its_nearest(run: Run) -> None:
    with pytest.raises(UserError, match="no column 'kinds'; did you mean 'kind'"):
        tasks_of(run, x=Classes(column="kinds"))


def test_one_class_is_refused(run: Run) -> None:
    table = table_of(run)
    table["given.kind"] = "same"
    with pytest.raises(UserError, match="1 of its classes has 5 rows or more; two are"):
        tasks_of(run, table=table, x=Classes(column="kind"))


def test_a_quantity_is_no_class(run: Run) -> None:
    table = table_of(run).drop(columns="class_index")
    with pytest.raises(UserError, match="too many values to be classes"):
        tasks_of(run, table=table, x=Classes())
    assert "onehot" not in tasks_of(run, table=table)


def test_what_data_does_not_name_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, words=0)
    with pytest.raises(UserError, match=r"\[tasks.x\].*names no attributes; add"):
        tasks_of(run, x=Words())
    table = table_of(run).drop(columns=["target", "class_index"])
    with pytest.raises(UserError, match=r"\[data\] names no target; add target to"):
        tasks_of(run, table=table, x=Regression())


def test_a_task_without_any_label_is_refused(run: Run) -> None:
    table = table_of(run).assign(date=np.nan)
    with pytest.raises(UserError, match="no row of the train table has a label"):
        tasks_of(run, table=table, x=Date())


def test_an_unknown_task_is_named_with_its_nearest(run: Run) -> None:
    with pytest.raises(UserError, match=r"tasks = 'dates'.*did you mean 'date'"):
        tasks_of(run, "dates")


def test_what_the_store_would_refuse_is_refused_before_the_training(run: Run) -> None:
    with pytest.raises(UserError, match="both have a column 'kind_2'; rename one"):
        tasks_of(run, kind=Classes(column="kind"), kind_2=Regression())
    with pytest.raises(UserError, match="use letters from a to z, digits and _"):
        tasks_of(run, größe=Regression())


def test_labels_far_from_zero_are_counted_from_one_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, unit=(40, 1.6e9))
    task, table = tasks_of(run, "target")["target"], table_of(run)
    labels = task.values[task.has_label, 0]
    assert sorted(set(labels)) == [1.6e9, 1.6e9 + 40, 1.6e9 + 80, 1.6e9 + 120]
    assert task.origin == 1.6e9 + 40  # the lower median
    counted = task.from_origin()
    assert sorted(set(counted[task.has_label, 0])) == [-40, 0, 40, 80]
    assert not counted[~task.has_label].any()
    # Dates of one morning: float32 tells hours apart at most.
    table["date"] = 2021.5 + np.arange(len(table)) / 365 / 24 / 60
    date = tasks_of(run, "date", table=table)["date"]
    is_train = (table["split"] == "train").to_numpy()
    assert (
        len(set(date.from_origin()[is_train, 0].astype(np.float32))) == is_train.sum()
    )


def test_only_the_number_itself_is_counted_from_the_origin() -> None:
    assert output_origins({"origin": 1.6e9, "outputs": ["", "q1", "q2"]}) == [
        1.6e9,
        0,
        0,
    ]
    assert output_origins({"outputs": ["0", "1"]}) == [0, 0]

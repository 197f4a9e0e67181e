"""The sub-tasks: from the prepared table to numbers and masks by row.

Torch-free, so that other stages may ask which outputs a task has.

Shapes: N rows of the prepared table, L columns of labels, F outputs of a task.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.head_losses.base import Labels
from data_prep.schemes import count_deals
from data_prep.settings import nearest
from data_prep.task_types.base import LabelSource, TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.date import Date
from data_prep.task_types.regression import Regression
from data_prep.task_types.words import Words

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Task(Labels):
    """One sub-task, with its labels.

    Attributes:
        name: Name in the experiment and in the columns of the store.
        task_type: Its kind, with what the user set.
    """

    name: str
    task_type: TaskType

    @property
    def columns(self) -> list[str]:
        """Names of its F output columns."""
        return [f"{self.name}_{out}" if out else self.name for out in self.outputs]


def output_origins(task: Mapping[str, Any]) -> list[float]:
    """Say what the F outputs of a task are counted from, as it is stored with a net.

    Only an output without a suffix is in the unit of the labels.
    """
    origin = float(task.get("origin") or 0)
    return [0.0 if output else origin for output in task["outputs"]]


def default_tasks(source: LabelSource) -> dict[str, TaskType]:
    """Give the four tasks of the original, less those that no training row has."""
    train, metadata = source.table[source.table["split"] == "train"], source.metadata
    tasks: dict[str, TaskType] = {}
    if metadata["target_kind"] == "numeric":
        tasks["target"] = Regression()
    if "class_index" in train and (train["class_index"] >= 0).any():
        tasks["onehot"] = Classes()
    if "date" in train and train["date"].notna().any():
        tasks["date"] = Date()
    if metadata["words"] and Words().read_labels(source).has_label.any():
        tasks["words"] = Words()
    return tasks


def build_tasks(
    settings: Mapping[str, TaskType],
    table: "pd.DataFrame",
    prepared: Path | None,
    metadata: Mapping[str, Any],
    only: Sequence[str] = (),
    words: "pd.DataFrame | None" = None,
    attributes: "pd.DataFrame | None" = None,
) -> list[Task]:
    """Collect the labels of the tasks, row by row of the table.

    Args:
        settings: Tasks of the experiment; empty: the default ones.
        table: (N) rows as prepared.
        prepared: Folder of ``data_prep.prepare``; None: it is not yet made.
        metadata: What that stage recorded, or will.
        only: Names of the tasks to build; empty: all.
        words: Word vectors with their ids; None: those of ``prepared``.
        attributes: Columns id and name; None: those of ``prepared``.

    Raises:
        UserError: A task or its column is unknown, or its labels do not fit its kind.
    """
    source = LabelSource(
        table=table,
        prepared=prepared,
        metadata=metadata,
        words=words,
        attributes=attributes,
    )
    chosen = dict(settings) or default_tasks(source)
    if not chosen:
        raise UserError(
            "the tables give nothing to learn: [data] names no target, date or"
            " attributes that go together; pretext and features work without, transfer"
            " does not"
        )
    for name in only:
        if name not in chosen:
            raise UserError(f"tasks = {name!r}: no such task; {nearest(name, chosen)}")
    tasks = [
        _task(name, task_type, source)
        for name, task_type in chosen.items()
        if not only or name in only
    ]
    n_folds = metadata["n_folds"] // count_deals(metadata.get("cv"))
    for task in tasks if settings else ():
        try:
            task.task_type.check_labels(task, n_folds)
        except UserError as error:
            raise UserError(f"{_place_of(task, metadata)}: {error}") from None
    _check_columns(tasks)
    return tasks


def _task(name: str, task_type: TaskType, source: LabelSource) -> Task:
    try:
        labels = task_type.read_labels(source)
        if not labels.has_label.any():
            raise UserError("no row of the train table has a label; take the task out")
    except UserError as error:
        raise UserError(f"[tasks.{name}]: {error}") from None
    return Task(**vars(labels), name=name, task_type=task_type)


def _place_of(task: Task, metadata: Mapping[str, Any]) -> str:
    """Name the task, and the user's column that it learns: it may be a default one."""
    column = task.task_type.column
    if column is None and task.task_type.target_outputs:
        column = metadata.get("target_column")
    return f"[tasks.{task.name}]" + (f", column {column!r}" if column else "")


def _check_columns(tasks: Sequence[Task]) -> None:
    """Check what the feature store would refuse after the training."""
    owner: dict[str, str] = {}
    for task in tasks:
        if not re.fullmatch("[A-Za-z0-9_]+", task.name):
            raise UserError(
                f"[tasks.{task.name}]: a task names columns of the feature store; use"
                " letters from a to z, digits and _"
            )
        for column in task.columns:
            if column in owner:
                raise UserError(
                    f"[tasks.{task.name}] and [tasks.{owner[column]}] would both have"
                    f" a column {column!r}; rename one"
                )
            owner[column] = task.name

"""The sub-tasks: from the prepared table to numbers and masks by row.

Torch-free, so that other stages may ask which outputs a task has.

Shapes: N rows of the prepared table, F outputs of a task.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.experiment import TaskSettings
from data_prep.run_folders.damage import read_frame
from data_prep.settings import nearest
from data_prep.tables.spelling import class_names
from data_prep.tables.units import Unit, fits_float32

if TYPE_CHECKING:
    import pandas as pd

USUAL_LOSS = {
    "regression": "mse",
    "date": "mse",
    "classes": "cross_entropy",
    "words": "mse",
}
NUMBERS = ("regression", "date")  # kinds whose label is one quantity of the user's
# Rows of a class of another column than the target; rarer ones are masked.
FEWEST = 5
ROLES = ("target", "date", "group")  # columns that data_prep.prepare gives its names


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the tables say of one sub-task.

    Attributes:
        values: (N, F) labels, or (N, 1) class numbers; 0 where masked.
        has_label: (N,) whether the row has a label for this task.
        outputs: F suffixes of its output columns; ``("",)`` for a single number.
        classes: Names of the classes, empty for numbers.
    """

    values: NDArray[np.float64]
    has_label: NDArray[np.bool_]
    outputs: tuple[str, ...] = ("",)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task(Labels):
    """One sub-task, with its labels.

    Attributes:
        name: Name in the experiment and in the columns of the store.
        kind: ``regression``, ``classes``, ``date`` or ``words``.
        loss: Name of the loss.
        weight: Weight of the loss in a joint net.
    """

    name: str
    kind: str
    loss: str
    weight: float = 1.0

    @property
    def activation(self) -> str:
        """What is applied to the head's outputs before they are stored."""
        return "softmax" if self.kind == "classes" else "identity"

    @property
    def origin(self) -> float:
        """What a net counts its labels from: 0, unless float32 would lose them then."""
        if self.kind not in NUMBERS:
            return 0.0
        given = self.values[self.has_label, 0].astype(np.float64)
        return 0.0 if fits_float32(given) else Unit.of(given).centre

    def counted(self) -> NDArray[np.float64]:
        """Give the (N, F) labels counted from ``origin``; 0 where masked."""
        counted = self.values.astype(np.float64) - self.origin
        return np.where(self.has_label[:, None], counted, 0)

    @property
    def columns(self) -> list[str]:
        """Names of its F output columns."""
        return [f"{self.name}_{out}" if out else self.name for out in self.outputs]


def default_tasks(
    table: "pd.DataFrame", prepared: Path, metadata: Mapping[str, Any]
) -> dict[str, TaskSettings]:
    """Give the four tasks of the original, less those that no training row has."""
    train = table[table["split"] == "train"]
    tasks = {}
    if metadata["target_kind"] == "numeric":
        tasks["target"] = TaskSettings(kind="regression")
    if "class_index" in train and (train["class_index"] >= 0).any():
        tasks["onehot"] = TaskSettings(kind="classes")
    if "date" in train and train["date"].notna().any():
        tasks["date"] = TaskSettings(kind="date")
    if metadata["words"] and _word_labels(table, prepared).has_label.any():
        tasks["words"] = TaskSettings(kind="words")
    return tasks


def build_tasks(
    settings: Mapping[str, TaskSettings],
    table: "pd.DataFrame",
    prepared: Path,
    metadata: Mapping[str, Any],
    only: Sequence[str] = (),
) -> list[Task]:
    """Collect the labels of the tasks, row by row of the table.

    Args:
        settings: Tasks of the experiment; empty: the default ones.
        table: (N) rows as prepared.
        prepared: Folder of ``data_prep.prepare``.
        metadata: What that stage found out.
        only: Names of the tasks wanted; empty: all.

    Raises:
        UserError: A task or its column is unknown, or its labels do not fit its kind.
    """
    chosen = dict(settings) or default_tasks(table, prepared, metadata)
    if not chosen:
        raise UserError(
            "the tables give nothing to learn: [data] names no target, date or"
            " attributes that go together; pretext and features work without, transfer"
            " does not"
        )
    for name in only:
        if name not in chosen:
            raise UserError(f"tasks = {name!r}: no such task; {nearest(name, chosen)}")
    tasks = []
    for name, setting in chosen.items():
        if only and name not in only:
            continue
        try:
            labels = _labels(setting, table, prepared, metadata)
        except UserError as error:
            raise UserError(f"[tasks.{name}]: {error}") from None
        loss = setting.loss or USUAL_LOSS[setting.kind]
        tasks.append(
            Task(
                name=name,
                kind=setting.kind,
                loss=loss,
                weight=setting.weight,
                values=labels.values,
                has_label=labels.has_label,
                outputs=labels.outputs,
                classes=labels.classes,
            )
        )
    _check_columns(tasks)
    return tasks


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


def _labels(
    setting: TaskSettings,
    table: "pd.DataFrame",
    prepared: Path,
    metadata: Mapping[str, Any],
) -> Labels:
    if setting.kind == "words":
        labels = _word_labels(table, prepared)
    else:
        usual = "date" if setting.kind == "date" else "target"
        column = _column(setting.column, usual, table, metadata)
        is_train = (table["split"] == "train").to_numpy()
        if setting.kind == "classes":
            labels = _class_labels(table, column, is_train, metadata)
        else:
            labels = _number_labels(table[column], setting.kind, is_train)
    if not labels.has_label.any():
        raise UserError("no row of the train table has a label; take the task out")
    return labels


def _column(
    asked: str | None, usual: str, table: "pd.DataFrame", metadata: Mapping[str, Any]
) -> str:
    """Find a task's column: the usual one, or one of the user's."""
    if asked is None:
        if usual not in table:
            raise UserError(
                f"[data] names no {usual}; add {usual} to [data], or column here"
            )
        return usual
    for role in ROLES:
        if asked == metadata.get(f"{role}_column") and role in table:
            return role
    given = f"given.{asked}"
    if given not in table:
        further = [str(name) for name in table if str(name).startswith("given.")]
        known = [name.removeprefix("given.") for name in further]
        known += [c for role in ROLES if (c := metadata.get(f"{role}_column"))]
        raise UserError(f"there is no column {asked!r}; {nearest(asked, known)}")
    return given


def _number_labels(
    given: "pd.Series[Any]", kind: str, is_train: NDArray[np.bool_]
) -> Labels:
    from data_prep.tables.cells import as_numbers, as_years, unread

    values = as_years(given)[0] if kind == "date" else as_numbers(given)
    is_number = np.isfinite(values)
    bad = unread(given[is_train], values[is_train])
    if len(bad):
        what = "dates" if kind == "date" else "numbers"
        raise UserError(
            f"kind = {kind!r}, but {len(bad)} labels are no {what}, such as"
            f" {bad.iloc[0]!r}; use kind = 'classes' or another column"
        )
    has_label = is_number & is_train
    values = np.where(has_label, values, 0)[:, None]
    return Labels(values=values, has_label=has_label)


def _class_labels(
    table: "pd.DataFrame",
    column: str,
    is_train: NDArray[np.bool_],
    metadata: Mapping[str, Any],
) -> Labels:
    if column == "target":
        if "class_index" not in table:
            raise UserError(
                "the target has too many values to be classes; use kind = 'regression'"
            )
        index = table["class_index"].to_numpy()
        classes = class_names(metadata["classes"])
    else:
        from data_prep.tables.cells import as_texts

        names = np.array(as_texts(table[column]), dtype=object)
        found, counts = np.unique(names[is_train & (names != "")], return_counts=True)
        classes = tuple(map(str, found[counts >= FEWEST]))
        number = {name: k for k, name in enumerate(classes)}
        index = np.array([number.get(name, -1) for name in names])
    if len(classes) < 2:
        raise UserError(
            f"{len(classes)} of its classes has {FEWEST} rows or more; two are needed"
        )
    has_label = (index >= 0) & is_train
    return Labels(
        values=np.where(has_label, index, 0).astype(np.float64)[:, None],
        has_label=has_label,
        outputs=tuple(str(k) for k in range(len(classes))),
        classes=classes,
    )


def _word_labels(table: "pd.DataFrame", prepared: Path) -> Labels:

    file = prepared / "words.parquet"
    if not file.exists():
        raise UserError(_lacks_words(prepared))
    words = read_frame(file).set_index("id").reindex(table["id"])
    is_train = (table["split"] == "train").to_numpy()
    has_label = words.notna().all(axis=1).to_numpy() & is_train
    values = np.where(has_label[:, None], words.to_numpy(), 0).astype(np.float64)
    outputs = tuple(str(k) for k in range(values.shape[1]))
    return Labels(values=values, has_label=has_label, outputs=outputs)


def _lacks_words(prepared: Path) -> str:
    """Say why there are no word vectors."""
    from data_prep.tables.words import untaught

    file = prepared / "attributes.parquet"
    attributes = read_frame(file) if file.exists() else None
    if attributes is None or attributes.empty:
        return "[data] names no attributes; add attributes to it"
    return f"of [data] attributes {untaught(attributes)}; take the task out"

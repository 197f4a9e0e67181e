"""Columns of the user's table that join the features of a picture at the heads.

Numbers are standardised and texts are columns of 0 and 1. A missing number is 0, the
median, and a column says so; a missing text is 0 in all of its columns. All is learned
from the rows of the training table, whatever their fold: it is no label. Torch-free.

Shapes: N rows, C columns made.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.outlook import Outlook
from data_prep.run_folders.runs import Finished
from data_prep.tables.units import Unit
from data_prep.user_columns import DATE, UserColumns, check_roles

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NetColumns:
    """How columns of the user's become C numbers near one.

    Attributes:
        user_columns: The columns, gaps filled and texts as 0 and 1.
        centres: C, subtracted from those.
        scales: C, by which they are divided then.
    """

    user_columns: UserColumns
    centres: tuple[float, ...]
    scales: tuple[float, ...]

    @classmethod
    def learn(cls, table: "pd.DataFrame", names: Sequence[str]) -> Self:
        """Look at the rows of the training table; those of the test table are checked.

        Args:
            table: Rows as prepared.
            names: The user's names of the columns.

        Raises:
            UserError: See ``UserColumns.learn``.
        """
        train = table[table["split"] == "train"]
        columns = UserColumns.learn(train, table[table["split"] == "test"], names)
        filled, k = columns.apply(train), 0
        centres, scales = [0.0] * filled.shape[1], [1.0] * filled.shape[1]
        for column in columns.columns:
            if column.median is not None:  # the first of its columns is the number
                centres[k], scales[k] = column.median, Unit.of(filled[:, k]).scale
            k += len(column.outputs)
        return cls(user_columns=columns, centres=tuple(centres), scales=tuple(scales))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Restore what ``to_json`` and JSON made."""
        return cls(
            user_columns=UserColumns.from_json(stored["user_columns"]),
            centres=tuple(stored["centres"]),
            scales=tuple(stored["scales"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Give JSON values."""
        return asdict(self)

    @property
    def names(self) -> tuple[str, ...]:
        """C names."""
        return self.user_columns.names

    def apply(self, table: "pd.DataFrame") -> NDArray[np.float32]:
        """Make (N, C) numbers of N rows, of a prepared table or one of the user's.

        Raises:
            UserError: A column is absent or holds what is no finite number.
        """
        filled = self.user_columns.apply(table)
        return ((filled - self.centres) / self.scales).astype(np.float32)

    def tell_gaps(self, table: "pd.DataFrame") -> None:
        """Log how many cells of a prepared table are empty, or rare texts."""
        for split, purpose in (("train", "to learn from"), ("test", "to predict")):
            rows = table[table["split"] == split]
            for message in self.user_columns.messages(rows, purpose):
                log.warning("%s", message.removesuffix("."))


def columns_of(finished: Finished) -> NetColumns | None:
    """Give what the nets of a stage learned from of the user's table, if anything."""
    stored = finished.metadata.get("user_columns")
    return NetColumns.from_json(stored) if stored else None


def check_columns(outlook: Outlook, names: Sequence[str], only: Sequence[str]) -> None:
    """Check that the columns can be learned from, and are no task's label.

    Args:
        outlook: The tables and the tasks.
        names: The user's names of the columns; there may be none.
        only: Names of the tasks to train; none: all.

    Raises:
        UserError: See ``NetColumns.learn``; or a net would be given what it is to
            learn.
    """
    if not names:
        return
    check_roles(names, outlook.metadata)
    NetColumns.learn(outlook.table, names)
    for task in outlook.tasks(only):
        column = task.task_type.column
        if column is None and task.task_type.name == DATE:
            column = DATE
        of_date = (DATE, outlook.metadata.get("date_column"))
        labels = of_date if column in of_date else (column,)
        if column is not None and (shared := set(labels) & set(names)):
            raise UserError(
                f"columns = {min(map(str, shared))!r} is what [tasks.{task.name}]"
                " learns; take it out of columns, or name the other tasks with --tasks"
            )

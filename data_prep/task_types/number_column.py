"""Numbers in a column of the table, which several kinds of sub-tasks learn from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.head_losses.base import Labels
from data_prep.tables.spelling import class_text
from data_prep.tables.units import origin_of
from data_prep.task_types.base import LabelSource, TaskType

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class NumberColumn(TaskType):
    """A kind whose labels are one number for each row.

    Attributes:
        usual_column: Column of the prepared table, where the user names none.
        noun: What the cells are, for messages.
    """

    usual_column: ClassVar[str] = "target"
    noun: ClassVar[str] = "numbers"

    def parse(self, cells: "pd.Series[Any]") -> Floats:
        """Read (N,) cells as numbers; NaN where they are none."""
        from data_prep.tables.cells import as_numbers

        return as_numbers(cells)

    def read_labels(self, source: LabelSource) -> Labels:
        """Read a column of numbers; a missing cell has no label."""
        from data_prep.tables.cells import unread

        cells = source.table[source.column_name(self.column, self.usual_column)]
        values, is_train = self.parse(cells), source.is_train
        unreadable = unread(cells[is_train], values[is_train])
        if len(unreadable):
            raise UserError(
                f"kind = {self.name!r}, but {len(unreadable)} labels are no {self.noun}"
                f", such as {unreadable.iloc[0]!r}; use kind = 'classes' or another"
                " column"
            )
        has_label = np.isfinite(values) & is_train
        return Labels(
            values=np.where(has_label, values, 0)[:, None],
            has_label=has_label,
            origin=origin_of(values[has_label]),
        )

    def check_labels(self, labels: Labels, n_folds: int) -> None:
        """Refuse too few labels, and those that are all the same.

        Raises:
            UserError: There is nothing to learn.
        """
        super().check_labels(labels, n_folds)
        y = labels.values[labels.has_label, 0]
        if y.min() == y.max():
            raise UserError(
                f"all {len(y)} labels are {class_text(y[0])}, so there is nothing to"
                " learn; take the task out"
            )

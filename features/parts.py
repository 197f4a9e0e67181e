"""What is extracted: which rows go through which nets, into which columns.

Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.folds import split

if TYPE_CHECKING:
    import pandas as pd

NO_FOLD = "none"  # the fold of a net that saw no label
# The space of all outputs: they are in the unit of the label or probabilities, so those
# of several nets may share a column. Inner layers have a space for each net.
OUTPUTS = "outputs"


@dataclass(frozen=True)
class Column:
    """One output of a net, in one view.

    Attributes:
        name: Such as ``onehot_2``.
        task: Such as ``onehot``.
        output: Such as ``2``; empty where the task has one.
        activation: What was applied to it: ``identity`` or ``softmax``.
        space: Columns of the same space mean the same, whichever net they come from.
    """

    name: str
    task: str
    output: str
    activation: str
    space: str

    def header(self, statistic: str | None = None) -> dict[str, Any]:
        """Describe the column, or a statistic of it, for the header of a store."""
        name = f"{self.name}__{statistic}" if statistic else self.name
        return {**vars(self), "name": name, "statistic": statistic}


@dataclass(frozen=True)
class Part:
    """The rows that the nets of one fold are sent over in one role.

    Attributes:
        fold: Number of the fold, ``all``, or ``none`` for a net without labels.
        role: ``oof``, ``test``, ``insample``, ``label_free``, or
            ``selected_with_labels``.
        rows: (N,) rows of the prepared table.
    """

    fold: str
    role: str
    rows: NDArray[np.int64]


def plan_parts(
    table: "pd.DataFrame", folds: Sequence[str], *, insample: bool
) -> list[Part]:
    """List the parts, those of a fold together.

    A row is ``oof`` for the nets of its own fold alone. The rows without label are
    ``test`` for all nets. With ``insample``, so are called the training rows that the
    nets of a fold may have learned from.

    Raises:
        UserError: There is not one row.
    """
    common = np.flatnonzero(table["part"] != "train")
    parts = []
    for fold in folds:
        is_held_out, may_be_seen = split(table, fold)
        parts += [
            Part(fold, "oof", np.flatnonzero(is_held_out)),
            Part(fold, "test", common),
        ]
        if insample:
            parts.append(Part(fold, "insample", np.flatnonzero(may_be_seen)))
    parts = [part for part in parts if len(part.rows)]
    if not parts:
        raise UserError(
            f"nothing to extract: the nets of fold {', '.join(folds)} hold out no row,"
            " and there is no test picture; train the folds, or give --insample"
        )
    return parts

"""What is extracted: which rows go through which nets, in which passes and columns.

Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.folds import fold_masks

if TYPE_CHECKING:
    import pandas as pd

NO_FOLD = "none"  # the fold of a net that saw no label
BLOCK = 32  # pictures of a forward: the last bits depend on which are together
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
    common = np.flatnonzero(table["split"] != "train")
    parts = []
    for fold in folds:
        is_held_out, may_be_seen = fold_masks(table, fold)
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


@dataclass(frozen=True)
class Group:
    """The rows that go through the nets of the same folds: one pass over pictures.

    Attributes:
        folds: Of the nets.
        rows: (N,) rows of the prepared table.
    """

    folds: tuple[str, ...]
    rows: NDArray[np.int64]

    def shard(self, number: int, n_shards: int) -> "Group":
        """Give every n-th block: whole ones, so that no bit depends on the sharding."""
        inside = np.arange(len(self.rows)) // BLOCK % n_shards == number
        return replace(self, rows=self.rows[inside])


def group_rows(parts: Sequence[Part]) -> list[Group]:
    """Put rows together that go through the same nets: each picture is read once."""
    folds = list(dict.fromkeys(part.fold for part in parts))
    n_rows = 1 + max(int(part.rows.max()) for part in parts)
    asked = np.zeros((n_rows, len(folds)), dtype=np.bool_)
    for part in parts:
        asked[part.rows, folds.index(part.fold)] = True
    kinds, kind_of = np.unique(asked, axis=0, return_inverse=True)
    groups = [
        Group(
            tuple(fold for fold, is_asked in zip(folds, kind, strict=True) if is_asked),
            np.flatnonzero(kind_of == number),
        )
        for number, kind in enumerate(kinds)
        if kind.any()
    ]
    return sorted(groups, key=lambda group: [folds.index(f) for f in group.folds])


def in_shard(part: Part, groups: Sequence[Group]) -> Part:
    """Keep the rows of a part that the groups of a shard hold."""
    inside = [np.isin(part.rows, g.rows) for g in groups if part.fold in g.folds]
    return replace(part, rows=part.rows[np.logical_or.reduce(inside)])

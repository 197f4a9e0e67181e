"""What is extracted: which rows go through which nets, in which passes and columns.

Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Ints
from data_prep.deals import deal_of
from data_prep.errors import UserError
from data_prep.folds import fold_masks

if TYPE_CHECKING:
    import pandas as pd

NO_FOLD = "none"  # the fold of a net that saw no label
BLOCK = 32  # pictures of a forward: the last bits depend on which are together
# The space of all outputs: they are in the unit of the label or probabilities, so those
# of several nets may share a column. Inner layers have a space for each net.
OUTPUTS = "outputs"


@dataclass(frozen=True, kw_only=True)
class OutputColumn:
    """One output of a net, in one view. The fields are those of a store's header.

    Attributes:
        name: Such as ``onehot_2``.
        task: Such as ``onehot``.
        output: Such as ``2``; empty where the task has a single output.
        activation: What was applied to it: ``identity``, ``softmax`` or ``sigmoid``.
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


@dataclass(frozen=True, kw_only=True)
class RoleRows:
    """The rows that the nets of one fold are sent over in one role.

    Attributes:
        fold: Number of the fold, ``all``, or ``none`` for a net without labels.
        role: ``oof``, ``oof_selected``, ``test``, ``insample``, ``label_free``, or
            ``selected_with_labels``.
        rows: (N,) rows of the prepared table.
        deal: Which deal the fold is of.
    """

    fold: str
    role: str
    rows: Ints
    deal: int = 0


def plan_rows(
    table: "pd.DataFrame",
    folds: Sequence[str],
    *,
    insample: bool,
    role_of_fold: str = "oof",
) -> list[RoleRows]:
    """List the rows by fold and role, those of a fold together.

    A row is ``oof`` for the nets of its own fold alone, one fold in each deal. The rows
    without label are ``test`` for all nets. With ``insample``, so are called the
    training rows that the nets of a fold may have learned from.

    Args:
        table: N rows as prepared.
        folds: Of the nets.
        insample: Add the rows that may have been learned from.
        role_of_fold: ``oof_selected`` where the labels of the fold chose the epoch.

    Raises:
        UserError: There is not one row.
    """
    common = np.flatnonzero(table["split"] != "train")
    planned = []
    for fold in folds:
        is_held_out, may_be_seen = fold_masks(table, fold)
        rows_by_role = {role_of_fold: np.flatnonzero(is_held_out), "test": common}
        if insample:
            rows_by_role["insample"] = np.flatnonzero(may_be_seen)
        planned += [
            RoleRows(fold=fold, role=role, rows=rows, deal=deal_of(table, fold))
            for role, rows in rows_by_role.items()
        ]
    planned = [role_rows for role_rows in planned if len(role_rows.rows)]
    if not planned:
        raise UserError(
            f"nothing to extract: the nets of fold {', '.join(folds)} hold out no row,"
            " and there is no test picture; train the folds, or give --insample"
        )
    return planned


@dataclass(frozen=True, kw_only=True)
class PassRows:
    """The rows that go through the nets of the same folds: one pass over pictures.

    Attributes:
        folds: Of the nets.
        rows: (N,) rows of the prepared table.
        part: Such as ``0of2`` where the pictures of a pass go side by side.
    """

    folds: tuple[str, ...]
    rows: Ints
    part: str = ""

    @property
    def n_blocks(self) -> int:
        """How many blocks the rows fill, the last maybe in part."""
        return -(-len(self.rows) // BLOCK)

    def shard(self, number: int, n_shards: int) -> "PassRows":
        """Give every n-th block: whole ones, so that no bit depends on the sharding."""
        is_inside = np.arange(len(self.rows)) // BLOCK % n_shards == number
        return replace(self, rows=self.rows[is_inside])


def plan_passes(planned: Sequence[RoleRows]) -> list[PassRows]:
    """Put rows together that go through the same nets: each picture is read once.

    Of several deals labelled pictures are read once for each: F folds of R deals have
    F^R patterns, and most would be a few pictures.
    """
    parts: dict[int, list[RoleRows]] = {}
    if len({role_rows.deal for role_rows in planned}) == 1:
        return _patterns(planned)
    for role_rows in planned:
        number = -1 if role_rows.role == "test" else role_rows.deal
        parts.setdefault(number, []).append(role_rows)
    return [of_part for part in parts.values() for of_part in _patterns(part)]


def _patterns(planned: Sequence[RoleRows]) -> list[PassRows]:
    """Make a pass of the rows that go through the same nets."""
    folds = list(dict.fromkeys(role_rows.fold for role_rows in planned))
    n_rows = 1 + max(int(role_rows.rows.max()) for role_rows in planned)
    # (N, folds) whether a row goes through the nets of a fold; a pass is a pattern
    goes_through = np.zeros((n_rows, len(folds)), dtype=np.bool_)
    for role_rows in planned:
        goes_through[role_rows.rows, folds.index(role_rows.fold)] = True
    patterns, pattern_of = np.unique(goes_through, axis=0, return_inverse=True)
    passes = [
        PassRows(
            folds=tuple(np.array(folds)[pattern].tolist()),
            rows=np.flatnonzero(pattern_of == number),
        )
        for number, pattern in enumerate(patterns)
        if pattern.any()
    ]
    return sorted(passes, key=lambda p: [folds.index(fold) for fold in p.folds])


def in_shard(role_rows: RoleRows, passes: Sequence[PassRows]) -> RoleRows:
    """Keep the rows that the passes of a shard hold."""
    is_inside = np.zeros(len(role_rows.rows), dtype=np.bool_)
    for of_shard in passes:
        if role_rows.fold in of_shard.folds:
            is_inside |= np.isin(role_rows.rows, of_shard.rows)
    return replace(role_rows, rows=role_rows.rows[is_inside])

"""The stores of an extraction: from the values of each part to files by id.

Torch-free.

Shapes: N rows of a part, V views, F outputs, S statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.folds import ALL
from features.header import SELECTED
from features.parts import Column, Part
from features.rows import Rows, joined, mean_of, pooled
from features.store import write_store
from transfer.jobs import fold_name


@dataclass(frozen=True)
class Extracted:
    """A part and what its nets gave.

    Attributes:
        part: Which rows.
        views: (N, V, F).
        failures: Why rows of the part are not there, by id.
    """

    part: Part
    views: Rows
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembly:
    """What all stores of an extraction share.

    Attributes:
        folder: Where they go.
        ids: Ids of the prepared table, by row.
        fold_of: Folds of its rows; -1: none.
        columns: F outputs of the nets of each fold.
        nets: ``task``, ``fold`` and ``digest`` of each net, by task.
        views: V names.
        statistics: S names.
        header: What else their headers say.
        failures: Why rows that one may expect are not there, by id.
    """

    folder: Path
    ids: NDArray[np.str_]
    fold_of: NDArray[np.int64]
    columns: Mapping[str, Sequence[Column]]
    nets: Sequence[dict[str, Any]]
    views: tuple[str, ...]
    statistics: tuple[str, ...]
    header: Mapping[str, Any]
    failures: Mapping[str, str]

    def write(self, extracted: Sequence[Extracted]) -> None:
        """Write the views of each task, the pooled parts, and ``features.pkl``."""
        by_role: dict[str, list[Extracted]] = {}
        for one in extracted:
            by_role.setdefault(one.part.role, []).append(one)
        oof, tests = by_role.get("oof", []), by_role.get("test", [])
        # one net made all rows, whether or not labels chose its epoch
        label_free = [*by_role.get("label_free", []), *by_role.get(SELECTED, [])]
        columns = next(iter(self.columns.values()))
        for task in dict.fromkeys(column.task for column in columns):
            if oof:
                self._write_views(f"views/{task}.oof.pkl", oof, task)
            if label_free:
                self._write_views(f"views/{task}.pkl", label_free, task)
            for role in ("test", "insample"):
                for one in by_role.get(role, []):
                    name = f"views/{task}.{role}.{fold_name(one.part.fold)}.pkl"
                    self._write_views(name, [one], task)
        for role, folder in (("test", "nets"), ("insample", "insample")):
            for one in by_role.get(role, []):
                self._write_pooled(f"{folder}/{fold_name(one.part.fold)}.pkl", [one])
        if label_free or oof or tests:
            self._write_features([*label_free, *oof], tests)

    def write_inner(self, extracted: Sequence[Extracted]) -> None:
        """Write inner layers, pooled: a store for each fold, whose space is its nets'.

        A net without labels has but one, ``features.pkl``.
        """
        for fold in self.columns:
            own = [one for one in extracted if one.part.fold == fold]
            is_labelled = fold.isdecimal() or fold == ALL
            name = f"nets/{fold_name(fold)}.pkl" if is_labelled else "features.pkl"
            if own:
                self._write_pooled(name, own)

    def _write_features(
        self, own: Sequence[Extracted], tests: Sequence[Extracted]
    ) -> None:
        """Write all rows pooled: those of one net each, and the mean over the nets."""
        # A net that saw every label speaks for the test pictures if no other does.
        tests = [one for one in tests if one.part.fold != ALL] or tests
        values = [pooled(one.views, self.statistics) for one in own]
        if tests:
            # Statistics per net, then their mean: the views of an averaged net spread
            # less than those of the one net behind an oof row.
            by_net = [pooled(one.views, self.statistics) for one in tests]
            values.append(mean_of(by_net))
        self._write_pooled(
            "features.pkl",
            [*own, *tests[:1]],
            joined(values),
            folds=[one.part.fold for one in (*own, *tests)],
            failures=self.failures,
        )

    def _write_views(
        self, name: str, extracted: Sequence[Extracted], task: str
    ) -> None:
        columns = self.columns[extracted[0].part.fold]
        inside = [k for k, column in enumerate(columns) if column.task == task]
        self._write(
            name,
            extracted,
            joined([one.views for one in extracted]).columns(inside),
            [columns[k].header() for k in inside],
            {
                "views": list(self.views),
                "nets": self._nets_of(_folds(extracted), task),
            },
        )

    def _write_pooled(
        self,
        name: str,
        extracted: Sequence[Extracted],
        values: Rows | None = None,
        folds: Sequence[str] = (),
        failures: Mapping[str, str] | None = None,
    ) -> None:
        if values is None:
            values = joined([pooled(one.views, self.statistics) for one in extracted])
        columns = self.columns[extracted[0].part.fold]
        self._write(
            name,
            extracted,
            values,
            [column.header(name) for column in columns for name in self.statistics],
            {
                "views": None,
                "pooled_over": list(self.views),
                "nets": self._nets_of(folds or _folds(extracted)),
            },
            failures or {},
        )

    def _write(
        self,
        name: str,
        extracted: Sequence[Extracted],
        values: Rows,
        columns: list[dict[str, Any]],
        header: dict[str, Any],
        failures: Mapping[str, str] | None = None,
    ) -> None:
        """Write the rows of some parts, all together in the order of the ids."""
        rows = np.concatenate([one.part.rows for one in extracted])
        roles = np.repeat(
            [one.part.role for one in extracted],
            [len(one.part.rows) for one in extracted],
        )
        order = np.argsort(self.ids[rows], kind="stable")
        rows, roles = rows[order], roles[order]
        ledger = dict(failures or {})
        for one in extracted:
            ledger |= one.failures
        write_store(
            self.folder / name,
            self.ids[rows].tolist(),
            values.chosen(order),
            {
                **self.header,
                **header,
                "columns": columns,
                "roles": roles.tolist(),
                "folds": np.where(roles == "test", -1, self.fold_of[rows]).tolist(),
                "failures": ledger,
                "n_expected": len(rows) + len(ledger),
            },
        )

    def _nets_of(
        self, folds: Sequence[str], task: str | None = None
    ) -> list[dict[str, Any]]:
        return [
            net
            for net in self.nets
            if str(net["fold"]) in folds and task in (None, net["task"])
        ]


def _folds(extracted: Sequence[Extracted]) -> list[str]:
    return [one.part.fold for one in extracted]

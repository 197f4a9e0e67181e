"""The stores of an extraction: from the values of each part to files by id.

Torch-free.

Shapes: N rows of a part, V = 8 views, F outputs, S statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dihedral import VIEWS
from data_prep.folds import ALL
from features.header import SELECTED
from features.parts import Column, Part
from features.pooling import STATISTICS, pool
from features.store import write_store
from transfer.jobs import fold_name

CHUNK = 4096  # rows pooled at a time: the values lie on the disk


@dataclass(frozen=True)
class Extracted:
    """A part and what its nets gave.

    Attributes:
        part: Which rows.
        values: (N, V, F), possibly mapped from a file.
    """

    part: Part
    values: NDArray[np.float32]

    @cached_property
    def pooled(self) -> NDArray[np.float32]:
        """(N, F * S) statistics of the views."""
        chunks = [
            pool(self.values[start : start + CHUNK]).astype(np.float32, copy=False)
            for start in range(0, len(self.values), CHUNK)
        ]
        return np.concatenate(chunks)


@dataclass(frozen=True)
class Assembly:
    """What all stores of an extraction share.

    Attributes:
        folder: Where they go.
        ids: Ids of the prepared table, by row.
        fold_of: Folds of its rows; -1: none.
        columns: F outputs.
        nets: ``task``, ``fold`` and ``digest`` of each net, by task.
        header: What else their headers say.
        failures: Why rows that one may expect are not there, by id.
    """

    folder: Path
    ids: NDArray[np.str_]
    fold_of: NDArray[np.int64]
    columns: Sequence[Column]
    nets: Sequence[dict[str, Any]]
    header: Mapping[str, Any]
    failures: Mapping[str, str]

    def write(self, extracted: Sequence[Extracted]) -> None:
        """Write the views of each task, the pooled parts, and ``features.pkl``."""
        by_role: dict[str, list[Extracted]] = {}
        for one in extracted:
            by_role.setdefault(one.part.role, []).append(one)
        oof = by_role.get("oof", [])
        # one net made all rows, whether or not labels chose its epoch
        label_free = [*by_role.get("label_free", []), *by_role.get(SELECTED, [])]
        for task in dict.fromkeys(column.task for column in self.columns):
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
                name = f"{folder}/{fold_name(one.part.fold)}.pkl"
                self._write_pooled(name, [one], one.pooled)
        self._write_features([*label_free, *oof], by_role.get("test", []))

    def _write_features(
        self, own: Sequence[Extracted], tests: Sequence[Extracted]
    ) -> None:
        """Write all rows pooled: those of one net each, and the mean over the nets."""
        # A net that saw every label speaks for the test pictures if no other does.
        tests = [one for one in tests if one.part.fold != ALL] or tests
        pooled = [one.pooled for one in own]
        if tests:
            # Statistics per net, then their mean: the views of an averaged net spread
            # less than those of the one net behind an oof row.
            pooled.append(np.mean([one.pooled for one in tests], axis=0))
        self._write_pooled(
            "features.pkl",
            [*own, *tests[:1]],
            np.concatenate(pooled),
            folds=[one.part.fold for one in (*own, *tests)],
            failures=self.failures,
        )

    def _write_views(
        self, name: str, extracted: Sequence[Extracted], task: str
    ) -> None:
        inside = [k for k, column in enumerate(self.columns) if column.task == task]
        values = [_columns(one.values, inside) for one in extracted]
        self._write(
            name,
            extracted,
            values[0] if len(values) == 1 else np.concatenate(values),
            [self.columns[k].header() for k in inside],
            {"views": list(VIEWS), "nets": self._nets_of(_folds(extracted), task)},
        )

    def _write_pooled(
        self,
        name: str,
        extracted: Sequence[Extracted],
        values: NDArray[np.float32],
        folds: Sequence[str] = (),
        failures: Mapping[str, str] | None = None,
    ) -> None:
        self._write(
            name,
            extracted,
            values,
            [column.header(name) for column in self.columns for name in STATISTICS],
            {"views": None, "nets": self._nets_of(folds or _folds(extracted))},
            failures or {},
        )

    def _write(
        self,
        name: str,
        extracted: Sequence[Extracted],
        values: NDArray[np.float32],
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
        if np.any(np.diff(order) != 1):
            values, rows, roles = values[order], rows[order], roles[order]
        failures = dict(failures or {})
        write_store(
            self.folder / name,
            self.ids[rows].tolist(),
            values,
            {
                **self.header,
                **header,
                "columns": columns,
                "roles": roles.tolist(),
                "folds": np.where(roles == "test", -1, self.fold_of[rows]).tolist(),
                "failures": failures,
                "n_expected": len(rows) + len(failures),
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


def _columns(values: NDArray[np.float32], inside: list[int]) -> NDArray[np.float32]:
    """Cut out some columns; all of them without a copy."""
    return values if len(inside) == values.shape[2] else values[..., inside]

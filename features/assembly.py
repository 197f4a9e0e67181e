"""The stores of an extraction: from what the nets gave by role to files by id.

Torch-free.

Shapes: N rows, V views, F outputs, S statistics.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.folds import ALL
from features.header import HELD_OUT, SELECTED
from features.plan import OutputColumn, RoleRows
from features.rows import (
    Rows,
    chosen_outputs,
    chosen_rows,
    joined_rows,
    mean_rows,
    pooled_rows,
)
from features.store import write_store
from transfer.jobs import fold_name


@dataclass(frozen=True, kw_only=True)
class Extracted(RoleRows):
    """The N rows of one fold and role, and what the nets gave.

    Attributes:
        views: (N, V, F).
        failures: Why further rows of the role are not there, by id.
    """

    views: Rows
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What all stores of an extraction share.

    Attributes:
        folder: Where they go.
        ids: Ids of the prepared table, by row.
        folds_of: Of each deal the (N,) folds of its rows; -1: none.
        columns: F outputs of the nets of each fold.
        nets: ``task``, ``fold`` and ``digest`` of each net, by task.
        views: V names.
        statistics: S names.
        header: What else their headers say.
        failures: Why rows that one may expect are not there, by id.
    """

    folder: Path
    ids: NDArray[Any]
    folds_of: Sequence[Ints]
    columns: Mapping[str, Sequence[OutputColumn]]
    nets: Sequence[dict[str, Any]]
    views: tuple[str, ...]
    statistics: tuple[str, ...]
    header: Mapping[str, Any]
    failures: Mapping[str, str]

    def write(self, extracted: Sequence[Extracted]) -> None:
        """Write the views of each task, the pooled roles, and ``features.pkl``."""
        by_role: dict[str, list[Extracted]] = {}
        for of_role in extracted:
            by_role.setdefault(of_role.role, []).append(of_role)
        oof = [of_role for role in HELD_OUT for of_role in by_role.get(role, [])]
        tests = by_role.get("test", [])
        # one net made all rows, whether or not labels chose its epoch
        label_free = [*by_role.get("label_free", []), *by_role.get(SELECTED, [])]
        by_fold = [*tests, *by_role.get("insample", [])]
        columns = next(iter(self.columns.values()))
        for task in dict.fromkeys(column.task for column in columns):
            for ending, of_deal in self._by_deal(oof).items():
                self._write_views(f"views/{task}.oof{ending}.pkl", of_deal, task)
            if label_free:
                self._write_views(f"views/{task}.pkl", label_free, task)
            for of_role in by_fold:
                name = f"views/{task}.{of_role.role}.{fold_name(of_role.fold)}.pkl"
                self._write_views(name, [of_role], task)
        for of_role in by_fold:
            folder = "nets" if of_role.role == "test" else "insample"
            self._write_pooled(f"{folder}/{fold_name(of_role.fold)}.pkl", [of_role])
        if oof and self.has_deals:
            self._write_deals(oof, tests)
        elif label_free or oof or tests:
            single = [*label_free, *oof]
            self._write_features("features.pkl", single, tests, self.failures)

    @property
    def has_deals(self) -> bool:
        """Whether folds are dealt several times."""
        return len(self.folds_of) > 1

    def _by_deal(self, oof: Sequence[Extracted]) -> dict[str, list[Extracted]]:
        """Put what each deal holds out together, by the ending of its files."""
        by_deal: dict[str, list[Extracted]] = {}
        for of_role in oof:
            ending = f".deal{of_role.deal}" if self.has_deals else ""
            by_deal.setdefault(ending, []).append(of_role)
        return by_deal

    def write_inner(self, extracted: Sequence[Extracted]) -> None:
        """Write inner layers, pooled: a store for each fold, whose space is its nets'.

        A net without labels has but one, ``features.pkl``.
        """
        for fold in self.columns:
            of_fold = [of_role for of_role in extracted if of_role.fold == fold]
            is_labelled = fold.isdecimal() or fold == ALL
            name = f"nets/{fold_name(fold)}.pkl" if is_labelled else "features.pkl"
            if of_fold:
                self._write_pooled(name, of_fold)

    def _write_deals(
        self, oof: Sequence[Extracted], tests: Sequence[Extracted]
    ) -> None:
        """Write the mean over the deals, and each as if there were that one alone."""
        mean, of_mean = self._mean_over_deals(oof)
        # a shard without such a row has the store too, which the others' join
        if len(mean.rows) or tests or "shard" in self.header:
            self._write_features(
                "features.pkl", oof, tests, self.failures, mean=(mean, of_mean)
            )
        for ending, of_deal in self._by_deal(oof).items():
            rows = np.concatenate([of_role.rows for of_role in of_deal])
            ids = set(self.ids[rows].tolist())
            self._write_features(
                f"deals/{ending.removeprefix('.')}.pkl",
                of_deal,
                [test for test in tests if test.deal == of_deal[0].deal],
                {id_: why for id_, why in self.failures.items() if id_ not in ids},
            )

    def _write_features(
        self,
        name: str,
        single: Sequence[Extracted],
        tests: Sequence[Extracted],
        failures: Mapping[str, str],
        *,
        mean: tuple[Extracted, Rows] | None = None,
    ) -> None:
        """Write all rows pooled: those of a single net each, and the mean over nets.

        Args:
            name: Of the file.
            single: Rows that have a net each.
            tests: Rows that go through several.
            failures: Why rows that one may expect are not there, by id.
            mean: What takes the place of the first, where a row has a net in each deal.
        """
        # A net that saw every label speaks for the test pictures if no other does.
        tests = [of_role for of_role in tests if of_role.fold != ALL] or tests
        header = self._pooled_header([*single, *tests])
        values: list[Rows] = [self._pooled(of_role) for of_role in single]
        if mean:
            single, values = [mean[0]], [mean[1]]
            header["deals"] = len(self.folds_of)
        if tests:
            # Statistics per net, then their mean: the views of an averaged net spread
            # less than those of the one net behind an oof row.
            values.append(mean_rows([self._pooled(of_role) for of_role in tests]))
        self._write(
            name=name,
            extracted=[*single, *tests[:1]],
            values=joined_rows(values),
            header=header,
            failures=failures,
        )

    def _mean_over_deals(self, oof: Sequence[Extracted]) -> tuple[Extracted, Rows]:
        """Average the pooled rows that a net of each deal held out.

        A row that lacks a net is left out: the mean of the others is another feature.

        Returns:
            The n rows, rising; and their (n, F * S) means.
        """
        by_deal = self._by_deal(oof).values()
        rows_of = [np.concatenate([e.rows for e in of_deal]) for of_deal in by_deal]
        shared = reduce(np.intersect1d, rows_of)
        if len(by_deal) < len(self.folds_of):
            shared = shared[:0]
        terms = []
        for rows, of_deal in zip(rows_of, by_deal, strict=True):
            order = rows.argsort()
            idx = order[np.searchsorted(rows, shared, sorter=order)]
            pooled = joined_rows([self._pooled(of_role) for of_role in of_deal])
            terms.append(chosen_rows(pooled, idx))
        failures = ChainMap(*(dict(of_role.failures) for of_role in oof))
        return replace(oof[0], rows=shared, failures=failures), mean_rows(terms)

    def _write_views(
        self, name: str, extracted: Sequence[Extracted], task: str
    ) -> None:
        columns = self.columns[extracted[0].fold]
        col_idx = [k for k, column in enumerate(columns) if column.task == task]
        views = joined_rows([of_role.views for of_role in extracted])
        header = {
            "views": list(self.views),
            "nets": self._nets_of(extracted, task),
            "columns": [columns[k].header() for k in col_idx],
        }
        self._write(name, extracted, chosen_outputs(views, col_idx), header)

    def _write_pooled(self, name: str, extracted: Sequence[Extracted]) -> None:
        values = joined_rows([self._pooled(of_role) for of_role in extracted])
        self._write(name, extracted, values, self._pooled_header(extracted))

    def _pooled(self, of_role: Extracted) -> Rows:
        return pooled_rows(of_role.views, self.statistics)

    def _pooled_header(self, extracted: Sequence[Extracted]) -> dict[str, Any]:
        columns = self.columns[extracted[0].fold]
        return {
            "views": None,
            "pooled_over": list(self.views),
            "nets": self._nets_of(extracted),
            "columns": [c.header(name) for c in columns for name in self.statistics],
        }

    def _write(
        self,
        name: str,
        extracted: Sequence[Extracted],
        values: Rows,
        header: Mapping[str, Any],
        failures: Mapping[str, str] | None = None,
    ) -> None:
        """Write the rows of some roles, all together in the order of the ids."""
        rows = np.concatenate([of_role.rows for of_role in extracted])
        names = np.array([of_role.role for of_role in extracted], dtype=object)
        roles = names.repeat([len(of_role.rows) for of_role in extracted])
        order = np.argsort(self.ids[rows], kind="stable")
        rows, roles = rows[order], roles[order]
        fold_of = self.folds_of[extracted[0].deal]
        all_failures = dict(failures or {})
        for of_role in extracted:
            all_failures |= of_role.failures
        write_store(
            self.folder / name,
            self.ids[rows].tolist(),
            chosen_rows(values, order),
            {
                **self.header,
                **header,
                "roles": roles,
                "folds": np.where(roles == "test", -1, fold_of[rows]),
                "failures": all_failures,
                "n_expected": len(rows) + len(all_failures),
            },
        )

    def _nets_of(
        self, extracted: Sequence[Extracted], task: str | None = None
    ) -> list[dict[str, Any]]:
        folds = [of_role.fold for of_role in extracted]
        return [
            net
            for net in self.nets
            if str(net["fold"]) in folds and task in (None, net["task"])
        ]

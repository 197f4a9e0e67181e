"""One extraction as the stack reads it: its store, its nets, and what they must be.

Several extractions of the same pictures and folds can be stacked together; the columns
of each but the first begin with the name of its run.

Shapes: N scored rows, C columns, K nets, M pictures that all nets have in common.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError, named
from data_prep.folds import fold_columns
from data_prep.run_folders.damage import intact
from data_prep.run_folders.runs import Finished
from stacking.inputs import leak_guards
from stacking.inputs.data import Column, InSample

if TYPE_CHECKING:
    import pandas as pd

    from features.store import Store

EXTRACTED = "features.extract"
ALL_NET = "all.pkl"  # what the net that saw every label says
# Whether that is because pictures have an up, or to save time, a store cannot say.
UNTURNED = {
    VIEW_SETS["e"]: "The nets were asked about each picture as it is, and not turned.",
    VIEW_SETS["flip"]: "The nets were asked about each picture as it is and mirrored"
    " left-right, and not turned.",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A store of pooled features, checked against the table of the run.

    Attributes:
        folder: Of the finished ``features.extract``.
        store: The pooled rows of everything.
        prefix: What its columns begin with; empty: nothing.
        n_folds: Folds of the deal.
        first_fold: Number of the first of them, by which files are called.
    """

    folder: Path
    store: "Store"
    prefix: str
    n_folds: int
    first_fold: int = 0

    @classmethod
    def open(
        cls,
        extracted: Finished,
        table: "pd.DataFrame",
        metadata: dict[str, Any],
        name: str,
        deal: int = 0,
    ) -> "Source":
        """Open a store and refuse what would leak or does not fit.

        Args:
            extracted: The finished ``features.extract``.
            table: The rows of ``data_prep.prepare``, ids as the index.
            metadata: Those of its record.
            name: Of its run, for the columns; empty: the first.
            deal: Whose nets are read, where folds are dealt several times and nets were
                trained by them.

        Raises:
            UserError: It does not fit.
        """
        leak_guards.check_of_outputs(extracted.folder)
        store = _store_of_deal(extracted.folder, deal)
        leak_guards.check_pooled(store)
        leak_guards.check_finite(store)
        leak_guards.check_not_selected(store)
        is_needed = (table["fold"] >= 0) | table["split"].isin(["test", "unlabelled"])
        leak_guards.check_ids(
            store,
            needed=list(table["id"][is_needed]),
            allowed=list(table["id"]),
            title="the run's rows",
        )
        deals = fold_columns(table)
        # what one net made of all rows is the same for other deals than those stored
        folds = table[deals[deal if deal < len(deals) else 0]]
        leak_guards.check_fold_of_rows(store, folds, metadata["fold_hash"])
        n_folds = metadata["n_folds"] // len(deals)
        prefix = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        return cls(
            folder=extracted.folder,
            store=store,
            prefix=f"{prefix}_" if prefix else "",
            n_folds=n_folds,
            first_fold=deal * n_folds,
        )

    @property
    def is_label_free(self) -> bool:
        """Whether one net that saw no label made all rows."""
        return bool(np.all(self.store.roles == "label_free"))

    def columns(self) -> list[Column]:
        """Give the names and origins of the C columns of the store."""
        return [
            Column(
                name=self.prefix + column["name"],
                task=self.prefix
                + str(column.get("task") or column["name"].partition("__")[0]),
                output="" if column.get("output") is None else str(column["output"]),
                statistic=str(column.get("statistic") or ""),
                is_by_fold=not self.is_label_free,
            )
            for column in self.store.header["columns"]
        ]

    def rows(self, ids: Sequence[str]) -> Floats:
        """Give the (N, C) values of labelled rows, each through its own fold's net."""
        leak_guards.check_roles(self.store, ids, leak_guards.HONEST)
        return self.store.matrix(ids).astype(np.float64)

    def nets(self, ids: Sequence[str]) -> list[Floats]:
        """Read the M common pictures through each fold net, K arrays (M, C).

        One net that saw no label gives one array.
        """
        leak_guards.check_roles(self.store, ids, ("test", "label_free"))
        if not ids:
            return []
        if self.is_label_free:
            return [self.store.matrix(ids).astype(np.float64)]
        return [self._net(f"fold{k}.pkl", str(k), ids) for k in self._folds]

    @property
    def _folds(self) -> range:
        """The folds of the deal, as the run numbers them."""
        return range(self.first_fold, self.first_fold + self.n_folds)

    def of_all(self, ids: Sequence[str]) -> Floats | None:
        """Read them through the net that saw every label, (M, C), if there is one."""
        if not ids or not (self.folder / "nets" / ALL_NET).exists():
            return None
        return self._net(ALL_NET, "all", ids)

    def _net(self, file: str, fold: str, ids: Sequence[str]) -> Floats:
        path = self.folder / "nets" / file
        if not path.exists():
            raise UserError(f"{path} is missing; {leak_guards.EXTRACT}")
        net = opened(path)
        leak_guards.check_through_net(self.store, net, fold, ids)
        leak_guards.check_finite(net)
        return net.matrix(ids).astype(np.float64)

    def in_sample(self, scored: "pd.DataFrame") -> tuple[InSample, ...]:
        """Read each net's outputs on the rows that it was trained on.

        Args:
            scored: The N labelled rows, in the order that positions are to count, with
                the folds of the deal from 0.
        """
        folds = scored["fold"].to_numpy()
        by_fold = []
        for number, fold in enumerate(self._folds):
            path = self.folder / "insample" / f"fold{fold}.pkl"
            if not path.exists():
                raise UserError(f"{path} is missing; {leak_guards.EXTRACT} --insample")
            in_sample = opened(path)
            leak_guards.check_same_columns(self.store, in_sample)
            leak_guards.check_net(in_sample, str(fold))
            leak_guards.check_roles(in_sample, in_sample.ids, ("insample",))
            train_idx = np.flatnonzero(folds != number)
            ids = list(scored["id"].iloc[train_idx])
            if unseen := set(scored["id"][folds == number]) & set(in_sample.ids):
                raise UserError(
                    f"{path}: {named(unseen)} are held out with fold"
                    f" {fold}; its net was not trained on them;"
                    f" {leak_guards.EXTRACT} --insample"
                )
            X = in_sample.matrix(ids).astype(np.float64)
            by_fold.append(InSample(idx=train_idx, X=X))
        return tuple(by_fold)

    def messages(self, ids: Iterable[str]) -> list[str]:
        """Say what a reader should know: what they owe to labels, and in what views."""
        messages = []
        if "oof_selected" in self.store.roles[self.store.rows_of(ids)]:
            messages.append(
                "Out-of-fold, selected: the epoch of each net was chosen on the rows"
                " that it is scored on here, so the scores are somewhat too good."
            )
        if self.store.header.get("selected_with_labels"):
            messages.append(
                "The pretext checkpoint was chosen by a probe that saw labels of all"
                " folds, so the scores are slightly too good."
            )
        if text := UNTURNED.get(tuple(self.store.header.get("pooled_over") or ())):
            messages.append(text)
        return messages


def _store_of_deal(folder: Path, deal: int) -> "Store":
    """Open the rows of a deal: each through the net of it that held the row out.

    ``features.pkl`` has the mean over the deals: its rows are on the scale of no net,
    and their nets do not all hold out the fold that a row is in.

    Raises:
        UserError: No net of the deal was trained.
    """
    store = opened(folder / "features.pkl")
    if "deals" not in store.header:
        return store
    path = folder / "deals" / f"deal{deal}.pkl"
    if not path.exists():
        raise UserError(
            f"{path} is missing: no net holds out the rows of deal {deal};"
            f" {leak_guards.TRAIN}"
        )
    return opened(path)


def opened(path: Path) -> "Store":
    """Open a store of the run, after its bytes were compared with the record."""
    from features.store import open_store

    with intact(path):
        return open_store(path)


def beside(tables: Sequence[Floats]) -> Floats:
    """Put the columns of tables side by side; a single one is not copied."""
    return tables[0] if len(tables) == 1 else np.hstack(tables)


def side_by_side(nets: Sequence[Sequence[Floats]]) -> tuple[Floats, ...]:
    """Put the columns of several sources side by side, net by net.

    A net that saw no label stands beside each fold net of the other sources.

    Args:
        nets: By source, K arrays (M, C), or one.
    """
    n_nets = max(len(of_source) for of_source in nets)
    return tuple(
        beside([of_source[k if len(of_source) > 1 else 0] for of_source in nets])
        for k in range(n_nets)
    )

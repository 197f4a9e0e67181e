"""The single views of the stack's rows, for stackers that read them unpooled.

Shapes: N scored rows, M pictures that all nets have in common, V views, F outputs, K
nets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from features.store import Store
from stacking.cross_fitting import each_fold
from stacking.inputs import leak_guards
from stacking.inputs.alignment import (
    MIN_COMMON,
    MIN_HELD_OUT,
    Alignment,
    learn_alignment,
)
from stacking.inputs.sources import opened

HINT = (
    "the stackers cnn1d and cnn2d read single views; extract them"
    f" {leak_guards.EXTRACT}, or leave these stackers out"
)


@dataclass(frozen=True, kw_only=True)
class Views:
    """Each view of each picture, through the nets.

    Attributes:
        values: (N, V, F) through each row's own fold net, which never saw the row.
        nets: K arrays (M, V, F), the common pictures through each net.
        fold_of_net: (N,) the fold whose net made each row; -1: one net made all.
        alignment: How the nets were brought to one scale, by outputs.
    """

    values: Floats
    nets: tuple[Floats, ...]
    fold_of_net: Ints
    alignment: Alignment

    def aligned(self, method: str, folds: Ints) -> "Views":
        """Bring the nets to one scale; all views of an output move alike.

        Args:
            method: One of ``stacking.inputs.alignment.METHODS``.
            folds: (N,) fold of each row.

        Raises:
            UserError: The views of some rows come from the net of another fold.
        """
        is_wrong = (self.fold_of_net != folds) & (self.fold_of_net >= 0)
        if is_wrong.any():
            raise UserError(
                f"the single views of {int(is_wrong.sum())} rows come from the net of"
                f" another fold than the table's; {leak_guards.EXTRACT}, after"
                " transfer.finetune"
            )
        alike, least = self.nets, MIN_COMMON
        if (not alike or len(alike[0]) < least) and (self.fold_of_net >= 0).all():
            held_out = [val_idx for _, _, val_idx in each_fold(folds)]
            alike, least = tuple(self.values[idx] for idx in held_out), MIN_HELD_OUT
        # The views of a picture are much alike: they do not count as pictures.
        least *= self.values.shape[1]
        by_net = [_rows(net) for net in alike]
        alignment = learn_alignment(by_net, method, least=least)
        if alignment.method == "none":
            return replace(self, alignment=alignment)
        values = np.empty_like(self.values)
        for fold, _, val_idx in each_fold(folds):
            values[val_idx] = apply_to_views(alignment, fold, self.values[val_idx])
        nets = [apply_to_views(alignment, k, net) for k, net in enumerate(self.nets)]
        return replace(self, values=values, nets=tuple(nets), alignment=alignment)


def apply_to_views(alignment: Alignment, net: int, values: Floats) -> Floats:
    """Map (N, V, F) values of one net to the common scale."""
    return alignment.apply(net, _rows(values)).reshape(values.shape)


def read_views(
    folder: Path,
    tasks: Sequence[str],
    ids: Sequence[str],
    common_ids: Sequence[str],
    n_folds: int,
    *,
    deal: int | None = None,
    is_label_free: bool = False,
) -> Views:
    """Read the single views of an extraction, the outputs of its tasks side by side.

    Args:
        folder: Of the finished ``features.extract``.
        tasks: Names, in the order that their outputs shall have.
        ids: N ids of labelled rows.
        common_ids: M ids of the pictures that every net saw as a test.
        n_folds: Folds of the run, or of the deal.
        deal: Which of several deals is read; None: there is one.
        is_label_free: One net that saw no label made all rows.

    Raises:
        UserError: A file is missing, its rows are of the wrong role or net, or the
            files do not fit each other.
    """
    views = folder / "views"
    by_task = [
        _label_free_stores(views / f"{task}.pkl", ids, common_ids)
        if is_label_free
        else _fold_stores(
            stem=views / task,
            ids=ids,
            common_ids=common_ids,
            n_folds=n_folds,
            deal=deal,
        )
        for task in tasks
    ]
    stores = [of_task[0] for of_task in by_task]
    fold_of_net = _fold_of_net(stores[0], ids)
    for store in stores:
        _check_same_views(stores[0], store)
        if (_fold_of_net(store, ids) != fold_of_net).any():
            raise UserError(
                f"{store.path}: its rows were held out with other folds than those of"
                f" {stores[0].path.name}; {leak_guards.EXTRACT}"
            )
    by_net = zip(*(of_task[1:] for of_task in by_task), strict=True)
    nets = tuple(side_by_side(net, common_ids) for net in by_net)
    first = n_folds * (deal or 0)  # the folds of all deals are numbered on
    return Views(
        values=side_by_side(stores, ids),
        nets=nets,
        fold_of_net=np.where(fold_of_net < 0, -1, fold_of_net - first),
        alignment=learn_alignment([_rows(net) for net in nets], "none"),
    )


def _label_free_stores(
    path: Path, ids: Sequence[str], common_ids: Sequence[str]
) -> list[Store]:
    """Open the one store of a net without labels: for labelled and common rows."""
    store, every = _opened(path), [*ids, *common_ids]
    title = "the run's rows"
    leak_guards.check_ids(store, needed=every, allowed=store.ids, title=title)
    leak_guards.check_roles(store, every, ("label_free",))
    return [store, store] if common_ids else [store]


def _fold_stores(
    stem: Path,
    ids: Sequence[str],
    common_ids: Sequence[str],
    n_folds: int,
    deal: int | None,
) -> list[Store]:
    """Open the labelled rows of a task, and the common pictures through each net."""
    ending = "" if deal is None else f".deal{deal}"
    oof = _opened(Path(f"{stem}.oof{ending}.pkl"))
    leak_guards.check_ids(oof, needed=ids, allowed=oof.ids, title="the labelled rows")
    leak_guards.check_roles(oof, ids, leak_guards.HONEST)
    nets = []
    first = n_folds * (deal or 0)
    for fold in range(first, first + n_folds) if common_ids else ():
        net = _opened(Path(f"{stem}.test.fold{fold}.pkl"))
        leak_guards.check_through_net(oof, net, str(fold), common_ids)
        _check_same_views(oof, net)
        nets.append(net)
    return [oof, *nets]


def _opened(path: Path) -> Store:
    if not path.exists():
        raise UserError(f"{path} is missing; {HINT}")
    store = opened(path)
    if store.values.ndim != 3:
        raise UserError(f"{path}: its views are pooled; {HINT}")
    return store


def _check_same_views(store: Store, other_store: Store) -> None:
    views, other_views = store.header["views"], other_store.header["views"]
    if views != other_views:
        raise UserError(
            f"{other_store.path}: its views are {' '.join(other_views)}, and those of"
            f" {store.path.name} {' '.join(views)}; {leak_guards.EXTRACT}"
        )


def _fold_of_net(store: Store, ids: Sequence[str]) -> Ints:
    """Give the fold whose net made each of the rows; -1: one net made all."""
    rows = store.rows_of(ids)
    return np.where(store.roles[rows] == "label_free", -1, store.folds[rows])


def side_by_side(stores: Sequence[Store], ids: Sequence[str]) -> Floats:
    """Give the (n, V, F) views of n rows, the outputs of all stores side by side."""
    values = [store.matrix(ids) for store in stores]
    return np.concatenate(values, axis=2).astype(np.float64)


def _rows(values: Floats) -> Floats:
    """Give each view a row of its own."""
    return values.reshape(-1, values.shape[-1])

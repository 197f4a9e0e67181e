"""Cross-fitting: predictions of rows by models that never saw their labels, twice.

The out-of-fold predictions of fold k come from models that never saw fold k. What is
tuned on them for fold k would still look at its labels, because the models of the
*other* folds learned from it. So each fold's model leaves behind inner out-of-fold
predictions too: those of the rows outside fold k, made by cross-validation among those
rows alone. Whatever is chosen for fold k is chosen on them. Where folds are forward in
time, "outside" means before, less the gap, as for the nets.

Shapes: N rows, n of them outside a fold and m in it, F folds, C columns, K classes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.arrays import Bools, Floats, Ints
from data_prep.tables.units import Unit

N_INNER = 4
LEAST_PAST = 2 * N_INNER  # rows before a fold in time, of which something is learned
MEAN_DECIMALS = 9  # of a standardised mean: beyond them two means are the same


class Model(Protocol):
    """What a stacker has learned."""

    def predict(self, X: Floats) -> Floats:
        """Give the (N, ...) predictions of (N, ...) inputs."""
        ...

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write itself into files that begin with ``stem``; return their names."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """The labelled rows that a stacker is cross-fitted on.

    Attributes:
        X: (N, C) columns; (N,) of a curve of one column, (N, V, F) of V single views.
        y: (N,) numbers, or (N, K) with a 1 in the column of the class.
        folds: (N,) fold of each row, from 0.
        groups: (N,) codes of what no inner fold may tear.
        sample_weight: (N,) how much each row is learned from; 0: not at all.
        train_from: (N,) the first fold that may learn from a row, where folds are
            forward in time; None: every other fold may.
    """

    X: Floats
    y: Floats
    folds: Ints
    groups: Ints
    sample_weight: Floats
    train_from: Ints | None = None

    @property
    def in_time(self) -> bool:
        """Whether a fold is predicted by what was learned from earlier rows alone."""
        return self.train_from is not None

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return int(self.folds.max()) + 1

    @property
    def n_classes(self) -> int:
        """How many classes there are; 0: the target is a number."""
        return self.y.shape[1] if self.y.ndim == 2 else 0

    @property
    def labels(self) -> Floats | Ints:
        """(N,) numbers, or the number of the class."""
        return self.y.argmax(axis=1) if self.n_classes else self.y

    def each_fold(self) -> Iterator[tuple[int, Ints, Ints]]:
        """Give each fold with its ``train_idx`` and ``val_idx``."""
        return each_fold(self.folds, self.train_from)

    def inner_folds(self, train_idx: Ints, seed: int) -> Ints:
        """Give the (n,) inner fold of each of the rows at ``train_idx``."""
        return assign_inner_folds(self.y[train_idx], self.groups[train_idx], seed)


@dataclass(frozen=True, kw_only=True)
class FoldFit:
    """A kind of model fitted around one fold.

    Attributes:
        inner_oof: (n, ...) predictions of the rows outside the fold, each by a model
            that saw neither the row nor the fold.
        val_pred: (m, ...) predictions of the rows of the fold.
        model: What was learned from all rows outside the fold.
        metadata: What was chosen, such as the number of rounds.
    """

    inner_oof: Floats
    val_pred: Floats
    model: Model
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """A kind of model fitted around every fold.

    Attributes:
        oof_pred: (N, ...) predictions by the model that never saw the row's fold.
        inner_oof: (F, N, ...) ``inner_oof[k]`` predicts the rows outside fold k by
            models that saw neither the row nor any of fold k; NaN in fold k.
        models: F models.
        metadata: Of each fold what was chosen, such as the number of rounds.
    """

    oof_pred: Floats
    inner_oof: Floats
    models: list[Model] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)

    def inner(self, fold: int, train_idx: Ints) -> Floats:
        """Give the (n, ...) inner predictions of what a fold's choices are made on.

        Raises:
            RuntimeError: There are none of some rows, which are then not outside.
        """
        pred: Floats = self.inner_oof[fold, train_idx]
        if np.isnan(pred).any():
            raise RuntimeError(f"fold {fold}: rows without an inner prediction")
        return pred

    @classmethod
    def over(
        cls,
        fit: Callable[[int, Ints, Ints], FoldFit],
        rows: TrainingRows,
        n_workers: int = 1,
    ) -> "CrossFit":
        """Fit around every fold.

        Args:
            fit: Takes a fold, ``train_idx`` and ``val_idx``; it looks at no label of
                the fold.
            rows: The rows that the indices count.
            n_workers: Folds fitted at the same time, in threads.
        """
        result = cls.empty(rows.y, rows.folds)
        splits = list(rows.each_fold())
        with ThreadPoolExecutor(min(n_workers, len(splits))) as pool:
            fits = list(pool.map(lambda split: fit(*split), splits))
        for (fold, train_idx, val_idx), fold_fit in zip(splits, fits, strict=True):
            result.inner_oof[fold, train_idx] = fold_fit.inner_oof
            result.oof_pred[val_idx] = fold_fit.val_pred
            result.models.append(fold_fit.model)
            result.metadata.append(fold_fit.metadata)
        return result

    @classmethod
    def of_fixed(cls, pred: Floats, folds: Ints) -> "CrossFit":
        """Wrap (N, ...) predictions that need no fitting, such as a net's own."""
        inner_oof = np.repeat(pred[None], folds.max() + 1, axis=0).astype(np.float64)
        for fold in range(len(inner_oof)):
            inner_oof[fold, folds == fold] = np.nan
        return cls(oof_pred=pred, inner_oof=inner_oof)

    @classmethod
    def empty(cls, y: Floats, folds: Ints) -> "CrossFit":
        """Make room for the predictions of (N, ...) targets."""
        n_folds = int(folds.max()) + 1
        return cls(
            oof_pred=np.full(y.shape, np.nan),
            inner_oof=np.full((n_folds, *y.shape), np.nan),
        )


def each_fold(
    folds: Ints, train_from: Ints | None = None
) -> Iterator[tuple[int, Ints, Ints]]:
    """Give each fold of (N,) ``folds`` with its ``train_idx`` and ``val_idx``.

    In time the former are what its net may learn from too: a row that is held out with
    an early one of its group may come later than the fold. A fold without a past, such
    as fold 0, has all others: its models serve rows that come later, and are not
    scored.

    Args:
        folds: (N,) fold of each row.
        train_from: (N,) first fold that may learn from each; None: not in time.
    """
    for fold in range(int(folds.max()) + 1):
        may_train = folds != fold
        if train_from is not None and has_past(fold, train_from):
            may_train = train_from <= fold
        yield fold, np.flatnonzero(may_train), np.flatnonzero(folds == fold)


def has_past(fold: int, train_from: Ints) -> bool:
    """Tell whether there are rows before a fold to learn something from."""
    return int((train_from <= fold).sum()) >= LEAST_PAST


def without_past(folds: Ints, train_from: Ints | None) -> Bools:
    """Tell of (N,) rows whether their fold has no past; none, if not in time."""
    if train_from is None:
        return np.zeros(len(folds), dtype=np.bool_)
    first = [fold for fold in np.unique(folds) if not has_past(int(fold), train_from)]
    return np.isin(folds, first)


def assign_inner_folds(
    y: Floats, groups: Ints, seed: int, n_folds: int = N_INNER
) -> Ints:
    """Assign rows to inner folds that tear no group and have like targets.

    Groups are lined up by their mean target, and each run of ``n_folds`` of them is
    spread in random order, one to a fold: every fold gets a low, a middle and a high
    group of each stretch.

    Args:
        y: (N,) numbers, or (N, K) one column per class.
        groups: (N,) codes of what stays together.
        seed: Seed of the random orders.
        n_folds: How many inner folds; fewer where there are fewer groups.

    Returns:
        (N,) number of the inner fold.
    """
    rng = np.random.default_rng(seed)
    names, group_codes = np.unique(groups, return_inverse=True)
    n_groups, n_folds = len(names), min(n_folds, len(names))
    numbers = y if y.ndim == 1 else y.argmax(axis=1)
    # in a unit of its own, so that rounding never decides between equal means
    standard = Unit.of(numbers.astype(np.float64)).standardise(numbers)
    sums, sizes = np.bincount(group_codes, standard), np.bincount(group_codes)
    means = np.round(sums / sizes, MEAN_DECIMALS)
    order = np.lexsort((rng.random(n_groups), means))  # by mean, ties at random
    n_runs = -(-n_groups // n_folds)
    fold_of_rank = np.concatenate([rng.permutation(n_folds) for _ in range(n_runs)])
    fold_of_group = np.empty(n_groups, dtype=np.int64)
    fold_of_group[order] = fold_of_rank[:n_groups]
    return fold_of_group[group_codes]

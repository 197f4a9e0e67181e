"""Cross-fitting: predictions of rows by models that never saw their labels, twice.

The outer predictions of fold k come from models that never saw fold k. What is tuned on
them for fold k would still look at its labels, because the models of the *other* folds
learned from it. So each outer model leaves behind inner predictions too: those of the
rows outside fold k, made by cross-validation among those rows alone. Whatever is chosen
for fold k is chosen on them.

Shapes: N rows, n of them outside a fold and m in it, F folds.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import Unit

N_INNER = 4
ALIKE = 9  # decimals of a standardised mean: beyond them two means are the same

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Model(Protocol):
    """What a stacker has learned."""

    def predict(self, X: Floats) -> Floats:
        """Give the (N, ...) predictions of (N, ...) inputs."""
        ...


@dataclass(frozen=True)
class FoldFit:
    """What one kind of model says around one fold.

    Attributes:
        inner: (n, ...) of the rows outside the fold.
        outer: (m, ...) of the rows of the fold.
        model: What was learned from all rows outside the fold.
        note: Facts, such as the number of rounds.
    """

    inner: Floats
    outer: Floats
    model: Model
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CrossFit:
    """What one kind of model says of every row.

    Attributes:
        outer: (N, ...) by the model that never saw the row's fold.
        inner: (F, N, ...) ``inner[k]`` is of the rows outside fold k, by models that
            saw neither the row nor any of fold k; NaN in fold k.
        models: F models.
        notes: F facts, such as the number of rounds.
    """

    outer: Floats
    inner: Floats
    models: list[Model] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def over(
        cls,
        fit: Callable[[int, Ints, Ints], FoldFit],
        target: Floats,
        folds: Ints,
        n_workers: int = 1,
    ) -> "CrossFit":
        """Fit around every fold.

        Args:
            fit: Of a fold, the positions of the other rows and of its own; it looks at
                no label of the fold.
            target: (N, ...).
            folds: (N,) fold of each row.
            n_workers: Folds fitted at the same time, in threads.
        """
        found = cls.empty(target, folds)
        parts = list(outer_folds(folds))
        with ThreadPoolExecutor(min(n_workers, len(parts))) as pool:
            fits = list(pool.map(lambda part: fit(*part), parts))
        for (fold, rest, held_out), one in zip(parts, fits, strict=True):
            found.inner[fold, rest] = one.inner
            found.outer[held_out] = one.outer
            found.models.append(one.model)
            found.notes.append(one.note)
        return found

    @classmethod
    def of_fixed(cls, values: Floats, folds: Ints) -> "CrossFit":
        """Wrap predictions that need no fitting, such as a net's own."""
        inner = np.repeat(values[None], folds.max() + 1, axis=0).astype(np.float64)
        for fold in range(len(inner)):
            inner[fold, folds == fold] = np.nan
        return cls(values, inner)

    @classmethod
    def empty(cls, target: Floats, folds: Ints) -> "CrossFit":
        """Make room for the predictions of a target (N, ...)."""
        outer = np.full(target.shape, np.nan)
        return cls(outer, np.full((int(folds.max()) + 1, *target.shape), np.nan))


def outer_folds(folds: Ints) -> Iterator[tuple[int, Ints, Ints]]:
    """Give each fold with the positions of the other rows and of its own."""
    for fold in range(int(folds.max()) + 1):
        yield fold, np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def deal_inner(
    target: Floats, cv_groups: Ints, seed: int, n_parts: int = N_INNER
) -> Ints:
    """Deal rows into inner parts that tear no cv group and have like targets.

    Cv groups are lined up by their mean target, and each run of ``n_parts`` of them is
    dealt in random order, one to a part.

    Args:
        target: (N, ...) numbers, or one column per class.
        cv_groups: (N,) what stays together.
        seed: Seed of the deal.
        n_parts: How many parts; fewer where there are fewer cv groups.

    Returns:
        (N,) number of the part.
    """
    rng = np.random.default_rng(seed)
    members, rows = np.unique(cv_groups, return_inverse=True)
    n_parts = min(n_parts, len(members))
    ranks = target if target.ndim == 1 else target.argmax(axis=1)
    # in a unit of its own, so that rounding never decides between equal means
    standard = Unit.of(ranks.astype(np.float64)).standardise(ranks)
    means = np.round(np.bincount(rows, standard) / np.bincount(rows), ALIKE)
    order = np.lexsort((rng.random(len(members)), means))
    n_rounds = -(-len(members) // n_parts)
    deal = np.concatenate([rng.permutation(n_parts) for _ in range(n_rounds)])
    part = np.empty(len(members), dtype=np.int64)
    part[order] = deal[: len(members)]
    return part[rows]

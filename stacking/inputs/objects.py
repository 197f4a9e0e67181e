"""Which pictures show which object: what a row of the stack is.

``[data] object`` names things of several pictures, such as houses. Nets see pictures;
from here on a row is an object. Without that key each picture is an object of its own.

Shapes: P pictures, N objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.folds import TRAIN_FROM

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Objects:
    """N objects of P pictures.

    Attributes:
        names: N names, in their order; the id where each picture is one.
        of_picture: (P,) which object each picture shows.
    """

    names: tuple[str, ...] = ()
    of_picture: Ints

    @classmethod
    def of(cls, table: "pd.DataFrame") -> Self:
        """Find the objects of P rows as prepared.

        A picture in no table may be called as an object is: it is another.
        """
        name = "object" if "object" in table else "id"
        keys = list(zip(table[name], table["split"], strict=True))
        number_of = {key: number for number, key in enumerate(sorted(set(keys)))}
        return cls(
            names=tuple(name for name, _ in number_of),
            of_picture=np.array([number_of[key] for key in keys], dtype=np.int64),
        )

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Self:
        """Find the objects of P pictures by the names of those."""
        distinct, of_picture = np.unique(
            np.array(names, dtype=object), return_inverse=True
        )
        return cls(names=tuple(distinct.tolist()), of_picture=of_picture)

    @property
    def are_pictures(self) -> bool:
        """Whether object i is picture i and nothing else."""
        return np.array_equal(self.of_picture, np.arange(len(self.names)))

    @property
    def n_pictures(self) -> Ints:
        """(N,) how many pictures show each."""
        return np.bincount(self.of_picture, minlength=len(self.names))

    @cached_property
    def order(self) -> Ints:
        """(P,) the pictures, those of an object side by side."""
        return np.argsort(self.of_picture, kind="stable")

    @cached_property
    def starts(self) -> Ints:
        """(N,) where the pictures of each begin in ``order``."""
        n_before: Ints = np.cumsum(self.n_pictures) - self.n_pictures
        return n_before

    def mean(self, values: Floats) -> Floats:
        """Average (P, C) values of pictures over those of each object, (N, C)."""
        if self.are_pictures or not len(values):
            return values
        totals = np.add.reduceat(values[self.order], self.starts, axis=0)
        means: Floats = totals / self.n_pictures.reshape(-1, *[1] * (values.ndim - 1))
        return means

    def rows(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Make a row for each object of the P rows it was found in.

        Returns:
            (N) rows: of the first picture of each, but for its id, which is the name of
            the object, the sample weight, which is the mean, and the first fold that
            may learn from it, where folds are in time, which is that of the last.
        """
        first = table.iloc[self.order[self.starts]]
        weights = self.mean(table["weight"].to_numpy(dtype=np.float64))
        rows = first.assign(id=list(self.names), weight=weights)
        if TRAIN_FROM in table:
            of_pictures = table[TRAIN_FROM].to_numpy()[self.order]
            rows[TRAIN_FROM] = np.maximum.reduceat(of_pictures, self.starts)
        return rows.set_index("id", drop=False)

    def take(self, picture_idx: Ints) -> tuple[Self, Ints]:
        """Give the objects of some pictures alone, and the (n,) indices they have here.

        Args:
            picture_idx: (p,) indices of pictures.
        """
        object_idx, of_picture = np.unique(
            self.of_picture[picture_idx], return_inverse=True
        )
        names = tuple(self.names[number] for number in object_idx)
        return type(self)(names=names, of_picture=of_picture), object_idx


def with_labels_of_objects(table: "pd.DataFrame") -> "pd.DataFrame":
    """Give the label of an object to all its pictures; without objects, change nothing.

    Args:
        table: Rows as prepared, with target and maybe object and class_index.
    """
    if "object" not in table:
        return table
    is_train = table["split"] == "train"
    by_object = table[is_train].groupby("object")
    labels = table["target"].copy()
    labels[is_train] = by_object["target"].transform("first")  # that is not missing
    table = table.assign(target=labels)
    if "class_index" in table:
        numbers = table["class_index"].copy()
        numbers[is_train] = by_object["class_index"].transform("max")
        table = table.assign(class_index=numbers)
    return table

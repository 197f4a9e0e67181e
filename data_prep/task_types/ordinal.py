"""Grades: classes with an order, such as poor, fair, good, or the numbers 1 to 5."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError
from data_prep.folds import MAX_CLASSES
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.corn import Corn
from data_prep.settings import Example, nearest
from data_prep.tables.spelling import class_names, class_text
from data_prep.tables.units import origin_of
from data_prep.task_types.base import LabelSource, TargetOutputs, TaskType
from data_prep.task_types.classes import check_several

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Ordinal(TaskType):
    """One of K grades for each row.

    The outputs are the expected grade, in the unit of numbers or counted from 0 of
    names, and the probabilities of the grades.
    """

    name = "ordinal"
    losses = ("corn",)
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ("number", "probabilities")

    grades: Annotated[
        tuple[str, ...],
        "grades from the lowest up; left out: numbers by their size",
        Example(["poor", "fair", "good"]),
    ] = ()
    min_count: Annotated[
        int, "rows that a grade of a column needs; those of rarer ones are left out",
        Ge(2),
    ] = 5  # fmt: skip

    @property
    def activation(self) -> str:
        """The outputs beside the expected grade are probabilities."""
        return "softmax"

    def read_labels(self, source: LabelSource) -> Labels:
        """Read a column of grades, or those of the target."""
        column, is_train = source.column_name(self.column, "target"), source.is_train
        if column == "target":
            if "class_index" not in source.table:
                raise UserError(
                    "the target has too many values to be grades; use kind ="
                    " 'regression'"
                )
            names = class_names(source.metadata["classes"])
            name_idx = source.table["class_index"].to_numpy()
        else:
            names, name_idx = self._read_column(source.table[column], is_train)
        is_number = column == "target" and source.metadata["target_kind"] == "numeric"
        numbers = self._numbers_of(names, is_number=is_number)
        order = np.argsort(numbers)
        has_label = (name_idx >= 0) & is_train
        values = np.where(has_label, numbers[name_idx], 0)
        # the probabilities of the target are known by the numbers of its classes
        suffixes = order if column == "target" else range(len(order))
        return Labels(
            values=values[:, None],
            has_label=has_label,
            outputs=("", *map(str, suffixes)),
            classes=tuple(names[k] for k in order),
            origin=origin_of(values[has_label]),
            grades=tuple(numbers[order].tolist()),
        )

    def _read_column(
        self, cells: "pd.Series[Any]", is_train: Bools
    ) -> tuple[tuple[str, ...], Ints]:
        """Give K names of the grades of a column, and (N,) which; -1 is none."""
        from data_prep.tables.cells import as_numbers, as_texts, unread

        numbers, texts = as_numbers(cells), as_texts(cells)
        if not len(unread(cells[is_train], numbers[is_train])):
            texts = ["" if np.isnan(x) else class_text(float(x)) for x in numbers]
        names, name_idx = np.unique(np.array(texts, dtype=object), return_inverse=True)
        n_rows = np.bincount(name_idx[is_train], minlength=len(names))
        is_grade = (names != "") & (n_rows >= self.min_count)
        if not 2 <= is_grade.sum() <= MAX_CLASSES:
            raise UserError(
                f"{is_grade.sum()} of its values have {self.min_count} rows or more;"
                f" grades are 2 to {MAX_CLASSES}"
            )
        number = np.where(is_grade, is_grade.cumsum() - 1, -1)
        return tuple(names[is_grade].tolist()), number[name_idx]

    def _numbers_of(self, names: Sequence[str], *, is_number: bool) -> Floats:
        """Give the (K,) numbers by which grades are ordered.

        Args:
            names: K of the grades, in any order.
            is_number: The expected grade will be taken for a number of their unit.

        Raises:
            UserError: Names have no order, or not all of them.
        """
        import pandas as pd

        from data_prep.tables.cells import as_numbers

        for grade in self.grades:
            if grade not in names:
                raise UserError(
                    f"grades: there is no {grade!r}; {nearest(grade, names)}"
                )
        for name in names if self.grades else ():
            if name not in self.grades:
                raise UserError(
                    f"grades: {name!r} is missing; list all from the lowest up"
                )
        numbers = as_numbers(pd.Series(list(names), dtype=object))
        if self.grades:
            ranks = np.array([float(self.grades.index(name)) for name in names])
            if not is_number:
                return ranks
            if (np.argsort(ranks) != np.argsort(numbers)).any():
                raise UserError(
                    "grades: the target is a number, and has its order by size; take"
                    " grades out"
                )
        if np.isnan(numbers).any() or len(np.unique(numbers)) < len(names):
            listed = ", ".join(map(repr, names))
            raise UserError(
                f"names such as {names[0]!r} have no order; list them from the lowest"
                f" up: grades = [{listed}]"
            )
        return numbers

    def check_labels(self, labels: Labels, n_folds: int) -> None:
        """Refuse too few labels, and a grade with a single one.

        Raises:
            UserError: Nothing can be learned of a grade, or at all.
        """
        super().check_labels(labels, n_folds)
        y = labels.values[labels.has_label, 0]
        check_several(labels.classes, np.unique(y, return_counts=True)[1])

    def head_loss(self) -> HeadLoss:
        """Give the conditional ordinal regression."""
        return Corn()


TASK_TYPE = Ordinal

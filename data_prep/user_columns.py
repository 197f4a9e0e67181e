"""Columns of the user's table as numbers to learn from: gaps filled, texts as 0 and 1.

Shapes: N rows, C columns made.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.reporting.numerals import four_digits
from data_prep.settings import nearest

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 5  # a rarer text gets no column
MAX_VALUES = 20
DATE = "date"
ROLES = ("id", "target", "group", "object", DATE)
PLAIN = (DATE, "width", "height")  # columns of ours that tell nothing of the target


@dataclass(frozen=True, kw_only=True)
class UserColumn:
    """How one of the user's columns is made numbers.

    Attributes:
        name: What the user calls it.
        median: Of a column of numbers: what stands for a missing one.
        has_gaps: Of a column of numbers: a second column says what is missing.
        values: Of a column of texts: those that have a column.
        outputs: Names of the columns that are made.
    """

    name: str
    median: float | None
    has_gaps: bool
    values: tuple[str, ...]
    outputs: tuple[str, ...]

    def apply(self, cells: "pd.Series[Any]") -> Floats:
        """Make (N, outputs) numbers of N cells."""
        from data_prep.tables.cells import as_texts

        if self.median is None:
            texts = np.array(as_texts(cells), dtype=object)
            is_value = texts[:, None] == np.array(self.values, dtype=object)
            return np.asarray(is_value, dtype=np.float64)
        numbers = _numbers(cells, self.name)
        is_missing = np.isnan(numbers)
        filled = np.where(is_missing, self.median, numbers)
        gaps = [is_missing.astype(np.float64)] if self.has_gaps else []
        return np.column_stack([filled, *gaps])

    def messages(self, cells: "pd.Series[Any]", purpose: str) -> list[str]:
        """Say how many of N cells are empty, and which texts have no column."""
        from data_prep.tables.cells import as_texts

        texts = as_texts(cells)
        of_all = f"of {len(texts)} cells {purpose}"
        messages = []
        n_empty, counts_as = texts.count(""), "as none of its texts"
        if self.median is not None:
            n_empty = int(np.isnan(_numbers(cells, self.name)).sum())
            counts_as = f"as the median, {four_digits(self.median)}"
        if n_empty:
            messages.append(
                f"column {self.name!r}: {n_empty} {of_all} are empty and count"
                f" {counts_as}."
            )
        if self.median is None:
            rare = Counter(text for text in texts if text and text not in self.values)
            if rare:
                shown = ", ".join(f"{t!r} {n} times" for t, n in rare.most_common(3))
                messages.append(
                    f"column {self.name!r}: {rare.total()} {of_all} hold a text that"
                    f" is rare or not there in training ({shown}"
                    f"{' ...' if len(rare) > 3 else ''}); it counts as none of its"
                    f" {len(self.values)} texts."
                )
        return messages

    def check(self, cells: "pd.Series[Any]") -> None:
        """Refuse cells to predict from that hold no number, or none that is one."""
        if self.median is not None and np.isnan(_numbers(cells, self.name)).all():
            raise UserError(_is_empty(cells, self.name, "to predict"))


@dataclass(frozen=True)
class UserColumns:
    """How the user's columns are made numbers; ``asdict`` makes JSON of it.

    Numbers stay as they are: missing ones become the median, and where there are any, a
    column ``NAME_missing`` tells. Each frequent text has a column of 0 and 1; a rare or
    a missing one has 0 in all of them.
    """

    columns: tuple[UserColumn, ...]

    @classmethod
    def learn(
        cls, labelled: "pd.DataFrame", to_predict: "pd.DataFrame", names: Sequence[str]
    ) -> Self:
        """Look at the rows with a label; those to predict are only checked.

        Args:
            labelled: Rows to learn from, of a prepared table.
            to_predict: Rows of the same table; there may be none.
            names: The user's names of the columns, or some of ``PLAIN``.

        Raises:
            UserError: A column is absent, empty in one of the two tables, constant, has
                no frequent text, or holds what is no finite number among numbers.
        """
        taken: set[str] = set()
        columns = []
        for name in dict.fromkeys(names):
            column = _learned(_cells(labelled, name), name, taken)
            if len(to_predict):
                cells = _cells(to_predict, name)
                _check_filled(cells, name, "to predict")
                column.check(cells)
            columns.append(column)
        return cls(tuple(columns))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Restore what ``asdict`` and JSON made."""
        tuples = ("values", "outputs")
        columns = (
            column | {name: tuple(column[name]) for name in tuples}
            for column in stored["columns"]
        )
        return cls(tuple(UserColumn(**column) for column in columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns made: letters, digits and ``_``, no two alike."""
        return tuple(name for column in self.columns for name in column.outputs)

    def apply(self, table: "pd.DataFrame") -> Floats:
        """Make (N, C) numbers of N rows, of a prepared table or one of the user's.

        Raises:
            UserError: A column is absent or holds what is no finite number.
        """
        return np.hstack([c.apply(_cells(table, c.name)) for c in self.columns])

    def messages(self, table: "pd.DataFrame", purpose: str) -> list[str]:
        """Say what in a table the columns tell nothing of: gaps, and texts without one.

        Args:
            table: N rows, as for ``apply``.
            purpose: Of the rows, such as ``to predict``.
        """
        return [
            text
            for column in self.columns
            for text in column.messages(_cells(table, column.name), purpose)
        ]


def check_roles(names: Iterable[str], metadata: Mapping[str, Any]) -> None:
    """Refuse columns that ``[data]`` says something else of, before they are looked up.

    Args:
        names: The user's names of the columns.
        metadata: Of an outlook; its ``NAME_column`` is the user's name of a role.

    Raises:
        UserError: One is the id, the target, the group, or the date by another name.
    """
    roles = {metadata.get(f"{role}_column"): role for role in ROLES}
    for name in names:
        role = roles.get(name)
        if role == DATE and name != DATE:
            raise UserError(f"columns = {name!r} is [data] date; write {DATE!r} for it")
        if role and role != DATE:
            raise UserError(
                f"columns = {name!r} is [data] {role}, which nothing is learned from;"
                " take it out of columns"
            )


def _learned(cells: "pd.Series[Any]", name: str, taken: set[str]) -> UserColumn:
    from data_prep.tables.cells import as_texts, is_missing, with_plain_numbers

    _check_filled(cells, name, "to learn from")
    filled = [value for value in with_plain_numbers(cells) if not is_missing(value)]
    has_gaps = len(filled) < len(cells)
    if not has_gaps and len({str(value) for value in filled}) == 1:
        raise UserError(
            f"column {name!r} is {str(filled[0])!r} in all {len(filled)} rows to learn"
            " from and tells nothing; take it out of columns"
        )
    if all(isinstance(value, (int, float, np.number, np.bool_)) for value in filled):
        median = float(np.nanmedian(_numbers(cells, name)))
        outputs = [name, f"{name}_missing"] if has_gaps else [name]
        return UserColumn(
            name=name,
            median=median,
            has_gaps=has_gaps,
            values=(),
            outputs=tuple(_unique(outputs, taken)),
        )
    n_cells = Counter(text for text in as_texts(cells) if text)
    _refuse_near_numbers(n_cells, name)
    frequent = [text for text, n in n_cells.items() if n >= MIN_ROWS]
    values = tuple(
        sorted(frequent, key=lambda text: (-n_cells[text], text))[:MAX_VALUES]
    )
    if not values:
        raise UserError(
            f"column {name!r} has {len(n_cells)} texts and none in {MIN_ROWS} rows or"
            " more; take it out of columns, or join the rare ones"
        )
    return UserColumn(
        name=name,
        median=None,
        has_gaps=False,
        values=values,
        outputs=tuple(_unique([f"{name}_{value}" for value in values], taken)),
    )


def _refuse_near_numbers(texts: Collection[str], name: str) -> None:
    """Refuse ``12 cm``: as texts they would tell less than what is meant."""
    from data_prep.tables.lookalikes import near_number

    nearly = [(text, way) for text in texts if (way := near_number(text))]
    if len(nearly) > len(texts) / 2:
        text, (spelling, remedy) = nearly[0]
        raise UserError(
            f"column {name!r}: {len(nearly)} of its {len(texts)} texts are numbers"
            f" written with {spelling} ({text!r} ...); {remedy}, or take the column out"
            " of columns"
        )


def _cells(table: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    """Find a column of a prepared table, or of a new one as the user has it."""
    from data_prep.tables.user_tables import GIVEN

    if GIVEN + name in table:
        return table[GIVEN + name]
    is_prepared = "image_row" in table
    plain_names = [
        str(column) for column in table if column in PLAIN or not is_prepared
    ]
    if name in plain_names:
        return table[name]
    given_names = [str(column) for column in table if str(column).startswith(GIVEN)]
    names = [*plain_names, *(column.removeprefix(GIVEN) for column in given_names)]
    raise UserError(f"columns: there is no column {name!r}; {nearest(name, names)}")


def _check_filled(cells: "pd.Series[Any]", name: str, purpose: str) -> None:
    from data_prep.tables.cells import is_missing

    if all(is_missing(value) for value in cells):
        raise UserError(_is_empty(cells, name, purpose))


def _is_empty(cells: "pd.Series[Any]", name: str, purpose: str) -> str:
    return (
        f"column {name!r} is empty in all {len(cells)} rows {purpose}; fill it in that"
        " table, or take it out of columns"
    )


def _numbers(cells: "pd.Series[Any]", name: str) -> Floats:
    """Read numbers; NaN where a cell is missing."""
    from data_prep.tables.cells import as_numbers, unread

    numbers = as_numbers(cells)
    if len(wrong := unread(cells, numbers)):
        cell = f"{cells.index.name or 'row'} {wrong.index[0]}"
        raise UserError(
            f"column {name!r}: {len(wrong)} of {len(cells)} values are no finite number"
            f" ({wrong.iloc[0]!r} in {cell} ...); correct them, or leave the cells"
            " empty"
        )
    return numbers


def _unique(texts: Iterable[str], taken: set[str]) -> Iterator[str]:
    """Make names of letters, digits and ``_``, and number those that are taken."""
    for text in texts:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "column"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        yield name

"""Columns for a model that knows no net: colours, tiny pictures, and the user's own.

What a stack is worth shows beside a model of such columns: much of what a net seems to
have learned is often the colour of the paper.

Shapes: N rows, S side of a picture in pixels, C columns.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.reporting.numerals import four_digits
from data_prep.settings import nearest

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 200_000  # values of pixels at a time; more leave the cache: half as fast
SHADES = 4  # per channel: 64 colours in all
MIN_ROWS = 5  # a rarer text gets no column
MAX_VALUES = 20
PLAIN = ("date", "width", "height")  # columns of ours that tell nothing of the target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]


def tiny_columns(pixels: Pixels, rows: Ints, side: int = 12) -> NDArray[np.float32]:
    """Describe pictures by what is seen from far away.

    Args:
        pixels: (n, S, S, 3) all pictures, mapped from a file or in memory.
        rows: (N,) which of them.
        side: Of the tiny picture.

    Returns:
        (N, 3 side² + 64 + 6): the means of side x side areas in reading order, red,
        green and blue of each, in grey levels; the shares of 64 colours; the mean and
        the standard deviation of each channel.
    """
    cover = _cover(pixels.shape[1], side)
    found = np.empty((len(rows), 3 * side**2 + SHADES**3 + 6), dtype=np.float32)
    n_at_once = max(1, CHUNK // pixels[0].size)
    for start in range(0, len(rows), n_at_once):
        part = slice(start, start + n_at_once)
        found[part] = _described(pixels[rows[part]], cover)
    return found


def _cover(side_px: int, side: int) -> NDArray[np.float32]:
    """Give (side, side_px) how much of each pixel lies in each of the areas."""
    edges = np.arange(side + 1) * side_px / side
    starts = np.arange(side_px)
    ends = np.minimum(edges[1:, None], starts + 1)
    inside: Floats = np.maximum(ends - np.maximum(edges[:-1, None], starts), 0)
    return inside.astype(np.float32)


def _described(pictures: Pixels, cover: NDArray[np.float32]) -> NDArray[np.float32]:
    n, side_px = pictures.shape[:2]
    shade = pictures // (256 // SHADES)
    colour = (shade[..., 0] * SHADES + shade[..., 1]) * SHADES + shade[..., 2]
    counts = [np.bincount(one.ravel(), minlength=SHADES**3) for one in colour]
    planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)
    areas = cover @ planes @ cover.T / (side_px / len(cover)) ** 2
    channels = planes.reshape(n, 3, side_px**2)
    return np.concatenate(
        [
            areas.transpose(0, 2, 3, 1).reshape(n, -1),
            np.array(counts, dtype=np.float32) / side_px**2,
            channels.mean(axis=2),
            channels.std(axis=2),
        ],
        axis=1,
    )


@dataclass(frozen=True)
class OwnColumn:
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

    def notes(self, cells: "pd.Series[Any]", purpose: str) -> list[str]:
        """Say how many of N cells are empty, and which texts have no column."""
        from data_prep.tables.cells import as_texts

        texts = as_texts(cells)
        of_all = f"of {len(texts)} cells {purpose}"
        notes = []
        n_empty, what = texts.count(""), "as none of its texts"
        if self.median is not None:
            n_empty = int(np.isnan(_numbers(cells, self.name)).sum())
            what = f"as the median, {four_digits(self.median)}"
        if n_empty:
            notes.append(
                f"column {self.name!r}: {n_empty} {of_all} are empty and count {what}."
            )
        if self.median is None:
            others = Counter(text for text in texts if text and text not in self.values)
            if others:
                shown = ", ".join(f"{t!r} {n} times" for t, n in others.most_common(3))
                notes.append(
                    f"column {self.name!r}: {others.total()} {of_all} hold a text that"
                    f" is rare or not there in training ({shown}"
                    f"{' ...' if len(others) > 3 else ''}); it counts as none of its"
                    f" {len(self.values)} texts."
                )
        return notes

    def check(self, cells: "pd.Series[Any]") -> None:
        """Refuse cells to predict from that hold no number, or none that is one."""
        if self.median is not None and np.isnan(_numbers(cells, self.name)).all():
            raise UserError(_is_empty(cells, self.name, "to predict"))


@dataclass(frozen=True)
class OwnColumns:
    """How the user's columns are made numbers; ``asdict`` makes JSON of it.

    Numbers stay as they are: missing ones become the median, and where there are any, a
    column ``NAME_missing`` tells. Each frequent text has a column of 0 and 1; a rare or
    a missing one has 0 in all of them.
    """

    columns: tuple[OwnColumn, ...]

    @classmethod
    def learn(
        cls, labelled: "pd.DataFrame", asked: "pd.DataFrame", names: Sequence[str]
    ) -> Self:
        """Look at the rows with a label; the others are only checked.

        Args:
            labelled: Rows to learn from, of a prepared table.
            asked: Rows to predict; there may be none.
            names: The user's names of the columns, or some of ``PLAIN``.

        Raises:
            UserError: A column is absent, empty in one of the two tables, constant, has
                no frequent text, or holds what is no finite number among numbers.
        """
        taken: set[str] = set()
        columns = []
        for name in dict.fromkeys(names):
            column = _learned(_cells(labelled, name), name, taken)
            if len(asked):
                cells = _cells(asked, name)
                _check_given(cells, name, "to predict")
                column.check(cells)
            columns.append(column)
        return cls(tuple(columns))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Restore what ``asdict`` and JSON made."""
        columns = []
        for one in found["columns"]:
            lists: dict[str, Any] = {k: tuple(one[k]) for k in ("values", "outputs")}
            columns.append(OwnColumn(**{**one, **lists}))
        return cls(tuple(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns made: letters, digits and ``_``, no two alike."""
        return tuple(name for column in self.columns for name in column.outputs)

    def apply(self, table: "pd.DataFrame") -> Floats:
        """Make (N, C) numbers of N rows, of a prepared table or one of the user's.

        Raises:
            UserError: A column is absent or holds what is no finite number.
        """
        made = [one.apply(_cells(table, one.name)) for one in self.columns]
        return np.concatenate(made, axis=1)

    def notes(self, table: "pd.DataFrame", purpose: str) -> list[str]:
        """Say what in a table the columns tell nothing of: gaps, and texts without one.

        Args:
            table: N rows, as for ``apply``.
            purpose: Of the rows, such as ``to predict``.
        """
        return [
            note
            for one in self.columns
            for note in one.notes(_cells(table, one.name), purpose)
        ]


def _learned(cells: "pd.Series[Any]", name: str, taken: set[str]) -> OwnColumn:
    from data_prep.tables.cells import as_texts, is_missing, with_plain_numbers

    _check_given(cells, name, "to learn from")
    given = [value for value in with_plain_numbers(cells) if not is_missing(value)]
    has_gaps = len(given) < len(cells)
    if not has_gaps and len({str(value) for value in given}) == 1:
        raise UserError(
            f"column {name!r} is {str(given[0])!r} in all {len(given)} rows to learn"
            " from and tells nothing; take it out of columns"
        )
    if all(isinstance(value, (int, float, np.number, np.bool_)) for value in given):
        median = float(np.nanmedian(_numbers(cells, name)))
        wanted = [name, f"{name}_missing"] if has_gaps else [name]
        return OwnColumn(name, median, has_gaps, (), tuple(_unique(wanted, taken)))
    counts = Counter(text for text in as_texts(cells) if text)
    _refuse_near_numbers(counts, name)
    frequent = [text for text, n in counts.items() if n >= MIN_ROWS]
    values = tuple(
        sorted(frequent, key=lambda text: (-counts[text], text))[:MAX_VALUES]
    )
    if not values:
        raise UserError(
            f"column {name!r} has {len(counts)} texts and none in {MIN_ROWS} rows or"
            " more; take it out of columns, or join the rare ones"
        )
    outputs = _unique([f"{name}_{value}" for value in values], taken)
    return OwnColumn(name, None, False, values, tuple(outputs))


def _refuse_near_numbers(counts: Mapping[str, int], name: str) -> None:
    """Refuse ``12 cm``: as texts they would tell less than what is meant."""
    from data_prep.tables.lookalikes import near_number

    nearly = [(text, way) for text in counts if (way := near_number(text))]
    if len(nearly) > len(counts) / 2:
        text, (how, remedy) = nearly[0]
        raise UserError(
            f"column {name!r}: {len(nearly)} of its {len(counts)} texts are numbers"
            f" written with {how} ({text!r} ...); {remedy}, or take the column out of"
            " columns"
        )


def _cells(table: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    """Find a column of a prepared table, or of a new one as the user has it."""
    from data_prep.tables.user_tables import GIVEN

    if GIVEN + name in table:
        return table[GIVEN + name]
    is_prepared = "image_row" in table
    ours = [str(one) for one in table if one in PLAIN or not is_prepared]
    if name in ours:
        return table[name]
    given = [str(one) for one in table if str(one).startswith(GIVEN)]
    known = [*ours, *(one.removeprefix(GIVEN) for one in given)]
    raise UserError(f"columns: there is no column {name!r}; {nearest(name, known)}")


def _check_given(cells: "pd.Series[Any]", name: str, purpose: str) -> None:
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
        place = f"{cells.index.name or 'row'} {wrong.index[0]}"
        raise UserError(
            f"column {name!r}: {len(wrong)} of {len(cells)} values are no finite number"
            f" ({wrong.iloc[0]!r} in {place} ...); correct them, or leave the cells"
            " empty"
        )
    return numbers


def _unique(wanted: Iterable[str], taken: set[str]) -> Iterator[str]:
    """Make names of letters, digits and ``_``, and number those that are taken."""
    for text in wanted:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "column"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        yield name

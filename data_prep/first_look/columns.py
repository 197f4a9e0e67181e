"""What a column of a table is, seen from its cells: names, numbers, dates.

Shapes: N rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.folds import MAX_CLASSES

if TYPE_CHECKING:
    import pandas as pd

YEAR_NAMES = frozenset(["year", "date", "datetime", "time", "timestamp", "created"])
LEAST_ROWS = 5  # of a class, as data_prep.task_types.classes takes it
FIRST_YEAR, LAST_YEAR = 1000, 2100  # between which a number may be a year


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column, as its N cells look.

    Attributes:
        name: Its name in the table.
        n_rows: Cells that hold anything.
        n_values: How many different ones.
        n_shared: Values that several rows have.
        n_frequent: Values that ``LEAST_ROWS`` rows have.
        is_number: Every one is a number.
        is_whole: Every one is a whole number.
        is_date: They are dates, or years by their name and size.
        low: The smallest value, as text, of numbers by size, of dates by time.
        high: The largest.
    """

    name: str
    n_rows: int
    n_values: int
    n_shared: int
    n_frequent: int
    is_number: bool
    is_whole: bool
    is_date: bool
    low: str
    high: str

    @property
    def is_few_whole_numbers(self) -> bool:
        """Whether nobody but the user knows if it is numbers or names of classes."""
        return self.is_whole and not self.is_date and 2 <= self.n_values <= MAX_CLASSES

    @property
    def is_class_like(self) -> bool:
        """Whether it is words of which each has several rows."""
        is_words = not self.is_number and not self.is_date
        return is_words and self.n_values <= MAX_CLASSES and self.n_frequent >= 2

    @property
    def is_joining(self) -> bool:
        """Whether it names many things that have several rows each."""
        is_words = not self.is_number and not self.is_date
        return is_words and self.n_values > MAX_CLASSES and self.n_repeated > 1

    @property
    def n_repeated(self) -> float:
        """Rows of a value, on average."""
        return self.n_rows / max(1, self.n_values)

    @property
    def text(self) -> str:
        """Describe it, for a list to choose from."""
        if self.is_date:
            return f"dates, {self.low} to {self.high}"
        if self.is_number:
            noun = "whole numbers" if self.is_whole else "numbers"
            return f"{self.n_values:,} {noun}, {self.low} to {self.high}"
        return f"{self.n_values:,} texts"


def look_at(cells: "pd.Series[Any]", name: str) -> Column:
    """Look at the (N,) cells of a column."""
    import pandas as pd

    from data_prep.tables.cells import NO_NUMBER, as_numbers, as_texts, is_truth
    from data_prep.tables.dates import as_years

    texts = np.array(as_texts(cells), dtype=object)
    numbers = as_numbers(cells)
    is_empty = np.array([text in NO_NUMBER for text in texts], dtype=bool)
    is_number = bool((np.isfinite(numbers) | is_empty).all() and not is_empty.all())
    is_number = is_number and not is_truth(cells)
    present = texts[~is_empty] if is_number else texts[texts != ""]
    counts = pd.Series(present, dtype=object).value_counts()
    values = numbers[~is_empty] if is_number else np.empty(0)
    if is_number:
        is_named = name.lower() in YEAR_NAMES or name.lower().endswith("year")
        in_range = (values >= FIRST_YEAR) & (values <= LAST_YEAR)
        is_date = is_named and bool(in_range.all())
        ends = [f"{value:.12g}" for value in (values.min(), values.max())]
    else:
        head = pd.Series(counts.index[:50], dtype=object)
        is_date = bool(len(counts)) and not as_years(head)[1]
        years, unread = as_years(cells) if is_date else (np.empty(0), [""])
        is_date = is_date and not unread
        ordered = texts[np.argsort(years)] if is_date else np.sort(present)
        ordered = ordered[: np.isfinite(years).sum()] if is_date else ordered
        ends = [str(ordered[0]), str(ordered[-1])] if len(ordered) else ["", ""]
    return Column(
        name=name,
        n_rows=len(present),
        n_values=len(counts),
        n_shared=int((counts > 1).sum()),
        n_frequent=int((counts >= LEAST_ROWS).sum()),
        is_number=is_number,
        is_whole=is_number and bool((values == np.round(values)).all()),
        is_date=is_date,
        low=ends[0],
        high=ends[1],
    )

"""Messages about a column: values that cannot be used, and how others were read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from data_prep.tables.cells import (
    GROUPED,
    NO_NUMBER,
    as_texts,
    separator_of,
    with_points,
)
from data_prep.tables.lookalikes import alike_text, misspelled_text

NAMELESS = frozenset(("-", "--", "?", "n.a.", "none", "unknown", "missing"))
LONGEST = 60  # characters of a cell that are shown


def some(values: Sequence[str], noun: str) -> str:
    """Count the values and show three: ``5 ids ('a', 'b', 'c' ...) are``."""
    different = list(dict.fromkeys(values))
    shown = ", ".join(
        repr(value if len(value) <= LONGEST else f"{value[:LONGEST]}...")
        for value in different[:3]
    )
    more = " ..." if len(different) > 3 else ""
    if len(values) == 1:
        return f"1 {noun} ({shown}) is"
    return f"{len(values)} {noun}s ({shown}{more}) are"


def some_unread(
    texts: "pd.Series[Any]", fault: str, more: str = "", noun: str = "value"
) -> str:
    """Count texts that cannot be used and say where the first stands.

    Args:
        texts: The texts; the index is the line or row of each.
        fault: What is wrong with them, such as ``no year or date``.
        more: Further words on it.
        noun: What they are counted as.
    """
    counted = some(list(texts), noun)
    location = f"the first in {texts.index.name or 'row'} {texts.index[0]}"
    return f"{counted} {fault}{more}, {location}"


def no_dates(name: str, texts: "pd.Series[Any]") -> str:
    """Say which cells of a column are no dates, where, and how to write them.

    Args:
        name: Name of the column.
        texts: Texts of the cells; the index is the line or row of each.
    """
    return (
        f"column {name!r}: {some_unread(texts, 'no year or date')}; write 1890, 1890-05"
        " or 1890-05-31, or leave the cell empty"
    )


def near_text(texts: "pd.Series[Any]", nearly: "pd.Series[Any]") -> str:
    """Say which texts are nearly numbers, where, and how to write them.

    Args:
        texts: Texts that are no numbers; the index is the line or row of each.
        nearly: What ``near_number`` gives of those that nearly are numbers.
    """
    difference, remedy = nearly.iloc[0]
    is_alike = [pair == (difference, remedy) for pair in nearly]
    alike = texts[nearly.index[is_alike]]
    counted = some_unread(alike, f"written with {difference}")
    return (
        f"{counted}; {remedy}, or leave the cells"
        ' empty; if they are names, say target_kind = "classes" in [data]'
    )


def note_missing(
    role: str, column: "pd.Series[Any]", is_missing: NDArray[Any]
) -> list[str]:
    """Count the rows without a value, by the texts that were read so.

    Example:
        >>> import numpy as np
        >>> cells = pd.Series(["1890", None, "NA"], dtype=object)
        >>> note_missing("date", cells, np.array([False, True, True]))
        ["date: 2 rows without (1 empty, 1 'NA')"]
    """
    if not is_missing.any():
        return []
    n_of = Counter(as_texts(column[is_missing]))
    spellings = [f"{n_of.pop('')} empty"] if "" in n_of else []
    spellings += [f"{n} {text!r}" for text, n in n_of.most_common()]
    n = int(is_missing.sum())
    return [f"{role}: {n:,} row{'s' * (n > 1)} without ({', '.join(spellings)})"]


def note_names(role: str, names: Iterable[str]) -> list[str]:
    """Tell of names that are nearly the same, and of those that might mean none."""
    n_of = Counter(names)
    n_of.pop("", None)
    notes = []
    odd = [name for name in n_of if name in NO_NUMBER or name.casefold() in NAMELESS]
    if odd:
        shown = ", ".join(f"{name!r} ({n_of[name]:,})" for name in sorted(odd))
        notes.append(
            f"{role}: {shown}, taken as a name; where it is to say that there is none,"
            " leave the cell empty"
        )
    texts = filter(None, [alike_text(n_of), misspelled_text(n_of)])
    return notes + [f"{role}: {text}" for text in texts]


def note_decimals(role: str, column: "pd.Series[Any]") -> list[str]:
    """Tell where commas were read as decimal points, and points might part thousands.

    Example:
        >>> cells = pd.Series(["1,5", "2"], dtype=object)
        >>> cells.attrs["separator"] = ";"
        >>> note_decimals("target", cells)
        ["target: 1 number with a decimal comma ('1,5' is 1.5)"]
    """
    if separator_of(column) == "," or column.dtype != object:
        return []
    texts = as_texts(column)
    points = with_points(texts, separator_of(column))
    changed = [pair for pair in zip(texts, points, strict=True) if pair[0] != pair[1]]
    if changed:
        text, point = changed[0]
        n = f"{len(changed):,} number{'s' * (len(changed) > 1)}"
        return [f"{role}: {n} with a decimal comma ({text!r} is {point})"]
    pointed = [text for text in texts if "." in text]
    if pointed and all(map(GROUPED.fullmatch, pointed)):
        return [
            f"{role}: {pointed[0]!r} is read with a decimal point; if the points part"
            " thousands, take them out"
        ]
    return []

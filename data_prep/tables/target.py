"""Whether the target is numbers or classes, and what is wrong with it.

It is numbers if every cell is one. True and false are classes, and so are numbers that
``[data] target_kind`` declares names.

Shapes: N rows.
"""

import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from data_prep.folds import MAX_CLASSES
from data_prep.tables.cells import as_numbers, as_texts, is_truth, unread
from data_prep.tables.column_notes import near_text, some_unread
from data_prep.tables.lookalikes import near_number

TargetKind = Literal["numeric", "classes"]


def read_target(
    column: "pd.Series[Any]", name: str, declared: str | None = None
) -> tuple["pd.Series[Any]", TargetKind, str]:
    """Decide whether the target is numbers or classes; say what is wrong with it.

    Args:
        column: (N,) cells.
        name: Name of the column.
        declared: ``[data] target_kind``, ``"numbers"`` or ``"classes"``; None: classes
            if there is a text.

    Returns:
        (N,) float64 numbers or texts, missing where the cell is; which of them; and
        what is wrong, empty if nothing is.
    """
    numbers = as_numbers(column)
    # true and false are classes, however the file holds them
    if declared == "classes" or (declared is None and is_truth(column)):
        numbers[:] = math.nan
    words = unread(column, numbers)
    nearly = words.map(near_number).dropna() if declared != "classes" else words[:0]
    target_kind: TargetKind = "classes" if len(words) else "numeric"
    target: pd.Series[Any] = pd.Series(numbers, index=column.index)
    if target_kind == "classes":
        texts = pd.Series(as_texts(column), index=column.index, dtype=object)
        target = texts.where(texts != "", None)
    n_words, n_numbers = len(words), int(np.isfinite(numbers).sum())
    n_present, n_distinct = int(target.notna().sum()), target.nunique()
    location = f"column {name!r}"
    problem = ""
    if not n_words and not n_numbers:
        problem = f"{location} is empty; fill it, or take target out of [data]"
    elif len(nearly) and n_numbers + len(nearly) > n_words - len(nearly):
        problem = f"{location}: {near_text(words, nearly)}"
    elif n_words and declared == "numbers":
        declaration = ', and [data] target_kind = "numbers"'
        counted = some_unread(words, "no finite number", declaration)
        problem = f"{location}: {counted}; correct them, or leave the cells empty"
    elif 0 < n_words < n_numbers:
        counted = some_unread(words, "no finite number", f", while {n_numbers} are")
        problem = (
            f"{location}: {counted}; correct them, leave the cells empty, or write"
            " every class as a word"
        )
    elif n_distinct == 1:
        problem = (
            f"{location} has the one value {as_texts(column[target.notna()])[0]!r} in"
            f" all {n_present} rows that have any; there is nothing to tell apart"
        )
    elif n_words and n_distinct > max(MAX_CLASSES, n_present / 2):
        remedy = ', take target_kind = "classes" out of [data]' if declared else ""
        problem = (
            f"{location} has {n_distinct} different texts in {n_present} rows, too many"
            f" to be classes; name another column{remedy}, or join the rare ones"
        )
    return target, target_kind, problem

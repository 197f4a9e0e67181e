"""What the target is: numbers or classes, and what is wrong with it.

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
from data_prep.tables.column_notes import (
    near_text,
    note_decimals,
    note_missing,
    note_names,
    some_unread,
)
from data_prep.tables.lookalikes import near_number

TargetKind = Literal["numeric", "classes"]


def read_target(
    column: "pd.Series[Any]", name: str, declared: str | None = None
) -> tuple["pd.Series[Any]", TargetKind, list[str]]:
    """Decide whether the target is numbers or classes; say what is wrong with it.

    Args:
        column: Its cells.
        name: Its name.
        declared: What it is said to be, ``"numbers"`` or ``"classes"``; None: classes
            if there is a text.

    Returns:
        (N,) float64 numbers or texts, missing where not given; which of them; and what
        is wrong.
    """
    where = f"column {name!r}"
    numbers = as_numbers(column)
    # true and false are classes, however the file holds them
    if declared == "classes" or (declared is None and is_truth(column)):
        numbers[:] = math.nan
    wrong = unread(column, numbers)
    nearly = wrong.map(near_number).dropna() if declared != "classes" else wrong[:0]
    n_text, n_number = len(wrong), int(np.isfinite(numbers).sum())
    kind: TargetKind = "classes" if n_text else "numeric"
    target: pd.Series[Any] = pd.Series(numbers, index=column.index)
    if kind == "classes":
        texts = pd.Series(as_texts(column), index=column.index, dtype=object)
        target = texts.where(texts != "", None)
    n_given, n_values = int(target.notna().sum()), target.nunique()
    problem = None
    if not n_text and not n_number:
        problem = f"{where} is empty; fill it, or take target out of [data]"
    elif len(nearly) and n_number + len(nearly) > n_text - len(nearly):
        problem = f"{where}: {near_text(wrong, nearly)}"
    elif n_text and declared == "numbers":
        declaration = ', and [data] target_kind = "numbers"'
        counted = some_unread(wrong, "no finite number", declaration)
        problem = f"{where}: {counted}; correct them, or leave the cells empty"
    elif 0 < n_text < n_number:
        counted = some_unread(wrong, "no finite number", f", while {n_number} are")
        problem = (
            f"{where}: {counted}; correct them, leave the cells empty, or write every"
            " class as a word"
        )
    elif n_values == 1:
        problem = (
            f"{where} has the one value {as_texts(column[target.notna()])[0]!r} in all"
            f" {n_given} rows that have any; there is nothing to tell apart"
        )
    elif n_text and n_values > max(MAX_CLASSES, n_given / 2):
        remedy = ', take target_kind = "classes" out of [data]' if declared else ""
        problem = (
            f"{where} has {n_values} different texts in {n_given} rows, too many to be"
            f" classes; name another column{remedy}, or join the rare ones"
        )
    return target, kind, [problem] if problem else []


def notes_of_target(
    column: "pd.Series[Any]", target: "pd.Series[Any]", kind: TargetKind
) -> list[str]:
    """List what a person should know of how the target was read."""
    notes = note_missing("target", column, target.isna().to_numpy())
    if kind == "numeric":
        return [*notes, *note_decimals("target", column)]
    return [*notes, *note_names("target", target.dropna())]

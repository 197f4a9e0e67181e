"""Objects: things that several pictures show, such as a house of four rooms.

An object has one label and gets one prediction; its pictures are learned from one by
one. ``[data] object`` names the column that says whose picture a row is. A picture
without a name there is an object of its own, called by its id.

Shapes: N rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.errors import UserError, named
from data_prep.tables.cells import as_texts
from data_prep.tables.column_notes import note_missing, note_names, some


def read_objects(
    column: "pd.Series[Any]", name: str, ids: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Read whose picture each row is.

    Args:
        column: (N,) cells.
        name: Name of the column.
        ids: (N,) ids of the pictures.

    Returns:
        (N,) names of objects, the id where the cell is empty; what is wrong; and what
        is odd.
    """
    names = as_texts(column)
    nameless = [id_ for text, id_ in zip(names, ids, strict=True) if not text]
    problems = []
    if alike := sorted(set(nameless) & set(names)):
        problems.append(
            f"column {name!r} is empty for {named(alike)}, by which other pictures call"
            " an object; fill the cell, or call the object otherwise"
        )
    missing = note_missing("object", column, np.array([not text for text in names]))
    notes = [f"{note}, each an object of its own" for note in missing]
    notes += note_names("object", names)
    objects = [text or id_ for text, id_ in zip(names, ids, strict=True)]
    return objects, problems, notes


def problems_of_labels(
    objects: "pd.Series[Any]", target: "pd.Series[Any]", *, object_name: str, name: str
) -> list[str]:
    """List the objects that have several labels; a missing one is none.

    Args:
        objects: (N,) names of objects.
        target: (N,) labels.
        object_name: The user's name of the column of objects.
        name: The user's name of the target.
    """
    labelled = pd.DataFrame({"object": list(objects), "target": list(target)}).dropna()
    n_labels = labelled.groupby("object")["target"].nunique()
    torn = n_labels.index[n_labels > 1]
    if not len(torn):
        return []
    labels = labelled.loc[labelled["object"] == torn[0], "target"].drop_duplicates()
    shown = " and ".join(as_texts(labels.iloc[:2].astype(object)))
    noun = "object has" if len(torn) == 1 else "objects have"
    return [
        f"column {name!r}: {len(torn)} {noun} several labels ({torn[0]!r} of column"
        f" {object_name!r} has {shown}); give all pictures of an object one label, or"
        " take object out of [data]"
    ]


def check_splits(
    rows: pd.DataFrame, train: Path | None, to_predict: Path | None
) -> None:
    """Refuse an object that is learned from in one picture and predicted in another.

    Args:
        rows: Of both tables, with split and object.
        train: The training table.
        to_predict: The table of the pictures to predict.

    Raises:
        UserError: There is one.
    """
    names = [set(rows["object"][rows["split"] == split]) for split in ("train", "test")]
    if in_both := sorted(names[0] & names[1]):
        raise UserError(
            f"{train} and {to_predict}: {some(in_both, 'object')} in both; an object is"
            " either learned from or predicted"
        )

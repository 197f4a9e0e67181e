"""Tables of ids and further columns: sample weights, later pictures.

What every table of ids is checked for stands here as well.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.errors import UserError
from data_prep.pictures.near_ids import near_hint
from data_prep.settings import nearest
from data_prep.tables.cells import as_numbers, as_texts, read_table
from data_prep.tables.column_notes import some, some_unread


def read_weights(
    path: Path, id_column: str, train_ids: Sequence[str]
) -> dict[str, float]:
    """Read a table of id and weight, such as ``stacking.noise`` writes.

    Args:
        path: The table; its further columns are not looked at.
        id_column: Name of the id column; ``id`` is understood as well.
        train_ids: Ids of the training table, or names of its objects.

    Returns:
        The sample weight of each id in the table, from 0 to 1.

    Raises:
        UserError: The table is missing or empty, an id is unknown or there twice, or a
            weight is not a number from 0 to 1.
    """
    table = read_table(path)
    column = id_column if id_column in table else "id"
    raise_if(
        path, problems_of_columns(table, {"id": column, "sample_weights": "weight"})
    )
    ids, weights = as_texts(table[column]), as_numbers(table["weight"])
    problems = problems_of_ids(ids, table.index)
    if unknown := sorted(set(ids) - set(train_ids) - {""}):
        hint = near_hint(unknown, sorted(set(train_ids) - set(ids)), "row")
        problems.append(f"{some(unknown, 'id')} not in the train table{hint}")
    is_weight = (weights >= 0) & (weights <= 1)  # not so for NaN
    if not is_weight.all():
        texts = pd.Series(as_texts(table["weight"]), index=table.index, dtype=object)
        counted = some_unread(texts[~is_weight], "no number from 0 to 1")
        problems.append(f"column 'weight': {counted}")
    raise_if(path, problems)
    return dict(zip(ids, weights.tolist(), strict=True))


def read_id_table(path: Path, id_column: str) -> pd.DataFrame:
    """Read a table of ids and further columns that came after the run was prepared.

    Args:
        path: The table.
        id_column: Name of the id column; ``id`` is understood as well.

    Returns:
        The table of ``read_table``, but for the ids: text, in a column ``id_column``.

    Raises:
        UserError: The table is missing or empty, has no ids, or they have problems.
    """
    table = read_table(path)
    column = id_column if id_column in table else "id"
    if column not in table:
        hint = nearest(id_column, table.columns)
        raise UserError(f"{path}: no column {id_column!r} of ids; {hint}")
    if table.empty:
        raise UserError(f"{path}: no rows; fill it")
    ids = as_texts(table[column])
    raise_if(path, problems_of_ids(ids, table.index))
    return table.assign(**{id_column: np.array(ids, dtype=object)})


def _leads_elsewhere(id_: str) -> bool:
    """Tell whether an id is a path, but none that stays within a folder."""
    return "\\" in id_ or (
        "/" in id_ and not {"", ".", ".."}.isdisjoint(id_.split("/"))
    )


def check_sample(
    sample: Path, column: str, expected: set[str], *, role: str, test: Path
) -> None:
    """Refuse a sample of the predictions that names others than the test table.

    Args:
        sample: The sample, a row for each id, or for each object.
        column: Name of the column of those.
        expected: What the test table names.
        role: ``id`` or ``object``, which of both it is.
        test: The test table.

    Raises:
        UserError: It lacks the column, or has a name twice, more or fewer of them.
    """
    table = read_table(sample)
    raise_if(sample, problems_of_columns(table, {role: column}))
    names, index = as_texts(table[column]), table.index
    if is_id := role == "id":
        problems = problems_of_ids(names, index)
    else:
        problems = problems_of_names(names, index, role)
    extra, lacking = sorted(set(names) - expected), sorted(expected - set(names))
    if extra:
        hint = near_hint(extra, lacking, "row" if is_id else role)
        problems.append(f"{some(extra, role)} not in {test}{hint}")
    if lacking:
        problems.append(f"{some(lacking, role)} in {test} only")
    raise_if(sample, problems)


def problems_of_ids(ids: Sequence[str], index: "pd.Index[Any]") -> list[str]:
    """List what is wrong with ids: missing, double, or no names of files.

    Args:
        ids: (N,) ids.
        index: (N,) lines or rows of the table at which they stand.
    """
    problems = problems_of_names(ids, index, "id")
    column = pd.Series(ids, index=index, dtype=object)
    if paths := sorted({id_ for id_ in ids if _leads_elsewhere(id_)}):
        problems.append(
            f"{some(paths, 'id')} no path within the folder of pictures; an id is the"
            " name of a file without extension, with its folders as oak/7 where names"
            " repeat"
        )
    if len(broken := column[["\n" in id_ for id_ in ids]]):
        problems.append(
            f"{some_unread(broken, 'an id with a line break', noun='cell')}; is a quote"
            " left open there?"
        )
    return problems


def problems_of_names(
    names: Sequence[str], index: "pd.Index[Any]", noun: str
) -> list[str]:
    """List what is wrong with names that a row each is to have: missing, or double.

    Args:
        names: (N,) names.
        index: (N,) lines or rows of the table at which they stand.
        noun: What they name.
    """
    problems = []
    column = pd.Series(names, index=index, dtype=object)
    empty = column.index[column == ""]
    if len(empty):
        have = "row has" if len(empty) == 1 else "rows have"
        location = f"the first in {index.name or 'row'} {empty[0]}"
        problems.append(f"{len(empty)} {have} no {noun}, {location}")
    double = sorted(set(column[column.duplicated() & (column != "")]))
    if double:
        problems.append(f"{some(double, noun)} there twice; keep one row of each")
    return problems


def problems_of_columns(table: pd.DataFrame, named: dict[str, str]) -> list[str]:
    """List the columns that are not there, and whether rows are missing.

    Args:
        table: The table.
        named: Name of each column that is needed, by its setting in ``[data]``.
    """
    problems = [
        f"no column {name!r} ([data] {role}); {nearest(name, table.columns)}"
        for role, name in named.items()
        if name not in table
    ]
    if table.empty:
        problems.append("no rows; fill it, or take it out of [data]")
    return problems


def raise_if(path: Path, problems: Sequence[str]) -> None:
    """Raise a UserError that lists all problems of a table, if there are any."""
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")

"""The user's tables, read and checked: all problems of a table in one message."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from data_prep.cells import (
    as_flags,
    as_ids,
    as_numbers,
    as_texts,
    as_years,
    is_missing,
    read_table,
    with_plain_numbers,
)
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import MAX_CLASSES
from data_prep.settings import nearest
from data_prep.spelling import class_text

OURS = ("id", "part", "group", "date", "is_excluded", "weight")
GIVEN = "given."  # before the names of the user's further columns

TargetKind = Literal["numeric", "classes"]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What the tables say, before any picture is looked at.

    Attributes:
        rows: A row per id of the train and test tables: id, part, group ("" where not
            given), date (decimal year), is_excluded, weight (1 where not given), target
            if there is such a column, and ``given.NAME`` for each further column of the
            train table.
        attributes: id, name; no row twice.
        target_kind: What the target is; None if there is none.
        has_group: A group column is named.
        sample: Where the sample of the prediction file lies.
    """

    rows: pd.DataFrame
    attributes: pd.DataFrame
    target_kind: TargetKind | None
    has_group: bool
    sample: Path | None


def read_tables(data: DataSettings) -> Tables:
    """Read and check all tables of an experiment.

    A sample without a test table stands for it: it says what is to be predicted.

    Raises:
        UserError: A table is missing or has problems; the message lists all of those.
    """
    _check_named(data)
    tested = data.test or data.sample
    train, kind = _read_train(data, data.train) if data.train else (None, None)
    test = _read_test(data, tested) if tested else None
    if train is not None and data.doubts:
        weights = read_weights(data.doubts, data.id, train["id"].tolist())
        train["weight"] = train["id"].map(weights).fillna(1.0)
    if data.test and data.sample and test is not None:
        _check_sample(data, data.sample, set(test["id"]))
    if train is not None and test is not None:
        both = sorted(set(train["id"]) & set(test["id"]))
        if both:
            raise UserError(
                f"{data.train} and {tested}: {_some(both, 'id')} in both;"
                " a picture is either learned from or predicted"
            )
    return Tables(
        rows=_joined(train, test),
        attributes=read_attributes(data.attributes, data.id),
        target_kind=kind,
        has_group=data.group is not None,
        sample=data.sample,
    )


def read_attributes(paths: Sequence[Path], id_column: str = "id") -> pd.DataFrame:
    """Read long tables of id and name; stripped, without repetitions, in id order.

    Args:
        paths: The tables.
        id_column: Name of the id column; ``id`` is understood as well.

    Raises:
        UserError: A table is missing, empty or lacks one of its two columns.
    """
    parts = []
    for path in paths:
        table = read_table(path)
        column = id_column if id_column in table else "id"
        _raise_if(path, _lacking(table, {"id": column, "attributes": "name"}))
        part = {"id": as_ids(table[column]), "name": as_texts(table["name"])}
        parts.append(pd.DataFrame(part, dtype=object))
    empty = pd.DataFrame({"id": [], "name": []}, dtype=object)
    joined = pd.concat(parts) if parts else empty
    named = joined[(joined["id"] != "") & (joined["name"] != "")].drop_duplicates()
    return named.sort_values(["id", "name"], ignore_index=True)


def read_weights(path: Path, id_column: str, known: Sequence[str]) -> dict[str, float]:
    """Read a table of id and weight, such as ``stacking.noise`` writes.

    Args:
        path: The table; its further columns are not looked at.
        id_column: Name of the id column; ``id`` is understood as well.
        known: Ids of the training table.

    Raises:
        UserError: The table is missing or empty, an id is unknown or there twice, or a
            weight is not a number from 0 to 1.
    """
    table = read_table(path)
    column = id_column if id_column in table else "id"
    _raise_if(path, _lacking(table, {"id": column, "doubts": "weight"}))
    ids, weights = as_ids(table[column]), as_numbers(table["weight"])
    problems = _problems_of_ids(ids)
    if unknown := sorted(set(ids) - set(known) - {""}):
        problems.append(f"{_some(unknown, 'id')} not in the train table")
    is_weight = (weights >= 0) & (weights <= 1)  # not so for NaN
    texts = as_texts(table["weight"])
    if bad := [text for text, good in zip(texts, is_weight, strict=True) if not good]:
        problems.append(f"column 'weight': {_some(bad, 'value')} no number from 0 to 1")
    _raise_if(path, problems)
    return dict(zip(ids, weights.tolist(), strict=True))


def read_id_table(path: Path, id_column: str) -> pd.DataFrame:
    """Read a table of ids and further columns that came after the run was prepared.

    Args:
        path: The table.
        id_column: Name of the id column; ``id`` is understood as well.

    Returns:
        The table as it is, but for the ids: text, in a column ``id_column``. Its index,
        named ``line``, counts the lines of the file from 2.

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
    ids = as_ids(table[column])
    _raise_if(path, _problems_of_ids(ids))
    table = table.assign(**{id_column: np.array(ids, dtype=object)})
    return table.set_axis(pd.RangeIndex(2, len(table) + 2, name="line"))


def _check_named(data: DataSettings) -> None:
    for name in ("target", "group", "date", "exclude_from_validation"):
        column = getattr(data, name)
        if column is not None and data.train is None:
            raise UserError(
                f"[data] {name} = {column!r} names a column, but there is no table;"
                ' add train = "train.csv", or take it out'
            )
    if data.target_kind and data.target is None:
        raise UserError(
            f"[data] target_kind = {data.target_kind!r} says what the target is, but"
            " target names no column; name it, or take target_kind out"
        )
    if data.doubts and data.train is None:
        raise UserError(
            f"[data] doubts = '{data.doubts}' weighs training rows, but there is no"
            ' table of them; add train = "train.csv", or take it out'
        )


def _read_train(
    data: DataSettings, path: Path
) -> tuple[pd.DataFrame, TargetKind | None]:
    table = read_table(path)
    roles = ("id", "target", "group", "date", "exclude_from_validation")
    named = {role: name for role in roles if (name := getattr(data, role)) is not None}
    _raise_if(path, _lacking(table, named))
    rows, problems = _read_columns(table, named, "train")
    kind = None
    if data.target:
        target, kind, found = _read_target(
            table[data.target], data.target, data.target_kind
        )
        rows["target"] = target
        problems += found
    _raise_if(path, problems)
    known = {name for role, name in named.items() if role != "exclude_from_validation"}
    for name in table.columns:
        if name not in known:
            rows[GIVEN + name] = table[name]
    return rows, kind


def _read_test(data: DataSettings, path: Path) -> pd.DataFrame:
    """Read the test table; its group and date may be absent, its labels are unread."""
    table = read_table(path)
    _raise_if(path, _lacking(table, {"id": data.id}))
    named = {"id": data.id} | {
        role: name
        for role in ("group", "date")
        if (name := getattr(data, role)) is not None and name in table
    }
    rows, problems = _read_columns(table, named, "test")
    _raise_if(path, problems)
    for name in table.columns:
        if name not in named.values():
            rows[GIVEN + name] = table[name]
    return rows


def _read_columns(
    table: pd.DataFrame, named: dict[str, str], part: str
) -> tuple[pd.DataFrame, list[str]]:
    """Give the columns of a part our names; say what is wrong with them."""
    ids = as_ids(table[named["id"]])
    problems = _problems_of_ids(ids)
    rows = pd.DataFrame({"id": ids, "part": part}, dtype=object)
    rows["group"] = as_ids(table[named["group"]]) if "group" in named else ""
    rows["date"] = math.nan
    rows["is_excluded"] = False
    rows["weight"] = 1.0
    if "date" in named:
        rows["date"], unread = as_years(table[named["date"]])
        if unread:
            problems.append(
                f"column {named['date']!r}: {_some(unread, 'value')} no year or date;"
                " write 1890, 1890-05 or 1890-05-31, or leave the cell empty"
            )
    if "exclude_from_validation" in named:
        name = named["exclude_from_validation"]
        rows["is_excluded"], unread = as_flags(table[name])
        if unread:
            problems.append(f"column {name!r}: {_some(unread, 'value')} not 0 or 1")
    return rows, problems


def _problems_of_ids(ids: Sequence[str]) -> list[str]:
    problems = []
    seen = pd.Series(ids, dtype=object)
    empty = seen.index[seen == ""]
    if len(empty):
        noun = "row has" if len(empty) == 1 else "rows have"
        problems.append(f"{len(empty)} {noun} no id, first row {empty[0] + 2}")
    twice = sorted(set(seen[seen.duplicated() & (seen != "")]))
    if twice:
        problems.append(f"{_some(twice, 'id')} there twice; keep one row of each")
    paths = sorted({id_ for id_ in ids if "/" in id_ or "\\" in id_})
    if paths:
        problems.append(
            f"{_some(paths, 'id')} with a path separator; an id is the name of a file"
            " without folder and extension"
        )
    return problems


def _read_target(
    column: "pd.Series[Any]", name: str, declared: str | None = None
) -> tuple["pd.Series[Any]", TargetKind, list[str]]:
    """Decide whether the target is numbers or classes; say what is wrong with it.

    Args:
        column: Its cells.
        name: Its name.
        declared: What it is said to be, ``"numbers"`` or ``"classes"``; None: classes
            if there is a text.
    """
    where = f"column {name!r}"
    spelled = column
    if declared == "classes" and is_numeric_dtype(column):  # of a parquet file
        spelled = column.map(class_text, na_action="ignore")
    texts = pd.Series(as_texts(spelled), index=column.index, dtype=object)
    is_given = np.array([not is_missing(value) for value in column])
    numbers = pd.Series(as_numbers(column), index=column.index)
    is_text = is_given & (numbers.isna().to_numpy() | (declared == "classes"))
    n_given, n_text = int(is_given.sum()), int(is_text.sum())
    kind: TargetKind = "classes" if n_text else "numeric"
    target = texts.where(is_given, None) if n_text else numbers
    n_values = target.nunique()
    if not n_given:
        problem = f"{where} is empty; fill it, or take target out of [data]"
    elif n_text and declared == "numbers":
        problem = (
            f"{where}: {_some(list(texts[is_text]), 'value')} no finite number, and"
            ' [data] target_kind = "numbers"; correct them, or leave the cells empty'
        )
    elif 0 < n_text < n_given / 2:
        problem = (
            f"{where}: {_some(list(texts[is_text]), 'value')} no finite number, while"
            f" {n_given - n_text} are; correct them, leave the cells empty, or write"
            " every class as a word"
        )
    elif n_values == 1:
        problem = (
            f"{where} has the one value {texts[is_given].iloc[0]!r} in all {n_given}"
            " rows that have any; there is nothing to tell apart"
        )
    elif n_text and n_values > max(MAX_CLASSES, n_given / 2):
        problem = (
            f"{where} has {n_values} different texts in {n_given} rows, too many to be"
            " classes; name another column, or join the rare ones"
        )
    else:
        return target, kind, []
    return target, kind, [problem]


def _check_sample(data: DataSettings, path: Path, tested: set[str]) -> None:
    sample = read_table(path)
    _raise_if(path, _lacking(sample, {"id": data.id}))
    ids = as_ids(sample[data.id])
    problems = _problems_of_ids(ids)
    if extra := sorted(set(ids) - tested):
        problems.append(f"{_some(extra, 'id')} not in {data.test}")
    if lacking := sorted(tested - set(ids)):
        problems.append(f"{_some(lacking, 'id')} in {data.test} only")
    _raise_if(path, problems)


def _joined(train: pd.DataFrame | None, test: pd.DataFrame | None) -> pd.DataFrame:
    """Put the train rows over the test rows; further columns are the train table's."""
    columns = list(OURS) if train is None else list(train.columns)
    parts = [
        part.reindex(columns=columns) for part in (train, test) if part is not None
    ]
    if not parts:
        none = pd.DataFrame({name: [] for name in columns}, dtype=object)
        return none.astype({"date": float, "is_excluded": bool, "weight": float})
    joined = pd.concat(parts, ignore_index=True)
    for name in columns:
        if name.startswith(GIVEN):
            joined[name] = with_plain_numbers(joined[name])
    return joined


def _lacking(table: pd.DataFrame, named: dict[str, str]) -> list[str]:
    """Say which columns are not there, and whether there are rows."""
    problems = [
        f"no column {name!r} ([data] {role}); {nearest(name, table.columns)}"
        for role, name in named.items()
        if name not in table
    ]
    if table.empty:
        problems.append("no rows; fill it, or take it out of [data]")
    return problems


def _raise_if(path: Path, problems: Sequence[str]) -> None:
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")


def _some(values: Sequence[str], noun: str) -> str:
    """Count the values and show three: ``5 ids ('a', 'b', 'c' ...) are``."""
    shown = ", ".join(repr(value) for value in values[:3])
    more = " ..." if len(values) > 3 else ""
    if len(values) == 1:
        return f"1 {noun} ({shown}) is"
    return f"{len(values)} {noun}s ({shown}{more}) are"

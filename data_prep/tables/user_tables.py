"""The user's tables, read and checked: all problems of a table in one message.

What a cell means is decided by the role of its column (``data_prep.tables.cells``). Of
a target, ``NA`` is a class where the others are names, and missing where they are
numbers. What was missing, and how it was written, is noted for the log and the report.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.tables.attributes import read_attributes
from data_prep.tables.cells import (
    as_flags,
    as_texts,
    is_truth,
    missing_mask,
    read_table,
    unread,
    with_plain_numbers,
)
from data_prep.tables.column_notes import (
    no_dates,
    note_decimals,
    note_missing,
    note_names,
    some,
)
from data_prep.tables.dates import as_years
from data_prep.tables.id_tables import (
    check_sample,
    problems_of_columns,
    problems_of_ids,
    raise_if,
    read_weights,
)
from data_prep.tables.objects import (
    check_splits,
    problems_of_labels,
    read_objects,
)
from data_prep.tables.target import TargetKind, read_target

OURS = ("id", "split", "group", "date", "is_excluded", "weight")
GIVEN = "given."  # before the names of the user's further columns


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of an experiment, read and checked, before any picture is opened.

    Attributes:
        rows: A row per id of the train and test tables: id, split, group ("" where it
            has none; its object where there are objects and no groups), date (decimal
            year), is_excluded, weight (1 where the table of sample weights has none),
            object and target if there are such columns, and ``given.NAME`` for each
            further column of the train table.
        attributes: id, name; no row twice.
        target_kind: What the target is; None if there is none.
        notes: What a person should know of how the cells were read.
    """

    rows: pd.DataFrame
    attributes: pd.DataFrame
    target_kind: TargetKind | None
    notes: tuple[str, ...] = ()


def read_tables(data: DataSettings) -> Tables:
    """Read and check all tables of an experiment.

    A sample without a test table stands for it: it says what is to be predicted.

    Raises:
        UserError: A table is missing or has problems; the message lists all of those.
    """
    _check_named(data)
    to_predict = data.test or data.sample
    notes: list[str] = []
    train, target_kind = None, None
    if data.train:
        train, target_kind = _read_train(data, data.train, notes)
    test = _read_test(data, to_predict, notes) if to_predict else None
    if train is not None and data.sample_weights:
        names = train["object" if data.object else "id"]
        column = data.object or data.id
        weights = read_weights(data.sample_weights, column, names.tolist())
        train["weight"] = names.map(weights).fillna(1.0)
    if data.test and data.sample and test is not None:
        role = "object" if data.object else "id"
        column, expected = data.object or data.id, set(test[role])
        check_sample(data.sample, column, expected, role=role, test=data.test)
    if train is not None and test is not None:
        in_both = sorted(set(train["id"]) & set(test["id"]))
        if in_both:
            raise UserError(
                f"{data.train} and {to_predict}: {some(in_both, 'id')} in both;"
                " a picture is either learned from or predicted"
            )
    rows = _joined(train, test)
    if data.object:
        check_splits(rows, data.train, to_predict)
    return Tables(
        rows=rows,
        attributes=read_attributes(
            data.attributes,
            data.id,
            notes,
            separator=data.separator,
            roles=_roles(data),
        ),
        target_kind=target_kind,
        notes=tuple(notes),
    )


def _roles(data: DataSettings) -> dict[str, str]:
    """Name the columns that a wide table of names may have and that are no names."""
    roles = ("target", "group", "object", "date", "exclude_from_validation")
    return {
        column: f"the {role.replace('_', ' ')} of [data]"
        for role in roles
        if (column := getattr(data, role))
    }


def _check_named(data: DataSettings) -> None:
    """Refuse settings of columns and weights without a table of training rows."""
    for name in ("target", "group", "object", "date", "exclude_from_validation"):
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
    if data.sample_weights and data.train is None:
        raise UserError(
            f"[data] sample_weights = '{data.sample_weights}' weighs training rows, but"
            ' there is no table of them; add train = "train.csv", or take it out'
        )
    if data.object and data.sample and not data.test:
        raise UserError(
            f"[data] object = {data.object!r}: the sample of the prediction file names"
            " objects and no pictures; name the table of the pictures to predict too,"
            f' with the columns {data.id!r} and {data.object!r}: test = "test.csv"'
        )


def _read_train(
    data: DataSettings, path: Path, notes: list[str]
) -> tuple[pd.DataFrame, TargetKind | None]:
    """Read the train table; what is odd is added to ``notes``."""
    table = read_table(path)
    roles = ("id", "target", "group", "object", "date", "exclude_from_validation")
    named = {role: name for role in roles if (name := getattr(data, role)) is not None}
    raise_if(path, problems_of_columns(table, named))
    rows, problems, notes_of_rows = _read_columns(table, named, "train")
    target_kind = None
    if data.target:
        column = table[data.target]
        target, target_kind, problem = read_target(
            column, data.target, data.target_kind
        )
        rows["target"] = target.to_numpy()
        problems += [problem] if problem else []
        notes_of_rows += note_missing("target", column, target.isna().to_numpy())
        if target_kind == "numeric":
            notes_of_rows += note_decimals("target", column)
        else:
            notes_of_rows += note_names("target", target.dropna())
        if data.object:
            problems += problems_of_labels(
                rows["object"], target, object_name=data.object, name=data.target
            )
    raise_if(path, problems)
    notes += [f"{path.name}: {note}" for note in notes_of_rows]
    _add_further_columns(rows, table, named)
    return rows, target_kind


def _add_further_columns(
    rows: pd.DataFrame, table: pd.DataFrame, named: Mapping[str, str]
) -> None:
    """Add ``given.NAME`` for each column that has no role of its own."""
    with_role = {
        name for role, name in named.items() if role != "exclude_from_validation"
    }
    for name in table.columns:
        if name not in with_role:
            rows[GIVEN + name] = table[name].reset_index(drop=True)


def _read_test(data: DataSettings, path: Path, notes: list[str]) -> pd.DataFrame:
    """Read the test table; its group and date may be absent, its labels are unread."""
    table = read_table(path)
    needed = {"id": data.id} | ({"object": data.object} if data.object else {})
    raise_if(path, problems_of_columns(table, needed))
    named = needed | {
        role: name
        for role in ("group", "date")
        if (name := getattr(data, role)) is not None and name in table
    }
    rows, problems, notes_of_rows = _read_columns(table, named, "test")
    raise_if(path, problems)
    notes += [f"{path.name}: {note}" for note in notes_of_rows]
    _add_further_columns(rows, table, named)
    return rows


def _read_columns(
    table: pd.DataFrame, named: Mapping[str, str], split: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Read the columns that have a role.

    Args:
        table: Cells as they are in the file.
        named: Name of the column of each role, a setting of ``[data]``.
        split: ``train`` or ``test``.

    Returns:
        The rows, by our names of the columns; what is wrong with them; what is odd.
    """
    ids = as_texts(table[named["id"]])
    problems, notes = problems_of_ids(ids, table.index), []
    rows = pd.DataFrame({"id": ids, "split": split}, dtype=object)
    rows.attrs.update(table.attrs)
    rows["group"] = ""
    rows["date"] = math.nan
    rows["is_excluded"] = False
    rows["weight"] = 1.0
    if "object" in named:
        column, name = table[named["object"]], named["object"]
        objects, problems_of_objects, notes_of_objects = read_objects(column, name, ids)
        rows["object"] = rows["group"] = objects
        problems += problems_of_objects
        notes += notes_of_objects
    if "group" in named:
        column = table[named["group"]]
        groups = as_texts(column)
        rows["group"] = groups
        has_none = np.array([not group for group in groups])
        missing = note_missing("group", column, has_none)
        notes += [f"{note}, each a group of its own" for note in missing]
        notes += note_names("group", groups)
    if "date" in named:
        column = table[named["date"]]
        rows["date"] = as_years(column)[0]
        if len(texts := unread(column, rows["date"].to_numpy())):
            problems.append(no_dates(named["date"], texts))
        notes += note_missing("date", column, rows["date"].isna().to_numpy())
        notes += note_decimals("date", column)
    if "exclude_from_validation" in named:
        name = named["exclude_from_validation"]
        rows["is_excluded"], odd_values = as_flags(table[name])
        if odd_values:
            problems.append(f"column {name!r}: {some(odd_values, 'value')} not 0 or 1")
        missing = note_missing(name, table[name], missing_mask(table[name]))
        notes += [f"{note}, taken as 0" for note in missing]
    return rows, problems, notes


def _joined(train: pd.DataFrame | None, test: pd.DataFrame | None) -> pd.DataFrame:
    """Put the train rows over the test rows; further columns are the train table's."""
    columns = list(OURS) if train is None else list(train.columns)
    tables = [
        table.reindex(columns=columns) for table in (train, test) if table is not None
    ]
    if not tables:
        none = pd.DataFrame({name: [] for name in columns}, dtype=object)
        return none.astype({"date": float, "is_excluded": bool, "weight": float})
    rows = pd.concat(tables, ignore_index=True)
    for name in columns:
        if name.startswith(GIVEN):
            rows[name] = _one_type([table[name] for table in tables])
    rows.attrs.clear()
    return rows


def _one_type(columns: Sequence["pd.Series[Any]"]) -> "pd.Series[Any]":
    """Join a further column: as numbers or truth values if all its tables have them."""
    plain = [with_plain_numbers(column) for column in columns]
    filled = [column for column in plain if column.notna().any()]
    if all(is_truth(column) for column in filled) or all(
        column.dtype.kind in "iuf" for column in filled
    ):
        chosen = plain
    elif len({_type_of(column) for column in filled}) < 2:
        chosen = list(columns)
    else:  # a file holds one type in a column
        texts = [pd.Series(as_texts(column), dtype=object) for column in columns]
        chosen = [text.where(text != "", None) for text in texts]
    joined = pd.concat(chosen, ignore_index=True)
    return joined if joined.notna().all() else with_plain_numbers(joined)


def _type_of(column: "pd.Series[Any]") -> str:
    if column.dtype.kind != "O":
        return column.dtype.kind
    return ", ".join(sorted({type(value).__name__ for value in column.dropna()}))

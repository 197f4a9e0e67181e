"""The user's tables, read and checked: all problems of a table in one message.

What a cell means is decided by the role of its column (``data_prep.tables.cells``). Of
a target, ``NA`` is a class where the others are names, and missing where they are
numbers. What was missing, and how it was written, is noted for the log and the report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.pictures.near_ids import near_hint
from data_prep.settings import nearest
from data_prep.tables.cells import (
    as_flags,
    as_ids,
    as_numbers,
    as_texts,
    as_years,
    is_truth,
    no_numbers,
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
    some_unread,
)
from data_prep.tables.target import TargetKind, notes_of_target, read_target

OURS = ("id", "split", "group", "date", "is_excluded", "weight")
GIVEN = "given."  # before the names of the user's further columns


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What the tables say, before any picture is looked at.

    Attributes:
        rows: A row per id of the train and test tables: id, split, group ("" where not
            given), date (decimal year), is_excluded, weight (1 where not given), target
            if there is such a column, and ``given.NAME`` for each further column of the
            train table.
        attributes: id, name; no row twice.
        target_kind: What the target is; None if there is none.
        has_group: A group column is named.
        sample: Where the sample of the prediction file lies.
        notes: What a person should know of how the cells were read.
    """

    rows: pd.DataFrame
    attributes: pd.DataFrame
    target_kind: TargetKind | None
    has_group: bool
    sample: Path | None
    notes: tuple[str, ...] = ()


def read_tables(data: DataSettings) -> Tables:
    """Read and check all tables of an experiment.

    A sample without a test table stands for it: it says what is to be predicted.

    Raises:
        UserError: A table is missing or has problems; the message lists all of those.
    """
    _check_named(data)
    tested = data.test or data.sample
    notes: list[str] = []
    train, kind = _read_train(data, data.train, notes) if data.train else (None, None)
    test = _read_test(data, tested, notes) if tested else None
    if train is not None and data.sample_weights:
        weights = read_weights(data.sample_weights, data.id, train["id"].tolist())
        train["weight"] = train["id"].map(weights).fillna(1.0)
    if data.test and data.sample and test is not None:
        _check_sample(data, data.sample, set(test["id"]))
    if train is not None and test is not None:
        both = sorted(set(train["id"]) & set(test["id"]))
        if both:
            raise UserError(
                f"{data.train} and {tested}: {some(both, 'id')} in both;"
                " a picture is either learned from or predicted"
            )
    return Tables(
        rows=_joined(train, test),
        attributes=read_attributes(data.attributes, data.id, notes),
        target_kind=kind,
        has_group=data.group is not None,
        sample=data.sample,
        notes=tuple(notes),
    )


def read_attributes(
    paths: Sequence[Path], id_column: str = "id", notes: list[str] | None = None
) -> pd.DataFrame:
    """Read long tables of id and name; stripped, without repetitions, in id order.

    Args:
        paths: The tables.
        id_column: Name of the id column; ``id`` is understood as well.
        notes: What is odd is added to it.

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
        if notes is not None:
            for role, name in (("id", column), ("name", "name")):
                missing = note_missing(role, table[name], np.array(part[role]) == "")
                notes += [f"{path.name}: {note}; left out" for note in missing]
    empty = pd.DataFrame({"id": [], "name": []}, dtype=object)
    joined = pd.concat(parts) if parts else empty
    if notes is not None and parts:
        where = ", ".join(path.name for path in paths)
        notes += [f"{where}: {note}" for note in note_names("name", joined["name"])]
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
    _raise_if(path, _lacking(table, {"id": column, "sample_weights": "weight"}))
    ids, weights = as_ids(table[column]), as_numbers(table["weight"])
    problems = _problems_of_ids(ids, table.index)
    if unknown := sorted(set(ids) - set(known) - {""}):
        hint = near_hint(unknown, sorted(set(known) - set(ids)), "row")
        problems.append(f"{some(unknown, 'id')} not in the train table{hint}")
    is_weight = (weights >= 0) & (weights <= 1)  # not so for NaN
    texts = pd.Series(as_texts(table["weight"]), index=table.index, dtype=object)
    if not is_weight.all():
        wrong = some_unread(texts[~is_weight], "no number from 0 to 1")
        problems.append(f"column 'weight': {wrong}")
    _raise_if(path, problems)
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
    ids = as_ids(table[column])
    _raise_if(path, _problems_of_ids(ids, table.index))
    return table.assign(**{id_column: np.array(ids, dtype=object)})


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
    if data.sample_weights and data.train is None:
        raise UserError(
            f"[data] sample_weights = '{data.sample_weights}' weighs training rows, but"
            ' there is no table of them; add train = "train.csv", or take it out'
        )


def _read_train(
    data: DataSettings, path: Path, notes: list[str]
) -> tuple[pd.DataFrame, TargetKind | None]:
    table = read_table(path)
    roles = ("id", "target", "group", "date", "exclude_from_validation")
    named = {role: name for role in roles if (name := getattr(data, role)) is not None}
    _raise_if(path, _lacking(table, named))
    rows, problems, remarks = _read_columns(table, named, "train")
    kind = None
    if data.target:
        target, kind, found = read_target(
            table[data.target], data.target, data.target_kind
        )
        rows["target"] = target.to_numpy()
        problems += found
        remarks += notes_of_target(table[data.target], target, kind)
    _raise_if(path, problems)
    notes += [f"{path.name}: {note}" for note in remarks]
    known = {name for role, name in named.items() if role != "exclude_from_validation"}
    for name in table.columns:
        if name not in known:
            rows[GIVEN + name] = _placed(table[name])
    return rows, kind


def _placed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Number a column by position, as our rows are."""
    return column.reset_index(drop=True)


def _read_test(data: DataSettings, path: Path, notes: list[str]) -> pd.DataFrame:
    """Read the test table; its group and date may be absent, its labels are unread."""
    table = read_table(path)
    _raise_if(path, _lacking(table, {"id": data.id}))
    named = {"id": data.id} | {
        role: name
        for role in ("group", "date")
        if (name := getattr(data, role)) is not None and name in table
    }
    rows, problems, remarks = _read_columns(table, named, "test")
    _raise_if(path, problems)
    notes += [f"{path.name}: {note}" for note in remarks]
    for name in table.columns:
        if name not in named.values():
            rows[GIVEN + name] = _placed(table[name])
    return rows


def _read_columns(
    table: pd.DataFrame, named: dict[str, str], split: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Give the columns of a split our names; say what is wrong with them, and odd."""
    ids = as_ids(table[named["id"]])
    problems, notes = _problems_of_ids(ids, table.index), []
    rows = pd.DataFrame({"id": ids, "split": split}, dtype=object)
    rows.attrs.update(table.attrs)
    rows["group"] = ""
    rows["date"] = math.nan
    rows["is_excluded"] = False
    rows["weight"] = 1.0
    if "group" in named:
        column = table[named["group"]]
        groups = as_ids(column)
        rows["group"] = groups
        is_alone = np.array([not group for group in groups])
        missing = note_missing("group", column, is_alone)
        notes += [f"{note}, each a group of its own" for note in missing]
        notes += note_names("group", groups)
    if "date" in named:
        column = table[named["date"]]
        rows["date"] = as_years(column)[0]
        if len(wrong := unread(column, rows["date"].to_numpy())):
            problems.append(no_dates(named["date"], wrong))
        notes += note_missing("date", column, rows["date"].isna().to_numpy())
        notes += note_decimals("date", column)
    if "exclude_from_validation" in named:
        name = named["exclude_from_validation"]
        rows["is_excluded"], texts = as_flags(table[name])
        if texts:
            problems.append(f"column {name!r}: {some(texts, 'value')} not 0 or 1")
        missing = note_missing(name, table[name], no_numbers(table[name]))
        notes += [f"{note}, taken as 0" for note in missing]
    return rows, problems, notes


def _problems_of_ids(ids: Sequence[str], index: "pd.Index[Any]") -> list[str]:
    """Say what is wrong with ids; the index says where each of them stands."""
    problems = []
    seen = pd.Series(ids, index=index, dtype=object)
    empty = seen.index[seen == ""]
    if len(empty):
        noun = "row has" if len(empty) == 1 else "rows have"
        place = f"the first in {index.name or 'row'} {empty[0]}"
        problems.append(f"{len(empty)} {noun} no id, {place}")
    twice = sorted(set(seen[seen.duplicated() & (seen != "")]))
    if twice:
        problems.append(f"{some(twice, 'id')} there twice; keep one row of each")
    paths = sorted({id_ for id_ in ids if "/" in id_ or "\\" in id_})
    if paths:
        problems.append(
            f"{some(paths, 'id')} with a path separator; an id is the name of a file"
            " without folder and extension"
        )
    if "\n" in "".join(ids):
        broken = seen[["\n" in id_ for id_ in ids]]
        problems.append(
            f"{some_unread(broken, 'an id with a line break', noun='cell')}; is a quote"
            " left open there?"
        )
    return problems


def _check_sample(data: DataSettings, path: Path, tested: set[str]) -> None:
    sample = read_table(path)
    _raise_if(path, _lacking(sample, {"id": data.id}))
    ids = as_ids(sample[data.id])
    problems = _problems_of_ids(ids, sample.index)
    extra, lacking = sorted(set(ids) - tested), sorted(tested - set(ids))
    if extra:
        hint = near_hint(extra, lacking, "row")
        problems.append(f"{some(extra, 'id')} not in {data.test}{hint}")
    if lacking:
        problems.append(f"{some(lacking, 'id')} in {data.test} only")
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
            joined[name] = _one_type([part[name] for part in parts])
    joined.attrs.clear()
    return joined


def _one_type(parts: Sequence["pd.Series[Any]"]) -> "pd.Series[Any]":
    """Join a further column: as numbers or truth values if all its tables have them."""
    plain = [with_plain_numbers(part) for part in parts]
    filled = [column for column in plain if column.notna().any()]
    if all(is_truth(column) for column in filled) or all(
        column.dtype.kind in "iuf" for column in filled
    ):
        chosen = plain
    elif len({_type_of(column) for column in filled}) < 2:
        chosen = list(parts)
    else:  # a file holds one type in a column
        texts = [pd.Series(as_texts(part), dtype=object) for part in parts]
        chosen = [text.where(text != "", None) for text in texts]
    joined = pd.concat(chosen, ignore_index=True)
    return joined if joined.notna().all() else with_plain_numbers(joined)


def _type_of(column: "pd.Series[Any]") -> str:
    if column.dtype.kind != "O":
        return column.dtype.kind
    return ", ".join(sorted({type(value).__name__ for value in column.dropna()}))


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

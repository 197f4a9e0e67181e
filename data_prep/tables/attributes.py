"""Names of pictures, from tables of attributes of any shape.

A table with a column ``name`` is long: a row for each name of an id. Any other is wide:
a row for each id, and each further column says something, in words or as 0 and 1. A
cell may hold several names, as ``oil; canvas``. A name that means one thing in a table
and another in the next, such as a pencil among the materials and one among the things
shown, is two: ``pencil (materials)``, ``pencil (subjects)``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.tables.cells import as_flags, as_texts, read_table, with_plain_numbers
from data_prep.tables.column_notes import note_missing, note_names
from data_prep.tables.id_tables import problems_of_columns, raise_if

NAME = "name"  # the column of a long table
USUAL_SEPARATORS = re.compile("[;|]")
MOST_DIFFERENT = 0.9  # of the cells of a column: more are texts, not names
FEW_CELLS = 20  # of which that cannot be told
SPLIT_WORDS = ("train", "test", "all")  # of a table's name: which rows it has


@dataclass(frozen=True, kw_only=True)
class Source:
    """One column of names.

    Attributes:
        label: What tells its names from the same in another: the name of its table, or
            of its column in a wide one.
        path: Its table.
        rows: Columns id and name, as texts, none empty.
    """

    label: str
    path: Path
    rows: pd.DataFrame


def read_attributes(
    paths: Sequence[Path],
    id_column: str = "id",
    notes: list[str] | None = None,
    *,
    separator: str | None = None,
    roles: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read the names of pictures; stripped, without repetitions, in id order.

    Args:
        paths: The tables.
        id_column: Name of the id column; ``id`` is understood as well.
        notes: What is odd, and what was left out, is added to it.
        separator: What stands between names in a cell; None: ``;`` or ``|``.
        roles: Columns of wide tables that are no names, such as that of the target, by
            name, with what each is.

    Returns:
        Columns id and name.

    Raises:
        UserError: A table is missing, empty, lacks the column of ids, or has no names.
    """
    tables = [(path, read_table(path)) for path in paths]
    return attributes_of(tables, id_column, notes, separator=separator, roles=roles)


def attributes_of(
    tables: Sequence[tuple[Path, pd.DataFrame]],
    id_column: str = "id",
    notes: list[str] | None = None,
    *,
    separator: str | None = None,
    roles: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Take the names of pictures from tables that are read, each with its path.

    The other arguments, what is returned and what is raised are those of
    ``read_attributes``.
    """
    notes = [] if notes is None else notes
    pattern = re.compile(re.escape(separator)) if separator else USUAL_SEPARATORS
    sources: list[Source] = []
    for path, table in tables:
        sources += _columns_of(
            path, table, id_column, roles=roles or {}, pattern=pattern, notes=notes
        )
    if not sources:
        return pd.DataFrame({"id": [], "name": []}, dtype=object)
    rows = pd.concat(_kept_apart(sources, notes)).drop_duplicates()
    files = ", ".join(path.name for path, _ in tables)
    notes += [f"{files}: {note}" for note in note_names(NAME, rows[NAME])]
    return rows.sort_values(["id", NAME], ignore_index=True)


def _columns_of(
    path: Path,
    table: pd.DataFrame,
    id_column: str,
    *,
    roles: Mapping[str, str],
    pattern: re.Pattern[str],
    notes: list[str],
) -> Iterator[Source]:
    """Give each column of names of a table; empty cells are left out and counted."""
    column = id_column if id_column in table else "id"
    is_long = NAME in table
    further = [name for name in table.columns if name != column]
    needed = {"id": column} | ({} if is_long or further else {"attributes": NAME})
    raise_if(path, problems_of_columns(table, needed))
    ids = np.array(as_texts(table[column]), dtype=object)
    notes += _notes_on_missing(path, "id", table[column], ids)
    if is_long:
        names = np.array(as_texts(table[NAME]), dtype=object)
        notes += _notes_on_missing(path, NAME, table[NAME], names)
        source = Source(label=_label(path), path=path, rows=_rows(ids, names))
        yield _split(source, pattern, notes)
        return
    read, left_out = [], []
    for name in further:
        if name in roles:
            notes.append(f"{path.name}: column {name!r} is {roles[name]}, no name")
            continue
        names = names_of(table[name], name)
        if names is None:
            left_out.append(f"column {name!r} holds numbers")
            continue
        cells = Source(label=name, path=path, rows=_rows(ids, names))
        notes_on_cells: list[str] = []
        source = _split(cells, pattern, notes_on_cells)
        if _are_texts(source.rows[NAME]):
            left_out.append(
                f"column {name!r} has a text of its own for nearly every picture"
            )
            continue
        read.append(name)
        notes += notes_on_cells
        yield source
    notes += [f"{path.name}: {reason}; not among the names" for reason in left_out]
    if not read:
        reasons = "; ".join(["no column of names", *left_out])
        raise_if(path, [f"{reasons}: take the table out of [data] attributes"])
    listed = ", ".join(map(repr, read))
    notes.append(f"{path.name}: names in its columns {listed}")


def names_of(column: "pd.Series[Any]", name: str) -> Any:
    """Give the (N,) names of a column of a wide table; None: it holds numbers.

    In a column of 0 and 1, or of true and false, its own name is what a picture has.
    """
    flags, unread = as_flags(column)
    if not unread and flags.any():
        return np.where(flags, name, "").astype(object)
    if pd.api.types.is_numeric_dtype(with_plain_numbers(column)):
        return None
    return np.array(as_texts(column), dtype=object)


def _are_texts(names: "pd.Series[Any]") -> bool:
    """Tell whether so many names are different that they are texts, such as titles."""
    n, n_different = len(names), names.nunique()
    return n > FEW_CELLS and n_different > MOST_DIFFERENT * n


def _rows(ids: Any, names: Any) -> pd.DataFrame:
    rows = pd.DataFrame({"id": ids, NAME: names}, dtype=object)
    return rows[(rows["id"] != "") & (rows[NAME] != "")]


def _notes_on_missing(
    path: Path, role: str, column: "pd.Series[Any]", texts: Any
) -> list[str]:
    missing = note_missing(role, column, texts == "")
    return [f"{path.name}: {note}; left out" for note in missing]


def _split(source: Source, pattern: re.Pattern[str], notes: list[str]) -> Source:
    """Make a row of each name in a cell of several."""
    cells = source.rows[NAME]
    is_list = cells.str.contains(pattern)
    if not is_list.any():
        return source
    names = cells.str.split(pattern).explode().str.strip()
    rows = source.rows[["id"]].join(names)
    notes.append(
        f"{source.path.name}: cells of several names, such as"
        f" {cells[is_list].iloc[0]!r} ({int(is_list.sum()):,} of them)"
    )
    return Source(label=source.label, path=source.path, rows=rows[rows[NAME] != ""])


def _kept_apart(sources: Sequence[Source], notes: list[str]) -> list[pd.DataFrame]:
    """Tell the same name of two sources apart, where both describe the same pictures.

    Tables that share no picture are parts of one.
    """
    ids = [set(source.rows["id"]) for source in sources]
    if all(first.isdisjoint(second) for first, second in combinations(ids, 2)):
        return [source.rows for source in sources]
    labels_of: dict[str, set[str]] = {}
    for source in sources:
        for name in source.rows[NAME].unique():
            labels_of.setdefault(name, set()).add(source.label)
    shared = {name: labels for name, labels in labels_of.items() if len(labels) > 1}
    if not shared:
        return [source.rows for source in sources]
    name = min(shared)
    examples = " and ".join(repr(f"{name} ({label})") for label in sorted(shared[name]))
    notes.append(
        f"{len(shared):,} name{'s stand' if len(shared) > 1 else ' stands'} in several"
        f" tables or columns and {'are' if len(shared) > 1 else 'is'} kept apart, as"
        f" {examples}"
    )
    return [
        source.rows.assign(
            name=[
                f"{name} ({source.label})" if name in shared else name
                for name in source.rows[NAME]
            ]
        )
        for source in sources
    ]


def _label(path: Path) -> str:
    """Name a long table, without what only says which rows are in it.

    >>> _label(Path("train_materials.csv")), _label(Path("materials-test.csv"))
    ('materials', 'materials')
    """
    words = re.split(r"[\W_]+", path.stem)
    kept = [word for word in words if word.lower() not in SPLIT_WORDS]
    return "_".join(kept) or path.stem

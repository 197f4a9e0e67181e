"""Which table is which: training rows, rows to predict, a sample of the answer, names.

Nothing is guessed between two that could both be it: that is for the user to say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import UserError
from data_prep.first_look.id_columns import IdTable
from data_prep.first_look.table_kinds import (
    has_lists,
    has_names,
    is_folds,
    most_told_first,
)

TRAIN_WORDS = frozenset(["train", "training", "labels", "labelled", "labeled"])
TEST_WORDS = frozenset(["test", "testing"])
SAMPLE_WORDS = frozenset(["sample", "submission"])
OTHER_WORDS = frozenset(["val", "valid", "validation"])
NAME = "name"  # the second column of a table of attributes
NONE = "none"
MOST_NAMED = 4  # tables of a message


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The tables by their role, each with the reason.

    Attributes:
        train: Labelled rows.
        test: Rows to predict.
        sample: A sample of the prediction file.
        attributes: Tables of ids and names, long or wide.
        folds: Tables of ids and the user's own folds.
        reasons: Why, by role.
        notes: Tables that are left out, and why.
    """

    train: IdTable | None
    test: IdTable | None
    sample: IdTable | None
    attributes: Sequence[IdTable]
    folds: Sequence[IdTable]
    reasons: dict[str, str]
    notes: Sequence[str]


def words_of(path: Path, root: Path) -> set[str]:
    """Give the words of a file's name and of its folders below the root, lower case."""
    inside = path.is_relative_to(root)
    text = str(path.relative_to(root) if inside else path.name).lower()
    return set(re.findall(r"[a-z]+", text.rpartition(".")[0]))


def words_of_its_pictures(path: Path, root: Path) -> frozenset[str]:
    """Give the words that folders have with the pictures of a table, by its name."""
    words = words_of(path, root)
    for names, of_folders in (
        (TEST_WORDS | SAMPLE_WORDS, TEST_WORDS),
        (TRAIN_WORDS, TRAIN_WORDS),
    ):
        if words & names:
            return of_folders
    return frozenset()


def assign_roles(
    tables: Sequence[IdTable],
    root: Path,
    named: dict[str, Path | None],
    target: str | None = None,
) -> Roles:
    """Say which table is which.

    Args:
        tables: Those whose rows are of pictures.
        root: Folder that is looked at; names of folders below it count.
        named: The user's ``train``, ``test`` and ``sample``; None: to be told.
        target: The column that the user named, which the training table has.

    Raises:
        UserError: Two could both be the training table, or a named one is not there.
    """
    by_role = {role: _named(role, path, tables) for role, path in named.items()}
    reasons = {role: f"by --{role}" for role, table in by_role.items() if table}
    taken = [table for table in by_role.values() if table]
    folds = [table for table in tables if table not in taken and is_folds(table)]
    free = [table for table in tables if table not in [*taken, *folds]]
    words = {table.path: words_of(table.path, root) for table in free}
    wide = [table for table in free if not _is_attributes(table, [*taken, *free])]
    long = [table for table in free if table not in wide]
    for table in long:
        if words[table.path] & TRAIN_WORDS and by_role["train"] is None:
            raise UserError(_no_rows(table))
    attributes = [table for table in long if name_column(table)]
    notes = [
        f"{table.path.name}: several rows for a picture and {len(table.names)} further"
        " columns; attributes have one: left out"
        for table in long
        if table not in attributes
    ]
    for role, role_words in (("sample", SAMPLE_WORDS), ("test", TEST_WORDS)):
        if by_role[role]:
            continue
        if hit := _by_words(role, [t for t in wide if words[t.path] & role_words]):
            by_role[role] = hit
            reasons[role] = "by its name"
            wide.remove(hit)
    if by_role["train"] is None and wide:
        train, reasons["train"] = _train_of(wide, words, by_role["test"], target)
        by_role["train"] = train
        wide.remove(train)
    if by_role["test"] is None and by_role["train"]:
        test = _test_of(wide, by_role["train"])
        if test:
            by_role["test"] = test
            reasons["test"] = "it has the columns of the training table, without label"
            wide.remove(test)
    of_names = [table for table in wide if _is_beside(table, by_role["train"], words)]
    wide = [table for table in wide if table not in of_names]
    if by_role["train"] is None and long:
        raise UserError(_no_rows(max(long, key=lambda table: len(table.names))))
    notes += [
        f"{table.path.name}: neither train, test nor sample; left out" for table in wide
    ]
    return Roles(
        train=by_role["train"],
        test=by_role["test"],
        sample=by_role["sample"],
        attributes=[*attributes, *of_names],
        folds=folds,
        reasons=reasons,
        notes=notes,
    )


def _named(role: str, path: Path | None, tables: Sequence[IdTable]) -> IdTable | None:
    """Give the table that the user named."""
    if path is None:
        return None
    for table in tables:
        if table.path.resolve() == path.resolve():
            return table
    raise UserError(
        f"--{role} {path}: no column of it holds names of pictures of the folder"
    )


def _by_words(role: str, tables: Sequence[IdTable]) -> IdTable | None:
    """Give the one table whose name says that it has a role; None: there is none.

    Raises:
        UserError: There are several.
    """
    hits = [t for t in tables if role == "sample" or not is_sample(t.path)]
    if len(hits) > 1:
        raise UserError(_ambiguous(hits, f"the {role} table", role))
    return hits[0] if hits else None


def is_sample(path: Path) -> bool:
    """Tell by its name whether a table is a sample of the prediction file."""
    return bool(words_of(path, path.parent) & SAMPLE_WORDS)


def _is_attributes(table: IdTable, tables: Sequence[IdTable]) -> bool:
    """Tell whether a table gives names to pictures, and is no table of rows."""
    if table.is_long or table.names != [NAME]:
        return table.is_long
    return any(
        len(table.names) > 1 and not table.is_long and not is_sample(table.path)
        for table in tables
    )


def name_column(table: IdTable) -> str | None:
    """Give the column of the names of a table of attributes; None: there is none."""
    if NAME in table.names:
        return NAME
    return table.names[0] if len(table.names) == 1 else None


def _train_of(
    tables: Sequence[IdTable],
    words: dict[Path, set[str]],
    test: IdTable | None,
    target: str | None,
) -> tuple[IdTable, str]:
    """Give the training table, and why it is.

    Of ids alone nothing is learned, and of lists of names no target can be taken: such
    tables are none where there is another.

    Raises:
        UserError: Two could be it.
    """
    having = [table for table in tables if target in table.names]
    if len(having) == 1 and len(tables) > 1:
        return having[0], f"the only one with column {target}"
    with_columns = [table for table in tables if table.columns] or tables
    tables = [table for table in with_columns if not has_lists(table)] or with_columns
    if len(tables) == 1:
        return tables[0], "the only one that can be it, with one row a picture"
    named = [table for table in tables if words[table.path] & TRAIN_WORDS]
    if len(named) == 1:
        return named[0], "by its name"
    candidates = [
        table for table in named or tables if not words[table.path] & OTHER_WORDS
    ]
    if test is None and not named and len(candidates) == 2:
        first, second = sorted(candidates, key=lambda table: -len(table.names))
        if _test_of([second], first):
            return first, f"it has all columns of {second.path.name}, and further ones"
    raise UserError(_ambiguous(candidates or tables, "the training table", "train"))


def _is_beside(
    table: IdTable, train: IdTable | None, words: dict[Path, set[str]]
) -> bool:
    """Tell whether a wide table gives further names to pictures of the training table.

    One that shares a column with it is another table of rows.
    """
    if train is None or words[table.path] & (TRAIN_WORDS | TEST_WORDS | OTHER_WORDS):
        return False
    is_same_kind = set(table.names) & set(train.names)
    return bool(
        not is_same_kind and set(table.ids) & set(train.ids) and has_names(table)
    )


def _no_rows(table: IdTable) -> str:
    """Say why a table with several rows for a picture is no training table."""
    n_repeated = len(table.ids) - len(set(table.ids))
    return (
        f"{table.path}: {n_repeated:,} of its {len(table.ids):,} rows repeat a picture,"
        " so it can only give names to pictures ([data] attributes), and there is no"
        " table with a row for each; keep one row of each picture, or give such a table"
    )


def _test_of(tables: Sequence[IdTable], train: IdTable) -> IdTable | None:
    """Give the one table with other ids and fewer columns than the training table."""
    candidates = [
        table
        for table in tables
        if set(table.names) < set(train.names) and not set(table.ids) & set(train.ids)
    ]
    return candidates[0] if len(candidates) == 1 else None


def _ambiguous(tables: Sequence[IdTable], noun: str, flag: str) -> str:
    """Say that several tables could be one, the likeliest first, and how to choose."""
    tables = sorted(tables, key=most_told_first)
    seen = " and ".join(
        f"{table.path} ({len(table.ids):,} rows; {', '.join(table.names) or 'no other'}"
        " columns)"
        for table in tables[:MOST_NAMED]
    )
    n_more = len(tables) - MOST_NAMED
    more = f" and {n_more} more" if n_more > 0 else ""
    verb = "could both be" if len(tables) == 2 else "could each be"
    return f"{seen}{more} {verb} {noun}; write --{flag} {tables[0].path}"

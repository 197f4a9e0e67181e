"""The user's own folds: a table of id and fold, or a column of the training table.

They are taken as they are, but that copies of a picture are put into one fold. What is
wrong with them is told in one message, before a picture is opened.

Shapes: N rows, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.arrays import Bools
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import TRAIN_FROM, fold_columns
from data_prep.pictures.near_ids import near_hint
from data_prep.pictures.pages import PagedPictures
from data_prep.schemes import is_table
from data_prep.settings import nearest
from data_prep.tables.cells import as_numbers, as_texts, missing_mask, read_table
from data_prep.tables.column_notes import some, some_unread
from data_prep.tables.id_tables import problems_of_columns, problems_of_ids, raise_if
from data_prep.tables.user_tables import GIVEN

OWN = "own"  # own3: three folds of the user's
NO_FOLD = "-1"  # beside an empty cell: the row is never held out
FILL = "give each of them a fold, or an empty cell: then it is only learned from"


@dataclass(frozen=True, kw_only=True)
class UserFolds:
    """Folds as the user gave them.

    Attributes:
        source: What is called so in messages: a file, or a column of one.
        path: The file, if it is one of its own.
        table: By id of the training table: fold from 0, -1 for none; and maybe
            ``train_from``, where the folds are forward in time.
        names: What the user calls the F folds.
    """

    source: str
    path: Path | None
    table: pd.DataFrame
    names: tuple[str, ...]

    @property
    def cv(self) -> str:
        """What stands for the scheme."""
        return f"{OWN}{len(self.names)}"

    def of_pages(self, paged: PagedPictures) -> "UserFolds":
        """Give each page of a file the fold of the file."""
        return replace(self, table=paged.repeated(self.table))

    def assigned_to(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Give rows their folds; what copies join goes into the fold of most of it.

        Args:
            rows: N rows with id and cv_group.

        Returns:
            The rows with fold, and ``train_from`` where that was given.

        Raises:
            UserError: No picture of a fold is left, or copies tear folds in time.
        """
        table = self.table.reindex(rows["id"])
        rows = rows.assign(fold=table["fold"].fillna(-1).astype(np.int64).to_numpy())
        if TRAIN_FROM in table:
            first = table[TRAIN_FROM].fillna(len(self.names)).astype(np.int64)
            rows = rows.assign(**{TRAIN_FROM: first.to_numpy()})
        is_held_out = rows["fold"] >= 0
        torn = _torn(rows[is_held_out], "cv_group")
        if torn and TRAIN_FROM in rows:
            ids = rows["id"][is_held_out & rows["cv_group"].isin(torn)].tolist()
            raise UserError(
                f"{self.source}: copies of a picture tie rows of several folds, and the"
                f" folds are forward in time: {some(ids, 'row')} tied so; give those"
                " the earliest of their folds"
            )
        chosen = {
            cv_group: np.bincount(folds).argmax()  # the first of several
            for cv_group, folds in rows[
                is_held_out & rows["cv_group"].isin(torn)
            ].groupby("cv_group")["fold"]
        }
        moved = rows["cv_group"].map(chosen).where(is_held_out).fillna(rows["fold"])
        rows = rows.assign(fold=moved.astype(np.int64))
        for fold, name in enumerate(self.names):
            if not (rows["fold"] == fold).any():
                raise UserError(
                    f"{self.source}: no picture of fold {name!r} is left to hold out;"
                    " see left_out.csv of an earlier attempt, or take the fold out"
                )
        return rows

    def notes_on(self, rows: pd.DataFrame) -> list[str]:
        """Say how folds are numbered, and which rows have another than was given.

        Args:
            rows: As ``assigned_to`` gives them.
        """
        notes = []
        if self.names != tuple(map(str, range(len(self.names)))):
            listed = ", ".join(map(repr, self.names[:6])) + " ..." * (
                len(self.names) > 6
            )
            notes.append(f"{self.source}: folds {listed} are numbered from 0 here")
        before = self.table["fold"].reindex(rows["id"]).fillna(-1).to_numpy()
        moved = rows["id"][rows["fold"].to_numpy() != before].tolist()
        if moved:
            notes.append(
                f"{self.source}: {some(moved, 'row')} in another fold than was given,"
                " that of their copies, for a copy may not be learned from while the"
                " other is held out; folds.csv has them as they are"
            )
        return notes


def read_user_folds(
    source: str, data: DataSettings, rows: pd.DataFrame, has_picture: Bools
) -> UserFolds:
    """Read and check the user's own folds.

    Args:
        source: Path of a table of id and fold, or the name of a column.
        data: Where the tables lie, and what their columns are called.
        rows: N rows of the tables, read.
        has_picture: (N,) which of them have a picture.

    Raises:
        UserError: There are no such folds, or they have problems; all are listed.
    """
    is_train = (rows["split"] == "train").to_numpy()
    train = rows[is_train].reset_index(drop=True)
    if is_table(source, Path()):
        path: Path | None = Path(source)
        title, texts, problems = _of_table(Path(source), data, train)
    else:
        path, title = None, f"{data.train}, column {source!r}"
        texts, problems = _of_column(source, data, train), []
    cells = texts["fold"]
    names = _ordered(sorted(set(cells) - {""}))
    numbered = {name: fold for fold, name in enumerate(names)} | {"": -1}
    table = texts.assign(fold=[numbered[name] for name in cells])
    if len(names) < 2:
        counted = f"one fold only ({names[0]!r})" if names else "no fold"
        problems.append(f"{counted}; give two or more")
    if TRAIN_FROM in texts:
        table[TRAIN_FROM], more = _train_from(texts, table["fold"], len(names))
        problems += more
    by_id = table.set_index("id")
    needed = train[has_picture[is_train] & ~train["is_excluded"].to_numpy(dtype=bool)]
    if path is not None:  # a file may lack rows
        lacking = needed["id"][~needed["id"].isin(by_id.index)].tolist()
        text = f"{some(lacking, 'id')} in the train table and not here; {FILL}"
        problems += [text] * bool(lacking)
    folds = by_id["fold"].reindex(train["id"]).fillna(-1).to_numpy(dtype=np.int64)
    held_out = train.assign(fold=folds)[folds >= 0]
    problems += _problems_of_rows(held_out, data, names)
    raise_if(Path(title), problems)
    return UserFolds(source=Path(title).name, path=path, table=by_id, names=names)


def _of_table(
    path: Path, data: DataSettings, train: pd.DataFrame
) -> tuple[str, pd.DataFrame, list[str]]:
    """Read a table of id and fold.

    Returns:
        Its name, its rows (id, fold, maybe train_from, as texts) that are in the
        training table, and what is wrong.
    """
    cells = read_table(path)
    if len(columns := fold_columns(cells)) > 1:
        raise UserError(
            f"{path}: it has {len(columns)} deals of folds ({', '.join(columns)}), and"
            " folds of your own are dealt once; leave one of these columns, called"
            " 'fold', or set cv to a scheme such as 'sgkfold3x2' and take folds out"
        )
    column = data.id if data.id in cells else "id"
    raise_if(path, problems_of_columns(cells, {"id": column, "folds": "fold"}))
    ids = as_texts(cells[column])
    problems = problems_of_ids(ids, cells.index)
    listed_ids = set(train["id"])
    if unknown := sorted(set(ids) - listed_ids - {""}):
        hint = near_hint(unknown, sorted(listed_ids - set(ids)), "row")
        problems.append(f"{some(unknown, 'id')} not in the train table{hint}")
    texts = {"id": ids, "fold": _fold_texts(cells["fold"])}
    if TRAIN_FROM in cells:
        texts[TRAIN_FROM] = as_texts(cells[TRAIN_FROM])
    table = pd.DataFrame(texts, dtype=object)
    is_first = ~table["id"].duplicated() & table["id"].isin(listed_ids)
    return str(path), table[is_first].reset_index(drop=True), problems


def _of_column(name: str, data: DataSettings, train: pd.DataFrame) -> pd.DataFrame:
    """Take the folds from a column of the training table.

    Raises:
        UserError: There is no such column.
    """
    if GIVEN + name not in train:
        names = map(str, train.columns)
        further = [c.removeprefix(GIVEN) for c in names if c.startswith(GIVEN)]
        raise UserError(
            f"folds = {name!r}: {data.train} has no such column beside those that"
            " [data] names, and a table's name ends with .csv or .parquet;"
            f" {nearest(name, further)}"
        )
    texts = {"id": train["id"], "fold": _fold_texts(train[GIVEN + name])}
    return pd.DataFrame(texts, dtype=object)


def _fold_texts(column: "pd.Series[Any]") -> list[str]:
    """Give the names of folds, empty for none: an empty cell, -1, or a missing one."""
    pairs = zip(as_texts(column), missing_mask(column), strict=True)
    return ["" if no or text in (NO_FOLD, "-1.0") else text for text, no in pairs]


def _ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Put names in the order of their numbers, if all are numbers."""
    numbers = as_numbers(pd.Series(names, dtype=object))
    if not np.isfinite(numbers).all():
        return tuple(names)
    return tuple(names[k] for k in np.argsort(numbers, kind="stable"))


def _train_from(
    texts: pd.DataFrame, folds: "pd.Series[int]", n_folds: int
) -> tuple["pd.Series[int]", list[str]]:
    """Read the first fold whose net may be trained on a row; empty: no net may."""
    values = as_numbers(texts[TRAIN_FROM])
    is_empty = (texts[TRAIN_FROM] == "").to_numpy()
    is_number = (values >= 0) & (values == np.round(values))
    problems = []
    if len(odd := texts[TRAIN_FROM][~is_number & ~is_empty]):
        counted = some_unread(odd, "no number of a fold")
        problems.append(f"column {TRAIN_FROM!r}: {counted}")
    whole = np.where(is_number, values, n_folds).astype(np.int64)
    first: pd.Series[int] = pd.Series(whole)
    seen = texts["id"][(folds >= 0) & (first <= folds) & is_number].tolist()
    if seen:
        problems.append(
            f"{some(seen, 'id')} trained on by the net of the fold that holds it out"
            f" ({TRAIN_FROM} is to be above fold)"
        )
    return first, problems


def _problems_of_rows(
    held_out: pd.DataFrame, data: DataSettings, names: Sequence[str]
) -> list[str]:
    """List the rows that may be in no fold, and the groups and objects that are torn.

    Args:
        held_out: Rows of the training table that are in a fold.
        data: What the user calls their columns.
        names: What the user calls the folds.
    """
    problems = []
    never = held_out["id"][held_out["is_excluded"].astype(bool)].tolist()
    if never:
        problems.append(
            f"{some(never, 'id')} in a fold, and column"
            f" {data.exclude_from_validation!r} says never to hold them out; empty the"
            " cells, or say 0 there"
        )
    for role in ("group", "object"):
        if (column := getattr(data, role)) is None:
            continue
        in_some = held_out[held_out[role] != ""]
        torn = _torn(in_some, role)
        if not torn:
            continue
        first = in_some[in_some[role].isin(torn[:3])].groupby(role)["fold"]
        shown = "; ".join(
            f"{value!r} in {', '.join(names[fold] for fold in sorted(set(folds)))}"
            for value, folds in first
        )
        counted = f"{len(torn):,} {role}s" if len(torn) > 1 else f"1 {role}"
        problems.append(
            f"{counted} of column {column!r} torn over folds"
            f" ({shown}{' ...' * (len(torn) > 3)}); give each one fold, or take {role}"
            " out of [data]"
        )
    return problems


def _torn(rows: pd.DataFrame, column: str) -> list[Any]:
    """List the values of a column that lie in several folds."""
    n_folds = rows.groupby(column)["fold"].nunique()
    return list(n_folds.index[n_folds > 1])

"""The user's own columns of pictures that came after the run was made.

They are read with the checks of the training table, before any net runs. Dates are
read as they were there, and the size of a picture is measured, as it was there.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError, named
from data_prep.prepared import pages_of
from data_prep.run_folders.runs import Finished
from data_prep.settings import nearest
from data_prep.user_columns import UserColumns

if TYPE_CHECKING:
    import pandas as pd

DATE, SIZES = "date", ("width", "height")  # columns of ours; no table has sizes
log = logging.getLogger(__name__)


def read_columns(
    path: Path | None,
    pictures: Sequence[str],
    user_columns: UserColumns,
    prepared: Finished,
    *,
    learner: str = "the stack",
) -> "pd.DataFrame":
    """Read the columns that a stack or nets learned from, for new pictures.

    Args:
        path: The user's table; None: there is none.
        pictures: N ids.
        user_columns: The columns.
        prepared: The finished ``data_prep.prepare``.
        learner: What learned from them, for messages.

    Returns:
        N rows, ids as the index, without what ``with_sizes`` adds.

    Raises:
        UserError: The table is missing, lacks a column or a picture, or a cell is no
            number or date where those of the training table were.
    """
    import pandas as pd

    from data_prep.tables.id_tables import read_id_table

    prepared_names = _names_of_ours(prepared)
    measured = prepared_names & set(SIZES)
    columns = [c for c in user_columns.columns if c.name not in measured]
    names = [column.name for column in columns]
    if path is None:
        if names:
            raise UserError(
                f"{learner} learned from {', '.join(names)} too; give --table FILE"
            )
        return pd.DataFrame({"id": list(pictures)}, dtype=object).set_index("id")
    id_column = prepared.metadata["id_column"]
    table = read_id_table(path, id_column)
    if DATE in names and DATE in prepared_names:
        table = _with_dates(table, path, prepared.metadata.get("date_column") or DATE)
    if missing := [name for name in names if name not in table]:
        more = f" (as for {', '.join(missing[1:])})" if missing[1:] else ""
        raise UserError(
            f"{path}: no column {missing[0]!r}, which {learner} learned from;"
            f" {nearest(missing[0], table.columns)}{more}"
        )
    rows = _rows_of(table, pictures, path, id_column)
    if n_more := len(table) - len(rows):
        log.info("%s: %d rows have no picture in --images", path, n_more)
    if columns:
        to_read = UserColumns(tuple(columns))
        try:
            to_read.apply(rows)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        for text in to_read.messages(rows, "to predict"):
            log.warning("%s: %s", path, text.removesuffix("."))
    by_id: pd.DataFrame = rows.set_index(id_column)[names]
    return by_id


def _rows_of(
    table: "pd.DataFrame", pictures: Sequence[str], path: Path, id_column: str
) -> "pd.DataFrame":
    """Give the rows of some pictures.

    Raises:
        UserError: A picture has none.
    """
    from data_prep.pictures.near_ids import near_hint

    ids = table[id_column]
    rows = table[ids.isin(list(pictures))]
    if lacking := set(pictures) - set(ids):
        hint = near_hint(ids[~ids.isin(rows[id_column])], sorted(lacking), "picture")
        remedy = f"{hint}; write the ids as the files are named"
        if not hint:
            remedy = f"; add them (its ids are like {ids.iloc[0]!r})"
        raise UserError(f"--table {path} has no row for {named(lacking)}{remedy}")
    return rows


def read_objects_of(
    path: Path | None, pictures: Sequence[str], prepared: Finished
) -> "pd.Series[Any] | None":
    """Read which object each new picture shows, where a run has objects.

    Args:
        path: The user's table; None: there is none.
        pictures: N ids, of files.
        prepared: The finished ``data_prep.prepare``.

    Returns:
        (N,) names of objects, ids as the index; None: a picture is one.

    Raises:
        UserError: The table is missing, or lacks the column or a picture.
    """
    import pandas as pd

    from data_prep.tables.id_tables import raise_if, read_id_table
    from data_prep.tables.objects import read_objects

    column, id_column = (
        prepared.metadata.get(f"{role}_column") for role in ("object", "id")
    )
    if column is None:
        if pages_of(prepared.record) == "first":
            return None
        return pd.Series(list(pictures), index=list(pictures), dtype=object)
    if path is None:
        raise UserError(
            f"the run predicts objects ([data] object = {column!r}), and no table says"
            " which pictures show which; give --table FILE with the columns"
            f" {id_column!r} and {column!r}"
        )
    table = read_id_table(path, str(id_column))
    if column not in table:
        raise UserError(
            f"{path}: no column {column!r} of objects; {nearest(column, table.columns)}"
        )
    rows = _rows_of(table, pictures, path, str(id_column))
    ids = list(rows[str(id_column)])
    objects, problems, _ = read_objects(rows[column], column, ids)
    raise_if(path, problems)
    return pd.Series(objects, index=ids, dtype=object)


def with_sizes(
    table: "pd.DataFrame", sizes: Mapping[str, Mapping[str, Any]]
) -> "pd.DataFrame":
    """Add the width and the height of pictures, in pixels, as decoding measured them.

    Args:
        table: Rows by id; columns of the user's of these names stay.
        sizes: ``width`` and ``height`` by id.
    """
    return table.assign(
        **{
            name: [sizes[id_][name] for id_ in table.index]
            for name in SIZES
            if name not in table
        }
    )


def _with_dates(table: "pd.DataFrame", path: Path, name: str) -> "pd.DataFrame":
    """Read dates as those of the training table, into the column ``DATE``.

    Raises:
        UserError: A cell is no date.
    """
    from data_prep.tables.cells import unread
    from data_prep.tables.column_notes import no_dates
    from data_prep.tables.dates import as_years

    name = name if name in table else DATE
    if name not in table:
        return table
    years, _ = as_years(table[name])
    if len(wrong := unread(table[name], years)):
        raise UserError(f"{path}: {no_dates(name, wrong)}")
    return table.assign(**{DATE: years})


def _names_of_ours(prepared: Finished) -> set[str]:
    """Give the columns that are ours where the user has none of that name."""
    from data_prep.prepared import Prepared
    from data_prep.tables.user_tables import GIVEN

    stored = Prepared.open(prepared).table.columns
    return {name for name in (DATE, *SIZES) if GIVEN + name not in stored}

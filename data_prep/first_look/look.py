"""A look at a folder and its tables, from names and cells to roles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.errors import UserError
from data_prep.first_look.beside import no_table, note_beside
from data_prep.first_look.class_folders import class_folders
from data_prep.first_look.column_roles import ColumnRoles, assign_columns
from data_prep.first_look.headers import Headers, check_readable, read_headers
from data_prep.first_look.id_columns import IdTable, id_table, read_any
from data_prep.first_look.listing import Listing, list_folder
from data_prep.first_look.picture_ids import PictureIds
from data_prep.first_look.seen import Seen
from data_prep.first_look.table_roles import (
    NAME,
    NONE,
    Roles,
    assign_roles,
    is_sample,
    name_column,
    words_of_its_pictures,
)
from data_prep.pictures.printable import shown
from data_prep.tables.column_notes import note_names

NO_ROLES = Roles(
    train=None, test=None, sample=None, attributes=(), folds=(), reasons={}, notes=()
)


def look(
    folder: Path,
    tables: Sequence[Path],
    *,
    named_tables: dict[str, Path | None],
    named_columns: Mapping[str, str | None],
) -> Seen:
    """Look at the names of all files, the tables, and the headers of a few pictures.

    Args:
        folder: Of the pictures, and of the tables where none are named.
        tables: The tables; none: those in the folder.
        named_tables: ``train``, ``test`` and ``sample`` as the user named them.
        named_columns: ``id``, ``target``, ``classes``, ``group``, ``object`` and
            ``date`` likewise; of target and classes one at most.

    Raises:
        UserError: There is no picture, a single one, or none that can be read, a role
            cannot be told, a file is no table, or a column is named without a table.
    """
    listing = list_folder(folder)
    if listing.n_pictures == 1:
        raise UserError(
            f"{shown(folder)}: 1 picture; give at least 2, as nets learn from what"
            " differs"
        )
    flagged = [path for path in named_tables.values() if path]
    paths = [*tables, *flagged] if tables else [*listing.tables, *flagged]
    paths = list({path.resolve(): path for path in paths}.values())
    named_id = named_columns["id"]
    ids_by_table = {
        path: replace(listing.ids, words=words_of_its_pictures(path, folder))
        for path in paths
    }
    read = _read_all(ids_by_table, named_id, is_named=bool(tables))
    of_pictures = [table for table in read.values() if table]
    strange = [path for path, table in read.items() if table is None]
    headers = read_headers(listing.pictures)
    if headers is None:
        check_readable(listing.pictures)
    if not of_pictures:
        return _without_rows(listing, headers, strange, named_columns)
    target = named_columns["target"] or named_columns["classes"]
    roles = assign_roles(of_pictures, folder, named_tables, target)
    flags = {key: name for key, name in named_columns.items() if key != "id"}
    columns = assign_columns(roles, flags)
    if columns.object and not roles.sample:
        roles = _with_sample_of_objects(roles, columns.object.name, strange)
    strange = [
        path for path in strange if not roles.sample or path != roles.sample.path
    ]
    return Seen(
        listing=listing,
        headers=headers,
        roles=roles,
        columns=columns,
        has_words=_has_words(roles.attributes),
        notes=[
            *map(_names_no_picture, strange),
            *roles.notes,
            *filter(None, map(_counts_rows, of_pictures)),
            *_notes_on_names(roles.train, columns),
        ],
    )


def _without_rows(
    listing: Listing,
    headers: Headers | None,
    tables: Sequence[Path],
    named_columns: Mapping[str, str | None],
) -> Seen:
    """Give what is seen where no table names a picture: perhaps classes by folder.

    Args:
        listing: The pictures.
        headers: Of a few of them.
        tables: All that there are.
        named_columns: As the user named them, by role.

    Raises:
        UserError: A column is named, or tables were meant to name pictures.
    """
    flags = {key: name for key, name in named_columns.items() if name and name != NONE}
    notes = [
        f"{path.name}: a workbook is not read; save the sheet as CSV UTF-8"
        for path in listing.workbooks
    ]
    if flags and not tables:
        raise UserError("; ".join([*notes, no_table(listing.root, flags)]))
    is_free = NONE in (named_columns["target"], named_columns["classes"])
    folders = None if is_free else class_folders(listing)
    if tables and (flags or (folders is None and not is_free)):
        raise UserError(_no_ids(tables[0], listing))
    if not tables and not is_free:
        notes += filter(None, [note_beside(listing.root)])
    return Seen(
        listing=listing,
        headers=headers,
        roles=NO_ROLES,
        folders=folders,
        notes=[
            *map(_names_no_picture, tables),
            *notes,
            *(note_names("subfolders", folders.labels.values()) if folders else ()),
        ],
    )


def _notes_on_names(train: IdTable | None, columns: ColumnRoles) -> list[str]:
    """Tell of names that are nearly the same, in the columns where each is a class."""
    from data_prep.tables.cells import as_texts

    if train is None:
        return []
    is_classes = columns.target_kind == "classes"
    target = columns.target if is_classes else None
    named = [target, columns.group, columns.object, *columns.classes]
    return [
        f"{train.path.name}: {note}"
        for column in named
        if column
        for note in note_names(column.name, as_texts(train.cells[column.name]))
    ]


def _counts_rows(table: IdTable) -> str:
    if table.counter is None:
        return ""
    named = f"column {table.counter!r}" if table.counter else "a column without a name"
    return f"{table.path.name}: {named} only counts the rows; left out"


def _names_no_picture(path: Path) -> str:
    return f"{path.name}: no column holds names of pictures; left out"


def _with_sample_of_objects(roles: Roles, name: str, tables: Sequence[Path]) -> Roles:
    """Add the sample of the prediction file, which has a row for each object.

    Args:
        roles: The tables that name pictures.
        name: Name of the column of objects.
        tables: Those that name none.
    """
    from data_prep.tables.cells import as_texts

    if roles.test is None:
        return roles
    names = as_texts(roles.test.cells[name])
    objects = PictureIds(by_stem={text: [text] for text in names})
    for path in tables:
        sample = id_table(path, objects, name) if is_sample(path) else None
        if sample and sample.id_column == name:
            reasons = roles.reasons | {"sample": f"by its name; one for each {name}"}
            return replace(roles, sample=sample, reasons=reasons)
    return roles


def _read_all(
    ids_by_table: Mapping[Path, PictureIds],
    named_id: str | None,
    *,
    is_named: bool,
) -> dict[Path, IdTable | None]:
    """Read the tables; None: one that names no pictures.

    Raises:
        UserError: One is no table; one that nobody named may be left out by naming.
    """
    try:
        return {
            path: id_table(path, pictures, named_id)
            for path, pictures in ids_by_table.items()
        }
    except UserError as error:
        if is_named:
            raise
        raise UserError(
            f"{error}; or name the tables that are meant: python -m data_prep.start"
            " FOLDER TABLE ..."
        ) from None


def _has_words(tables: Sequence[IdTable]) -> bool:
    """Tell whether names of pictures go together, so that they can become vectors."""
    import pandas as pd

    from data_prep.tables.attributes import attributes_of
    from data_prep.tables.words import why_no_vectors

    if not tables:
        return False
    frames = []
    for table in tables:
        cells = table.cells.assign(**{table.id_column: table.ids})
        if (name := name_column(table)) and table.is_long:
            cells = cells.rename(columns={name: NAME})
        frames.append(attributes_of([(table.path, cells)], table.id_column))
    return why_no_vectors(pd.concat(frames).drop_duplicates()) is None


def _no_ids(path: Path, listing: Listing) -> str:
    """Say that a table names no picture, with an example of both."""
    from data_prep.tables.cells import as_texts

    cells = read_any(path)
    first = cells.columns[0] if len(cells.columns) else ""
    texts = as_texts(cells[first]) if len(cells) else []
    example = f"{first} is {texts[0]!r}" if texts else "it has no rows"
    picture = listing.id_of(listing.pictures[0])
    return (
        f"{path}: no column holds names of pictures ({example}, a picture is"
        f" {picture!r}); write the ids as the files are named, or name the column:"
        " --id COLUMN"
    )

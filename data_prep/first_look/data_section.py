"""The table ``[data]`` of a proposal, and the tables that are copied with plain ids."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.first_look.class_folders import rows_of
from data_prep.first_look.columns import Column
from data_prep.first_look.id_columns import IdTable
from data_prep.first_look.proposal import CopiedTable, Entry, Section
from data_prep.first_look.seen import Seen
from data_prep.first_look.table_roles import NAME, name_column
from data_prep.folds import MAX_CLASSES

ID, TARGET = "id", "target"
IS_NUMBERS = (
    "{n} whole numbers may be numbers, of which near misses count less than far ones"
    " (RMSE), or names of classes, where every miss is as bad as another; they are"
    " taken for numbers"
)
IS_CLASSES = "{low} and {high} alone are taken for names of two classes"


def data_section(seen: Seen, folder: Path) -> tuple[Section, list[CopiedTable]]:
    """Propose ``[data]``.

    Args:
        seen: What there is.
        folder: Where tables are written that must be copied.

    Returns:
        The table, and the copies that it names.
    """
    entries, copies = list(_images(seen)), []
    if seen.folders:
        train, test = rows_of(seen.folders, seen.listing)
        copies.append(CopiedTable(name="train.csv", header=(ID, TARGET), rows=train))
        reason = f"{seen.folders.reason}; if they are none: --target none"
        entries.append(Entry(key="train", value=folder / "train.csv", reason=reason))
        if test:
            copies.append(CopiedTable(name="test.csv", header=(ID,), rows=test))
            reason = f"{len(test):,} pictures of the folder for tests, to be predicted"
            entries.append(Entry(key="test", value=folder / "test.csv", reason=reason))
        entries.append(Entry(key="target", value=TARGET))
    elif seen.n_labelled:
        table_entries, copies = _tables(seen, folder)
        entries += [*table_entries, *_columns(seen)]
    entries.append(_up(seen))
    return Section(name="data", entries=entries), copies


def _images(seen: Seen) -> Iterator[Entry]:
    headers = seen.headers
    reason = f"{seen.listing.n_pictures:,} pictures"
    if seen.n_in_no_table:
        reason += f", {seen.n_in_no_table:,} of them in no table: without a label"
    if headers:
        reason += (
            f", of about {headers.short_px} x {headers.long_px} px"
            f" (headers of {headers.n_read} read)"
        )
    if len(seen.listing.names) > 1:
        reason += f", in {len(seen.listing.names):,} folders within"
    yield Entry(key="images", value=seen.listing.top, reason=reason)


def _tables(seen: Seen, folder: Path) -> tuple[list[Entry], list[CopiedTable]]:
    """Propose the tables and their id column, and copy those with other ids."""
    roles, train = seen.roles, seen.roles.train
    if train is None:
        raise RuntimeError("labels without a training table")
    is_free = train.is_plain or ID in train.names
    id_column = train.id_column if is_free else ID
    thing = seen.columns.object
    object_name = thing.name if thing else None
    entries, copies = [], []

    def path_of(table: IdTable, name: str, *, is_other: bool) -> tuple[Path, str]:
        """Give the table itself or its copy, and what to say of the copy."""
        if table.is_plain and not is_other:
            return table.path, ""
        copies.append(_copy(table, id_column, name))
        return folder / copies[-1].name, (
            f"; a copy of {table.path.name} in which the ids are names of files without"
            " folder and extension"
        )

    for role, table in (
        ("train", train),
        ("test", roles.test),
        ("sample", roles.sample),
    ):
        if table:
            is_other = table.id_column not in (id_column, object_name)
            path, of_copy = path_of(table, role, is_other=is_other)
            reason = f"{_rows_text(table)}: {roles.reasons[role]}{of_copy}"
            entries.append(Entry(key=role, value=path, reason=reason))
    reason = f"it holds the names of pictures, such as {train.ids[0]}"
    entries.append(Entry(key="id", value=id_column, reason=reason))
    if roles.attributes:
        paths = []
        for number, table in enumerate(roles.attributes, start=1):
            is_other = table.is_long and table.names != [NAME]
            is_other |= table.id_column not in (id_column, ID)
            path, _ = path_of(table, f"names{number}", is_other=is_other)
            paths.append(path)
        reason = _names_text(roles.attributes)
        entries.append(Entry(key="attributes", value=paths, reason=reason))
    return entries, copies


def _names_text(tables: Sequence[IdTable]) -> str:
    """Say what tables of names hold."""
    kinds = []
    if any(table.is_long for table in tables):
        kinds.append("several names for a picture, a row each")
    kinds += [
        f"words of {table.path.name}, by column ({', '.join(table.names[:4])}"
        f"{', ...' * (len(table.names) > 4)})"
        for table in tables
        if not table.is_long
    ]
    n_named = len({id_ for table in tables for id_ in table.ids})
    return f"{'; '.join(kinds)}; {n_named:,} pictures have any"


def _copy(table: IdTable, id_column: str, name: str) -> CopiedTable:
    """Copy a table with plain ids; the second column of attributes is ``name``."""
    from data_prep.tables.cells import as_texts

    name_of_long = name_column(table) if table.is_long else None
    names = [name_of_long] if name_of_long else table.names
    header = [id_column, *([NAME] if name_of_long else names)]
    columns = [list(table.ids), *(as_texts(table.cells[n]) for n in names)]
    return CopiedTable(
        name=f"{name}.csv",
        header=header,
        rows=[list(row) for row in zip(*columns, strict=True)],
    )


def _rows_text(table: IdTable) -> str:
    n_rows = len(table.ids)
    lacking = len(set(table.ids)) - table.n_pictures
    return f"{n_rows:,} rows" + (f", {lacking:,} without a picture" if lacking else "")


def _columns(seen: Seen) -> Iterator[Entry]:
    """Propose the columns."""
    columns = seen.columns
    target, reasons = columns.target, columns.reasons
    if target is None:
        return
    is_text = columns.target_kind == "classes" and not target.is_number
    kind = f"{target.n_values:,} classes" if is_text else target.text
    reason = f"{reasons['target']}; {kind}"
    yield Entry(key="target", value=target.name, reason=reason)
    is_told = columns.target_kind == "classes" and "target_kind" in reasons
    if not is_text and (target.is_few_whole_numbers or is_told):
        yield _target_kind(seen, target)
    if columns.group:
        yield Entry(key="group", value=columns.group.name, reason=reasons["group"])
    if columns.object:
        yield Entry(key="object", value=columns.object.name, reason=reasons["object"])
    if columns.date:
        yield Entry(key="date", value=columns.date.name, reason=reasons["date"])


def _target_kind(seen: Seen, target: Column) -> Entry:
    """Say that whole numbers are numbers, or classes, and how to say otherwise."""
    is_classes = seen.columns.target_kind == "classes"
    kind, alternative = ("classes", "numbers") if is_classes else ("numbers", "classes")
    reason = (IS_CLASSES if is_classes else IS_NUMBERS).format(
        n=target.n_values, low=target.low, high=target.high
    )
    why = seen.columns.reasons.get("target_kind")
    if why and is_classes:
        n = f"{target.n_values:,}"
        return Entry(key="target_kind", value=kind, reason=f"{why}: {n} names")
    if why:
        reason = f"{why}, so they are numbers and near misses count less (RMSE)"
    reason += f'; for the other way write "{alternative}"'
    if has_own_tasks(seen) and not is_classes:
        reason += " and take [tasks.target] out"
    return Entry(key="target_kind", value=kind, reason=reason)


def has_own_tasks(seen: Seen) -> bool:
    """Tell whether the tasks are to be listed: the usual ones need no table."""
    return bool(seen.columns.classes) or is_graded(seen) or seen.has_words


def is_graded(seen: Seen) -> bool:
    """Tell whether the target is a number of few values."""
    target = seen.columns.target
    if target is None or seen.columns.target_kind != "numeric":
        return False
    return target.n_values <= MAX_CLASSES


def _up(seen: Seen) -> Entry:
    """Say that pictures have an up where cameras took them, and offer it elsewhere."""
    if seen.is_up:
        reason = "by --up: nothing is turned upside down, only mirrored"
        return Entry(key="up", value=True, reason=reason)
    headers = seen.headers
    n_camera, n_read = (headers.n_camera, headers.n_read) if headers else (0, 0)
    is_camera = 2 * n_camera > n_read
    if not seen.n_labelled and not is_camera:
        reason = "without labels nothing is turned, only mirrored"
        return Entry(key="up", value=True, reason=reason, is_offered=True)
    reason = (
        f"{n_camera} of {n_read} headers name a camera, and what a camera takes mostly"
        " has an up: nothing is turned upside down, only mirrored; if it may be (coins,"
        " leaves on a table), take this out"
        if is_camera
        else "no header names a camera: pictures are flipped and turned in all eight"
        " ways; if none is ever upside down (rooms, streets, people), switch this on"
    )
    return Entry(key="up", value=True, reason=reason, is_offered=not is_camera)

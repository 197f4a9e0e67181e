"""What a table is by itself, before it is compared with others: folds, ids, names."""

from data_prep.errors import UserError
from data_prep.first_look.id_columns import IdTable
from data_prep.folds import TRAIN_FROM

FOLD = "fold"
FOLDS_COLUMNS = ([FOLD], sorted([FOLD, TRAIN_FROM]))


def is_folds(table: IdTable) -> bool:
    """Tell whether a table gives each picture its fold, and nothing else."""
    return not table.is_long and sorted(table.names) in FOLDS_COLUMNS


def has_names(table: IdTable) -> bool:
    """Tell whether all columns of a wide table are words or yes and no: names.

    Titles, of which each picture has one of its own, may be among them.
    """
    from data_prep.tables.attributes import attributes_of, names_of

    if table.is_long or any(column.is_date for column in table.columns):
        return False
    if any(names_of(table.cells[name], name) is None for name in table.names):
        return False
    try:
        attributes_of([(table.path, table.cells)], table.id_column)
    except UserError:
        return False
    return True


def has_lists(table: IdTable) -> bool:
    """Tell whether cells hold several names, as ``oil; canvas``: none is a target."""
    from data_prep.tables.attributes import USUAL_SEPARATORS
    from data_prep.tables.cells import as_texts

    return has_names(table) and any(
        USUAL_SEPARATORS.search(text)
        for name in table.names
        for text in as_texts(table.cells[name])
    )


def most_told_first(table: IdTable) -> tuple[int, int, str]:
    """Sort tables by columns, then rows, the most first."""
    return -len(table.names), -len(table.ids), str(table.path)

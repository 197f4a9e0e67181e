"""The tables that ``data_prep.prepare`` writes."""

import shutil
from pathlib import Path

import pandas as pd

from data_prep.experiment import DataSettings
from data_prep.folds import FOLD, TRAIN_FROM, count_folds, fold_columns
from data_prep.pictures.folders import write_left_out
from data_prep.pictures.pages import PagedPictures
from data_prep.reporting.overview import Preparation
from data_prep.rows import COLUMNS
from data_prep.tables.cells import as_texts, read_table
from data_prep.tables.user_tables import GIVEN


def write_tables(
    folder: Path,
    preparation: Preparation,
    listed: pd.DataFrame,
    paged: PagedPictures,
) -> None:
    """Write what is of the pictures that there are: tables, folds, and those left out.

    Args:
        folder: Of the stage.
        preparation: The rows, and what is known of them.
        listed: The rows of the user's tables.
        paged: Which pictures are pages of a file.
    """
    rows, words = preparation.rows, preparation.words
    preparation.attributes.to_parquet(folder / "attributes.parquet", index=False)
    if words:
        words.of_names.to_parquet(folder / "names.parquet", index=False)
        words.of_ids.to_parquet(folder / "words.parquet", index=False)
    columns = [name for name in COLUMNS if name in rows]
    after = columns.index(FOLD) + 1
    columns[after:after] = fold_columns(rows)[1:]
    columns += [name for name in rows.columns if name.startswith(GIVEN)]
    rows[columns].to_parquet(folder / "table.parquet", index=False)
    if preparation.metadata["n_folds"]:
        of_files = rows.assign(
            id=rows["id"].map(lambda id_: paged.file_ids.get(id_, id_))
        )
        _write_folds(folder / "folds.csv", listed, of_files.drop_duplicates("id"))
    if len(preparation.near.pairs):
        preparation.near.pairs.to_csv(folder / "near_copies.csv", index=False)
    write_left_out(folder / "left_out.csv", preparation.left_out)


def _write_folds(path: Path, listed: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Write the folds as ``--folds`` takes them, of every row of the training table.

    Args:
        path: The file.
        listed: The rows of the user's tables.
        rows: Those that have a picture, with their folds.
    """
    folds = fold_columns(rows)
    names = [name for name in (*folds, TRAIN_FROM) if name in rows]
    kept = rows.set_index("id")[names]
    if TRAIN_FROM in kept:  # none may, said as an empty cell
        kept[TRAIN_FROM] = kept[TRAIN_FROM].where(kept[TRAIN_FROM] < count_folds(rows))
    kept[folds] = kept[folds].where(kept[folds] >= 0)
    ids = listed["id"][listed["split"] == "train"]
    table = kept.reindex(ids).astype("Int64").rename_axis("id").reset_index()
    table.to_csv(path, index=False)


def write_requested_ids(folder: Path, rows: pd.DataFrame, data: DataSettings) -> None:
    """Write what to predict in the user's order, also that without a picture."""
    if data.sample:
        _copy_sample(data.sample, folder / "sample.csv", data.object or data.id)
    elif data.test:
        names = rows.loc[rows["split"] == "test", "object" if data.object else "id"]
        names = names.drop_duplicates().rename("id")
        names.to_csv(folder / "test_ids.csv", index=False)


def _copy_sample(sample: Path, target: Path, id_column: str) -> None:
    if sample.suffix.lower() not in (".parquet", ".pq"):
        shutil.copyfile(sample, target)
        return
    table = read_table(sample)
    ids = as_texts(table[id_column])  # 7 of a column of floats is not to become 7.0
    table.assign(**{id_column: ids}).to_csv(target, index=False)

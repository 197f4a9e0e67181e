"""What ``data_prep.prepare`` wrote, as every later stage reads it. Torch-free.

The order of the rows in ``table.parquet`` means nothing: they are put in the order of
the pictures, so that row i of the table is picture i of ``images.npy``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.run_folders.damage import PIXELS, command_of, read_frame
from data_prep.run_folders.runs import Finished

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.arrays import Ints
    from data_prep.pictures.pages import Pages
    from data_prep.task_types.base import TaskType
    from data_prep.tasks import Task

PREPARED = "data_prep.prepare"
TABLE = "table.parquet"
NEEDED = ("id", "split", "image_row", "cv_group", "fold")


@dataclass(frozen=True, kw_only=True)
class Prepared(Finished):
    """The finished ``data_prep.prepare`` with its table.

    Attributes:
        table: N rows, a row per picture: ``data_prep.rows.COLUMNS``, of which
            target, class_index and object may be absent, and the user's further
            columns as ``given.NAME``. Row i is picture i of ``images.npy``.
    """

    table: "pd.DataFrame"

    @classmethod
    def open(cls, finished: Finished) -> "Prepared":
        """Read the table of a finished stage, and check it.

        Raises:
            UserError: An older version wrote it, or its rows are not those of the
                pictures.
            DamagedFileError: It is missing, cut or changed.
        """
        path = finished.folder / TABLE
        table = read_frame(path)
        command = command_of(PREPARED, finished.folder.parent)
        if lacking := [name for name in NEEDED if name not in table]:
            raise UserError(
                f"{path}: it has no column {', '.join(lacking)}; again: {command}"
            )
        table = table.sort_values("image_row", ignore_index=True)
        if not (table["image_row"] == table.index).all():
            raise UserError(
                f"{path}: image_row does not number its {len(table):,} rows from 0, so"
                f" they are not those of {PIXELS}; again: {command} --overwrite"
            )
        return cls(folder=finished.folder, record=finished.record, table=table)

    @property
    def table_path(self) -> Path:
        """The file of the table, for messages."""
        return self.folder / TABLE

    @property
    def images_path(self) -> Path:
        """The pixels, (N, S, S, 3) uint8; the file may be gone."""
        return self.folder / PIXELS

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes of the target by class_index; none: a quantity."""
        from data_prep.tables.spelling import class_names

        return class_names(self.metadata.get("classes") or [])

    @property
    def target_range(self) -> tuple[float, float] | None:
        """Lowest and highest target in the user's unit; None: it is no number."""
        if self.metadata["target_kind"] != "numeric":
            return None
        low, high = self.metadata["target_range"]
        return float(low), float(high)

    def rows_by_name(self) -> "pd.DataFrame":
        """Give the first picture of whatever is predicted: an object, or a picture.

        Returns:
            A row of the table for each name, names as the index.
        """
        name = "object" if "object" in self.table else "id"
        # a picture in no table may be called as an object is
        is_in_none = self.table["split"] == "unlabelled"
        ordered = self.table.iloc[is_in_none.to_numpy().argsort(kind="stable")]
        return ordered.drop_duplicates(name).set_index(name, drop=False)

    def image_rows(self, ids: Iterable[str]) -> "Ints":
        """Find (n,) rows of ``images.npy`` by id."""
        row_of = self.table.set_index("id")["image_row"]
        rows: Ints = row_of.loc[list(ids)].to_numpy("int64")
        return rows

    def tasks(
        self, settings: "dict[str, TaskType]", only: Sequence[str] = ()
    ) -> "list[Task]":
        """Build the sub-tasks with the labels of the N rows; see ``build_tasks``."""
        from data_prep.tasks import build_tasks

        return build_tasks(settings, self.table, self.folder, self.metadata, only=only)


def name_column(metadata: Mapping[str, Any]) -> str:
    """Give the user's column of the names of what is predicted: objects, or pictures.

    Args:
        metadata: Of ``data_prep.prepare``.
    """
    return str(metadata.get("object_column") or metadata["id_column"])


def pages_of(record: Mapping[str, Any]) -> "Pages":
    """Tell which pages of a file are pictures, by the record of ``data_prep.prepare``.

    It has the setting only where that is not the default.
    """
    return "all" if record["settings"].get("page") == "all" else "first"

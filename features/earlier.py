"""What the nets of a run gave for pictures at an earlier time, so that it is kept.

A picture is recognised by the bytes of its file, whatever its name and folder, by the
number of its page, and by the cells of the user's table where the nets are given some.
What is kept are the single views of each fold, from which all else is made, and the
columns of its pixels. Torch-free.

Shapes: N pictures of an earlier time, V views, F outputs of the nets of a fold, P
columns of the pixels.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Ints
from data_prep.pictures.pages import PictureFile, file_of, page_of
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.runs import write_json
from data_prep.verify import faults_of_stage
from features.inference import claims_of
from features.pixel_columns import pixel_column_names
from features.plan import OutputColumn
from features.rows import Floats, Rows, array_rows, chosen_rows
from features.store import open_store

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded

PIXEL_STORE = "pixels.pkl"  # what needs no net: colours and tiny pictures
SIDECAR = "pictures.json"  # of each picture: its file, and what became of it
# Fields that it leaves out: dates differ after a copy, and what is told is told once.
NOT_KEPT = ("witness", "info")
# The SHA-256 of a file, the page of it, the ending of its name, the digest of cells.
Content = tuple[str, int | None, str, str]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EarlierResults:
    """The pictures that are in finished features already.

    Attributes:
        folder: Of the finished features; None: there are none.
        ids: The id that each had there, by its id now.
        decoded: What became of its file, by its id now.
    """

    folder: Path | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    decoded: Mapping[str, "Decoded"] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def find(
        cls,
        folder: Path,
        *,
        extraction: str,
        pictures: Mapping[str, PictureFile],
        digests: Mapping[str, str],
        cells: Mapping[str, str],
    ) -> "EarlierResults":
        """Find which of the pictures are there, by just these nets.

        Args:
            folder: Where the features would lie.
            extraction: Digest of what the nets gave for the run's own pictures.
            pictures: Their files, or pages of those, by id.
            digests: SHA-256 of the files by id.
            cells: Digests of what the nets are given of the user's table by id; none:
                nothing.
        """
        from data_prep.pictures.decoded import Decoded

        if claims_of(folder).get(folder, {}).get("extraction") != extraction:
            return cls()
        any_views = next(iter(sorted((folder / "views").glob("*.pkl"))), None)
        with_views = set(open_store(any_views).ids) if any_views else set[str]()
        if not (folder / PIXEL_STORE).exists():
            log.info("%s: an older version made it, all is inferred anew", folder)
            return cls()
        by_content: dict[Content, tuple[str, Decoded]] = {}
        try:
            listed = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
            for id_, metadata in listed.items():
                fields = dict(metadata)
                suffix = Path(str(fields.pop("file"))).suffix.lower()
                of_table = str(fields.pop("cells", ""))
                page = fields.pop("page", None)
                decoded = Decoded.from_fields(fields)
                if id_ in with_views:
                    content = decoded.sha256, page, suffix, of_table
                    by_content[content] = id_, decoded
        except (OSError, ValueError):  # there is none, or of another version
            return cls()
        by_id = {}
        for id_, picture in pictures.items():
            suffix, page = file_of(picture).suffix.lower(), page_of(picture)
            content = digests[id_], page, suffix, cells.get(id_, "")
            if content in by_content:
                by_id[id_] = by_content[content]
        return cls(
            folder=folder,
            ids={id_: earlier_id for id_, (earlier_id, _) in by_id.items()},
            decoded={id_: decoded for id_, (_, decoded) in by_id.items()},
        )

    def views(
        self, fold: str, columns: Sequence[OutputColumn], n_views: int, *, is_test: bool
    ) -> Rows:
        """Give what the nets of a fold gave, (N, V, F), in the order of ``ids``.

        Args:
            fold: Of the nets.
            columns: Their F outputs.
            n_views: V.
            is_test: The nets learned from labels, and have a store for each fold.
        """
        if self.folder is None or not len(self):
            return array_rows(np.empty((0, n_views, len(columns)), np.float32))
        from transfer.jobs import fold_name

        earlier_ids = list(self.ids.values())
        ending = f".test.{fold_name(fold)}" if is_test else ""
        of_tasks: list[tuple[list[int], Rows]] = []
        for task in dict.fromkeys(column.task for column in columns):
            store = open_store(self.folder / "views" / f"{task}{ending}.pkl")
            idx = store.rows_of(earlier_ids)
            col_idx = [k for k, column in enumerate(columns) if column.task == task]
            of_tasks.append((col_idx, chosen_rows(array_rows(store.values), idx)))
        shape = (len(earlier_ids), n_views, len(columns))
        dtype = np.result_type(*(rows.dtype for _, rows in of_tasks))

        def read(idx: Ints) -> Floats:
            views = np.empty((len(idx), *shape[1:]), dtype)
            for col_idx, rows in of_tasks:
                views[:, :, col_idx] = rows.read(idx)
            return views

        return Rows(shape=shape, dtype=dtype, read=read)

    def pixel_columns(self) -> Rows:
        """Give the (N, P) columns of the pixels, in the order of ``ids``."""
        if self.folder is None or not len(self):
            return array_rows(np.empty((0, len(pixel_column_names())), np.float32))
        store = open_store(self.folder / PIXEL_STORE)
        return chosen_rows(array_rows(store.values), store.rows_of(self.ids.values()))


def is_whole(folder: Path) -> bool:
    """Tell whether all files of finished features are as they were written.

    Where nothing is finished, nothing is broken.
    """
    is_finished = (folder / RECORD).exists()
    return not is_finished or not any(fault for _, fault in faults_of_stage(folder))


def write_sidecar(
    folder: Path,
    pictures: Mapping[str, PictureFile],
    decoded: Mapping[str, "Decoded"],
    cells: Mapping[str, str],
) -> None:
    """Write what became of each picture's file, and the digest of its cells, by id."""
    metadata: dict[str, dict[str, Any]] = {}
    for id_, picture in pictures.items():
        fields = decoded[id_].to_fields()
        kept_fields = {name: fields[name] for name in fields if name not in NOT_KEPT}
        of_table = {"cells": cells[id_]} if id_ in cells else {}
        page = page_of(picture)
        of_file = {"file": picture.name} | ({"page": page} if page else {})
        metadata[id_] = {**of_file, **of_table, **kept_fields}
    write_json(folder / SIDECAR, metadata)

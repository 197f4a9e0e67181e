"""What else of the run the report shows: pictures, dates, maps, times.

All is read from finished folders beside the stage; what is not there is not shown.

Shapes: N pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.arrays import Floats
from data_prep.pictures.folder_ids import file_named_after
from data_prep.prepared import Prepared
from data_prep.run_folders.damage import RECORD, map_array, read_json, read_record
from data_prep.run_folders.runs import Finished

MAPS = "transfer.explain"  # ID.jpg or ID.png: what a net looks at
NETS = "transfer.finetune"
ENDINGS = (".jpg", ".png")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RunPictures:
    """The pictures of a run, by id or by the name of the object that they show.

    Attributes:
        pixels: (N, S, S, 3).
        row_of: By id or name of an object, the row of its first picture in ``pixels``.
        id_of: By the same, the id of that picture.
        years: By the same, its date; NaN: it has none.
        maps: Folder of maps of what a net looks at; it need not exist.
        explained: Name of the task that they explain; None: there are none, or they are
            of nets that have been trained anew since.
    """

    pixels: Pixels
    row_of: "pd.Series[int]"
    id_of: "pd.Series[str]"
    years: "pd.Series[float]"
    maps: Path
    explained: str | None = None

    @classmethod
    def of(cls, finished: Finished) -> "RunPictures":
        """Open those of a finished ``data_prep.prepare``."""
        prepared = Prepared.open(finished)
        table = prepared.rows_by_name()
        run = finished.folder.parent
        return cls(
            pixels=map_array(prepared.images_path),
            row_of=table["image_row"],
            id_of=table["id"],
            years=table["date"].astype(float),
            maps=run / MAPS,
            explained=_explained_task(run),
        )

    def take(self, ids: Sequence[str]) -> Pixels:
        """Give the pictures of n ids, (n, S, S, 3)."""
        taken: Pixels = self.pixels[self.row_of[list(ids)].to_numpy()]
        return taken

    def dates(self, ids: Sequence[str]) -> Floats:
        """Give the (n,) years of n ids."""
        return np.asarray(self.years[list(ids)], dtype=np.float64)

    def map_of(self, id_: str) -> Pixels | None:
        """Give the map of a picture, (H, W, 3); None: there is none."""
        from PIL import Image

        if self.explained is None:
            return None
        for ending in ENDINGS:
            path = file_named_after(self.id_of.get(id_, id_), self.maps, ending)
            if path and path.is_file():
                with Image.open(path) as image:
                    return np.asarray(image.convert("RGB"))
        return None


def _explained_task(run: Path) -> str | None:
    """Name the task of the maps, if they are of the nets that are there now."""
    file, record = run / MAPS / "task.json", run / NETS / RECORD
    if not (file.is_file() and record.is_file()):
        return None
    note = read_json(file)
    return str(note["task"]) if note["nets"] == read_record(record)["digest"] else None


def records(run: Path) -> list[dict[str, Any]]:
    """Read the records of the stages before the stack, the earliest first."""
    finished = [
        read_record(path)
        for path in run.glob(f"*/{RECORD}")
        if path.parent.suffix not in (".partial", ".old")
    ]
    earlier = [r for r in finished if not r["stage"].startswith("stacking.")]
    return sorted(earlier, key=lambda record: str(record["finished_at"]))

"""The pictures that all peers are compared on, and which of them nobody sees.

``data_prep.prepare`` reads the tables, joins near copies to cv groups and draws the
folds; a quarter of the groups, stratified by the target, is held out from everything.
Four repeats in a row hold each group out once; then the groups are shuffled anew.

Shapes: N pictures.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from data_prep import prepare
from data_prep.errors import UserError
from data_prep.experiment import DataSettings, read_experiment
from data_prep.folds import assign_folds, strata
from data_prep.pictures.folders import search_folders
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COLLECTIONS = {"pomological": "pomological.toml", "coins": "coins.toml"}
QUARTERS = 4


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Labelled pictures.

    Attributes:
        table: N rows: path, id, target, group (near copies are of one group).
        experiment: The file that says where they lie.
    """

    table: pd.DataFrame
    experiment: Path

    @classmethod
    def prepare(cls, name: str, folder: Path) -> "Collection":
        """Read a collection, and link its labelled pictures into a folder.

        Args:
            name: One of ``COLLECTIONS``.
            folder: Where it is kept for the next time.
        """
        experiment = EXPERIMENTS / COLLECTIONS[name]
        prepare.main(["--experiment", str(experiment), "--run", str(folder / "run")])
        data = read_experiment(experiment, folder / "run").data
        table = Prepared.open(Run(folder / "run").finished(PREPARED)).table
        table = table[table["target"].notna()]
        paths = link_pictures(data, table["id"].tolist(), folder / "pictures")
        pictures = pd.DataFrame(
            {
                "path": paths,
                "id": table["id"].to_numpy(),
                "target": table["target"].to_numpy(),
                "group": [f"g{number}" for number in table["cv_group"]],
            }
        )
        return cls(table=pictures, experiment=experiment)


def link_pictures(data: DataSettings, ids: Sequence[str], folder: Path) -> list[str]:
    """Link (or copy) the pictures of some ids into a folder; give their new paths."""
    pictures = search_folders(data.images, ids=ids).pictures
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for id_ in ids:
        path = folder / f"{id_.replace('/', '_')}{pictures[id_].suffix}"
        if not path.exists():
            try:
                os.link(pictures[id_], path)
            except OSError:  # another disk
                shutil.copyfile(pictures[id_], path)
        paths.append(str(path.absolute()))
    return paths


def held_out_mask(
    target: ArrayLike, groups: ArrayLike, repeat: int
) -> NDArray[np.bool_]:
    """Say which of N rows are held out: a quarter of the groups.

    Args:
        target: (N,) numbers or classes; each quarter has its share of all values.
        groups: (N,) what is not torn apart.
        repeat: From 0; four in a row hold each row out once.

    Raises:
        UserError: The repeat is negative, or there are fewer than four groups.

    Example:
        >>> held_out_mask([0, 0, 0, 0], list("abcd"), repeat=1).sum()
        np.int64(1)
    """
    if repeat < 0:
        raise UserError(f"--repeat {repeat}: give 0 or more")
    shuffle, quarter = divmod(repeat, QUARTERS)
    scheme = f"sgkfold{QUARTERS}"
    return assign_folds(scheme, strata(target), groups, seed=shuffle) == quarter


def write_split(collection: Collection, repeat: int, path: Path) -> pd.DataFrame:
    """Write the table that runners read, which lacks the targets that are held out.

    Returns:
        The N rows with their split, ``train`` or ``held_out``, and all targets.
    """
    table = collection.table
    mask = held_out_mask(table["target"], table["group"], repeat)
    split = table.assign(split=np.where(mask, "held_out", "train"))
    path.parent.mkdir(parents=True, exist_ok=True)
    split.assign(target=split["target"].mask(mask)).to_csv(path, index=False)
    return split

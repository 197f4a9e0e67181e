"""What nets are given of the user's table, for pictures that came after the run.

Torch-free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from data_prep.new_columns import read_columns, with_sizes
from data_prep.run_folders.damage import digest_of
from data_prep.run_folders.runs import Finished, Run
from features.extract import STAGE as EXTRACTED
from features.extraction import DISTILL
from features.inference import DISTILLED, FOLDS, Nets
from features.settings import FINETUNED
from transfer.networks.columns import NetColumns, columns_of

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.pictures.decoded import Decoded


@dataclass(frozen=True, kw_only=True)
class FreshColumns:
    """The cells of new pictures that the nets of a run learned from.

    Attributes:
        columns: How they become numbers.
        cells: A row per picture, ids as the index.
    """

    columns: NetColumns
    cells: "pd.DataFrame"

    @classmethod
    def read(
        cls,
        path: Path | None,
        ids: Sequence[str],
        columns: NetColumns,
        prepared: Finished,
    ) -> Self:
        """Read the user's table.

        Args:
            path: The table; None: there is none.
            ids: Of the pictures.
            columns: What the nets learned from.
            prepared: The stage that says how cells were read.

        Raises:
            UserError: There is none, or it lacks a column or a picture.
        """
        cells = read_columns(
            path, ids, columns.user_columns, prepared, learner="the nets"
        )
        return cls(columns=columns, cells=cells)

    def digests(self) -> dict[str, str]:
        """Identify the cells of each picture by its id."""
        rows = self.cells.astype(str).to_numpy().tolist()
        return {
            id_: digest_of(row) for id_, row in zip(self.cells.index, rows, strict=True)
        }

    def of(
        self, ids: Sequence[str], decoded: "Mapping[str, Decoded]"
    ) -> NDArray[np.float32]:
        """Give the (n, C) numbers of n pictures, their sizes as decoding found them."""
        sizes = {id_: vars(decoded[id_]) for id_ in ids}
        return self.columns.apply(with_sizes(self.cells.loc[list(ids)], sizes))


def columns_of_run(run: Run, net: Nets = FOLDS) -> NetColumns | None:
    """Give what the nets of a run learned from of the user's table.

    Args:
        run: The run.
        net: Which nets: those of the finished extraction, or the distilled one.
    """
    if net == DISTILLED:
        return columns_of(run.finished(DISTILL))
    made_with = run.finished(EXTRACTED, check_inputs=False).record["settings"]
    if made_with.get("source") != FINETUNED or not run.has(FINETUNED):
        return None
    return columns_of(run.finished(FINETUNED, check_inputs=False))

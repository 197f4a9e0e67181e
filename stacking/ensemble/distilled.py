"""Predictions by a distilled net: one net, nothing stacked.

They end as what ``transfer.distill`` scored: the mean over the views, clipped to the
range of the targets, or the probabilities of the classes; of an object, the mean over
its pictures.

Shapes: M pictures or objects, C columns, K classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Finished
from stacking.ensemble.final_step import labels_of
from stacking.inputs.data import Column
from stacking.inputs.object_pooling import pool_pictures
from stacking.inputs.objects import Objects
from stacking.inputs.sources import opened
from stacking.inputs.target_columns import TargetColumns
from stacking.oof import probability_column

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.arrays import Floats


@dataclass(frozen=True, kw_only=True)
class DistilledRows:
    """M new pictures, or objects, through the distilled net.

    Attributes:
        ids: M ids, or names of objects.
        X: (M, C) columns.
        target_columns: Which of them speak of the target.
    """

    ids: tuple[str, ...]
    X: "Floats"
    target_columns: TargetColumns

    @classmethod
    def read(
        cls,
        folder: Path,
        distilled: Finished,
        prepared: Prepared,
        objects: "pd.Series[str] | None" = None,
    ) -> "DistilledRows":
        """Read the store of ``features.fresh``.

        Args:
            folder: Of it.
            distilled: The finished ``transfer.distill``.
            prepared: The stage that knows the target.
            objects: Which object each picture shows, ids as the index; None: a row is
                a picture.
        """
        store = opened(folder / "features.pkl")
        columns = tuple(
            Column(
                name=str(column["name"]),
                task=str(column["task"]),
                output=str(column["output"]),
                statistic=str(column["statistic"]),
            )
            for column in store.header["columns"]
        )
        ids, X = tuple(store.ids), store.matrix().astype(np.float64)
        if objects is not None:
            shown = Objects.of_names(objects[list(ids)].tolist())
            ids, X = shown.names, pool_pictures(X, columns, shown)
        metadata = distilled.metadata
        return cls(
            ids=ids,
            X=X,
            target_columns=TargetColumns(
                columns=columns,
                classes=prepared.classes,
                target_range=prepared.target_range,
                regression_task=metadata["regression_task"],
                proba_task=metadata["proba_task"],
            ),
        )

    def predict(self) -> "pd.DataFrame":
        """Give ``id, prediction, probability_CLASS ..., spread_views``, M rows."""
        import pandas as pd

        target_columns = self.target_columns
        pred = next(iter(target_columns.fixed(self.X).values()))
        table = pd.DataFrame({"id": self.ids})
        table["prediction"] = labels_of(pred, target_columns.classes)
        proba = target_columns.proba(self.X)
        if proba is not None:
            for k, name in enumerate(target_columns.classes):
                table[probability_column(name)] = proba[:, k]
        col_idx = target_columns.columns_of_target("var")
        if len(col_idx):
            variances = self.X[:, col_idx].mean(axis=1)
            table["spread_views"] = np.sqrt(np.maximum(variances, 0))
        return table

"""Word vectors of the names that a picture has in ``[data] attributes``."""

from dataclasses import dataclass

import numpy as np

from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.distances import Cosine
from data_prep.run_folders.damage import read_frame
from data_prep.task_types.base import LabelSource, TaskType


@dataclass(frozen=True, kw_only=True)
class Words(TaskType):
    """A vector for each row, as ``data_prep.prepare`` made it."""

    name = "words"
    losses = ("mse", "cosine")
    needs_attributes = True
    mixes = False

    def read_labels(self, source: LabelSource) -> Labels:
        """Read the vectors; a picture without names has none."""
        vectors = source.words
        if vectors is None and source.prepared is not None:
            file = source.prepared / "words.parquet"
            vectors = read_frame(file) if file.exists() else None
        if vectors is None:
            from data_prep.tables.words import why_no_vectors

            reason = why_no_vectors(source.read_attributes())
            reason = reason or (
                "no name has as many pictures as [data_prep.prepare] min_count asks"
            )
            raise UserError(f"of [data] attributes {reason}; take the task out")
        words = vectors.set_index("id").reindex(source.table["id"])
        has_label = words.notna().all(axis=1).to_numpy() & source.is_train
        values = np.where(has_label[:, None], words.to_numpy(), 0).astype(np.float64)
        outputs = tuple(str(k) for k in range(values.shape[1]))
        return Labels(values=values, has_label=has_label, outputs=outputs)

    def head_loss(self) -> HeadLoss:
        """Give the distance of standardised vectors, or the angle of those as read."""
        return Cosine() if self.loss_name == "cosine" else super().head_loss()


TASK_TYPE = Words

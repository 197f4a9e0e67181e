"""Tags: which of the frequent names of ``[data] attributes`` a picture has."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.tags import TagEntropy
from data_prep.task_types.base import LabelSource, TaskType


@dataclass(frozen=True, kw_only=True)
class Tags(TaskType):
    """Several names at once; the outputs are a probability for each."""

    name = "tags"
    losses = ("bce",)
    needs_attributes = True
    higher_is_better = True

    min_count: Annotated[
        int, "labelled pictures that have a tag, at least, and that lack it", Ge(2)
    ] = 20
    max_tags: Annotated[int, "tags, the most frequent", Ge(1)] = 20

    @property
    def activation(self) -> str:
        """The outputs are probabilities, each for itself."""
        return "sigmoid"

    def read_labels(self, source: LabelSource) -> Labels:
        """Read the frequent names; a picture without any name has no label."""
        import pandas as pd

        attributes, ids = source.read_attributes(), source.table["id"]
        of_train = attributes["id"].isin(ids[source.is_train])
        counts = attributes["name"][of_train].value_counts()
        n_rows = attributes["id"][of_train].nunique()
        tells = (counts >= self.min_count) & (counts <= n_rows - self.min_count)
        if not tells.any():
            raise UserError(
                f"no name of [data] attributes is on {self.min_count} of the {n_rows}"
                " labelled pictures or more, and missing on as many; give a smaller"
                " min_count, or take the task out"
            )
        # the same tags whatever the order of the rows
        frequent = counts[tells].rename_axis("name").reset_index(name="count")
        frequent = frequent.sort_values(["count", "name"], ascending=[False, True])
        tags = frequent["name"].head(self.max_tags).tolist()
        of_tags = attributes[attributes["name"].isin(tags)]
        has_tag = pd.crosstab(of_tags["id"], of_tags["name"]).reindex(
            index=ids, columns=tags, fill_value=0
        )
        has_label = ids.isin(attributes["id"]).to_numpy() & source.is_train
        return Labels(
            values=((has_tag > 0) & has_label[:, None]).to_numpy(dtype=np.float64),
            has_label=has_label,
            outputs=tuple(str(k) for k in range(len(tags))),
            classes=tuple(tags),
        )

    def head_loss(self) -> HeadLoss:
        """Give the binary cross-entropy."""
        return TagEntropy()

    def score(
        self, y_true: Floats, y_pred: NDArray[np.floating[Any]]
    ) -> tuple[str, float]:
        """Give the mean area under the ROC curve of the tags.

        One that all rows have, or none, tells nothing; 0.5 where that is so of all.
        """
        from sklearn.metrics import roc_auc_score

        areas = [
            roc_auc_score(y_true[:, k], y_pred[:, k])
            for k in range(y_true.shape[1])
            if np.ptp(y_true[:, k]) > 0
        ]
        return "auc", float(np.mean(areas)) if areas else 0.5


TASK_TYPE = Tags

"""What the boosted trees look at, and which sub-task earns its keep.

Shapes: N rows, C columns.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Floats
from data_prep.scoring.scores import Interval
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.members import Member
from stacking.ensemble.objective import Objective
from stacking.models.boosting import Boosters, Boosting, quick

if TYPE_CHECKING:
    import pandas as pd


def gain_table(
    features: AlignedFeatures, members: Mapping[str, Member]
) -> "pd.DataFrame | None":
    """Give each column's share of the trees' gain, averaged over the folds.

    Returns:
        The columns ``column, task, output, statistic, gain``, the largest gain first;
        gains are shares that add up to 1. None where no trees were boosted.
    """
    import pandas as pd

    if "lightgbm" not in members:
        return None
    models = members["lightgbm"].fit.models
    gains = np.mean([m.gains() for m in models if isinstance(m, Boosters)], axis=0)
    table = pd.DataFrame([asdict(column) for column in features.data.columns])
    table = table.rename(columns={"name": "column"}).assign(gain=gains)
    return table.sort_values("gain", ascending=False, ignore_index=True)


def leave_one_out(
    features: AlignedFeatures, objective: Objective, boosting: Boosting
) -> dict[str, Interval]:
    """Boost without each sub-task in turn: what would be lost with it.

    Quick boosters have a fixed number of rounds, so nothing is tuned on what is scored.

    Returns:
        By sub-task, the gain of having it, in the unit of the metric; nothing where
        there is but one.
    """
    rows, columns = features.rows, features.data.columns
    tasks = list(dict.fromkeys(column.task for column in columns))
    if len(tasks) < 2:
        return {}

    def predict_without(task: str) -> Floats:
        col_idx = [k for k, column in enumerate(columns) if column.task != task]
        kept_rows = features.with_inputs(rows.X[:, col_idx])
        return features.target_columns.clip(quick(kept_rows, boosting))

    full = predict_without("")
    return {
        task: objective.gain(rows.y, predict_without(task), full, rows.groups)
        for task in tasks
    }

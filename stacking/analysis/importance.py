"""What the boosted trees look at, and which sub-task earns its keep.

Shapes: N rows, C columns.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from data_prep.scoring.scores import Interval
from stacking.ensemble.members import AlignedFeatures, Member
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
        None where no trees were boosted.
    """
    import pandas as pd

    if "lightgbm" not in members:
        return None
    models = members["lightgbm"].fit.models
    shares = np.mean([m.gains() for m in models if isinstance(m, Boosters)], axis=0)
    table = pd.DataFrame([asdict(column) for column in features.rows.columns])
    table = table.rename(columns={"name": "column"}).assign(gain=shares)
    return table.sort_values("gain", ascending=False, ignore_index=True)


def leave_one_out(
    features: AlignedFeatures, objective: Objective, boosting: Boosting
) -> dict[str, Interval]:
    """Boost without each sub-task in turn: what would be lost with it.

    Quick boosters with a fixed number of rounds tell, so nothing is tuned on what is
    scored.

    Returns:
        By sub-task, the gain of having it; nothing where there is but one.
    """
    rows, target = features.rows, features.target()
    tasks = list(dict.fromkeys(column.task for column in rows.columns))
    if len(tasks) < 2:
        return {}

    def said(without: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        kept = [k for k, column in enumerate(rows.columns) if column.task != without]
        X = features.aligned[:, kept]
        predicted = quick(features.training_rows(X), boosting)
        return features.target_columns.clip(predicted)

    full = said("")
    return {
        task: objective.gain(target, said(task), full, rows.cv_groups) for task in tasks
    }

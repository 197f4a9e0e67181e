"""What a run finds beside the scores: predictions, averaging, shift, control.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Floats
from data_prep.scoring.scores import Interval
from stacking.analysis.diagnostics import Averaging
from stacking.analysis.shift import TaskShift

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The findings of one run.

    Attributes:
        predicted: (M, ...) by name: every member and ``prediction``, ended as what was
            scored; nothing where there are no common pictures.
        disagreement: (M, ...) standard deviation over the nets of the stack's
            predictions through each, before they are averaged and ended: in the unit
            of the target, or in probability; empty: one net.
        averaging: What the average of the nets may be expected to score.
        task_gains: By sub-task, what having it gains the boosted trees, in the unit of
            the metric.
        column_gains: As ``stacking.analysis.importance.gain_table``; None: no trees.
        shift: How the test rows differ from the training rows, through the fold nets.
        shift_of_all: The same through the net of all rows; empty: there is none.
        is_by_all: The net of all rows predicts, not those of the folds.
        control: The gain over the constant with permuted labels, in the unit of the
            metric; None: not wished for.
        verdicts: What the numbers mean and what to do, a sentence each.
    """

    predicted: Mapping[str, Floats] = field(default_factory=dict)
    disagreement: Floats = field(default_factory=lambda: np.array([]))
    averaging: Averaging | None = None
    task_gains: Mapping[str, Interval] = field(default_factory=dict)
    column_gains: "pd.DataFrame | None" = None
    shift: Sequence[TaskShift] = ()
    shift_of_all: Sequence[TaskShift] = ()
    is_by_all: bool = False
    control: Interval | None = None
    verdicts: Sequence[str] = ()

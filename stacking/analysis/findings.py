"""What a run finds beside the scores: predictions, averaging, shift, control.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import Interval
from stacking.analysis.diagnostics import Averaging
from stacking.analysis.shift import TaskShift

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """All of it.

    Attributes:
        predicted: (M, ...) by name: every member and ``prediction``, ended as what was
            scored; nothing where there are no common pictures.
        disagreement: (M, ...) deviation of the nets from each other, before they are
            averaged and ended; empty: one net.
        averaging: What the average of the nets may be expected to score.
        without: By sub-task, what having it gains the boosted trees.
        shift: How the test rows differ from the training rows, through the fold nets.
        shift_of_all: The same through the net of all rows; empty: there is none.
        control: The gain over the constant with permuted labels; None: not asked for.
    """

    predicted: Mapping[str, Floats] = field(default_factory=dict)
    disagreement: Floats = field(default_factory=lambda: np.array([]))
    averaging: Averaging | None = None
    without: Mapping[str, Interval] = field(default_factory=dict)
    shift: Sequence[TaskShift] = ()
    shift_of_all: Sequence[TaskShift] = ()
    control: Interval | None = None

"""The rows of the stack: what is to be learned, from what, and for whom.

Shapes: N scored rows, C columns, K nets, M pictures that all nets have in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stacking.inputs.baseline_columns import OwnColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """One column of the features: an output of a task, pooled by a statistic."""

    name: str
    task: str
    output: str
    statistic: str


def columns_of(columns: Sequence[Column], task: str, statistic: str = "") -> Ints:
    """Give the positions of a task's columns; with one statistic, only of it."""
    return np.array(
        [
            place
            for place, column in enumerate(columns)
            if column.task == task and statistic in ("", column.statistic)
        ],
        dtype=np.int64,
    )


@dataclass(frozen=True)
class InSample:
    """What net k says of the rows it was trained on.

    Attributes:
        rows: Positions of the rows among the N.
        values: (rows, C).
    """

    rows: Ints
    values: Floats


@dataclass(frozen=True)
class Assembled:
    """Everything the stack is made from.

    Attributes:
        ids: N ids, of the rows with a target and a fold.
        X: (N, C) what each row's own fold net says: it never saw the row.
        target: (N,) numbers, or names of classes.
        class_index: (N,) number of the class; -1 everywhere if there are no classes.
        classes: Their names, in the order of the class outputs.
        folds: (N,) fold of each row.
        cv_groups: (N,) what no fold tears.
        image_rows: (N,) rows of images.npy.
        columns: C columns.
        common_ids: M ids of the pictures that every net saw as a test.
        nets: K arrays (M, C), those pictures through each net; one array where one net
            made all rows, none where there are no such pictures.
        is_predicted: (M,) which of them are to be predicted.
        target_range: Smallest and largest target; None: classes.
        cv: Scheme of the folds.
        fold_hash: Their hash.
        is_label_free: One net that saw no label made all rows.
        in_sample: K sets of rows, for the protocol ``insample`` only.
        notes: Sentences for the report.
        weights: (N,) how much each row is learned from; 0: not at all. Never in scores.
        of_all: (M, C) the common pictures through the net that was trained on every
            labelled row; None: there is no such net.
        common_cv_groups: (M,) cv groups of the common pictures; None: each its own.
        own: How the user's own columns were made numbers; None: there are none.
    """

    ids: tuple[str, ...]
    X: Floats
    target: NDArray[Any]
    class_index: Ints
    classes: tuple[str, ...]
    folds: Ints
    cv_groups: Ints
    image_rows: Ints
    columns: tuple[Column, ...]
    common_ids: tuple[str, ...]
    nets: tuple[Floats, ...]
    is_predicted: NDArray[np.bool_]
    target_range: tuple[float, float] | None
    cv: str
    fold_hash: str
    is_label_free: bool = False
    in_sample: tuple[InSample, ...] = ()
    notes: tuple[str, ...] = ()
    weights: Floats | None = None
    of_all: Floats | None = None
    common_cv_groups: Ints | None = None
    own: "OwnColumns | None" = None

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return int(self.folds.max()) + 1

    def columns_of(self, task: str, statistic: str = "") -> Ints:
        """Give the positions of a task's columns; with one statistic, only of it."""
        return columns_of(self.columns, task, statistic)

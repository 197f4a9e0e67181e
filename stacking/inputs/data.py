"""What the stack is made from: rows to learn from, rows to predict, and their run.

A row is a picture, or an object of several pictures (``[data] object``).

Shapes: N scored rows, C columns, K nets, M pictures or objects that all nets have in
common, P columns of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.schemes import is_drawn
from data_prep.user_columns import UserColumns
from stacking.cross_fitting import TrainingRows
from stacking.inputs.objects import Objects

PixelColumns = NDArray[Any]  # float32: 500 columns are more than all else


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the features: an output of a task, pooled by a statistic.

    Attributes:
        name: Of the column.
        task: Of the sub-task, or ``USER_TASK``.
        output: Suffix of the output; empty: the task's only one, or its number.
        statistic: Over the views; empty: none.
        is_by_fold: Each fold has a net of its own that makes it, on a scale of its own.
    """

    name: str
    task: str
    output: str
    statistic: str
    is_by_fold: bool = False


def columns_of(columns: Sequence[Column], task: str, statistic: str = "") -> Ints:
    """Give the (n,) indices of a task's columns; with a statistic, only its."""
    is_wanted = [
        column.task == task and statistic in ("", column.statistic)
        for column in columns
    ]
    return np.flatnonzero(is_wanted)


@dataclass(frozen=True, kw_only=True)
class InSample:
    """The outputs of net k on the n rows that it was trained on.

    Attributes:
        idx: (n,) which of the N rows.
        X: (n, C).
    """

    idx: Ints
    X: Floats


@dataclass(frozen=True, kw_only=True)
class CommonRows:
    """The M pictures or objects that no net was trained on: test and unlabelled ones.

    Attributes:
        ids: M ids, or names of objects.
        nets: K arrays (M, C), the pictures through each net; one array where one net
            made all rows, none where there are no such pictures.
        is_predicted: (M,) which of them are to be predicted.
        cv_groups: (M,) their cv groups; None: each its own.
        of_all: (M, C) the pictures through the net that was trained on every labelled
            row; None: there is no such net.
        pixels: (M, P) what needs no net; None: there are no pixels.
    """

    ids: tuple[str, ...] = ()
    nets: tuple[Floats, ...] = ()
    is_predicted: Bools = field(default_factory=lambda: np.zeros(0, bool))
    cv_groups: Ints | None = None
    of_all: Floats | None = None
    pixels: PixelColumns | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What is known of the N rows of a run beside what is learned from.

    Attributes:
        ids: N ids, or names of objects.
        target: (N,) as in the table: numbers, or names of classes.
        class_index: (N,) number of the class; -1 everywhere if there are no classes.
        objects: Which pictures show which object; None: each row is a picture.
        cv: Scheme of the folds.
        fold_hash: Their hash.
        deal: Which deal of them it is, and of how many: (0, 1) where they are dealt
            once.
        is_label_free: One net that saw no label made all rows.
        messages: Sentences for the report.
        user_columns: How the user's own columns were made numbers; None: there are
            none.
    """

    ids: tuple[str, ...] = ()
    target: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    class_index: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    objects: Objects | None = None
    cv: str = ""
    fold_hash: str = ""
    deal: tuple[int, int] = (0, 1)
    is_label_free: bool = False
    messages: tuple[str, ...] = ()
    user_columns: UserColumns | None = None

    @property
    def has_like_folds(self) -> bool:
        """Whether folds were drawn, so that each is like the others."""
        return not self.cv or is_drawn(self.cv)

    @property
    def noun(self) -> str:
        """What a row is."""
        return "object" if self.objects else "picture"


@dataclass(frozen=True, kw_only=True)
class StackingData:
    """Everything the stack is made from.

    Attributes:
        rows: The N rows with a target and a fold; ``X`` is what each row's own fold net
            makes of it, which never saw the row, on that net's scale.
        columns: C columns.
        classes: Names of the classes, in the order of the class outputs.
        target_range: Smallest and largest target; None: classes.
        common: The rows without label.
        info: What the run knows of the rows.
        pixels: (N, P) what needs no net (``features/pixel_columns.py``); None: there
            are no pixels.
        in_sample: K sets of rows, for the protocol ``insample`` only.
    """

    rows: TrainingRows
    columns: tuple[Column, ...]
    classes: tuple[str, ...] = ()
    target_range: tuple[float, float] | None = None
    common: CommonRows = CommonRows()
    info: RunInfo = RunInfo()
    pixels: PixelColumns | None = None
    in_sample: tuple[InSample, ...] = ()

    @property
    def counts(self) -> str:
        """Say how much there is."""
        n_rows, n_columns = self.rows.X.shape
        n_nets = len(self.common.nets)
        text = f"{n_rows} rows, {n_columns} columns; {len(self.common.ids)}"
        text += f" {self.info.noun}s without label"
        return text + f", each through the nets of {n_nets} folds" * (n_nets > 1)

    @property
    def is_leaky(self) -> bool:
        """Whether the protocol is ``insample``."""
        return bool(self.in_sample)

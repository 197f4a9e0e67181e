"""What a kind of sub-task is: its settings, labels, losses, outputs and score.

A kind is a dataclass of what ``[tasks.NAME]`` may say, and an object of it is one
sub-task as the user wrote it. One that overrides nothing but ``name`` and
``read_labels`` learns numbers: they are standardised by the training rows, the outputs
are brought back to the unit of the labels, and the score is the RMSE. See
docs/new_task_kind.md.

Shapes: N rows of the prepared table, n of them, L columns of labels, F outputs that are
stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats
from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.distances import DISTANCES, Distance
from data_prep.ranges import Ranged
from data_prep.run_folders.damage import read_frame
from data_prep.settings import Example, nearest, recorded

if TYPE_CHECKING:
    import pandas as pd

# columns that data_prep.prepare gives its names
ROLES = ("target", "date", "group", "object")
TargetOutputs = Literal["number", "probabilities"]
ALWAYS_RECORDED = ("column", "loss", "weight")


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where the labels of a task are read from.

    Attributes:
        table: (N) rows as prepared.
        prepared: Folder of ``data_prep.prepare``; None: it is not yet made.
        metadata: What that stage recorded, or will.
        words: Word vectors with their ids; None: those of ``prepared``.
        attributes: Columns id and name; None: those of ``prepared``.
    """

    table: "pd.DataFrame"
    prepared: Path | None
    metadata: Mapping[str, Any]
    words: "pd.DataFrame | None" = None
    attributes: "pd.DataFrame | None" = None

    @property
    def is_train(self) -> Bools:
        """(N,) whether the row is of the training table: others have no label."""
        return (self.table["split"] == "train").to_numpy()

    def read_attributes(self) -> "pd.DataFrame":
        """Give the names of the pictures, columns id and name, a row each.

        Raises:
            UserError: There are none.
        """
        attributes = self.attributes
        if attributes is None and self.prepared is not None:
            file = self.prepared / "attributes.parquet"
            attributes = read_frame(file) if file.exists() else None
        if attributes is None or attributes.empty:
            raise UserError("[data] names no attributes; add attributes to it")
        return attributes

    def column_name(self, column: str | None, usual: str) -> str:
        """Find a task's column in the table.

        Args:
            column: The user's name of it; None: the usual one.
            usual: The usual one of the kind.

        Raises:
            UserError: There is no such column.
        """
        if column is None:
            if usual not in self.table:
                raise UserError(
                    f"[data] names no {usual}; add {usual} to [data], or column here"
                )
            return usual
        users_names = {
            role: str(name)
            for role in ROLES
            if (name := self.metadata.get(f"{role}_column"))
        }
        for role, name in users_names.items():
            if name == column and role in self.table:
                return role
        prefix = "given."
        if f"{prefix}{column}" not in self.table:
            names = [name for name in map(str, self.table) if name.startswith(prefix)]
            names = [name.removeprefix(prefix) for name in names]
            hint = nearest(column, [*names, *users_names.values()])
            raise UserError(f"there is no column {column!r}; {hint}")
        return f"{prefix}{column}"


@dataclass(frozen=True, kw_only=True)
class TaskType(Ranged, ABC):
    """A kind of sub-task, with the settings of one.

    Attributes:
        name: ``kind`` in ``[tasks.NAME]``.
        losses: Values of ``loss``; the first is the usual one.
        target_outputs: What the outputs say of the target when the task's column is the
            target: its ``number``, the ``probabilities`` of its classes, or nothing.
        probed_as: Whether probes of frozen features predict ``numbers``, scored by R2,
            or ``classes``, scored by accuracy.
        higher_is_better: Of its score; an epoch may be chosen by it.
        needs_attributes: Labels come from ``[data] attributes`` and not from a column.
        mixes: A mixture of two pictures may be learned by both labels.
        loss_options: Settings that are for some of the losses alone, with those.
    """

    name: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = tuple(DISTANCES)
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ()
    probed_as: ClassVar[Literal["numbers", "classes"]] = "numbers"
    higher_is_better: ClassVar[bool] = False
    needs_attributes: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    loss_options: ClassVar[Mapping[str, Sequence[str]]] = {}

    column: Annotated[str | None, "column of the training table", Example("maker")] = (
        None
    )
    loss: Annotated[str | None, "loss; left out: the usual one of the kind"] = None
    weight: Annotated[float, "weight of the loss in a joint net", Gt(0)] = 1.0

    def __post_init__(self) -> None:
        """Check what no single field can."""
        super().__post_init__()
        if self.loss is not None and self.loss not in self.losses:
            hint = nearest(self.loss, self.losses)
            raise UserError(f"loss = {self.loss!r}: {hint}")
        for option, losses in self.loss_options.items():
            if option in self.options() and self.loss_name not in losses:
                raise UserError(
                    f"{option} = {getattr(self, option)} is for loss ="
                    f" {' or '.join(map(repr, losses))} alone, not"
                    f" {self.loss_name!r}; take it out"
                )
        if self.needs_attributes and self.column is not None:
            raise UserError(
                f"column = {self.column!r}: {self.name} come from [data] attributes;"
                " take it out"
            )

    @property
    def loss_name(self) -> str:
        """Which loss it is, the usual one where the user named none."""
        return self.loss or self.losses[0]

    @property
    def activation(self) -> str:
        """How outputs with a suffix come out of the head, for the header of the store.

        ``identity``, ``softmax`` or ``sigmoid``.
        """
        return "identity"

    def options(self) -> dict[str, Any]:
        """Give the settings of the head that the user changed, as JSON values."""
        usual = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in recorded(self).items()
            if getattr(self, name) != usual[name] and name not in ("column", "weight")
        }

    def recorded(self) -> dict[str, Any]:
        """Give what decides the result, as JSON values."""
        always = {name: getattr(self, name) for name in ALWAYS_RECORDED}
        return {"kind": self.name} | always | self.options()

    @abstractmethod
    def read_labels(self, source: LabelSource) -> Labels:
        """Read the labels of all N rows.

        Raises:
            UserError: There is no such column, or its cells do not fit the kind.
        """

    def check_labels(self, labels: Labels, n_folds: int) -> None:
        """Refuse labels that nothing can be learned from.

        Raises:
            UserError: There are fewer of them than folds.
        """
        n_rows = int(labels.has_label.sum())
        if n_rows < n_folds:
            raise UserError(
                f"{n_rows} of its rows have a label, fewer than the {n_folds} folds;"
                " take the task out"
            )

    def head_loss(self) -> HeadLoss:
        """Give the loss with the head that it needs."""
        return Distance(self.loss_name)

    def score(
        self, y_true: Floats, y_pred: NDArray[np.floating[Any]]
    ) -> tuple[str, float]:
        """Score (n, F) outputs by (n, L) labels.

        Returns:
            The name of the metric and its value: RMSE of the first L outputs in the
            unit of the labels.
        """
        errors = y_pred[:, : y_true.shape[1]] - y_true
        return "rmse", float(np.sqrt((errors**2).mean()))

    def probe_target(self, values: NDArray[np.floating[Any]], n_outputs: int) -> Floats:
        """Give what probes learn: the (N, L) labels, or (N, F) ones and zeros."""
        del n_outputs
        return values.astype(np.float64)

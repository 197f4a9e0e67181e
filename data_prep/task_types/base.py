"""What a kind of sub-task is: its labels, head, loss, outputs and score in one object.

A ``TaskType`` that overrides nothing but ``name`` and ``read_labels`` learns numbers:
they are standardised by the training rows, the outputs are brought back to the unit of
the labels, and the score is the RMSE. See docs/new_task_kind.md.

Torch is imported inside the methods that need it, so that every stage may ask what a
task is. Those methods are given the state of the head: small tensors by name, such as
the centre and scale of the labels, which are stored with its weights.

Shapes: N rows of the prepared table, n of them, B rows of a batch, L columns of labels,
W outputs of the head, F outputs that are stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats
from data_prep.errors import UserError
from data_prep.settings import nearest
from data_prep.tables.units import ROUNDING

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    State = Mapping[str, Tensor]

ROLES = ("target", "date", "group")  # columns that data_prep.prepare gives its names
TargetOutputs = Literal["", "number", "probabilities"]
DISTANCES = {"mse": "mse_loss", "mae": "l1_loss", "smooth_l1": "smooth_l1_loss"}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the tables say of one sub-task.

    Attributes:
        values: (N, L) labels, such as numbers, or (N, 1) class numbers; 0 where masked.
        has_label: (N,) whether the row has a label for this task.
        outputs: F suffixes of its output columns; ``("",)`` for a single number.
        classes: Names of the classes, empty for numbers.
    """

    values: Floats
    has_label: Bools
    outputs: tuple[str, ...] = ("",)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where the labels of a task are read from.

    Attributes:
        table: (N) rows as prepared.
        prepared: Folder of ``data_prep.prepare``; None: it is not yet made.
        metadata: What that stage recorded, or will.
        words: Word vectors with their ids; None: those of ``prepared``.
        column: The user's name of the column; None: the usual one of the kind.
    """

    table: "pd.DataFrame"
    prepared: Path | None
    metadata: Mapping[str, Any]
    words: "pd.DataFrame | None" = None
    column: str | None = None

    @property
    def is_train(self) -> Bools:
        """(N,) whether the row is of the training table: others have no label."""
        return (self.table["split"] == "train").to_numpy()

    def column_name(self, usual: str) -> str:
        """Find the task's column in the table: the usual one, or one of the user's.

        Raises:
            UserError: There is no such column.
        """
        if self.column is None:
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
            if name == self.column and role in self.table:
                return role
        prefix = "given."
        if f"{prefix}{self.column}" not in self.table:
            names = [name for name in map(str, self.table) if name.startswith(prefix)]
            names = [name.removeprefix(prefix) for name in names]
            hint = nearest(self.column, [*names, *users_names.values()])
            raise UserError(f"there is no column {self.column!r}; {hint}")
        return f"{prefix}{self.column}"


class TaskType(ABC):
    """A kind of sub-task.

    Attributes:
        name: ``kind`` in ``[tasks.NAME]``.
        losses: Values of ``loss``; the first is the usual one.
        activation: How the stored outputs come out of the head, for the header of the
            store: ``identity`` or ``softmax``.
        is_quantity: The label is one number in a unit of the user's. It may lie so far
            from zero that float32 would lose it; its net then counts from an origin.
        target_outputs: What the outputs say of the target when the task's column is the
            target: its ``number``, the ``probabilities`` of its classes, or nothing.
        probed_as: Whether probes of frozen features predict ``numbers``, scored by R2,
            or ``classes``, scored by accuracy.
        needs_attributes: Labels come from ``[data] attributes`` and not from a column.
    """

    name: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = tuple(DISTANCES)
    activation: ClassVar[str] = "identity"
    is_quantity: ClassVar[bool] = False
    target_outputs: ClassVar[TargetOutputs] = ""
    probed_as: ClassVar[Literal["numbers", "classes"]] = "numbers"
    needs_attributes: ClassVar[bool] = False

    @abstractmethod
    def read_labels(self, source: LabelSource) -> Labels:
        """Read the labels of all N rows.

        Raises:
            UserError: There is no such column, or its cells do not fit the kind.
        """

    def score(
        self, y_true: Floats, y_pred: NDArray[np.floating[Any]]
    ) -> tuple[str, float]:
        """Score (n, F) outputs by (n, L) labels.

        Returns:
            The name of the metric and its value: RMSE in the unit of the labels.
        """
        return "rmse", float(np.sqrt(((y_pred - y_true) ** 2).mean()))

    def probe_target(self, values: NDArray[np.floating[Any]], n_outputs: int) -> Floats:
        """Give what probes learn: the (N, L) labels, or (N, F) ones and zeros."""
        del n_outputs
        return values.astype(np.float64)

    # Of a net. All that follows may import torch.

    def head_width(self, n_outputs: int) -> int:
        """Give W, the outputs of the linear layer for F stored ones."""
        return n_outputs

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the (F,) centre and scale of a head that knows no label yet."""
        import torch

        return {"centre": torch.zeros(n_outputs), "scale": torch.ones(n_outputs)}

    def fit_state(self, y: "Tensor", n_outputs: int) -> "dict[str, Tensor]":
        """Give the state for the (n, L) float64 labels of the training rows."""
        del n_outputs
        centre, scale = y.mean(dim=0), y.std(dim=0, correction=0)
        # labels that are all the same differ from their mean by rounding alone
        scale = scale.masked_fill(scale <= ROUNDING * centre.abs(), 1.0)
        return {"centre": centre, "scale": scale}

    def initial_bias(self, y: "Tensor", n_outputs: int) -> "Tensor | None":
        """Give the (W,) bias that training begins at; None: zeros."""
        del y, n_outputs
        return None

    def loss_target(self, loss: str, y: "Tensor", state: "State") -> "Tensor":
        """Bring (N, L) float64 labels to what ``loss`` compares outputs with.

        It is done once, in float64, so that the weights of a net are the same bits
        whatever the unit of its labels.

        Args:
            loss: One of ``losses``.
            y: Labels, counted from the task's origin; 0 where masked.
            state: That of ``fit_state``, in float64.
        """
        del loss
        return ((y - state["centre"]) / state["scale"]).float()

    def loss(
        self, loss: str, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) losses of (B, W) outputs of the head.

        Args:
            loss: One of ``losses``.
            outputs: Of the linear layer, float32.
            y_true: Rows of ``loss_target``.
            state: Of the head.
        """
        del state
        from torch.nn import functional

        distance = getattr(functional, DISTANCES[loss])
        losses: Tensor = distance(outputs, y_true, reduction="none").mean(dim=1)
        return losses

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Bring (B, W) outputs of the head to the (B, F) that are stored.

        They are in the unit of the labels, counted from the task's origin.
        """
        return state["centre"] + state["scale"] * outputs

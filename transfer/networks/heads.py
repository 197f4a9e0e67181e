"""The heads of a net of the transfer: linear, or an MLP with a skip connection.

Shapes: B pictures, D features of the backbone, C columns of the user's table, W raw
outputs, F outputs that are stored.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.arrays import Ints
from data_prep.head_losses.base import BatchRows
from data_prep.task_types.base import TaskType
from data_prep.tasks import Task


class SkipMlp(nn.Module):
    """A hidden layer beside a skip connection: x + B gelu(A x).

    B begins at zero, so that a head with it begins as a linear one.

    Args:
        width: D.
        n_hidden: Units of the hidden layer.
        dropout: Share of those dropped in training.
    """

    def __init__(self, width: int, n_hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.into = nn.Linear(width, n_hidden)
        self.out_of = nn.Linear(n_hidden, width)
        nn.init.zeros_(self.out_of.weight)
        nn.init.zeros_(self.out_of.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Give (B, D) features of (B, D) features."""
        hidden = self.dropout(F.gelu(self.into(features)))
        changed: Tensor = features + self.out_of(hidden)
        return changed


class Head(nn.Module):
    """A head, and the state by which its type brings outputs to their unit.

    It begins with a small W, so that training begins near what the labels are without
    looking: near their mean, or at the frequencies of the classes.

    Args:
        task_type: What the head is for.
        width: D, features of the backbone.
        n_outputs: F, outputs that are stored.
        dropout: Share of the features dropped in training.
        n_hidden: Hidden units of an MLP before the linear layer; 0: there is none.
        n_columns: C, columns of the user's table that join the features.
    """

    def __init__(
        self,
        task_type: TaskType,
        width: int,
        n_outputs: int,
        dropout: float = 0.0,
        n_hidden: int = 0,
        n_columns: int = 0,
    ) -> None:
        super().__init__()
        width += n_columns
        self.head_loss = task_type.head_loss()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, self.head_loss.width(n_outputs))
        self.exact_state = self.head_loss.initial_state(n_outputs)  # float64 when begun
        for name, value in self.exact_state.items():
            self.register_buffer(name, value.float())
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.mlp = SkipMlp(width, n_hidden, dropout) if n_hidden else nn.Identity()

    @property
    def state(self) -> dict[str, Tensor]:
        """What the type knows of the labels, as it is stored with the weights."""
        return dict(self.named_buffers(recurse=False))

    def start_at(self, task: Task, rows: Ints) -> None:
        """Begin at the labels of the (n,) training rows that have one for the task."""
        y = torch.from_numpy(task.from_origin()[rows])
        self.exact_state = self.head_loss.fit_state(y, task)
        for name, value in self.exact_state.items():
            self.get_buffer(name).copy_(value)
        bias = self.head_loss.initial_bias(y, task)
        if bias is not None:
            self.linear.bias.data.copy_(bias)

    def loss_target(self, task: Task) -> Tensor:
        """Give the (N, ...) targets of the loss, for all N rows of the table."""
        y = torch.from_numpy(task.from_origin())
        return self.head_loss.target(y, self.exact_state)

    def row_losses(self, outputs: Tensor, y_true: Tensor) -> Tensor:
        """Give the (B,) losses of (B, W) outputs and rows of ``loss_target``."""
        return self.head_loss.row_losses(outputs, y_true, self.state)

    def losses_of_each(self, outputs: Tensor, y_of_classes: Tensor) -> Tensor:
        """Give the (B, K) losses by each of K classes, rows of ``loss_target``."""
        return self.head_loss.losses_of_each(outputs, y_of_classes, self.state)

    def batch_losses(
        self, outputs: Tensor, y_true: Tensor, rows: BatchRows
    ) -> Tensor | None:
        """Give (B,) further losses, which depend on other rows, if there are any."""
        return self.head_loss.batch_losses(outputs, y_true, self.state, rows)

    def forward(self, features: Tensor, columns: Tensor | None = None) -> Tensor:
        """Give the (B, W) raw outputs of (B, D) features, such as logits.

        Args:
            features: Of the backbone.
            columns: (B, C) of the user's table; None: the head was built without.
        """
        inputs = self.dropout(features)
        if columns is not None:
            inputs = torch.cat([inputs, columns], dim=1)
        outputs: Tensor = self.linear(self.mlp(inputs))
        return outputs.float()

    def predict(self, outputs: Tensor) -> Tensor:
        """Bring (B, W) raw outputs to the (B, F) that are stored."""
        return self.head_loss.predict(outputs, self.state)

"""Classes with an order: how likely a row passes each grade, given that it reached it.

A row of grade r has answered r + 1 questions: yes, it lies above grade 0, above 1 ...,
and no, not above r. The head gives a logit for each question but that of the highest
grade, and a row's loss is that of the questions it has answered. The sum is minus the
logarithm of the probability of its grade.

Source: Shi, Cao & Raschka 2021, Deep Neural Networks for Rank-Consistent Ordinal
Regression Based on Conditional Probabilities, arXiv 2111.08851.
Differs: the questions of a row are summed, not averaged over those of the batch.

Shapes: N rows, B rows of a batch, K grades.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class Corn(HeadLoss):
    """Conditional ordinal regression.

    The outputs are the expected grade, then K probabilities from the lowest grade up.
    """

    def width(self, n_outputs: int) -> int:
        """Give K - 1: the highest grade has no question."""
        return n_outputs - 2

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give (K,) grades 0, 1, 2 ..."""
        import torch

        return {"grades": torch.arange(n_outputs - 1).float()}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the grades of the table: those that a fold lacks have their place."""
        import torch

        del y
        grades = torch.tensor(labels.grades, dtype=torch.float64)
        return {"grades": grades - labels.origin}

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (K - 1,) logits of how often a question is answered by yes."""
        import torch

        ranks = self.target(y, self.fit_state(y, labels))
        questions = torch.arange(len(labels.outputs) - 2)
        n_passed = (ranks[:, None] > questions).sum(dim=0)
        n_reached = (ranks[:, None] >= questions).sum(dim=0)
        # half a row more for each answer: a fold may lack a grade
        return ((n_passed + 0.5) / (n_reached + 1)).logit()

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N,) ranks, 0 to K - 1."""
        import torch

        ranks = torch.searchsorted(state["grades"], y[:, 0].contiguous())
        return ranks.clamp(max=len(state["grades"]) - 1)  # masked rows may lie above

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) sums over the questions answered, of (B, K - 1) logits."""
        del state
        import torch
        from torch.nn import functional

        questions = torch.arange(outputs.shape[1], device=outputs.device)
        is_passed = (y_true[:, None] > questions).to(outputs.dtype)
        is_reached = y_true[:, None] >= questions
        losses = functional.binary_cross_entropy_with_logits(
            outputs, is_passed, reduction="none"
        )
        return (losses * is_reached).sum(dim=1)

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, 1 + K) expected grades and probabilities."""
        import torch
        from torch.nn import functional

        # P(y > k), a product of the answers until then; sums keep small ones
        above = functional.logsigmoid(outputs).cumsum(dim=1).exp()
        ones = torch.ones_like(above[:, :1])
        proba = torch.cat([ones, above], 1) - torch.cat([above, 0 * ones], 1)
        expected = (proba * state["grades"]).sum(dim=1, keepdim=True)
        return torch.cat([expected, proba], dim=1)

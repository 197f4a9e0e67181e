"""Features in the order of labels: what has near labels is to look alike.

Each picture ranks the others of its batch by the cosine of their features, and by the
distance of their labels. The loss is the mean squared difference of both ranks. A rank
has no slope, so its gradient is interpolated: by how much would the rank change if the
cosines took a step along the gradient of the loss by the rank?

Source: Gong et al. 2022, RankSim: Ranking Similarity Regularization for Deep Imbalanced
Regression, arXiv 2205.15236; the gradient is of Vlastelica et al. 2020, Differentiation
of Blackbox Combinatorial Solvers, arXiv 1912.02175.
Differs: a mean over the pictures of a batch, where theirs is a sum; and the weight
multiplies the gradient, where theirs goes into the step, which stays that of the paper.

Shapes: B rows of a batch, M of them with different labels, D features.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STRENGTH, WEIGHT = 2.0, 100.0  # of the interpolation, and the paper's of the loss


def rank_losses(
    features: "Tensor", labels: "Tensor", is_labelled: "Tensor"
) -> "Tensor":
    """Give the losses of rows by their ranks of each other.

    Of rows with the same label one is taken, at random by torch's generator, so that no
    ranks tie and rare labels count more.

    Args:
        features: (B, D) of the backbone.
        labels: (B,) numbers.
        is_labelled: (B,) whether there is a label.

    Returns:
        (B,) losses, whose sum over the labelled rows is their number times the mean of
        those that are compared.
    """
    import torch
    from torch.nn import functional

    labelled_idx = is_labelled.nonzero()[:, 0]
    order = torch.randperm(len(labelled_idx)).to(labels.device)
    idx = first_of_each(labels[labelled_idx[order]])
    idx = labelled_idx[order[idx]]
    label_MM = -(labels[idx, None] - labels[idx]).abs()
    with torch.autocast(features.device.type, enabled=False):
        unit_MD = functional.normalize(features[idx].float(), dim=1)
        cosine_MM = unit_MD @ unit_MD.T
    with torch.no_grad():
        ranks = ranks_of(cosine_MM)
        difference = ranks - ranks_of(label_MM)
        slope = WEIGHT * 2 * difference / max(1, len(idx))
        change = ranks_of(cosine_MM + STRENGTH * slope) - ranks
    # its value is the loss, its gradient that of the interpolation
    along = (cosine_MM * change / STRENGTH).sum(dim=1)
    values = (difference**2).mean(dim=1) + along - along.detach()
    losses = torch.zeros(len(labels), device=labels.device)
    return losses.index_put((idx,), values * (len(labelled_idx) / max(1, len(idx))))


def ranks_of(scores: "Tensor") -> "Tensor":
    """Give the (M, M) ranks within rows, from 1 / M for the largest to 1."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return (order.argsort(dim=1) + 1).float() / max(1, scores.shape[1])


def first_of_each(labels: "Tensor") -> "Tensor":
    """Give the (M,) places of the first row of each label, by label."""
    ordered, order = labels.sort(stable=True)
    is_first = ordered.diff(prepend=ordered[:1] - 1) != 0
    chosen: Tensor = order[is_first]
    return chosen

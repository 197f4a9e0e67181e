"""DIET as a learner: a net says which picture of the collection a view is of.

Source: Balestriero 2023, arXiv 2302.10260.
Differs: see ``pretext.diet``.

Shapes: B pictures of a batch, N of the collection, D features.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.data.augment import AugmentParams
from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch, Learner
from pretext.methods.siamese import make_views, spread
from pretext.networks.backbones import feature_width

# float32: a weight, its gradient, the two moments of AdamW and what its step needs; a
# logit, its logarithm and its gradient. Of 100,000 pictures x 512 features 1.13 GB were
# measured and 1.10 are counted.
BYTES_OF_WEIGHT, BYTES_OF_LOGIT = 20, 12


class DietLearner(Learner):
    """Tell each picture from all others: N classes of one picture each.

    There is no second view, no projector and no teacher. The head is a linear map with
    a row for each picture, and is thrown away. An output that is the same for all
    pictures is no answer here: on the mean over all its loss is log N or more.

    Args:
        backbone: Gives (B, D) features.
        normalise: Statistics of the collection.
        side_px: Side of the views.
        params: How they may leave the picture.
        train_idx: (N,) rows of the pictures that are trained on, rising.
        label_smoothing: Share of the target that is spread over all pictures.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        *,
        side_px: int,
        params: AugmentParams,
        train_idx: Ints,
        label_smoothing: float,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(feature_width(backbone), len(train_idx), bias=False)
        self.normalise, self.side_px, self.params = normalise, side_px, params
        self.train_idx, self.label_smoothing = train_idx, label_smoothing
        self.fill_frac = fill_frac
        self.lowest, self.guessed = loss_range(len(train_idx), label_smoothing)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Give the smoothed cross-entropy, and what it means.

        ``accuracy`` is the share of the pictures told from all others, and ``excess``
        how far the loss is above the lowest possible, as a share of what guessing is: 1
        at the beginning, 0 at best. ``spread`` is that of the features.
        """
        views = make_views(
            batch=batch,
            purpose="diet",
            side_px=round(self.side_px * batch.scale),
            params=self.params,
            normalise=self.normalise,
            fill_frac=self.fill_frac,
        )
        features_BD = self.backbone(views)
        labels_B = torch.from_numpy(np.searchsorted(self.train_idx, batch.rows))
        labels_B = labels_B.to(features_BD.device)
        with torch.autocast(features_BD.device.type, enabled=False):
            features_BD = features_BD.float()
            logits_BN = self.head(features_BD)
            loss = F.cross_entropy(
                logits_BN, labels_B, label_smoothing=self.label_smoothing
            )
        accuracy = (logits_BN.detach().argmax(dim=1) == labels_B).float().mean()
        excess = (loss.detach() - self.lowest) / (self.guessed - self.lowest)
        return {
            "loss": loss,
            "accuracy": accuracy,
            "excess": excess,
            "spread": spread(features_BD, batch),
        }


def loss_range(n_pictures: int, label_smoothing: float) -> tuple[float, float]:
    """Give the lowest loss that N classes can have, and that of guessing, in nats.

    The lowest is the entropy of a smoothed target: 1 - s + s / N on the picture, s / N
    on each other.
    """
    wrong_proba = label_smoothing / n_pictures
    right_proba = 1 - label_smoothing + wrong_proba
    entropy = -right_proba * math.log(right_proba)
    if wrong_proba:
        entropy -= (n_pictures - 1) * wrong_proba * math.log(wrong_proba)
    return entropy, math.log(n_pictures)


def head_bytes(n_pictures: int, n_features: int, batch_size: int) -> int:
    """Say what memory the head takes, with what AdamW keeps of it and the logits."""
    weights = n_pictures * n_features * BYTES_OF_WEIGHT
    return weights + n_pictures * batch_size * BYTES_OF_LOGIT


def check_head(
    n_pictures: int, n_features: int, *, batch_size: int, free_bytes: float
) -> None:
    """Check that a head with a class for each picture can be held in memory.

    Raises:
        UserError: It cannot.
    """
    needed = head_bytes(n_pictures, n_features, batch_size)
    if needed <= free_bytes:
        return
    raise UserError(
        f"pretext.diet has a class for each picture: a head of {n_pictures} pictures x"
        f" {n_features} features takes {needed / 1e9:.1f} GB in the training, and"
        f" {free_bytes / 1e9:.1f} GB are free; take a --backbone with fewer"
        " features, or pretext.visreg, whose head does not grow with the collection"
    )

"""SimSiam as a learner: two views of a picture predict each other."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.data.augment import AugmentParams, random_views
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch, Learner, ParameterGroup
from pretext.networks.backbones import feature_width


class SimSiamLearner(Learner):
    """Make two views of a picture predict each other, the target without gradient.

    Source: Chen & He 2021, arXiv 2011.10566; heads and loss are lightly's.

    Args:
        backbone: Gives (B, D) features.
        normalise: Statistics of the collection.
        side_px: Side of the views.
        params: How they may leave the picture.
        width: Outputs of the projector; the predictor's middle has a quarter of them.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        *,
        side_px: int,
        params: AugmentParams,
        width: int,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules.heads import (
            SimSiamPredictionHead,
            SimSiamProjectionHead,
        )

        self.backbone = backbone
        self.projector = SimSiamProjectionHead(feature_width(backbone), width, width)
        self.predictor = SimSiamPredictionHead(width, max(8, width // 4), width)
        self.criterion = NegativeCosineSimilarity()
        self.normalise, self.side_px, self.params = normalise, side_px, params
        self.fill_frac = fill_frac

    def groups(self) -> list[ParameterGroup]:
        """The predictor's rate does not decay: +0.4 points in the paper's table."""
        (every,) = super().groups()
        predictor = list(self.predictor.parameters())
        ids = {id(parameter) for parameter in predictor}
        encoder = [p for p in every.parameters if id(p) not in ids]
        return [
            ParameterGroup(name="encoder", parameters=encoder),
            ParameterGroup(name="predictor", parameters=predictor, is_scheduled=False),
        ]

    def project(self, features: Tensor) -> Tensor:
        """Give the projector's (B, d) outputs of (B, D) features."""
        projected: Tensor = self.projector(features)
        return projected

    def target(self, projected: Tensor) -> Tensor:
        """Give the (B, d) target of the predictor, cut off from the gradient.

        With a gradient all outputs would become one.
        """
        return projected.detach()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Symmetric negative cosine, and the ``spread`` of the outputs.

        The views go through the net one after the other, as in the paper: each has the
        batch statistics of its own.
        """
        z1, z2 = self._project(batch, "first"), self._project(batch, "second")
        p1, p2 = self.predictor(z1), self.predictor(z2)
        # in float32: a cosine near -1 has no digits left in bfloat16
        z1, z2, p1, p2 = z1.float(), z2.float(), p1.float(), p2.float()
        loss = self.criterion(p1, self.target(z2)) + self.criterion(p2, self.target(z1))
        return {"loss": 0.5 * loss, "spread": spread(z1, batch)}

    def _project(self, batch: Batch, purpose: str) -> Tensor:
        side_px = round(self.side_px * batch.scale)
        views = make_views(
            batch=batch,
            purpose=purpose,
            side_px=side_px,
            params=self.params,
            normalise=self.normalise,
            fill_frac=self.fill_frac,
        )
        return self.project(self.backbone(views))


def make_views(
    batch: Batch,
    purpose: str,
    side_px: int,
    params: AugmentParams,
    normalise: Normalisation,
    fill_frac: NDArray[np.float32] | None = None,
) -> Tensor:
    """Make a (B, 3, S, S) view of each picture, standardised, for a net.

    Args:
        batch: Pictures, and what their random numbers follow from.
        purpose: Which of a picture's views; each has random numbers of its own.
        side_px: S.
        params: How the views may leave the picture.
        normalise: Statistics of the collection.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """
    u = uniforms(
        batch.keys, params.n_random, seed=batch.seed, epoch=batch.epoch, purpose=purpose
    )
    fill = None if fill_frac is None else fill_frac[batch.rows]
    views = random_views(
        batch.images, u, side_px=side_px, params=params, fill_frac=fill
    )
    return normalise(views).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def spread(outputs_Bd: Tensor, batch: Batch | None = None) -> Tensor:
    """Measure how far (B, d) outputs are from being all one: a collapse metric.

    The mean over the d outputs, each picture's scaled to length 1, of their deviation
    times sqrt(d): 1 when they fill the sphere, 0 when all pictures give the same.

    Source: Chen & He 2021, arXiv 2011.10566, figure 2.

    Args:
        outputs_Bd: Of a network.
        batch: What they are of, if it may be a part of a larger one; then the spread is
            that of the whole.
    """
    mean_over_parts = batch.mean_over_parts if batch else Tensor.detach
    unit_Bd = F.normalize(outputs_Bd, dim=1)
    mean_d = mean_over_parts(unit_Bd.mean(dim=0))
    variance_d = mean_over_parts((unit_Bd - mean_d).square().mean(dim=0))
    value: Tensor = variance_d.sqrt().mean() * unit_Bd.shape[1] ** 0.5
    return value

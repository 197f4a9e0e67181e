"""SwAV as a learner: a view says which prototypes another view was assigned to.

Source: Caron et al. 2020, arXiv 2006.09882; heads and loss are lightly's.
Differs: see ``pretext.swav``.

Shapes: B pictures, V views, D features, d outputs, K prototypes.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch, ParameterGroup
from pretext.methods.crops import N_GLOBAL, Crops, MultiCropLearner
from pretext.methods.siamese import spread
from pretext.networks.backbones import feature_width

WIDTH, OUTPUTS = 1024, 128  # of the projector: its hidden layer, its end
FROZEN_EPOCHS = 1  # in which the prototypes stay as they are


class SwavLearner(MultiCropLearner):
    """Swap assignments: predict from each view the prototypes of a global one.

    The assignments of a batch are such that all prototypes get the same share of it
    (Sinkhorn & Knopp); else one of them would take all pictures. Where several
    processes share a batch, the shares are of all of it.

    Args:
        backbone: Gives (B, D) features.
        normalise: Statistics of the collection.
        crops: Which views are made.
        n_prototypes: K.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        crops: Crops,
        *,
        n_prototypes: int,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(normalise, crops, fill_frac)
        from lightly.loss import SwaVLoss
        from lightly.models.modules.heads import SwaVProjectionHead, SwaVPrototypes

        self.backbone = backbone
        self.projector = SwaVProjectionHead(feature_width(backbone), WIDTH, OUTPUTS)
        self.prototypes = SwaVPrototypes(OUTPUTS, n_prototypes)
        for layer in self.prototypes.heads:
            layer.bias = None  # scores are cosines; lightly adds a constant to each
        self.prototypes.normalize()
        self.criterion = SwaVLoss(sinkhorn_gather_distributed=True)

    def groups(self) -> list[ParameterGroup]:
        """The prototypes stay where they are in the first epoch, as in the paper."""
        (every,) = super().groups()
        prototypes = list(self.prototypes.parameters())
        ids = {id(parameter) for parameter in prototypes}
        encoder = [p for p in every.parameters if id(p) not in ids]
        return [
            ParameterGroup(name="encoder", parameters=encoder),
            ParameterGroup(
                name="prototypes", parameters=prototypes, from_epoch=FROZEN_EPOCHS
            ),
        ]

    def project(self, features: Tensor) -> Tensor:
        """Give the (B, d) outputs of (B, D) features, of length 1."""
        return F.normalize(self.projector(features).float(), dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy between the prototypes of a view and those of another.

        For each pair of a global view v and another view w, lightly's criterion is the
        mean over pictures of

            -sum_k assigned(v)_k log softmax(scores(w) / 0.1)_k

        Two metrics go with it: ``spread`` of the outputs of the first global view, and
        ``entropy``, that of the mean of the softmax over log K, 0 if one prototype has
        all.
        """
        z_VBd = F.normalize(self.embed(batch, self.backbone, self.projector), dim=2)
        with torch.autocast(z_VBd.device.type, enabled=False):
            scores_VBK: Tensor = self.prototypes(z_VBd)
            (loss,) = self.criterion(
                list(scores_VBK[:N_GLOBAL]), list(scores_VBK[N_GLOBAL:])
            )
            scores = scores_VBK[:N_GLOBAL].detach().flatten(0, 1)
            proba = (scores / self.criterion.temperature).softmax(dim=1)
            mean_K = batch.mean_over_parts(proba.mean(dim=0))
            entropy = torch.special.entr(mean_K).sum() / math.log(len(mean_K))
        return {"loss": loss, "spread": spread(z_VBd[0], batch), "entropy": entropy}

    def after_step(self, done: float) -> None:
        """Put the prototypes back on the sphere."""
        del done
        self.prototypes.normalize()

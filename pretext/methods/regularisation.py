"""VISReg as a learner: views agree, and the outputs of a batch are a normal cloud.

Source: Wu, Balestriero & Levine 2026, arXiv 2606.02572; the loss is lightly's, the head
that of LeJEPA (Balestriero & LeCun 2025, arXiv 2511.08544), lightly's too.
Differs: see ``pretext.visreg``.

Shapes: B pictures, V views, D features, d outputs.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch
from pretext.methods.crops import N_GLOBAL, Crops, MultiCropLearner
from pretext.methods.siamese import spread
from pretext.networks.backbones import feature_width

WIDTH, OUTPUTS = 1024, 64  # of the projector: its two hidden layers, its end
N_SLICES = 1024  # directions that a step looks at the cloud from


class VisRegLearner(MultiCropLearner):
    """Give all views of a picture one output, and all pictures a normal cloud of them.

    Alone the agreement of views would make all outputs one. What it is weighed against
    are the distances of the batch from a cloud with mean 0 and deviation 1 whose
    shadows on random directions are normal. None of the nets is a teacher, and nothing
    is cut off from the gradient.

    Where several processes share a batch, the cloud is that of all of it, and each
    looks from directions of its own.

    Args:
        backbone: Gives (B, D) features.
        normalise: Statistics of the collection.
        crops: Which views are made.
        weight: Of the distances from the cloud; the agreement has the rest to 1.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        crops: Crops,
        *,
        weight: float,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(normalise, crops, fill_frac)
        from lightly.loss import VISRegLoss
        from lightly.models.modules.heads import LeJEPAProjectionHead

        self.backbone = backbone
        self.projector = LeJEPAProjectionHead(feature_width(backbone), WIDTH, OUTPUTS)
        self.criterion = VISRegLoss(
            lambda_param=weight, num_slices=N_SLICES, gather_distributed=True
        )

    def project(self, features: Tensor) -> Tensor:
        """Give the projector's (B, d) outputs of (B, D) features."""
        projected: Tensor = self.projector(features)
        return projected

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Disagreement of the views, and the distance of each view's cloud.

        ``invariance`` is the mean square between a view and the mean of the global
        ones, ``regulariser`` the sum of the squares of means, of deviations less 1, and
        of ordered shadows less the quantiles of the normal distribution. Of a collapsed
        batch they are 0 and nearly 2. ``spread`` is that of the first global view.
        """
        z_VBd = self.embed(batch, self.backbone, self.projector)
        with torch.autocast(z_VBd.device.type, enabled=False):
            terms = self.criterion.forward_components(
                local_proj=z_VBd[N_GLOBAL:], global_proj=z_VBd[:N_GLOBAL]
            )
        return {
            "loss": terms.total,
            "invariance": terms.pred,
            "regulariser": terms.scale + terms.shape + terms.center,
            "spread": spread(z_VBd[0], batch),
        }

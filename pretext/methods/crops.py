"""Multi-crop: each picture in two large views and several small ones.

The small ones cost little, and what they show is a part of what the large ones show: a
net that gives them the same output has to know what the part belongs to.

Source: Caron et al. 2020, arXiv 2006.09882, section 3.4; sides as there, 96 of 224 px.

Shapes: B pictures, V views, S s sides of a global and a local view.
"""

from abc import ABC
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.errors import UserError
from pretext.data.augment import AugmentParams
from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch, Learner
from pretext.methods.siamese import make_views

LOCAL_SIDE = 96 / 224  # of the side of the global views
N_GLOBAL = 2  # views of each picture


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Which views are made of a picture.

    Attributes:
        side_px: Side of the two global views.
        global_params: How the global views may leave the picture.
        local_params: How the local views may.
        n_local: How many local views there are.
    """

    side_px: int
    global_params: AugmentParams
    local_params: AugmentParams
    n_local: int

    def local_side_px(self, scale: float = 1.0) -> int:
        """Give the side of the local views; ``scale``: larger than usual by this."""
        return round(self.side_px * LOCAL_SIDE * scale)

    def check(self, backbone: nn.Module) -> None:
        """Try whether a network takes views of both sizes.

        Raises:
            UserError: It does not.
        """
        side_px = self.local_side_px()
        was_training = backbone.training
        try:
            if self.n_local:
                with torch.no_grad():
                    backbone.eval()(torch.zeros(1, 3, side_px, side_px))
        except (AssertionError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"local_crops = {self.n_local}: this backbone takes no views of"
                f" {side_px} px beside those of {self.side_px} px ({reason});"
                " give --local-crops 0, a larger --side or another --backbone"
            ) from None
        backbone.train(was_training)


class MultiCropLearner(Learner, ABC):
    """A learner that sees each picture in views of two sizes.

    Args:
        normalise: Statistics of the collection.
        crops: Which views are made.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    def __init__(
        self,
        normalise: Normalisation,
        crops: Crops,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.normalise, self.crops, self.fill_frac = normalise, crops, fill_frac

    def views(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Make the (2 B, 3, S, S) global views, and the (B, 3, s, s) local ones."""
        crops, normalise = self.crops, self.normalise
        side_px = round(crops.side_px * batch.scale)
        global_views = [
            make_views(
                batch=batch,
                purpose=f"global {k}",
                side_px=side_px,
                params=crops.global_params,
                normalise=normalise,
                fill_frac=self.fill_frac,
            )
            for k in range(N_GLOBAL)
        ]
        side_px = crops.local_side_px(batch.scale)
        local_views = [
            make_views(
                batch=batch,
                purpose=f"local {k}",
                side_px=side_px,
                params=crops.local_params,
                normalise=normalise,
                fill_frac=self.fill_frac,
            )
            for k in range(crops.n_local)
        ]
        return torch.cat(global_views), local_views

    def embed(self, batch: Batch, backbone: nn.Module, projector: nn.Module) -> Tensor:
        """Give the (V, B, d) outputs of all views, the global ones first, in float32.

        Views of one size go through the backbone together, and all of them through the
        projector, as in the authors' code of SwAV.
        """
        global_views, local_views = self.views(batch)
        features = [backbone(global_views)]
        if local_views:
            features.append(backbone(torch.cat(local_views)))
        outputs: Tensor = projector(torch.cat(features)).float()
        return outputs.view(-1, len(batch.rows), outputs.shape[1])

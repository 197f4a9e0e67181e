"""DINO as a learner: a student says of each view what its teacher says of another.

The teacher is a moving average of the student, and its backbone is the one to keep.

Source: Caron et al. 2021, arXiv 2104.14294; head and loss are lightly's.
Differs: see ``pretext.dino``.

Shapes: B pictures, D features, K classes.
"""

import copy
import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch
from pretext.methods.crops import Crops, MultiCropLearner
from pretext.methods.siamese import spread
from pretext.networks.backbones import feature_width

FIRST_TEMPERATURE, TEMPERATURE = 0.04, 0.07  # of the teacher
FROZEN_EPOCHS = 1  # in which the student's last layer stays as it is
WIDTH, BOTTLENECK = 1024, 256  # of the head, before its K outputs


class DinoLearner(MultiCropLearner):
    """Train a student to put each view of a picture into its teacher's classes.

    What the K classes are is not given but comes about. Two things keep them apart:
    without centring one class would take all pictures, and at a high temperature every
    picture would be a little of each.

    Args:
        backbone: Gives (B, D) features; becomes the teacher's.
        normalise: Statistics of the collection.
        crops: Which views are made.
        n_classes: K.
        decay: Share of the teacher that a step keeps, at first; at the end all of it.
        warm_epochs: Epochs in which the teacher's temperature rises.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    freezes = True  # the last layer, at first

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        crops: Crops,
        *,
        n_classes: int,
        decay: float,
        warm_epochs: int,
        fill_frac: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(normalise, crops, fill_frac)
        from lightly.loss import DINOLoss

        width = feature_width(backbone)
        self.student = copy.deepcopy(backbone)
        self.student_head = _head(width, n_classes)
        self.backbone, self.head = backbone, _head(width, n_classes)
        self.head.load_state_dict(self.student_head.state_dict())
        self.backbone.requires_grad_(False)
        self.head.requires_grad_(False)
        self.criterion = DINOLoss(n_classes)  # its centre is part of the state
        self.decay, self.warm_epochs = decay, warm_epochs

    def project(self, features: Tensor) -> Tensor:
        """Give the teacher's (B, BOTTLENECK) outputs, whose directions are the classes.

        The K logits are a linear map of them, so they collapse together.
        """
        projected: Tensor = self.head.get_submodule("layers")(features.float())
        return projected

    def temperature(self, epoch: int) -> float:
        """Give the teacher's temperature in an epoch, counted from 0."""
        done = min(1.0, epoch / max(1, self.warm_epochs))
        return FIRST_TEMPERATURE + done * (TEMPERATURE - FIRST_TEMPERATURE)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy between the student's classes and its teacher's.

        For each pair of a global view v, seen by the teacher, and another view w, seen
        by the student, lightly's criterion is the mean over pictures of

            -sum_k softmax((teacher(v) - centre) / t)_k log softmax(student(w) / 0.1)_k

        Views of one size go through a net together, as in the authors' code, and share
        their batch statistics. Two metrics of the teacher's logits go with it:
        ``spread``, and ``entropy``, that of their mean class over log K, 0 if one class
        has all.
        """
        n, temperature = len(batch.rows), self.temperature(batch.epoch)
        global_views, local_views = self.views(batch)
        last_layer = self.student_head.get_submodule("last_layer")
        is_free = batch.epoch >= FROZEN_EPOCHS
        last_layer.get_parameter("weight_v").requires_grad_(is_free)
        with torch.no_grad():
            teacher_2BK = _logits(self.backbone, self.head, global_views)
        student = [_logits(self.student, self.student_head, global_views)]
        if local_views:
            stacked = torch.cat(local_views)
            student.append(_logits(self.student, self.student_head, stacked))
        with torch.autocast(teacher_2BK.device.type, enabled=False):
            centred_2BK = teacher_2BK - self.criterion.center[0]
            proba_2BK = (centred_2BK / temperature).softmax(dim=1)
            mean_K = batch.mean_over_parts(proba_2BK.mean(dim=0))
            entropy = torch.special.entr(mean_K).sum()
            loss = self.criterion(
                list(torch.split(teacher_2BK, n)),
                list(torch.split(torch.cat(student), n)),
                teacher_temp=temperature,
            )
        entropy = entropy / math.log(proba_2BK.shape[1])
        return {"loss": loss, "spread": spread(teacher_2BK, batch), "entropy": entropy}

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """Let the teacher follow the student, ever more slowly.

        Source: the cosine schedule of the paper, section 3.1. The batch statistics of
        the teacher are not the student's: it sees the pictures itself.
        """
        rate = (1 - self.decay) * (1 + math.cos(math.pi * done)) / 2
        for teacher, student in (
            (self.backbone, self.student),
            (self.head, self.student_head),
        ):
            weights: list[Tensor] = [*teacher.parameters()]
            torch._foreach_lerp_(weights, [*student.parameters()], rate)


def _head(width: int, n_classes: int) -> nn.Module:
    from lightly.models.modules.heads import DINOProjectionHead

    with warnings.catch_warnings():  # lightly has torch's weight_norm the old way
        warnings.simplefilter("ignore", FutureWarning)
        head: nn.Module = DINOProjectionHead(
            width, WIDTH, BOTTLENECK, n_classes, batch_norm=True
        )
    return head


def _logits(backbone: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
    """Give (B, K) logits; the head in float32, for the temperatures are small."""
    features_BD = backbone(images)
    with torch.autocast(images.device.type, enabled=False):
        logits_BK: Tensor = head(features_BD.float())
    return logits_BK

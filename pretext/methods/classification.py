"""Pretexts that are classifications: questions about a picture with C answers each.

A task is a function that makes examples whose labels it knows; the rest is here.
``docs/new_pretext_task.md`` adds one.

Shapes: B pictures, Q questions, C classes, T inputs for each picture, H W their pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.arrays import Ints
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.engine.learner import Batch, Learner
from pretext.methods.order_head import OrderHead
from pretext.methods.puzzles import PuzzleRules, make_puzzles, split_tiles
from pretext.networks.backbones import feature_width

VAL_EPOCH = -1  # held-out pictures get the same examples every time
VAL_BATCH = 128

MakeExamples = Callable[
    [Tensor, NDArray[np.float32], Ints, float], tuple[Tensor, Tensor]
]
"""From pictures (B, 3, S, S) uint8, random numbers u (B, n) of [0, 1), the rows (B,) of
the pictures in the prepared table, and how much larger than usual the examples are to
be. To inputs (B, 3, H, W), or several for each picture (B, T, 3, H, W), and labels
(B, Q) int64."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From logits (B, Q, C) and labels (B, Q) to the loss."""


def cross_entropy(logits_BQC: Tensor, labels_BQ: Tensor) -> Tensor:
    """Give the mean cross-entropy over all B * Q questions, in nats."""
    return F.cross_entropy(logits_BQC.flatten(0, 1), labels_BQ.flatten())


def squared_error(logits_BQC: Tensor, labels_BQ: Tensor) -> Tensor:
    """Give the mean squared distance of the logits from one-hot labels."""
    one_hot_BQC = F.one_hot(labels_BQ, logits_BQC.shape[2]).to(logits_BQC.dtype)
    return F.mse_loss(logits_BQC, one_hot_BQC)


class ClassificationLearner(Learner):
    """Answer Q questions about each picture, with one of C classes each.

    Args:
        backbone: Gives (B, D) features of the inputs.
        head: Gives B * Q * C logits of the features, in whatever shape; of (B * T, D)
            features where there are T inputs for each picture.
        make_examples: Makes inputs and their labels from pictures: the task itself.
        n_random: Random numbers that an example takes.
        purpose: What they are drawn for; any text, other than those of other tasks.
        pictures: All prepared pictures, for the measuring.
        val_idx: (V,) rows never trained on.
        val_keys: (V,) keys of those rows for ``pretext.data.keyed_rng``.
        seed: Seed of their examples.
        criterion: Gives the loss of (B, Q, C) logits and (B, Q) labels.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        make_examples: MakeExamples,
        *,
        n_random: int,
        purpose: str,
        pictures: Pictures,
        val_idx: Ints,
        val_keys: NDArray[np.uint64],
        seed: int,
        criterion: Criterion = cross_entropy,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.make_examples, self.criterion = make_examples, criterion
        self.n_random, self.purpose = n_random, purpose
        self.pictures, self.seed = pictures, seed
        self.val_idx, self.val_keys = val_idx, val_keys

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the logits of (B, 3, H, W) or (B, T, 3, H, W) inputs."""
        inputs = inputs.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.backbone(inputs)).float()
        return logits

    def infer(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the (B, Q, C) logits and the (B, Q) labels of a batch."""
        u = uniforms(
            batch.keys,
            self.n_random,
            seed=batch.seed,
            epoch=batch.epoch,
            purpose=self.purpose,
        )
        # as in pretext.data.augment: bfloat16 would cut a quarter pixel off
        with torch.autocast(batch.images.device.type, enabled=False):
            inputs, labels_BQ = self.make_examples(
                batch.images, u, batch.rows, batch.scale
            )
        return self(inputs).view(*labels_BQ.shape, -1), labels_BQ

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Give the criterion's loss, and the accuracy over all questions."""
        logits, labels = self.infer(batch)
        accuracy = (logits.detach().argmax(dim=2) == labels).float().mean()
        return {"loss": self.criterion(logits, labels), "accuracy": accuracy}

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure ``held_out``: the accuracy on the pictures never trained on."""
        del epoch
        n_right = n_questions = 0
        for start in range(0, len(self.val_idx), VAL_BATCH):
            rows = self.val_idx[start : start + VAL_BATCH]
            batch = Batch(
                images=self.pictures.take(rows),
                rows=rows,
                keys=self.val_keys[start : start + VAL_BATCH],
                seed=self.seed,
                epoch=VAL_EPOCH,
            )
            logits, labels = self.infer(batch)
            n_right += int((logits.argmax(dim=2) == labels).sum())
            n_questions += labels.numel()
        return {"held_out": n_right / n_questions} if n_questions else {}


class JigsawLearner(ClassificationLearner):
    """Say for each place of a puzzle which tile lies there, or which order it is in.

    In the first form the puzzle is one picture, with T questions of T classes. In the
    second each tile is an input of its own, with one question of P classes.

    Args:
        backbone: Gives (B, D) features of a whole puzzle, or of a tile.
        rules: How the puzzles are made.
        pictures: All prepared pictures, for the measuring.
        val_idx: (V,) rows never trained on.
        val_keys: (V,) keys of those rows for ``pretext.data.keyed_rng``.
        seed: Seed of their puzzles.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
        orders: (P, T) orders of the second form; None: the first form.
        criterion: Gives the loss of (B, Q, C) logits and (B, Q) labels.
    """

    def __init__(
        self,
        backbone: nn.Module,
        rules: PuzzleRules,
        *,
        pictures: Pictures,
        val_idx: Ints,
        val_keys: NDArray[np.uint64],
        seed: int,
        fill_frac: NDArray[np.float32] | None = None,
        orders: Ints | None = None,
        criterion: Criterion = cross_entropy,
    ) -> None:
        n_tiles, width = rules.grid**2, feature_width(backbone)

        def make_examples(
            images: Tensor, u: NDArray[np.float32], rows: Ints, scale: float
        ) -> tuple[Tensor, Tensor]:
            puzzles, labels = make_puzzles(
                images,
                u,
                rules.scaled(scale),
                fill_frac=None if fill_frac is None else fill_frac[rows],
                orders=orders,
            )
            inputs = puzzles if orders is None else split_tiles(puzzles, rules.grid)
            return inputs, labels

        super().__init__(
            backbone,
            nn.Linear(width, n_tiles**2)
            if orders is None
            else OrderHead(width, n_tiles, len(orders)),
            make_examples,
            n_random=rules.n_random,
            purpose="jigsaw",
            pictures=pictures,
            val_idx=val_idx,
            val_keys=val_keys,
            seed=seed,
            criterion=criterion,
        )

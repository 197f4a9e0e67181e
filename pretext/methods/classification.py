"""Tasks with an answer: what the net is asked, and how often it is right.

A task is a function that makes examples whose answers it knows; the rest is here.
``docs/new_pretext_task.md`` adds one.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.engine.learner import Batch, Learner
from pretext.methods.order_head import OrderHead
from pretext.methods.puzzles import PuzzleRules, make_puzzles, split_tiles
from pretext.networks.backbones import feature_width

HELD_OUT_EPOCH = -1  # held-out pictures get the same examples every time
HELD_OUT_BATCH = 128

MakeExamples = Callable[
    [Tensor, NDArray[np.float32], NDArray[np.int64], float], tuple[Tensor, Tensor]
]
"""From pictures (B, 3, S, S) uint8, draws (B, n) of [0, 1), the rows (B,) of the
pictures in the prepared table, and how much larger than usual the examples are to be.
To inputs (B, 3, H, W), or several for each picture (B, T, 3, H, W), and answers (B, Q)
int64 to Q questions."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""From scores (B, Q, C) and answers (B, Q) to the loss."""


def cross_entropy(scores: Tensor, answers: Tensor) -> Tensor:
    """Give the mean cross-entropy of the questions."""
    return F.cross_entropy(scores.flatten(0, 1), answers.flatten())


def squared_error(scores: Tensor, answers: Tensor) -> Tensor:
    """Give the mean squared distance of the scores from a table of 0 and 1."""
    return F.mse_loss(scores, F.one_hot(answers, scores.shape[2]).to(scores.dtype))


class AnsweringLearner(Learner):
    """Answer Q questions about each picture, with one of C answers each.

    Args:
        backbone: Gives (B, D) features of the inputs.
        head: Gives B * Q * C scores of the features, in whatever shape; of (B * T, D)
            features where there are T inputs for each picture.
        make_examples: The task.
        n_draws: Random numbers that an example takes.
        purpose: What they are drawn for; any text, other than those of other tasks.
        pictures: All prepared pictures, for the measuring.
        held_out: Rows never trained on.
        held_out_keys: Their keys.
        seed: Seed of their examples.
        criterion: The loss.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        make_examples: MakeExamples,
        *,
        n_draws: int,
        purpose: str,
        pictures: Pictures,
        held_out: NDArray[np.int64],
        held_out_keys: NDArray[np.uint64],
        seed: int,
        criterion: Criterion = cross_entropy,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.make_examples, self.criterion = make_examples, criterion
        self.n_draws, self.purpose = n_draws, purpose
        self.pictures, self.seed = pictures, seed
        self.held_out, self.held_out_keys = held_out, held_out_keys

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the scores of (B, 3, H, W) or (B, T, 3, H, W) inputs."""
        inputs = inputs.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self.head(self.backbone(inputs)).float()
        return scores

    def ask(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the (B, Q, C) scores and the (B, Q) answers of a batch."""
        draws = uniforms(
            batch.keys,
            self.n_draws,
            seed=batch.seed,
            epoch=batch.epoch,
            purpose=self.purpose,
        )
        # as in pretext.data.augment: bfloat16 would cut a quarter pixel off
        with torch.autocast(batch.images.device.type, enabled=False):
            inputs, answers = self.make_examples(
                batch.images, draws, batch.rows, batch.scale
            )
        return self(inputs).view(*answers.shape, -1), answers

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Give the criterion's loss, and the share of right answers."""
        scores, answers = self.ask(batch)
        right = (scores.detach().argmax(dim=2) == answers).float().mean()
        return {"loss": self.criterion(scores, answers), "accuracy": right}

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure the accuracy on the held-out pictures."""
        del epoch
        right = total = 0
        for start in range(0, len(self.held_out), HELD_OUT_BATCH):
            part = slice(start, start + HELD_OUT_BATCH)
            rows, keys = self.held_out[part], self.held_out_keys[part]
            images = self.pictures.take(rows)
            scores, answers = self.ask(
                Batch(images, rows, keys, self.seed, HELD_OUT_EPOCH)
            )
            right += int((scores.argmax(dim=2) == answers).sum())
            total += answers.numel()
        return {"held_out": right / total} if total else {}


class JigsawLearner(AnsweringLearner):
    """Say for each place of a puzzle which tile lies there, or which order it is in.

    In the first form the puzzle is one picture, with T questions of T answers. In the
    second each tile is an input of its own, with one question of P answers.

    Args:
        backbone: Gives (B, D) features of a whole puzzle, or of a tile.
        rules: How the puzzles are made.
        pictures: All prepared pictures, for the measuring.
        held_out: Rows never trained on.
        held_out_keys: Their keys.
        seed: Seed of their puzzles.
        extents: (N, 2) share of width and height that each picture fills; None: all.
        orders: (P, T) orders of the second form; None: the first form.
        criterion: The loss.
    """

    def __init__(
        self,
        backbone: nn.Module,
        rules: PuzzleRules,
        pictures: Pictures,
        held_out: NDArray[np.int64],
        held_out_keys: NDArray[np.uint64],
        seed: int,
        extents: NDArray[np.float32] | None = None,
        *,
        orders: NDArray[np.int64] | None = None,
        criterion: Criterion = cross_entropy,
    ) -> None:
        n_tiles, width = rules.grid**2, feature_width(backbone)

        def make_examples(
            images: Tensor,
            draws: NDArray[np.float32],
            rows: NDArray[np.int64],
            scale: float,
        ) -> tuple[Tensor, Tensor]:
            filled = None if extents is None else extents[rows]
            puzzles, answers = make_puzzles(
                images, draws, rules.scaled(scale), filled, orders
            )
            return puzzles if orders is None else split_tiles(
                puzzles, rules.grid
            ), answers

        super().__init__(
            backbone,
            nn.Linear(width, n_tiles**2)
            if orders is None
            else OrderHead(width, n_tiles, len(orders)),
            make_examples,
            n_draws=rules.n_draws,
            purpose="jigsaw",
            pictures=pictures,
            held_out=held_out,
            held_out_keys=held_out_keys,
            seed=seed,
            criterion=criterion,
        )

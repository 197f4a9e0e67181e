"""The networks of the pretext tasks: a backbone, a head, and the loss of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.backbones import feature_width
from pretext.draws import uniforms
from pretext.pictures import Normalisation, Pictures
from pretext.puzzles import PuzzleRules, make_puzzles
from pretext.training import Batch, Learner
from pretext.views import N_DRAWS, Strength, random_views

HELD_OUT_EPOCH = -1  # held-out pictures get the same puzzles every time


class JigsawLearner(Learner):
    """Say for each place of a puzzle which tile lies there: T rows of T classes.

    Args:
        backbone: Gives (B, D) features of a whole puzzle.
        rules: How the puzzles are made.
        pictures: All prepared pictures, for the measuring.
        held_out: Rows never trained on.
        held_out_keys: Their keys.
        seed: Seed of their puzzles.
        extents: (N, 2) share of width and height that each picture fills; None: all.
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
    ) -> None:
        super().__init__()
        self.backbone, self.rules = backbone, rules
        n_tiles = rules.grid**2
        self.head = nn.Linear(feature_width(backbone), n_tiles * n_tiles)
        self.pictures, self.seed = pictures, seed
        self.held_out, self.held_out_keys = held_out, held_out_keys
        self.extents = extents

    def extents_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Give the (B, 2) extents of some rows."""
        return None if self.extents is None else self.extents[rows]

    def forward(self, puzzles: Tensor) -> Tensor:
        """Give the (B, T, T) scores: row = place in the puzzle, column = tile."""
        puzzles = puzzles.contiguous(memory_format=torch.channels_last)
        n_tiles = self.rules.grid**2
        scores: Tensor = self.head(self.backbone(puzzles)).float()
        return scores.view(-1, n_tiles, n_tiles)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of every row, and the share of tiles placed right."""
        draws = uniforms(
            batch.keys,
            self.rules.n_draws,
            seed=batch.seed,
            epoch=batch.epoch,
            purpose="jigsaw",
        )
        puzzles, answers = make_puzzles(
            batch.images, draws, self.rules, self.extents_of(batch.rows)
        )
        scores = self(puzzles)
        right = (scores.detach().argmax(dim=2) == answers).float().mean()
        return {
            "loss": F.cross_entropy(scores.flatten(0, 1), answers.flatten()),
            "accuracy": right,
        }

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure the accuracy on the held-out pictures."""
        del epoch
        right = total = 0
        for start in range(0, len(self.held_out), 128):
            part = slice(start, start + 128)
            draws = uniforms(
                self.held_out_keys[part],
                self.rules.n_draws,
                seed=self.seed,
                epoch=HELD_OUT_EPOCH,
                purpose="jigsaw",
            )
            rows = self.held_out[part]
            puzzles, answers = make_puzzles(
                self.pictures.take(rows), draws, self.rules, self.extents_of(rows)
            )
            right += int((self(puzzles).argmax(dim=2) == answers).sum())
            total += answers.numel()
        return {"held_out": right / total} if total else {}


class SimSiamLearner(Learner):
    """Make two views of a picture predict each other, the target without gradient.

    Source: Chen & He 2021, arXiv 2011.10566; heads and loss are lightly's.
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalise: Normalisation,
        side_px: int,
        strength: Strength,
        width: int,
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
        self.normalise, self.side_px, self.strength = normalise, side_px, strength

    def constant_rate(self) -> list[nn.Parameter]:
        """The predictor's rate does not decay: +0.4 points in the paper's table."""
        return list(self.predictor.parameters())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Symmetric negative cosine, and the collapse figure.

        ``spread`` is the mean deviation of the normalised outputs times sqrt(d): 1 when
        they fill the sphere, 0 when all pictures give the same output.
        """
        z1, z2 = (self._project(batch, name) for name in ("first", "second"))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        # in float32: a cosine near -1 has no digits left in bfloat16
        z1, z2, p1, p2 = (part.float() for part in (z1, z2, p1, p2))
        loss = self.criterion(p1, z2.detach()) + self.criterion(p2, z1.detach())
        unit = F.normalize(z1.detach().float(), dim=1)
        spread = unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5
        return {"loss": 0.5 * loss, "spread": spread}

    def _project(self, batch: Batch, purpose: str) -> Tensor:
        draws = uniforms(
            batch.keys, N_DRAWS, seed=batch.seed, epoch=batch.epoch, purpose=purpose
        )
        views = random_views(batch.images, draws, self.side_px, self.strength)
        images = self.normalise(views).contiguous(memory_format=torch.channels_last)
        projected: Tensor = self.projector(self.backbone(images))
        return projected

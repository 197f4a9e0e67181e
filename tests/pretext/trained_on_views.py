"""What the tests of pretexts that look at random views have in common."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_prep.arrays import Ints
from data_prep.run_folders.runs import Finished
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import TrainingData
from pretext.engine.learner import Batch
from pretext.networks.backbones import build_backbone
from pretext.pretext_settings import PretextSettings

NORMALISE = Normalisation((128.0,) * 3, (64.0,) * 3)
IDS = [str(number) for number in range(200)]
KEYS = keys_of(IDS)


class Fixed(nn.Module):
    """Stands for a net or a head: what it gives is known beforehand."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Give what is known."""
        del inputs
        return self.outputs


def noise(n: int = 16, side: int = 32) -> Pictures:
    """Draw pictures of noise."""
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def batch_of(
    pictures: Pictures, rows: Any, epoch: int = 0, scale: float = 1.0
) -> Batch:
    """Cut a batch out of pictures."""
    rows = np.asarray(rows)
    return Batch(
        images=pictures.take(rows),
        rows=rows,
        keys=KEYS[rows],
        seed=0,
        epoch=epoch,
        scale=scale,
    )


def learner_of(
    settings: PretextSettings, pictures: Pictures, train_idx: Ints | None = None
) -> Any:
    """Make the learner of a pretext as its command does, with a small network."""
    n = len(pictures.pixels)
    data = TrainingData(
        prepared=Finished(folder=None, record={}),  # type: ignore[arg-type]
        pictures=pictures,
        keys=KEYS[:n],
        train_idx=np.arange(n) if train_idx is None else train_idx,
        val_idx=np.arange(0),
        normalise=NORMALISE,
        fill_frac=np.full((n, 2), 0.9, np.float32),
    )
    torch.manual_seed(settings.seed)
    backbone = build_backbone("test_resnet", pictures.side_px)
    return settings.build_learner(backbone, data)


def descend(
    learner: Any, pictures: Pictures, *, n_steps: int, rate: float
) -> list[dict[str, float]]:
    """Train on pictures with a net so small that only the loss costs anything.

    Returns:
        The metrics of each step.
    """
    learner.backbone = nn.Sequential(
        nn.AdaptiveAvgPool2d(8),
        nn.Flatten(),
        nn.Linear(192, 96),
        nn.BatchNorm1d(96),
        nn.ReLU(),
    )
    parameters = [p for group in learner.groups() for p in group.parameters]
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    metrics = []
    for step in range(n_steps):
        rows = np.random.default_rng(step).permutation(len(pictures.pixels))[:32]
        measured = learner.loss(batch_of(pictures, rows, epoch=1 + step))
        optimizer.zero_grad()
        measured["loss"].backward()
        optimizer.step()
        learner.after_step((step + 1) / n_steps)
        metrics.append({name: value.item() for name, value in measured.items()})
    return metrics

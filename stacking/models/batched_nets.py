"""Independent nets of one kind, trained side by side as tensors with an axis more.

A step of a small net is mostly waiting; a step of twelve takes little longer than one.
Part of the child process of ``stacking.models.neural_training``: torch is loaded in
here only. All randomness is numpy's.

Shapes: R nets side by side, B batch, N rows, C columns, V views, F outputs, D answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import ROUNDING
from stacking.models.neural import KINDS, WIDTH, Kind, Training, arranged, shares_of

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Units of the first layer: each reads all columns, one view, or a patch of the picture.
FIRST = {"mlp": 32, "cnn1d": 16, "cnn2d": 6}
HIDDEN = 16
RATE = 3e-3
DECAY = 0.3
BETAS = (0.9, 0.999)
LEAST = 1e-6  # probability that a surprise is measured by
AT_ONCE = 512  # rows of each net that are answered at a time


@dataclass(frozen=True)
class Task:
    """What is to be trained.

    Attributes:
        kind: Kind of the nets.
        inputs: (N, C) or (N, V, F) as the nets read them.
        target: (N, D).
        weights: (N,) of the rows in training.
        parts: (K, N) for each fold the inner part of each row; -1: the fold itself.
        is_shares: The target is classes.
        seed: Seed of all nets.
        training: How to train.
    """

    kind: Kind
    inputs: Floats
    target: Floats
    weights: Floats
    parts: Ints
    is_shares: bool
    seed: int
    training: Training

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "Task":
        """Read what ``stacking.models.neural`` wrote."""
        kind = KINDS[int(arrays["number"])]
        return cls(
            kind,
            arranged(kind, arrays["inputs"]),
            arrays["target"],
            arrays["weights"],
            arrays["parts"],
            bool(arrays["is_shares"]),
            int(arrays["seed"]),
            Training(**{name: int(arrays[name]) for name in vars(Training())}),
        )

    def error(self, rows: Ints, said: Floats) -> float:
        """Measure the (rows, D) answers by their squared error or their surprise."""
        target = self.target[rows]
        if self.is_shares:
            errors = -(target * np.log(np.maximum(said, LEAST))).sum(axis=1)
        else:
            errors = ((said - target) ** 2).sum(axis=1)
        return float(np.average(errors, weights=self.weights[rows]))


class SideBySide:
    """R nets of one kind, each with rows, batches and first weights of its own.

    Args:
        task: What is to be trained.
        rows: R sets of rows; those of weight 0 are left out.
        seeds: R seeds.
    """

    def __init__(
        self, task: Task, rows: Sequence[Ints], seeds: Sequence[Sequence[int]]
    ) -> None:
        import torch

        self.task = task
        self.rows = [own[task.weights[own] > 0] for own in rows]
        self.rngs = [np.random.default_rng(list(seed)) for seed in seeds]
        self.center, self.scale = self._moments(task.inputs)
        mean, deviation = self._moments(task.target)
        drawn = [first_weights(task.kind, task.inputs.shape, rng) for rng in self.rngs]
        first = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        # The last layer begins at 0, and so all nets at the constant.
        first["last_weight"] = np.zeros((len(rows), HIDDEN, mean.shape[1]))
        first["last_bias"] = np.zeros_like(mean)
        self.offset, self.spread = mean, deviation
        if task.is_shares:
            self.offset, self.spread = np.zeros_like(mean), np.ones_like(mean)
            first["last_bias"] = np.log(np.maximum(mean, LEAST))
        self.layers = {
            name: torch.tensor(values, dtype=torch.float32, requires_grad=True)
            for name, values in first.items()
        }
        self.optimizer = AdamW(self.layers)
        longest = max(map(len, self.rows))
        self.batch = int(np.clip(longest // 16, 16, 512))
        self.n_steps = -(-longest // self.batch)

    def epoch(self) -> None:
        """Train on every row once; the last batch is filled up with the first rows."""
        length = self.n_steps * self.batch
        pairs = list(zip(self.rngs, self.rows, strict=True))
        order = np.stack(
            [np.resize(rng.permutation(own), length) for rng, own in pairs]
        )
        mean = np.array([[self.task.weights[own].mean()] for own in self.rows])
        for start in range(0, length, self.batch):
            batch = order[:, start : start + self.batch]
            loss = self._loss(batch, self.task.weights[batch] / mean)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def answers(self, asked: Ints) -> Floats:
        """Answer (R, M) rows, a line for each net: (R, M, D)."""
        import torch

        said = np.empty((*asked.shape, self.offset.shape[1]))
        with torch.no_grad():
            for start in range(0, asked.shape[1], AT_ONCE):
                some = asked[:, start : start + AT_ONCE]
                outputs = forward(self.task.kind, self.layers, self._inputs(some))
                said[:, start : start + AT_ONCE] = outputs.numpy()
        said = said * self.spread[:, None] + self.offset[:, None]
        return shares_of(said) if self.task.is_shares else said

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the nets as ``neural.Nets``; all were trained on the same rows."""
        layers = {name: values.detach().numpy() for name, values in self.layers.items()}
        return {
            "number": np.array(KINDS.index(self.task.kind)),
            "is_shares": np.array(int(self.task.is_shares)),
            "center": self.center[0],
            "scale": self.scale[0],
            "offset": self.offset[0],
            "spread": self.spread[0],
            **{name: values.astype(np.float64) for name, values in layers.items()},
        }

    def _moments(self, values: NDArray[Any]) -> tuple[Floats, Floats]:
        """Give mean and deviation (R, C) of (N, ..., C); 1 where nothing varies."""
        means, deviations = [], []
        for own in self.rows:
            some = values[own].reshape(-1, values.shape[-1]).astype(np.float64)
            weights = np.repeat(self.task.weights[own], len(some) // len(own))
            mean = np.average(some, axis=0, weights=weights)
            square = np.average((some - mean) ** 2, axis=0, weights=weights)
            means.append(mean)
            deviations.append(np.sqrt(square))
        center, scale = np.stack(means), np.stack(deviations)
        return center, np.where(scale > ROUNDING * np.abs(center), scale, 1.0)

    def _inputs(self, rows: Ints) -> "torch.Tensor":
        import torch

        places = (len(rows), *[1] * (self.task.inputs.ndim - 1), -1)
        center, scale = self.center.reshape(places), self.scale.reshape(places)
        standard = (self.task.inputs[rows] - center) / scale
        return torch.from_numpy(standard.astype(np.float32))

    def _loss(self, batch: Ints, weights: Floats) -> "torch.Tensor":
        """Add up the mean losses of the nets: none gets another's gradient."""
        import torch

        outputs = forward(self.task.kind, self.layers, self._inputs(batch))
        wanted = (self.task.target[batch] - self.offset[:, None]) / self.spread[:, None]
        goal = torch.from_numpy(wanted.astype(np.float32))
        if self.task.is_shares:
            errors = -(goal * outputs.log_softmax(-1)).sum(-1)
        else:
            errors = (outputs - goal).square().sum(-1)
        return (errors * torch.from_numpy(weights.astype(np.float32))).mean(1).sum()


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019) that decays weights and no biases.

    Torch's own loads its compiler, which takes as long as torch itself.
    """

    def __init__(self, layers: dict[str, "torch.Tensor"]) -> None:
        self.layers = layers
        self.first = {name: values.detach() * 0 for name, values in layers.items()}
        self.second = {name: values.detach() * 0 for name, values in layers.items()}
        self.n_steps = 0

    def step(self) -> None:
        """Move along the gradients, and forget them."""
        import torch

        self.n_steps += 1
        bias, square_bias = (1 - beta**self.n_steps for beta in BETAS)
        with torch.no_grad():
            for name, values in self.layers.items():
                assert values.grad is not None
                first = self.first[name].lerp_(values.grad, 1 - BETAS[0])
                second = self.second[name].lerp_(values.grad.square(), 1 - BETAS[1])
                if name.endswith("weight"):
                    values.mul_(1 - RATE * DECAY)
                size = (second / square_bias).sqrt_().add_(1e-8)
                values.addcdiv_(first, size, value=-RATE / bias)
                values.grad = None


def first_weights(
    kind: Kind, shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw the first two layers of a net that reads (N, C) or (N, V, F) inputs."""
    n_inputs, units = shape[-1], FIRST[kind]
    of_units = (shape[1], WIDTH) if kind == "cnn2d" else (n_inputs,)
    n_read = {"mlp": 1, "cnn1d": 2, "cnn2d": n_inputs}[kind] * units
    spread, later = np.sqrt(2 / np.prod(of_units)), np.sqrt(2 / n_read)
    return {
        "first_weight": rng.normal(0, spread, (*of_units, units)),
        "first_bias": np.zeros(units),
        "hidden_weight": rng.normal(0, later, (n_read, HIDDEN)),
        "hidden_bias": np.zeros(HIDDEN),
    }


def forward(
    kind: Kind, layers: dict[str, "torch.Tensor"], x: "torch.Tensor"
) -> "torch.Tensor":
    """Give the (R, B, D) outputs of standardised (R, B, C) or (R, B, V, F) inputs."""
    import torch
    from torch.nn.functional import pad

    def dense(layer: str, inputs: "torch.Tensor") -> "torch.Tensor":
        weight, bias = layers[f"{layer}_weight"], layers[f"{layer}_bias"]
        return torch.baddbmm(bias[:, None], inputs, weight.flatten(1, -2))

    if kind == "mlp":
        read = dense("first", x).relu()
    elif kind == "cnn1d":
        views = dense("first", x.flatten(1, 2)).relu().view(*x.shape[:3], -1)
        read = torch.cat([views.mean(2), views.max(2).values], dim=-1)
    else:
        # One large product over all patches: a convolution in groups takes longer.
        outputs = pad(x.transpose(2, 3), (0, 0, WIDTH // 2, WIDTH // 2))
        patches = outputs.unfold(2, WIDTH, 1).flatten(3)  # (R, B, F, V * 3)
        read = dense("first", patches.flatten(1, 2)).relu().view(*x.shape[:2], -1)
    return dense("last", dense("hidden", read).relu())

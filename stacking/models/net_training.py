"""What the child process of ``stacking.models.neural`` does: train nets, and predict.

For each fold first the inner nets are trained (of four inner folds, three seeds each),
then the final ones. How many epochs those get is where the mean curve of the inner
folds is lowest. All nets begin at the best constant, so no epoch at all is a choice
too.

A step of a small net is mostly waiting; a step of twelve takes little longer than one.
So nets are trained side by side: their weights are stacked, and ``torch.vmap`` calls
one network with all of them. Of the summed loss, no net gets another's gradient.

Shapes: R nets side by side, N rows, B batch, M rows to predict, D answers, E answers of
each network.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from threading import RLock

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.optim.adamw import adamw
from tqdm import tqdm

from data_prep.arrays import Floats, Ints
from data_prep.tables.units import ROUNDING
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows
from stacking.models.networks import Network
from stacking.models.neural import Kind, Nets, Training

OPTIMIZER = {"lr": 3e-3, "weight_decay": 0.3}
TABM_OPTIMIZER = {"lr": 2e-3, "weight_decay": 3e-4}  # its authors'
LEAST = 1e-6  # probability, before its logarithm is taken
AT_ONCE = 512  # rows of each net that are predicted at a time


class AdamW:
    """What ``torch.optim.AdamW`` does; its class loads torch's compiler, for a second.

    Args:
        params: Weights.
        lr: Learning rate.
        weight_decay: Of the weights.
    """

    def __init__(
        self, params: Sequence[Tensor], *, lr: float, weight_decay: float
    ) -> None:
        self.params, self.lr, self.weight_decay = list(params), lr, weight_decay
        self.exp_avgs = [torch.zeros_like(param) for param in params]
        self.exp_avg_sqs = [torch.zeros_like(param) for param in params]
        self.steps = [torch.tensor(0.0) for _ in params]

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights, and forget their gradients."""
        adamw(
            params=self.params,
            grads=[param.grad for param in self.params if param.grad is not None],
            exp_avgs=self.exp_avgs,
            exp_avg_sqs=self.exp_avg_sqs,
            max_exp_avg_sqs=[],
            state_steps=self.steps,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )
        for param in self.params:
            param.grad = None


class SideBySide:
    """R nets of one kind, each with rows, batches and first weights of its own.

    Args:
        kind: Architecture of the nets, one of ``KINDS``.
        rows: All rows.
        train_idx: R sets of rows; those of weight 0 are left out.
        seeds: R seeds.
    """

    def __init__(
        self,
        kind: Kind,
        rows: TrainingRows,
        train_idx: Sequence[Ints],
        seeds: Sequence[Sequence[int]],
    ) -> None:
        self.kind, self.is_proba = kind, rows.y.ndim == 2
        self.X, self.sample_weight = rows.X, torch.from_numpy(rows.sample_weight)
        self.y_ND = torch.from_numpy(rows.y.reshape(len(rows.y), -1))
        self.train_idx = [idx[rows.sample_weight[idx] > 0] for idx in train_idx]
        means = [rows.sample_weight[idx].mean() for idx in self.train_idx]
        self.mean_weight_R1 = torch.tensor(means)[:, None]
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        pairs = zip(self.train_idx, self.rngs, strict=True)
        networks = [self._new_network(idx, rng) for idx, rng in pairs]
        self.network = networks[0]
        self.weights, self.moments = stack_module_state(networks)
        biases = [v for k, v in self.weights.items() if k.endswith("bias")]
        decayed = [v for k, v in self.weights.items() if not k.endswith("bias")]
        options = TABM_OPTIMIZER if kind == "tabm" else OPTIMIZER
        self.optimizers = [
            AdamW(decayed, **options),
            AdamW(biases, lr=options["lr"], weight_decay=0.0),
        ]
        longest = max(map(len, self.train_idx))
        self.batch_size = int(np.clip(longest // 16, 16, 512))
        self.n_padded = -(-longest // self.batch_size) * self.batch_size

    def _new_network(self, idx: Ints, rng: np.random.Generator) -> Network:
        """Make a network that answers every row by the mean of those it learns from."""
        torch.manual_seed(int(rng.integers(2**63)))
        network = Network(self.kind, self.X.shape[1:], self.y_ND.shape[1])
        weights = self.sample_weight[idx].numpy()
        center, scale = _moments(self.X[idx], weights)
        mean, spread = _moments(self.y_ND[idx].numpy(), weights)
        network.center, network.scale = torch.tensor(center), torch.tensor(scale)
        with torch.no_grad():
            for values in network.output.parameters():
                values.zero_()
            if self.is_proba:
                log_mean = np.log(np.maximum(mean, LEAST))
                network.output.get_parameter("bias").copy_(torch.tensor(log_mean))
            else:
                network.offset, network.spread = (
                    torch.tensor(mean),
                    torch.tensor(spread),
                )
        return network

    def train_epoch(self) -> None:
        """Train on every row once; the last batch is filled up with the first rows."""
        self.network.train()
        pairs = zip(self.rngs, self.train_idx, strict=True)
        order_RN = np.stack(
            [np.resize(rng.permutation(idx), self.n_padded) for rng, idx in pairs]
        )
        for start in range(0, self.n_padded, self.batch_size):
            idx_RB = order_RN[:, start : start + self.batch_size]
            self._loss(idx_RB).backward()  # type: ignore[no-untyped-call]
            for optimizer in self.optimizers:
                optimizer.step()

    def _loss(self, idx_RB: Ints) -> Tensor:
        """Add up the mean losses of the nets."""
        outputs_RBED = _call(self.network, self.state, self.X[idx_RB])
        offset, spread = self.moments["offset"], self.moments["spread"]
        y_RBD = (self.y_ND[idx_RB] - offset[:, None]) / spread[:, None]
        y_RB1D = y_RBD[:, :, None].to(outputs_RBED.dtype)
        if self.is_proba:
            losses_RBE = -(y_RB1D * outputs_RBED.log_softmax(-1)).sum(-1)
        else:
            losses_RBE = (outputs_RBED - y_RB1D).square().sum(-1)
        weight_RB = self.sample_weight[idx_RB] / self.mean_weight_R1
        loss: Tensor = (losses_RBE.mean(-1) * weight_RB).mean(1).sum()
        return loss

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights and moments of all nets, by name: (R, ...) each."""
        return self.weights | self.moments

    def predict(self, idx_RM: Ints) -> Floats:
        """Predict rows, a line of them by each net: (R, M, D)."""
        return _predict(
            self.network, self.state, self.X, idx_RM, is_proba=self.is_proba
        )

    def error(self, idx: Ints, y_pred: Floats) -> float:
        """Give the weighted mean squared error, or cross-entropy, of (rows, D)."""
        y_true = self.y_ND[idx].numpy()
        if self.is_proba:
            errors = -(y_true * np.log(np.maximum(y_pred, LEAST))).sum(axis=1)
        else:
            errors = ((y_pred - y_true) ** 2).sum(axis=1)
        return float(np.average(errors, weights=self.sample_weight[idx].numpy()))


def cross_fit(
    kind: Kind, rows: TrainingRows, seed: int, training: Training
) -> CrossFit:
    """Train the nets of all folds, with a bar on stderr."""
    tqdm.set_lock(RLock())  # the usual one is shared by processes, and is left behind
    total, title = n_epochs(training) * rows.n_folds, f"stacking: {kind}"
    with tqdm(total=total, desc=title, unit="epoch", mininterval=1.0) as bar:

        def fit(fold: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
            del train_idx, val_idx
            return fit_fold(
                kind, rows, fold, seed=seed, training=training, count=bar.update
            )

        return CrossFit.over(fit, rows)


def n_epochs(training: Training) -> int:
    """Give the most epochs of a fold: those of its inner nets, then of its own."""
    return 2 * training.max_epochs


def fit_fold(
    kind: Kind,
    rows: TrainingRows,
    fold: int,
    *,
    seed: int,
    training: Training,
    count: Callable[[int], object],
) -> FoldFit:
    """Train the nets around a fold, on one thread: the same bits wherever it is.

    Args:
        kind: One of ``KINDS``.
        rows: All rows.
        fold: The one that is held out.
        seed: Of the nets.
        training: How to train.
        count: Told of epochs made, ``n_epochs`` in all.
    """
    torch.set_num_threads(1)
    _, train_idx, val_idx = list(rows.each_fold())[fold]
    epochs, n_tried, inner_oof = _find_epochs(
        kind=kind,
        rows=rows,
        train_idx=train_idx,
        seeds=[seed, fold],
        training=training,
        count=count,
    )
    final_seeds = [[seed, fold, 0, number] for number in range(training.n_seeds)]
    nets = SideBySide(kind, rows, [train_idx] * training.n_seeds, final_seeds)
    for _ in range(epochs):
        nets.train_epoch()
        count(1)
    count(n_epochs(training) - n_tried - epochs)  # those that were not needed
    model = Nets(
        kind=kind,
        input_shape=rows.X.shape[1:],
        is_proba=nets.is_proba,
        tensors={k: v.detach().numpy() for k, v in nets.state.items()},
    )
    return FoldFit(
        inner_oof=inner_oof.reshape(rows.y[train_idx].shape),
        val_pred=predict(model, rows.X[val_idx]),
        model=model,
        metadata={"epochs": epochs},
    )


def _find_epochs(
    kind: Kind,
    rows: TrainingRows,
    train_idx: Ints,
    seeds: Sequence[int],
    training: Training,
    count: Callable[[int], object],
) -> tuple[int, int, Floats]:
    """Find the epoch at which the mean curve of the inner folds is lowest.

    Returns:
        The epoch, how many were made, and the predictions (rows at ``train_idx``, D) of
        each inner fold by the nets of the others.
    """
    inner_folds = rows.inner_folds(train_idx, seeds[0])
    n_inner, n_seeds = int(inner_folds.max()) + 1, training.n_seeds
    numbers = list(product(range(n_inner), range(n_seeds)))
    nets = SideBySide(
        kind,
        rows,
        train_idx=[train_idx[inner_folds != inner_fold] for inner_fold, _ in numbers],
        seeds=[[*seeds, 1 + inner_fold, number] for inner_fold, number in numbers],
    )
    # All nets predict equally many rows: short inner folds are filled up.
    val_pos = [
        np.flatnonzero(inner_folds == inner_fold) for inner_fold in range(n_inner)
    ]
    longest = max(map(len, val_pos))
    idx_RM = train_idx[
        [np.resize(val_pos[inner_fold], longest) for inner_fold, _ in numbers]
    ]
    best, lowest = 0, math.inf
    oof_pred = best_oof = np.empty((len(train_idx), nets.y_ND.shape[1]))
    for epoch in range(training.max_epochs + 1):
        if epoch:
            nets.train_epoch()
            count(1)
        y_pred = (
            nets.predict(idx_RM).reshape(n_inner, n_seeds, longest, -1).mean(axis=1)
        )
        for pos, pred in zip(val_pos, y_pred, strict=True):
            oof_pred[pos] = pred[: len(pos)]
        error = nets.error(train_idx, oof_pred)
        if error < lowest:
            best, lowest, best_oof = epoch, error, oof_pred.copy()
        elif epoch - best >= training.patience:
            break
    return best, epoch, best_oof


def predict(nets: Nets, X: Floats) -> Floats:
    """Give the (M,) or (M, D) mean of the nets, in float64."""
    torch.set_num_threads(1)
    state = {k: torch.tensor(v).double() for k, v in nets.tensors.items()}
    n_nets, n_outputs = state["offset"].shape
    network = Network(nets.kind, nets.input_shape, n_outputs)
    idx_RM = np.tile(np.arange(len(X)), (n_nets, 1))
    y_RMD = _predict(network, state, X, idx_RM, is_proba=nets.is_proba)
    y_pred: Floats = y_RMD.mean(axis=0)
    return y_pred if nets.is_proba else y_pred[:, 0]


@torch.no_grad()
def _predict(
    network: Network,
    state: dict[str, Tensor],
    X: Floats,
    idx_RM: Ints,
    *,
    is_proba: bool,
) -> Floats:
    """Predict rows in the unit of the target, a line of them by each net: (R, M, D)."""
    network.eval()
    offset, spread = state["offset"][:, None], state["spread"][:, None]
    pieces = []
    for start in range(0, idx_RM.shape[1], AT_ONCE):
        outputs_RBED = _call(network, state, X[idx_RM[:, start : start + AT_ONCE]])
        if is_proba:
            outputs_RBED = outputs_RBED.softmax(-1)
        pieces.append(outputs_RBED.double().mean(2) * spread + offset)
    return torch.cat(pieces, dim=1).numpy()


def _call(network: Network, state: dict[str, Tensor], X: Floats) -> Tensor:
    """Give the (R, B, E, D) outputs of stacked nets, each of its own (B, ...) rows."""

    def call_one(state_of_one: dict[str, Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, state_of_one, (x,))
        return outputs

    outputs_RBED: Tensor = torch.vmap(call_one, randomness="different")(
        state, torch.from_numpy(X)
    )
    return outputs_RBED


def _moments(values: Floats, sample_weight: Floats) -> tuple[Floats, Floats]:
    """Give mean and deviation (C,) of (N, ..., C) values; 1 where nothing varies."""
    rows = values.reshape(-1, values.shape[-1])
    weights = np.repeat(sample_weight, len(rows) // len(values))
    mean = np.average(rows, axis=0, weights=weights)
    deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    return mean, np.where(deviation > ROUNDING * np.abs(mean), deviation, 1.0)

"""Small neural stackers: their answers in numpy; a child process trains them.

``mlp`` reads the pooled columns, ``cnn1d`` and ``cnn2d`` the single views. The views of
a picture have no order, so both give the same answer in whatever order they come:

- ``cnn1d`` convolves along the views with the outputs as channels and a kernel of one
  view: the same small net reads each view, and the mean and the maximum of what it
  finds are kept. Outputs are channels because a date has nothing in common with a word,
  so no kernel could move from one to the other.
- ``cnn2d`` reads a picture of V rows and F columns. Each output's views are sorted
  first, so that row v is its v-th smallest; a kernel of all rows and three neighbouring
  outputs then learns a statistic such as the mean, the range or the maximum.

Several nets with seeds of their own are averaged. Torch and LightGBM in one process
deadlock, so torch is loaded in the child only (``stacking.models.neural_training``),
and the nets come back as arrays.

Shapes: N rows, C columns, V views, F outputs, D answers (numbers: one; classes: one
each), S nets, H hidden units, K folds.
"""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data_prep.errors import UserError
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows, outer_folds
from stacking.models.model_files import load_arrays, save_arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kind = Literal["mlp", "cnn1d", "cnn2d"]

KINDS: tuple[Kind, ...] = ("mlp", "cnn1d", "cnn2d")
WIDTH = 3  # outputs under the kernel of cnn2d
AT_ONCE = 2048  # rows answered at a time
ERROR = "error.txt"  # what the child has to say to a user
_log = logging.getLogger(__name__).info
IN_CHILD = (
    "import sys; from stacking.models.neural_training import main;"
    " sys.exit(main(sys.argv[1]))"
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train.

    Attributes:
        n_seeds: Nets averaged per fold, and per inner part.
        max_epochs: Cap on the epochs.
        patience: Epochs without improvement after which the search ends.
    """

    n_seeds: int = 3
    max_epochs: int = 100
    patience: int = 10


@dataclass(frozen=True)
class Nets:
    """S nets of one kind, whose answers are averaged.

    Attributes:
        kind: One of ``KINDS``.
        is_shares: The answers are the probabilities of classes.
        center: (C or F,) mean of each column or output.
        scale: Its standard deviation; 1 where it does not vary.
        offset: (D,) mean of the target; 0 of classes.
        spread: (D,) its standard deviation; 1 of classes.
        first_weight: (S, C or F, H), of ``cnn2d`` (S, V, 3, H).
        first_bias: (S, H).
        hidden_weight: (S, what the first layer found, H).
        hidden_bias: (S, H).
        last_weight: (S, H, D).
        last_bias: (S, D).
    """

    kind: Kind
    is_shares: bool
    center: Floats
    scale: Floats
    offset: Floats
    spread: Floats
    first_weight: Floats
    first_bias: Floats
    hidden_weight: Floats
    hidden_bias: Floats
    last_weight: Floats
    last_bias: Floats

    def predict(self, inputs: Floats) -> Floats:
        """Give the (N,) numbers or (N, D) probabilities of (N, C) or (N, V, F) rows."""
        said = np.empty((len(inputs), len(self.offset)))
        for start in range(0, len(inputs), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            outputs = self.outputs(inputs[some])
            if self.is_shares:
                outputs = shares_of(outputs)
            said[some] = outputs.mean(axis=0) * self.spread + self.offset
        return said if self.is_shares else said[:, 0]

    def outputs(self, inputs: Floats) -> Floats:
        """Give the (S, N, D) outputs of the last layer."""
        x = (arranged(self.kind, inputs) - self.center) / self.scale
        if self.kind == "mlp":
            read = _relu(x @ self.first_weight + self.first_bias[:, None])
        elif self.kind == "cnn1d":
            views = x @ self.first_weight[:, None] + self.first_bias[:, None, None]
            found = _relu(views)  # (S, N, V, H)
            read = np.concatenate([found.mean(axis=2), found.max(axis=2)], axis=-1)
        else:
            margin = WIDTH // 2
            picture = np.pad(x, ((0, 0), (0, 0), (margin, margin)))
            patches = sliding_window_view(picture, WIDTH, axis=2)  # (N, V, F, 3)
            found = np.einsum(
                "nvfw,svwh->snfh", patches, self.first_weight, optimize=True
            )
            found = _relu(found + self.first_bias[:, None, None])
            read = found.reshape(*found.shape[:2], -1)
        hidden = _relu(read @ self.hidden_weight + self.hidden_bias[:, None])
        outputs: Floats = hidden @ self.last_weight + self.last_bias[:, None]
        return outputs

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give everything as arrays of numbers, which ``np.savez`` stores."""
        values = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        # A file of a model may keep the name of the class as "kind".
        kind, is_shares = KINDS.index(self.kind), int(self.is_shares)
        return {**values, "number": np.array(kind), "is_shares": np.array(is_shares)}

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write themselves as arrays; return the name of the file."""
        return [save_arrays(folder, stem, "Nets", self.arrays())]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Nets":
        """Make them again from what ``arrays`` gave; other names are left alone."""
        kind, is_shares = KINDS[int(arrays["number"])], bool(arrays["is_shares"])
        names = [one.name for one in fields(cls)][2:]
        return cls(kind, is_shares, *(arrays[name] for name in names))


def load_nets(folder: Path, files: Sequence[str]) -> Nets:
    """Read the nets of a fold from the one file that they wrote."""
    return Nets.of_arrays(load_arrays(folder, files[0])[1])


def arranged(kind: Kind, inputs: Floats) -> Floats:
    """Sort the views of each output, where the net reads them as a picture."""
    return np.sort(inputs, axis=1) if kind == "cnn2d" else inputs


def shares_of(outputs: Floats) -> Floats:
    """Turn (..., D) outputs into probabilities."""
    raised = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def _relu(values: Floats) -> Floats:
    return np.maximum(values, 0)


def cross_fit_neural(
    kind: Kind,
    rows: TrainingRows,
    *,
    seed: int = 0,
    threads: int = 1,
    log: Callable[[str], object] = _log,
    training: Training | None = None,
) -> CrossFit:
    """Cross-fit nets whose number of epochs is chosen among the other folds.

    Args:
        kind: One of ``KINDS``.
        rows: With (N, C) pooled columns; for ``cnn1d`` and ``cnn2d`` (N, V, F) views.
            Rows of weight 0 are not trained on.
        seed: Seed of the inner folds and the nets.
        threads: Threads of torch; other numbers may change the last bits.
        log: Told what is being done.
        training: How to train; None: as usual.

    Raises:
        UserError: The process that trains failed, or finds no torch.
        ValueError: The inputs have the wrong shape or are not finite.
    """
    inputs, y = rows.X, rows.y
    if inputs.ndim != (2 if kind == "mlp" else 3) or not np.isfinite(inputs).all():
        raise ValueError(
            f"{kind}: inputs {inputs.shape} are not finite (N, C), (N, V, F)"
        )
    training = training or Training()
    parts = np.full((int(rows.folds.max()) + 1, len(y)), -1)
    for fold, train_idx, _ in outer_folds(rows.folds):
        parts[fold, train_idx] = rows.inner_folds(train_idx, seed)
    log(f"stacking: {kind}, {training.n_seeds} small nets a fold, in a process apart")
    result = train_apart(
        {
            "number": np.array(KINDS.index(kind)),
            "inputs": inputs,
            "target": y.reshape(len(y), -1),
            "is_shares": np.array(int(y.ndim == 2)),
            "weights": rows.sample_weight,
            "parts": parts,
            "seed": np.array(seed),
            **{name: np.array(value) for name, value in vars(training).items()},
        },
        kind,
        threads,
    )

    def fit(fold: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        prefix = f"fold{fold}_"
        names = [name for name in result if name.startswith(prefix)]
        own = {name.removeprefix(prefix): result[name] for name in names}
        model = Nets.of_arrays(own)
        return FoldFit(
            inner_oof=own["inner"].reshape(y[train_idx].shape),
            val_pred=model.predict(inputs[val_idx]),
            model=model,
            metadata={"epochs": int(own["epochs"])},
        )

    return CrossFit.over(fit, rows)


def train_apart(
    task: Mapping[str, NDArray[Any]], kind: str, threads: int
) -> dict[str, NDArray[Any]]:
    """Train what a task asks for, in a process of its own.

    Raises:
        UserError: It failed.
    """
    with tempfile.TemporaryDirectory(prefix="tessera-") as scratch:
        folder = Path(scratch)
        np.savez(folder / "task.npz", **task)  # type: ignore[arg-type]
        status = run_child(folder, threads)
        if status:
            said = folder / ERROR
            reason = said.read_text(encoding="utf-8") if said.exists() else ""
            raise UserError(
                f"stackers: the process that trains {kind!r} failed"
                f" ({reason or f'status {status}'}); leave {kind} out of --stackers, or"
                " install the packages of pyproject.toml anew: pip install -e ."
            )
        with np.load(folder / "result.npz", allow_pickle=False) as result:
            return dict(result)


def run_child(folder: Path, threads: int) -> int:
    """Run ``stacking.models.neural_training`` on a folder; return the exit status."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    surroundings = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    command = [sys.executable, "-c", IN_CHILD, str(folder)]
    return subprocess.run(
        command, env=os.environ | surroundings, check=False
    ).returncode

"""The child process of ``stacking.models.neural``: trains the nets.

Reads ``task.npz`` of a folder and writes ``result.npz`` into it. It is no command.

For each fold first the inner nets are trained (four parts, three seeds each), then the
final ones. How many epochs those get is where the mean curve of the inner parts is
lowest. All nets begin at the best constant, so no epoch at all is a choice too.

Shapes: N rows, D answers.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacking.models.batched_nets import SideBySide, Task
from stacking.models.neural import ERROR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def main(folder: str) -> int:
    """Train what ``task.npz`` of the folder asks for; return the exit status."""
    try:
        import torch
    except ImportError as error:
        text = f"torch cannot be loaded: {error}"
        (Path(folder) / ERROR).write_text(" ".join(text.split()), encoding="utf-8")
        return 1
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        train(Path(folder))
    except KeyboardInterrupt:
        return 130  # the parent says it
    return 0


def train(folder: Path) -> None:
    """Train the nets of all folds, with a bar on stderr."""
    from tqdm import tqdm

    with np.load(folder / "task.npz", allow_pickle=False) as file:
        arrays = dict(file)
    task = Task.of_arrays(arrays)
    n_seeds, most = task.training.n_seeds, 2 * task.training.max_epochs
    result: dict[str, NDArray[Any]] = {}
    total, title = most * len(task.parts), f"stacking: {task.kind}"
    with tqdm(total=total, desc=title, unit="epoch", mininterval=1.0) as bar:
        for fold, parts in enumerate(task.parts):
            seeds = [task.seed, fold]
            epochs, inner = find_epochs(task, parts, seeds, bar.update)
            rest = np.flatnonzero(parts >= 0)
            finals = [[*seeds, 0, number] for number in range(n_seeds)]
            nets = SideBySide(task, [rest] * n_seeds, finals)
            for _ in range(epochs):
                nets.epoch()
                bar.update()
            bar.update(most * (fold + 1) - bar.n)
            own = nets.arrays() | {"epochs": np.array(epochs), "inner": inner}
            result |= {f"fold{fold}_{name}": array for name, array in own.items()}
    np.savez(folder / "result.npz", **result)  # type: ignore[arg-type]


def find_epochs(
    task: Task, parts: Ints, seeds: Sequence[int], tick: Callable[[], Any]
) -> tuple[int, Floats]:
    """Find the epoch at which the mean curve of the inner parts is lowest.

    Args:
        task: What is to be trained.
        parts: (N,) inner part of each row; -1: the fold itself.
        seeds: Of the nets.
        tick: Called after each epoch.

    Returns:
        The epoch, and the answers (rows outside the fold, D) of each part by the nets
        of the others.
    """
    n_seeds, n_parts = task.training.n_seeds, int(parts.max()) + 1
    rest = np.flatnonzero(parts >= 0)
    held_out = [np.flatnonzero(parts == part) for part in range(n_parts)]
    nets = SideBySide(
        task,
        [np.setdiff1d(rest, own) for own in held_out for _ in range(n_seeds)],
        [[*seeds, part + 1, n] for part in range(n_parts) for n in range(n_seeds)],
    )
    longest = max(map(len, held_out))
    asked = np.repeat([np.resize(own, longest) for own in held_out], n_seeds, axis=0)
    said = np.empty(task.target.shape)

    def measured() -> tuple[float, Floats]:
        answers = nets.answers(asked).reshape(n_parts, n_seeds, longest, -1)
        for own, answer in zip(held_out, answers.mean(axis=1), strict=True):
            said[own] = answer[: len(own)]
        return task.error(rest, said[rest]), said[rest]

    best, (lowest, inner) = 0, measured()
    for number in range(1, task.training.max_epochs + 1):
        nets.epoch()
        tick()
        error, answer = measured()
        if error < lowest:
            best, lowest, inner = number, error, answer
        elif number - best >= task.training.patience:
            break
    return best, inner

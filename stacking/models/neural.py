"""The nets of neural stackers: a child process trains them, and predicts with them.

``mlp`` and ``tabm`` read the pooled columns, ``cnn1d`` and ``cnn2d`` the single views
(``stacking.models.networks``). Several nets with seeds of their own are averaged.

Torch and LightGBM in one process deadlock, so only a child loads torch. It starts with
the first call, serves all later ones, and ends when there was none for a while.

Shapes: N rows, C columns, V views, F outputs, D answers (numbers: one; classes: one
each), S nets.
"""

import atexit
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from numpy.typing import NDArray

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import drafted

Kind = Literal["mlp", "tabm", "cnn1d", "cnn2d"]

KINDS: tuple[Kind, ...] = ("mlp", "tabm", "cnn1d", "cnn2d")
IDLE_S = 60  # seconds without a call after which the child ends
CHILD = "stacking.models.net_training"  # loads torch, so only the child imports it
ENDING = ".safetensors"
CONFIG = "config"  # in the header of such a file


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train.

    Attributes:
        n_seeds: Nets averaged per fold, and per inner fold.
        max_epochs: Cap on the epochs.
        patience: Epochs without improvement after which the search ends.
    """

    n_seeds: int = 3
    max_epochs: int = 100
    patience: int = 10


@dataclass(frozen=True, kw_only=True)
class Nets:
    """S nets of one kind, whose predictions are averaged.

    Attributes:
        kind: One of ``KINDS``.
        input_shape: (C,), or (V, F).
        is_proba: The predictions are probabilities of classes.
        tensors: The state of the nets, by name: (S, ...) each.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    is_proba: bool
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)

    def predict(self, X: Floats) -> Floats:
        """Give (N,) numbers or (N, D) probabilities of (N, C) or (N, V, F) rows."""
        y_pred: Floats = in_child(self.kind, "predict", self, X)
        return y_pred

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write themselves as safetensors; return the name of the file."""
        from safetensors.numpy import save

        config = {k: v for k, v in vars(self).items() if k != "tensors"}
        with drafted(folder / f"{stem}{ENDING}") as file:
            file.write(save(dict(self.tensors), {CONFIG: json.dumps(config)}))
        return [f"{stem}{ENDING}"]


def load_nets(folder: Path, files: Sequence[str]) -> Nets:
    """Read the nets of a fold from the one file that they wrote.

    Raises:
        DamagedFileError: The file is missing, cut or changed.
    """
    from safetensors import safe_open

    with intact(folder / files[0]) as path, safe_open(path, framework="numpy") as file:
        config = json.loads(file.metadata()[CONFIG])
        tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    input_shape = tuple(config.pop("input_shape"))
    return Nets(**config, input_shape=input_shape, tensors=tensors)


def in_child(kind: str, name: str, *args: Any) -> Any:
    """Call a function of ``stacking.models.net_training`` in the child process.

    Raises:
        UserError: The child finds no torch, or died.
    """
    from joblib.externals.loky import BrokenProcessPool

    pool = _child()
    try:
        return pool.submit(_call, name, *args).result()
    except KeyboardInterrupt:
        _child.cache_clear()  # a notebook goes on
        pool.shutdown(kill_workers=True)
        raise
    except ImportError as error:
        reason = f"{error.name or 'torch'} cannot be loaded: {error}"
    except BrokenProcessPool as error:
        _child.cache_clear()
        reason = " ".join(["it died", *re.findall(r"\{.*\}", str(error))])
    raise UserError(
        f"stackers: the process that trains {kind!r} failed"
        f" ({' '.join(reason.split())}); leave {kind} out of --stackers, or"
        " install the packages of pyproject.toml anew: pip install -e ."
    )


@cache
def _child() -> Any:
    """Give a pool of one process; a script needs no main guard to start it."""
    from joblib.externals.loky import ProcessPoolExecutor

    # One thread: more would wait for each other, and change the last bits.
    env = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    pool = ProcessPoolExecutor(
        max_workers=1,
        timeout=IDLE_S,
        env=env,
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    atexit.register(pool.shutdown, kill_workers=True)
    return pool


def _end_with(parent: int) -> None:
    """Let the child end when its parent was killed; loky's would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _call(name: str, *args: Any) -> Any:
    function: Callable[..., Any] = getattr(import_module(CHILD), name)
    return function(*args)

"""What a stacker is: a model that learns the target from the columns of the nets.

A file of this folder that defines ``STACKER = StackerType(...)`` adds one, or several
in a tuple ``STACKERS``; nothing else names it (``docs/new_stacker.md`` shows an
example). Such a file is read for the settings and for ``--help``, so heavy libraries
are imported inside its functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from data_prep.errors import UserError
from data_prep.executors.pool import Pool
from stacking.cross_fitting import CrossFit, Model, TrainingRows

Inputs = Literal["all", "narrow", "views", "pixels"]
Sees = Literal["columns", "views", "pixels"]  # what a model sees of a new row
HERE = Pool(executor="here", n_at_once=1, threads=1)


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What a stacker is told beside its rows; it uses what it needs.

    Attributes:
        columns: C names of the columns of ``X``.
        seed: Seed of the inner folds and of all that is random.
        n_seeds: Models averaged per fold, where they are random.
        max_rounds: Cap on the rounds of boosting.
        n_trials: Trials of tuning per fold; 0: none.
        folder: For what an interrupted tuning goes on with.
        n_workers: Folds to fit at the same time.
        n_threads: Threads of each.
        pool: Where folds that are slow are fitted, each in a process.
    """

    columns: Sequence[str] = ()
    seed: int = 0
    n_seeds: int = 3
    max_rounds: int = 2000
    n_trials: int = 0
    folder: Path = Path()
    n_workers: int = 1
    n_threads: int = 1
    pool: Pool = HERE


@dataclass(frozen=True, kw_only=True)
class StackerType:
    """A stacker.

    Attributes:
        name: As in ``--stackers``, and of its column in oof.csv.
        title: For people.
        inputs: The ``X`` that it learns from: ``all`` (N, C) columns; ``narrow``, where
            there are many only those of the mean over the views; ``views``, the
            (N, V, F) single views; or ``pixels``, the (N, P) columns that need no net
            (``features/pixel_columns.py``).
        fit: Cross-fits it; classes come as (N, K) and leave as probabilities.
        load: Reads a model of one fold from a folder and the names of its files, which
            ``Model.save`` gave.
        file_stem: How the names of its files begin; empty: with its name.
        is_slow: Too slow to be named among the usual ones.
        package: An extra of that name that it needs; empty: none.
    """

    name: str
    title: str
    inputs: Inputs
    fit: Callable[[TrainingRows, FitContext], CrossFit]
    load: Callable[[Path, Sequence[str]], Model]
    file_stem: str = ""
    is_slow: bool = False
    package: str = ""

    def check_package(self) -> None:
        """Refuse a stacker whose extra is not installed.

        Raises:
            UserError: It is not.
        """
        if self.package and find_spec(self.package) is None:
            raise UserError(
                f"stackers = {self.name!r} needs {self.package}, which is not"
                f" installed; pip install {self.package}, or leave it out"
            )

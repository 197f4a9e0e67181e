"""Neural stackers: their nets, fold by fold in the child, or each fold in a process.

A fold is trained on one thread, so its nets are the same wherever that is. In processes
(``--jobs 2``) what was learned lies in a folder of its own then, and a stack that was
killed goes on with the folds that are missing. Torch-free: only processes load torch.
"""

import functools
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrays import Ints
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Count, Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from data_prep.run_folders.damage import is_whole_zip
from data_prep.run_folders.drafts import drafted
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows
from stacking.models.neural import CHILD, Kind, Nets, Training, in_child, load_nets
from stacking.models.stacker import HERE, Inputs, StackerType

FITTED, METADATA = "fold.npz", "metadata"
REMEDY = "the others are kept, and the same command trains what is missing"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """The nets around a fold.

    Attributes:
        kind: Of the nets.
        rows: All rows.
        fold: The one that is held out.
        seed: Of the inner folds and the nets.
        training: How to train.
        folder: Of its own.
    """

    kind: Kind
    rows: TrainingRows
    fold: int
    seed: int
    training: Training
    folder: Path

    @property
    def file(self) -> Path:
        """What was learned."""
        return self.folder / FITTED

    def write(self, fitted: FoldFit) -> None:
        """Keep what was learned."""
        nets = fitted.model
        assert isinstance(nets, Nets)
        arrays: dict[str, Any] = {
            "inner_oof": fitted.inner_oof,
            "val_pred": fitted.val_pred,
            METADATA: np.array(
                json.dumps({"is_proba": nets.is_proba, **fitted.metadata})
            ),
            **{f"net.{name}": tensor for name, tensor in nets.tensors.items()},
        }
        with drafted(self.file) as file:
            np.savez(file, **arrays)

    def read(self) -> FoldFit:
        """Read what was learned."""
        with np.load(self.file) as arrays:
            loaded = dict(arrays)
        metadata = json.loads(str(loaded[METADATA]))
        tensors = {
            name.removeprefix("net."): tensor
            for name, tensor in loaded.items()
            if name.startswith("net.")
        }
        nets = Nets(
            kind=self.kind,
            input_shape=self.rows.X.shape[1:],
            is_proba=metadata.pop("is_proba"),
            tensors=tensors,
        )
        return FoldFit(
            inner_oof=loaded["inner_oof"],
            val_pred=loaded["val_pred"],
            model=nets,
            metadata=metadata,
        )


def cross_fit_neural(
    kind: Kind,
    rows: TrainingRows,
    *,
    seed: int = 0,
    training: Training | None = None,
    pool: Pool = HERE,
    folder: Path = Path(),
) -> CrossFit:
    """Cross-fit nets whose number of epochs is chosen among the other folds.

    Args:
        kind: One of ``KINDS``.
        rows: With (N, C) pooled columns; for ``cnn1d`` and ``cnn2d`` (N, V, F) views.
            Rows of weight 0 are not trained on.
        seed: Seed of the inner folds and the nets.
        training: How to train; None: as usual.
        pool: Where: here the folds are trained one after another by the child.
        folder: For the folds that an interrupted attempt goes on with, if not here.

    Raises:
        UserError: A process that trains failed, or finds no torch.
        ValueError: The inputs have the wrong shape or are not finite.
    """
    n_axes = 3 if kind in ("cnn1d", "cnn2d") else 2
    if rows.X.ndim != n_axes or not np.isfinite(rows.X).all():
        raise ValueError(
            f"{kind}: inputs {rows.X.shape} are not finite (N, C), (N, V, F)"
        )
    # TabM is an ensemble itself
    training = training or Training(n_seeds=1 if kind == "tabm" else 3)
    n_seeds = training.n_seeds
    apart = "a process" if pool.executor == "here" else "processes"
    log.info("stacking: %s, %d small nets a fold, in %s apart", kind, n_seeds, apart)
    if pool.executor == "here":
        fit: CrossFit = in_child(kind, "cross_fit", kind, rows, seed, training)
        return fit
    jobs = [
        FoldJob(
            kind=kind,
            rows=rows,
            fold=fold,
            seed=seed,
            training=training,
            folder=folder / f"{kind}_fold{fold}",
        )
        for fold in range(rows.n_folds)
    ]
    return fit_folds(jobs, pool)


def fit_folds(jobs: Sequence[FoldJob], pool: Pool) -> CrossFit:
    """Train the nets of the folds that are missing, and join all.

    Args:
        jobs: One for each fold, in their order.
        pool: Where.

    Raises:
        UserError: A process failed. The other folds are kept.
    """
    works = [
        Work(
            name=f"{job.kind} of fold {job.fold}",
            function=functools.partial(_fit, job),
            log_file=job.folder / "job.log",
            writes=job.folder,
        )
        for job in jobs
        if not is_whole_zip(job.file)
    ]
    logs = jobs[0].folder.with_name(f"{jobs[0].kind}_FOLD") / "job.log"
    run(works, pool, noun="fold", logs=logs).check(works, "fold", REMEDY)

    def fit(fold: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        del train_idx, val_idx
        return jobs[fold].read()

    return CrossFit.over(fit, jobs[0].rows)


def drop_folds(folder: Path) -> None:
    """Remove what was kept for an interrupted attempt, when the stack is finished."""
    for file in folder.glob(f"*/{FITTED}"):
        shutil.rmtree(file.parent)


def _fit(job: FoldJob, report: Report | None) -> Result:
    """Train the nets of a fold in its process."""
    assert report
    child = import_module(CHILD)  # loads torch
    fitted: FoldFit = child.fit_fold(
        job.kind,
        job.rows,
        job.fold,
        seed=job.seed,
        training=job.training,
        count=Count(report, child.n_epochs(job.training)),
    )
    job.write(fitted)
    return Result()


def _stacker(kind: Kind, title: str, inputs: Inputs, package: str = "") -> StackerType:
    return StackerType(
        name=kind,
        title=title,
        inputs=inputs,
        fit=lambda rows, context: cross_fit_neural(
            kind, rows, seed=context.seed, pool=context.pool, folder=context.folder
        ),
        load=load_nets,
        is_slow=True,
        package=package,
    )


STACKERS = (
    _stacker("mlp", "small network", "narrow"),
    _stacker("tabm", "TabM, an ensemble in one network", "narrow", package="tabm"),
    _stacker("cnn1d", "1-D convolutions over the views", "views"),
    _stacker("cnn2d", "2-D convolutions, outputs x views", "views"),
)

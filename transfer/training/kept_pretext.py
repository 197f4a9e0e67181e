"""The jigsaw kept beside the tasks: a loss of pictures with label and without.

Source: Liu et al. 2021, "Efficient training of visual transformers with small
datasets", arXiv 2106.03746, which keeps a loss of positions during the supervised
training.
Differs: the question is that of the pretext, and pictures that have no label are among
the puzzles.

Shapes: N rows of the prepared table, B rows of a batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from data_prep.arrays import Bools, Ints
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.runs import Run
from data_prep.settings import from_table
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import fill_frac_of
from pretext.engine.learner import Batch
from pretext.jigsaw import STAGE, JigsawSettings
from transfer.jobs import Job

if TYPE_CHECKING:
    import pandas as pd

    from pretext.methods.classification import JigsawLearner

PUZZLES = ("jigsaw", "jigsaw_accuracy")  # loss and accuracy in the logs


@dataclass(frozen=True, kw_only=True)
class KeptPretext:
    """The jigsaw of a run, as its transfer goes on with it.

    Attributes:
        settings: Of the pretext.
        weight: Of its loss beside those of the tasks.
        normalise: Statistics of the pictures.
        fill_frac: (N, 2) share of width and height that each picture fills.
        cv_groups: (N,) what no fold tears.
        is_visible: (N,) whether the pretext may look at the picture.
    """

    settings: JigsawSettings
    weight: float
    normalise: Normalisation
    fill_frac: NDArray[np.float32]
    cv_groups: Ints
    is_visible: Bools

    @classmethod
    def open(
        cls,
        run: Run,
        table: "pd.DataFrame",
        *,
        weight: float,
        fit: str,
        normalise: Normalisation,
    ) -> "KeptPretext":
        """Read how the finished pretext of a run made its puzzles.

        Args:
            run: Has it.
            table: The N rows as prepared.
            weight: Of its loss beside those of the tasks.
            fit: How pictures were made square; see ``data_prep.pictures.fit``.
            normalise: Statistics of the pictures.
        """
        stage = run.finished(STAGE)
        recorded = {k: v for k, v in stage.record["settings"].items() if k != "init"}
        location = str(stage.folder / RECORD)
        settings = from_table(JigsawSettings, recorded, location, {})
        is_test = (table["split"] == "test").to_numpy()
        return cls(
            settings=settings,
            weight=weight,
            normalise=normalise,
            fill_frac=fill_frac_of(table, fit),
            cv_groups=table["cv_group"].to_numpy(),
            is_visible=~is_test if settings.inductive else np.ones_like(is_test),
        )

    def rows_for(self, job: Job) -> Ints:
        """Give the rows of puzzles: all but those that a net is scored or chosen by."""
        held_out = self.cv_groups[np.union1d(job.val_idx, job.choice_idx)]
        return np.flatnonzero(self.is_visible & ~np.isin(self.cv_groups, held_out))

    def begin(self, backbone: nn.Module, job: Job, pictures: Pictures) -> "KeptPuzzles":
        """Make what solves the puzzles of a net, with a new head."""
        none = np.empty(0, np.int64)
        learner = self.settings.learner_of(
            backbone,
            pictures,
            normalise=self.normalise,
            fill_frac=self.fill_frac,
            val_idx=none,
            val_keys=none.astype(np.uint64),
        )
        return KeptPuzzles(learner, self.rows_for(job), self.weight)


class KeptPuzzles(nn.Module):
    """Solves puzzles with the backbone of a net.

    Args:
        learner: The backbone, which is the net's, and a head.
        rows: (M,) rows whose pictures become puzzles.
        weight: Of the loss.
    """

    def __init__(self, learner: "JigsawLearner", rows: Ints, weight: float) -> None:
        super().__init__()
        self.learner, self.rows, self.weight = learner, rows, weight

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Give the loss and the accuracy of as many puzzles as a batch has pictures.

        Which pictures they are of follows from the batch alone. The batch norms take
        the statistics of the puzzles for them, and keep those of whole pictures.
        """
        u = uniforms(
            batch.keys, 1, seed=batch.seed, epoch=batch.epoch, purpose="kept puzzles"
        )
        rows = self.rows[(u[:, 0] * len(self.rows)).astype(np.int64)]
        order = np.argsort(rows, kind="stable")  # the memory map is read forward
        puzzles = replace(
            batch,
            images=self.learner.pictures.take(rows[order]),
            rows=rows[order],
            keys=batch.keys[order],
        )
        with keeping_statistics(self.learner.backbone):
            measured = self.learner.loss(puzzles)
        values = (measured["loss"], measured["accuracy"])
        return dict(zip(PUZZLES, values, strict=True))


@contextmanager
def keeping_statistics(network: nn.Module) -> Iterator[None]:
    """Let no batch norm of a network learn from what is sent through it."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

"""The pictures that the health of a pretraining is looked at by.

Which they are follows from their ids and the seed. Torch-free.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.folds import assign_folds
from data_prep.tasks import Task, build_tasks
from pretext.data.keyed_rng import uniforms
from pretext.evaluation.probing import Split, labels_of, stored_splits

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.experiment import Experiment
    from data_prep.run_folders.runs import Finished

SHOWN = 256  # pictures whose outputs are compared, at most: they are one batch
LABELLED = 2000  # labelled pictures that the probes use, at most
INNER = "kfold4"  # of the split that may choose weights; keeps cv groups together
Ints = NDArray[np.int64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """What is looked at.

    Attributes:
        shown: (n,) rows of the pictures whose outputs are compared, rising.
        labelled: (m,) rows of the labelled pictures that are probed, rising.
        tasks: What they are probed for: labels of the m.
        deciding: The tasks that choose weights and tell a plateau: the target, or all.
        splits: The stored folds, on the m.
        inner: Splits of their own, on the m, for choosing weights.
        cv_groups: (m,) what no split tears.
    """

    shown: Ints
    labelled: Ints
    tasks: list[Task]
    deciding: list[Task]
    splits: list[Split]
    inner: list[Split]
    cv_groups: Ints


def draw_sample(
    table: "pd.DataFrame",
    keys: NDArray[np.uint64],
    is_seen: NDArray[np.bool_],
    prepared: "Finished",
    experiment: "Experiment",
    seed: int,
    *,
    must_choose: bool,
) -> Sample:
    """Draw the pictures to look at; without labels or folds there are no tasks.

    Args:
        table: N rows, in the order of the pictures.
        keys: (N,) keys of the pictures.
        is_seen: (N,) whether a row may be looked at.
        prepared: The stage of the table.
        experiment: What the labels are.
        seed: Of the training.
        must_choose: The labels are to choose the weights.

    Raises:
        UserError: They are to choose, and there are none.
    """
    n_folds = int(prepared.metadata.get("n_folds") or 0)
    has_labels = bool(n_folds) and bool((table["fold"] >= 0).any())
    if must_choose and not has_labels:
        raise UserError(
            "keep = 'best-probe' chooses by labels, and the run has no folds of any;"
            " name train and target in [data] and prepare again, or leave --keep out"
        )
    tasks: list[Task] = []
    if has_labels:
        try:
            tasks = build_tasks(
                experiment.tasks, table, prepared.folder, prepared.metadata
            )
        except UserError as error:
            if must_choose:
                raise
            log.warning("the health is looked at without labels: %s", error)
    chance = uniforms(keys, 1, seed=seed, epoch=0, purpose="health")[:, 0]
    order = np.lexsort((keys, chance))
    order = order[is_seen[order]]
    is_labelled = np.zeros(len(table), dtype=np.bool_)
    for task in tasks:
        is_labelled |= task.has_label
    labelled = np.sort(order[is_labelled[order]][:LABELLED])
    cv_groups = table["cv_group"].to_numpy(dtype=np.int64)[labelled]
    tasks = [labels_of(task, labelled) for task in tasks]
    of_target = [t for t in tasks if t.name == "target"]
    return Sample(
        np.sort(order[:SHOWN]),
        labelled,
        tasks,
        of_target or [t for t in tasks if t.name == "onehot"] or tasks,
        [
            (held_out[labelled], may_be_seen[labelled])
            for held_out, may_be_seen in stored_splits(table, n_folds if tasks else 0)
        ],
        _inner(cv_groups, seed) if must_choose else [],
        cv_groups,
    )


def _inner(cv_groups: Ints, seed: int) -> list[Split]:
    folds = assign_folds(INNER, np.zeros(len(cv_groups)), cv_groups, seed)
    return [(folds == fold, folds != fold) for fold in range(int(folds.max()) + 1)]

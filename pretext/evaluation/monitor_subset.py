"""The pictures that the monitor of a pretraining measures by.

Which they are follows from their ids and the seed. Torch-free.

Shapes: n pictures whose outputs are compared, m labelled pictures that are probed.
"""

import logging
from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.folds import assign_folds
from data_prep.tasks import Task
from pretext.data.keyed_rng import uniforms
from pretext.data.training_data import TrainingData
from pretext.evaluation.probing import Split, labels_of, stored_splits

N_COMPARED = 256  # pictures whose outputs are compared, at most: they are one batch
N_LABELLED = 2000  # labelled pictures that the probes use, at most
INNER_SCHEME = "kfold4"  # of the splits that may choose weights; cv groups stay whole
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MonitorSubset:
    """The pictures that are measured by, and their labels.

    Attributes:
        compared_idx: (n,) rows of the pictures whose outputs are compared, rising.
        labelled_idx: (m,) rows of the labelled pictures that are probed, rising.
        tasks: What they are probed for: labels of the m.
        deciding_tasks: Those that choose weights and tell a plateau: the target, or
            all.
        splits: The stored folds, on the m.
        inner_splits: Other splits of the m, for choosing weights.
        cv_groups: (m,) codes of what no split tears.
    """

    compared_idx: Ints
    labelled_idx: Ints
    tasks: list[Task]
    deciding_tasks: list[Task]
    splits: list[Split]
    inner_splits: list[Split]
    cv_groups: Ints


def draw_subset(
    data: TrainingData, experiment: Experiment, seed: int, *, must_choose: bool
) -> MonitorSubset:
    """Draw the pictures to measure by; without labels or folds there are no tasks.

    Args:
        data: The pictures that the training may look at.
        experiment: What the labels are.
        seed: Of the training.
        must_choose: The labels are to choose the weights.

    Raises:
        UserError: They are to choose, and there are none.
    """
    table = data.prepared.table
    n_folds = int(data.prepared.metadata.get("n_folds") or 0)
    tasks = _tasks(data, experiment, n_folds, must_choose=must_choose)
    u = uniforms(data.keys, 1, seed=seed, epoch=0, purpose="health")[:, 0]
    order = np.lexsort((data.keys, u))
    order = order[np.isin(order, data.visible_idx)]
    label_mask = np.zeros(len(table), dtype=np.bool_)
    for task in tasks:
        label_mask |= task.has_label
    labelled_idx = np.sort(order[label_mask[order]][:N_LABELLED])
    cv_groups = table["cv_group"].to_numpy(dtype=np.int64)[labelled_idx]
    tasks = [labels_of(task, labelled_idx) for task in tasks]
    by_name = {task.name: [task] for task in tasks}
    return MonitorSubset(
        compared_idx=np.sort(order[:N_COMPARED]),
        labelled_idx=labelled_idx,
        tasks=tasks,
        deciding_tasks=by_name.get("target") or by_name.get("onehot") or tasks,
        splits=[
            (val_mask[labelled_idx], train_mask[labelled_idx])
            for val_mask, train_mask in stored_splits(table, n_folds if tasks else 0)
        ],
        inner_splits=_inner_splits(cv_groups, seed) if must_choose else [],
        cv_groups=cv_groups,
    )


def _tasks(
    data: TrainingData, experiment: Experiment, n_folds: int, *, must_choose: bool
) -> list[Task]:
    """Build the tasks that can be probed for; without folds there are none."""
    if not n_folds or not (data.prepared.table["fold"] >= 0).any():
        if must_choose:
            raise UserError(
                "keep = 'best-probe' chooses by labels, and the run has no folds of"
                " any; name train and target in [data] and prepare again, or leave"
                " --keep out"
            )
        return []
    try:
        return data.prepared.tasks(experiment.tasks)
    except UserError as error:
        if must_choose:
            raise
        log.warning("the health is measured without labels: %s", error)
        return []


def _inner_splits(cv_groups: Ints, seed: int) -> list[Split]:
    folds = assign_folds(INNER_SCHEME, np.zeros(len(cv_groups)), cv_groups, seed)
    return [(folds == fold, folds != fold) for fold in range(int(folds.max()) + 1)]

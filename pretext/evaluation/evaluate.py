"""The metrics of the monitor: how much a learner's outputs differ, what they tell.

The learner is left as it was, and no random number is drawn.

Shapes: n pictures, D features, d outputs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from data_prep.arrays import Ints
from pretext.data.training_data import TrainingData
from pretext.engine.learner import Learner
from pretext.evaluation.collapse import effective_rank
from pretext.evaluation.embed import embed, forward_of, input_side
from pretext.evaluation.monitor_subset import MonitorSubset
from pretext.evaluation.probing import ProbeResult, probe
from pretext.methods.siamese import spread

INNER = "probe/inner"  # the score that may choose the weights
RIDGE = "ridge"  # the probe that a verdict is by


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of some weights.

    Attributes:
        metrics: ``health/spread`` and ``health/rank`` of the outputs,
            ``health/feature_rank`` where they are not the features themselves,
            ``probe/TASK`` (ridge) and ``probe/TASK_knn``, R2 or accuracy by the stored
            folds, and ``probe/inner``, the mean over the deciding tasks by the splits
            that may choose the weights, if there are any.
        ridge: By task, the predictions of the ridge that ``probe/TASK`` scores.
    """

    metrics: Mapping[str, float]
    ridge: Mapping[str, ProbeResult] = field(default_factory=dict)


def evaluate(
    learner: Learner, data: TrainingData, subset: MonitorSubset, *, bf16: bool
) -> Measurement:
    """Measure the outputs, and probe the features for the labels of each task.

    Args:
        learner: On the device of the pictures; its ``backbone`` is probed.
        data: What it learns from.
        subset: The pictures to measure by.
        bf16: Send the pictures through in bfloat16.
    """
    backbone, pictures = learner.get_submodule("backbone"), data.pictures
    side_px = input_side(backbone, pictures.side_px)
    was_training = learner.training
    learner.eval()
    compared, outputs = as_trained(
        learner, data, subset.compared_idx, side_px, bf16=bf16
    )
    features = embed(
        backbone,
        pictures,
        subset.labelled_idx,
        data.normalise,
        side_px=side_px,
        bf16=bf16,
    )
    learner.train(was_training)
    metrics = {
        "health/spread": spread(torch.from_numpy(outputs).double()).item(),
        "health/rank": effective_rank(outputs),
    }
    if type(learner).project is not Learner.project:
        metrics["health/feature_rank"] = effective_rank(compared)
    cv_groups, ridge = subset.cv_groups, {}
    for task in subset.tasks:
        for name, ending in ((RIDGE, ""), ("knn", "_knn")):
            answers = probe(
                name=name,
                features=features,
                task=task,
                splits=subset.splits,
                cv_groups=cv_groups,
            )
            metrics[f"probe/{task.name}{ending}"] = answers.score
            if name == RIDGE:
                ridge[task.name] = answers
    if subset.inner_splits:
        scores = [
            probe(
                name=RIDGE,
                features=features,
                task=task,
                splits=subset.inner_splits,
                cv_groups=cv_groups,
            ).score
            for task in subset.deciding_tasks
        ]
        metrics[INNER] = float(np.mean(scores))
    return Measurement(metrics=metrics, ridge=ridge)


def as_trained(
    learner: Learner, data: TrainingData, rows: Ints, side_px: int, *, bf16: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give (n, D) features and (n, d) outputs of whole pictures as training has them.

    That is as one batch: running averages lag behind in the first epochs, so that a
    collapse would not show, or show where there is none.
    """
    backbone = learner.get_submodule("backbone")
    forward = forward_of(backbone, data.normalise, side_px)
    device_type = data.pictures.device.type
    precision = torch.autocast(device_type, torch.bfloat16) if bf16 else nullcontext()
    with torch.inference_mode(), batch_statistics(learner):
        with precision:
            features = forward(data.pictures.take(rows)).float()
        outputs = learner.project(features).float()
    return features.cpu().numpy(), outputs.cpu().numpy()


@contextmanager
def batch_statistics(learner: Learner) -> Iterator[None]:
    """Let all norms use the statistics of what they are given, and keep none."""
    norms = [module for module in learner.modules() if isinstance(module, _BatchNorm)]
    states = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, state in zip(norms, states, strict=True):
            norm.training, norm.track_running_stats = state

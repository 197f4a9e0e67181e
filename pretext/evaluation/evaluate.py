"""One look at the health of a learner: how much its outputs differ, and what they tell.

The learner is left as it was, and no random number is drawn.

Shapes: n pictures, D features, d outputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from pretext.engine.learner import Learner
from pretext.evaluation.collapse import effective_rank, spread
from pretext.evaluation.embed import embed, forward_of, input_side
from pretext.evaluation.monitor_subset import Sample
from pretext.evaluation.probing import probe

if TYPE_CHECKING:
    from pretext.pretraining import Material

INNER = "probe/inner"  # the score that may choose the weights


def look(
    learner: Learner, material: "Material", sample: Sample, *, bf16: bool
) -> dict[str, float]:
    """Measure the outputs, and probe the features for the labels of each task.

    Args:
        learner: On the device of the pictures; its ``backbone`` is probed.
        material: What it is made from.
        sample: What is looked at.
        bf16: Send the pictures through in bfloat16.

    Returns:
        ``health/spread`` and ``health/rank`` of the outputs, ``health/feature_rank``
        where they are not the features themselves, ``probe/TASK`` (ridge) and
        ``probe/TASK_knn`` by the stored folds, and ``probe/inner`` by the splits that
        may choose the weights, if there are any.
    """
    backbone, pictures = learner.get_submodule("backbone"), material.pictures
    side_px = input_side(backbone, pictures.side_px)
    was_training = learner.training
    learner.eval()
    shown, outputs = as_trained(learner, material, sample.shown, side_px, bf16=bf16)
    labelled = embed(
        *(backbone, pictures, sample.labelled, material.normalise),
        side_px=side_px,
        bf16=bf16,
    )
    learner.train(was_training)
    found = {"health/spread": spread(outputs), "health/rank": effective_rank(outputs)}
    if type(learner).project is not Learner.project:
        found["health/feature_rank"] = effective_rank(shown)
    cv_groups = sample.cv_groups
    for task in sample.tasks:
        for name, ending in (("ridge", ""), ("knn", "_knn")):
            answers = probe(name, labelled, task, sample.splits, cv_groups)
            found[f"probe/{task.name}{ending}"] = answers.score
    if sample.inner:
        scores = [
            probe("ridge", labelled, task, sample.inner, cv_groups).score
            for task in sample.deciding
        ]
        found[INNER] = float(np.mean(scores))
    return found


def as_trained(
    learner: Learner,
    material: "Material",
    rows: NDArray[np.int64],
    side_px: int,
    *,
    bf16: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give (n, D) features and (n, d) outputs of whole pictures as training has them.

    That is as one batch: running averages lag behind in the first epochs, so that a
    collapse would not show, or show where there is none.
    """
    pictures = material.pictures
    backbone = learner.get_submodule("backbone")
    forward = forward_of(backbone, material.normalise, side_px)
    kind = pictures.device.type
    precision = torch.autocast(kind, torch.bfloat16) if bf16 else nullcontext()
    with torch.inference_mode(), batch_statistics(learner):
        with precision:
            features = forward(pictures.take(rows)).float()
        outputs = learner.project(features).float()
    return features.cpu().numpy(), outputs.cpu().numpy()


@contextmanager
def batch_statistics(learner: Learner) -> Iterator[None]:
    """Let all norms use the statistics of what they are given, and keep none."""
    norms = [part for part in learner.modules() if isinstance(part, _BatchNorm)]
    before = [(part.training, part.track_running_stats) for part in norms]
    for part in norms:
        part.training, part.track_running_stats = True, False
    try:
        yield
    finally:
        for part, state in zip(norms, before, strict=True):
            part.training, part.track_running_stats = state

"""Every tensor of a step lies on the device of its batch, shown without a GPU.

Torch refuses to mix its meta device, whose tensors have shapes alone, with another. So
a tensor that was made on the CPU and not moved fails here as it would beside a GPU.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.ceiling import five_tasks, jigsaw, simsiam
from data_prep.arrays import Ints
from data_prep.head_losses.companion import SUFFIXES
from data_prep.task_types.classes import Classes
from data_prep.task_types.regression import Regression
from data_prep.task_types.words import Words
from data_prep.tasks import Task
from pretext.data.augment import AugmentParams, random_views
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.presets import PRESETS, preset
from pretext.engine.learner import Batch, Learner
from pretext.networks.backbones import build_backbone
from transfer.mix_settings import USUAL_ALPHAS, Mix, MixSettings
from transfer.networks.task_net import TaskNet, describe
from transfer.training.learner import FinetuneLearner
from transfer.training.mixer import Mixer

N, B, SIDE = 32, 4, 64
META = torch.device("meta")


class MetaPictures(Pictures):
    """Pictures without pixels, as if copied to a GPU."""

    def take(self, rows: Ints) -> Tensor:
        return torch.empty(len(rows), 3, SIDE, SIDE, dtype=torch.uint8, device=META)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move to the meta device, which has no pinned memory and no autocast."""
    for module in (
        *("pretext.data.augment", "pretext.methods.puzzles", "pretext.data.pictures"),
        *("pretext.data.occlusion", "pretext.data.randaugment"),
        *("transfer.training.learner", "transfer.training.mix_masks"),
        *("transfer.training.mixing", "transfer.networks.class_maps"),
    ):
        monkeypatch.setattr(f"{module}.moved", lambda tensor, device: tensor.to(device))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


def every_loss() -> list[Task]:
    target, maker, grade, words, tags = five_tasks(N)
    numbers = [
        replace(target, name=loss, task_type=Regression(loss=loss))
        for loss in ("mse", "mae", "huber", "bce")
    ]
    pairs = Regression(loss="bce", pairwise=0.3)
    numbers.append(replace(target, name="pairs", task_type=pairs))
    fifths = [
        replace(
            target,
            name=f"{loss}_fifths",
            task_type=Regression(loss=loss, companion=True),
            outputs=("", *SUFFIXES),
        )
        for loss in ("mse", "histogram")
    ]
    weighed = Classes(label_smoothing=0.1, class_weights=("balanced",))
    of_classes = [
        replace(maker, name=f"classes_{loss}", task_type=Classes(loss=loss))
        for loss in Classes.losses[1:]
    ]
    return [
        *(target, maker, grade, words, tags, *numbers, *fifths, *of_classes),
        replace(maker, name="weighed", task_type=weighed),
        replace(words, name="cosine", task_type=Words(loss="cosine")),
    ]


def step(learner: Learner) -> None:
    learner.to(META)
    batch = Batch(
        images=MetaPictures(np.empty((N, SIDE, SIDE, 3), np.uint8)).take(np.arange(B)),
        rows=np.arange(B),
        keys=np.arange(B, dtype=np.uint64),
        seed=0,
        epoch=0,
        scale=1.0,
    )
    losses = learner.loss(batch)
    losses["loss"].backward()
    assert {loss.device for loss in losses.values()} == {META}
    moved = [p for p in learner.parameters() if p.requires_grad and p.grad is not None]
    assert moved
    assert {p.grad.device for p in moved if p.grad is not None} == {META}


@pytest.mark.parametrize("head_width", [0, 16])
def test_fine_tuning_with_every_loss(head_width: int) -> None:
    tasks = every_loss()
    net = TaskNet(
        build_backbone("test_resnet", SIDE),
        [describe(task) for task in tasks],
        Normalisation((128.0,) * 3, (64.0,) * 3),
        SIDE,
        dropout=0.2,
        head_width=head_width,
    )
    for task in tasks:
        net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    params = AugmentParams(
        min_area=0.6, d4=True, brightness=0.1, contrast=0.1, saturation=0.1
    )
    step(FinetuneLearner(net, tasks, side_px=SIDE, params=params))
    net.eval()
    with torch.inference_mode():
        images = torch.empty(B, 3, SIDE, SIDE, dtype=torch.uint8, device=META)
        assert {out.device for out in net.predict(images).values()} == {META}


@pytest.mark.parametrize("name", PRESETS)
def test_views_of_every_preset(name: str) -> None:
    params = preset(name, min_area=0.6, d4=True, colour=0.1, rand=(8, 9))
    u = np.random.default_rng(0).random((200, params.n_random), np.float32)
    images = torch.empty(200, 3, SIDE, SIDE, dtype=torch.uint8, device=META)
    fill = np.full((200, 2), 0.5, np.float32)
    views = random_views(images, u, SIDE, params, fill)
    assert (views.shape, views.device) == (images.shape, META)


@pytest.mark.parametrize("method", USUAL_ALPHAS)
def test_mixed_pictures(method: Mix) -> None:
    target, maker, *_ = five_tasks(N)
    tasks = [maker] if method == "snapmix" else [maker, target]
    net = TaskNet(
        build_backbone("test_resnet", SIDE),
        [describe(task) for task in tasks],
        Normalisation((128.0,) * 3, (64.0,) * 3),
        SIDE,
    )
    for task in tasks:
        net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    mixer = Mixer(
        settings=MixSettings(mix=method, mix_share=1.0),
        tasks=tasks,
        net=net,
        train_idx=np.arange(N),
        n_epochs=1,
    )
    params = AugmentParams()
    step(FinetuneLearner(net, tasks, side_px=SIDE, params=params, mixer=mixer))


@pytest.mark.parametrize("build", [jigsaw, simsiam])
def test_pretexts(build: Callable[[nn.Module, Pictures], Learner]) -> None:
    pictures = MetaPictures(np.empty((N, SIDE, SIDE, 3), np.uint8))
    step(build(build_backbone("test_resnet", SIDE), pictures))

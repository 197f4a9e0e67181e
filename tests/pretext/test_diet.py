"""Tests of pretext.diet and of its learner, pretext.methods.instances."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from pretext import diet
from pretext.diet import DietSettings
from pretext.methods.instances import check_head, head_bytes, loss_range
from pretext.methods.siamese import spread
from tests.pretext.collapsing import blots
from tests.pretext.trained_on_views import (
    Fixed,
    batch_of,
    descend,
    learner_of,
    noise,
)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 0.8])
def test_the_loss_by_an_independent_route(label_smoothing: float) -> None:
    train_idx = np.array([0, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13])  # the others measure
    settings = DietSettings(label_smoothing=label_smoothing)
    learner = learner_of(settings, noise(), train_idx)
    features = torch.randn(4, 96, generator=torch.Generator().manual_seed(0))
    learner.backbone = Fixed(features)
    measured = learner.loss(batch_of(noise(), [2, 5, 9, 13]))
    logits = (features @ learner.head.weight.T).detach().double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.full((4, 11), label_smoothing / 11)
    target[np.arange(4), [1, 3, 7, 10]] += 1 - label_smoothing
    loss = -(target * log_p).sum(axis=1).mean()
    assert measured["loss"].item() == pytest.approx(loss, 1e-5)
    is_right = logits.argmax(axis=1) == [1, 3, 7, 10]
    assert measured["accuracy"].item() == is_right.mean()
    assert_close(measured["spread"], spread(features))
    low, high = loss_range(11, label_smoothing)
    assert measured["excess"].item() == pytest.approx((loss - low) / (high - low), 1e-4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("n", [2, 7, 300])
def test_the_range_of_the_loss_by_trying_all_gaps(
    n: int, label_smoothing: float
) -> None:
    low, high = loss_range(n, label_smoothing)
    gaps = torch.linspace(0, 20, 4001)  # of the right logit over all others
    logits = torch.zeros(4001, n)
    logits[:, 0] = gaps
    losses = F.cross_entropy(
        logits,
        torch.zeros(4001, dtype=torch.long),
        label_smoothing=label_smoothing,
        reduction="none",
    )
    assert high == pytest.approx(losses[0].item(), 1e-5)
    assert low == pytest.approx(losses.min().item(), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_one_output_for_all_pictures_is_no_better_than_guessing(seed: int) -> None:
    """So nothing else has to keep the outputs apart."""
    learner = learner_of(DietSettings(), noise())
    rng = torch.Generator().manual_seed(seed)
    learner.backbone = Fixed(torch.randn(1, 96, generator=rng).expand(16, 96))
    nn.init.normal_(learner.head.weight, generator=rng)
    measured = learner.loss(batch_of(noise(), range(16)))
    assert measured["excess"].item() >= 1
    assert measured["spread"].item() < 1e-6
    learner.head.weight.data[:] = 1.0
    again = learner.loss(batch_of(noise(), range(16)))
    assert again["excess"].item() == pytest.approx(1, abs=1e-5)


def test_pictures_that_differ_are_told_from_each_other() -> None:
    pictures = blots(64, 16)
    learner = learner_of(DietSettings(), pictures)
    metrics = descend(learner, pictures, n_steps=80, rate=0.01)
    assert metrics[0]["accuracy"] < 0.2
    assert metrics[0]["excess"] == pytest.approx(1, abs=0.4)
    assert metrics[-1]["accuracy"] > 0.5
    assert metrics[-1]["excess"] < 0.6
    assert metrics[-1]["spread"] > 0.3


def test_views_are_of_their_side_and_one_for_each_picture() -> None:
    learner = learner_of(DietSettings(side=32), noise(side=48))
    seen: list[tuple[int, ...]] = []
    learner.backbone.register_forward_pre_hook(
        lambda _, given: seen.append(tuple(given[0].shape))
    )
    learner.loss(batch_of(noise(side=48), range(16), scale=1.25))
    assert seen == [(16, 3, 40, 40)]
    assert DietSettings().views_per_picture == 1


def test_the_memory_of_the_head_by_hand() -> None:
    # weight, gradient, two moments and a step of AdamW; logits three times
    assert head_bytes(100_000, 512, 64) == 5 * 4 * 51_200_000 + 3 * 4 * 6_400_000
    assert head_bytes(100_000, 512, 64) / 1e9 == pytest.approx(1.10, abs=0.005)
    assert head_bytes(100_000, 2048, 64) / 1e9 == pytest.approx(4.17, abs=0.005)


def test_a_head_that_memory_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_head(100_000, 512, batch_size=64, free_bytes=1.2e9)
    check_head(100_000, 512, batch_size=64, free_bytes=math.inf)
    message = (
        r"^pretext.diet has a class for each picture: a head of 100000 pictures x 512"
        r" features takes 1.1 GB in the training, and 1.0 GB are free; take a"
        r" --backbone with fewer features, or pretext.visreg, .* the collection$"
    )
    with pytest.raises(UserError, match=message):
        check_head(100_000, 512, batch_size=64, free_bytes=1e9)
    monkeypatch.setattr("pretext.device.free_bytes", lambda _: 1000.0)
    with pytest.raises(UserError, match=r"16 pictures x 96 features takes 0.0 GB"):
        learner_of(DietSettings(), noise())


def test_the_head_is_held_against_memory_before_any_stage(
    prepared_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared_run()
    outlook = Outlook.of_prepared(
        run.finished(PREPARED), run, Experiment(data=DataSettings())
    )
    settings = DietSettings(backbone="test_resnet", batch_size=8)
    settings.check_libraries(outlook)
    monkeypatch.setattr("pretext.device.free_bytes", lambda _: 1000.0)
    with pytest.raises(UserError, match=r"24 pictures x 96 features takes .* free;"):
        settings.check_libraries(outlook)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_target_without_the_picture_is_refused(value: float) -> None:
    message = f"^label_smoothing = {value}: give 0 to below 1$"
    with pytest.raises(UserError, match=message):
        DietSettings(label_smoothing=value)


def test_the_summary_says_what_guessing_is() -> None:
    last = {"accuracy": 0.25, "excess": 0.75, "spread": 0.9}
    assert DietSettings().summary(last) == (
        "25.0% of the pictures told from all others (chance: 1 of all); loss 0.75"
        " (guessing 1, at best 0); spread of the outputs 0.90 of 1/sqrt(d)"
    )
    assert diet.STAGE == "pretext.diet"

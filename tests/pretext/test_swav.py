"""Tests of pretext.swav and of its learner, pretext.methods.clustering."""

from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import swav_loss
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from data_prep.errors import UserError
from pretext.methods import clustering
from pretext.methods.siamese import spread
from pretext.swav import SwavSettings
from tests.drilled import in_drills
from tests.pretext.collapsing import blots
from tests.pretext.trained_on_views import (
    Fixed,
    batch_of,
    descend,
    learner_of,
    noise,
)

K = 12


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "WIDTH", 64)


def assigned(scores_BK: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Assign as the paper's algorithm 1: equal shares for prototypes, then pictures."""
    q_BK = np.exp(scores_BK / 0.05)
    for _ in range(3):
        q_BK = q_BK / q_BK.sum(axis=0) / q_BK.shape[1]
        q_BK = q_BK / q_BK.sum(axis=1, keepdims=True) / len(q_BK)
    return q_BK * len(q_BK)


@pytest.mark.parametrize("n_local", [0, 3])
def test_the_loss_by_an_independent_route(n_local: int) -> None:
    learner = learner_of(SwavSettings(local_crops=n_local, prototypes=K), noise())
    rng = torch.Generator().manual_seed(n_local)
    outputs = torch.randn(2 + n_local, 16, 128, generator=rng)
    learner.projector = Fixed(outputs.flatten(0, 1))
    measured = learner.loss(batch_of(noise(), range(16)))
    (prototypes,) = learner.prototypes.parameters()
    cosines = F.normalize(outputs.double(), dim=2) @ prototypes.double().T
    scores_VBK = cosines.detach().numpy()
    losses = []
    for v in range(2):
        q_BK = assigned(scores_VBK[v])
        for w in range(2 + n_local):
            if w != v:
                logits = scores_VBK[w] / 0.1
                log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                losses.append(-(q_BK * log_p).sum(axis=1).mean())
    assert len(losses) == 2 * (1 + n_local)
    assert measured["loss"].item() == pytest.approx(np.mean(losses), 1e-4)
    p = np.exp(scores_VBK[:2] / 0.1)
    mean_K = (p / p.sum(axis=2, keepdims=True)).mean(axis=(0, 1))
    entropy = -(mean_K * np.log(mean_K)).sum() / np.log(K)
    assert measured["entropy"].item() == pytest.approx(entropy, 1e-4)
    assert_close(measured["spread"], spread(outputs[0]))


def test_the_scores_are_cosines_and_stay_it() -> None:
    learner = learner_of(SwavSettings(prototypes=K), noise())
    for changed in (0.0, 1.0):
        (prototypes,) = learner.prototypes.parameters()  # no constants beside them
        with torch.no_grad():
            prototypes.add_(changed)
        learner.after_step(0.5)
        assert prototypes.shape == (K, 128)
        assert_close(prototypes.norm(dim=1), torch.ones(K))
    shown = learner.project(torch.randn(8, 96))
    assert_close(shown.norm(dim=1), torch.ones(8))


def test_the_prototypes_wait_for_the_second_epoch() -> None:
    learner = learner_of(SwavSettings(prototypes=K), noise())
    encoder, prototypes = learner.groups()
    assert (encoder.from_epoch, prototypes.from_epoch) == (0, 1)
    names = {id(p): name for name, p in learner.named_parameters()}
    assert [names[id(p)] for p in prototypes.parameters] == [
        "prototypes.heads.0.weight"
    ]
    assert len(encoder.parameters) == len(names) - 1


def soft(out: Tensor, epsilon: float, **_: Any) -> Tensor:
    """Assign each picture by itself, as the loss must not."""
    return (out / epsilon).softmax(dim=1)


@pytest.mark.parametrize("seed", [0, in_drills(1)])
def test_without_equal_shares_one_prototype_takes_all_and_with_them_none_does(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, ends = blots(64, 16), []
    for sinkhorn in (swav_loss.sinkhorn, soft):
        monkeypatch.setattr(swav_loss, "sinkhorn", sinkhorn)
        settings = SwavSettings(local_crops=1, prototypes=K, seed=seed)
        learner = learner_of(settings, pictures)
        metrics = descend(learner, pictures, n_steps=40, rate=0.01)
        assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
        ends.append(metrics[-1])
    healthy, collapsed = ends
    assert healthy["entropy"] > 0.9
    assert healthy["spread"] > 0.5
    assert collapsed["entropy"] < 0.1
    assert collapsed["spread"] < 0.3
    assert collapsed["loss"] < 0.01  # a perfect answer


@pytest.mark.parametrize("value", [1, 0])
def test_fewer_than_two_prototypes_are_refused(value: int) -> None:
    with pytest.raises(UserError, match=f"^prototypes = {value}: give 2 or more$"):
        SwavSettings(prototypes=value)


def test_the_summary_tells_a_collapse() -> None:
    last = {"loss": 1.5, "entropy": 0.97, "spread": 0.1}
    assert (
        SwavSettings()
        .summary(last)
        .startswith(
            "loss 1.500; mean of the assignments: entropy 0.97 of log K; spread of the"
            " outputs 0.10 of 1/sqrt(d): the outputs have COLLAPSED"
        )
    )

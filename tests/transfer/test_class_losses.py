"""Tests of the losses of classes: by hand, by the library, and at their limits."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_optimizer.loss import FocalCosineLoss, bi_tempered_logistic_loss
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss
from data_prep.head_losses.bi_tempered import BiTempered
from data_prep.head_losses.class_loss import ClassLoss
from data_prep.head_losses.cross_entropy import CrossEntropy
from data_prep.head_losses.focal import Focal, FocalCosine
from data_prep.head_losses.squares import Squares
from data_prep.head_losses.symmetric import Symmetric
from data_prep.head_losses.taylor import Taylor
from data_prep.task_types.classes import LOSSES, Classes
from tests.transfer.test_head_losses import begun, labels_of, predicted

SEEDS = range(3)
N, K = 12, 4
Array = NDArray[np.float64]


def focal_by_hand(p: Array, gamma: float = 2.0) -> Array:
    return -((1 - p) ** gamma) * np.log(p)


BY_HAND: dict[str, tuple[ClassLoss, Callable[[Array], Array]]] = {
    "cross_entropy": (CrossEntropy(), lambda p: -np.log(p)),
    "focal": (Focal(), focal_by_hand),
    "focal 0.5": (Focal(gamma=0.5), lambda p: focal_by_hand(p, 0.5)),
    "taylor": (Taylor(order=2), lambda p: (1 - p) + (1 - p) ** 2 / 2),
    "symmetric": (Symmetric(reverse=0.3), lambda p: -np.log(p) + 0.3 * 4 * (1 - p)),
}


def logits_of(seed: int, scale: float = 2.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(N, K, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BY_HAND)
def test_costs_by_hand(name: str, seed: int) -> None:
    loss, of_proba = BY_HAND[name]
    logits = logits_of(seed)
    proba = np.exp(log_softmax(logits.numpy(), axis=1))
    np.testing.assert_allclose(loss.class_costs(logits), of_proba(proba), rtol=1e-5)


def test_the_temperatures_by_hand() -> None:
    """With t2 = 2 the tails are 1 / (1 + c - x): two classes have a root by hand."""
    loss, x = BiTempered(t1=0.5, t2=2.0), 3.0
    # 1 / (1 + c) + 1 / (1 + c - x) = 1 with s = 1 + c: s^2 - (2 + x) s + x = 0
    s = (2 + x + math.sqrt(4 + x**2)) / 2
    p = [1 / s, 1 / (s - x)]
    logits = torch.tensor([[0.0, x]], dtype=torch.float64)
    assert predicted(loss, logits, {})[0].tolist() == pytest.approx(p)
    of_all = (p[0] ** 1.5 + p[1] ** 1.5 - 1) / 1.5
    expected = [of_all - 2 * (math.sqrt(q) - 1) for q in p]
    assert loss.class_costs(logits)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.2), (0.9, 1.5), (0.0, 1.0)])
def test_the_temperatures_are_those_of_the_library(
    seed: int, t1: float, t2: float
) -> None:
    logits, y = logits_of(seed), torch.arange(N) % K
    ours = BiTempered(t1=t1, t2=t2, label_smoothing=0.1)
    theirs = bi_tempered_logistic_loss(
        logits,
        functional.one_hot(y, K).double(),
        t1,
        t2,
        num_iters=60,
        reduction="none",
    )
    hard = BiTempered(t1=t1, t2=t2).smoothed(logits, y)
    assert_close(hard, theirs, rtol=1e-5, atol=1e-6)
    # of a smoothed label all but a constant
    q = 0.9 * functional.one_hot(y, K).double() + 0.1 / K
    soft = bi_tempered_logistic_loss(logits, q, t1, t2, num_iters=60, reduction="none")
    assert (ours.smoothed(logits, y) - soft).std().item() < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cosine_is_that_of_the_library(seed: int) -> None:
    logits, y = logits_of(seed).float(), torch.arange(N) % K
    theirs = FocalCosineLoss(reduction="none")(logits, y)
    assert_close(FocalCosine().smoothed(logits, y), theirs, rtol=1e-4, atol=1e-6)
    longer = FocalCosine().smoothed(7 * logits, y)
    assert_close(longer, theirs, rtol=1e-4, atol=1e-6)
    assert_close(
        predicted(FocalCosine(), 7 * logits, {}), predicted(FocalCosine(), logits, {})
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_squares_are_those_of_ones_and_zeros(seed: int) -> None:
    outputs, y = logits_of(seed), torch.arange(N) % K
    ones = functional.one_hot(y, K).double()
    expected = functional.mse_loss(outputs, ones, reduction="none").mean(dim=1)
    assert_close(Squares().smoothed(outputs, y), expected)
    assert_close(predicted(Squares(), ones, {}), ones, rtol=0, atol=1e-5)
    by_hand = predicted(
        Squares(), torch.tensor([[0.6, -3.0, 0.2], [-1.0, -1.0, -2.0]]), {}
    )
    assert_close(by_hand[0], torch.tensor([0.75, 0.0, 0.25]), rtol=0, atol=1e-5)
    assert_close(by_hand[1], torch.full((3,), 1 / 3))


def test_each_has_cross_entropy_for_a_limit() -> None:
    logits = logits_of(0, scale=1.0)
    expected = CrossEntropy().class_costs(logits)
    for loss in (Focal(gamma=0), Symmetric(reverse=0), Taylor(order=2000)):
        assert_close(loss.class_costs(logits), expected, rtol=1e-5, atol=1e-5)
    near = BiTempered(t1=1 - 1e-7, t2=1.0).class_costs(logits)
    assert_close(near, expected, rtol=1e-4, atol=1e-5)


def test_losses_for_wrong_labels_are_bounded() -> None:
    logits = torch.tensor([[1000.0, 0.0, 0.0]])
    harmonic = 1 + 1 / 2 + 1 / 3
    assert Taylor(order=3).class_costs(logits)[0, 1].item() == pytest.approx(harmonic)
    worst = BiTempered(t1=0.5, t2=1.2).class_costs(logits)[0, 1].item()
    assert worst == pytest.approx(2, rel=1e-3)  # 1 / (1 - t1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothing_and_weights_mean_the_same_with_each(
    name: str, smoothing: float
) -> None:
    y = np.array([0, 0, 0, 1, 1, 2])
    labels = labels_of(y, "012", classes=("a", "b", "c"))
    weighed = Classes(
        loss=name, label_smoothing=smoothing, class_weights=("balanced", "b=4")
    ).head_loss()
    assert isinstance(weighed, ClassLoss)
    state, target, outputs = begun(weighed, labels)
    logits = logits_of(1)[:6, :3]
    costs = weighed.class_costs(logits).numpy()
    of_label = costs[np.arange(6), y]
    weights = np.array([6 / 9, 4 * 6 / 6, 6 / 3])
    np.testing.assert_allclose(
        weighed.row_losses(logits, target, state),
        weights[y] * ((1 - smoothing) * of_label + smoothing * costs.mean(axis=1)),
        rtol=1e-6,
    )
    of_classes = torch.tensor([2, 0, 1])
    np.testing.assert_allclose(
        weighed.losses_of_each(logits, of_classes, state),
        HeadLoss.losses_of_each(weighed, logits, of_classes, state),
        rtol=1e-6,
    )
    start = np.array([3.5, 2.5, 1.5]) * weights
    first = predicted(weighed, outputs, state)[0]
    assert first.argsort().tolist() == start.argsort().tolist()
    if name != "focal_cosine":  # which knows no length
        np.testing.assert_allclose(first, start / start.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_slopes_are_finite_and_point_to_the_label(name: str, scale: float) -> None:
    steepest: dict[str, dict[str, Any]] = {
        "focal": {"gamma": 0.5},
        "bi_tempered": {"t1": 0.9, "t2": 1.0},  # whose probabilities become 0
    }
    options = steepest.get(name, {})
    loss = Classes(loss=name, label_smoothing=0.1, **options).head_loss()
    assert isinstance(loss, ClassLoss)
    logits = logits_of(2, scale).float().requires_grad_()
    y = torch.arange(N) % K
    with torch.autocast("cpu", torch.bfloat16):
        losses = loss.row_losses(logits, y, {})
        (slopes,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    assert torch.isfinite(slopes).all()
    if scale == 1.0:
        hard = Classes(loss=name, **options).head_loss()
        if isinstance(hard, Squares):  # whose outputs are probabilities
            logits = logits.detach().sigmoid().requires_grad_()
        (slopes,) = torch.autograd.grad(hard.row_losses(logits, y, {}).sum(), logits)
        assert (slopes.gather(1, y[:, None]) < 0).all()
        proba = loss.predict(logits, {})
        assert_close(proba.sum(dim=1), torch.ones(N), rtol=0, atol=1e-5)
        assert (proba.argmax(dim=1) == logits.argmax(dim=1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focall"}, r"loss = 'focall': did you mean 'focal'"),
        ({"gamma": 1.0}, r"gamma = 1.0 is for loss = 'focal' or 'focal_cosine' alone"),
        (
            {"loss": "focal", "t2": 1.5},
            r"t2 = 1.5 is for loss = 'bi_tempered' alone, not 'focal'; take it out",
        ),
        ({"loss": "bi_tempered", "t2": 0.9}, r"t2 = 0.9: give 1 to 2"),
        ({"loss": "bi_tempered", "t1": 1.0}, r"t1 = 1.0: give 0 to below 1"),
        ({"loss": "taylor", "order": 0}, r"order = 0: give 1 or more"),
    ],
)
def test_settings_that_do_not_fit_the_loss_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Classes(**settings)

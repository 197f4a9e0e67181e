"""Tests of pretext.visreg and of its learner, pretext.methods.regularisation."""

from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from pretext.methods import regularisation
from pretext.visreg import VisRegSettings
from tests.drilled import in_drills
from tests.pretext.collapsing import blots
from tests.pretext.trained_on_views import (
    Fixed,
    batch_of,
    descend,
    learner_of,
    noise,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regularisation, "WIDTH", 64)
    monkeypatch.setattr(regularisation, "N_SLICES", 128)


def loss_by_hand(
    z_VBd: np.ndarray[Any, Any], weight: float, slices: np.ndarray[Any, Any]
) -> tuple[float, float, float]:
    """Compute loss and both parts of it as the paper writes them, a view at a time."""
    _, n, _ = z_VBd.shape
    invariance = ((z_VBd - z_VBd[:2].mean(axis=0)) ** 2).mean()
    quantiles = [NormalDist().inv_cdf((k + 1) / (n + 1)) for k in range(n)]
    terms = []
    for z_Bd in z_VBd:
        mean, std = z_Bd.mean(axis=0), z_Bd.std(axis=0)
        shadows = np.sort(((z_Bd - mean) / (std + 1e-4)) @ slices, axis=0)
        shape = np.mean([(column - quantiles) ** 2 for column in shadows.T])
        terms.append((mean**2).mean() + ((1 - std) ** 2).mean() + shape)
    regulariser = float(np.mean(terms))
    loss = (1 - weight) * invariance + weight * regulariser
    return float(loss), float(invariance), regulariser


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_local", "weight"), [(0, 0.6), (3, 0.6), (3, 0.9)])
def test_the_loss_by_an_independent_route(
    seed: int, n_local: int, weight: float
) -> None:
    settings = VisRegSettings(local_crops=n_local, regularisation=weight)
    learner = learner_of(settings, noise())
    rng = torch.Generator().manual_seed(seed)
    z_VBd = 2 + 3 * torch.randn(2 + n_local, 16, 64, generator=rng)
    learner.projector = Fixed(z_VBd.flatten(0, 1))
    torch.manual_seed(seed)
    measured = learner.loss(batch_of(noise(), range(16)))
    torch.manual_seed(seed)
    slices = torch.randn(64, regularisation.N_SLICES)
    slices /= slices.norm(dim=0)
    expected = loss_by_hand(z_VBd.double().numpy(), weight, slices.double().numpy())
    names = ("loss", "invariance", "regulariser")
    assert [measured[name].item() for name in names] == pytest.approx(expected, 1e-4)


def test_a_normal_cloud_is_near_and_a_point_is_at_2() -> None:
    learner = learner_of(VisRegSettings(local_crops=0), noise(128))
    batch = batch_of(noise(128), range(128))
    cloud = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    for outputs, least, most in ((cloud, 0.0, 0.1), (torch.zeros(128, 64), 1.9, 2.0)):
        learner.projector = Fixed(outputs.repeat(2, 1))
        measured = learner.loss(batch)
        assert measured["invariance"].item() == pytest.approx(0, abs=1e-6)
        assert least <= measured["regulariser"].item() <= most


@pytest.mark.parametrize("seed", [0, in_drills(1)])
def test_without_the_regulariser_the_outputs_collapse_and_with_it_they_do_not(
    seed: int,
) -> None:
    pictures, ends = blots(64, 16), []
    for weight in (0.6, 0.0):
        learner = learner_of(VisRegSettings(local_crops=1, seed=seed), pictures)
        learner.criterion.lambda_param = weight  # the settings refuse 0
        metrics = descend(learner, pictures, n_steps=40, rate=0.01)
        assert metrics[-1]["loss"] < 0.6 * metrics[0]["loss"]
        ends.append(metrics[-1])
    healthy, collapsed = ends
    assert healthy["spread"] > 0.9
    assert healthy["regulariser"] < 0.3
    assert healthy["invariance"] > 0.01
    assert collapsed["spread"] < 0.5
    assert collapsed["regulariser"] > 0.9  # no deviation is left
    assert collapsed["invariance"] < 0.001  # a perfect answer


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_a_share_that_lets_it_collapse_or_learn_nothing_is_refused(
    value: float,
) -> None:
    message = f"^regularisation = {value}: give above 0, below 1$"
    with pytest.raises(UserError, match=message):
        VisRegSettings(regularisation=value)


def test_the_summary_says_what_it_is_measured_against() -> None:
    last = {"invariance": 0.25, "regulariser": 0.5, "spread": 0.9}
    settings = VisRegSettings()
    assert settings.summary(last) == (
        "mean square between views 0.250, distance from a normal cloud 0.500 (all"
        " outputs one: 0 and 2); spread of the outputs 0.90 of 1/sqrt(d)"
    )
    assert "COLLAPSED" in replace(settings).summary(last | {"spread": 0.1})

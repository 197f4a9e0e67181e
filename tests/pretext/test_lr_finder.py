"""Tests of pretext.engine.lr_finder."""

import csv
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from pretext.data.pictures import Pictures
from pretext.engine import lr_finder as module
from pretext.engine.learner import Batch, Learner
from pretext.engine.lr_finder import find_lr, suggest
from pretext.settings import TrainingSettings

IDS = [f"p{k}" for k in range(40)]
ROWS = np.arange(40)
SETTINGS = TrainingSettings(
    batch_size=8, optimizer="sgd", clip=0.0, precision="fp32", threads=1
)


class Bowl(Learner):
    """A parabola: SGD without momentum diverges above 2 / curvature."""

    def __init__(self, curvature: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([3.0]))
        self.curvature = curvature

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.images.shape == (8, 3, 4, 4)
        return {"loss": self.curvature / 2 * self.at.square().sum() + 1}


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Pictures:
    monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))
    return Pictures(np.zeros((40, 4, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize("curvature", [1.0, 100.0])
def test_the_suggestion_is_below_what_diverges(
    curvature: float, pictures: Pictures, tmp_path: Path
) -> None:
    found = find_lr(Bowl(curvature), pictures, ROWS, IDS, SETTINGS, tmp_path, "bowl")
    assert 0.001 / curvature < found.suggestion < 2 / curvature


def test_a_steeper_bowl_wants_a_smaller_rate_and_files_are_left(
    pictures: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    flat, steep = (
        find_lr(Bowl(c), pictures, ROWS, IDS, SETTINGS, tmp_path / str(c), "bowl")
        for c in (0.1, 50.0)
    )
    assert steep.suggestion < flat.suggestion / 20
    assert (tmp_path / "0.1" / "range_test.png").read_bytes()[:4] == b"\x89PNG"
    with (tmp_path / "0.1" / "range_test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == flat.rates.tolist()
    assert f"bowl: --learning-rate {flat.suggestion:.2g} (now 0.001)" in caplog.text


def test_a_rate_for_another_batch_size_is_suggested_in_its_own_unit(
    pictures: Pictures, tmp_path: Path
) -> None:
    class Scaled(TrainingSettings):
        @property
        def peak_rate(self) -> float:
            return self.learning_rate / 10

    plain, scaled = (
        find_lr(Bowl(1.0), pictures, ROWS, IDS, s, tmp_path / str(k), "bowl")
        for k, s in enumerate(
            (SETTINGS, Scaled(**{**vars(SETTINGS)}))  # the same but for the unit
        )
    )
    assert 5 < scaled.suggestion / plain.suggestion < 20


def test_the_fastest_fall_by_hand() -> None:
    rates = np.geomspace(1e-4, 1, 50)
    x = np.log10(rates)
    falling = 1 / (1 + np.exp(8 * (x + 2)))  # steepest at 1e-2
    found = suggest(rates, falling, "net")
    assert 5e-3 < found.suggestion < 2e-2  # though the running mean lags behind
    assert found.losses[0] == pytest.approx(falling[0])


def test_the_noise_of_batches_suggests_nothing() -> None:
    rates = np.geomspace(1e-6, 10, 100)
    x = np.log10(rates)
    mean = 4 - 0.6 / (1 + np.exp(-3 * (x + 2.5))) + 5 * np.maximum(x, 0)
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.3, 100)
        assert 2e-4 < suggest(rates, mean + noise, "net").suggestion < 0.1, seed


@pytest.mark.parametrize("losses", [np.arange(1.0, 30), np.array([]), np.array([2.0])])
def test_a_loss_that_never_falls_is_refused(losses: np.ndarray) -> None:
    rates = np.geomspace(1e-6, 1, max(len(losses), 2))
    with pytest.raises(UserError, match="net: the loss falls at no learning rate"):
        suggest(rates, losses, "net")


def test_a_loss_that_is_no_number_ends_the_test(
    pictures: Pictures, tmp_path: Path
) -> None:
    class Bad(Bowl):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            measured = super().loss(batch)
            self.count = getattr(self, "count", 0) + 1
            return {"loss": measured["loss"] * (math.nan if self.count > 60 else 1)}

    found = find_lr(Bad(0.1), pictures, ROWS, IDS, SETTINGS, tmp_path, "bad")
    assert len(found.rates) == len(found.losses) == 60
    broken = Bad(0.1)
    broken.count = 100
    with pytest.raises(UserError, match="bad: the loss of the first step is no finite"):
        find_lr(broken, pictures, ROWS, IDS, SETTINGS, tmp_path, "bad")


def test_too_few_pictures_are_refused(pictures: Pictures, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size = 64, but bowl has only 40"):
        find_lr(
            *(Bowl(1.0), pictures, ROWS, IDS, replace(SETTINGS, batch_size=64)),
            *(tmp_path, "bowl"),
        )


def test_the_rate_of_sharpness_aware_steps_is_found_with_two_passes(
    pictures: Pictures, tmp_path: Path
) -> None:
    n_forwards = []

    class Counted(Bowl):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            n_forwards[-1] += 1
            return super().loss(batch)

    for rho in (0.0, 0.05):
        n_forwards.append(0)
        settings = replace(SETTINGS, sam_rho=rho)
        find_lr(Counted(1.0), pictures, ROWS, IDS, settings, tmp_path, "bowl")
    assert 2 * n_forwards[0] - 1 <= n_forwards[1] + 9  # it may give up some steps apart
    assert n_forwards[1] > 1.5 * n_forwards[0]

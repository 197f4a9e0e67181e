"""Tests of pretext.evaluation.collapse and pretext.engine.history."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pretext.engine.history import History, read_metrics
from pretext.evaluation.collapse import (
    best_before_plateau,
    effective_rank,
    has_collapsed,
)
from pretext.methods.siamese import spread

SEEDS = range(3)


def outputs(seed: int, n: int = 200, d: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_spread_is_1_on_a_full_sphere_and_0_in_a_point(seed: int) -> None:
    assert 0.97 < spread(torch.from_numpy(outputs(seed))) <= 1
    assert spread(torch.from_numpy(outputs(seed, n=1)).tile((50, 1))) < 1e-6
    assert spread(torch.zeros(50, 3)) == 0
    near = outputs(seed, n=1) + 1e-3 * outputs(seed + 10)
    assert spread(torch.from_numpy(near)) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_spread_by_its_definition(seed: int, dtype: torch.dtype) -> None:
    values = outputs(seed, n=40).astype(np.float64) + 0.5
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    expected = unit.std(axis=0).mean() * 30**0.5
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    lengths = np.random.default_rng(seed).uniform(1, 5, (40, 1))
    for scaled in (values, values * lengths):
        tensor = torch.from_numpy(scaled).to(dtype)
        assert_allclose(spread(tensor).item(), expected, rtol=rtol)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("shape", [(60, 8), (8, 60)])
def test_the_effective_rank_counts_directions(k: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(shape[0], k)))[0]
    right = np.linalg.qr(rng.normal(size=(shape[1], k)))[0]
    values = (7 * left @ right.T).astype(np.float32)
    assert_allclose(effective_rank(values), k, rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(50, 12), (12, 50)])
def test_the_effective_rank_by_its_definition(
    seed: int, shape: tuple[int, int]
) -> None:
    values = outputs(seed, *shape) @ np.diag(np.geomspace(1, 0.01, shape[1]))
    values = values.astype(np.float32)
    singular = np.linalg.svd(values.astype(np.float64), compute_uv=False)
    shares = singular / singular.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert_allclose(effective_rank(values), expected, rtol=1e-4)
    assert_allclose(effective_rank(1e4 * values), expected, rtol=1e-4)


def test_the_effective_rank_of_nothing() -> None:
    assert effective_rank(np.zeros((30, 4), np.float32)) == 0
    assert math.isnan(effective_rank(np.full((30, 4), np.nan, np.float32)))


START = {"health/spread": 0.8, "health/rank": 100.0}


@pytest.mark.parametrize(
    ("spread_now", "rank_now", "n", "verdict"),
    [
        (0.8, 100.0, 1000, False),
        (0.21, 26.0, 1000, False),
        (0.19, 100.0, 1000, True),
        (0.8, 24.0, 1000, True),
        (math.nan, 100.0, 1000, True),
        (0.0, 1.0, 20, True),
        (0.0, 1.0, 19, False),
    ],
)
def test_a_collapse_is_measured_by_the_first_weights(
    spread_now: float, rank_now: float, n: int, verdict: bool
) -> None:
    look = {"health/spread": spread_now, "health/rank": rank_now}
    assert has_collapsed(look, START, n) is verdict


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([], None),
        ([0.1, 0.2, 0.3], None),
        ([0.1, 0.2, 0.3, 0.4], None),
        ([0.4, 0.3, 0.3, 0.3], 5),
        ([0.4, 0.402, 0.402, 0.402], 5),  # less than what counts as a gain
        ([0.4, 0.403, 0.1, 0.1], None),
        ([0.1, 0.4, 0.3, 0.3, 0.3], 10),
        ([0.1, 0.4, 0.3, 0.3, 0.5], None),
        ([0.4, 0.3, 0.3, 0.3, 0.5, 0.3, 0.3], None),
    ],
)
def test_a_plateau_by_hand(figures: list[float], best: int | None) -> None:
    by_epoch = {5 * (k + 1): value for k, value in enumerate(figures)}
    assert best_before_plateau(by_epoch, patience=3) == best


def test_a_history_is_read_back_as_it_was(tmp_path: Path) -> None:
    history = History(tmp_path / "logs" / "health.csv")
    assert history.by_epoch == {}
    history.add(0, {"health/rank": 1 / 3})
    history.add(1, {"health/rank": np.float64(2 / 3), "probe/target": -1e-7})
    history.add(2, {"health/rank": math.nan, "probe/target": 0.1 + 0.2})
    again = History(history.path)
    assert list(again.by_epoch) == [0, 1, 2]
    assert again.by_epoch[0] == {"health/rank": 1 / 3}
    assert again.by_epoch[1] == {"health/rank": 2 / 3, "probe/target": -1e-7}
    assert again.of("probe/target") == {1: -1e-7, 2: 0.1 + 0.2}
    assert again.of("health/rank") == {0: 1 / 3, 1: 2 / 3}
    assert again.of("no such") == {}


def test_an_epoch_measured_again_replaces_its_row_and_drops_later_ones(
    tmp_path: Path,
) -> None:
    history = History(tmp_path / "health.csv")
    for epoch in (0, 1, 2, 5):
        history.add(epoch, {"x": float(epoch)})
    resumed = History(history.path)
    resumed.add(2, {"x": 22.0})
    assert History(history.path).by_epoch == {
        0: {"x": 0.0},
        1: {"x": 1.0},
        2: {"x": 22.0},
    }


def test_metrics_are_read_by_name_and_step(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    assert read_metrics(file) == {}
    file.write_text("step,name,value\n10,loss,0.5\n10,held_out,0.1\n20,loss,0.25\n")
    found = read_metrics(file)
    assert found == {"loss": {10: 0.5, 20: 0.25}, "held_out": {10: 0.1}}

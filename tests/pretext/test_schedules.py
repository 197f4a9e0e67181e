"""Tests of pretext.engine.schedules."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from pretext.engine.schedules import Plateau, Schedule

FALLING = ("cosine", "linear", "exponential", "constant", "one-cycle", "halving")


def rates(name: str, total: int, warmup: float = 0.0, **options: int) -> list[float]:
    schedule = Schedule(name=name, total=total, warmup=warmup, **options)
    return [schedule.at(step) for step in range(total + 1)]


@pytest.mark.parametrize("name", FALLING)
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_most_schedules_rise_then_never_rise_again(name: str, warmup: float) -> None:
    shares = rates(name, 40, warmup, steps_per_epoch=10)
    top = round(40 * warmup)
    assert all(a < b for a, b in pairwise(shares[:top]))
    assert shares[top] == max(shares) == 1
    assert all(a >= b for a, b in pairwise(shares[top:]))


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("linear", 0, 1.0),
        ("linear", 5, 0.5),
        ("linear", 10, 0.0),
        ("linear", 12, 0.0),
        ("exponential", 5, 0.0316227766),
        ("exponential", 10, 0.001),
        ("constant", 10, 1.0),
        ("plateau", 10, 1.0),
    ],
)
def test_schedules_by_hand(name: str, step: int, expected: float) -> None:
    schedule = Schedule(name=name, total=10, warmup=0.0)
    assert schedule.at(step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "total", "warmup", "expected"),
    [
        (0, 100, 0.1, 0.1),
        (9, 100, 0.1, 1.0),
        (10, 100, 0.1, 1.0),
        (55, 100, 0.1, 0.5),
        (100, 100, 0.1, 0.0),
        (99, 10, 0.4, 0.0),
        (0, 10, 0.0, 1.0),
        (5, 10, 0.0, 0.5),
        (0, 1, 0.9, 1.0),
        (1, 3, 0.0, 0.75),  # (1 + cos 60 degrees) / 2
    ],
)
def test_the_cosine_by_hand(
    step: int, total: int, warmup: float, expected: float
) -> None:
    schedule = Schedule(name="cosine", total=total, warmup=warmup)
    assert schedule.at(step) == pytest.approx(expected)


def test_the_rate_halves_with_each_epoch() -> None:
    by_epoch = rates("halving", 8, steps_per_epoch=2)[:-1]
    assert by_epoch == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_triangles_go_down_to_a_quarter() -> None:
    # the rise before the first peak is the warm-up
    shares = rates("cyclic", 6, cycles=2)
    assert shares == pytest.approx([1, 0.625, 0.25, 0.625, 1, 0.625, 0.25])
    shares = rates("cyclic", 4, 0.5, cycles=1)
    assert shares == pytest.approx([0.5, 1, 1, 0.625, 0.25])


def of_torch(make: type[LRScheduler], n: int, **options: object) -> list[float]:
    """Give the n rates of a scheduler of torch with a peak of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, **options)  # type: ignore[arg-type]
    seen = []
    for _ in range(n):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("cycles", [1, 3, 4])
def test_restarts_are_as_those_of_torch(cycles: int) -> None:
    expected = of_torch(CosineAnnealingWarmRestarts, 84, T_0=84 // cycles)
    assert rates("restarts", 84, cycles=cycles)[:-1] == pytest.approx(expected)
    # where the steps cannot be cut evenly, each restart comes at most a step late
    uneven = rates("restarts", 50, cycles=cycles)
    assert sum(b > a for a, b in pairwise(uneven)) == cycles - 1
    assert uneven[-1] == 0


def test_one_cycle_is_as_that_of_torch() -> None:
    # torch reaches the top, and its end, a step earlier
    options = {"max_lr": 1.0, "total_steps": 101, "final_div_factor": 1e12}
    expected = of_torch(OneCycleLR, 101, pct_start=31 / 101, **options)
    assert rates("one-cycle", 100, 0.3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_a_plateau_is_as_that_of_torch(patience: int) -> None:
    torch.manual_seed(patience)
    losses = torch.rand(25, 3) + torch.linspace(1, 0, 25)[:, None]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    expected = ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    plateau = Plateau(patience)
    for epoch in losses:
        for loss in epoch:
            plateau.add(loss)
            kept = plateau.state()  # a checkpoint at each step
            plateau = Plateau(patience)
            plateau.load(kept)
        plateau.end_epoch()
        expected.step(float(epoch.double().mean()))
        assert plateau.share == optimizer.param_groups[0]["lr"]
    assert plateau.share < 0.5


def test_a_plateau_knows_losses_below_zero() -> None:
    plateau = Plateau(0)
    shares = []
    for loss in (-0.5, -0.9, -0.9, -0.90001, -0.95):
        plateau.add(torch.tensor(loss))
        plateau.end_epoch()
        shares.append(plateau.share)
    assert shares == [1, 1, 0.5, 0.25, 0.25]

"""Tests of pretext.engine.optimizers."""

import io
import re
import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn

from data_prep.errors import UserError
from pretext.engine.optimizers import build_optimizer, rate_at
from pretext.names import REFUSED, TORCH_OPTIMIZERS, check_optimizer


def known() -> list[str]:
    from pytorch_optimizer import get_supported_optimizers

    return sorted({str(name) for name in get_supported_optimizers()} - REFUSED)


def groups_of(net: nn.Module) -> list[dict[str, object]]:
    parts = list(net.parameters())
    return [
        {"params": [p for p in parts if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in parts if p.ndim <= 1], "weight_decay": 0.0},
    ]


def test_every_optimizer_that_is_not_refused_steps_and_can_be_gone_on_with() -> None:
    names = [*TORCH_OPTIMIZERS, *known()]
    assert len(names) > 90
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 8, 8), torch.randint(0, 2, (8,))
    for name in names:
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)
        )
        before = [p.detach().clone() for p in net.parameters()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = build_optimizer(name, groups_of(net), 1e-2)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
            for _ in range(8):  # the first steps of radam move nothing
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        assert any(
            not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)
        ), name
        assert all(bool(p.isfinite().all()) for p in net.parameters()), name
        buffer = io.BytesIO()
        torch.save(optimizer.state_dict(), buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
        build_optimizer(name, groups_of(net), 1e-2).load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("radm", "did you mean 'radam'?"),
        ("AdamW", "did you mean 'adamw'?"),
        ("xxxxxxxx", "give adamw, sgd or a name of pytorch-optimizer, such as radam"),
        ("lbfgs", "no such optimiser"),
    ],
)
def test_an_unknown_optimizer_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_optimizer(name)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "exponential", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_every_schedule_rises_then_never_rises_again(
    schedule: str, warmup: float
) -> None:
    total = 40
    rates = [rate_at(schedule, step, total, warmup) for step in range(total + 1)]
    top = round(total * warmup)
    rising, falling = pairwise(rates[:top]), pairwise(rates[top:])
    assert all(a < b for a, b in rising)
    assert rates[top] == max(rates) == 1
    assert all(a >= b for a, b in falling)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("linear", 0, 1.0),
        ("linear", 5, 0.5),
        ("linear", 10, 0.0),
        ("linear", 12, 0.0),
        ("exponential", 5, 0.0316227766),
        ("exponential", 10, 0.001),
        ("constant", 10, 1.0),
    ],
)
def test_schedules_by_hand(schedule: str, step: int, expected: float) -> None:
    assert rate_at(schedule, step, 10, 0.0) == pytest.approx(expected)

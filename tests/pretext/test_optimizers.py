"""Tests of pretext.engine.optimizers."""

import io
import re
import warnings

import pytest
import torch
from torch import nn

from data_prep.errors import UserError
from pretext.engine.optimizers import build_optimizer
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

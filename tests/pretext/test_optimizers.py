"""Tests of pretext.engine.optimizers."""

import io
import re
import warnings

import pytest
import torch
from torch import nn

from data_prep.errors import UserError
from pretext.engine.optimizers import build_optimizer
from pretext.names import LOOKAHEAD, REFUSED, TORCH_OPTIMIZERS, check_optimizer


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
    wrapped = [f"{LOOKAHEAD}{name}" for name in ("adamw", "sgd", "radam", "adabelief")]
    names = [*TORCH_OPTIMIZERS, *known(), *wrapped]
    assert len(names) > 90
    assert {"adabelief", "radam", "adabound"} <= set(names)
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
        ("sam", "no such optimiser; SAM goes over any of them: give --sam-rho 0.05"),
        ("lookahead", "it wraps another one: give lookahead:adamw"),
        ("lookahead:", "it wraps another one: give lookahead:adamw"),
        ("lookahead:lookahead:sgd", "it wraps another one: give lookahead:adamw"),
        ("lookahead:radm", "no such optimiser; did you mean 'lookahead:radam'"),
        ("lookahead: adamw", "no such optimiser; did you mean 'lookahead:adamw'"),
        ("sam:adamw", "SAM goes over any of them: give --sam-rho 0.05"),
        ("lbfgs", "it asks for more than gradients and a rate, or cannot go on"),
        ("lookahead:bsam", "from a checkpoint; give another, such as lookahead:adamw"),
    ],
)
def test_an_unknown_optimizer_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_optimizer(name)


def test_lookahead_goes_halfway_back_after_five_steps() -> None:
    w = nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer("lookahead:adamw", [{"params": [w]}], 0.1)
    plain = nn.Parameter(torch.tensor([1.0]))
    fast = build_optimizer("adamw", [{"params": [plain]}], 0.1)
    ends = []
    for _ in range(6):
        for weight, rule in ((w, optimizer), (plain, fast)):
            rule.zero_grad()
            weight.sum().backward()
            rule.step()
        ends.append((w.item(), plain.item()))
    assert [a for a, _ in ends[:4]] == [b for _, b in ends[:4]]
    assert ends[4][0] == pytest.approx((1 + ends[4][1]) / 2)
    assert ends[5][0] < ends[4][0]


@pytest.mark.parametrize(
    "name", ["adabelief", "radam", "adabound", "lookahead:sgd", "lookahead:radam"]
)
def test_what_learns_goes_on_from_its_state_with_the_same_bytes(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = (x @ torch.randn(5, 1)).sign()

    def run(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.soft_margin_loss(net(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return loss.item()

    net = nn.Linear(5, 1)
    optimizer = build_optimizer(name, groups_of(net), 0.05)
    first = run(net, optimizer, 1)
    run(net, optimizer, 37)  # not a multiple of lookahead's five
    copy, buffer = nn.Linear(5, 1), io.BytesIO()
    copy.load_state_dict(net.state_dict())
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    again = build_optimizer(name, groups_of(copy), 0.05)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert run(net, optimizer, 40) < 0.85 * first
    run(copy, again, 40)
    assert torch.equal(net.weight, copy.weight)

"""Tests of pretext.engine.sharpness, and of how a training takes its second pass."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.data.pictures import Pictures
from pretext.engine import callbacks, training
from pretext.engine.learner import Batch, Learner, ParameterGroup
from pretext.engine.module import Module
from pretext.engine.sharpness import uphill
from pretext.engine.training import Outcome, train
from pretext.settings import TrainingSettings
from transfer.settings import FinetuneSettings

N, SIDE, RHO = 24, 6, 0.2
ROWS, IDS = np.arange(N), [f"p{row}" for row in range(N)]
SETTINGS = TrainingSettings(
    steps=4,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="constant",
    warmup=0.0,
    clip=0.5,
    precision="fp32",
    threads=1,
    sam_rho=RHO,
)


class CrashError(Exception):
    """Whatever stops a training."""


class Small(Learner):
    """A net that counts its forwards and notes what it was asked where."""

    def __init__(self, *, has_norm: bool = False, crash_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * SIDE * SIDE, 5),
            nn.BatchNorm1d(5) if has_norm else nn.Tanh(),
            nn.Dropout(0.3 * has_norm),
            nn.Linear(5, 2),
        )
        self.crash_at = crash_at
        self.seen: list[tuple[Batch, Tensor, Tensor]] = []
        self.losses: list[float] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if len(self.seen) == self.crash_at:
            raise CrashError
        scores = self.net(batch.images.float() / 255)
        weight = self.net[1].weight.detach().clone()
        self.seen.append((batch, weight, torch.rand(1)))
        loss = F.cross_entropy(scores, torch.from_numpy(batch.rows % 2))
        self.losses.append(loss.item())
        return {"loss": loss}


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Pictures:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8))


def run(learner: Learner, pictures: Pictures, folder: Path, **changed: Any) -> Outcome:
    settings = replace(SETTINGS, **changed)
    return train(learner, pictures, ROWS, IDS, settings, folder, label="tryout")


def test_the_gradient_is_that_at_the_higher_place_by_hand() -> None:
    # f = 2 x^2 + 3 y at (1, 5): the gradient (4, 3) is 5 long
    point = nn.Module()
    point.x, point.y = (nn.Parameter(torch.tensor(v)) for v in (1.0, 5.0))

    def backward() -> None:
        (2 * point.x**2 + 3 * point.y).backward()

    backward()
    with uphill(point, 0.5):
        assert point.x.item() == pytest.approx(1.4)
        assert point.y.item() == pytest.approx(5.3)
        assert point.x.grad is point.y.grad is None
        backward()
    assert (point.x.item(), point.y.item()) == (1.0, 5.0)
    assert point.x.grad is not None
    assert point.x.grad.item() == pytest.approx(5.6)


@pytest.mark.parametrize("fails", [False, True])
def test_weights_and_statistics_are_as_before(fails: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    net[2].bias.requires_grad_(False)
    x = torch.randn(6, 4)
    net(x).sum().backward()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def second_pass() -> None:
        with uphill(net, RHO):
            assert torch.equal(net[2].bias, before["2.bias"])  # it does not move
            moved = [(net[k].weight - before[f"{k}.weight"]).norm() for k in (0, 1, 2)]
            assert 0 < max(moved) <= RHO + 1e-6
            net(x + 1).sum().backward()
            if fails:
                raise CrashError

    if fails:
        with pytest.raises(CrashError):
            second_pass()
    else:
        second_pass()
    after = net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_gradient_of_zero_moves_nothing() -> None:
    net = nn.Linear(2, 1)
    (net(torch.zeros(1, 2)).sum() * 0).backward()
    before = net.weight.clone()
    with uphill(net, RHO):
        assert torch.equal(net.weight, before)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("optimizer", "clip"), [("sgd", 0.0), ("sgd", 0.1), ("adamw", 0.1)]
)
def test_a_training_makes_the_steps_of_pytorch_optimizers_sam(
    accumulate: int, optimizer: str, clip: float, pictures: Pictures, tmp_path: Path
) -> None:
    from pytorch_optimizer import SAM

    settings = replace(SETTINGS, optimizer=optimizer, weight_decay=0.0, clip=clip)
    ours = Small()
    parts = {"batch_size": 8 // accumulate, "accumulate": accumulate}
    run(ours, pictures, tmp_path, **(vars(settings) | parts))
    assert len(ours.seen) == 4 * accumulate * 2  # two passes a step
    theirs = Small()
    rule, options = torch.optim.AdamW, {"weight_decay": 0.0}
    if optimizer == "sgd":
        rule, options = torch.optim.SGD, {"momentum": 0.9}
    sam = SAM(theirs.parameters(), rule, rho=RHO, lr=0.05, **options)
    module = Module(theirs, pictures, ROWS, IDS, settings, tmp_path)
    for step in range(4):

        def closure(step: int = step) -> None:
            theirs.loss(module.batch_of(step))["loss"].backward()
            nn.utils.clip_grad_norm_(theirs.parameters(), clip or 1e9)

        theirs.loss(module.batch_of(step))["loss"].backward()
        sam.step(closure)
        sam.zero_grad()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, msg=name)


def test_both_passes_see_the_same_pictures_and_draws(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = Small(has_norm=True)
    outcome = run(learner, pictures, tmp_path, batch_size=4, accumulate=2, ema=0.9)
    assert outcome.last["loss"] == pytest.approx(np.mean(learner.losses[12:14]))
    # forwards 1 and 2 of a step, and both again
    for k in range(0, 16, 4):
        for first, second in (
            (learner.seen[k], learner.seen[k + 2]),
            (learner.seen[k + 1], learner.seen[k + 3]),
        ):
            assert (first[0].rows == second[0].rows).all()
            assert torch.equal(first[2], second[2])
            assert not torch.equal(first[1], second[1])
            assert (first[1] - second[1]).norm() <= RHO + 1e-6
    assert learner.net[2].num_batches_tracked == 8  # of the first passes


@pytest.mark.parametrize("crash_at", [6, 11])
def test_a_training_gone_on_with_ends_with_the_same_bytes(
    crash_at: int, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: dict[str, Any] = {
        "optimizer": "lookahead:adabelief",
        "ema": 0.9,
        "batch_size": 4,
        "accumulate": 2,
        "precision": "bf16",
        "steps": 7,
    }
    whole = Small(has_norm=True)
    run(whole, pictures, tmp_path / "whole", **changed)
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(CrashError):
        run(
            Small(has_norm=True, crash_at=crash_at), pictures, tmp_path / "p", **changed
        )
    parts = Small(has_norm=True)
    run(parts, pictures, tmp_path / "p", **changed)
    assert len(parts.seen) == 4 * (7 - crash_at // 4)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


class Thawing(Small):
    """One weight moves from the first epoch on, all else from the second."""

    def groups(self) -> list[ParameterGroup]:
        first, *late = self.net.parameters()
        return [
            ParameterGroup(name="first", parameters=[first]),
            ParameterGroup(name="late", parameters=late, from_epoch=1),
        ]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_frozen_is_no_part_of_the_way_uphill(
    accumulate: int, pictures: Pictures, tmp_path: Path
) -> None:
    learner = Thawing()
    late = [p.detach().clone() for p in learner.net.parameters()][1:]
    parts = {"batch_size": 8 // accumulate, "accumulate": accumulate}
    run(learner, pictures, tmp_path, **parts)
    passes = np.array_split(np.arange(len(learner.seen)), 4)  # of each step, both
    moved = [
        (learner.seen[of_step[-1]][1] - learner.seen[of_step[0]][1]).norm().item()
        for of_step in passes
    ]
    assert moved[:3] == pytest.approx([RHO] * 3, rel=1e-4)  # the epoch has three steps
    assert 0 < moved[3] < 0.99 * RHO
    after = [*learner.net.parameters()][1:]
    assert all(not torch.equal(p, q) for p, q in zip(late, after, strict=True))


def test_two_passes_are_planned_as_twice_the_work() -> None:
    for train_part in ("all", "head"):
        plain = FinetuneSettings(init="scratch", train=train_part)
        sharp = replace(plain, sam_rho=RHO)
        assert sharp.work_share(10) == 2 * plain.work_share(10)
        maps = replace(sharp, mix="snapmix", mix_share=0.6)  # a third forward in 0.6
        assert maps.work_share(10) == pytest.approx(sharp.work_share(10) + 0.4)

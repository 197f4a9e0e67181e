"""Tests of transfer.networks.heads, and of nets of several families with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task
from pretext.data.pictures import Normalisation
from pretext.networks.backbones import build_backbone, feature_width, save_weights
from tests.transfer.tiny_nets import TINY
from transfer.networks.heads import Head, SkipMlp
from transfer.networks.task_net import FORMAT, TaskNet, describe, load_net

NORMALISE = Normalisation((120.0, 110.0, 100.0), (60.0, 50.0, 40.0))
N = 12


def tasks() -> list[Task]:
    """Make a number and classes, with a label of each of N rows."""
    rng = np.random.default_rng(0)
    numbers, classes = rng.normal(5, 2, (N, 1)), rng.integers(3, size=(N, 1))
    has_label = np.ones(N, dtype=np.bool_)
    return [
        Task(
            name="level",
            task_type=TASK_TYPES["regression"](),
            values=numbers,
            has_label=has_label,
        ),
        Task(
            name="kind",
            task_type=TASK_TYPES["classes"](),
            values=classes.astype(np.float64),
            has_label=has_label,
            outputs=("a", "b", "c"),
            classes=("a", "b", "c"),
        ),
    ]


def pictures() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 3, 32, 32), generator=rng, dtype=torch.uint8)


def test_an_mlp_by_hand() -> None:
    torch.manual_seed(0)
    mlp, x = SkipMlp(4, 3, dropout=0.5).eval(), torch.randn(5, 4)
    assert torch.equal(mlp(x), x)  # it begins as if it were not there
    nn.init.normal_(mlp.out_of.weight)
    hidden = F.gelu(x @ mlp.into.weight.T + mlp.into.bias)
    assert_close(mlp(x), x + hidden @ mlp.out_of.weight.T)
    mlp.train()
    assert not torch.allclose(mlp(x), mlp(x))  # dropout


def test_a_head_with_an_mlp_begins_as_a_linear_one_and_learns_what_that_cannot() -> (
    None
):
    x = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    y = (x[:, :1] * x[:, 1:]).double()  # no line tells these apart
    losses = {}
    for n_hidden in (0, 16):
        torch.manual_seed(0)
        head = Head(TASK_TYPES["regression"](), 2, 1, n_hidden=n_hidden)
        if n_hidden == 0:
            first = head(x)
        else:
            assert_close(head(x), first)
        optimizer = torch.optim.Adam(head.parameters(), 0.03)
        for _ in range(200):
            optimizer.zero_grad()
            loss = F.mse_loss(head(x), y.float())
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        losses[n_hidden] = loss.item()
    assert losses[0] == pytest.approx(1, abs=0.01)
    assert losses[16] < 0.01


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("head_width", [0, 8])
def test_networks_of_many_families_learn_and_are_read_again(
    name: str, head_width: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    described = [describe(task) for task in tasks()]
    net = TaskNet(
        backbone=build_backbone(name, 32),
        tasks=described,
        normalise=NORMALISE,
        side_px=32,
        dropout=0.1,
        head_width=head_width,
    )
    assert net.head("kind").linear.in_features == feature_width(net.backbone)
    for task in tasks():
        net.head(task.name).start_at(task, np.arange(N))
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(2):  # in the second step the gradient goes through the MLP
        outputs = net(pictures())
        losses = [
            net.head(task.name)
            .row_losses(outputs[task.name], net.head(task.name).loss_target(task))
            .mean()
            for task in tasks()
        ]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        assert all(bool(loss.isfinite()) for loss in losses)
        optimizer.step()
    lost = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [n for n in lost if n.startswith("heads.")]
    assert len(lost) < len([*net.parameters()]) / 4
    config = {"format": FORMAT, "backbone": name, "side_px": 32, "tasks": described}
    config |= {"mean": NORMALISE.mean, "std": NORMALISE.std}
    config |= {"head_width": head_width} if head_width else {}
    path = tmp_path / "weights.safetensors"
    save_weights(path, net.state_dict(), config)
    read, _ = load_net(path)
    with torch.inference_mode():
        expected = net.eval().predict(pictures())
        assert_close(read.predict(pictures()), expected, rtol=0, atol=0)
    assert expected["kind"].shape == (N, 3)
    assert_close(expected["kind"].sum(1), torch.ones(N))

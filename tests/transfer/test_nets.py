"""Tests of transfer.networks.task_net."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.head_losses.cross_entropy import CrossEntropy
from data_prep.head_losses.distances import Cosine, Distance
from data_prep.task_types.date import Date
from data_prep.task_types.registry import TASK_TYPES
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from pretext.data.pictures import Normalisation
from pretext.networks.backbones import build_backbone, load_weights, save_weights
from transfer.networks.heads import Head
from transfer.networks.task_net import FORMAT, TaskNet, describe, load_net

SIDE = 32
NORMALISE = Normalisation((120.0, 110.0, 100.0), (60.0, 50.0, 40.0))
SEEDS = range(5)


def task(kind: str, values: NDArray[Any], n_classes: int = 0, name: str = "x") -> Task:
    """Make a task whose rows all have a label."""
    width = n_classes or values.shape[1]
    return Task(
        name=name,
        task_type=TASK_TYPES[kind](),
        values=values.astype(np.float32),
        has_label=np.ones(len(values), dtype=np.bool_),
        outputs=tuple(map(str, range(width))),
    )


def net_of(*tasks: Task, side_px: int = SIDE) -> TaskNet:
    """Build an untrained net in eval mode, begun at the labels of all rows."""
    torch.manual_seed(0)
    heads = [describe(item) for item in tasks]
    backbone = build_backbone("test_resnet", side_px)
    net = TaskNet(backbone, heads, NORMALISE, side_px, dropout=0.5)
    for item in tasks:
        net.head(item.name).start_at(item, np.arange(len(item.values)))
    return net.eval()


def pictures(n: int = 4, side: int = SIDE) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)


@pytest.mark.parametrize("seed", SEEDS)
def test_prediction_begins_at_the_mean_of_the_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal([1800, 3], [40, 0.1], (50, 2))
    net = net_of(task("words", values))
    nn.init.zeros_(net.head("x").linear.weight)
    predicted = net.predict(pictures())["x"]
    assert_close(predicted, torch.tensor(values.mean(axis=0)).float().expand(4, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_prediction_begins_at_the_shares_of_the_classes(seed: int) -> None:
    classes = np.random.default_rng(seed).integers(3, size=(1000, 1))
    net = net_of(task("classes", classes, n_classes=4))
    nn.init.zeros_(net.head("x").linear.weight)
    shares = np.bincount(classes[:, 0], minlength=4) / 1000
    predicted = net.predict(pictures())["x"][0].detach().numpy()
    np.testing.assert_allclose(predicted, shares, atol=0.002)
    assert predicted[3] > 0  # the class that no row has


def test_only_the_training_rows_set_the_unit() -> None:
    values = np.array([[1.0], [3.0], [1000.0]])
    head = Head(Regression(), 4, 1)
    head.start_at(task("regression", values), np.array([0, 1]))
    assert (head.centre.item(), head.scale.item()) == (2.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 1890.37, -3.3])
def test_labels_that_are_all_the_same_do_not_blow_up(value: float) -> None:
    head = Head(Date(), 4, 1)
    one_value = task("date", np.full((999, 1), value))
    head.start_at(one_value, np.arange(999))
    loss = head.row_losses(torch.zeros(999, 1), head.loss_target(one_value)).max()
    assert loss.item() < 1e-6


def test_outputs_are_in_the_unit_of_the_labels_and_probabilities_sum_to_one() -> None:
    numbers = np.random.default_rng(0).normal(1800, 40, (50, 1))
    classes = np.random.default_rng(0).integers(3, size=(50, 1))
    net = net_of(
        task("date", numbers, name="date"),
        task("classes", classes, n_classes=3, name="onehot"),
    )
    raw, outputs = net(pictures()), net.predict(pictures())
    head = net.head("date")
    assert_close(outputs["date"], raw["date"] * numbers.std() + numbers.mean())
    assert_close(head.scale.item(), numbers.std(), rtol=1e-5, atol=0)
    assert_close(outputs["onehot"].sum(dim=1), torch.ones(4))
    odds = raw["onehot"].exp()
    assert_close(outputs["onehot"], odds / odds.sum(dim=1, keepdim=True))


def test_a_head_is_linear_in_the_features_of_the_standardised_pictures() -> None:
    net = net_of(task("words", np.random.default_rng(0).normal(size=(9, 2))))
    images = pictures()
    mean = torch.tensor(NORMALISE.mean).view(1, 3, 1, 1)
    std = torch.tensor(NORMALISE.std).view(1, 3, 1, 1)
    features = net.backbone((images - mean) / std)
    linear = net.head("x").linear
    assert_close(net(images)["x"], features @ linear.weight.T + linear.bias)


def test_pictures_of_another_side_are_brought_to_that_of_the_training() -> None:
    net = net_of(task("words", np.random.default_rng(0).normal(size=(9, 2))))
    shades = torch.tensor([10, 90, 200], dtype=torch.uint8).view(1, 3, 1, 1)
    large, right = (
        shades.expand(1, 3, 2 * SIDE, 2 * SIDE),
        shades.expand(1, 3, SIDE, SIDE),
    )
    assert_close(net.predict(large)["x"], net.predict(right)["x"])
    vit = TaskNet(
        build_backbone("test_vit", 160),
        [describe(task("words", np.zeros((2, 2))))],
        NORMALISE,
        160,
    ).eval()
    assert vit.predict(pictures())["x"].shape == (4, 2)


@pytest.mark.parametrize("name", ["type", "keys", "forward", "loss", "items", "2d"])
def test_a_task_may_have_any_name(name: str) -> None:
    net = net_of(task("regression", np.ones((5, 1)), name=name))
    assert list(net.predict(pictures())) == [name]


def by_hand(loss: str) -> Callable[[NDArray[Any], NDArray[Any], float, float], float]:
    """Give the loss of one row, from its standardised outputs and labels."""

    def smooth(error: float) -> float:
        return 0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5

    def of_row(
        out: NDArray[Any], label: NDArray[Any], mean: float, std: float
    ) -> float:
        if loss == "cosine":
            y_pred = mean + std * out
            cosine = y_pred @ label / np.sqrt((y_pred @ y_pred) * (label @ label))
            return float(1 - cosine)
        errors = out - (label - mean) / std
        each: dict[str, Any] = {
            "mse": np.square,
            "mae": np.abs,
            "huber": np.vectorize(smooth),
        }
        return float(np.mean(each[loss](errors)))

    return of_row


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "cosine"])
def test_losses_of_numbers_by_hand(loss: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, labels = rng.normal(0, 2, (6, 3)), rng.normal(5, 3, (6, 3))
    state = {"centre": torch.tensor(5.0), "scale": torch.tensor(3.0)}
    head_loss = Cosine() if loss == "cosine" else Distance(loss)
    y_true = head_loss.target(torch.tensor(labels), state)
    ours = head_loss.row_losses(torch.tensor(outputs), y_true, state)
    theirs = [
        by_hand(loss)(*row, 5.0, 3.0) for row in zip(outputs, labels, strict=True)
    ]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=3e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_cross_entropy_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, classes = rng.normal(0, 2, (6, 3)), rng.integers(3, size=(6, 1))
    odds = np.exp(logits)
    shares = odds / odds.sum(axis=1, keepdims=True)
    expected = -np.log(np.take_along_axis(shares, classes, axis=1)[:, 0])
    head_loss = CrossEntropy()
    y_true = head_loss.target(torch.tensor(classes), {})
    ours = head_loss.row_losses(torch.tensor(logits), y_true, {})
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A net of two tasks on disk."""
    rng = np.random.default_rng(0)
    tasks = [
        task("regression", rng.normal(size=(9, 1)), name="target"),
        task("classes", rng.integers(3, size=(9, 1)), n_classes=3, name="onehot"),
    ]
    net = net_of(*tasks)
    about = {
        "format": FORMAT,
        "backbone": "test_resnet",
        "side_px": SIDE,
        "mean": NORMALISE.mean,
        "std": NORMALISE.std,
        "tasks": [describe(item) for item in tasks],
    }
    path = tmp_path / "weights.safetensors"
    save_weights(path, net.state_dict(), about)
    torch.save(net.predict(pictures()), tmp_path / "expected.pt")
    return path


def test_a_net_read_again_predicts_the_same(saved: Path) -> None:
    net, about = load_net(saved)
    expected = torch.load(saved.with_name("expected.pt"))
    assert_close(net.predict(pictures()), expected, rtol=0, atol=0)
    assert not net.training
    assert about["backbone"] == "test_resnet"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t: t.pop("heads.of_target.linear.bias"), "Missing key.*of_target"),
        (lambda t: t.pop("heads.of_onehot.scale"), "Missing key.*of_onehot.scale"),
        (lambda t: t.update(more=torch.zeros(2)), "Unexpected key.*more"),
        (
            lambda t: t.update({"heads.of_onehot.centre": torch.zeros(4)}),
            "size mismatch for heads.of_onehot.centre",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    saved: Path, change: Callable[[dict[str, Tensor]], Any], fault: str
) -> None:
    tensors, about = load_weights(saved)
    change(tensors)
    save_weights(saved, tensors, about)
    with pytest.raises(UserError, match=f"do not fit the JSON beside them.*{fault}"):
        load_net(saved)


def test_weights_of_another_kind_are_refused(saved: Path) -> None:
    note = saved.with_suffix(".json")
    about = json.loads(note.read_text())
    note.write_text(json.dumps(about | {"format": "tessera-backbone/1"}))
    with pytest.raises(
        UserError, match=r"not weights of transfer.finetune: .*backbone/1"
    ):
        load_net(saved)
    note.unlink()
    with pytest.raises(UserError, match="there are no such weights"):
        load_net(saved)

"""Tests of what a number is compared with in its batch: differences, and ranks."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.head_losses.base import BatchRows, Labels
from data_prep.head_losses.batch_terms import WithBatchTerms
from data_prep.head_losses.ranksim import rank_losses
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from pretext.engine.learner import Batch
from tests.transfer.test_head_losses import begun
from tests.transfer.tiny_learner import batch_of, learner_of
from transfer.jobs import check_devices_of
from transfer.settings import FinetuneSettings
from transfer.training.learner import weighted_mean

SEEDS = range(3)
N = 9
KINDS = [
    *(Regression(loss=name, pairwise=0.3) for name in ("mse", "huber", "bce")),
    Regression(loss="histogram", bins=20, pairwise=0.3),
    Regression(companion=True, pairwise=0.3),
]


def number(y: Any, task_type: Regression, **more: Any) -> Task:
    values = np.array(y, dtype=np.float64)[:, None]
    fifths = ("", "q1", "q2", "q3", "q4", "q5") if task_type.companion else ("",)
    return Task(
        name="x",
        task_type=task_type,
        values=values,
        has_label=np.ones(len(values), np.bool_),
        outputs=fifths,
        **more,
    )


def started(
    task: Task, seed: int
) -> tuple[WithBatchTerms, dict[str, Tensor], Tensor, Tensor]:
    """Give a loss with its state, outputs of a head, and targets."""
    loss = task.task_type.head_loss()
    assert isinstance(loss, WithBatchTerms)
    exact, target, first = begun(
        loss, Labels(values=task.values, has_label=task.has_label, outputs=task.outputs)
    )
    rng = torch.Generator().manual_seed(seed)
    outputs = first + torch.randn(first.shape, generator=rng)
    state = {name: value.float() for name, value in exact.items()}
    return loss, state, outputs.requires_grad_(), target


def mean_by(weight: Tensor, values: Tensor) -> Tensor:
    return ((values * weight).sum() / weight.sum()).detach()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.options())
def test_differences_are_those_of_all_pairs(kind: Regression, seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = number(rng.normal(1800, 40, N), kind)
    loss, state, outputs, target = started(task, seed)
    weight = torch.from_numpy(rng.uniform(0, 1, N)).float()
    weight[2] = 0  # masked
    rows = BatchRows(weight=weight, mean=partial(mean_by, weight))
    losses = loss.batch_losses(outputs, target, state, rows)
    assert losses is not None
    ours = (losses * weight).sum() / weight.sum()
    y_pred = loss.predict(outputs, state)[:, 0] / task.values.std()
    y_true = torch.from_numpy(task.values[:, 0] / task.values.std()).float()
    pairs = torch.zeros(())
    for i in range(N):
        for j in range(N):
            difference = (y_pred[i] - y_pred[j]) - (y_true[i] - y_true[j])
            pairs = pairs + weight[i] * weight[j] * difference**2
    expected = 0.3 * pairs / weight.sum() ** 2
    assert_close(ours, expected, rtol=1e-3, atol=1e-4)
    slopes = [
        torch.autograd.grad(value, outputs, retain_graph=True)[0]
        for value in (ours, expected)
    ]
    assert_close(slopes[0], slopes[1], rtol=1e-3, atol=1e-4)
    assert slopes[0].any()
    assert not slopes[0][2].any()
    alone = loss.number.row_losses(outputs, target[:, :-1], state)
    assert_close(loss.row_losses(outputs, target, state), alone)


def test_parts_of_a_batch_have_the_pairs_of_all() -> None:
    task = number(np.arange(8.0), Regression(pairwise=1.0))
    loss, state, outputs, target = started(task, 0)
    weight = torch.tensor([1.0, 1, 0, 1, 1, 0.5, 1, 0])
    errors = (outputs - target[:, -1:])[:, 0]
    values = []
    for parts in ([slice(0, 8)], [slice(0, 4), slice(4, 8)]):
        total = torch.zeros(())
        for part in parts:
            mean = mean_by(weight, errors)  # as mean_over_parts gives it to each
            rows = BatchRows(weight=weight[part], mean=lambda _, mean=mean: mean)
            losses = loss.batch_losses(outputs[part], target[part], state, rows)
            assert losses is not None
            total = total + (losses * weight[part]).sum()
        values.append((total, torch.autograd.grad(total, outputs)[0]))
    assert_close(values[0], values[1])


def test_a_mean_of_parts_weighs_by_what_each_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, weight = torch.arange(8.0), torch.tensor([1.0, 0, 1, 1, 0.5, 0, 0, 0])
    sums: list[list[Tensor]] = [[], []]
    parts = [slice(0, 4), slice(4, 8)]
    batch = batch_of(4)
    for k, part in enumerate(parts):
        monkeypatch.setattr(
            Batch, "mean_over_parts", lambda _, v, k=k: sums[k].append(v) or v
        )
        weighted_mean(batch, weight[part], values[part])
    means = iter([torch.stack(pair).mean() for pair in zip(*sums, strict=True)])
    monkeypatch.setattr(Batch, "mean_over_parts", lambda *_: next(means))
    ours = weighted_mean(batch, weight, values)
    assert_close(ours, (values * weight).sum() / weight.sum())
    monkeypatch.undo()
    assert weighted_mean(batch, 0 * weight, values).item() == 0


class PapersRanker(torch.autograd.Function):
    """The ranks of github.com/BorealisAI/ranksim-imbalanced-regression."""

    @staticmethod
    def forward(ctx: Any, sequence: Tensor, strength: float) -> Tensor:
        rank = PapersRanker.rank(sequence)
        ctx.strength = strength
        ctx.save_for_backward(sequence, rank)
        return rank

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        sequence, rank = ctx.saved_tensors
        stepped = PapersRanker.rank(sequence + ctx.strength * grad_output)
        return -(rank - stepped) / (ctx.strength + 1e-8), None

    @staticmethod
    def rank(seq: Tensor) -> Tensor:
        ranks = torch.argsort(torch.argsort(seq).flip(1))
        return (ranks + 1).float() / seq.size()[1]


def papers_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Sum over pictures, times the weight of 100, as in the paper's code."""
    unit = functional.normalize(features)
    cosines, loss = unit @ unit.T, torch.zeros(())
    for i in range(len(labels)):
        of_labels = PapersRanker.rank(-(labels[i] - labels).abs()[None])
        of_features = PapersRanker.apply(cosines[i][None], 2.0)
        loss = loss + functional.mse_loss(of_features, of_labels)
    return 100 * loss


@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_are_those_of_the_paper(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(N, 5, generator=rng).requires_grad_()
    labels = torch.randn(N, generator=rng)
    ours = rank_losses(features, labels, torch.ones(N, dtype=torch.bool)).sum()
    theirs = papers_loss(features, labels)
    assert_close(100 * ours, theirs)
    slopes = [torch.autograd.grad(loss, features)[0] for loss in (ours, theirs)]
    assert slopes[0].any()
    assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-6)


def test_features_in_the_order_of_the_labels_cost_nothing() -> None:
    labels = torch.tensor([0.0, 1, 2.3, 4, 4, 7.1])
    angles = labels / 10  # of a unit circle: near labels, near angles
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    is_labelled = torch.ones(6, dtype=torch.bool)
    assert_close(rank_losses(circle, labels, is_labelled), torch.zeros(6))
    assert (
        rank_losses(circle.flip(0)[[0, 2, 1, 3, 5, 4]], labels, is_labelled).sum() > 0.1
    )


def test_of_equal_labels_one_is_compared_and_of_masked_rows_none() -> None:
    labels = torch.tensor([0.0, 0, 0, 5, 1, 2, 9])
    is_labelled = torch.tensor([1, 1, 1, 0, 1, 1, 1]).bool()
    features = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    of_first = {}
    for first in (0, 1, 2):
        idx = torch.tensor([first, 4, 5, 6])
        alone = rank_losses(features[idx], labels[idx], torch.ones(4).bool())
        # the sum over 6 rows is their number times the mean
        of_first[first] = torch.zeros(7).index_put((idx,), alone * 6 / 4)
    chosen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        losses = rank_losses(features, labels, is_labelled)
        (first,) = (k for k, value in of_first.items() if value.allclose(losses))
        chosen.add(first)
    assert chosen == {0, 1, 2}
    for n in (0, 1):
        few = torch.arange(7) < n
        assert not rank_losses(features, labels, few).any()


def test_following_the_gradient_sorts_the_features() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(12, 3, generator=rng).requires_grad_()
    labels, is_labelled = torch.arange(12.0), torch.ones(12, dtype=torch.bool)
    optimizer = torch.optim.Adam([features], 0.05)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = rank_losses(features, labels, is_labelled).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert features.grad is not None
        assert torch.isfinite(features.grad).all()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.3 * values[0]


def test_a_step_adds_the_terms_to_the_rows() -> None:
    y = np.random.default_rng(0).normal(size=8)
    kinds = {
        "plain": Regression(),
        "pairs": Regression(pairwise=0.5),
        "ranks": Regression(ranksim=2.0),
        "all": Regression(pairwise=0.5, ranksim=2.0),
    }
    has_label = np.arange(8) != 3
    tasks = [
        replace(number(y, kind), name=name, has_label=has_label)
        for name, kind in kinds.items()
    ]
    learner, batch = learner_of(tasks), batch_of(8)
    for name in kinds:  # the same head for all
        learner.net.head(name).linear.load_state_dict(
            learner.net.head("plain").linear.state_dict()
        )
    loss = {name: value.item() for name, value in learner.loss(batch).items()}
    views = learner.views(batch)
    features = learner.net.features_of(views)
    outputs = learner.net.outputs_of(features)["plain"][:, 0]
    is_labelled = torch.from_numpy(has_label)
    target = learner.get_buffer("plain_y_true")[:, 0]
    errors = (outputs - target)[is_labelled]
    assert loss["plain"] == pytest.approx((errors**2).mean().item(), rel=1e-4)
    pairs = 0.5 * 2 * errors.var(correction=0).item()
    assert loss["pairs"] - loss["plain"] == pytest.approx(pairs, rel=1e-3)
    ranks = 2 * rank_losses(features, target, is_labelled).sum().item() / 7
    assert loss["ranks"] - loss["plain"] == pytest.approx(ranks, rel=1e-3)
    assert ranks > 0.01
    assert loss["all"] - loss["plain"] == pytest.approx(pairs + ranks, rel=1e-3)


def test_ranks_are_refused_where_devices_share_a_batch() -> None:
    tasks = [number(np.arange(9.0), Regression(ranksim=1.0))]
    check_devices_of(tasks, FinetuneSettings())
    with pytest.raises(UserError, match=r"\[tasks.x\] has ranksim, .* but 2 devices"):
        check_devices_of(tasks, FinetuneSettings(devices=2))
    tasks = [number(np.arange(9.0), Regression(pairwise=1.0))]
    check_devices_of(tasks, FinetuneSettings(devices=2))

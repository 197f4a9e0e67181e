"""Tests of mixed pictures: partners, pixels, draws, and what is learned of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.task_types.base import TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.regression import Regression
from data_prep.task_types.tags import Tags
from data_prep.task_types.words import Words
from data_prep.tasks import Task
from pretext.engine import callbacks
from pretext.engine.learner import Batch
from tests.power_cut import PowerCutError, fail_at
from tests.prepared_runs import finetune, make_run
from tests.transfer.tiny_learner import SIDE, batch_of, learner_of
from transfer.mix_settings import MixSettings
from transfer.training.learner import FinetuneLearner
from transfer.training.mix_masks import blots, box_areas, box_masks, random_boxes
from transfer.training.mixer import Mixer, standard_numbers
from transfer.training.mixing import (
    BANDWIDTH,
    mix_pictures,
    near_partners,
    next_in_turn,
)

SEEDS = range(4)
N, CPU = 12, torch.device("cpu")


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def shades(n: int = N, side: int = SIDE) -> Tensor:
    """Give pictures of which each pixel tells whose it is."""
    return torch.arange(float(n))[:, None, None, None].expand(n, 3, side, side)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [2, 3, 32])
def test_each_is_the_partner_of_one_other(seed: int, n: int) -> None:
    partner_idx = next_in_turn(rng_of(seed), n)
    assert sorted(partner_idx) == list(range(n))
    assert (partner_idx != np.arange(n)).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["mixup", "cmixup", "cutmix", "fmix"])
def test_the_share_is_that_of_the_pixels(method: str, seed: int) -> None:
    rng, views = rng_of(seed), shades()
    partner_idx = next_in_turn(rng, N)
    share = rng.beta(1, 1, N)
    share[:2] = [0, 1]  # the ends
    mixture = mix_pictures(rng, method, views, partner_idx, share=share)
    assert mixture.partner_idx.tolist() == partner_idx.tolist()
    expected = mixture.share * torch.arange(N) + (1 - mixture.share) * torch.tensor(
        partner_idx
    )
    assert_close(mixture.images.mean(dim=(1, 2, 3)), expected.float())
    assert_close(mixture.weight + mixture.partner_weight, torch.ones(N))
    assert_close(mixture.weight, mixture.share)
    if method in ("mixup", "cmixup"):
        assert_close(mixture.share, torch.from_numpy(share).float())
        return
    for k, image in enumerate(mixture.images):  # each pixel is of one of the two
        assert set(image.unique().tolist()) <= {float(k), float(partner_idx[k])}
    if method == "fmix":
        assert (mixture.share - torch.from_numpy(share)).abs().max() <= 0.5 / SIDE**2


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_are_as_large_as_drawn_unless_they_are_cut_off(seed: int) -> None:
    area, side = np.full(500, 0.25), 64
    boxes = random_boxes(rng_of(seed), area, side)
    assert (boxes >= 0).all()
    assert (boxes <= side).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.max() == 32
    is_whole = ((boxes > 0) & (boxes < side)).all(axis=1)
    assert is_whole.mean() > 0.15
    assert (sides[is_whole] == 32).all()
    masks = box_masks(boxes, side, CPU)
    np.testing.assert_allclose(masks.float().mean(dim=(1, 2)), box_areas(boxes, side))
    x0, y0, x1, y1 = boxes[0]
    assert masks[0, y0:y1, x0:x1].all()
    assert masks[0].sum() == (x1 - x0) * (y1 - y0)


def test_blots_are_of_one_piece_rather_than_dust() -> None:
    for side in (32, 33, 6):
        masks = blots(rng_of(0), np.full(40, 0.5), side, CPU)
        assert masks.shape == (40, side, side)
        assert abs(masks.float().mean().item() - 0.5) < 0.02
        changes = masks[:, 1:] != masks[:, :-1]
        assert changes.float().mean() < (0.12 if side > 6 else 0.3)  # of dust 0.5
    many = blots(rng_of(1), np.full(600, 0.5), 16, CPU).float().mean(dim=0)
    assert (many - 0.5).abs().max() < 0.12  # anywhere alike


def test_near_partners_by_hand() -> None:
    numbers = np.array([0.0, 0.3, 1.0, np.nan, 100.0])
    rng = rng_of(0)
    drawn = np.array([near_partners(rng, numbers) for _ in range(4000)])
    odds = np.exp(-(np.array([0.3, 1.0]) ** 2) / (2 * BANDWIDTH**2))
    expected = odds / odds.sum()
    for j, p in zip((1, 2), expected, strict=True):
        assert (drawn[:, 0] == j).mean() == pytest.approx(p, abs=0.03)
    assert (drawn[:, 4] == 2).all()  # the nearest, however far
    assert not (drawn[:, [0, 1, 2, 4]] == 3).any()  # it has no number
    shares = [(drawn[:, 3] == j).mean() for j in range(5)]
    assert shares == pytest.approx([0.25, 0.25, 0.25, 0, 0.25], abs=0.03)
    lone = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 2.0]])
    for pair in lone:
        assert near_partners(rng, pair).tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_bare", [0, 2, 9])
def test_near_labels_weigh_as_much_as_there_are(seed: int, n_bare: int) -> None:
    """Were labels partners of those that have none, they would weigh more."""
    rng = rng_of(seed)
    numbers = rng.normal(size=16)
    numbers[rng.choice(16, n_bare, replace=False)] = np.nan
    partner_idx, share = near_partners(rng, numbers), rng.random(16)
    has_label = ~np.isnan(numbers)
    total = (share * has_label + (1 - share) * has_label[partner_idx]).sum()
    assert total == pytest.approx(has_label.sum())
    assert (partner_idx != np.arange(16)).all()


def tasks_of(kinds: dict[str, TaskType], n: int = N) -> list[Task]:
    """Make a task of each kind; rows without a label differ from task to task."""
    rng = rng_of(7)
    tasks = []
    for k, (name, kind) in enumerate(kinds.items()):
        n_outputs = {"classes": 3, "words": 2, "tags": 2}.get(kind.name, 0)
        values = rng.normal(5, 2, (n, 2 if kind.name == "words" else 1))
        if kind.name == "classes":
            values = rng.integers(3, size=(n, 1)).astype(float)
        if kind.name == "tags":
            values = rng.integers(2, size=(n, 2)).astype(float)
        has_label = np.ones(n, np.bool_)
        has_label[[k, k + 3]] = False
        tasks.append(
            Task(
                name=name,
                task_type=kind,
                values=np.where(has_label[:, None], values, 0),
                has_label=has_label,
                outputs=tuple(map(str, range(n_outputs))) if n_outputs else ("",),
                classes=("a", "b", "c") if kind.name == "classes" else (),
            )
        )
    return tasks


KINDS: dict[str, TaskType] = {
    "number": Regression(),
    "bins": Regression(loss="histogram", bins=20, pairwise=0.4),
    "kind": Classes(loss="taylor", label_smoothing=0.1, class_weights=("balanced",)),
    "tags": Tags(),
    "words": Words(),
}


def mixing(
    tasks: list[Task], n_epochs: int = 10, **settings: Any
) -> tuple[FinetuneLearner, Mixer]:
    """Make a learner that mixes, whose views are the pictures."""
    learner = learner_of(tasks)
    mixer = Mixer(
        settings=MixSettings(**{"mix_share": 1.0} | settings),
        tasks=tasks,
        net=learner.net,
        train_idx=np.arange(N),
        n_epochs=n_epochs,
    )
    learner.mixer = mixer
    return learner, mixer


@pytest.mark.parametrize("method", ["mixup", "cutmix", "fmix", "cmixup"])
def test_a_mixture_is_learned_by_the_labels_that_there_are(method: str) -> None:
    learner, mixer = mixing(tasks := tasks_of(KINDS), mix=method, mix_alpha=1.0)
    factors = torch.from_numpy(rng_of(1).uniform(0, 1, N)).float()
    learner.sample_weight.copy_(factors)
    batch = batch_of(N)
    measured = learner.loss(batch)
    mixture = mixer.mix(batch, learner.views(batch))
    assert mixture is not None
    outputs = learner.net(mixture.images)
    pairs = list(enumerate(mixture.partner_idx.tolist()))
    for task in tasks:
        head = learner.net.head(task.name)
        target = learner.get_buffer(f"{task.name}_y_true")
        losses = [
            head.row_losses(outputs[task.name], target),
            head.row_losses(outputs[task.name], target[mixture.partner_idx]),
        ]
        total = torch.zeros(())
        for i, j in pairs:
            for label, share, loss in (
                (i, mixture.share[i], losses[0][i]),
                (j, 1 - mixture.share[i], losses[1][i]),
            ):
                if task.has_label[label]:
                    total = total + share * factors[label] * loss
        expected = total / task.has_label.sum()
        if task.name == "words":
            expected = 0 * expected
        if task.name == "bins":  # which has pairs as well
            assert measured[task.name] > expected
        else:
            assert_close(measured[task.name], expected, rtol=1e-4, atol=1e-5)
    slopes = torch.autograd.grad(
        measured["loss"], learner.net.head("words").linear.weight, allow_unused=True
    )
    assert slopes[0] is None or not slopes[0].any()


@pytest.mark.parametrize("kind", [Regression(), Regression(pairwise=1.0), Classes()])
def test_the_slope_is_that_of_a_mixed_label(kind: TaskType) -> None:
    """For squared errors, differences and cross-entropy the two are the same."""
    (task,) = tasks_of({"x": kind})
    task = replace(task, has_label=np.ones(N, np.bool_))
    learner, mixer = mixing([task], mix="mixup", mix_alpha=1.0)
    batch = batch_of(N)
    mixture = mixer.mix(batch, learner.views(batch))
    assert mixture is not None
    outputs = learner.net(mixture.images)["x"]
    target = learner.get_buffer("x_y_true")
    share = mixture.share[:, None]
    if kind.name == "classes":
        one_hot = torch.nn.functional.one_hot(target, 3).float()
        label = one_hot[mixture.partner_idx].lerp(one_hot, share)
        expected = -(label * outputs.log_softmax(dim=1)).sum(dim=1).mean()
    else:
        label = target[mixture.partner_idx].lerp(target, share)
        errors = outputs[:, 0] - label[:, 0]
        expected = (errors**2).mean()
        if kind.options():
            expected = expected + 2 * errors.var(correction=0)
    parameters = [*learner.net.parameters()]
    slopes = [
        torch.autograd.grad(loss, parameters)
        for loss in (learner.loss(batch)["loss"], expected)
    ]
    for ours, theirs in zip(*slopes, strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_columns_mix_as_the_pictures_do() -> None:
    _, mixer = mixing(tasks_of({"x": Regression()}), mix="cutmix")
    batch = batch_of(N)
    mixture = mixer.mix(batch, shades())
    assert mixture is not None
    blended = mixture.blend(torch.arange(float(N))[:, None])
    assert_close(blended[:, 0], mixture.images.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("method", ["mixup", "cutmix", "fmix", "cmixup"])
def test_a_mixture_follows_from_the_batch(method: str) -> None:
    tasks = tasks_of({"x": Regression()})
    first, second = (mixing(tasks, mix=method)[1] for _ in range(2))
    views = torch.rand(N, 3, SIDE, SIDE)

    def drawn(mixer: Mixer, change: Callable[..., Any] = lambda batch: batch) -> Tensor:
        mixture = mixer.mix(change(batch_of(N)), views)
        assert mixture is not None
        return mixture.images

    before = drawn(first)
    torch.manual_seed(5)  # what ran before means nothing
    assert torch.equal(before, drawn(second))
    assert torch.equal(before, drawn(first))
    others: list[Callable[..., Any]] = [
        lambda batch: replace(batch, epoch=1),
        lambda batch: replace(batch, seed=1),
        lambda batch: replace(batch, keys=batch.keys + np.uint64(1)),
    ]
    for change in others:
        assert not torch.equal(before, drawn(first, change))


def test_so_many_batches_are_mixed_and_none_at_the_end() -> None:
    tasks = tasks_of({"x": Regression()})
    _, mixer = mixing(tasks, n_epochs=400, mix="mixup", mix_share=0.3, mix_last_plain=9)
    is_mixed = [
        mixer.mix(batch_of(2, epoch=epoch), shades(2)) is not None
        for epoch in range(400)
    ]
    assert 0.22 < np.mean(is_mixed[:391]) < 0.38
    assert not any(is_mixed[391:])


def test_shares_are_of_the_beta_distribution() -> None:
    tasks = tasks_of({"x": Regression()}, n=4096)
    learner = learner_of(tasks[:1])
    for alpha in (0.2, 1.0, 5.0):
        mixer = Mixer(
            settings=MixSettings(mix="mixup", mix_share=1.0, mix_alpha=alpha),
            tasks=tasks,
            net=learner.net,
            train_idx=np.arange(4096),
            n_epochs=1,
        )
        mixture = mixer.mix(batch_of(4096), shades(4096, side=1))
        assert mixture is not None
        assert mixture.share.mean().item() == pytest.approx(0.5, abs=0.03)
        variance = 1 / (4 * (2 * alpha + 1))
        assert mixture.share.var().item() == pytest.approx(variance, rel=0.1)


def test_near_numbers_are_of_the_training_rows_alone() -> None:
    (task,) = tasks_of({"x": Regression()})
    train_idx = np.arange(2, N)
    numbers = standard_numbers(task, train_idx)
    y = task.values[train_idx, 0][task.has_label[train_idx]]
    assert np.isnan(numbers).tolist() == (~task.has_label | (np.arange(N) < 2)).tolist()
    assert numbers[5] == pytest.approx(task.values[5, 0] / y.std())
    far = replace(task, values=task.values + 1e9 * (np.arange(N) < 2)[:, None])
    np.testing.assert_array_equal(standard_numbers(far, train_idx), numbers)


def test_a_resumed_training_mixes_as_it_would_have(tmp_path: Path) -> None:
    mix = ("--mix=cmixup", "--mix-share=0.7", "--mix-last-plain=1")
    flags = ("--joint", "--folds=1", "--epochs=3", "--batch-size=4")

    def trained(name: str, *more: str) -> dict[str, Tensor]:
        folder = finetune(make_run(tmp_path / name), *flags, *more)
        return load_file(folder / "joint/fold1/weights.safetensors")

    whole, plain = trained("whole", *mix), trained("plain")
    run, mixtures, mix_batch = make_run(tmp_path / "resumed"), [], Mixer.mix

    def spy(mixer: Mixer, batch: Batch, views: Tensor) -> Any:
        mixtures.append((batch.epoch, mix_batch(mixer, batch, views)))
        return mixtures[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
        patch.setattr(Mixer, "mix", fail_at(6, mix_batch))
        with pytest.raises(PowerCutError):
            finetune(run, *flags, *mix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mixer, "mix", spy)
        resumed = load_file(
            finetune(run, *flags, *mix) / "joint/fold1/weights.safetensors"
        )
    assert whole.keys() == resumed.keys() == plain.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)
    assert {epoch for epoch, mixture in mixtures if mixture is None} >= {2}
    assert {epoch for epoch, mixture in mixtures if mixture} == {1}


@pytest.mark.parametrize(
    ("settings", "nets", "message"),
    [
        ({"mix": "mixup"}, {"a": ["words"]}, "word vectors are never mixed, and the n"),
        ({"mix": "mixup"}, {"a": ["words"], "b": ["number"]}, ""),
        ({"mix": "mixup"}, {"joint": ["words", "number"]}, ""),
        (
            {"mix": "mixup", "mix_share": 1.0},
            {"joint": ["words", "number"]},
            r"^\[tasks.words\]: words are learned of plain .* mix_share = 1 leaves",
        ),
        (
            {"mix": "mixup", "mix_share": 1.0, "mix_last_plain": 1},
            {"joint": ["words", "number"]},
            "",
        ),
        ({"mix": "cmixup"}, {"a": ["number"], "b": ["kind"]}, "net 'b' learns none; g"),
        ({"mix": "cmixup"}, {"joint": ["kind", "number"]}, ""),
        (
            {"mix": "snapmix"},
            {"joint": ["kind", "number"]},
            "'joint' learns classes, r",
        ),
        ({"mix": "snapmix"}, {"a": ["kind"], "b": ["words"]}, ""),
        ({"mix": "none"}, {"a": ["words"]}, ""),
    ],
)
def test_nets_that_cannot_learn_of_mixtures_are_refused(
    settings: dict[str, Any], nets: dict[str, list[str]], message: str
) -> None:
    of_name = {task.name: task for task in tasks_of(KINDS)}
    planned = [(net, [of_name[name] for name in names]) for net, names in nets.items()]
    if not message:
        MixSettings(**settings).check_mix(planned)
        return
    with pytest.raises(UserError, match=message):
        MixSettings(**settings).check_mix(planned)

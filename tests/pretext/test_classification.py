"""Tests of pretext.methods.classification and pretext.methods.order_head."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close

from pretext.data.keyed_rng import keys_of, uniforms
from pretext.data.pictures import Pictures
from pretext.engine.learner import Batch
from pretext.engine.training import train
from pretext.methods.classification import (
    ClassificationLearner,
    JigsawLearner,
    cross_entropy,
    squared_error,
)
from pretext.methods.order_head import OrderHead
from pretext.methods.permutations import spread_orders
from pretext.methods.puzzles import PuzzleRules, make_puzzles
from pretext.networks.backbones import build_backbone
from pretext.settings import TrainingSettings

RULES = PuzzleRules(
    grid=2, tile_px=8, gap=0, min_area=1, ratio=1, grey=0, channel_shift=0
)
IDS = [str(number) for number in range(200)]
KEYS = keys_of(IDS)
ORDERS = spread_orders(6, n_tiles=4, seed=0)
each_form = pytest.mark.parametrize("orders", [None, ORDERS], ids=["places", "orders"])


class Halves(nn.Module):
    """Gives the mean of each tile's left and upper half: enough for these pictures."""

    def __init__(self, n_tiles: int) -> None:
        super().__init__()
        self.num_features = n_tiles * 2 * 3

    def forward(self, puzzles: Tensor) -> Tensor:
        tiles = puzzles.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, 3, G, G, 8, 8)
        left, upper = (
            tiles[..., :4].mean(dim=(4, 5)),
            tiles[..., :4, :].mean(dim=(4, 5)),
        )
        return torch.cat([left, upper], dim=1).flatten(1)


def marked_pictures(n: int = 200) -> Pictures:
    """Pictures that mirrored are the same, and whose four cells differ: ramps."""
    right = np.tile(np.linspace(0, 120, 8), (8, 1))
    left, down = right[:, ::-1], right.T
    cells = np.block([[right, left], [right + down, left + down]]).astype(np.uint8)
    return Pictures(np.tile(cells[None, ..., None], (n, 1, 1, 3)))


def noise(n: int = 16, side: int = 32) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def jigsaw(
    backbone: nn.Module,
    pictures: Pictures,
    n_held_out: int = 0,
    rules: PuzzleRules = RULES,
    **options: Any,
) -> JigsawLearner:
    torch.manual_seed(0)
    return JigsawLearner(
        backbone,
        rules,
        pictures=pictures,
        val_idx=np.arange(n_held_out),
        val_keys=KEYS[:n_held_out],
        seed=0,
        **options,
    )


def batch_of(pictures: Pictures, rows: Any, epoch: int = 0, scale: float = 1) -> Batch:
    rows = np.asarray(rows)
    return Batch(
        images=pictures.take(rows),
        rows=rows,
        keys=KEYS[rows],
        seed=0,
        epoch=epoch,
        scale=scale,
    )


@each_form
def test_puzzles_that_can_be_solved_are_learnt(
    orders: NDArray[np.int64] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pretext.engine.training.pick_device", lambda: torch.device("cpu")
    )
    pictures = marked_pictures()
    backbone = Halves(4 if orders is None else 1)
    learner = jigsaw(backbone, pictures, n_held_out=40, orders=orders)
    settings = TrainingSettings(
        epochs=12,
        batch_size=40,
        learning_rate=0.1 if orders is None else 0.01,
        precision="fp32",
        threads=1,
    )
    rows = np.arange(40, 200)
    outcome = train(learner, pictures, rows, IDS[40:], settings, tmp_path, label="x")
    assert outcome.last["held_out"] > 0.9  # chance is 1/4, and 1/6
    assert outcome.last["accuracy"] > 0.9


@each_form
def test_noise_is_not_learnt(
    orders: NDArray[np.int64] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # puzzles of pure noise cannot be solved; a leak of the answer would show
    monkeypatch.setattr(
        "pretext.engine.training.pick_device", lambda: torch.device("cpu")
    )
    pictures = noise(200)
    learner = jigsaw(
        build_backbone("test_resnet", 16),
        pictures,
        n_held_out=150,
        orders=orders,
        rules=replace(RULES, gap=0.3),
    )
    settings = TrainingSettings(epochs=8, batch_size=25, precision="fp32", threads=1)
    rows = np.arange(150, 200)
    outcome = train(learner, pictures, rows, IDS[150:], settings, tmp_path, label="x")
    chance, n_answers = (1 / 4, 600) if orders is None else (1 / 6, 150)
    error = (chance * (1 - chance) / n_answers) ** 0.5
    assert abs(outcome.last["held_out"] - chance) < 3.5 * error


@pytest.mark.parametrize("grid", [2, 3])
def test_an_answer_is_a_tile_for_each_place(grid: int) -> None:
    pictures = noise(side=24)
    rules = replace(RULES, grid=grid, tile_px=24 // grid)
    backbone = build_backbone("test_resnet", 24)
    learner = jigsaw(backbone, pictures, rules=rules)
    logits, labels = learner.infer(batch_of(pictures, range(5)))
    assert logits.shape == (5, grid**2, grid**2)
    assert labels.shape == (5, grid**2)
    assert learner.after_epoch(1) == {}


@pytest.mark.parametrize(("grid", "n_orders"), [(2, 24), (3, 10)])
def test_or_one_of_the_orders(grid: int, n_orders: int) -> None:
    pictures = noise(side=24)
    rules = replace(RULES, grid=grid, tile_px=24 // grid)
    orders = spread_orders(n_orders, grid**2, 0)
    backbone = build_backbone("test_resnet", 24 // grid)
    learner = jigsaw(backbone, pictures, rules=rules, orders=orders)
    logits, labels = learner.infer(batch_of(pictures, range(5)))
    assert logits.shape == (5, 1, n_orders)
    assert labels.shape == (5, 1)


class Oracle(JigsawLearner):
    """Scores that are right, or right but for one place."""

    labels: Tensor
    wrong = 0

    def forward(self, inputs: Tensor) -> Tensor:
        del inputs
        logits = nn.functional.one_hot(self.labels, 4).float() * 20
        logits[:, : self.wrong] = logits[:, : self.wrong].roll(1, dims=2)
        return logits


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_accuracy_and_loss_by_hand(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = noise()
    learner = Oracle(
        Halves(4),
        RULES,
        pictures=pictures,
        val_idx=np.arange(10),
        val_keys=KEYS[:10],
        seed=0,
    )
    learner.wrong = wrong

    def watched(*args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        puzzles, learner.labels = make_puzzles(*args, **options)
        return puzzles, learner.labels

    monkeypatch.setattr("pretext.methods.classification.make_puzzles", watched)
    measured = learner.loss(batch_of(pictures, range(8)))
    assert measured["accuracy"].item() == 1 - wrong / 4
    # a right row costs log(1 + 3 exp(-20)), about 0; a wrong one 20
    assert measured["loss"].item() == pytest.approx(20 * wrong / 4, abs=1e-4)
    assert learner.after_epoch(1) == {"held_out": 1 - wrong / 4}


def test_the_criteria_by_hand() -> None:
    # one picture, two questions of two labels
    logits = torch.tensor([[[0.0, np.log(3.0)], [1.0, 1.0]]])
    labels = torch.tensor([[1, 0]])
    expected = (np.log(4 / 3) + np.log(2)) / 2
    assert cross_entropy(logits, labels).item() == pytest.approx(expected)
    error = (0 + (np.log(3) - 1) ** 2 + 0 + 1) / 4
    assert squared_error(logits, labels).item() == pytest.approx(error)


def test_a_learner_is_trained_by_its_criterion() -> None:
    pictures = noise()
    learner = jigsaw(
        build_backbone("test_resnet", 16), pictures, criterion=squared_error
    ).eval()
    batch = batch_of(pictures, range(16))
    assert_close(learner.loss(batch)["loss"], squared_error(*learner.infer(batch)))


@each_form
def test_held_out_pictures_get_the_same_puzzles_after_every_epoch(
    orders: NDArray[np.int64] | None,
) -> None:
    pictures = noise(150)
    backbone = build_backbone("test_resnet", 16)
    learner = jigsaw(backbone, pictures, n_held_out=150, orders=orders)
    learner.eval()
    with torch.inference_mode():
        assert learner.after_epoch(1) == learner.after_epoch(2)


def test_training_puzzles_change_with_the_epoch() -> None:
    pictures = noise()
    learner = jigsaw(build_backbone("test_resnet", 16), pictures).eval()
    losses = [
        learner.loss(batch_of(pictures, range(16), epoch))["loss"]
        for epoch in (0, 0, 1)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@each_form
def test_later_views_are_larger_by_the_scale_of_the_batch(
    orders: NDArray[np.int64] | None,
) -> None:
    pictures = noise()
    backbone = build_backbone("test_resnet", 16)
    learner = jigsaw(backbone, pictures, n_held_out=4, orders=orders).eval()
    sides: list[torch.Size] = []
    backbone.register_forward_pre_hook(lambda _, given: sides.append(given[0].shape))
    learner.loss(batch_of(pictures, range(16), scale=1))
    learner.loss(batch_of(pictures, range(16), scale=1.5))
    learner.after_epoch(1)
    n, usual, larger = (16, 16, 24) if orders is None else (64, 8, 12)
    held_out = n // 4
    assert [tuple(side) for side in sides] == [
        (n, 3, usual, usual),
        (n, 3, larger, larger),
        (held_out, 3, usual, usual),
    ]


def test_pictures_that_fill_less_of_their_square_are_cut_within_it() -> None:
    pictures = Pictures(np.full((16, 32, 32, 3), 255, dtype=np.uint8))
    pictures.pixels[8:, :, 8:24] = 0  # the second half is narrow
    fill_frac = np.ones((16, 2), dtype=np.float32)
    fill_frac[8:, 0] = 0.45
    learner = jigsaw(Halves(4), pictures, fill_frac=fill_frac)
    seen: list[Tensor] = []
    learner.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    learner.infer(batch_of(pictures, [9, 1, 11]))
    assert seen[0].abs().max() == 0  # neither shows the border of black and white


def toy(
    pictures: Pictures, notes: list[Any], n_held_out: int = 0
) -> ClassificationLearner:
    """A task of one's own: is the picture bright, and is its row odd?"""

    def make_examples(
        images: Tensor,
        u: NDArray[np.float32],
        rows: NDArray[np.int64],
        scale: float,
    ) -> tuple[Tensor, Tensor]:
        notes.append((u, rows, scale, torch.is_autocast_enabled("cpu")))
        bright = images.float().mean(dim=(1, 2, 3)) > 127
        labels = torch.stack([bright.long(), torch.from_numpy(rows) % 2], dim=1)
        return images.float() / 255, labels

    torch.manual_seed(0)
    return ClassificationLearner(
        build_backbone("test_resnet", 32),
        nn.Linear(build_backbone("test_resnet", 32).num_features, 4),  # type: ignore[arg-type]
        make_examples,
        n_random=3,
        purpose="toy",
        pictures=pictures,
        val_idx=np.arange(n_held_out),
        val_keys=KEYS[:n_held_out],
        seed=5,
    )


def test_a_task_is_told_its_draws_rows_and_scale() -> None:
    pictures = noise()
    notes: list[Any] = []
    learner = toy(pictures, notes, n_held_out=2)
    with torch.autocast("cpu", torch.bfloat16):
        logits, labels = learner.infer(batch_of(pictures, [3, 5], epoch=4, scale=1.25))
    assert logits.shape == (2, 2, 2)
    assert logits.dtype == torch.float32
    assert labels[:, 1].tolist() == [1, 1]
    u, rows, scale, is_autocast = notes[0]
    expected = uniforms(KEYS[[3, 5]], 3, seed=0, epoch=4, purpose="toy")
    assert (u == expected).all()
    assert rows.tolist() == [3, 5]
    assert scale == 1.25
    assert not is_autocast  # examples are exact in a bfloat16 training
    learner.eval().after_epoch(1)
    u, rows, scale, _ = notes[1]
    expected = uniforms(KEYS[:2], 3, seed=5, epoch=-1, purpose="toy")
    assert (u == expected).all()
    assert rows.tolist() == [0, 1]
    assert scale == 1


def test_all_held_out_pictures_are_asked_once() -> None:
    pictures = noise(150)
    notes: list[Any] = []
    learner = toy(pictures, notes, n_held_out=150).eval()
    measured = learner.after_epoch(1)
    assert np.concatenate([note[1] for note in notes]).tolist() == list(range(150))
    right = 0
    for row in range(150):
        logits, labels = learner.infer(
            Batch(
                images=pictures.take(np.array([row])),
                rows=np.array([row]),
                keys=KEYS[[row]],
                seed=5,
                epoch=-1,
            )
        )
        right += int((logits.argmax(dim=2) == labels).sum())
    assert measured["held_out"] == pytest.approx(right / 300, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_batch_normalisation_does_not_tell_the_order_of_the_tiles(seed: int) -> None:
    # exchanged tiles have exchanged features: the batch knows no first and last
    backbone = build_backbone("test_resnet", 16).train()
    rng = torch.Generator().manual_seed(seed)
    tiles = torch.randn(6, 4, 3, 16, 16, generator=rng)
    order = torch.randperm(4, generator=rng)
    features = backbone(tiles.flatten(0, 1)).view(6, 4, -1)
    other = tiles.clone()
    other[2] = tiles[2, order]
    again = backbone(other.flatten(0, 1)).view(6, 4, -1)
    assert_close(again[2], features[2, order], atol=1e-3, rtol=1e-3)
    others = [0, 1, 3, 4, 5]
    assert_close(again[others], features[others], atol=1e-3, rtol=1e-3)


def test_the_head_of_orders_keeps_pictures_apart_and_places_in_order() -> None:
    torch.manual_seed(0)
    head = OrderHead(8, n_tiles=4, n_orders=6)
    tiles = torch.randn(3, 4, 8)
    logits = head(tiles.flatten(0, 1))
    assert logits.shape == (3, 6)
    for picture in range(3):
        assert_close(head(tiles[picture])[0], logits[picture])
    assert not torch.allclose(head(tiles[0].flip(0)), logits[:1], atol=1e-3)
    assert not [part for part in head.modules() if "Norm" in type(part).__name__]


def test_no_rate_of_a_jigsaw_is_constant() -> None:
    (group,) = jigsaw(Halves(4), marked_pictures(4)).groups()
    assert group.is_scheduled

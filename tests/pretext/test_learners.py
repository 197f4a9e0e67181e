"""Tests of pretext.learners."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pretext.backbones import build_backbone
from pretext.draws import keys_of
from pretext.learners import JigsawLearner, SimSiamLearner
from pretext.pictures import Normalisation, Pictures
from pretext.puzzles import PuzzleRules, make_puzzles
from pretext.settings import TrainingSettings
from pretext.training import Batch, train
from pretext.views import Strength

RULES = PuzzleRules(
    grid=2, tile_px=8, gap=0, min_area=1, ratio=1, grey=0, channel_shift=0
)
NORMALISE = Normalisation((128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
KEYS = keys_of([str(number) for number in range(200)])


class Places(nn.Module):
    """Gives the mean of each tile's left and upper half: enough for these pictures."""

    num_features = 8 * 3

    def forward(self, puzzles: Tensor) -> Tensor:
        tiles = puzzles.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, 3, 2, 2, 8, 8)
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


def jigsaw(
    backbone: nn.Module, pictures: Pictures, n_held_out: int = 0
) -> JigsawLearner:
    torch.manual_seed(0)
    held_out = np.arange(n_held_out)
    return JigsawLearner(backbone, RULES, pictures, held_out, KEYS[:n_held_out], 0)


def batch_of(pictures: Pictures, rows: Any, epoch: int = 0) -> Batch:
    rows = np.asarray(rows)
    return Batch(pictures.take(rows), rows, KEYS[rows], 0, epoch)


def simsiam(backbone: nn.Module | None = None, **options: Any) -> SimSiamLearner:
    torch.manual_seed(0)
    chosen = {"side_px": 32, "strength": Strength(min_area=0.5), "width": 32}
    network = backbone or build_backbone("test_resnet", 32)
    return SimSiamLearner(network, NORMALISE, **(chosen | options))  # type: ignore[arg-type]


def noise(n: int = 16, side: int = 32) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_puzzles_that_can_be_solved_are_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pretext.training.pick_device", lambda: torch.device("cpu"))
    pictures = marked_pictures()
    learner = jigsaw(Places(), pictures, n_held_out=40)
    settings = TrainingSettings(
        epochs=12, batch_size=40, learning_rate=0.1, precision="fp32", threads=1
    )
    rows = np.arange(40, 200)
    outcome = train(learner, pictures, rows, KEYS[rows], settings, tmp_path, label="x")
    assert outcome.last["held_out"] > 0.9  # chance is 0.25
    assert outcome.last["accuracy"] > 0.9


@pytest.mark.parametrize("grid", [2, 3])
def test_an_answer_is_a_tile_for_each_place(grid: int) -> None:
    pictures = noise(side=24)
    rules = replace(RULES, grid=grid, tile_px=24 // grid)
    backbone = build_backbone("test_resnet", 24)
    learner = JigsawLearner(backbone, rules, pictures, np.arange(0), KEYS[:0], 0)
    assert learner(torch.zeros(5, 3, 24, 24)).shape == (5, grid**2, grid**2)
    assert learner.after_epoch(1) == {}


class Oracle(JigsawLearner):
    """Scores that are right, or right but for one place."""

    answers: Tensor
    wrong = 0

    def forward(self, puzzles: Tensor) -> Tensor:
        del puzzles
        scores = nn.functional.one_hot(self.answers, 4).float() * 20
        scores[:, : self.wrong] = scores[:, : self.wrong].roll(1, dims=2)
        return scores


@pytest.mark.parametrize("wrong", [0, 1, 4])
def test_accuracy_and_loss_by_hand(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = noise()
    learner = Oracle(Places(), RULES, pictures, np.arange(10), KEYS[:10], 0)
    learner.wrong = wrong

    def watched(*given: Any) -> tuple[Tensor, Tensor]:
        puzzles, learner.answers = make_puzzles(*given)
        return puzzles, learner.answers

    monkeypatch.setattr("pretext.learners.make_puzzles", watched)
    measured = learner.loss(batch_of(pictures, range(8)))
    assert measured["accuracy"].item() == 1 - wrong / 4
    # a right row costs log(1 + 3 exp(-20)), about 0; a wrong one 20
    assert measured["loss"].item() == pytest.approx(20 * wrong / 4, abs=1e-4)
    assert learner.after_epoch(1) == {"held_out": 1 - wrong / 4}


def test_held_out_pictures_get_the_same_puzzles_after_every_epoch() -> None:
    pictures = noise(150)
    learner = jigsaw(build_backbone("test_resnet", 16), pictures, n_held_out=150)
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


class Fixed(nn.Module):
    """Stands for the projector: what it gives is known beforehand."""

    def __init__(self, *outputs: Tensor) -> None:
        super().__init__()
        self.outputs = list(outputs)

    def forward(self, features: Tensor) -> Tensor:
        del features
        return self.outputs.pop(0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [8, 64])
def test_spread_is_1_on_the_whole_sphere_and_0_at_a_point(
    seed: int, width: int
) -> None:
    pictures = noise(2000, side=2)
    rng = torch.Generator().manual_seed(seed)
    sphere = torch.randn(2000, width, generator=rng)
    point = torch.randn(width, generator=rng)
    # a hundredth of the sphere's spread: nearly collapsed
    near = point + 0.01 * point.norm() / width**0.5 * sphere
    for outputs, expected in (
        (sphere, 1.0),
        (sphere * 1000, 1.0),
        (point.expand(2000, width), 0.0),
        (near, 0.01),
    ):
        learner = simsiam_of(Fixed(outputs, outputs), width)
        measured = learner.loss(batch_of(pictures, np.arange(2000) % 200))
        assert measured["spread"].item() == pytest.approx(
            expected, abs=0.002 + expected / 50
        )


def simsiam_of(projector: nn.Module, width: int) -> SimSiamLearner:
    backbone = build_backbone("test_resnet", 32)
    backbone.forward = lambda images: images.flatten(1)
    learner = simsiam(backbone, side_px=2, width=width)
    learner.projector = projector
    return learner


def test_loss_is_the_symmetric_negative_cosine() -> None:
    rng = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(16, 32, generator=rng) for _ in range(2))
    learner = simsiam_of(Fixed(z1, z2), 32)
    loss = learner.loss(batch_of(noise(side=2), range(16)))["loss"]
    torch.manual_seed(0)
    again = simsiam_of(Fixed(), 32)
    p1, p2 = again.predictor(z1), again.predictor(z2)

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        both = (a * b).sum(dim=1) / torch.linalg.norm(a, dim=1)
        mean: Tensor = (both / torch.linalg.norm(b, dim=1)).mean()
        return mean

    assert_close(loss, -0.5 * (cosine(p1, z2) + cosine(p2, z1)))


def test_the_target_gets_no_gradient() -> None:
    rng = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(16, 32, generator=rng, requires_grad=True) for _ in range(2))
    learner = simsiam_of(Fixed(z1, z2), 32)

    def constant(outputs: Tensor) -> Tensor:
        return outputs.detach() + 1.0  # so that nothing flows back by way of prediction

    learner.predictor = Fixed(constant(z1), z2 * 2)
    learner.loss(batch_of(noise(side=2), range(16)))["loss"].backward()  # type: ignore[no-untyped-call]
    assert z1.grad is None  # it was a target only
    assert z2.grad is not None  # it was predicted from


def test_only_the_predictor_keeps_its_rate() -> None:
    learner = simsiam()
    constant = {id(p) for p in learner.constant_rate()}
    names = {n for n, p in learner.named_parameters() if id(p) in constant}
    assert names == {n for n, _ in learner.named_parameters() if n[:10] == "predictor."}
    assert names
    pictures = marked_pictures(4)
    assert jigsaw(Places(), pictures).constant_rate() == []


def test_the_two_views_differ_and_follow_seed_epoch_and_picture() -> None:
    pictures = noise()
    seen: list[Tensor] = []
    learner = simsiam()
    learner.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for epoch in (0, 0, 1):
        learner.loss(batch_of(pictures, range(16), epoch))
    first, second, first_again, _, first_next, _ = seen
    assert first.shape == (16, 3, 32, 32)
    assert torch.equal(first, first_again)
    for other in (second, first_next):
        assert (first - other).abs().amax(dim=(1, 2, 3)).min() > 0.1

"""Tests of pretext.methods.siamese."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.engine import callbacks, training
from pretext.engine.learner import Batch
from pretext.engine.training import train
from pretext.methods.siamese import SimSiamLearner, make_views, spread
from pretext.networks.backbones import build_backbone
from pretext.simsiam import SimSiamSettings
from tests.drilled import in_drills
from tests.pretext.collapsing import DRILL, WithoutStop, blots, without_last_norm

NORMALISE = Normalisation((128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
IDS = [str(number) for number in range(200)]
KEYS = keys_of(IDS)
VIEWS = AugmentParams(min_area=0.5, d4=False)


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))


def batch_of(
    pictures: Pictures, rows: Any, epoch: int = 0, scale: float = 1.0
) -> Batch:
    rows = np.asarray(rows)
    return Batch(
        images=pictures.take(rows),
        rows=rows,
        keys=KEYS[rows],
        seed=0,
        epoch=epoch,
        scale=scale,
    )


def simsiam(backbone: nn.Module | None = None, **options: Any) -> SimSiamLearner:
    torch.manual_seed(0)
    chosen = {"side_px": 32, "params": VIEWS, "width": 32}
    network = backbone or build_backbone("test_resnet", 32)
    return SimSiamLearner(network, NORMALISE, **(chosen | options))  # type: ignore[arg-type]


def noise(n: int = 16, side: int = 32) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


class Fixed(nn.Module):
    """Stands for the projector: what it gives is known beforehand."""

    def __init__(self, *outputs: Tensor) -> None:
        super().__init__()
        self.outputs = list(outputs)

    def forward(self, features: Tensor) -> Tensor:
        del features
        return self.outputs.pop(0)


def simsiam_of(projector: nn.Module, width: int) -> SimSiamLearner:
    backbone = build_backbone("test_resnet", 32)
    backbone.forward = lambda images: images.flatten(1)
    learner = simsiam(backbone, side_px=2, width=width)
    learner.projector = projector
    return learner


def test_views_keep_to_what_each_picture_fills() -> None:
    pixels = np.full((16, 32, 32, 3), 255, np.uint8)
    pixels[:, 12:20] = 10
    fill = np.ones((16, 2), np.float32)
    fill[8:, 1] = 0.25  # the others are taken for whole
    learner = simsiam(
        params=AugmentParams(min_area=0.03, max_area=0.05, d4=False), fill_frac=fill
    )
    seen: list[Tensor] = []

    def look(views: Tensor) -> Tensor:
        seen.append(views)
        return torch.zeros(len(views), 96)

    learner.backbone.forward = look
    learner.loss(batch_of(Pictures(pixels), [15, 3, 9, 8, 2, 12, 1, 0]))
    (first, second), is_padded = seen, torch.tensor([1, 0, 1, 1, 0, 1, 0, 0]).bool()
    for views in (first, second):
        dark = (
            views.flatten(1).median(dim=1).values
            < NORMALISE(torch.full((1, 3, 1, 1), 100.0)).max()
        )
        assert dark[is_padded].all()
        assert not dark[~is_padded].all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [8, 64])
def test_spread_is_1_on_the_whole_sphere_and_0_at_a_point(
    seed: int, width: int
) -> None:
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
        value = spread(outputs).item()
        assert value == pytest.approx(expected, abs=0.002 + expected / 50)
        unit = outputs.double().numpy()
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        by_hand = unit.std(axis=0).mean() * width**0.5
        assert value == pytest.approx(by_hand, abs=1e-4)


def test_the_spread_told_is_that_of_the_projected_views() -> None:
    rng = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(16, 8, generator=rng) for _ in range(2))
    learner = simsiam_of(Fixed(z1, z2), 8)
    measured = learner.loss(batch_of(noise(side=2), range(16)))
    assert_close(measured["spread"], spread(z1))


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
    encoder, predictor = learner.groups()
    assert (encoder.is_scheduled, predictor.is_scheduled) == (True, False)
    constant = {id(p) for p in predictor.parameters}
    names = {n for n, p in learner.named_parameters() if id(p) in constant}
    assert names == {n for n, _ in learner.named_parameters() if n[:10] == "predictor."}
    assert names
    assert len(encoder.parameters) + len(names) == len([*learner.parameters()])


def seen_by(learner: SimSiamLearner, *batches: Batch) -> list[Tensor]:
    seen: list[Tensor] = []
    hook = learner.backbone.register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    )
    for batch in batches:
        learner.loss(batch)
    hook.remove()
    return seen


def test_the_two_views_differ_and_follow_seed_epoch_and_picture() -> None:
    pictures = noise()
    batches = (batch_of(pictures, range(16), epoch) for epoch in (0, 0, 1))
    first, second, first_again, _, first_next, _ = seen_by(simsiam(), *batches)
    assert first.shape == (16, 3, 32, 32)
    assert torch.equal(first, first_again)
    for other in (second, first_next):
        assert (first - other).abs().amax(dim=(1, 2, 3)).min() > 0.1
    part = batch_of(pictures, [3, 5])
    assert_close(seen_by(simsiam(), part)[0], first[[3, 5]], atol=1e-4, rtol=0)
    reseeded = replace(part, seed=1)
    assert (seen_by(simsiam(), reseeded)[0] - first[[3, 5]]).abs().max() > 0.1


def test_each_view_has_batch_statistics_of_its_own() -> None:
    views = seen_by(simsiam(), batch_of(noise(), range(16)))
    assert [len(view) for view in views] == [16, 16]


@pytest.mark.parametrize(("scale", "side"), [(1.0, 32), (1.25, 40), (2.0, 64)])
def test_later_views_are_larger_by_the_scale_of_the_batch(
    scale: float, side: int
) -> None:
    views = seen_by(simsiam(), batch_of(noise(), range(16), scale=scale))
    assert {view.shape for view in views} == {(16, 3, side, side)}


def test_views_for_a_net_are_standardised_and_channels_last() -> None:
    batch = batch_of(noise(64), range(64))
    views = make_views(batch, "first", 24, VIEWS, Normalisation((100,) * 3, (50,) * 3))
    assert views.is_contiguous(memory_format=torch.channels_last)
    grey_levels = make_views(
        batch, "first", 24, VIEWS, Normalisation((0,) * 3, (1,) * 3)
    )
    assert_close(views, (grey_levels - 100) / 50)


@pytest.mark.parametrize("seed", [0, in_drills(1)])
def test_without_stop_gradient_the_outputs_collapse_and_with_it_they_do_not(
    seed: int, tmp_path: Path
) -> None:
    pictures, rows = blots(160), np.arange(160)
    settings = replace(DRILL, seed=seed)
    ends = []
    for kind in (SimSiamLearner, WithoutStop):
        torch.manual_seed(seed)
        backbone = build_backbone("test_resnet", 32)
        learner = kind(
            backbone,
            NORMALISE,
            side_px=32,
            params=settings.augment_params(0.3),
            width=256,
        )
        folder = tmp_path / kind.__name__
        outcome = train(
            *(without_last_norm(learner), pictures, rows, IDS[:160], settings, folder),
            label="drill",
        )
        assert outcome.steps == 40
        ends.append(outcome.last["spread"])
    assert ends[0] > 0.6
    assert ends[1] < 0.2


class CrashError(Exception):
    """Whatever stops a training."""


class Crashing(SimSiamLearner):
    """Stops after some losses."""

    left = 10**6

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if self.left == 0:
            raise CrashError
        self.left -= 1
        return super().loss(batch)


@pytest.mark.parametrize("crashes", [[3, 2], in_drills([7])])
def test_a_training_gone_on_with_ends_with_the_same_weights(
    crashes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SimSiamSettings(
        epochs=2,
        batch_size=8,
        learning_rate=1.0,
        final_scale=1.25,
        colour="strong",
        precision="fp32",
        threads=1,
    )
    pictures, rows = noise(32), np.arange(32)

    def run(folder: Path, left: int = 10**6) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = build_backbone("test_resnet", 32)
        learner = Crashing(
            network,
            NORMALISE,
            side_px=32,
            params=settings.augment_params(0.3),
            width=32,
        )
        learner.left = left
        train(learner, pictures, rows, IDS[:32], settings, folder, label="tryout")
        return learner.state_dict()

    straight = run(tmp_path / "straight")
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    for left in crashes:
        with pytest.raises(CrashError):
            run(tmp_path / "crashed", left)
    again = run(tmp_path / "crashed", 8 - sum(crashes))
    assert all(torch.equal(again[name], straight[name]) for name in straight)

"""Tests of pretext.methods.distillation."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from data_prep.errors import UserError
from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.dino import DinoSettings
from pretext.engine import callbacks, training
from pretext.engine.learner import Batch
from pretext.engine.training import train
from pretext.methods import crops as multi_crop
from pretext.methods import distillation
from pretext.methods.crops import Crops
from pretext.methods.distillation import DinoLearner
from pretext.methods.siamese import spread
from pretext.networks.backbones import build_backbone

NORMALISE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
IDS = [str(number) for number in range(200)]
KEYS = keys_of(IDS)
WIDE = AugmentParams(min_area=0.4, ratio=1, d4=False)
NARROW = AugmentParams(min_area=0.05, max_area=0.4, ratio=1, d4=False)
K = 12


@pytest.fixture(autouse=True)
def _small_and_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(distillation, "WIDTH", 24)
    monkeypatch.setattr(distillation, "BOTTLENECK", 8)


def noise(n: int = 16, side: int = 32) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


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


def crops_of(side_px: int, n_local: int) -> Crops:
    return Crops(
        side_px=side_px, global_params=WIDE, local_params=NARROW, n_local=n_local
    )


def test_views_keep_to_what_each_picture_fills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    make = multi_crop.make_views

    def spy(**options: Any) -> Tensor:
        sent.append(options["fill_frac"])
        return make(**options)

    monkeypatch.setattr(multi_crop, "make_views", spy)
    learner = dino()
    learner.fill_frac = np.full((16, 2), 0.5, np.float32)
    learner.loss(batch_of(noise(), range(8)))
    assert len(sent) == 5
    assert all(fill is learner.fill_frac for fill in sent)


def dino(n_local: int = 3, decay: float = 0.9, outputs: int = K) -> DinoLearner:
    torch.manual_seed(0)
    crops = crops_of(28, n_local)
    network = build_backbone("test_resnet", 32)
    return DinoLearner(
        network, NORMALISE, crops, n_classes=outputs, decay=decay, warm_epochs=4
    )


class Fixed(nn.Module):
    """Stands for a net or a head: what it gives is known, what it is given is kept."""

    def __init__(self, *outputs: Tensor) -> None:
        super().__init__()
        self.outputs, self.given = list(outputs), list[Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images)
        return self.outputs.pop(0) if self.outputs else images


def fixed(taught: Tensor, *said: Tensor) -> DinoLearner:
    """Give a learner whose scores are known: of the teacher, and of the student."""
    learner = dino(len(said[1]) // 16 if len(said) > 1 else 0)
    learner.backbone, learner.student = Fixed(), Fixed()
    learner.head = Fixed(taught)
    last_layer = learner.student_head.get_submodule("last_layer")
    learner.student_head = Fixed(*said)
    learner.student_head.add_module("last_layer", last_layer)
    return learner


def scores(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, K, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_local", [0, 3])
@pytest.mark.parametrize(
    ("scale", "side", "local_side"), [(1.0, 28, 12), (1.5, 42, 18)]
)
def test_the_teacher_sees_two_views_and_the_student_the_local_ones_too(
    n_local: int, scale: float, side: int, local_side: int
) -> None:
    learner = dino(n_local)
    seen: dict[str, list[Tensor]] = {"backbone": [], "student": []}
    for name, views in seen.items():
        learner.get_submodule(name).register_forward_pre_hook(
            lambda _, given, views=views: views.append(given[0])
        )
    learner.loss(batch_of(noise(), range(16), scale=scale))
    (taught,) = seen["backbone"]
    assert taught.shape == (32, 3, side, side)
    assert torch.equal(taught, seen["student"][0])
    local = [view.shape for view in seen["student"][1:]]
    assert local == [(16 * n_local, 3, local_side, local_side)] * (n_local > 0)
    second, third = torch.split(taught, 16)
    assert (second - third).abs().amax(dim=(1, 2, 3)).min() > 0.1
    for joined in seen["student"][1:]:
        first, *others = torch.split(joined, 16)
        for other in others:
            assert (first - other).abs().amax(dim=(1, 2, 3)).min() > 0.1


def test_local_views_show_less_of_the_picture_than_global_ones() -> None:
    ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None, None], (200, 1, 32, 3))
    plain = {"brightness": 0, "contrast": 0, "saturation": 0}
    learner = dino()
    views = AugmentParams(min_area=0.4, ratio=1, d4=False, **plain)  # type: ignore[arg-type]
    learner.crops = Crops(
        side_px=28,
        global_params=views,
        local_params=replace(views, min_area=0.05, max_area=0.4),
        n_local=2,
    )
    wide, narrow = learner.views(batch_of(Pictures(ramp), range(200)))
    shares = [
        (views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))) / 31
        for views in (wide, torch.cat(narrow))
    ]
    assert shares[0].min() > 0.4**0.5 - 0.05
    assert shares[0].max() > 0.95
    assert shares[1].max() < 0.4**0.5 + 0.05
    assert shares[1].min() < 0.05**0.5 + 0.1


def test_views_follow_seed_epoch_and_picture() -> None:
    learner, pictures = dino(), noise()
    wide, narrow = learner.views(batch_of(pictures, range(16)))
    again, _ = learner.views(batch_of(pictures, range(16)))
    later, _ = learner.views(batch_of(pictures, range(16), epoch=1))
    assert torch.equal(wide, again)
    assert not torch.equal(wide, later)
    alone, alone_narrow = learner.views(batch_of(pictures, [5]))
    assert_close(alone, wide[[5, 21]], atol=1e-3, rtol=0)
    assert_close(alone_narrow[2], narrow[2][[5]], atol=1e-3, rtol=0)


@pytest.mark.parametrize("epoch", [0, 2, 9])
@pytest.mark.parametrize("n_local", [0, 3])
def test_loss_is_the_cross_entropy_of_all_pairs_of_different_views(
    epoch: int, n_local: int
) -> None:
    taught, wide, narrow = scores(32), scores(32, 1), scores(16 * n_local, 2)
    learner = fixed(taught, wide, *([narrow] if n_local else []))
    centre = scores(1, 3)
    learner.criterion.center.copy_(centre)
    measured = learner.loss(batch_of(noise(), range(16), epoch))
    temperature = {0: 0.04, 2: 0.055, 9: 0.07}[epoch]
    losses = []
    for i, teacher in enumerate(torch.split(taught, 16)):
        wanted = F.softmax((teacher - centre) / temperature, dim=1)
        for j, student in enumerate(torch.split(torch.cat([wide, narrow]), 16)):
            if i != j:
                losses.append(F.cross_entropy(student / 0.1, wanted))
    assert len(losses) == 2 * (2 + n_local) - 2
    assert_close(measured["loss"], torch.stack(losses).mean())
    # the centre follows the mean of what the teacher says
    assert_close(
        learner.criterion.center[0], 0.9 * centre + 0.1 * taught.mean(0, keepdim=True)
    )


def test_the_figures_tell_a_collapse() -> None:
    one = torch.zeros(32, K)
    one[:, 0] = 100
    even = 100 * torch.eye(K).repeat(4, 1)[:32]
    for taught, entropy, expected in (
        (one, 0.0, 0.0),  # one class has all
        (torch.full((32, K), 7.0), 1.0, 0.0),  # every picture is a bit of each
        (even, 0.99, 0.96),
        (scores(32), None, None),
    ):
        measured = fixed(taught, scores(32)).loss(batch_of(noise(), range(16), 9))
        assert measured["spread"].item() == pytest.approx(spread(taught).item())
        mean = F.softmax(taught / 0.07, dim=1).mean(0)
        by_hand = -(mean * mean.clamp(min=1e-30).log()).sum() / math.log(K)
        assert measured["entropy"].item() == pytest.approx(by_hand.item(), abs=1e-5)
        if entropy is not None:
            assert measured["entropy"].item() == pytest.approx(entropy, abs=0.02)
            assert measured["spread"].item() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.04), (1, 0.0475), (3, 0.0625), (4, 0.07), (99, 0.07)]
)
def test_the_temperature_by_hand(epoch: int, expected: float) -> None:
    assert dino().temperature(epoch) == pytest.approx(expected)


def test_without_a_warm_up_the_temperature_is_high_after_the_first_epoch() -> None:
    network, crops = build_backbone("test_resnet", 32), crops_of(28, 0)
    learner = DinoLearner(
        network, NORMALISE, crops, n_classes=K, decay=0.9, warm_epochs=0
    )
    assert [learner.temperature(epoch) for epoch in (1, 2)] == [0.07, 0.07]


def test_the_teacher_begins_as_the_student_and_is_not_trained() -> None:
    learner = dino()
    pairs = [(learner.backbone, learner.student), (learner.head, learner.student_head)]
    for teacher, student in pairs:
        expected = student.state_dict()
        for name, tensor in teacher.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
        assert not any(p.requires_grad for p in teacher.parameters())
        named = dict(student.named_parameters())
        # the lengths of the last layer's rows are 1
        assert {name for name, p in named.items() if not p.requires_grad} <= {
            "last_layer.weight_g"
        }
    learner.loss(batch_of(noise(), range(16), epoch=1))["loss"].backward()  # type: ignore[no-untyped-call]
    for teacher, student in pairs:
        assert all(p.grad is None for p in teacher.parameters())
        for name, p in student.named_parameters():
            if name != "last_layer.weight_g":
                assert p.grad is not None, name


def test_the_last_layer_is_frozen_in_the_first_epoch() -> None:
    learner = dino()
    frozen = learner.student_head.get_parameter("last_layer.weight_v")
    assert frozen.requires_grad  # or no optimiser would ever have it
    for epoch, has_gradient in ((0, False), (1, True), (0, False), (7, True)):
        learner.zero_grad()
        learner.loss(batch_of(noise(), range(16), epoch))["loss"].backward()  # type: ignore[no-untyped-call]
        assert (frozen.grad is not None) == has_gradient


@pytest.mark.parametrize(
    ("done", "kept"), [(0.0, 0.9), (1 / 3, 0.925), (0.5, 0.95), (1.0, 1.0)]
)
def test_the_teacher_follows_ever_more_slowly(done: float, kept: float) -> None:
    learner = dino(decay=0.9)
    pairs = [(learner.backbone, learner.student), (learner.head, learner.student_head)]
    with torch.no_grad():
        for parameter in [*learner.student.parameters(), *pairs[1][1].parameters()]:
            parameter.add_(1)
    before = [
        [p.clone() for p in [*teacher.parameters()]] + [*teacher.buffers()]
        for teacher, _ in pairs
    ]
    learner.after_step(done)
    for (teacher, student), was in zip(pairs, before, strict=True):
        ours, theirs = [*teacher.parameters()], [*student.parameters()]
        for now, then, followed in zip(ours, was, theirs, strict=False):
            assert_close(now.data, kept * then + (1 - kept) * followed)
        for buffer, then in zip(teacher.buffers(), was[len(ours) :], strict=True):
            assert torch.equal(buffer, then)


def test_the_teacher_has_batch_statistics_of_its_own() -> None:
    learner = dino()
    name = next(n for n, _ in learner.backbone.named_buffers() if "running_mean" in n)
    before = learner.backbone.get_buffer(name).clone()
    learner.loss(batch_of(noise(), range(16)))
    assert not torch.equal(learner.backbone.get_buffer(name), before)
    # the student saw the local views after the same global ones
    student = learner.student.get_buffer(name)
    assert not torch.equal(student, learner.backbone.get_buffer(name))


def test_the_scores_are_a_linear_map_of_what_the_health_looks_at() -> None:
    learner = dino().eval()
    features = torch.randn(16, 96)
    shown = learner.project(features)
    assert shown.shape == (16, 8)
    weight = F.normalize(learner.head.get_parameter("last_layer.weight_v"), dim=1)
    expected = F.normalize(shown, dim=1) @ weight.T
    assert_close(learner.head(features), expected)


def test_scores_are_float32_in_a_bfloat16_training() -> None:
    learner, batch = dino(), batch_of(noise(), range(16))
    learner.eval()
    with torch.autocast("cpu", torch.bfloat16):
        measured = learner.loss(batch)
        assert learner.project(torch.randn(4, 96).bfloat16()).shape == (4, 8)
    assert measured["loss"].dtype == torch.float32
    learner.criterion.center.zero_()  # it has moved
    assert_close(measured["loss"], learner.loss(batch)["loss"], atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("name", "n_local", "message"),
    [
        ("test_vit", 2, r"takes no views of 41 px beside those of 96 px \(.*\); give"),
        ("test_convnext", 2, ""),
        ("test_resnet", 2, ""),
        ("test_vit", 0, ""),
    ],
)
def test_a_network_of_one_size_takes_no_local_views(
    name: str, n_local: int, message: str
) -> None:
    network = build_backbone(name, 96)
    crops = crops_of(96, n_local)
    if not message:
        before = {name: t.clone() for name, t in network.state_dict().items()}
        crops.check(network)
        assert network.training
        assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
        return
    with pytest.raises(UserError, match=message) as refusal:
        crops.check(network)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("local_crops = 2: this backbone")


class CrashError(Exception):
    """Whatever stops a training."""


class Crashing(DinoLearner):
    """Stops after some losses."""

    left = 10**6

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if self.left == 0:
            raise CrashError
        self.left -= 1
        return super().loss(batch)


@pytest.mark.parametrize(
    ("change", "crashes"),
    [({}, [2, 4]), ({"ema": 0.9, "colour": "strong"}, [7])],
    ids=str,
)
def test_a_training_gone_on_with_ends_with_the_same_weights(
    change: dict[str, Any],
    crashes: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = DinoSettings(
        epochs=3,
        batch_size=8,
        learning_rate=0.1,
        final_scale=1.25,
        precision="fp32",
        threads=1,
        **change,
    )
    pictures, rows = noise(24), np.arange(24)

    def run(folder: Path, left: int = 10**6) -> dict[str, Tensor]:
        torch.manual_seed(0)
        crops = Crops(
            side_px=28,
            global_params=settings.augment_params(0.4),
            local_params=settings.augment_params(0.05, 0.4),
            n_local=2,
        )
        network = build_backbone("test_resnet", 32)
        learner = Crashing(
            network, NORMALISE, crops, n_classes=K, decay=0.9, warm_epochs=2
        )
        learner.left = left
        train(learner, pictures, rows, IDS[:24], settings, folder, label="tryout")
        return learner.state_dict()

    straight = run(tmp_path / "straight")
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    for left in crashes:
        with pytest.raises(CrashError):
            run(tmp_path / "crashed", left)
    again = run(tmp_path / "crashed", 9 - sum(crashes))
    assert all(torch.equal(again[name], straight[name]) for name in straight)
    assert not torch.equal(
        straight["student.conv1.0.weight"], straight["backbone.conv1.0.weight"]
    )

"""Tests of snapmix: maps of classes, boxes in boxes, and how the labels are weighed."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.task_types.classes import Classes
from pretext.networks.backbones import build_backbone
from tests.transfer.test_mixing import N, mixing, rng_of, shades, tasks_of
from tests.transfer.tiny_learner import SIDE, batch_of
from tests.transfer.tiny_nets import TINY
from transfer.networks.class_maps import check_maps, class_maps
from transfer.training.mix_masks import box_areas, move_boxes, random_boxes
from transfer.training.mixing import next_in_turn
from transfer.training.snapmix import proportions_of, snap


def test_the_mean_of_a_map_is_the_logit() -> None:
    learner, _ = mixing(tasks_of({"kind": Classes()}), mix="snapmix")
    views, class_idx = batch_of(N).images.float(), np.arange(N) % 3
    maps = class_maps(learner.net, "kind", views, class_idx)
    logits = learner.net(views)["kind"].gather(1, torch.from_numpy(class_idx)[:, None])
    bias = learner.net.head("kind").linear.bias[class_idx]
    assert_close(maps.mean(dim=(1, 2)), logits[:, 0] - bias, rtol=1e-4, atol=1e-5)
    assert not maps.requires_grad


@pytest.mark.parametrize("name", TINY)
def test_networks_without_such_maps_are_refused(name: str) -> None:
    # ConvNeXt puts a norm between the mean of its maps and the features
    if name in ("test_vit", "tiny_swin", "test_convnext"):
        with pytest.raises(
            UserError, match=f"those of '{name}' are not; give mix = 'c"
        ):
            check_maps(build_backbone(name, SIDE), name, SIDE)
    else:
        check_maps(build_backbone(name, SIDE), name, SIDE)


def test_a_box_is_shown_in_another_at_its_size() -> None:
    side = 32
    x = torch.arange(float(side)).expand(2, 3, side, side)
    image = torch.stack([x[0], x[1].mT])  # levels that tell x, and y
    source, place = np.array([[4, 6, 12, 14]] * 2), np.array([[10, 2, 26, 18]] * 2)
    shown = move_boxes(image, from_B4=source, to_B4=place)
    x_out = torch.arange(12, 24)  # a pixel off the edges
    expected = (x_out + 0.5 - 10) / 2 + 4 - 0.5
    assert_close(shown[0, :, 2:18, 12:24], expected.expand(3, 16, 12))
    y_out = torch.arange(4, 16)
    expected = (y_out + 0.5 - 2) / 2 + 6 - 0.5
    assert_close(shown[1, :, 4:16, 10:26], expected[:, None].expand(3, 12, 16))
    empty = np.array([[3, 3, 3, 9]] * 2)
    assert move_boxes(image, from_B4=source, to_B4=empty).isfinite().all()
    same = move_boxes(image, from_B4=source, to_B4=source)
    assert_close(same[:, :, 6:14, 4:12], image[:, :, 6:14, 4:12], rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_even_maps_weigh_by_area_and_pixels_are_of_both(seed: int) -> None:
    rng, views = rng_of(seed), shades()
    into, source = (random_boxes(rng, rng.beta(1, 1, N), SIDE) for _ in range(2))
    into[0, 2], source[1] = into[0, 0], 0  # without area
    partner_idx = next_in_turn(rng, N)
    mixture = snap(
        views, torch.ones(N, 3, 3), partner_idx, into_B4=into, from_B4=source
    )
    is_mixed = (box_areas(into, SIDE) > 0) & (box_areas(source, SIDE) > 0)
    assert not is_mixed[:2].any()
    area = is_mixed * box_areas(into, SIDE)
    taken = is_mixed * box_areas(source, SIDE)
    assert_close(mixture.weight, torch.tensor(1 - area).float(), rtol=0, atol=1e-5)
    assert_close(mixture.partner_weight, torch.tensor(taken).float(), rtol=0, atol=1e-5)
    assert_close(mixture.share, torch.tensor(1 - area).float())
    k = torch.arange(N)
    expected = mixture.share * k + (1 - mixture.share) * torch.tensor(partner_idx)
    assert_close(mixture.images.mean(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-4)


def test_a_label_weighs_what_is_seen_of_its_class() -> None:
    maps = torch.zeros(2, SIDE, SIDE)
    maps[0, 5, 5], maps[1, 20, 20] = 7.0, 3.0
    # the first loses what shows it, the second does not; the first takes what shows
    # its partner, the second does not
    into = np.array([[4, 4, 8, 8], [0, 0, 4, 4]])
    source = np.array([[18, 18, 24, 24], [10, 10, 20, 20]])
    mixture = snap(shades(2), maps, np.array([1, 0]), into_B4=into, from_B4=source)
    assert_close(mixture.weight, torch.tensor([0.0, 1.0]), rtol=0, atol=2e-3)
    assert_close(mixture.partner_weight, torch.tensor([1.0, 0.0]), rtol=0, atol=2e-3)
    shares = proportions_of(torch.randn(3, 4, 4), SIDE)
    assert_close(shares.sum(dim=(1, 2)), torch.ones(3))
    assert (shares > 0).all()


def test_a_step_of_it_learns_by_the_weights_and_leaves_the_norms_alone() -> None:
    (task,) = tasks_of({"kind": Classes()})
    learner, mixer = mixing([task], mix="snapmix")
    batch = batch_of(N)
    mixture = mixer.mix(batch, learner.views(batch))
    assert mixture is not None
    assert (mixture.weight + mixture.partner_weight - 1).abs().max() > 0.01
    outputs = learner.net(mixture.images)["kind"]
    total = torch.zeros(())
    for i, j in enumerate(mixture.partner_idx.tolist()):
        log_proba = outputs[i].log_softmax(dim=0)
        for label, weight in ((i, mixture.weight[i]), (j, mixture.partner_weight[i])):
            if task.has_label[label]:
                total = total - weight * log_proba[int(task.values[label, 0])]
    expected = total / task.has_label.sum()
    assert_close(learner.loss(batch)["kind"], expected, rtol=1e-4, atol=1e-5)
    learner.train()
    before = {k: v.clone() for k, v in learner.net.state_dict().items()}
    assert mixer.mix(batch, learner.views(batch)) is not None
    for name, value in learner.net.state_dict().items():
        if "running" in name:
            assert torch.equal(value, before[name]), name

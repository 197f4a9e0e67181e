"""Tests of pretext.methods.crops beside those of DINO, which came first."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from pretext.crop_settings import MultiCropSettings
from pretext.methods.crops import MultiCropLearner
from pretext.swav import SwavSettings
from pretext.visreg import VisRegSettings
from tests.pretext.trained_on_views import batch_of, learner_of, noise

each_kind = pytest.mark.parametrize("kind", [VisRegSettings, SwavSettings])


@each_kind
@pytest.mark.parametrize("n_local", [0, 3])
def test_the_outputs_are_those_of_each_view_by_itself(
    kind: type[MultiCropSettings], n_local: int
) -> None:
    learner = learner_of(kind(local_crops=n_local), noise())
    assert isinstance(learner, MultiCropLearner)
    learner.eval()  # no batch statistics, so that no picture depends on another
    batch = batch_of(noise(), [3, 5, 8, 1])
    backbone, projector = (
        learner.get_submodule(name) for name in ("backbone", "projector")
    )
    with torch.no_grad():
        z_VBd = learner.embed(batch, backbone, projector)
        wide, narrow = learner.views(batch)
        views = [*wide.split(4), *narrow]
        assert len(z_VBd) == len(views) == 2 + n_local
        for z_Bd, view in zip(z_VBd, views, strict=True):
            assert_close(z_Bd, projector(backbone(view)), atol=1e-4, rtol=0)
    assert [view.shape[-1] for view in views] == [32, 32, *[14] * n_local]


@each_kind
def test_views_of_one_size_go_through_a_net_together(
    kind: type[MultiCropSettings],
) -> None:
    learner = learner_of(kind(local_crops=2), noise())
    seen: dict[str, list[int]] = {"backbone": [], "projector": []}
    for name, numbers in seen.items():
        learner.get_submodule(name).register_forward_pre_hook(
            lambda _, given, numbers=numbers: numbers.append(len(given[0]))
        )
    learner.loss(batch_of(noise(), range(16), scale=1.25))
    assert seen == {"backbone": [32, 32], "projector": [64]}


@each_kind
def test_outputs_are_float32_in_a_bfloat16_training(kind: type[Any]) -> None:
    learner = learner_of(kind(local_crops=1), noise()).eval()
    batch = batch_of(noise(), range(16))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        measured = learner.loss(batch)
        assert learner.project(torch.randn(4, 96).bfloat16()).shape[0] == 4
    assert measured["loss"].dtype == torch.float32
    torch.manual_seed(0)
    again = learner.loss(batch)["loss"]
    assert_close(measured["loss"], again, atol=0.05 * again.item(), rtol=0)


def test_views_cost_by_their_area() -> None:
    for n_local in (0, 2, 6):
        settings = SwavSettings(local_crops=n_local)
        assert settings.views_per_picture == pytest.approx(2 + n_local * 9 / 49)
    crops = replace(settings, min_area=0.3).crops(96)
    assert (crops.global_params.min_area, crops.global_params.max_area) == (0.3, 1)
    assert (crops.local_params.min_area, crops.local_params.max_area) == (0.05, 0.3)

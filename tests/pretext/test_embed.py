"""Tests of pretext.evaluation.embed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from tqdm import tqdm

from data_prep.errors import UserError
from pretext.data.pictures import Normalisation, Pictures
from pretext.evaluation import embed as module
from pretext.evaluation.embed import at_side, embed, forward_of, input_side, load_for
from pretext.networks.backbones import build_backbone, save_weights

NORMALISE = Normalisation((120.0, 100.0, 90.0), (60.0, 50.0, 40.0))


def noise(n: int = 10, side: int = 32) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def backbone_of(name: str, side_px: int) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(name, side_px)


def save(path: Path, name: str, side_px: int, **about: Any) -> Path:
    network = backbone_of(name, side_px)
    note = {"backbone": name, "side_px": side_px} | about
    save_weights(path, network.state_dict(), note)
    return path


@pytest.mark.parametrize(("name", "side_px"), [("test_resnet", 32), ("test_vit", 48)])
def test_features_are_those_of_each_picture_alone(
    name: str, side_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    network, pictures = backbone_of(name, side_px), noise()
    rows = np.array([0, 3, 4, 5, 8, 9])
    ours = embed(network, pictures, rows, NORMALISE, side_px=side_px)
    assert ours.dtype == np.float32
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in ((120.0, 100, 90), (60.0, 50, 40)))  # fmt: skip  # noqa: E501
    for place, row in enumerate(rows):
        picture = torch.from_numpy(pictures.pixels[row]).permute(2, 0, 1).float()
        if side_px != 32:
            picture = nn.functional.interpolate(
                picture[None], (side_px, side_px), mode="bilinear", antialias=True
            )[0]
        with torch.no_grad():
            alone = network.eval()(((picture - mean) / std)[None])[0]
        assert_allclose(ours[place], alone.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("was_training", [True, False])
def test_the_network_and_the_generators_stay_as_they_were(was_training: bool) -> None:
    network = backbone_of("test_resnet", 32).train(was_training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    first = embed(network, noise(), np.arange(10), NORMALISE, side_px=32)
    assert network.training is was_training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    # eval mode: nothing depends on the others of a batch, nor is anything dropped
    again = embed(network, noise(), np.arange(9, -1, -1), NORMALISE, side_px=32)
    assert_allclose(first, again[::-1], rtol=1e-4, atol=1e-6)


def test_a_network_that_fails_is_left_in_its_mode() -> None:
    network = backbone_of("test_vit", 48).train()
    with pytest.raises(AssertionError, match="size"):
        embed(network, noise(), np.arange(2), NORMALISE, side_px=50)
    assert network.training


def test_progress_is_told_in_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    with tqdm(total=10, disable=False, mininterval=1e9) as bar:
        embed(
            *(backbone_of("test_resnet", 32), noise(), np.arange(10), NORMALISE),
            side_px=32,
            count=bar.update,
        )
        assert bar.n == 10


def test_no_rows_give_no_features() -> None:
    network = backbone_of("test_resnet", 32)
    rows = np.array([], dtype=np.int64)
    values = embed(network, noise(), rows, NORMALISE, side_px=32)
    assert values.shape == (0, network.num_features)


def test_bf16_is_near() -> None:
    network = backbone_of("test_resnet", 32)
    exact, near = (
        embed(network, noise(), np.arange(10), NORMALISE, side_px=32, bf16=bf16)
        for bf16 in (False, True)
    )
    assert near.dtype == np.float32
    assert 0 < np.abs(exact - near).max() < 0.05 * np.abs(exact).max()


def test_pictures_of_the_right_side_are_not_touched() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert at_side(images, 8) is images
    assert at_side(images, 12).shape == (2, 3, 12, 12)
    # the mean of a ramp is kept: nothing is cut off
    ramp = torch.arange(16.0).expand(1, 3, 16, 16)
    assert_allclose(at_side(ramp, 4).mean(), ramp.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "trained_px", "used_px"),
    [("test_resnet", 64, 32), ("test_vit", 64, 64), ("test_vit", 32, 32)],
)
def test_a_network_of_one_size_gets_pictures_of_it(
    name: str, trained_px: int, used_px: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "b.safetensors", name, trained_px)
    network, side_px = load_for(path, 32)
    assert side_px == used_px
    assert input_side(network, 32) == used_px
    stored = backbone_of(name, trained_px).state_dict()
    assert all(torch.equal(stored[k], v) for k, v in network.state_dict().items())
    values = embed(network, noise(2), np.arange(2), NORMALISE, side_px=side_px)
    assert np.isfinite(values).all()


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    net = save(tmp_path / "n.safetensors", "test_resnet", 32, tasks=[], format="net")
    with pytest.raises(
        UserError, match=r"not the weights of a backbone alone but 'net"
    ):
        load_for(net, 32)
    save_weights(tmp_path / "x.safetensors", {"w": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="not the weights of a backbone alone but None"):
        load_for(tmp_path / "x.safetensors", 32)
    with pytest.raises(UserError, match="there are no such weights"):
        load_for(tmp_path / "none.safetensors", 32)


def test_the_join_resizes_and_normalises() -> None:
    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.shape[2:] == (16, 16)
            return images.mean(dim=(2, 3))

    forward = forward_of(Mean(), NORMALISE, 16)
    images = torch.full((1, 3, 32, 32), 150.0)
    assert_allclose(forward(images)[0], [30 / 60, 50 / 50, 60 / 40], rtol=1e-5)

"""Tests of pretext.networks.backbones."""

import errno
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from data_prep.errors import UserError
from pretext.networks.backbones import (
    build_backbone,
    feature_width,
    load_backbone,
    load_weights,
    save_weights,
)

NAME = "test_resnet"  # timm's own for tests: 0.4 million weights


def saved(folder: Path, change: dict[str, Tensor | None] | None = None) -> Path:
    """Save a backbone with some tensors replaced or, where None, left out."""
    tensors = build_backbone(NAME, 32).state_dict()
    for name, tensor in (change or {}).items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    path = folder / "backbone.safetensors"
    save_weights(path, tensors, {"backbone": NAME, "stage": "pretext.jigsaw"})
    return path


@pytest.mark.parametrize(
    "name", [NAME, "test_efficientnet", "test_vit", "mobilenetv3_small_050"]
)
@pytest.mark.parametrize("side_px", [32, 64])
def test_a_backbone_gives_as_many_features_as_it_says(name: str, side_px: int) -> None:
    backbone = build_backbone(name, side_px).eval()
    features = backbone(torch.zeros(2, 3, side_px, side_px))
    assert features.shape == (2, feature_width(backbone))


def test_a_network_that_must_know_its_side_is_told() -> None:
    for side_px in (32, 64):
        embedding = build_backbone("test_vit", side_px).get_submodule("patch_embed")
        assert embedding.img_size == (side_px, side_px)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet43", "did you mean 'resnet"),
        ("@@@@", "timm.list_models"),
        ("resnet18.nonsense", "Invalid pretrained tag"),
    ],
)
def test_an_unknown_network_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=rf"^backbone = '{name}': .*{hint}"):
        build_backbone(name, 32)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    backbone = build_backbone(NAME, 32)
    backbone.train()(torch.randn(4, 3, 32, 32))  # moves the running means too
    path = tmp_path / "deep" / "backbone.safetensors"
    save_weights(path, backbone.state_dict(), {"backbone": NAME, "stage": "x.y"})
    loaded, report = load_backbone(path, NAME, 32)
    expected = backbone.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name])
        assert tensor.dtype == expected[name].dtype
    n = len(expected)
    assert report == f"{n} of {n} tensors of {NAME} from x.y"
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["backbone.json", "backbone.safetensors"]


def test_tied_and_turned_tensors_are_saved_as_plain_ones(tmp_path: Path) -> None:
    one = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    path = tmp_path / "x.safetensors"
    save_weights(path, {"a": one, "b": one, "c": one.transpose(0, 1)}, {"is": "it"})
    tensors, about = load_weights(path)
    assert about == {"is": "it"}
    assert torch.equal(tensors["a"], one)
    assert torch.equal(tensors["b"], one)
    assert torch.equal(tensors["c"], one.transpose(0, 1))


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    # a rerun with the same result must keep later stages current
    tensors = build_backbone(NAME, 32).state_dict()
    files = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "x.safetensors"
        save_weights(path, tensors, {"epochs": 3})
        files.append((path.read_bytes(), path.with_suffix(".json").read_bytes()))
    assert files[0] == files[1]


def test_the_old_weights_stay_until_the_new_ones_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("os.fsync", Mock(side_effect=full))
    with pytest.raises(OSError, match="No space left on device"):
        save_weights(path, {"x": torch.zeros(10_000)}, {})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.0.weight": None}, r"1 tensors missing \['conv1.0.weight'\], 0 unexp"),
        (
            {"extra": torch.zeros(1)},
            r"0 tensors missing \[\], 1 unexpected \['extra'\]",
        ),
        (
            {"conv1.0.weight": torch.zeros(2, 3)},
            r"1 of another shape \['conv1.0.weight'\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    path = saved(tmp_path, change)
    with pytest.raises(UserError, match=rf"does not fit '{NAME}': .*{message}"):
        load_backbone(path, NAME, 32)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    message = rf"weights of '{NAME}', not of 'test_vit'; set backbone = '{NAME}' or"
    with pytest.raises(UserError, match=message):
        load_backbone(saved(tmp_path), "test_vit", 32)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_weights_need_both_their_files(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path)
    path.with_suffix(suffix).unlink()
    message = rf"backbone\{suffix}: there are no such weights"
    with pytest.raises(UserError, match=message):
        load_weights(path)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".safetensors", b"PK\x03\x04 a zip of pickles", "these are not our weights"),
        (".safetensors", b"", "these are not our weights"),
        (".json", b"{", "these are not our weights"),
        (".json", b"\xff\xfe\x00", "these are not our weights"),
        (".json", json.dumps(["a list"]).encode(), "does not say what the weights are"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(
    tmp_path: Path, suffix: str, content: bytes, message: str
) -> None:
    path = saved(tmp_path)
    path.with_suffix(suffix).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_weights(path)


def test_cut_off_weights_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="these are not our weights"):
        load_backbone(path, NAME, 32)


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was opened")

    path = saved(tmp_path)
    monkeypatch.setattr("torch.load", refuse)
    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    load_backbone(path, NAME, 32)

"""Tests of transfer.networks.moving."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.settings import fields_of, from_table
from pretext.engine import callbacks
from pretext.engine.epochs import read_epochs
from pretext.networks.backbones import build_backbone
from tests.prepared_runs import finetune, make_run
from tests.transfer.tiny_nets import TINY
from transfer.networks.moving import Moving, layers_of, moving_names
from transfer.settings import FinetuneSettings

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

LAST_BLOCK = {  # what last-1 moves: one parameter deep inside, and one at the end
    "test_resnet": ("layer4.0.conv1.weight", "layer4.0.bn2.bias"),
    "test_vit": ("blocks.5.attn.qkv.weight", "norm.weight"),
    "test_efficientnet": ("blocks.4.0.conv_pw.weight", "conv_head.weight"),
    "test_convnext": ("stages.3.downsample.1.weight", "head.norm.weight"),
    "tiny_swin": ("layers.1.downsample.reduction.weight", "norm.weight"),
    "tiny_seresnext": ("layer4.0.se.fc1.weight", "layer4.0.bn3.weight"),
}


@pytest.mark.parametrize("name", TINY)
def test_each_parameter_is_in_one_group_and_one_layer(name: str) -> None:
    backbone = build_backbone(name, 32)
    head = nn.Linear(3, 2)
    names = {id(p): n for n, p in backbone.named_parameters()}
    for train in ("head", "last-1", "last-2", "all"):
        for decay in (1.0, 0.5):
            moving = Moving(train=train, layer_decay=decay, unfreeze_after=2)
            heads, *groups = moving.groups(backbone, list(head.parameters()))
            assert (heads.name, heads.factor, heads.from_epoch) == ("heads", 1.0, 0)
            grouped = [names[id(p)] for group in groups for p in group.parameters]
            assert sorted(grouped) == sorted(names.values())
            assert len({group.name for group in groups}) == len(groups)
            moved = {
                names[id(p)]
                for group in groups
                for p in group.parameters
                if group.from_epoch == 0
            }
            assert moved == moving_names(backbone, train)
            assert all(group.from_epoch in (0, 2) for group in groups)
            if decay < 1:
                layers = layers_of(backbone, coarse=False)
                expected = [0.5**k for k in range(1, len(layers) + 1)]
                assert sorted({g.factor for g in groups}) == expected[::-1]
            else:
                assert {group.factor for group in groups} == {1.0}
    last = moving_names(backbone, "last-1")
    assert set(LAST_BLOCK[name]) <= last < moving_names(backbone, "last-2")
    stem = next(iter(names.values()))
    assert stem not in moving_names(backbone, "last-2")


def test_parts_are_whole_modules() -> None:
    backbone = build_backbone("test_resnet", 32)
    names = [name for name, _ in backbone.named_parameters()]
    moving = moving_names(backbone, "layer1+conv1.0")
    # conv1.0 is neither conv1.01 nor conv1
    expected = [n for n in names if n.startswith("layer1.") or n == "conv1.0.weight"]
    assert moving == set(expected)
    assert moving_names(backbone, "conv1.0.weight") == {"conv1.0.weight"}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("layr3", "train = 'layr3': test_resnet has no such part; did you mean 'layer"),
        (
            "layer4+x",
            "train = 'x': test_resnet has no such part; there are: bn1, conv1",
        ),
        ("last-6", "train = 'last-6': test_resnet has 5 layers; give last-5 or fewer"),
    ],
)
def test_unknown_parts_are_named(train: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Moving(train=train).check(build_backbone("test_resnet", 32))


def test_a_network_that_tells_no_layers_is_refused() -> None:
    backbone = nn.Sequential(nn.Linear(2, 2))
    backbone.pretrained_cfg = {"architecture": "plain"}
    Moving(train="0").check(backbone)
    for moving in (Moving(train="last-1"), Moving(layer_decay=0.5)):
        with pytest.raises(UserError, match="plain does not say what its layers are"):
            moving.check(backbone)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": ""}, "train = '': give all, head, last-2, or parts"),
        ({"train": "layer3+"}, "train = 'layer3\\+': give all, head"),
        ({"train": "last-0"}, "train = 'last-0': give last-1, last-2 or more"),
        (
            {"unfreeze_after": 2},
            "unfreeze_after = 2: nothing is frozen, as train = 'all",
        ),
        (
            {"train": "head", "unfreeze_after": 3, "epochs": 3},
            "unfreeze_after = 3, but the training has 3 epochs",
        ),
        ({"layer_decay": 1.5}, "layer_decay = 1.5: give above 0, at most 1"),
    ],
)
def test_settings_that_do_not_go_together(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        FinetuneSettings(**settings)  # type: ignore[arg-type]


def first_weights() -> dict[str, Tensor]:
    """Give the weights that a backbone begins with, by their names in a net."""
    torch.manual_seed(0)
    tensors = build_backbone("test_resnet", 32).state_dict()
    return {f"backbone.{name}": tensor for name, tensor in tensors.items()}


def changed(file: Path) -> set[str]:
    """Name the tensors of a backbone that are no longer the first ones."""
    tensors = load_file(file)
    return {
        name
        for name, first in first_weights().items()
        if not torch.equal(tensors[name], first)
    }


def test_with_the_head_alone_nothing_else_moves(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    flags = ("--folds=0", "--tasks=target", "--train=head", "--weight-decay=0.5")
    file = finetune(run, *flags) / "target/fold0/weights.safetensors"
    assert changed(file) == set()  # no weight, and no statistic of a batch norm
    assert load_file(file)["heads.of_target.linear.weight"].abs().max() > 0.01


def test_layers_move_in_their_epoch_at_their_rate_however_often_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--folds=0", "--tasks=target", "--epochs=2", "--keep-epochs=2")
    flags += (
        "--batch-size=4",
        "--train=last-1",
        "--unfreeze-after=1",
        "--layer-decay=0.5",
    )
    flags += ("--schedule=constant", "--warmup=0", "--learning-rate=0.002")
    folder = finetune(make_run(tmp_path / "whole"), *flags) / "target/fold0"
    backbone = build_backbone("test_resnet", 32)
    moving = moving_names(backbone, "last-1")
    after = [changed(folder / f"epochs/epoch000{e}.safetensors") for e in (1, 2)]
    parameters = {f"backbone.{name}" for name, _ in backbone.named_parameters()}
    assert after[0] & parameters == {f"backbone.{name}" for name in moving}
    assert after[1] == set(first_weights())  # the statistics of all norms as well
    assert {n for n in after[0] if "running" in n} == {
        n for n in after[1] if "running" in n and ".layer4." in n
    }
    # the rate of each group, all in one schedule from the first step
    rates = {
        name.removeprefix("learning_rate/"): rate
        for name, rate in read_epochs(folder)[2].items()
        if name.startswith("learning_rate/")
    }
    layers = ["layer4.0", *(f"layer{k}.0_frozen" for k in (3, 2, 1)), "conv1_frozen"]
    expected = {layer: 0.002 * 0.5**k for k, layer in enumerate(layers, start=1)}
    assert rates == pytest.approx({"heads": 0.002, **expected})

    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    run, save = make_run(tmp_path / "killed"), callbacks.TrainingCallback._save
    for step in (3, 6):  # within the frozen epoch, and after it
        monkeypatch.setattr(callbacks.TrainingCallback, "_save", killed_at(step, save))
        with pytest.raises(KilledError):
            finetune(run, *flags)
    monkeypatch.setattr(callbacks.TrainingCallback, "_save", save)
    again = finetune(run, *flags) / "target/fold0"
    tensors = load_file(folder / "weights.safetensors")
    for name, tensor in load_file(again / "weights.safetensors").items():
        assert torch.equal(tensor, tensors[name]), name


class KilledError(Exception):
    """The process is gone."""


def killed_at(step: int, save: Callable[..., None]) -> Callable[..., None]:
    """Save a checkpoint; after a step, no line more."""

    def save_and_die(callback: object, trainer: object) -> None:
        save(callback, trainer)
        if trainer.global_step == step:  # type: ignore[attr-defined]
            raise KilledError

    return save_and_die


def test_the_page_says_what_the_settings_take() -> None:
    page = (Path(__file__).parents[2] / "docs/fine_tuning.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        table = tomllib.loads(block)["transfer"]["finetune"]
        from_table(FinetuneSettings, table, "fine_tuning.md", {})
    schedules = get_args(fields_of(FinetuneSettings)["schedule"].type)
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall("`([a-z-]+)`", row)}
    assert set(schedules) <= told

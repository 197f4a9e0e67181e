"""Backbones: any timm network by name, and the one file format of their weights.

Weights are a safetensors file with a JSON beside it that says what they are. Loading is
strict: every tensor must be there and fit, or nothing is loaded.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.run_folders.damage import intact, remedy_for
from data_prep.run_folders.drafts import drafted
from pretext.init_weights import DEFAULT_BACKBONE, check_alone
from pretext.names import check_backbone


def build_backbone(name: str, side_px: int) -> nn.Module:
    """Build an untrained timm network that gives (B, D) pooled features.

    Args:
        name: Name of a timm architecture, such as ``"resnet34"``.
        side_px: Side of its input, for networks that must know it (vit, swin).

    Raises:
        UserError: timm has no such network.
    """
    import timm

    check_backbone(name)
    try:
        model = timm.create_model(name, num_classes=0, img_size=side_px)
    except TypeError:  # convolutional networks refuse img_size: they take any
        model = timm.create_model(name, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"backbone = {name!r}: {error}") from None
    network: nn.Module = model.to(memory_format=torch.channels_last)
    return network


def feature_width(backbone: nn.Module) -> int:
    """Give D, the number of features of a backbone."""
    # where a network widens after its pooling (mobilenetv3), num_features is the former
    width = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    assert isinstance(width, int)
    return width


def save_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights whole or not at all; ``path`` ends with ``.safetensors``.

    The JSON goes first: whoever sees the weights finds what they are.
    """
    from safetensors.torch import save

    note = path.with_suffix(".json")
    # clone: tied or channels-last tensors must be written as plain ones
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with drafted(path) as file, drafted(note) as note_file:  # the inner one goes first
        note_file.write((json.dumps(about, indent=2) + "\n").encode())
        file.write(save(plain))  # save_file would hide that the disk is full


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and what they are.

    Raises:
        UserError: A file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    note = path.with_suffix(".json")
    for file in (path, note):
        if not file.is_file():
            raise UserError(f"{file}: there are no such weights; {remedy_for(file)}")
    file = path
    try:
        with intact(path), intact(note):  # compared first, if a record tells of them
            pass
        tensors, file = load_file(path), note
        about = json.loads(note.read_bytes())
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: these are not our weights: {error}; {remedy_for(file)}"
        ) from None
    if not isinstance(about, dict):
        raise UserError(f"{note}: this does not say what the weights are")
    return tensors, about


def load_backbone(path: Path, name: str, side_px: int) -> tuple[nn.Module, str]:
    """Build a backbone and fill it with stored weights, all of them or none.

    Returns:
        The backbone, and a sentence that says what was loaded.

    Raises:
        UserError: The weights are of another backbone, or tensors are missing,
            unexpected or of another shape.
    """
    tensors, about = load_weights(path)
    if about.get("backbone") != name:
        raise UserError(
            f"{path}: weights of {about.get('backbone')!r}, not of {name!r};"
            f" set backbone = {about.get('backbone')!r} or pretrain {name!r}"
        )
    backbone = build_backbone(name, side_px)
    expected = backbone.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    other = [
        k for k in expected.keys() & tensors if expected[k].shape != tensors[k].shape
    ]
    if missing or extra or other:
        raise UserError(
            f"{path}: does not fit {name!r}: {len(missing)} tensors missing"
            f" {missing[:2]}, {len(extra)} unexpected {extra[:2]}, {len(other)} of"
            f" another shape {sorted(other)[:2]}"
        )
    backbone.load_state_dict(tensors, strict=True)
    made_by = about.get("stage", "a file")
    all_of_it = f"{len(tensors)} of {len(expected)} tensors"
    return backbone, f"{all_of_it} of {name} from {made_by}"


def begin_backbone(
    asked: str, first_weights: Path | None, side_px: int
) -> tuple[str, nn.Module, str]:
    """Give the backbone a training begins with.

    Args:
        asked: Name of the network; empty: that of the weights.
        first_weights: File of the weights; None: random ones.
        side_px: Side of its input.

    Returns:
        Its name, the network, and a sentence on what it was filled with.

    Raises:
        UserError: The weights are of another network or do not fit.
    """
    if first_weights is None:
        name = asked or DEFAULT_BACKBONE
        network = build_backbone(name, side_px)
        return name, network, f"scratch: random weights of {name}, as asked for"
    _, about = load_weights(first_weights)
    check_alone(first_weights, about)
    name = asked or str(about["backbone"])
    try:
        network, report = load_backbone(first_weights, name, side_px)
    except UserError as error:
        trained_at = about.get("side_px")
        if name != about["backbone"] or trained_at in (None, side_px):
            raise
        raise UserError(
            f"{error}; they were trained on {trained_at} px: try --side {trained_at}"
        ) from None
    return name, network, report

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


def save_weights(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]
) -> None:
    """Write weights whole or not at all; ``path`` ends with ``.safetensors``.

    The JSON goes first: whoever sees the weights finds what they are.
    """
    from safetensors.torch import save

    sidecar = path.with_suffix(".json")
    # clone: tied or channels-last tensors must be written as plain ones
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with (
        drafted(path) as file,
        drafted(sidecar) as sidecar_file,
    ):  # the inner one goes first
        sidecar_file.write((json.dumps(metadata, indent=2) + "\n").encode())
        file.write(save(plain))  # save_file would hide that the disk is full


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and what they are.

    Raises:
        UserError: A file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    sidecar = path.with_suffix(".json")
    for file in (path, sidecar):
        if not file.is_file():
            raise UserError(f"{file}: there are no such weights; {remedy_for(file)}")
    file = path
    try:
        with intact(path), intact(sidecar):  # compared first, if a record tells of them
            pass
        tensors, file = load_file(path), sidecar
        metadata = json.loads(sidecar.read_bytes())
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: these are not our weights: {error}; {remedy_for(file)}"
        ) from None
    if not isinstance(metadata, dict):
        raise UserError(f"{sidecar}: this does not say what the weights are")
    return tensors, metadata


def load_backbone(path: Path, name: str, side_px: int) -> tuple[nn.Module, str]:
    """Build a backbone and fill it with stored weights, all of them or none.

    Returns:
        The backbone, and a sentence that says what was loaded.

    Raises:
        UserError: The weights are of another backbone, or tensors are missing,
            unexpected or of another shape.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("backbone") != name:
        raise UserError(
            f"{path}: weights of {metadata.get('backbone')!r}, not of {name!r};"
            f" set backbone = {metadata.get('backbone')!r} or pretrain {name!r}"
        )
    backbone = build_backbone(name, side_px)
    expected = backbone.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    reshaped = [
        k for k in expected.keys() & tensors if expected[k].shape != tensors[k].shape
    ]
    if missing or extra or reshaped:
        raise UserError(
            f"{path}: does not fit {name!r}: {len(missing)} tensors missing"
            f" {missing[:2]}, {len(extra)} unexpected {extra[:2]}, {len(reshaped)} of"
            f" another shape {sorted(reshaped)[:2]}"
        )
    backbone.load_state_dict(tensors, strict=True)
    origin = metadata.get("stage", "a file")
    loaded = f"{len(tensors)} of {len(expected)} tensors"
    return backbone, f"{loaded} of {name} from {origin}"


def begin_backbone(
    name: str, weights_file: Path | None, side_px: int
) -> tuple[str, nn.Module, str]:
    """Give the backbone a training begins with.

    Args:
        name: Of the network; empty: that of the weights.
        weights_file: The first weights; None: random ones.
        side_px: Side of its input.

    Returns:
        Its name, the network, and a sentence on what it was filled with.

    Raises:
        UserError: The weights are of another network or do not fit.
    """
    if weights_file is None:
        name = name or DEFAULT_BACKBONE
        network = build_backbone(name, side_px)
        return name, network, f"scratch: random weights of {name}, as asked for"
    _, metadata = load_weights(weights_file)
    check_alone(weights_file, metadata)
    name = name or str(metadata["backbone"])
    try:
        network, report = load_backbone(weights_file, name, side_px)
    except UserError as error:
        trained_at = metadata.get("side_px")
        if name != metadata["backbone"] or trained_at in (None, side_px):
            raise
        raise UserError(
            f"{error}; they were trained on {trained_at} px: try --side {trained_at}"
        ) from None
    return name, network, report

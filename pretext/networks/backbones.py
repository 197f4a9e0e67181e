"""Backbones: any timm network by name, and the one file format of their weights.

Weights are a safetensors file with a JSON beside it that says what they are; those of
others are read too (``pretext.ready_weights``). Loading is strict: every tensor must be
there and fit, or nothing is loaded.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.run_folders.damage import intact, remedy_for
from data_prep.run_folders.drafts import drafted
from pretext.data.pictures import Normalisation
from pretext.init_weights import DEFAULT_BACKBONE, check_alone
from pretext.names import check_backbone
from pretext.networks.fitting import MisfitError, fit_tensors, misfit, read_tensors
from pretext.ready_weights import (
    architecture_of,
    files_of,
    in_our_words,
    is_of_others,
    metadata_of,
)

BACKBONE_FORMAT = "tessera-backbone/1"
log = logging.getLogger(__name__)


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
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, Any]
) -> None:
    """Write weights whole or not at all; ``path`` ends with ``.safetensors``.

    The JSON goes first: whoever sees the weights finds what they are.
    """
    sidecar = path.with_suffix(".json")
    with (
        drafted(path) as file,
        drafted(sidecar) as sidecar_file,
    ):  # the inner one goes first
        sidecar_file.write((json.dumps(metadata, indent=2) + "\n").encode())
        # save_file would hide that the disk is full
        file.write(weights_as_bytes(tensors))


def digest_weights(tensors: Mapping[str, Tensor]) -> str:
    """Hash the file that weights are, or would be, written to."""
    return hashlib.sha256(weights_as_bytes(tensors)).hexdigest()


def weights_as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Give the .safetensors file of weights."""
    from safetensors.torch import save

    # clone: tied or channels-last tensors must be written as plain ones
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return save(plain)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and what they are.

    Raises:
        UserError: A file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    metadata = load_metadata(path)
    try:
        with intact(path):  # compared first, if a record tells of it
            pass
        return load_file(path), metadata
    except SafetensorError as error:
        raise _not_ours(path, error) from None


def load_metadata(path: Path) -> dict[str, Any]:
    """Read what weights are, which stands in the JSON beside them.

    Raises:
        UserError: A file is missing, or it is no such JSON.
    """
    sidecar = path.with_suffix(".json")
    for file in (path, sidecar):
        if not file.is_file():
            raise UserError(f"{file}: there are no such weights; {remedy_for(file)}")
    try:
        with intact(sidecar):  # compared first, if a record tells of it
            pass
        metadata = json.loads(sidecar.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _not_ours(sidecar, error) from None
    if not isinstance(metadata, dict):
        raise UserError(f"{sidecar}: this does not say what the weights are")
    return metadata


def _not_ours(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: these are not our weights: {error}; {remedy_for(file)}")


def described(path: Path, name: str = "") -> dict[str, Any]:
    """Say what the weights of a backbone are, as the JSON beside those of a stage does.

    What ready weights do not say themselves, timm's configuration of the network does.

    Args:
        path: Weights of a stage, or of others.
        name: Of the network, for weights that do not name it.

    Raises:
        UserError: There are none, or nothing names their network.
    """
    if not is_of_others(path):
        return load_metadata(path)
    import timm

    metadata = metadata_of(path)
    name = str(metadata.get("backbone", name))
    if not name:
        raise UserError(
            f"{path}: no JSON beside it names its network; name it with --backbone"
        )
    check_backbone(name)
    cfg = timm.models.get_pretrained_cfg(name)
    usual = in_our_words({"architecture": name, **(vars(cfg) if cfg else {})}, path)
    return {**usual, "stage": f"ready weights {path.name}", **metadata}


def load_backbone(path: Path, name: str, side_px: int) -> tuple[nn.Module, str]:
    """Build a backbone and fill it with weights, all of them or none.

    Args:
        path: Weights of a stage, or of others.
        name: Of the network.
        side_px: Side of its input.

    Returns:
        The backbone, and a sentence that says what was loaded.

    Raises:
        MisfitError: Tensors are missing, unexpected or of another shape.
        UserError: The weights are of another backbone, or cannot be read.
    """
    metadata = described(path, name)
    if architecture_of(str(metadata.get("backbone"))) != architecture_of(name):
        raise UserError(
            f"{path}: weights of {metadata.get('backbone')!r}, not of {name!r};"
            f" set backbone = {metadata.get('backbone')!r} or pretrain {name!r}"
        )
    backbone = build_backbone(name, side_px)
    expected, way = backbone.state_dict(), ""
    try:
        if is_of_others(path):
            file = files_of(path).weights
            tensors, way = fit_tensors(
                read_tensors(file),
                backbone,
                name,
                is_ordered=file.suffix != ".safetensors",
            )
        else:
            tensors = load_weights(path)[0]
            if fault := misfit(tensors, expected):
                raise MisfitError(fault)
    except MisfitError as error:
        raise MisfitError(f"{path}: does not fit {name!r}: {error}") from None
    backbone.load_state_dict(tensors, strict=True)
    origin = metadata.get("stage", "a file")
    loaded = f"{len(tensors)} of {len(expected)} tensors"
    return backbone, f"{loaded} of {name} from {origin}{way}"


def own_normalisation(
    weights_file: Path | None, name: str, collection: Normalisation
) -> Normalisation:
    """Give the statistics of the pictures that weights were trained on.

    Args:
        weights_file: The weights; None: random ones.
        name: Of the network, for weights that do not name it.
        collection: Statistics of the collection, for weights that do not say theirs.
    """
    metadata = described(weights_file, name) if weights_file else {}
    if not {"mean", "std"} <= metadata.keys():
        return collection
    normalise = Normalisation(tuple(metadata["mean"]), tuple(metadata["std"]))
    if normalise != collection:
        mean, std = (
            ", ".join(f"{value:.1f}" for value in metadata[key])
            for key in ("mean", "std")
        )
        log.info(
            "pictures are normalised as for %s: mean %s, std %s, not the collection's",
            metadata.get("stage", weights_file),
            mean,
            std,
        )
    return normalise


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
    metadata = described(weights_file, name)
    check_alone(weights_file, metadata)
    name = name or str(metadata["backbone"])
    try:
        network, report = load_backbone(weights_file, name, side_px)
    except MisfitError as error:
        trained_at = metadata.get("side_px", side_px)
        with suppress(UserError):
            load_backbone(weights_file, name, trained_at)
            error = MisfitError(
                f"{error}; they were trained on {trained_at} px: try --side"
                f" {trained_at}"
            )
        raise error from None
    return name, network, report

"""What settings and tables alone decide of a training, before any stage runs.

Torch-free until a library has to be asked for a name.
"""

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from data_prep.errors import UserError
from data_prep.outlook import Outlook
from data_prep.processes import torchrun_rank
from pretext.init_weights import DEFAULT_BACKBONE, check_alone
from pretext.names import SCRATCH, check_backbone, check_optimizer
from pretext.ready_weights import (
    SEEN,
    TIMM,
    architecture_of,
    find_ready,
    is_ready,
    metadata_of,
)
from pretext.settings import TrainingSettings

log = logging.getLogger(__name__)
PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}


def check_first_weights(init: str, backbone: str, outlook: Outlook) -> None:
    """Check that the first weights are there and of the network asked for.

    Args:
        init: Where they come from.
        backbone: Name of the network; empty: that of the weights.
        outlook: The stages that are to run, and those that have.

    Raises:
        UserError: The file is missing, is not of a backbone, or is of another one.
    """
    if init == SCRATCH:
        return
    if is_ready(init):
        check_ready(init, backbone)
        check_unseen(init, outlook.metadata)
        return
    origin = network_of(init, "", outlook)
    if backbone and origin and architecture_of(backbone) != architecture_of(origin):
        raise UserError(
            f"init = {init!r}: weights of {origin!r}, not of {backbone!r}; set backbone"
            f" = {origin!r}, or init = {SCRATCH!r}"
        )


def check_ready(name: str, backbone: str, setting: str = "init") -> None:
    """Check that weights of others are there, and that their network is known.

    Args:
        name: Path, or ``timm:NAME``, which is not asked for yet.
        backbone: Name of the network; empty: that of the weights.
        setting: That has the name, for the messages.

    Raises:
        UserError: There is no such file, it is not of a backbone, or of another one,
            or nobody tells of which.
    """
    network = network_of_ready(name, setting)
    if not (network or backbone):
        file = find_ready(name, setting).with_suffix(".json").name
        remedy = f'write {{"architecture": "NAME"}} into {file} there'
        if setting != "weights":  # of pretext.probe, which looks at several networks
            remedy = "name it with --backbone"
        raise UserError(
            f"{setting} = {name!r}: no JSON beside it names its network; {remedy}"
        )
    if backbone and network and architecture_of(backbone) != network:
        raise UserError(
            f"{setting} = {name!r}: weights of {network!r}, not of {backbone!r}; set"
            f" backbone = {network!r}, or leave it out"
        )


def check_unseen(name: str, metadata: Mapping[str, Any], setting: str = "init") -> None:
    """Refuse a fine-tuned net that learned from the labels of a run in its own run.

    By other folds of the same labels too: what held out a fold there has learned from
    rows of each fold here.

    Args:
        name: Path, or ``timm:NAME``.
        metadata: Of the preparation; without hashes there is nothing to compare yet.
        setting: That has the name, for the message.

    Raises:
        UserError: It is an export of ``transfer.finetune`` by these labels.
    """
    hashes = {key: metadata.get(key) for key in SEEN}
    if name.startswith(TIMM) or not any(hashes.values()):
        return
    learned = metadata_of(find_ready(name, setting))
    if any(value and learned.get(key) == value for key, value in hashes.items()):
        raise UserError(
            f"{setting} = {name!r}: this net has learned from labels of this very run,"
            " so every score would be a lie; give the weights that it began from"
        )


def network_of(
    init: str, backbone: str, outlook: Outlook, earlier_stages: tuple[str, ...] = ()
) -> str | None:
    """Name the network of a training; None: not known yet, or not told.

    Args:
        init: Where its first weights come from.
        backbone: Its name as set; empty: that of the weights.
        outlook: The stages that are to run, and those that have.
        earlier_stages: Those that led here, for those that begin from one another.

    Raises:
        UserError: There is no such file, or it is not of a backbone.
    """
    if backbone:
        return backbone
    if init == SCRATCH:
        return DEFAULT_BACKBONE
    if is_ready(init):
        return network_of_ready(init)
    if init in outlook.settings and init not in earlier_stages:
        earlier = outlook.settings[init]
        return network_of(
            earlier.init, earlier.backbone, outlook, (*earlier_stages, init)
        )
    if outlook.run.has(init):
        name = outlook.run.recorded(init).metadata.get("backbone")
        return None if name is None else str(name)
    return None


def network_of_ready(name: str, setting: str = "init") -> str | None:
    """Name the network of weights of others; None: they do not tell.

    Raises:
        UserError: There is no such file, or it is not of a backbone.
    """
    if name.startswith(TIMM):
        return architecture_of(name)
    path = find_ready(name, setting)
    metadata = metadata_of(path)
    check_alone(path, metadata)
    return architecture_of(metadata["backbone"]) if metadata else None


def log_ignored_tag(init: str, backbone: str) -> None:
    """Say that weights which the name of a network seems to ask for are not taken.

    Args:
        init: Where the first weights come from.
        backbone: Name of the network as set, maybe with a tag: ``resnet18.a1_in1k``.
    """
    if "." not in backbone or is_ready(init):
        return
    weights = "random" if init == SCRATCH else f"those of {init}"
    log.warning(
        "backbone = %r: the network is taken without the weights of its tag, and its"
        " first weights are %s; to begin from those of the tag: --init %s%s",
        backbone,
        weights,
        TIMM,
        backbone,
    )


def check_larger_views(final_px: int, picture_px: int, scale: float) -> None:
    """Check that the larger views of the last part can be cut out of the pictures.

    Args:
        final_px: Side of the network's input in the last part.
        picture_px: Side of the stored pictures.
        scale: How much larger than usual the views are; 1: there are none.

    Raises:
        UserError: The pictures are too small for them.
    """
    if scale != 1 and final_px > picture_px:
        raise UserError(
            f"final_scale = {scale} makes views of {final_px} px, but the pictures are"
            f" stored at {picture_px} px; give a smaller one, a smaller --side, or"
            " prepare with a larger --side"
        )


def check_devices(settings: TrainingSettings) -> None:
    """Check that there are the devices, and the processes, that are to share a batch.

    Args:
        settings: Of the training.

    Raises:
        UserError: There are fewer, or a launcher has started another number.
    """
    devices, num_nodes = settings.devices, settings.num_nodes
    is_started = torchrun_rank() is not None
    n_started = os.environ["WORLD_SIZE"] if is_started else ""
    if is_started and n_started != str(settings.world_size):
        raise UserError(
            f"torchrun started {n_started} processes, but devices = {devices} on each"
            f" of num_nodes = {num_nodes} are {settings.world_size}; give --devices"
            " and --num-nodes as torchrun has them, or start it without"
        )
    if num_nodes > 1 and not is_started:
        raise UserError(
            f"num_nodes = {num_nodes}, but torchrun did not start this; start it so on"
            " each machine, as docs/scale.md shows, or leave --num-nodes out"
        )
    if settings.world_size == 1:
        return
    from pretext.device import n_devices, pick_device

    kind, n = pick_device().type, n_devices()
    if devices > n:
        noun = {"cuda": "GPU"}.get(kind, "core") + "s" * (n != 1)
        raise UserError(
            f"devices = {devices}, but this machine has {n} {noun}; give --devices {n}"
        )
    if settings.sync_batchnorm and kind != "cuda":
        raise UserError(
            "sync_batchnorm = true needs GPUs, and this machine has none; take it out:"
            " each process then has the statistics of its part of a batch"
        )


def check_names(backbone: str, optimizer: str, logger: str = "none") -> None:
    """Ask the libraries for the names that they have to know; it may load torch.

    Args:
        backbone: Name of a timm network, or empty.
        optimizer: Name of an optimiser.
        logger: Name of an extra package, or none.

    Raises:
        UserError: A name is unknown, or the package is not installed.
    """
    if logger != "none" and find_spec(logger) is None:
        raise UserError(
            f"logger = {logger!r}, but that is not installed; pip install"
            f" {PACKAGES[logger]}, or leave it out"
        )
    if backbone:
        check_backbone(backbone)
    check_optimizer(optimizer)

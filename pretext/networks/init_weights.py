"""What a training begins with: random weights, those of a stage, or a file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.experiment import commands
from data_prep.run_folders.runs import Run
from data_prep.settings import nearest

if TYPE_CHECKING:
    from torch import nn

SCRATCH = "scratch"
NO_TASKS = ("pretext.export", "pretext.probe")  # commands that train no backbone
DEFAULT_BACKBONE = "resnet34"  # where neither the weights nor the settings name one


def pretexts() -> list[str]:
    """List the stages that train a backbone."""
    found = [name for name in commands() if name.startswith("pretext.")]
    return [name for name in found if name not in NO_TASKS]


def is_stage(init: str) -> bool:
    """Tell whether the first weights are those of a stage of the run."""
    return init.startswith("pretext.") and not init.endswith(".safetensors")


def check_init(init: str) -> None:
    """Check the name of the first weights; a file is looked for later.

    Raises:
        UserError: It is no pretext stage, ``scratch`` or a .safetensors file.
    """
    stages = pretexts()
    if init in (SCRATCH, *stages) or init.endswith(".safetensors"):
        return
    raise UserError(
        f"init = {init!r} is no pretext stage, {SCRATCH} or .safetensors file;"
        f" {nearest(init, [*stages, SCRATCH])}"
    )


def reads_of(init: str) -> list[str]:
    """List the stages that a training with these first weights reads."""
    return ["data_prep.prepare", *([init] if is_stage(init) else [])]


def find_weights(init: str, run: Run) -> Path | None:
    """Find the weights to begin with; None: random ones, because the user said scratch.

    Raises:
        UserError: The stage is not finished, or there is no such stage or file.
    """
    check_init(init)
    if init == SCRATCH:
        return None
    if init.endswith(".safetensors"):
        if not Path(init).is_file():
            raise UserError(f"init = {init!r}: there is no such file")
        return Path(init)
    return run.finished(init).folder / "backbone.safetensors"


def key_of(init: str, first_weights: Path | None) -> dict[str, Any]:
    """Identify the first weights for a record, where no stage that is read does."""
    if first_weights is None or is_stage(init):
        return {"init": init}
    with first_weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"init": {"file": first_weights.name, "sha256": digest}}


def check_alone(path: Path, about: Mapping[str, Any]) -> None:
    """Check that weights are those of a backbone, and not of a net with heads.

    Raises:
        UserError: They are not.
    """
    if "backbone" not in about or "tasks" in about:
        raise UserError(
            f"{path}: these are not the weights of a backbone alone but"
            f" {about.get('format')!r}; give backbone.safetensors of a pretext stage"
        )


def begin_backbone(
    asked: str, first_weights: Path | None, side_px: int
) -> "tuple[str, nn.Module, str]":
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
    from pretext.networks.backbones import build_backbone, load_backbone, load_weights

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

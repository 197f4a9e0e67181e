"""The formats that a network is exported in, each checked by reading it back.

All take RGB pictures of S x S pixels and give (N, D) features. The graph in ONNX takes
grey levels 0..255 and normalises them itself; for timm its own transform does that, as
the configuration beside the weights tells it.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.pictures.fit import PADDING
from pretext.data.pictures import Normalisation
from pretext.networks.backbones import save_weights

# what timm calls a ``fit``; it pads with a colour of its own
CROP_MODES = {**dict.fromkeys(PADDING, "border"), "squash": "squash", "crop": "center"}
TOLERANCE = 1e-4  # of the largest feature; rounding alone makes 3e-6


class FromGreyLevels(nn.Module):
    """Backbone that normalises what it is given.

    Args:
        backbone: Gives (B, D) features of normalised pictures.
        normalise: Statistics of the collection.
    """

    def __init__(self, backbone: nn.Module, normalise: Normalisation) -> None:
        super().__init__()
        self.backbone, self.normalise = backbone, normalise
        self.eval().to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, S, S) grey levels 0..255 into (B, D) features."""
        features: Tensor = self.backbone(self.normalise(images))
        return features


def write_onnx(
    model: nn.Module,
    metadata: dict[str, Any],
    path: Path,
    outputs: Sequence[str] = ("features",),
) -> str:
    """Write the whole model as one ONNX file, and say how it was checked.

    Args:
        model: From (B, 3, S, S) grey levels to a tensor, or to a tuple of tensors.
        metadata: JSON values that are kept in the file; with ``side_px``, S.
        path: The file.
        outputs: Names of what it gives.

    Raises:
        UserError: The packages are missing, or the network cannot be exported.
    """
    if any(find_spec(package) is None for package in ("onnx", "onnxscript")):
        raise UserError(
            "--to onnx needs further packages: pip install onnx onnxscript onnxruntime"
        )
    example = pictures_of_noise(2, metadata["side_px"])
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"backbone = {metadata['backbone']!r}: torch cannot export it to ONNX"
            f" ({reason}); choose another format with --to"
        ) from None
    assert program is not None
    properties = {key: json.dumps(value) for key, value in metadata.items()}
    program.model.metadata_props.update(properties)
    program.save(path, external_data=False)  # or the weights were a file of their own
    if find_spec("onnxruntime") is None:
        return "not checked, for want of the package onnxruntime"
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pictures = pictures_of_noise(3, metadata["side_px"])  # not the batch of the example
    values = session.run(list(outputs), {"images": pictures.numpy()})
    return compared(
        model, pictures, [torch.from_numpy(v) for v in values], "onnxruntime"
    )


def write_timm(model: FromGreyLevels, metadata: dict[str, Any], path: Path) -> str:
    """Write weights and configuration for timm, and say how they were checked.

    Raises:
        UserError: timm builds another network than was trained.
    """
    import timm

    cfg = timm_configuration(metadata)
    save_weights(path, model.backbone.state_dict(), cfg)
    pictures = pictures_of_noise(3, metadata["side_px"])
    mean, std = (torch.tensor(cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    try:
        loaded = timm.create_model(
            metadata["backbone"],
            pretrained=True,
            num_classes=0,
            pretrained_cfg_overlay=cfg | {"file": str(path)},
        ).eval()
        with torch.inference_mode():
            features = loaded((pictures / 255 - mean) / std)
    except (AssertionError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"backbone = {metadata['backbone']!r}: timm does not load it back"
            f" ({reason})"
        ) from None
    return compared(model, pictures, [features], "timm")


def timm_configuration(metadata: dict[str, Any]) -> dict[str, Any]:
    """Say what timm must know of the weights: a ``pretrained_cfg_overlay``.

    Every key that timm has set for weights of its own and that would change what is
    loaded is set here; without addresses it cannot download those by mistake.
    """
    return {
        "architecture": metadata["backbone"].partition(".")[0],
        "description": f"trained by {metadata.get('stage', 'an unnamed stage')}",
        "num_classes": 0,
        "input_size": [3, metadata["side_px"], metadata["side_px"]],
        "mean": [value / 255 for value in metadata["mean"]],
        # the same floor of one grey level as in training
        "std": [max(value, 1.0) / 255 for value in metadata["std"]],
        "interpolation": "lanczos",
        "crop_pct": 1.0,
        "crop_mode": CROP_MODES[metadata.get("fit", "pad")],
        "test_input_size": None,
        "custom_load": False,
        "label_offset": 0,
        "url": None,
        "hf_hub_id": None,
    }


def pictures_of_noise(n: int, side_px: int) -> Tensor:
    """Make (n, 3, S, S) float pictures of grey levels 0..255."""
    generator = torch.Generator().manual_seed(n)
    return 255 * torch.rand(n, 3, side_px, side_px, generator=generator)


def compared(
    model: nn.Module, pictures: Tensor, values: Sequence[Tensor], by: str
) -> str:
    """Compare what another program gives with what the model does.

    Args:
        model: What was written.
        pictures: (n, 3, S, S) grey levels.
        values: Each output for these pictures, by what was read back.
        by: Name of the program that gave them.

    Returns:
        A sentence on the output that differs most, by the largest of its values.

    Raises:
        UserError: They differ by more than rounding.
    """
    with torch.inference_mode():
        expected = model(pictures)
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    worst = (-1.0, 0.0, 1.0)  # relative, apart, largest
    for value, reference in zip(values, expected, strict=True):
        apart = float((reference - value).abs().max())
        largest = float(reference.abs().max())
        if not apart <= TOLERANCE * largest:  # nor is nan
            raise UserError(
                f"{by} gives other values than torch: apart by up to {apart:.2g}, where"
                f" the largest is {largest:.2g}; nothing was written"
            )
        worst = max(worst, (apart / (largest or 1.0), apart, largest))
    _, apart, largest = worst
    return f"{by} differs by at most {apart:.1g}, the largest value is {largest:.2g}"

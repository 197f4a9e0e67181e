"""The lines that an export to ONNX prints: Python that uses the graph as it is.

They bring a picture to the network as the run did, so they depend on ``fit`` and side.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.pictures.fit import PADDING

RUN = """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

side = {side}  # px, of {input}
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
{resize}
images = pixels.astype(np.float32).transpose(2, 0, 1)[None]  # grey levels 0..255
session = onnxruntime.InferenceSession({file})
"""
RESIZE = {
    "squash": """\
# stretched to a square, as the run did: --fit squash
small = picture.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
pixels = np.asarray(small)""",
    "crop": """\
# cut to the middle square, as the run did: --fit crop
length = min(picture.size)
left, top = ((whole - length) // 2 for whole in picture.size)
middle = picture.crop((left, top, left + length, top + length))
small = middle.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
pixels = np.asarray(small)""",
}
PADDED = """\
# its shape is kept and its margins are filled, as the run did: --fit {fit}
longest = max(picture.size)
width, height = (max(1, round(side * length / longest)) for length in picture.size)
small = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)
top, left = (side - height) // 2, (side - width) // 2
margins = ((top, side - height - top), (left, side - width - left), (0, 0))
pixels = np.pad(np.asarray(small), margins, {padding})"""


def onnx_lines(file: Path, metadata: Mapping[str, Any], input_text: str) -> str:
    """Write the lines that open the graph and make its input, ``images``.

    Args:
        file: The graph.
        metadata: With ``side_px`` of its input, and ``fit``: how the run made pictures
            square, ``"pad"`` where it does not say.
        input_text: What had that side in the training.
    """
    return RUN.format(
        side=metadata["side_px"],
        input=input_text,
        resize=_resize_lines(metadata.get("fit", "pad")),
        file=json.dumps(str(file)),
    )


def _resize_lines(fit: str) -> str:
    if fit not in PADDING:
        return RESIZE[fit]
    padding = ", ".join(f"{name}={value!r}" for name, value in PADDING[fit].items())
    return PADDED.format(fit=fit, padding=padding.replace("'", '"'))


def input_of(metadata: Mapping[str, Any]) -> str:
    """Say what a pretext trained its backbone on, which explains an odd side.

    Args:
        metadata: What stands beside the weights.
    """
    stage = metadata.get("stage", "the training")
    if "grid" not in metadata:
        return f"the views that {stage} trained it on"
    if metadata["form"] == "orders":
        return f"the tiles that {stage} trained it on"
    grid = metadata["grid"]
    tile_px = metadata["side_px"] // grid
    return f"the puzzles that {stage} trained it on: {grid} x {grid} tiles of {tile_px}"

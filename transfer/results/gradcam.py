"""Where a net looks: Grad-CAM of one output of a task, in the plain view.

Source: Selvaraju et al. 2017, Grad-CAM, arXiv 1610.02391; computed by the library
grad-cam. Of a number it is asked what raises it, or what lowers it.

Shapes: B pictures, S side of the input, D channels, h w of the last feature map, F
outputs of a task that are stored, W raw outputs of its head.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.errors import UserError
from pretext.evaluation.embed import at_side
from transfer.networks.task_net import TaskNet

if TYPE_CHECKING:
    from data_prep.arrays import Floats, Ints

RAISES, LOWERS = 1.0, -1.0


class ExplainedTask(nn.Module):
    """Gives the one value of each picture that is explained.

    Args:
        net: A net that has a head for the task.
        task: What the net tells of the task.
    """

    def __init__(self, net: TaskNet, task: Mapping[str, Any]) -> None:
        super().__init__()
        self.net, self.task = net, str(task["name"])
        self.is_probability = task["activation"] != "identity" and all(task["outputs"])
        self.tap = nn.Identity()  # the last feature map goes through it
        self.columns: Tensor | None = None  # (B, C) of the user's table
        self.output_idx = torch.zeros(0, dtype=torch.long)
        self.signs = torch.ones(0)

    @property
    def layer(self) -> nn.Module:
        """Where the map is taken.

        A network with class token gives no gradient to its last tokens, so there it is
        the norm at the beginning of its last block, as grad-cam advises.
        """
        blocks = getattr(self.net.backbone, "blocks", None)
        norm = getattr(blocks[-1], "norm1", None) if blocks is not None else None
        has_tokens = hasattr(self.net.backbone, "pos_embed")
        return norm if has_tokens and norm is not None else self.tap

    def as_map(self, values: Tensor) -> Tensor:
        """Bring a layer's tokens, or maps with channels last, to (B, D, h, w)."""
        backbone: Any = self.net.backbone
        if values.ndim == 3:
            values = values[:, getattr(backbone, "num_prefix_tokens", 1) :]
            side = round(values.shape[1] ** 0.5)
            return values.view(len(values), side, side, -1).permute(0, 3, 1, 2)
        is_last = values.shape[-1] == backbone.num_features != values.shape[1]
        return values.permute(0, 3, 1, 2) if is_last else values

    def forward(self, images: Tensor) -> Tensor:
        """Give (B,) values of (B, 3, S, S) grey levels."""
        backbone: Any = self.net.backbone
        features = self.tap(backbone.forward_features(self.net.normalise(images)))
        head = self.net.head(self.task)
        raw = head(backbone.forward_head(features), self.columns)
        predicted = head.predict(raw)
        # a probability near 1 has no slope left; its logit has
        is_logit = raw.shape == predicted.shape and self.is_probability
        outputs = raw if is_logit else predicted
        rows = torch.arange(len(outputs))
        values: Tensor = outputs[rows, self.output_idx] * self.signs
        return values


def maps_of(
    explained: ExplainedTask,
    images: Tensor,
    output_idx: "Ints",
    signs: "Floats",
    columns: Tensor | None = None,
) -> NDArray[np.float32]:
    """Compute the maps of some pictures.

    Args:
        explained: The net and its task.
        images: (B, 3, H, H) grey levels of whole pictures.
        output_idx: (B,) which of the F outputs.
        signs: (B,) ``RAISES`` or ``LOWERS``.
        columns: (B, C) of the user's table, for a net that learned from some.

    Returns:
        (B, S, S), from 0 where nothing counts to 1; all 0 where nothing does at all.

    Raises:
        UserError: The package grad-cam is missing.
    """
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError:
        raise UserError(
            "transfer.explain needs a further package: pip install grad-cam"
        ) from None
    inputs = at_side(images, explained.net.side_px).float()
    explained.columns = columns
    explained.output_idx = torch.from_numpy(output_idx)
    explained.signs = torch.from_numpy(signs).float()
    identities = [_itself] * len(inputs)
    with GradCAM(
        model=explained,
        target_layers=[explained.layer],
        reshape_transform=explained.as_map,
    ) as cam:
        maps: NDArray[np.float32] = cam(input_tensor=inputs, targets=identities)
    return np.nan_to_num(maps)


def _itself(value: Tensor) -> Tensor:
    return value


def overlay(
    pixels: NDArray[np.uint8], weight: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Lay a map (S, S) of 0 to 1 over a picture (H, H, 3), warm where it is high."""
    import matplotlib
    from PIL import Image

    side = pixels.shape[1]
    resized = Image.fromarray(weight.astype(np.float32)).resize((side, side))
    level = np.clip(np.asarray(resized), 0, 1)
    warm = matplotlib.colormaps["inferno"](level)[..., :3] * 255
    grey = pixels.mean(axis=2, keepdims=True)
    alpha = 0.6 * level[..., None]
    mixed: NDArray[np.uint8] = (grey * (1 - alpha) + warm * alpha).astype(np.uint8)
    return mixed

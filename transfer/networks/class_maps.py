"""Where a picture shows its class: maps of a net with a linear head, without gradient.

The mean of a map over its places, and the bias, are the logit of the class.

Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization, arXiv
1512.04150.

Shapes: B pictures, D features, h w of the last maps of the backbone.
"""

from typing import Any

import torch
from torch import Tensor, nn

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.device import moved
from transfer.networks.task_net import TaskNet


@torch.no_grad()
def class_maps(net: TaskNet, task: str, images: Tensor, class_idx: Ints) -> Tensor:
    """Give (B, h, w) maps of the classes of (B, 3, S, S) grey levels.

    Args:
        net: Its backbone has maps, see ``check_maps``.
        task: The task of classes.
        images: Grey levels.
        class_idx: (B,) classes.
    """
    backbone: Any = net.backbone
    maps_BDhw: Tensor = backbone.forward_features(net.inputs_of(images)).float()
    weight_KD = net.head(task).linear.weight[:, : maps_BDhw.shape[1]].float()
    weight_BD = weight_KD[moved(torch.from_numpy(class_idx), images.device)]
    return (maps_BDhw * weight_BD[:, :, None, None]).sum(dim=1)


def check_maps(backbone: nn.Module, name: str, side_px: int) -> None:
    """Check that the features of a network are means of maps, one for each.

    Raises:
        UserError: They are not.
    """
    any_backbone: Any = backbone.eval()
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, side_px, side_px, generator=rng)
    with torch.no_grad():
        maps, features = any_backbone.forward_features(images), any_backbone(images)
    means = maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps
    if means.shape != features.shape or not torch.allclose(
        means, features, rtol=1e-3, atol=1e-4
    ):
        raise UserError(
            "mix = 'snapmix' reads maps of classes off a network whose features are"
            f" means of its last maps, and those of {name!r} are not; give mix ="
            " 'cutmix', or a network such as resnet18"
        )

"""Networks of timm's families that have no tiny one among timm's own, registered."""

from typing import Any

from timm.models import register_model
from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer

# of each family that is promised, the smallest
TINY = (
    *("test_resnet", "test_vit", "test_efficientnet", "test_convnext"),
    *("tiny_swin", "tiny_seresnext"),
)


@register_model
def tiny_swin(num_classes: int, img_size: int, **_: Any) -> SwinTransformer:
    """Build a swin of two stages."""
    net = SwinTransformer(
        img_size=img_size,
        patch_size=4,
        window_size=2,
        embed_dim=16,
        depths=(1, 2),
        num_heads=(1, 2),
        num_classes=num_classes,
    )
    net.pretrained_cfg = {"architecture": "tiny_swin"}
    return net


@register_model
def tiny_seresnext(num_classes: int, **options: Any) -> ResNet:
    """Build a ResNeXt with squeeze and excitation, a block in each stage."""
    if "img_size" in options:
        raise TypeError("img_size")  # as timm's convolutional networks do
    net = ResNet(
        block=Bottleneck,
        layers=(1, 1, 1, 1),
        channels=(8, 8, 8, 8),
        stem_width=8,
        cardinality=4,
        base_width=8,
        block_args={"attn_layer": "se"},
        num_classes=num_classes,
    )
    net.pretrained_cfg = {"architecture": "tiny_seresnext"}
    return net

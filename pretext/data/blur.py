"""Gaussian blur of whole batches, each picture by its own deviation.

Source: the kernel is that of torchvision's ``gaussian_blur``, with its mirrored border.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(images: Tensor, sigmas: Tensor, radius: int) -> Tensor:
    """Blur (B, C, H, W) images, picture b by a deviation of ``sigmas[b]`` pixels.

    Args:
        images: (B, C, H, W) floats.
        sigmas: (B,) above 0.
        radius: Pixels that the kernel reaches on either side; below H and W.
    """
    n, channels, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)  # (B, 2 * radius + 1)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    # each channel of each picture is a channel of one picture, with a kernel of its own
    kernels = kernels.repeat_interleave(channels, dim=0)
    planes = images.reshape(1, n * channels, height, width)
    planes = F.pad(planes, [radius] * 4, mode="reflect")
    planes = F.conv2d(planes, kernels[:, None, None, :], groups=n * channels)
    planes = F.conv2d(planes, kernels[:, None, :, None], groups=n * channels)
    return planes.view(n, channels, height, width)

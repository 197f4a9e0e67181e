"""Rotations, shears, zooms and shifts of views, folded into their one resampling.

A warp changes a view as if it had been cut out already; what is sampled is the picture,
so that each pixel is interpolated once however many warps there are.

Shapes: B pictures. Places are x, y in [-1, 1]^2 of a picture or a view.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Warps:
    """Affine maps from places of the warped views to places of the plain ones.

    Attributes:
        linear: (B, 2, 2) rotate, shear and zoom about the middle.
        shift: (B, 2) are added; 2 is the whole side.
    """

    linear: Tensor
    shift: Tensor

    def then(self, later: "Warps") -> "Warps":
        """Join them with warps of the warped views: places go back in turn."""
        shift_B2 = (self.linear @ later.shift[:, :, None])[:, :, 0]
        return Warps(
            linear=self.linear @ later.linear,
            shift=shift_B2 + self.shift,
        )

    def stretch(self) -> Tensor:
        """Give (B, 1) sides of what is shown, as shares of those of the plain view."""
        shares_B1: Tensor = torch.linalg.det(self.linear).abs().sqrt()[:, None]
        return shares_B1

    def applied_to(self, maps_B23: Tensor, fill_B2: Tensor | None = None) -> Tensor:
        """Join them with the maps of views that are cut out of pictures.

        What a warp turns out of the picture it shows beyond its edge. So the middle of
        a view is moved until it lies within the picture, or shows all of it, before it
        is shifted: ``crop_boxes`` does so for what is not warped.

        Args:
            maps_B23: From places of plain views to those of the pictures.
            fill_B2: Share of width and height that the picture fills; None: all.
        """
        linear_B22 = maps_B23[:, :, :2] @ self.linear
        extent_B2 = linear_B22.abs().sum(dim=2)
        fill = torch.ones(1, 2) if fill_B2 is None else fill_B2
        reach_B2 = (fill - extent_B2).abs()
        centre_B2 = torch.minimum(torch.maximum(maps_B23[:, :, 2], -reach_B2), reach_B2)
        shift_B21 = maps_B23[:, :, :2] @ self.shift[:, :, None]
        return torch.cat([linear_B22, centre_B2[:, :, None] + shift_B21], dim=2)


@dataclass(frozen=True, kw_only=True)
class WarpParams:
    """How far a view may be shifted, zoomed and rotated.

    Source: the ShiftScaleRotate of Albumentations, arXiv 1809.06839.

    Attributes:
        p: Probability that it is.
        rotate: Largest angle, degrees.
        zoom: Largest change of the size, as a share.
        shift: Largest shift along each side, as a share of it.
    """

    n_random: ClassVar[int] = 5
    p: float
    rotate: float
    zoom: float
    shift: float

    def draw(self, u_B5: Tensor) -> Warps:
        """Turn random numbers into warps: whether, angle, zoom, shift by x and y."""
        is_warped = (u_B5[:, :1] < self.p).float()
        change_B4 = is_warped * (2 * u_B5[:, 1:] - 1)
        # the other way round: from the places of the warped view
        size_B11 = (1 / (1 + self.zoom * change_B4[:, 1]))[:, None, None]
        rotation_B22 = rotations(change_B4[:, 0] * math.radians(self.rotate))
        return Warps(
            linear=size_B11 * rotation_B22,
            shift=2 * self.shift * change_B4[:, 2:],
        )


def rotations(angles_B: Tensor) -> Tensor:
    """Give (B, 2, 2) rotations by (B,) angles, radians."""
    cos, sin = angles_B.cos(), angles_B.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)


def shown_content(maps_B23: Tensor, fill_B2: Tensor) -> Tensor:
    """Say where in its view a padded picture is: (B, 4) left, top, right, bottom.

    Of a view that is rotated by less than a quarter it is the box around the picture.

    Args:
        maps_B23: From places of the views to those of the pictures.
        fill_B2: Share of width and height that the picture fills.
    """
    signs_42 = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    corners_B24 = (fill_B2[:, None] * signs_42 - maps_B23[:, None, :, 2]).mT
    places_B24 = torch.linalg.solve(maps_B23[:, :, :2], corners_B24)
    lowest, highest = places_B24.amin(dim=2), places_B24.amax(dim=2)
    return torch.cat([lowest, highest], dim=1).clamp(-1, 1)

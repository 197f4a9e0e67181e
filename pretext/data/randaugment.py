"""RandAugment of whole batches: n operations of one magnitude, drawn for each picture.

Source: Cubuk et al. 2020, "RandAugment", arXiv 1909.13719; operations and magnitudes
are those of torchvision's RandAugment, of which 30 is the largest.
Differs: what moves pixels is folded into the resampling of the view and comes before
what changes levels, about the middle, and beyond its edge a picture is mirrored;
torchvision interpolates each time, shears about a corner, and leaves black. Pictures
go through an operation in groups, those that drew it together.

Shapes: B pictures, n operations each; S side of the views.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from pretext.data.warps import Warps, rotations
from pretext.device import moved

HIGHEST = 30  # the magnitude of these changes:
ROTATE, SHEAR, TRANSLATE, BLEND = 30.0, 0.3, 300 / 331, 0.9  # degrees; 2: the side
N_BITS = 4  # that posterize takes of 8
MOVES = ("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BLENDS = ("brightness", "contrast", "colour")
LEVELS = ("autocontrast", "equalize", "posterize", "solarize", "sharpness")


@dataclass(frozen=True, kw_only=True)
class RandParams:
    """Which operations are drawn, how many and how strong.

    Attributes:
        n: Operations per picture.
        magnitude: 0 to 30.
        colours: Whether those are drawn that change levels, besides those that move
            pixels.
    """

    n: int = 2
    magnitude: int = 9
    colours: bool = True

    @property
    def n_random(self) -> int:
        """Random numbers that one view takes."""
        return 2 * self.n

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of those that are drawn, each as likely as another."""
        return (*MOVES, *BLENDS, *LEVELS) if self.colours else MOVES

    @property
    def share(self) -> float:
        """The magnitude, as a share of the largest."""
        return self.magnitude / HIGHEST

    def drawn(self, u_BR: Tensor) -> tuple[Tensor, Tensor]:
        """Turn random numbers into (B, n) operations and signs.

        Returns:
            Places in ``operations``, and -1 or 1.
        """
        n_operations = len(self.operations)
        which_Bn = (u_BR[:, : self.n] * n_operations).long().clamp(max=n_operations - 1)
        return which_Bn, 1 - 2 * (u_BR[:, self.n :] < 0.5).float()

    def warps(self, u_BR: Tensor) -> Warps:
        """Give the warps of those operations that move pixels, joined in their order.

        Args:
            u_BR: (B, n_random), on the CPU.
        """
        which_Bn, sign_Bn = self.drawn(u_BR)
        warps = []
        for which_B, sign_B in zip(which_Bn.T, sign_Bn.T, strict=True):
            change = {
                name: self.share * sign_B * (which_B == idx)
                for idx, name in enumerate(MOVES)
            }
            ones = torch.ones_like(sign_B)
            shear_x, shear_y = SHEAR * change["shear_x"], SHEAR * change["shear_y"]
            shears = torch.stack([ones, shear_x, shear_y, ones], dim=1).view(-1, 2, 2)
            # a shift of the picture to the right looks at places to the left
            shift = torch.stack([change["translate_x"], change["translate_y"]], dim=1)
            warps.append(
                Warps(
                    linear=rotations(math.radians(ROTATE) * change["rotate"]) @ shears,
                    shift=-TRANSLATE * shift,
                )
            )
        joined = warps[0]
        for later in warps[1:]:
            joined = joined.then(later)
        return joined

    def with_levels_changed(self, views: Tensor, u_BR: Tensor) -> Tensor:
        """Do those operations that change levels, in their order.

        Args:
            views: (B, 3, S, S) grey levels; changed in place.
            u_BR: (B, n_random), on the CPU.
        """
        if not self.colours:
            return views
        which_Bn, sign_Bn = self.drawn(u_BR)
        first_blend = len(MOVES)
        for which_B, sign_B in zip(which_Bn.T, sign_Bn.T, strict=True):
            kind_B = which_B - first_blend
            idx = ((kind_B >= 0) & (kind_B < len(BLENDS))).nonzero()[:, 0]
            if len(idx):
                factor = 1 + BLEND * self.share * sign_B[idx]
                rows = moved(idx, views.device)
                views[rows] = _blended(views[rows], kind_B[idx], factor)
            for (name, sign), change in self._changes().items():
                is_drawn = which_B == self.operations.index(name)
                idx = (is_drawn & ((sign_B == sign) | (sign == 0))).nonzero()[:, 0]
                if len(idx):
                    rows = moved(idx, views.device)
                    views[rows] = 255 * change(views[rows] / 255)
        return views

    def _changes(self) -> Mapping[tuple[str, int], Callable[[Tensor], Tensor]]:
        """Give torchvision's functions of levels 0..1, by name and sign; 0: any."""
        bits, sharper = 8 - round(N_BITS * self.share), BLEND * self.share
        return {
            ("autocontrast", 0): tv.autocontrast,
            ("equalize", 0): tv.equalize,
            ("posterize", 0): lambda x: tv.posterize(x, bits),
            ("solarize", 0): lambda x: tv.solarize(x, 1 - self.share),
            ("sharpness", -1): lambda x: tv.adjust_sharpness(x, 1 - sharper),
            ("sharpness", 1): lambda x: tv.adjust_sharpness(x, 1 + sharper),
        }


def _blended(images: Tensor, kind_n: Tensor, factor_n: Tensor) -> Tensor:
    """Blend each of (n, 3, S, S) images with black, its mean luma, or its own luma.

    torchvision's ``adjust_brightness``, ``adjust_contrast``, ``adjust_saturation``,
    with a factor for each picture.

    Args:
        images: Grey levels.
        kind_n: Places in ``BLENDS``, on the CPU.
        factor_n: Shares of the image, on the CPU.
    """
    device = images.device
    factor = moved(factor_n, device)[:, None, None, None]
    is_contrast, is_colour = (
        moved((kind_n == BLENDS.index(name)).float(), device)[:, None, None, None]
        for name in ("contrast", "colour")
    )
    luma: Tensor = tv.rgb_to_grayscale(images)
    target = is_contrast * luma.mean(dim=(2, 3), keepdim=True) + is_colour * luma
    return (factor * images + (1 - factor) * target).clamp_(0, 255)

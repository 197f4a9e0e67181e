"""The canvas that subjects are laid out on: filled shapes and their contours.

Lengths are in units of the short side of the picture, so that a circle is round on
every format. Colours are RGB from 0 to 1.

Shapes: H W pixels of the enlarged canvas, N points of an outline.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from data_prep.demo_collection.grain import Floats, blur, floats, mix
from data_prep.demo_collection.outlines import Points

OUTSIDE = 0.1  # how far beyond the frame a shape may still throw its soft edge


class Canvas:
    """A scene in the making: the colours, and the contours drawn over them.

    Attributes:
        colours: (H, W, 3) RGB.
        width: Width in short sides, 1 or more.
        height: Height in short sides, 1 or more.
        unit_px: Length of the short side, in pixels of the enlarged canvas.
    """

    def __init__(self, width_px: int, height_px: int, ground: ArrayLike) -> None:
        """Prepare a canvas of one colour (3,)."""
        self.unit_px = min(width_px, height_px)
        self.width = width_px / self.unit_px
        self.height = height_px / self.unit_px
        self.colours: Floats = np.empty((height_px, width_px, 3), dtype=np.float32)
        self.colours[:] = np.asarray(ground, dtype=np.float32)
        self._contours = Image.new("L", (width_px, height_px))
        self._pen = ImageDraw.Draw(self._contours)

    @property
    def contours(self) -> Floats:
        """(H, W) the contour lines not hidden by a later shape, 0 to 1."""
        return floats(self._contours)

    def grid(self) -> tuple[Floats, Floats]:
        """Give the (1, W) horizontal and (H, 1) vertical place of every pixel."""
        height_px, width_px = self.colours.shape[:2]
        step = np.float32(1 / self.unit_px)
        x = np.arange(width_px, dtype=np.float32)[None, :]
        y = np.arange(height_px, dtype=np.float32)[:, None]
        return x * step, y * step

    def wash(self, top: ArrayLike, bottom: ArrayLike, end: float | None = None) -> None:
        """Cover everything with a vertical gradient that is complete at ``end``."""
        _, y = self.grid()
        weight = np.clip(y / (self.height if end is None else end), 0, 1)
        first, last = np.asarray(top, np.float32), np.asarray(bottom, np.float32)
        self.colours[:] = first + (last - first) * weight[..., None]

    def glow(self, at: tuple[float, float], radius: float, colour: ArrayLike) -> None:
        """Let a light shine at a place and fade out over a radius."""
        x, y = self.grid()
        distance = np.hypot(x - at[0], y - at[1]) / radius
        self.colours = mix(self.colours, colour, np.exp(-(distance**2)))

    def veil(self, weight: Floats, colour: ArrayLike) -> None:
        """Lay a colour over everything with an (H, W) weight."""
        self.colours = mix(self.colours, colour, weight)

    def fill(
        self,
        points: ArrayLike,
        colour: ArrayLike,
        *,
        to: ArrayLike | None = None,
        relief: float = 0.0,
        soft: float = 0.0,
        opacity: float = 1.0,
        contour: float = 0.007,
    ) -> None:
        """Fill a shape, lit from the upper left.

        Args:
            points: (N, 2) outline, x and y in short sides.
            colour: (3,) RGB.
            to: (3,) RGB at the bottom of the shape, for a gradient.
            relief: How strongly the shape is rounded by light and shade.
            soft: Blur of the edge, in short sides.
            opacity: 0 to 1.
            contour: Width of its contour line, in short sides; 0 for none.
        """
        outline = np.asarray(points, dtype=np.float64) * self.unit_px
        part = self._part(outline, margin_px=3 * soft * self.unit_px + 2)
        if part is None:
            return
        stencil = Image.new("L", part.size)
        path = (outline - (part.left, part.top)).ravel().tolist()
        ImageDraw.Draw(stencil).polygon(path, fill=255)
        mask = floats(stencil)
        shape: Floats = np.broadcast_to(
            np.asarray(colour, np.float32), (*mask.shape, 3)
        )
        if to is not None:
            weight = np.linspace(0, 1, len(mask), dtype=np.float32)[:, None]
            shape = mix(shape, to, np.broadcast_to(weight, mask.shape))
        if relief:
            shape = _rounded(shape, mask, relief)
        if soft:
            mask = blur(mask, soft * self.unit_px)
        self._lay(part, shape, mask * np.float32(opacity))
        if opacity > 0.6 and not soft:
            self._pen.polygon(outline.ravel().tolist(), fill=0)
            if contour:
                closed = np.concatenate([outline, outline[:1]]).ravel().tolist()
                width_px = max(1, round(contour * self.unit_px))
                self._pen.line(closed, fill=255, width=width_px, joint="curve")

    def line(self, points: ArrayLike, width: float, colour: ArrayLike) -> None:
        """Draw a line that is both colour and contour, ``width`` in short sides."""
        outline = np.asarray(points, dtype=np.float64) * self.unit_px
        width_px = max(1, round(width * self.unit_px))
        part = self._part(outline, margin_px=width_px + 2)
        if part is None:
            return
        stencil = Image.new("L", part.size)
        path = (outline - (part.left, part.top)).ravel().tolist()
        ImageDraw.Draw(stencil).line(path, fill=255, width=width_px, joint="curve")
        mask = floats(stencil)
        shape = np.broadcast_to(np.asarray(colour, np.float32), (*mask.shape, 3))
        self._lay(part, shape, mask)
        whole = outline.ravel().tolist()
        self._pen.line(whole, fill=255, width=width_px, joint="curve")

    def inside(self, points: ArrayLike) -> Floats:
        """Give the (H, W) mask of a shape, 0 or 1."""
        outline = np.asarray(points, dtype=np.float64) * self.unit_px
        stencil = Image.new("1", self._contours.size)
        ImageDraw.Draw(stencil).polygon(outline.ravel().tolist(), fill=1)
        return np.asarray(stencil, dtype=np.float32)

    def _part(self, outline: Points, margin_px: float) -> "_Part | None":
        """Find the part of the picture that a shape can touch, if any."""
        height_px, width_px = self.colours.shape[:2]
        beyond_px = int(OUTSIDE * self.unit_px)
        first = np.floor(outline.min(axis=0) - margin_px).astype(int).tolist()
        last = np.ceil(outline.max(axis=0) + margin_px).astype(int).tolist()
        part = _Part(
            left=max(first[0], -beyond_px),
            top=max(first[1], -beyond_px),
            right=min(last[0], width_px + beyond_px),
            bottom=min(last[1], height_px + beyond_px),
        )
        if part.right <= 0 or part.bottom <= 0:
            return None
        return None if part.left >= width_px or part.top >= height_px else part

    def _lay(self, part: "_Part", shape: Floats, mask: Floats) -> None:
        """Lay a shape (h, w, 3) over a part of the picture by its mask (h, w)."""
        rows = slice(max(part.top, 0), part.bottom)
        columns = slice(max(part.left, 0), part.right)
        below = self.colours[rows, columns]
        seen = (
            slice(max(-part.top, 0), max(-part.top, 0) + below.shape[0]),
            slice(max(-part.left, 0), max(-part.left, 0) + below.shape[1]),
        )
        self.colours[rows, columns] = mix(below, shape[seen], mask[seen])


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A box of pixels that may reach a little beyond the frame."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


def _rounded(shape: Floats, mask: Floats, relief: float) -> Floats:
    """Model a flat (H, W, 3) shape by light on the upper left of its swollen mask."""
    reach_px = max(1.0, 0.22 * min(mask.shape))
    swollen = blur(mask, reach_px)
    slope_y, slope_x = np.gradient(swollen)
    light = (slope_x * 0.8 + slope_y) * reach_px * relief * 1.6
    core = np.clip(light, -0.75, 0.6)[..., None]
    lit = shape + (np.float32(1) - shape) * np.maximum(core, 0)
    return np.asarray(lit * (1 + np.minimum(core, 0)), dtype=np.float32)

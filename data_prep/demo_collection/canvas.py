"""The canvas that subjects are laid out on: filled shapes and their contours.

Lengths are in units of the short side of the picture, so that a circle is round on
every format. Colours are RGB from 0 to 1.

Shapes: H W pixels of the enlarged canvas, h w those of a part of it, N points.
"""

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

from data_prep.demo_collection.grain import Floats, blur, floats, mix, pixels

OUTSIDE = 0.1  # how far beyond the frame a shape may still throw its soft edge


class Canvas:
    """A scene in the making: the colours, and the contours drawn over them.

    Attributes:
        width: Width in short sides, 1 or more.
        height: Height in short sides, 1 or more.
        unit_px: Length of the short side, in pixels of the enlarged canvas.
        shape: H, W.
    """

    def __init__(self, width_px: int, height_px: int, ground: ArrayLike) -> None:
        """Prepare a canvas of one colour (3,)."""
        self.unit_px = min(width_px, height_px)
        self.width = width_px / self.unit_px
        self.height = height_px / self.unit_px
        self.shape = (height_px, width_px)
        border_px = self._border_px = int(OUTSIDE * self.unit_px)
        size = (width_px + 2 * border_px, height_px + 2 * border_px)
        rows = slice(border_px, border_px + height_px)
        self._frame = (rows, slice(border_px, border_px + width_px))
        self._colours = Image.new("RGB", size, tuple(pixels(ground).tolist()))
        self._contours = Image.new("L", size)

    @property
    def colours(self) -> Floats:
        """(H, W, 3) RGB."""
        return floats(self._colours)[self._frame]

    @colours.setter
    def colours(self, colours: Floats) -> None:
        image = Image.fromarray(pixels(colours))
        self._colours.paste(image, (self._border_px, self._border_px))

    @property
    def contours(self) -> Floats:
        """(H, W) the contour lines not hidden by a later shape, 0 to 1."""
        return floats(self._contours)[self._frame]

    def grid(self) -> tuple[Floats, Floats]:
        """Give the (1, W) horizontal and (H, 1) vertical position of every pixel."""
        y, x = np.ogrid[: self.shape[0], : self.shape[1]]
        step = np.float32(1 / self.unit_px)
        return x.astype(np.float32) * step, y.astype(np.float32) * step

    def wash(self, top: ArrayLike, bottom: ArrayLike, end: float | None = None) -> None:
        """Cover everything with a vertical gradient that is complete at ``end``."""
        _, y = self.grid()
        weight = np.clip(y / (self.height if end is None else end), 0, 1)
        self.colours = np.broadcast_to(mix(top, bottom, weight), (*self.shape, 3))

    def glow(self, centre: tuple[float, float], radius: float, hue: ArrayLike) -> None:
        """Let a light of a colour (3,) shine at a point and fade out over a radius."""
        x, y = self.grid()
        distance = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))
        self.veil(np.exp(-((distance / radius) ** 2)), hue)

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
        path = self._path(points)
        stencil = self._stencil(path)
        if opacity > 0.6 and not soft:
            self._contours.paste(0, mask=stencil)
            if contour:
                self._stroke(self._contours, [*path, *path[:4]], contour, 255)
        if soft:
            brush = ImageFilter.BoxBlur(soft * self.unit_px * 0.8)
            stencil = stencil.filter(brush).filter(brush)
        box = stencil.getbbox()
        if box is None:  # beyond the frame
            return
        cover = stencil.crop(box)
        mask = floats(cover)
        rows = np.linspace(0, 1, len(mask), dtype=np.float32)[:, None]
        shape = mix(colour, colour if to is None else to, rows)  # (h, 1, 3)
        if relief:
            shape = _rounded(shape, mask, relief)
        paint = np.broadcast_to(pixels(shape), (*mask.shape, 3))
        cover = cover.point(lambda value: value * opacity)
        self._colours.paste(Image.fromarray(paint), box, cover)

    def line(self, points: ArrayLike, width: float, colour: ArrayLike) -> None:
        """Draw a line that is both colour and contour, ``width`` in short sides."""
        path = self._path(points)
        self._stroke(self._colours, path, width, tuple(pixels(colour).tolist()))
        self._stroke(self._contours, path, width, 255)

    def inside(self, points: ArrayLike) -> Floats:
        """Give the (H, W) mask of a shape, 0 or 1."""
        return floats(self._stencil(self._path(points)))[self._frame]

    def _path(self, points: ArrayLike) -> list[float]:
        outline_px = np.asarray(points, dtype=np.float64) * self.unit_px
        return (outline_px + self._border_px).ravel().tolist()

    def _stencil(self, path: list[float]) -> Image.Image:
        stencil = Image.new("L", self._colours.size)
        ImageDraw.Draw(stencil).polygon(path, fill=255)
        return stencil

    def _stroke(
        self,
        image: Image.Image,
        path: list[float],
        width: float,
        fill: int | tuple[int, ...],
    ) -> None:
        width_px = max(1, round(width * self.unit_px))
        ImageDraw.Draw(image).line(path, fill, width_px, joint="curve")


def _rounded(shape: Floats, mask: Floats, relief: float) -> Floats:
    """Model a shape (h, 1, 3) by light from the upper left.

    The blurred mask (h, w) is taken as the height of a swollen form; where it rises
    away from the light it is bright, where it falls it is dark.
    """
    reach_px = max(1, round(0.22 * min(mask.shape)))
    swollen = blur(np.pad(mask, reach_px), reach_px)
    slope_y, slope_x = np.gradient(swollen)
    light = (slope_x * 0.8 + slope_y) * reach_px * relief * 1.6
    core = np.clip(light, -0.75, 0.6)[reach_px:-reach_px, reach_px:-reach_px, None]
    lit = shape + (np.float32(1) - shape) * np.maximum(core, 0)
    return np.asarray(lit * (1 + np.minimum(core, 0)), dtype=np.float32)

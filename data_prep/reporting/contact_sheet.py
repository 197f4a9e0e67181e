"""A contact sheet: pictures in rows, each over its caption, as one PNG.

Shapes: H W pixels of a picture.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE_PX, GAP_PX, LINE_PX, FONT_PX = 112, 8, 14, 11
PART = re.compile(r"[\W_]$")  # before the next part of a name
PAPER, INK, MARK = (255, 255, 255), (40, 40, 40), (200, 60, 30)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a sheet.

    Attributes:
        pixels: (H, W, 3) red, green, blue.
        lines: Its caption; what is too long is cut.
        is_marked: Draw a coloured frame around it.
    """

    pixels: NDArray[np.uint8]
    lines: Sequence[str]
    is_marked: bool = False


def contact_sheet(rows: Sequence[Sequence[Frame]]) -> bytes:
    """Draw the sheet.

    Args:
        rows: One or more, of one picture or more; the first of each is set apart.

    Returns:
        A PNG.
    """
    n_lines = max(len(frame.lines) for row in rows for frame in row)
    n_columns = max(map(len, rows))
    wide, high = SIDE_PX + GAP_PX, SIDE_PX + GAP_PX + n_lines * LINE_PX
    size = (n_columns * wide + 3 * GAP_PX, len(rows) * high + GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for i, row in enumerate(rows):
        for j, frame in enumerate(row):
            left = GAP_PX + j * wide + (2 * GAP_PX if j else 0)
            top = GAP_PX + i * high
            image = Image.fromarray(np.ascontiguousarray(frame.pixels))
            image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
            sheet.paste(image, (left, top))
            if frame.is_marked:
                box = (left - 3, top - 3, left + SIDE_PX + 2, top + SIDE_PX + 2)
                draw.rectangle(box, outline=MARK, width=3)
            for k, line in enumerate(frame.lines):
                text = _fitting(line, font)
                y_px = top + SIDE_PX + 2 + k * LINE_PX
                draw.text((left, y_px), text, fill=INK, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a line that is wider than a picture; its end often tells ids apart.

    It is cut where a part of a name begins, if one fits: half a number is another one.
    """
    if font.getlength(text) <= SIDE_PX:
        return text
    ends = [text[k:] for k in range(1, len(text) + 1)]
    fitting = [end for end in ends if font.getlength(f"...{end}") <= SIDE_PX]
    longest = fitting[0] if fitting else ""
    for end in fitting:
        if PART.search(text[: -len(end) or None]) and 2 * len(end) > len(longest):
            return f"...{end}"
    return f"...{longest}"

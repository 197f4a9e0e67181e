"""The views of one picture as files: exact pixels as PNG, or JPEG.

A JPEG is turned without loss where it can be: its blocks are moved, not decoded, by the
program jpegtran of libjpeg-turbo. That needs the program, and sides that are whole
blocks, for a block that is cut off by the right or lower edge cannot be moved to the
left or upper. Else it is decoded once and written anew.
"""

import io
import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image

from data_prep.errors import UnreadableError
from data_prep.pictures import jpeg
from data_prep.pictures.decode import ORIENTATION, read_picture

FileFormat = Literal["png", "jpeg"]
ENDINGS: Mapping[FileFormat, str] = {"png": ".png", "jpeg": ".jpg"}
WHOLE_SIZE = 1 << 16  # px: no picture that is read is larger, so none is made smaller
PNG_LEVEL = 1  # of compression: three times as fast as the usual 6, files 5 % larger
BLOCK = 8  # px, of a JPEG
# What Pillow and jpegtran call each view.
TURNS: Mapping[str, tuple[Image.Transpose, Sequence[str]]] = {
    "h": (Image.Transpose.FLIP_LEFT_RIGHT, ("-flip", "horizontal")),
    "v": (Image.Transpose.FLIP_TOP_BOTTOM, ("-flip", "vertical")),
    "hv": (Image.Transpose.ROTATE_180, ("-rotate", "180")),
    "r": (Image.Transpose.ROTATE_270, ("-rotate", "90")),  # counted the other way
    "hr": (Image.Transpose.TRANSVERSE, ("-transverse",)),
    "vr": (Image.Transpose.TRANSPOSE, ("-transpose",)),
    "hvr": (Image.Transpose.ROTATE_90, ("-rotate", "270")),
}


@dataclass(frozen=True, kw_only=True)
class FileForm:
    """In which form views are written.

    Attributes:
        format: ``"png"`` or ``"jpeg"``.
        quality: Of a JPEG that is written anew, 1 to 100.
    """

    format: FileFormat
    quality: int

    @property
    def ending(self) -> str:
        """Extension of the files, with its dot."""
        return ENDINGS[self.format]


def encoded_views(
    data: bytes, suffix: str, views: Sequence[str], form: FileForm
) -> list[bytes]:
    """Give the bytes of the file of each view of a picture.

    Args:
        data: The file of the picture.
        suffix: Extension of its name.
        views: Names out of ``dihedral.VIEWS``.
        form: Of the files that are written.

    Raises:
        UnreadableError: The picture is damaged, too large or of no known format.
    """
    picture = read_picture(data, WHOLE_SIZE, suffix)  # damage shows here
    if form.format == "jpeg" and can_be_turned(data):
        return [turned(data, view) for view in views]
    return [_encoded(_seen(picture.image, view), form) for view in views]


def can_be_turned(data: bytes) -> bool:
    """Tell whether a file is a JPEG that can be turned without loss.

    A turned file keeps neither profile nor orientation, so a picture that has one is
    decoded, which applies both.
    """
    if not data.startswith(jpeg.START) or not _has_jpegtran():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            is_upright = image.getexif().get(ORIENTATION, 1) == 1
            is_plain = image.mode in ("L", "RGB") and "icc_profile" not in image.info
            layers = getattr(image, "layer", [])
            blocks = [
                BLOCK * max((layer[axis] for layer in layers), default=1)
                for axis in (1, 2)
            ]
            # both sides by both blocks: a quarter turn exchanges them
            is_whole = all(
                length % block == 0 for length in image.size for block in blocks
            )
    return is_plain and is_upright and is_whole


@cache  # else all folders of PATH are searched for each picture
def _has_jpegtran() -> bool:
    return shutil.which("jpegtran") is not None


def turned(data: bytes, view: str) -> bytes:
    """Turn a JPEG without loss.

    Args:
        data: The file, of which ``can_be_turned``.
        view: Out of ``dihedral.VIEWS``.

    Raises:
        UnreadableError: jpegtran refuses the file.
    """
    if view == "e":
        return data
    command = ["jpegtran", "-copy", "none", "-perfect", *TURNS[view][1]]
    ended = subprocess.run(command, input=data, capture_output=True, check=False)
    if ended.returncode:
        raise UnreadableError(f"jpegtran: {ended.stderr.decode(errors='replace')}")
    return ended.stdout


def _seen(image: Image.Image, view: str) -> Image.Image:
    return image if view == "e" else image.transpose(TURNS[view][0])


def _encoded(image: Image.Image, form: FileForm) -> bytes:
    buffer = io.BytesIO()
    if form.format == "png":
        image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    else:  # colours as fine as brightness, else a turn would move them by half a pixel
        image.save(buffer, "JPEG", quality=form.quality, subsampling=0)
    return buffer.getvalue()

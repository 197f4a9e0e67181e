"""Decoding: the bytes of a picture file to upright RGB pixels of one square size.

Pillow decodes what it knows (JPEG, PNG, WebP, TIFF and more), ImageMagick by way of
wand the rest (HEIC, JPEG XL, XCF ...), and Pillow alone resizes. So a picture comes out
the same whether or not the MagickWand library is installed; where it is not, the rest
is left out by name. Large JPEGs are decoded at a fraction of their size, as long as
that is still twice what is stored.

A damaged file fails here, with its reason, and is never filled up with grey.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

# What is taken for a picture, and the name of its format for ImageMagick, which is told
# it: left to guess, it would run what a file calls itself, scripts included.
FORMATS = dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "jpeg")
FORMATS |= dict.fromkeys(("tif", "tiff"), "tiff")
FORMATS |= dict.fromkeys(("heic", "heif"), "heic")
FORMATS |= dict.fromkeys(("jp2", "j2k"), "jp2")
FORMATS |= {name: name for name in ("avif", "bmp", "gif", "jxl", "pbm", "pgm", "png")}
FORMATS |= {name: name for name in ("pnm", "ppm", "psb", "psd", "webp", "xcf")}
MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs
TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels; store it smaller"
UNKNOWN = "in no format that can be read here"
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Fit = Literal["pad", "squash"]
Pixels = NDArray[np.uint8]


class UnreadableError(Exception):
    """A picture cannot be decoded; the message is the reason."""


def decode(
    data: bytes, side: int, suffix: str = ""
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a file's bytes to an upright RGB picture, for ``fit_square``.

    Transparent parts become white; 16-bit greys keep their upper 8 bits.

    Args:
        data: The file.
        side: Pixels it will be stored at; a JPEG may come at a fraction of its size.
        suffix: Extension of its name, for what only ImageMagick knows.

    Returns:
        The picture, and the width and height of the upright original.

    Raises:
        UnreadableError: The file is damaged, too large or of no known format.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        try:
            with Image.open(io.BytesIO(data)) as image:
                size = image.size
                turn = UPRIGHT.get(_orientation(image))
                image.draft("RGB", (2 * side, 2 * side))
                rgb = _rgb(image)
        except UnidentifiedImageError:
            rgb, size, turn = *_by_imagemagick(data, suffix), None
        except Image.DecompressionBombError:
            raise UnreadableError(TOO_LARGE) from None
        except Exception as error:  # noqa: BLE001  damaged files raise anything
            raise UnreadableError(str(error) or type(error).__name__) from None
    if turn is not None:
        rgb = rgb.transpose(turn)
        if turn in (UPRIGHT[5], UPRIGHT[6], UPRIGHT[7], UPRIGHT[8]):
            size = size[1], size[0]
    return rgb, size


def fit_square(image: Image.Image, side: int, fit: Fit) -> Pixels:
    """Resize a picture to a square.

    Args:
        image: RGB.
        side: Pixels per side of the result.
        fit: ``"pad"`` keeps the shape, centres, and repeats the edges outwards;
            ``"squash"`` stretches to the square.

    Returns:
        (side, side, 3).
    """
    width, height = image.size
    longest = max(width, height) if fit == "pad" else 0
    size = tuple(
        max(1, round(side * length / (longest or length))) for length in (width, height)
    )
    small = image.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels: Pixels = np.asarray(small)
    across, down = side - size[0], side - size[1]
    if across or down:
        margins = ((down // 2, down - down // 2), (across // 2, across - across // 2))
        pixels = np.pad(pixels, (*margins, (0, 0)), mode="edge")
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a broken EXIF block does not spoil the picture
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert("RGB") would clip at 255
        high = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableError(
            f"its pixels are 32-bit numbers (mode {image.mode}); store it with 8 or 16"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _by_imagemagick(data: bytes, suffix: str) -> tuple[Image.Image, tuple[int, int]]:
    """Decode what Pillow does not know."""
    kind = FORMATS.get(suffix[1:].lower())
    if not data:
        raise UnreadableError("the file is empty")
    try:
        from wand.exceptions import WandException
        from wand.image import Image as WandImage
        from wand.resource import limits
    except (ImportError, OSError):
        kind = None
    if kind is None:
        raise UnreadableError(UNKNOWN) from None
    limits["thread"] = 1
    limits["width"] = limits["height"] = 65_536
    limits["memory"] = limits["map"] = 2**32
    limits["disk"] = 0  # rather fail than fill the disk with pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is how it tells of damage
            with WandImage.ping(blob=data, format=kind) as seen:
                if seen.width * seen.height > MAX_PIXELS:
                    raise UnreadableError(TOO_LARGE)
            with WandImage(blob=data, format=kind) as image:
                image.iterator_reset()  # the first of several frames
                image.auto_orient()
                image.background_color = "white"
                image.alpha_channel = "remove"
                image.transform_colorspace("srgb")
                image.depth = 8
                size = image.size
                pixels = image.make_blob("rgb")
    except (WandException, Warning) as error:
        # Its own words name temporary files, and a record should not change with them.
        reason = f"{UNKNOWN} ({type(error).__name__})"
        raise UnreadableError(reason) from None
    return Image.frombytes("RGB", size, pixels[: 3 * size[0] * size[1]]), size

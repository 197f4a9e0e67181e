"""Decoding: the bytes of a picture file to upright RGB pixels.

Pillow decodes what it knows (JPEG, PNG, WebP, TIFF, AVIF, JPEG 2000, GIF, PSD and more;
HEIC and JPEG XL by further packages, see ``plugins``), ImageMagick by way of wand the
rest (XCF, PSB, deep PSD), and Pillow alone resizes (``fit``). So a picture comes out
the same whether or not the MagickWand library is installed; where something is not,
what it alone reads is left out, with what to install. Large JPEGs are decoded at a
fraction of their size, as long as that is still twice what is stored.

The orientation is read after decoding, for some decoders turn the picture and some do
not. An embedded colour profile is applied. Grey of 16 bits
keeps its upper 8, on the scale that the file declares, never stretched. Of several
pages or frames the first is taken, unless another is asked for (``pages``). What a
reader should know of this is in ``picture_info``.

A damaged file fails here, with its reason, as far as its format can tell: see
``integrity`` and ``jpeg``. A file that is cut off before the end of its first picture
always fails. A changed byte fails where the format has checksums (PNG, deflated TIFF)
or a coder that must end where it began (JPEG XL, but not at its fastest, effort 1);
elsewhere if it breaks the structure, leaves a long run of zeros, or gives the decoder
too few or too many data. What stays unseen: most single flipped bits in JPEG, WebP,
AVIF, HEIC, JPEG 2000, GIF and TIFFs of other kinds; anything in plain pixels (BMP, PNM,
TIFF without compression); loss between two restart markers of a JPEG; of progressive
JPEGs what keeps the structure whole. Of XCF nothing is promised.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_prep.errors import UnreadableError
from data_prep.pictures import jpeg, plugins
from data_prep.pictures.huffman import holds_all_blocks
from data_prep.pictures.integrity import (
    ZEROED,
    find_damage,
    find_damage_of_opened,
    has_zeroed_boxes,
)
from data_prep.pictures.picture_info import PictureInfo
from data_prep.pictures.pixels import apply_profile, is_deep, plain_rgb

# What is taken for a picture, and the name of its format for ImageMagick, which is told
# it: left to guess, it would run what a file calls itself, scripts included.
FORMATS = dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "jpeg")
FORMATS |= dict.fromkeys(("tif", "tiff"), "tiff")
FORMATS |= dict.fromkeys(("heic", "heif", "hif"), "heic")
FORMATS |= dict.fromkeys(("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"), "jp2")
FORMATS |= {name: name for name in ("avif", "bmp", "gif", "jxl", "pbm", "pgm", "png")}
FORMATS |= {name: name for name in ("pnm", "ppm", "psb", "psd", "webp", "xcf")}
MAX_PIXELS = 2 * 178_956_970  # at which Pillow refuses to open a decompression bomb
TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels; store it smaller"
UNKNOWN = "in no format that can be read here"
BROKEN_JXL = "truncated or damaged: the decoder of JPEG XL gives up"
MAGICK_STARTS = (b"8BPS", b"gimp xcf")  # of files that only ImageMagick reads
MAGICK_LACKS = "only ImageMagick reads this kind of file; install it (imagemagick)"
ORIENTATION = 0x0112  # the EXIF tag
EXECUTED = ("EPS", "WMF")  # Pillow hands these programs to another program
SEQUENCES = ("heic", "avif", "jxl")  # elsewhere ImageMagick's frames are layers
# What turns a picture upright, by its orientation (EXIF 2.32, tag 0x0112; 1: upright).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded file.

    Attributes:
        image: RGB and upright.
        size: Width and height of the upright original, in pixels.
        info: What else is to be known of it.
    """

    image: Image.Image
    size: tuple[int, int]
    info: PictureInfo


def read_picture(
    data: bytes, side: int, suffix: str = "", page: int | None = None
) -> Picture:
    """Decode a file's bytes to an upright RGB picture.

    Transparent parts become white; 16-bit greys keep their upper 8 bits.

    Args:
        data: The file.
        side: Pixels it will be stored at; a JPEG may come at a fraction of its size.
        suffix: Extension of its name, for what only ImageMagick knows.
        page: Which page of the file, from 1; None: the first, and if there are more,
            that is told.

    Raises:
        UnreadableError: The file is damaged, too large or of no known format.
    """
    structure = jpeg.Structure(damage=find_damage(data))
    if data.startswith(jpeg.START):
        structure = jpeg.read_structure(data)
    if structure.damage:
        raise UnreadableError(structure.damage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        plugin = plugins.plugin_for(data)
        lack = "" if plugin is None or plugins.is_known(plugin) else plugin.lack
        try:
            return _by_pillow(data, side, structure, page)
        except UnidentifiedImageError:
            return _by_imagemagick(data, suffix, lack)
        except Image.DecompressionBombError:
            raise UnreadableError(TOO_LARGE) from None
        except UnreadableError:
            raise
        except Exception as error:  # noqa: BLE001  damaged files raise anything
            reason = str(error) or type(error).__name__
            if plugin is plugins.JPEG_XL:  # its package tells how to build itself
                reason = BROKEN_JXL
            raise UnreadableError(reason) from None


def _by_pillow(
    data: bytes, side: int, structure: jpeg.Structure, page: int | None
) -> Picture:
    """Decode what Pillow knows; ``read_picture`` tells what its errors mean."""
    damage_of_data: Callable[[], str] | None = None
    if _is_too_large(plugins.jxl_size(data)):  # it is decoded as it is opened
        raise UnreadableError(TOO_LARGE)
    with Image.open(io.BytesIO(data)) as image:
        if image.format in EXECUTED:
            raise UnreadableError(UNKNOWN)
        if page is not None:
            image.seek(page - 1)
            if _is_too_large(image.size):  # Pillow looks at the first alone
                raise UnreadableError(TOO_LARGE)
        if damage := find_damage_of_opened(image, data):
            raise UnreadableError(damage)
        n_pages = _n_pages(image) if page is None else 1
        size = image.size
        is_reduced = image.draft("RGB", (2 * side, 2 * side)) is not None
        if structure.data and is_reduced:  # Pillow's own decoder of JPEGs
            read, damage_of_data = jpeg.watch_data(data, structure.data)
            image.load_read = read  # type: ignore[attr-defined]
        has_16_bits = is_deep(image)
        image.load()
        if damage := damage_of_data() if damage_of_data else "":
            raise UnreadableError(damage)
        if _ends_too_early(data, structure, image, size):
            raise UnreadableError(jpeg.TOO_FEW)
        if not is_reduced:
            size = image.size
        turn = UPRIGHT.get(_orientation(image))  # what is left to be turned
        rgb, peak, is_profile_ignored = plain_rgb(image, has_16_bits)
    if turn is not None:
        rgb = rgb.transpose(turn)
        if turn in (UPRIGHT[5], UPRIGHT[6], UPRIGHT[7], UPRIGHT[8]):
            size = size[1], size[0]
    info = PictureInfo(
        n_pages=n_pages, peak=peak, is_profile_ignored=is_profile_ignored
    )
    return Picture(image=rgb, size=size, info=info)


def _is_too_large(size: tuple[int, int] | None) -> bool:
    return size is not None and size[0] * size[1] > MAX_PIXELS


def _orientation(image: Image.Image) -> int:
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # its own orientation is applied, and Exif's says nothing more
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a broken EXIF block does not spoil the picture
        return 1


def _n_pages(image: Image.Image) -> int:
    if image.format == "PSD":  # its frames are layers, of which the file has the sum
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001  what is damaged behind the first is not needed
        image.seek(0)  # the count may have stopped on the way
        return 1


def _ends_too_early(
    data: bytes, structure: jpeg.Structure, image: Image.Image, size: tuple[int, int]
) -> bool:
    """Tell whether a progressive JPEG ends in grey, and for want of data.

    Reading its first scan takes as long as decoding it, so first the last corner, of 32
    pixels, is looked at: what is missing comes out as mid-grey, 128.
    """
    if not structure.dc_scans:
        return False
    side = max(1, 32 * image.width // size[0])
    left, top = max(0, image.width - side), max(0, image.height - side)
    corner = np.asarray(image.crop((left, top, image.width, image.height)))
    means = corner.reshape(-1, len(image.getbands())).mean(axis=0)
    is_grey = np.abs(means - 128).max() < 8
    return bool(is_grey) and not all(
        holds_all_blocks(data, scan) for scan in structure.dc_scans
    )


def _by_imagemagick(data: bytes, suffix: str, lack: str) -> Picture:
    """Decode what Pillow does not know; ``lack``: what it needs to know it."""
    format_ = FORMATS.get(suffix[1:].lower())
    if plugin := plugins.plugin_for(data):
        format_ = plugin.magick  # phones and messengers call it .jpg, too
    elif format_ and data[4:8] == b"ftyp":
        format_ = "heic"
    if not data:
        raise UnreadableError("the file is empty")
    try:
        from wand.exceptions import WandException
        from wand.image import Image as WandImage
        from wand.resource import limits
    except (ImportError, OSError):
        format_ = None
        if data.startswith(MAGICK_STARTS):
            lack = MAGICK_LACKS
    if format_ is None:
        raise UnreadableError(lack or UNKNOWN) from None
    limits["thread"] = 1
    limits["width"] = limits["height"] = 65_536
    limits["memory"] = limits["map"] = 2**32
    limits["disk"] = 0  # rather fail than fill the disk with pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is how it tells of damage
            with WandImage.ping(blob=data, format=format_) as header:
                if _is_too_large(header.size):
                    raise UnreadableError(TOO_LARGE)
            with WandImage(blob=data, format=format_) as image:
                n_pages = len(image.sequence) if format_ in SEQUENCES else 1
                image.iterator_reset()  # the first of several frames
                image.auto_orient()
                profile = image.profiles["icc"] if image.colorspace == "srgb" else None
                metadata = [image.profiles["exif"], image.profiles["xmp"]]
                image.background_color = "white"
                image.alpha_channel = "remove"
                image.transform_colorspace("srgb")
                image.depth = 8
                size = image.size
                pixels = image.make_blob("rgb")
    except (WandException, Warning) as error:
        # Its own words name temporary files, and a record should not change with them.
        raise UnreadableError(lack or f"{UNKNOWN} ({type(error).__name__})") from None
    if format_ in SEQUENCES and has_zeroed_boxes(data, metadata):
        raise UnreadableError(ZEROED)
    rgb = Image.frombytes("RGB", size, pixels[: 3 * size[0] * size[1]])
    rgb, is_profile_ignored = apply_profile(rgb, profile)
    info = PictureInfo(n_pages=n_pages, is_profile_ignored=is_profile_ignored)
    return Picture(image=rgb, size=size, info=info)

"""Pixels: from what a file has (16 bits, inks, palettes, L*a*b*) to 8-bit RGB."""

import numpy as np
from PIL import Image, ImageFile

from data_prep.errors import UnreadableError

TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Tell whether a file that is opened but not loaded has 16 bits a channel."""
    for decoder, _, _, args in image.tile[:1]:
        if ";16" in str(args):
            return True
        if str(decoder).startswith("ppm") and isinstance(args, tuple):
            return isinstance(args[-1], int) and args[-1] > 255
    return False


def plain_rgb(image: Image.Image, has_16_bits: bool) -> tuple[Image.Image, int, bool]:
    """Convert a loaded picture to RGB, by its profile and on white.

    Args:
        image: As Pillow has loaded it.
        has_16_bits: The result of ``is_deep`` before it was loaded.

    Returns:
        The picture; the largest level, of 65,535, if it has 16 bits a channel, else -1;
        and whether its profile had to be ignored.

    Raises:
        UnreadableError: Its numbers have no known scale.
    """
    peak, is_profile_ignored = -1, False
    has_profile, profile = "icc_profile" in image.info, image.info.get("icc_profile")
    is_16_bit = image.mode.startswith("I;16")
    if is_16_bit or (image.mode == "I" and image.format in ("PPM", "PNG")):
        image, peak = _upper_bits(image)  # convert("RGB") would clip at 255
    elif image.mode in ("I", "F"):
        raise UnreadableError(_why_unscaled(image))
    elif has_16_bits:  # Pillow gives the upper bits
        peak = 257 * int(np.asarray(image.convert("RGB")).max())
    if image.mode == "LAB":
        from data_prep.pictures.colour import lab_to_srgb

        image = lab_to_srgb(image)
    elif has_profile:  # it is None if it cannot even be unpacked
        image, is_profile_ignored = apply_profile(image, profile or b"")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb, peak, is_profile_ignored


def apply_profile(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bool]:
    """Convert to sRGB by a profile, if there is one.

    Returns:
        The picture, and whether the profile had to be ignored.
    """
    if profile is None:
        return image, False
    from data_prep.pictures.colour import ProfileError, to_srgb

    try:
        return to_srgb(image, profile), False
    except ProfileError:
        return image, True


def _upper_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """Turn 16-bit grey into 8-bit grey, on the scale that the file declares.

    Returns:
        The picture, and its largest level, of 65,535.
    """
    levels = np.asarray(image).astype(np.uint32)
    peak = int(levels.max())
    tags = getattr(image, "tag_v2", {})
    n_bits = int(tags.get(TIFF_BITS, (16,))[0])
    if n_bits < 16:
        levels = levels * 65_535 // (2**n_bits - 1)
        peak = int(levels.max())
    if tags.get(TIFF_PHOTOMETRIC) == 0:  # white is zero; Pillow heeds it for 8 bits
        levels = 65_535 - levels
    return Image.fromarray((levels >> 8).astype(np.uint8)), peak


def _why_unscaled(image: Image.Image) -> str:
    """Say why numbers of this kind have no scale, and what to store instead."""
    tags = getattr(image, "tag_v2", {})
    n_bits = int(tags.get(TIFF_BITS, (32,))[0])
    numbers = "signed 16-bit" if n_bits == 16 else "32-bit"
    remedy = "store it with 8 or 16" if n_bits != 16 else "store it unsigned"
    return f"its pixels are {numbers} numbers (mode {image.mode}); {remedy}"

"""Colour: pixels as their embedded profile means them, in sRGB.

A profile that makes no difference, as that of sRGB itself, is left aside, so that such
pictures stay as they are, to the byte.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# By colour space of a profile: Pillow's modes of pixels that it may belong to, and the
# mode in which they are handed to LittleCMS.
MODES = {
    "RGB": ({"RGB", "RGBA", "RGBX", "P", "PA", "L", "LA", "1", "YCbCr"}, "RGB"),
    "GRAY": ({"L", "LA", "1"}, "L"),
    "CMYK": ({"CMYK"}, "CMYK"),
}
MAX_CHANGE = 2  # grey levels: what two profiles of the same space differ by


class ProfileError(Exception):
    """A profile is broken, or one of other pixels than the picture has."""


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture by its embedded profile.

    Args:
        image: Of 8 bits a channel.
        profile: Bytes of the ICC profile.

    Returns:
        RGB or, if the picture has transparent parts, RGBA; the picture as it came if
        the profile changes nothing.

    Raises:
        ProfileError: The profile cannot be applied.
    """
    space, transform = _transform(profile)
    if space not in MODES or image.mode not in MODES[space][0]:
        raise ProfileError(f"a profile of {space} for pixels of {image.mode}")
    if transform is None:
        return image
    if not image.has_transparency_data:
        plain = image.convert(MODES[space][1])
        return ImageCms.applyTransform(plain, transform) or plain
    alpha = image.convert("RGBA").getchannel("A")
    opaque = image.convert("LA" if space == "GRAY" else "RGBA")
    plain = opaque.convert(MODES[space][1])  # the transform knows no transparency
    coloured = ImageCms.applyTransform(plain, transform) or plain
    coloured.putalpha(alpha)
    return coloured


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """Convert a CIE L*a*b* picture."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    return ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Read the colour space of a profile, and make its transform to sRGB.

    Returns:
        The space, and the transform; None if that would change nothing.

    Raises:
        ProfileError: It is no profile.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space not in MODES:
            return space, None
        mode = MODES[space][1]
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(str(error)) from None
    if mode == "CMYK":
        return space, transform
    # Whether it changes anything is measured on a grid of colours, or on all greys.
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
        probe = Image.fromarray(grid)
    else:
        probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    converted = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    changes = converted - np.asarray(probe.convert("RGB"))
    return space, transform if np.abs(changes).max() > MAX_CHANGE else None

"""Formats that Pillow learns from a further package: HEIC and JPEG XL.

A package is imported when the first file of its format is read. HEIC comes with the
project (pi-heif: libheif and a decoder, LGPL); the one for JPEG XL is an extra, for its
licence is the GPL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
SHARED_BRANDS = (b"mif1", b"msf1")  # of AVIF too, which Pillow tries first
CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A package that teaches Pillow a format.

    Attributes:
        title: Of the format, for a sentence.
        package: To install.
        magick: What ImageMagick calls the format.
        register: Imports the package and makes Pillow know the format.
    """

    title: str
    package: str
    magick: str
    register: Callable[[], None]

    @property
    def lack(self) -> str:
        """Say that the package is missing, and how to get it."""
        return f"{self.title} needs a further package, pip install {self.package}"


def plugin_for(data: bytes) -> Plugin | None:
    """Tell which package knows the format of a file, by the file's first bytes."""
    if data[4:8] == b"ftyp" and data[8:12] in BRANDS + SHARED_BRANDS:
        return HEIC
    return JPEG_XL if data.startswith((CODESTREAM, CONTAINER)) else None


@cache
def is_known(plugin: Plugin) -> bool:
    """Make Pillow know a format; False where the package is not installed."""
    try:
        plugin.register()
    except ImportError:
        return False
    return True


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height of a JPEG XL from the head of its coded picture.

    The package decodes a file as it opens it, so that this alone can come before.

    Source: ISO/IEC 18181-1, SizeHeader; bits are read from the lowest on.

    Returns:
        In pixels, before it is turned; None if it has no such head.
    """
    start = 0
    if data.startswith(CONTAINER):
        boxes = [data.find(name) + 4 for name in (b"jxlc", b"jxlp") if name in data]
        start = min(boxes, default=0)
        start += 4 * (data[start - 4 : start] == b"jxlp")  # its number
    if data[start : start + 2] != CODESTREAM:
        return None
    bits = int.from_bytes(data[start + 2 : start + 14], "little")

    def take(n: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << n) - 1), bits >> n
        return value

    def length() -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take((9, 13, 18, 30)[take(2)])

    is_small = bool(take(1))
    height = length()
    if ratio := take(3):
        across, down = RATIOS[ratio - 1]
        return height * across // down, height
    return length(), height


def _register_heic() -> None:
    from pi_heif import register_heif_opener

    register_heif_opener(decode_threads=1)  # there is a process for each core already


def _register_jpeg_xl() -> None:
    from pillow_jxl import JpegXLImagePlugin

    JpegXLImagePlugin.DECODE_THREADS = 0


HEIC = Plugin(title="HEIC", package="pi-heif", magick="heic", register=_register_heic)
JPEG_XL = Plugin(
    title="JPEG XL",
    package="pillow-jxl-plugin",
    magick="jxl",
    register=_register_jpeg_xl,
)

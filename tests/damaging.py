"""Picture files of each format, and the ways in which they are damaged."""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from data_prep.pictures import plugins
from data_prep.pictures.decode import read_picture

Damage = Callable[[bytes, np.random.Generator], bytes]


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A smooth picture with some grain, so that no part of it is of one colour."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    smooth = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray(
        (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    )


def decode(
    data: bytes, side: int, suffix: str = ""
) -> tuple[Image.Image, tuple[int, int]]:
    picture = read_picture(data, side, suffix)
    return picture.image, picture.size


def as_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.uniform(0.05, 0.999) * len(data))]


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    size, start = _block(data, rng)
    return data[:start] + bytes(size) + data[start + size :]


def overwritten(data: bytes, rng: np.random.Generator) -> bytes:
    size, start = _block(data, rng)
    return data[:start] + rng.bytes(size) + data[start + size :]


def lost(data: bytes, rng: np.random.Generator) -> bytes:
    size, start = _block(data, rng)
    return data[:start] + data[start + size :]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(0, len(data)))
    bit = 1 << int(rng.integers(0, 8))
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


DAMAGES: tuple[Damage, ...] = (cut, zeroed, overwritten, lost, flipped)
# name: format for Pillow, options, extension
KINDS: dict[str, tuple[str, dict[str, object], str]] = {
    "JPEG": ("JPEG", {"quality": 85}, ".jpg"),
    "JPEG, own tables": ("JPEG", {"quality": 75, "optimize": True}, ".jpg"),
    "JPEG, restarts": ("JPEG", {"quality": 85, "restart_marker_rows": 1}, ".jpg"),
    "JPEG, progressive": ("JPEG", {"quality": 85, "progressive": True}, ".jpg"),
    "PNG": ("PNG", {}, ".png"),
    "WebP": ("WEBP", {"quality": 80}, ".webp"),
    "WebP, lossless": ("WEBP", {"lossless": True}, ".webp"),
    "AVIF": ("AVIF", {"quality": 70, "speed": 9}, ".avif"),
    "JPEG 2000": (
        "JPEG2000",
        {"quality_layers": [20], "irreversible": True},
        ".jp2",
    ),
    "TIFF, deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}, ".tif"),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}, ".tif"),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg"}, ".tif"),
    "TIFF, plain": ("TIFF", {}, ".tif"),
    "GIF": ("GIF", {}, ".gif"),
    "BMP": ("BMP", {}, ".bmp"),
    "PPM": ("PPM", {}, ".ppm"),
}
if plugins.is_known(plugins.JPEG_XL):
    KINDS["JPEG XL"] = ("JXL", {"quality": 85, "effort": 3}, ".jxl")
    KINDS["JPEG XL, lossless"] = ("JXL", {"lossless": True, "effort": 2}, ".jxl")
# which of them show only that they are cut, and not that a part of them is zeroed
BLIND = ("TIFF, plain", "BMP", "PPM")


@cache
def encoded(kind: str, seed: int) -> bytes:
    """A whole file of one of ``KINDS``."""
    name, options, _ = KINDS[kind]
    return as_bytes(scene(seed), name, **options)


def _block(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a block of 512 bytes, or an eighth of a small file."""
    size = min(512, len(data) // 8)
    return size, int(rng.integers(0, len(data) - size))

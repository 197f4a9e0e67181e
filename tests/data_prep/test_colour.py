"""Tests of data_prep.pictures.colour, through the decoder."""

import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageCms

from data_prep.pictures.colour import ProfileError, to_srgb
from data_prep.pictures.decode import read_picture
from tests.damaging import as_bytes, scene

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exchanged() -> bytes:
    """A profile of which the first channel is blue and the last is red."""
    red, blue = SRGB.find(b"rXYZ"), SRGB.find(b"bXYZ")
    profile = bytearray(SRGB)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def of_a_table(space: bytes, colours: list[tuple[float, float, float]]) -> bytes:
    """A profile that gives L*a*b* at the corners of its space, the last fastest."""
    n = {b"GRAY": 1, b"CMYK": 4}[space]
    identity = bytes(range(256))
    nodes = bytes(
        round(value)
        for lightness, a, b in colours
        for value in (lightness * 2.55, a + 128, b + 128)
    )
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = struct.pack(">4s4xBBBx", b"mft1", n, 3, 2) + unit
    table += identity * n + nodes + identity * 3
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    text = b"desc\0\0\0\0\0\0\0\x05test\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"A2B0": table}
    position, directory, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        directory += name + struct.pack(">II", position + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4xI4s4s4s", position + len(body), 0x02100000, b"prtr", space, b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + body


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_an_embedded_profile_is_applied(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    original = scene(0, (64, 48))
    turned_round = Image.fromarray(np.asarray(original)[..., ::-1].copy())
    data = as_bytes(turned_round, format_, icc_profile=exchanged(), **options)
    decoded = read_picture(data, 64)
    difference = np.abs(np.asarray(decoded.image).astype(int) - np.asarray(original))
    assert difference.mean() < (2 if format_ in ("PNG", "TIFF", "WEBP") else 15)
    assert not decoded.info.is_profile_ignored


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_the_profile_of_srgb_changes_no_byte(mode: str) -> None:
    image = scene(0).convert(mode)
    plain = read_picture(as_bytes(image, "PNG"), 64)
    managed = read_picture(as_bytes(image, "PNG", icc_profile=SRGB), 64)
    assert_array_equal(np.asarray(managed.image), np.asarray(plain.image))
    assert managed.info == plain.info


def test_transparency_stays_beside_a_profile() -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, 0] = (0, 0, 200, 255)  # red, by the profile
    pixels[:, 1] = (0, 0, 200, 0)
    data = as_bytes(Image.fromarray(pixels), "PNG", icc_profile=exchanged())
    decoded = np.asarray(read_picture(data, 64).image).astype(int)
    assert np.abs(decoded[0, 0] - (200, 0, 0)).max() <= 2
    assert_array_equal(decoded[0, 1:], [(255, 255, 255)] * 2)


def test_a_palette_is_converted_too() -> None:
    image = Image.new("RGB", (4, 4), (0, 0, 200)).convert(
        "P", palette=Image.Palette.ADAPTIVE
    )
    decoded = read_picture(as_bytes(image, "PNG", icc_profile=exchanged()), 64).image
    assert np.abs(np.asarray(decoded).astype(int) - (200, 0, 0)).max() <= 2


@pytest.mark.parametrize("format_", ["TIFF", "JPEG"])
def test_inks_are_what_their_profile_says(format_: str) -> None:
    # No ink is white, the first ink alone is a mid grey, all others are black.
    colours = [(100.0, 0.0, 0.0)] + [(0.0, 0.0, 0.0)] * 7
    colours += [(53.4, 0.0, 0.0)] + [(0.0, 0.0, 0.0)] * 7
    profile = of_a_table(b"CMYK", colours)
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 0, 0), (0, 0, 16, 8))
    decoded = np.asarray(
        read_picture(as_bytes(image, format_, icc_profile=profile), 64).image
    )
    assert np.abs(decoded[1, 1].astype(int) - 255).max() <= 4
    assert np.abs(decoded[-1, -1].astype(int) - 127).max() <= 6  # L* 53.4
    naive = np.asarray(read_picture(as_bytes(image, format_), 64).image)
    assert np.abs(naive[-1, -1].astype(int) - (0, 255, 255)).max() <= 2


def test_a_grey_profile_is_applied() -> None:
    profile = of_a_table(b"GRAY", [(100.0, 0.0, 0.0), (0.0, 0.0, 0.0)])  # inverted
    for depth in (np.uint8, np.uint16):
        levels = np.full((4, 4), np.iinfo(depth).max, depth)
        data = as_bytes(Image.fromarray(levels), "PNG", icc_profile=profile)
        assert np.asarray(read_picture(data, 64).image).max() <= 2


@pytest.mark.parametrize("profile", [b"no profile at all", SRGB[:300], b""])
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_a_broken_profile_is_left_aside_and_noted(format_: str, profile: bytes) -> None:
    image = scene(1, (32, 24))
    plain = read_picture(as_bytes(image, format_), 64)
    decoded = read_picture(as_bytes(image, format_, icc_profile=profile), 64)
    assert_array_equal(np.asarray(decoded.image), np.asarray(plain.image))
    assert decoded.info.is_profile_ignored == bool(profile)


def test_a_profile_of_other_pixels_is_refused() -> None:
    with pytest.raises(ProfileError, match="a profile of RGB for pixels of CMYK"):
        to_srgb(Image.new("CMYK", (4, 4)), SRGB)


def test_other_colour_spaces_of_tiffs_are_right() -> None:
    original = scene(2, (32, 24))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    as_lab = ImageCms.profileToProfile(original, srgb, lab, outputMode="LAB")
    for image in (as_lab, original.convert("YCbCr")):
        assert image is not None
        decoded = np.asarray(read_picture(as_bytes(image, "TIFF"), 64).image).astype(
            int
        )
        assert np.abs(decoded - np.asarray(original)).mean() < 3

"""Tests of data_prep.decoding."""

import io
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.decoding import UnreadableError, decode, fit_square


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth picture, width by height, so that resizing keeps it recognisable."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes, side: int = 64) -> np.ndarray:
    return np.asarray(decode(data, side)[0])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixels_come_as_they_are(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = as_bytes(picture(), kind, **options)
    assert_array_equal(decoded(data), np.asarray(picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_set_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = as_bytes(picture(), exif=exif)
    upright, size, _ = decode(data, 64)
    by_array = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, k=-1),
        7: lambda a: np.rot90(a, k=2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, k=1),
    }
    expected = by_array[orientation](np.asarray(picture()))
    assert_array_equal(np.asarray(upright), expected)
    assert size == upright.size == expected.shape[1::-1]


def test_odd_kinds_of_pixels_become_plain_ones() -> None:
    grey = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 77
    assert_array_equal(
        decoded(as_bytes(Image.fromarray(grey)))[..., 1], np.arange(256).reshape(16, 16)
    )
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    seen = decoded(as_bytes(Image.fromarray(clear)))
    assert_array_equal(seen[0, 0], (10, 20, 30))
    assert (seen.reshape(-1, 3)[1:] == 255).all()
    assert_array_equal(decoded(as_bytes(picture().convert("1")))[0, 0] % 255, 0)
    palette = picture().convert("P")
    assert_array_equal(
        decoded(as_bytes(palette, "GIF")), np.asarray(palette.convert("RGB"))
    )
    with pytest.raises(UnreadableError, match=r"32-bit numbers \(mode F\)"):
        decode(as_bytes(Image.fromarray(np.zeros((4, 4), "f4")), "TIFF"), 64)


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same() -> None:
    data = as_bytes(picture(size=(1600, 1200)), "JPEG", quality=95)
    image, size, _ = decode(data, 64)
    assert size == (1600, 1200)
    assert image.size == (200, 150)
    whole = fit_square(Image.open(io.BytesIO(data)).convert("RGB"), 64, "squash")
    quick = fit_square(image, 64, "squash")
    assert np.abs(whole.astype(int) - quick).mean() < 0.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_off_fails(kind: str, share: float) -> None:
    data = as_bytes(picture(size=(200, 150)), kind)
    with pytest.raises(UnreadableError, match=r"truncated|broken"):
        decode(data[: int(share * len(data))], 64)


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "empty"), (b"<html>", "no format that can be read")]
)
@pytest.mark.parametrize("suffix", ["", ".jpg", ".txt"])
def test_what_is_no_picture_fails(data: bytes, message: str, suffix: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        decode(data, 64, suffix)


def test_a_decompression_bomb_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableError, match="more than 178 million pixels"):
        decode(as_bytes(picture()), 64)


def test_imagemagick_reads_what_pillow_does_not_and_pixels_are_the_same() -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    with wand_image.Image(blob=as_bytes(picture())) as image:
        image.depth = 8
        data = image.make_blob("psb")
    found, size, _ = decode(data, 64, ".PSB")
    assert size == (40, 30)
    assert_array_equal(np.asarray(found), np.asarray(picture()))
    with pytest.raises(UnreadableError, match="no format that can be read"):
        decode(data, 64, ".jpg")  # what it calls itself is not believed
    with pytest.raises(UnreadableError):
        decode(data[: len(data) // 4], 64, ".psb")


def test_imagemagick_and_pillow_decode_a_jpeg_alike() -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    data = as_bytes(picture(3, (90, 60)), "JPEG", quality=80)
    with wand_image.Image(blob=data) as image:
        image.depth = 8
        theirs = np.frombuffer(image.make_blob("rgb"), np.uint8).reshape(60, 90, 3)
    assert np.abs(theirs.astype(int) - decoded(data)).max() <= 1


def test_without_imagemagick_the_rest_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wand.image", None)
    with pytest.raises(UnreadableError, match="in no format that can be read here"):
        decode(b"8BPS\0\2", 64, ".psb")


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (64, 64), (200, 7), (1, 90)])
@pytest.mark.parametrize("side", [16, 33])
def test_padding_keeps_the_shape_and_repeats_the_edges(
    size: tuple[int, int], side: int
) -> None:
    pixels = fit_square(picture(size=size), side, "pad")
    assert pixels.shape == (side, side, 3)
    if size[0] < size[1]:
        pixels = pixels.swapaxes(0, 1)
        size = size[1], size[0]
    inner = max(1, round(side * size[1] / size[0]))
    above = (side - inner) // 2
    below = side - inner - above
    assert_array_equal(pixels[:above], np.repeat(pixels[above : above + 1], above, 0))
    last = pixels[side - below - 1 : side - below]
    assert_array_equal(pixels[side - below :], np.repeat(last, below, 0))


def test_the_padded_picture_is_the_resized_one() -> None:
    pixels = fit_square(picture(size=(64, 32)), 32, "pad")
    resized = picture(size=(64, 32)).resize((32, 16), Image.Resampling.LANCZOS)
    assert_array_equal(pixels[8:24], np.asarray(resized))


def test_squashing_fills_the_square() -> None:
    pixels = fit_square(picture(size=(64, 32)), 32, "squash")
    resized = picture(size=(64, 32)).resize((32, 32), Image.Resampling.LANCZOS)
    assert_array_equal(pixels, np.asarray(resized))

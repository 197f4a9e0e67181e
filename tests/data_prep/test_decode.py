"""Tests of data_prep.pictures.decode."""

import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.errors import UnreadableError
from data_prep.pictures.decode import read_picture
from data_prep.pictures.fit import fit_square
from tests.damaging import decode
from tests.tiffs import tiff


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth picture, width by height, so that resizing keeps it recognisable."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def decoded(data: bytes, side: int = 64) -> np.ndarray:
    return np.asarray(decode(data, side)[0])


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "WEBP"])
def test_pixels_come_as_they_are(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = as_bytes(picture(), format_, **options)
    assert_array_equal(decoded(data), np.asarray(picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_set_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = as_bytes(picture(), exif=exif)
    upright, size = decode(data, 64)
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


def quarters() -> Image.Image:
    """Four unlike quarters, 48 by 32 pixels."""
    levels = np.array([[20, 90], [160, 240]], dtype=np.uint8)
    grey = np.kron(levels, np.ones((16, 24), np.uint8))
    return Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1))


@pytest.mark.parametrize("orientation", [1, 5, 6, 8])
def test_the_size_of_a_reduced_jpeg_is_that_of_the_upright_one(
    orientation: int,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = as_bytes(picture(size=(1600, 1200)), "JPEG", exif=exif)
    image, size = decode(data, 64)
    is_turned = orientation > 4
    assert size == ((1200, 1600) if is_turned else (1600, 1200))
    assert image.size == ((150, 200) if is_turned else (200, 150))


def test_16_bits_keep_the_scale_that_the_file_declares() -> None:
    levels = np.array([[0, 255, 256, 1000], [4095, 30_000, 40_000, 65_535]], np.uint16)
    upper = (levels >> 8).astype(np.uint8)
    files = {
        "PGM": b"P5\n4 2\n65535\n" + levels.astype(">u2").tobytes(),
        "plain PGM": b"P2\n4 2\n65535\n" + " ".join(map(str, levels.flat)).encode(),
        "PNG": as_bytes(Image.fromarray(levels)),
        "TIFF": as_bytes(Image.fromarray(levels), "TIFF"),
        "TIFF, large end first": tiff(levels.astype(">u2").tobytes(), (4, 2), 16, ">"),
    }
    for name, data in files.items():
        result = read_picture(data, 64)
        assert_array_equal(np.asarray(result.image)[..., 1], upper, err_msg=name)
        assert result.info.peak == 65_535, name
    white_is_zero = tiff(levels.astype("<u2").tobytes(), (4, 2), 16, photometric=0)
    result = read_picture(white_is_zero, 64)
    assert_array_equal(np.asarray(result.image)[..., 0], 255 - upper)


def test_12_bits_are_scaled_where_the_file_declares_them_and_told_where_not() -> None:
    levels = np.array([[0, 100], [2048, 4095]], np.uint16)
    scaled = levels.astype(int) * 65_535 // 4095 >> 8
    declared = b"P5\n2 2\n4095\n" + levels.astype(">u2").tobytes()
    packed = bytes([0x00, 0x00, 0x64, 0x80, 0x0F, 0xFF])  # two pixels in three bytes
    for data in (declared, tiff(packed, (2, 2), 12)):
        result = read_picture(data, 64)
        assert np.abs(np.asarray(result.image)[..., 0] - scaled).max() <= 1
        assert result.info.peak == 65_535
    undeclared = read_picture(as_bytes(Image.fromarray(levels), "TIFF"), 64)
    assert_array_equal(np.asarray(undeclared.image)[..., 0], levels >> 8)
    assert undeclared.info.peak == 4095
    assert read_picture(as_bytes(picture()), 64).info.peak == -1


def test_16_bits_of_colour_are_noted_too() -> None:
    levels = np.array([[[0, 4095, 256], [512, 1024, 2048]]], np.uint16)
    data = tiff(levels.astype("<u2").tobytes(), (2, 1), 16, n_channels=3)
    result = read_picture(data, 64)
    assert_array_equal(np.asarray(result.image), levels >> 8)
    assert result.info.peak == 15 * 257


def test_numbers_without_a_known_scale_are_refused() -> None:
    signed = tiff(np.arange(4, dtype="<i2").tobytes(), (2, 2), 16, sample_format=2)
    with pytest.raises(UnreadableError, match=r"signed 16-bit numbers .* unsigned"):
        decode(signed, 64)
    whole = Image.fromarray(np.zeros((4, 4), np.int32))
    with pytest.raises(UnreadableError, match=r"32-bit numbers \(mode I\)"):
        decode(as_bytes(whole, "TIFF"), 64)


@pytest.mark.parametrize("format_", ["TIFF", "GIF", "PNG", "WEBP", "AVIF", "MPO"])
@pytest.mark.parametrize("n_pages", [1, 3])
def test_further_pages_are_noted_and_the_first_is_taken(
    format_: str, n_pages: int
) -> None:
    further_pages = [
        Image.new("RGB", (48, 32), colour) for colour in ("black", "white")
    ]
    data = as_bytes(
        quarters(),
        format_,
        save_all=True,
        append_images=further_pages[: n_pages - 1],
    )
    result = read_picture(data, 64)
    assert result.info.n_pages == n_pages
    expected = np.asarray(quarters()).astype(int)
    assert np.abs(np.asarray(result.image) - expected)[4:-4:8, 4:-4:8].max() <= 40


def test_odd_kinds_of_pixels_become_plain_ones() -> None:
    grey = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 77
    assert_array_equal(
        decoded(as_bytes(Image.fromarray(grey)))[..., 1], np.arange(256).reshape(16, 16)
    )
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    result = decoded(as_bytes(Image.fromarray(clear)))
    assert_array_equal(result[0, 0], (10, 20, 30))
    assert (result.reshape(-1, 3)[1:] == 255).all()
    assert_array_equal(decoded(as_bytes(picture().convert("1")))[0, 0] % 255, 0)
    palette = picture().convert("P")
    assert_array_equal(
        decoded(as_bytes(palette, "GIF")), np.asarray(palette.convert("RGB"))
    )
    with pytest.raises(UnreadableError, match=r"32-bit numbers \(mode F\)"):
        decode(as_bytes(Image.fromarray(np.zeros((4, 4), "f4")), "TIFF"), 64)


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same() -> None:
    data = as_bytes(picture(size=(1600, 1200)), "JPEG", quality=95)
    image, size = decode(data, 64)
    assert size == (1600, 1200)
    assert image.size == (200, 150)
    whole = fit_square(Image.open(io.BytesIO(data)).convert("RGB"), 64, "squash")
    quick = fit_square(image, 64, "squash")
    assert np.abs(whole.astype(int) - quick).mean() < 0.5


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_off_fails(format_: str, share: float) -> None:
    data = as_bytes(picture(size=(200, 150)), format_)
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
    with pytest.raises(UnreadableError, match="more than 357 million pixels"):
        decode(as_bytes(picture()), 64)


def test_a_heic_called_jpg_is_read() -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    with wand_image.Image(blob=as_bytes(picture())) as image:
        data = image.make_blob("heic")
    images = [decode(data, 64, suffix)[0] for suffix in (".heic", ".jpg", ".PNG")]
    for image in images[1:]:
        assert_array_equal(np.asarray(image), np.asarray(images[0]))


def test_a_postscript_file_is_given_to_no_other_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: 1 / 0)
    data = as_bytes(picture(), "EPS")
    with pytest.raises(UnreadableError, match="no format that can be read here"):
        decode(data, 64, ".tif")


def test_imagemagick_reads_what_pillow_does_not_and_pixels_are_the_same() -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    with wand_image.Image(blob=as_bytes(picture())) as image:
        image.depth = 8
        data = image.make_blob("psb")
    output, size = decode(data, 64, ".PSB")
    assert size == (40, 30)
    assert_array_equal(np.asarray(output), np.asarray(picture()))
    with pytest.raises(UnreadableError, match="no format that can be read"):
        decode(data, 64, ".jpg")  # what it calls itself is not believed
    with pytest.raises(UnreadableError):
        decode(data[: len(data) // 4], 64, ".psb")


def test_imagemagick_and_pillow_decode_a_jpeg_alike() -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    data = as_bytes(picture(3, (90, 60)), "JPEG", quality=80)
    with wand_image.Image(blob=data) as image:
        image.depth = 8
        expected_rgb = np.frombuffer(image.make_blob("rgb"), np.uint8).reshape(
            60, 90, 3
        )
    assert np.abs(expected_rgb.astype(int) - decoded(data)).max() <= 1

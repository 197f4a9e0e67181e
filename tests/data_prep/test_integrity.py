"""Tests of integrity, jpeg and huffman, mostly through the decoder."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.errors import UnreadableError
from data_prep.pictures import huffman, jpeg
from data_prep.pictures.integrity import has_zeroed_boxes
from tests.damaging import (
    BLIND,
    DAMAGES,
    KINDS,
    as_bytes,
    cut,
    decode,
    encoded,
    flipped,
    overwritten,
    scene,
    zeroed,
)
from tests.tiffs import tiff

JPEGS = [case for case, (name, _, _) in KINDS.items() if name == "JPEG"]


def pixels(data: bytes, suffix: str = "") -> np.ndarray:
    return np.asarray(decode(data, 512, suffix)[0])


@pytest.mark.parametrize("case", KINDS)
def test_damage_is_seen_as_far_as_the_format_can_tell(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    suffix = KINDS[case][2]
    whole = encoded(case, 0)
    assert pixels(whole, suffix).shape == (240, 320, 3)
    certain = [cut, *([] if case in BLIND else [zeroed])]
    if case in ("PNG", "TIFF, deflate", "JPEG XL", "JPEG XL, lossless"):
        certain += [overwritten, flipped]
    for seed, damage in enumerate(DAMAGES):
        damaged = damage(whole, np.random.default_rng(seed))
        if damage in certain:
            with pytest.raises(UnreadableError, match=r"[a-z]"):
                decode(damaged, 512, suffix)
    capfd.readouterr()  # libtiff writes to the terminal


@pytest.mark.parametrize("colour", ["white", "#808080"])
@pytest.mark.parametrize("case", KINDS)
def test_flat_pictures_are_whole(case: str, colour: str) -> None:
    name, options, suffix = KINDS[case]
    for size in ((8, 8), (900, 600)):
        image = Image.new("RGB", size, colour)
        data = as_bytes(image, name, **options)
        assert np.ptp(pixels(data, suffix).reshape(-1, 3), axis=0).max() <= 2
        image.paste(scene(0, (8, 8)))
        pixels(as_bytes(image, name, **options), suffix)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("case", JPEGS)
def test_small_and_odd_jpegs_are_whole(case: str, mode: str) -> None:
    _, options, suffix = KINDS[case]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        width, height = (int(n) for n in rng.integers(1, 90, 2))
        data = as_bytes(scene(seed, (width, height)).convert(mode), "JPEG", **options)
        for side in (8, 512):
            assert decode(data, side, suffix)[1] == (width, height)


@pytest.mark.parametrize("case", JPEGS)
def test_a_jpeg_may_have_padding_and_a_tail(case: str) -> None:
    data = encoded(case, 1)
    expected = pixels(data)
    for whole in (
        data + b"\0" * 700 + b"thumbnail" * 99,
        data[:-2] + bytes(300) + data[-2:] if case == "JPEG" else data,
        data[:2] + b"\xff\xe1\x02\x02" + bytes(512) + data[2:],  # an empty Exif block
        data[:2] + b"\xff\xe1\0\x04ab" + bytes(9) + data[2:],
        data[:-2] + b"\xff\xff" + data[-2:],
    ):
        assert_array_equal(pixels(whole), expected)


@pytest.mark.parametrize("case", JPEGS)
def test_a_jpeg_without_its_end_is_truncated(case: str) -> None:
    with pytest.raises(UnreadableError, match=r"truncated: .* \(no end marker\)"):
        decode(encoded(case, 1)[:-2], 64)


def test_a_jpeg_with_too_few_or_too_many_data_is_not_filled_up() -> None:
    data = encoded("JPEG", 2)
    middle = len(data) // 2
    short = data[:middle].rstrip(b"\xff") + data[-2:]
    with pytest.raises(UnreadableError, match="its data end before the picture does"):
        decode(short, 64)
    structure = jpeg.read_structure(data)
    assert structure.data is not None
    start, _ = structure.data
    longer = data[: start + 4000].rstrip(b"\xff") + data[start + 4000 - 600 :]
    with pytest.raises(UnreadableError, match="data are left over"):
        decode(longer, 64)


def test_zeros_in_a_jpeg_are_seen_unless_they_are_flat_areas() -> None:
    data = encoded("JPEG", 0)
    middle = len(data) // 2
    with pytest.raises(UnreadableError, match="a part of its data is zeroed"):
        decode(data[:middle] + bytes(40) + data[middle + 40 :], 64)
    flat = Image.new("L", (3000, 2000), 128)
    flat.paste(scene(0, (40, 40)).convert("L"))
    whole = as_bytes(flat, "JPEG", optimize=True)
    assert bytes(500) in whole
    decode(whole, 64)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_smooth_ramp_is_no_damage(progressive: bool) -> None:
    for step in (1, 2, 4, 8):
        ramp = np.arange(0, 256, 1 / step).repeat(8 // step * step)[::-1]
        image = Image.fromarray(np.tile(ramp.astype(np.uint8), (64, 1)))
        for quality in (50, 75, 95, 100):
            data = as_bytes(
                image,
                "JPEG",
                quality=quality,
                optimize=True,
                progressive=progressive,
            )
            decode(data, 64)


def test_markers_and_tables_of_a_jpeg_are_followed() -> None:
    data = encoded("JPEG, restarts", 0)
    first, second = data.find(b"\xff\xd0"), data.find(b"\xff\xd1")
    swapped = data[:first] + data[second : second + 2] + data[first + 2 :]
    with pytest.raises(UnreadableError, match="restart markers are missing or out"):
        decode(swapped, 64)
    table = data.find(b"\xff\xdb")
    with pytest.raises(UnreadableError, match="a quantisation table is not whole"):
        decode(data[: table + 9] + bytes(4) + data[table + 13 :], 64)
    with pytest.raises(UnreadableError, match="no proper length"):
        decode(data[: table + 2] + b"\0\0" + data[table + 4 :], 64)
    with pytest.raises(UnreadableError, match="has no place there"):
        decode(data[: first + 9] + b"\xff\x47" + data[first + 11 :], 64)


def test_a_progressive_jpeg_needs_all_its_scans() -> None:
    data = encoded("JPEG, progressive", 0)
    scans = [k for k in range(len(data)) if data[k : k + 2] == b"\xff\xda"]
    without_last = data[: scans[-1]] + data[-2:]
    with pytest.raises(UnreadableError, match=r"truncated: .*\(a scan is missing\)"):
        decode(without_last, 64)
    tables = data.rfind(b"\xff\xc4", 0, scans[1])
    after = data.rfind(b"\xff\xc4", 0, scans[2])
    with pytest.raises(UnreadableError, match="a scan is missing"):
        decode(data[:tables] + data[after:], 64)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_blocks_of_a_first_scan_are_counted(mode: str, subsampling: int) -> None:
    for size in ((64, 64), (117, 83), (9, 200)):
        image = scene(3, size).convert(mode)
        data = as_bytes(image, "JPEG", progressive=True, subsampling=subsampling)
        (scan,) = jpeg.read_structure(data).dc_scans
        assert huffman.holds_all_blocks(data, scan)
        half = replace(scan, end=(scan.start + scan.end) // 2)
        assert not huffman.holds_all_blocks(data, half)


def test_a_progressive_jpeg_that_ends_in_grey_is_refused() -> None:
    data = encoded("JPEG, progressive", 0)
    (scan,) = jpeg.read_structure(data).dc_scans
    middle = (scan.start + scan.end) // 2
    kept = data[scan.start : middle].rstrip(b"\xff")
    with pytest.raises(UnreadableError, match="its data end before the picture does"):
        decode(data[: scan.start] + kept + data[scan.end :], 512)
    grey = as_bytes(Image.new("RGB", (200, 100), (128,) * 3), "JPEG", progressive=True)
    assert (pixels(grey) == 128).all()


def test_a_png_is_checked_chunk_by_chunk() -> None:
    data = as_bytes(scene(0, (20, 10)), "PNG")
    for position in range(8, len(data)):
        broken = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(UnreadableError, match=r"checksum|truncated|damaged"):
            decode(broken, 64)
    comment = b"tEXt" + b"name\0value"  # one with a wrong checksum spoils no pixel
    chunk = struct.pack(">I", 10) + comment + struct.pack(">I", zlib.crc32(comment))
    whole = data[:33] + chunk + data[33:] + b"and more"
    assert_array_equal(pixels(whole), pixels(data))


def test_a_tiff_with_its_directory_first_is_not_longer_than_its_file() -> None:
    data = tiff(bytes(range(200)), (20, 10), 8)
    assert pixels(data).shape == (10, 20, 3)
    with pytest.raises(UnreadableError, match="truncated"):
        decode(data[:-1], 64)


@pytest.mark.parametrize("n_bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_tiff_of_plain_pixels_may_say_too_great_a_length(
    n_bits: int, order: str, n_channels: int
) -> None:
    strip = np.random.default_rng(0).bytes(200 * n_channels * n_bits // 8)
    data = tiff(strip, (20, 10), n_bits, order, n_channels=n_channels)
    length = struct.pack(f"{order}I", len(strip))
    longer = data.replace(length, struct.pack(f"{order}I", len(strip) + 99), 1)
    assert longer != data
    assert_array_equal(pixels(longer, ".tif"), pixels(data, ".tif"))
    for file in (data, longer):
        with pytest.raises(UnreadableError, match="truncated"):
            decode(file[:-1], 64, ".tif")


def test_a_tiff_without_its_directory_is_truncated() -> None:
    with io.BytesIO() as file:
        scene(0, (40, 30)).save(file, "TIFF", compression="tiff_lzw")
        data = file.getvalue()
    with pytest.raises(UnreadableError, match="truncated"):
        decode(data[: len(data) // 2], 64, ".tif")


def test_a_gif_needs_its_first_picture_only() -> None:
    first, second = scene(0, (40, 30)).convert("P"), scene(1, (40, 30)).convert("P")
    data = as_bytes(first, "GIF", save_all=True, append_images=[second])
    expected = pixels(data)
    assert_array_equal(pixels(data[:-1]), expected)
    assert_array_equal(pixels(data[: len(data) - 200]), expected)
    with pytest.raises(UnreadableError, match="truncated"):
        decode(data[: len(data) // 3], 64)


def test_zeros_in_metadata_are_no_damage() -> None:
    exif = Image.Exif()
    exif[0x9286] = bytes(300)  # a comment
    data = as_bytes(scene(0), "AVIF", exif=exif)
    assert bytes(300) in data
    decode(data, 64, ".avif")
    box = struct.pack(">I", 308) + b"mdat" + bytes(300)
    assert has_zeroed_boxes(box, [None])
    assert not has_zeroed_boxes(box, [bytes(300)])
    assert not has_zeroed_boxes(struct.pack(">I", 308) + b"free" + bytes(300), [])


@pytest.mark.parametrize("suffix", ["psd", "psb", "heic"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_what_imagemagick_would_fill_up_is_truncated(suffix: str, share: float) -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    from wand.exceptions import WandException

    try:
        with wand_image.Image(blob=as_bytes(scene(0, (64, 48)), "PNG")) as image:
            image.depth = 8
            data = image.make_blob(suffix)
    except WandException as error:
        pytest.skip(str(error))
    assert pixels(data, f".{suffix}").shape == (48, 64, 3)
    with pytest.raises(UnreadableError, match="truncated"):
        decode(data[: int(share * len(data))], 64, f".{suffix}")

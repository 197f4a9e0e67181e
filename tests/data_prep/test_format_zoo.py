"""Tests of decoding across a zoo: each format, kind of pixels, depth and orientation.

Every file is written from pixels that are known, and what is read is compared with
them: where the format keeps every level, all pixels are equal; else within the stated
tolerance. Where ImageMagick is installed it reads the same files, too.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_prep.errors import UnreadableError
from data_prep.pictures import plugins
from data_prep.pictures.decode import FORMATS, _by_imagemagick, read_picture

SIZE = (48, 32)
TRANSPOSE = Image.Transpose
UPRIGHT_TO_STORED = {
    2: TRANSPOSE.FLIP_LEFT_RIGHT,
    3: TRANSPOSE.ROTATE_180,
    4: TRANSPOSE.FLIP_TOP_BOTTOM,
    5: TRANSPOSE.TRANSPOSE,
    6: TRANSPOSE.ROTATE_90,
    7: TRANSPOSE.TRANSVERSE,
    8: TRANSPOSE.ROTATE_270,
}
Levels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Species:
    """A way of writing a format.

    Attributes:
        format: For Pillow.
        modes: Kinds of pixels that it holds, by Pillow's names.
        suffix: Of its files.
        options: For Pillow.
        apart: Largest mean distance of its levels from those written; 0: it loses none.
        has_exif: It may say in Exif which way up it is.
    """

    format: str
    modes: tuple[str, ...]
    suffix: str
    options: Mapping[str, object]
    apart: float = 0.0
    has_exif: bool = True

    def write(self, image: Image.Image, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, self.format, **self.options, **options)
        return buffer.getvalue()


TIFF_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
J2K_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
ZOO = {
    "JPEG": Species(
        format="JPEG",
        modes=("L", "RGB", "CMYK"),
        suffix=".jpg",
        options={"quality": 95, "subsampling": 0},
        apart=2,
    ),
    "MPO": Species(
        format="MPO",
        modes=("RGB",),
        suffix=".jpg",
        options={
            "quality": 95,
            "subsampling": 0,
            "save_all": True,
            "append_images": [Image.new("RGB", (8, 8))],
        },
        apart=2,
    ),
    "PNG": Species(format="PNG", modes=PNG_MODES, suffix=".png", options={}),
    "WebP": Species(
        format="WEBP",
        modes=("RGB", "RGBA"),
        suffix=".webp",
        options={"lossless": True, "exact": True},
    ),
    "WebP, lossy": Species(
        format="WEBP",
        modes=("RGB", "RGBA"),
        suffix=".webp",
        options={"quality": 95},
        apart=4,
    ),
    "AVIF": Species(
        format="AVIF",
        modes=("L", "RGB", "RGBA"),
        suffix=".avif",
        options={"quality": 95, "speed": 9, "subsampling": "4:4:4"},
        apart=2,
    ),
    "JPEG 2000": Species(
        format="JPEG2000", modes=J2K_MODES, suffix=".jp2", options={}, has_exif=False
    ),
    "JPEG 2000, bare": Species(
        format="JPEG2000",
        modes=("L", "RGB", "I;16"),
        suffix=".j2k",
        options={"no_jp2": True},
        has_exif=False,
    ),
    "JPEG 2000, lossy": Species(
        format="JPEG2000",
        modes=("L", "RGB"),
        suffix=".jp2",
        options={"irreversible": True, "quality_layers": [4]},
        apart=3,
        has_exif=False,
    ),
    "GIF": Species(
        format="GIF", modes=("1", "L", "P"), suffix=".gif", options={}, has_exif=False
    ),
    "BMP": Species(
        format="BMP",
        modes=("1", "L", "P", "RGB"),
        suffix=".bmp",
        options={},
        has_exif=False,
    ),
    "PNM": Species(
        format="PPM",
        modes=("1", "L", "RGB", "I;16"),
        suffix=".pnm",
        options={},
        has_exif=False,
    ),
    **{
        f"TIFF, {name}": Species(
            format="TIFF", modes=TIFF_MODES, suffix=".tif", options=options
        )
        for name, options in {
            "plain": {},
            "LZW": {"compression": "tiff_lzw"},
            "deflate": {"compression": "tiff_adobe_deflate"},
        }.items()
    },
}
JXL_MODES = ("L", "LA", "RGB", "RGBA")  # 16 bits are written as linear light
JXL = {
    "JPEG XL": Species(
        format="JXL",
        modes=JXL_MODES,
        suffix=".jxl",
        options={"lossless": True, "effort": 1},
        has_exif=False,  # it has an orientation of its own
    ),
    "JPEG XL, lossy": Species(
        format="JXL",
        modes=("L", "RGB"),
        suffix=".jxl",
        options={"quality": 95, "effort": 3, "use_container": True},
        apart=2,
        has_exif=False,
    ),
}
SPECIES = ZOO | JXL
CASES = [(name, mode) for name, case in SPECIES.items() for mode in case.modes]


def specimen(mode: str) -> Image.Image:
    """A smooth picture without symmetry, 48 by 32 pixels, in a mode of Pillow."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    red, green, blue = 20 + 200 * x, 230 - 150 * y - 60 * x, 40 + 90 * (x + y * y)
    rgb = np.stack([red, green, blue], axis=-1).round().astype(np.uint8)
    grey = rgb[..., 1]
    if mode == "1":
        return Image.fromarray(((x + 2 * y) > 1.1).astype(np.uint8) * 255).convert("1")
    if mode == "I;16":
        levels = 900 + 60_000 * (0.6 * x + 0.4 * y**2)
        return Image.fromarray(levels.round().astype(np.uint16))
    if mode == "P":
        return Image.fromarray(rgb).quantize(64, dither=Image.Dither.NONE)
    plain = Image.fromarray(grey if mode in ("L", "LA") else rgb)
    if mode in ("LA", "RGBA"):
        alpha = (255 * np.clip(1.6 - x - y, 0, 1)).round().astype(np.uint8)
        plain.putalpha(Image.fromarray(alpha))
        return plain
    return plain.convert(mode)


def expected_of(mode: str) -> Levels:
    """The (32, 48, 3) levels that a specimen has, on white where it is clear."""
    image = specimen(mode)
    if mode == "I;16":
        return np.repeat(np.asarray(image).astype(int)[..., None] >> 8, 3, axis=-1)
    if mode in ("LA", "RGBA"):
        levels = np.asarray(image.convert("RGBA")).astype(float)
        share = levels[..., 3:] / 255
        on_white = share * levels[..., :3] + (1 - share) * 255
        return on_white.round().astype(int)
    return np.asarray(image.convert("RGB")).astype(int)


def stored(image: Image.Image, orientation: int) -> Image.Image:
    turn = UPRIGHT_TO_STORED.get(orientation)
    return image if turn is None else image.transpose(turn)


def assert_alike(
    image: Image.Image, expected: Levels, apart: float = 0, rounding: int = 0
) -> None:
    """Compare levels: equal where ``apart`` is 0, but for ``rounding``."""
    assert image.mode == "RGB"
    assert image.size == expected.shape[1::-1]
    distance = np.abs(np.asarray(image).astype(int) - expected)
    assert distance.mean() <= max(apart, rounding)
    assert distance.max() <= max(12 * apart, rounding)


def needs(species: Species) -> None:
    if species.format == "JXL" and not plugins.is_known(plugins.JPEG_XL):
        pytest.skip("without pillow-jxl-plugin")


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_every_format_and_mode_is_read_as_it_was_written(name: str, mode: str) -> None:
    species = SPECIES[name]
    needs(species)
    expected = expected_of(mode)
    for orientation in range(1, 9 if species.has_exif else 2):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"exif": exif} if species.has_exif else {}
        data = species.write(stored(specimen(mode), orientation), **options)
        picture = read_picture(data, 64, species.suffix)
        assert picture.size == SIZE
        # Pillow rounds the mixture with white in its own way
        rounding = int(mode in ("LA", "RGBA"))
        assert_alike(picture.image, expected, species.apart, rounding)


def by_imagemagick(data: bytes, magick: str) -> Levels:
    """Read a file with ImageMagick as a person would: upright, flat, 8 bits."""
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    from wand.exceptions import WandException

    try:
        with wand_image.Image(blob=data, format=magick) as image:
            image.iterator_reset()
            image.auto_orient()
            image.background_color = "white"
            image.alpha_channel = "remove"
            image.transform_colorspace("srgb")
            image.depth = 8
            width, height = image.size
            pixels = image.make_blob("rgb")[: 3 * width * height]
    except WandException as error:
        pytest.skip(f"ImageMagick does not read it: {error}")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3).astype(int)


# Inks are mixed by other formulas, and ImageMagick 6 reads no veil of an AVIF.
SEEN_ALIKE = [case for case in CASES if case[1] != "CMYK" and case != ("AVIF", "RGBA")]


@pytest.mark.parametrize(("name", "mode"), SEEN_ALIKE)
def test_imagemagick_sees_the_same(name: str, mode: str) -> None:
    species = SPECIES[name]
    needs(species)
    data = species.write(specimen(mode))
    theirs = by_imagemagick(data, FORMATS[species.suffix[1:]])
    distance = np.abs(np.asarray(read_picture(data, 64).image).astype(int) - theirs)
    # it rounds 16 bits to 8, and what lies beneath a veil
    assert distance.mean() <= (2.5 if species.apart else 1)
    assert distance.max() <= (12 if species.apart else 1)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_imagemagick_does_not_turn_twice(orientation: int) -> None:
    pytest.importorskip("wand.image", exc_type=ImportError)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = ZOO["AVIF"].write(stored(specimen("RGB"), orientation), exif=exif)
    try:
        picture = _by_imagemagick(data, ".avif", "")
    except UnreadableError as error:
        pytest.skip(str(error))
    assert picture.size == SIZE
    assert_alike(picture.image, expected_of("RGB"), 3)


def by_wand(image: Image.Image, kind: str) -> bytes:
    """Have ImageMagick write a file that Pillow cannot write."""
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    from wand.exceptions import WandException

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        with wand_image.Image(blob=buffer.getvalue()) as copy:
            copy.compression_quality = 98
            data: bytes = copy.make_blob(kind)
    except WandException as error:
        pytest.skip(f"ImageMagick does not write it: {error}")
    return data


# ImageMagick 6 reads the veil of a PSB otherwise than it wrote it
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("psd", "RGBA"), *((k, m) for k in ("psd", "psb") for m in ("1", "L", "RGB"))],
)
def test_photoshop_files_are_read(kind: str, mode: str) -> None:
    data = by_wand(specimen(mode), kind)
    picture = read_picture(data, 64, f".{kind}")
    assert picture.info.n_pages == 1
    assert_alike(picture.image, expected_of(mode), rounding=1)


def heic(image: Image.Image, turned: tuple[bytes, int] | None = None) -> bytes:
    """Write a HEIC; ``turned`` replaces a property of no use by irot or imir."""
    data = by_wand(image, "heic")
    at = data.find(b"pixi")
    if turned and at > 0:
        name, value = turned
        return data[:at] + name + bytes([value]) + data[at + 5 :]
    return data


@pytest.mark.parametrize("mode", ["L", "RGB"])  # ImageMagick 6 writes no alpha
def test_a_heic_is_read_by_its_package_and_by_imagemagick_alike(mode: str) -> None:
    data = heic(specimen(mode))
    picture = read_picture(data, 64, ".heic")
    assert_alike(picture.image, expected_of(mode), 4)
    distance = np.abs(np.asarray(picture.image) - by_imagemagick(data, "heic"))
    assert distance.mean() <= 2


# Quarter turns against the clock; axis 0: mirrored top to bottom (ISO/IEC 23008-12).
@pytest.mark.parametrize(
    ("name", "value", "turn"),
    [
        (b"irot", 0, lambda a: a),
        (b"irot", 1, lambda a: np.rot90(a, 1)),
        (b"irot", 2, lambda a: np.rot90(a, 2)),
        (b"irot", 3, lambda a: np.rot90(a, 3)),
        (b"imir", 0, lambda a: a[::-1]),
        (b"imir", 1, lambda a: a[:, ::-1]),
    ],
)
def test_a_heic_is_set_upright_by_its_own_properties(
    name: bytes, value: int, turn: Callable[[Levels], Levels]
) -> None:
    expected = turn(expected_of("RGB"))
    picture = read_picture(heic(specimen("RGB"), (name, value)), 64, ".heic")
    assert picture.size == expected.shape[1::-1]
    assert_alike(picture.image, expected, 4)


def jxl_turned(data: bytes, orientation: int) -> bytes:
    """Write an orientation into the head of a bare lossless JPEG XL of 48 x 32 pixels.

    The head is SizeHeader, ImageMetadata and CustomTransformData of ISO/IEC 18181-1,
    lowest bits first and padded to a byte: 9 bits of the size, which stay, and 13, of
    which the second says that no extra fields follow.
    """
    bits = f"{int.from_bytes(data[2:5], 'little'):024b}"[::-1]
    size, metadata = bits[:9], bits[9:22]
    assert metadata == "0000010001001"
    extra = f"{orientation - 1:03b}"[::-1] + "000"
    turned = size + "01" + extra + "00010001" + "1" + "001"
    head = int(turned[::-1], 2).to_bytes(4, "little")
    return data[:2] + head + data[5:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_xl_is_set_upright_once(orientation: int) -> None:
    species = JXL["JPEG XL"]
    needs(species)
    exif = Image.Exif()
    exif[0x0112] = orientation  # converters leave it; the head alone counts
    plain = species.write(stored(specimen("RGB"), 1))
    turn = UPRIGHT_TO_STORED.get(orientation)
    assert jxl_turned(plain, 1) != plain
    picture = read_picture(jxl_turned(plain, orientation), 64)
    upright = {6: TRANSPOSE.ROTATE_270, 8: TRANSPOSE.ROTATE_90}.get(orientation, turn)
    image = specimen("RGB") if upright is None else specimen("RGB").transpose(upright)
    assert_alike(picture.image, np.asarray(image).astype(int))
    assert picture.size == image.size
    with_exif = species.write(specimen("RGB"), exif=exif.tobytes())
    assert_alike(read_picture(with_exif, 64).image, expected_of("RGB"))


@pytest.mark.filterwarnings("ignore:Using JPEG reconstruction:UserWarning")
def test_a_jpeg_within_a_jpeg_xl_is_turned_as_the_jpeg_is(tmp_path: Path) -> None:
    needs(JXL["JPEG XL"])
    exif = Image.Exif()
    exif[0x0112] = 6
    data = ZOO["JPEG"].write(stored(specimen("RGB"), 6), exif=exif)
    (tmp_path / "a.jpg").write_bytes(data)
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    picture = read_picture((tmp_path / "a.jxl").read_bytes(), 64)
    assert_alike(picture.image, expected_of("RGB"), 2)


@pytest.mark.parametrize("size", [(48, 32), (33, 77), (1, 1), (5000, 3), (640, 360)])
@pytest.mark.parametrize("is_boxed", [False, True])
def test_the_size_of_a_jpeg_xl_is_read_from_its_head(
    size: tuple[int, int], is_boxed: bool
) -> None:
    species = JXL["JPEG XL"]
    needs(species)
    data = species.write(Image.new("RGB", size, "navy"), use_container=is_boxed)
    assert plugins.jxl_size(data) == size
    assert plugins.jxl_size(data[:2]) is None or not is_boxed
    assert plugins.jxl_size(b"\x89PNG") is None


def test_a_jpeg_xl_of_too_many_pixels_is_never_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs(JXL["JPEG XL"])
    monkeypatch.setattr(Image, "open", pytest.fail)
    bits = "0" + "11" + f"{2**20 - 1:030b}"[::-1] + "100"  # a square of 2**20
    data = plugins.CODESTREAM + int(bits[::-1], 2).to_bytes(6, "little") + bytes(9)
    assert plugins.jxl_size(data) == (2**20, 2**20)
    with pytest.raises(UnreadableError, match="more than 357 million pixels"):
        read_picture(data, 64, ".jxl")


@pytest.mark.parametrize("plugin", [plugins.HEIC, plugins.JPEG_XL])
def test_what_is_missing_is_named(
    plugin: plugins.Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = {"HEIC": b"\0\0\0\x18ftypheic", "JPEG XL": plugins.CODESTREAM}
    boxes = b"\0\0\0\0mif1heic" + b"\0\0\0\x08meta\0\0\0\x08mdat"
    data = starts[plugin.title] + boxes
    monkeypatch.setattr(plugins, "is_known", lambda _: False)
    monkeypatch.setattr(Image, "open", refuse)
    for suffix in (f".{plugin.magick}", ".jpg", ".unknown"):
        with pytest.raises(UnreadableError) as caught:
            read_picture(data, 64, suffix)
        assert f"pip install {plugin.package}" in str(caught.value)
        assert ": " not in str(caught.value)  # the summary keeps the remedy


def refuse(*_: object, **__: object) -> None:
    raise UnidentifiedImageError("unknown to Pillow")


@pytest.mark.parametrize("start", [b"8BPS\0\x02", b"gimp xcf v011"])
def test_without_imagemagick_its_files_say_so(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wand.image", None)
    monkeypatch.setattr("data_prep.pictures.decode.find_damage", lambda _: "")
    with pytest.raises(UnreadableError, match=r"only ImageMagick reads .* install it"):
        read_picture(start + bytes(40), 64, ".psb")


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_file_that_is_cut_is_left_out_with_a_reason(
    name: str, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    species = SPECIES[name]
    needs(species)
    data = species.write(specimen(mode))
    for share in (0.1, 0.5, 0.9) if name != "MPO" else (0.1,):  # then of the second
        with pytest.raises(UnreadableError) as caught:
            read_picture(data[: int(share * len(data))], 64, species.suffix)
        assert str(caught.value)
        assert "\n" not in str(caught.value)
    capfd.readouterr()  # libtiff writes to the terminal


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_noise_in_a_file_is_no_traceback(
    name: str, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    species = SPECIES[name]
    needs(species)
    data = bytearray(species.write(specimen(mode)))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        broken = data.copy()
        for at in rng.integers(0, len(data), 8):
            broken[at] = int(rng.integers(256))
        with contextlib.suppress(UnreadableError):
            picture = read_picture(bytes(broken), 64, species.suffix)
            assert picture.image.mode == "RGB"
    capfd.readouterr()

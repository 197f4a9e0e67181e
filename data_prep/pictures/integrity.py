"""What a picture file's bytes tell of damage, format by format, before it is decoded.

Decoders go on where they can and show what they have. So what a format has against
damage is read here: checksums (PNG; TIFF that is deflated), lengths and structure (all
others), and runs of zeros where compressed data cannot have them.

Plain pixels (BMP, PNM, TIFF that is not compressed) have nothing but a length; lossy
WebP, AVIF, JPEG 2000, GIF and LZW have no checksum: what is overwritten there is seen
only if it breaks the structure, or makes a long run of zeros.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data_prep.pictures import jpeg

if TYPE_CHECKING:
    from PIL import Image

CUT = jpeg.CUT
ZEROED = "damaged: a part of its data is zeroed"
ZERO_RUN = bytes(32)  # flat pictures of 12 million pixels have 16 at most
OFFSETS, LENGTHS = (273, 324), (279, 325)  # TIFF tags: of strips, of tiles
COMPRESSION, JPEG_TABLES = 259, 347
PLAIN = 1  # without compression
DEFLATE, JPEG, PACK_BITS, LZW = (8, 32946), (7,), (32773,), (5,)


def find_damage(data: bytes) -> str:
    """Tell what is wrong with a file of a format without a module of its own.

    Args:
        data: The file.

    Returns:
        Empty if nothing is seen, or if the format has nothing to see it by.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data[4:8] == b"ftyp":
        whole = {name for name, start, _ in _boxes(data) if start >= 0}
        return "" if b"mdat" in whole and whole & {b"meta", b"moov"} else CUT
    if data.startswith(b"8BPS"):
        return _photoshop(data)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        start = data.find(b"\xff\x93")  # SOD, behind which the coded data begin
        return ZEROED if ZERO_RUN in data[max(start, 0) :].rstrip(b"\0") else ""
    if data.startswith((b"II*\0", b"MM\0*")):
        order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
        return CUT if int.from_bytes(data[4:8], order) + 2 > len(data) else ""
    return ""


def find_damage_of_opened(image: "Image.Image", data: bytes) -> str:
    """Tell what is wrong with a file that only Pillow opens: TIFF, AVIF and HEIC."""
    if image.format in ("AVIF", "HEIF"):
        metadata = [image.info.get("exif"), image.info.get("xmp")]
        return ZEROED if has_zeroed_boxes(data, metadata) else ""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    for of_offsets, of_lengths in zip(OFFSETS, LENGTHS, strict=True):
        if of_offsets in tags and of_lengths in tags:
            offsets, lengths = tags[of_offsets], tags[of_lengths]
            for offset, length in zip(offsets, lengths, strict=False):
                # of plain pixels Pillow reads as many as it needs, and counts them
                if offset + length > len(data) and tags.get(COMPRESSION) != PLAIN:
                    return f"{CUT} (a strip is missing)"
                reason = _strip(data[offset : offset + length], tags)
                if reason:
                    return reason
    return ""


def _png(data: bytes) -> str:
    """Check the checksums of all chunks that make the pixels; texts may be wrong."""
    position, view = 8, memoryview(data)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            return CUT
        # A capital first letter marks a critical chunk; tRNS makes pixels, too.
        if name[:1].isupper() or name == b"tRNS" or not name.isalpha():
            checksum = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(view[position + 4 : end]) != checksum:
                return f"damaged: a checksum is wrong (byte {position:,})"
        if name == b"IEND":
            return ""
        position = end + 4
    return CUT


def _webp(data: bytes) -> str:
    """Follow the chunks of the RIFF container to the end of the first picture."""
    size = 8 + int.from_bytes(data[4:8], "little")
    if size > len(data) + 1:  # a last byte for evenness may be missing
        return CUT
    position, has_picture = 12, False
    while position + 8 <= size:
        name = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        body = position + 8
        position = body + length + length % 2
        if position > size + 1 or not all(32 <= byte < 127 for byte in name):
            if has_picture:
                break
            return f"damaged: a chunk has no proper length (byte {body - 8:,})"
        has_picture |= name in (b"VP8 ", b"VP8L", b"ANMF")
        if name == b"VP8L" and ZERO_RUN in data[body : body + length]:
            return ZEROED
        if name == b"VP8 ":
            # Flat areas are coded as zeros, at 0.2 bits for a block of 16 x 16 pixels.
            width, height = (
                int.from_bytes(data[body + k : body + k + 2], "little") & 0x3FFF
                for k in (6, 8)
            )
            n_blocks = -(-width // 16) * -(-height // 16)
            if bytes(max(32, n_blocks // 8)) in data[body : body + length]:
                return ZEROED
    return "" if has_picture else f"{CUT} (no picture within)"


def _gif(data: bytes) -> str:
    """Follow the blocks to the end of the first picture."""

    def palette_bytes(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    try:
        position = 13 + palette_bytes(data[10])
        while True:
            block = data[position]
            if block == 0x21:  # an extension
                position += 2
            elif block == 0x2C:  # a picture
                position += 11 + palette_bytes(data[position + 9])
            else:
                return f"damaged: a block is out of place (byte {position:,})"
            while data[position]:  # sub-blocks, each with its length; 0 ends them
                position += 1 + data[position]
            position += 1
            if block == 0x2C:
                return ""
    except IndexError:
        return CUT


def has_zeroed_boxes(data: bytes, metadata: Sequence[bytes | None]) -> bool:
    """Tell whether the coded data of AVIF, HEIC and their like have a run of zeros.

    Args:
        data: The file.
        metadata: Exif and the like, where such runs may well stand.
    """
    for name, start, end in _boxes(data):
        coded = data[start:end] if name == b"mdat" else b""
        if ZERO_RUN in coded:
            for text in metadata:
                if plain := (text or b"").removeprefix(b"Exif\0\0"):
                    coded = coded.replace(plain, b"")
            if ZERO_RUN in coded:
                return True
    return False


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give name, start and end of each ISO box; a start of -1 ends a broken file."""
    position = 0
    while position + 8 <= len(data):
        size, header = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1:  # the size follows in 64 bits
            size, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if size == 0:
            size = len(data) - position  # to the end of the file
        is_whole = header <= size <= len(data) - position
        name = data[position + 4 : position + 8]
        yield name, position + header if is_whole else -1, position + size
        if not is_whole:
            return
        position += size


def _photoshop(data: bytes) -> str:
    """Add up the lengths of the sections of PSD and PSB to that of the pixels."""

    def number(position: int, n_bytes: int) -> int:
        return int.from_bytes(data[position : position + n_bytes], "big")

    is_large = number(4, 2) == 2
    position = 26
    for n_bytes in (4, 4, 8 if is_large else 4):  # palette, resources, layers
        position += n_bytes + number(position, n_bytes)
    height, width, depth = number(14, 4), number(18, 4), number(22, 2)
    n_rows, compression = number(12, 2) * height, number(position, 2)
    end = position + 2
    if compression == 0:
        end += n_rows * -(-width * depth // 8)
    elif compression == 1:
        n_bytes = 4 if is_large else 2
        lengths = np.frombuffer(data[end : end + n_bytes * n_rows], f">u{n_bytes}")
        end += n_bytes * n_rows + int(lengths.sum())
    return CUT if end > len(data) else ""


def _strip(strip: bytes, tags: Mapping[int, Any]) -> str:
    """Check a strip or tile of a TIFF, by the way it is compressed."""
    compression = tags.get(COMPRESSION)
    if compression in DEFLATE:
        # For the checksum, at which libtiff may not look; a piece at a time, for a
        # strip may inflate to anything.
        inflater = zlib.decompressobj()
        try:
            while strip and not inflater.eof:
                inflater.decompress(strip, 2**20)
                strip = inflater.unconsumed_tail
        except zlib.error as error:
            return f"damaged: {error}"
    elif compression in JPEG:
        tables = tags.get(JPEG_TABLES, b"")
        head = tables[:-2] if isinstance(tables, bytes) and tables else jpeg.START
        return jpeg.data_damage(head + strip[2:])
    elif compression in LZW + PACK_BITS and bytes(256) in strip:
        return ZEROED
    return ""

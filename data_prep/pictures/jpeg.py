"""What a JPEG's bytes tell of damage, beyond what Pillow makes of them.

libjpeg goes on after damage, with a warning that Pillow drops: what it has no data for
comes out grey. The format has no checksum either. But its markers, tables and scans can
be followed from end to end; entropy-coded data has no long runs of zeros unless its
tables make them mean flat areas; and a picture of one scan must need all of its data
and no more, which ``watch_data`` sees while Pillow decodes.

So a cut, zeroed, lost or overwritten part is seen where it breaks any of this. A
flipped bit often breaks none: some blocks come out wrong, and the file cannot tell.
Nor is it seen if data are missing between two restart markers that are both there. Of a
file of several scans only the structure is checked and, where a progressive one ends
in grey, whether its first scan has data for all blocks.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from data_prep.pictures.huffman import RESTART, MeansScan

CUT = "truncated: it ends before the picture does"
TOO_FEW = "damaged: its data end before the picture does"
START, END = b"\xff\xd8", b"\xff\xd9"
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE, SEQUENTIAL = (0xC2,), (0xC0, 0xC1)
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
AFTER_A_SCAN = {DHT, EOI, SOS, DQT, DRI, 0xDC, 0xFE, *range(0xE0, 0xF0)}
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in entropy-coded data: its end
# The longest runs of zero bytes that data may have where zeros mean detail, and where
# they mean a mean that falls from block to block. The longest of 10,406 files was 6.
DETAIL_RUN, RAMP_RUN = 32, 256
# More than this left over, in bytes: the data do not belong to the picture. Fewer are
# some encoders' padding.
MARGIN = 8
ONES = b"\xff\x00" * 8  # codes of ones only are invalid, so these stand for no block


@dataclass(frozen=True)
class Structure:
    """What the markers of a JPEG tell.

    Attributes:
        damage: What is wrong; empty if nothing.
        data: Where the entropy-coded data begin and end, if there is one scan of a kind
            that ``watch_data`` can watch.
        means: The first scans of a progressive file.
    """

    damage: str = ""
    data: tuple[int, int] | None = None
    means: tuple[MeansScan, ...] = ()


@dataclass
class _Frame:
    """What the segments before a scan say of it."""

    process: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    tables: dict[int, bytes] = field(default_factory=dict)  # by class and id
    interval: int = 0
    low_bits: dict[tuple[int, int], int] = field(default_factory=dict)
    scans: list[tuple[int, int]] = field(default_factory=list)
    means: list[MeansScan] = field(default_factory=list)


def read_structure(data: bytes) -> Structure:
    """Follow the markers of a JPEG from its start to its end.

    Args:
        data: The file; what stands behind the picture's end is not looked at.
    """
    frame = _Frame()
    position = len(START)
    while True:
        if data[position : position + 1] != b"\xff":
            at_start = not (frame.process or frame.tables)
            next_marker = data.find(b"\xff", position) if at_start else -1
            if next_marker < 0:
                return _broken("its segments do not follow each other", position)
            position = next_marker  # padding between a camera's own segments
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            return Structure(f"{CUT} (no end marker)")
        marker, position = data[position], position + 1
        if marker == EOI:
            return _finished(frame)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            if frame.process:
                return _broken("a marker is out of place", position)
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or position + length > len(data):
            return _broken("a segment has no proper length", position)
        position += length
        try:
            wrong = _read_segment(frame, marker, body)
        except IndexError:
            wrong = "a table is cut short"
        if wrong:
            return _broken(wrong, position - length)
        if marker == SOS:
            end = MARKER.search(data, position)
            if end is None:
                return Structure(f"{CUT} (no end marker)")
            scan = data[position : end.start()]
            wrong = _scan_damage(frame, body, scan, data[end.start() + 1])
            if wrong:
                return _broken(wrong, position)
            frame.scans.append((position, end.start()))
            if frame.process in PROGRESSIVE and body[-3] == body[-1] >> 4 == 0:
                frame.means.append(_means_scan(frame, body, position, end.start()))
            position = end.start()


def watch_data(
    data: bytes, scan: tuple[int, int]
) -> tuple[Callable[[int], bytes], Callable[[], str]]:
    """Hand a JPEG of one scan to Pillow so that one can see how much of it is needed.

    Args:
        data: The file.
        scan: Where its entropy-coded data begin and end.

    Returns:
        What is to be the image's ``load_read``: it gives the file without its last
        bytes, then these, and only then the end marker. And what tells afterwards
        whether the decoder stopped too early or wanted more; it is empty if not.
    """
    start, end = scan
    n_used = len(_without_padding(data[start:end]))
    margin = start + max(0, n_used - MARGIN)
    pieces = [data[:margin], data[margin:end] + ONES, END]
    n_read = 0

    def read(_: int) -> bytes:
        nonlocal n_read
        n_read += 1
        return pieces[n_read - 1] if n_read <= len(pieces) else b""

    def verdict() -> str:
        if n_read == 1 and margin > start:
            return "damaged: data are left over when the picture is complete"
        if n_read > 2:
            return TOO_FEW
        return ""

    return read, verdict


def data_damage(data: bytes) -> str:
    """Tell what is wrong with a JPEG, decoding it at an eighth of its size to see."""
    structure = read_structure(data)
    if structure.damage or structure.data is None:
        return structure.damage
    read, verdict = watch_data(data, structure.data)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.draft(image.mode, (1, 1))
            image.load_read = read  # type: ignore[attr-defined]
            image.load()
    except (OSError, SyntaxError) as error:
        return f"damaged: {error}"
    return verdict()


def _without_padding(scan: bytes) -> bytes:
    """Take off what may be padding by a camera, and may be data."""
    return scan.rstrip(b"\xff").rstrip(b"\0")


def _broken(what: str, position: int) -> Structure:
    return Structure(f"damaged: {what} (byte {position:,})")


def _finished(frame: _Frame) -> Structure:
    if not frame.scans:
        return Structure(f"{CUT} (no data)")
    missing = any(
        frame.low_bits.get((component, k), -1) != 0
        for component in frame.sampling
        for k in range(1 if frame.process in SEQUENTIAL else 64)
    )
    if missing and frame.process in (*SEQUENTIAL, *PROGRESSIVE):
        return Structure(f"{CUT} (a scan is missing)")
    is_watched = frame.process in SEQUENTIAL and len(frame.scans) == 1
    return Structure(
        data=frame.scans[0] if is_watched else None, means=tuple(frame.means)
    )


def _means_scan(frame: _Frame, header: bytes, start: int, end: int) -> MeansScan:
    """Work out which codes a first scan of means is made of."""
    chosen = [(header[1 + 2 * k], header[2 + 2 * k] >> 4) for k in range(header[0])]
    most = [max(factors) for factors in zip(*frame.sampling.values(), strict=True)]
    if len(chosen) > 1:
        n_across, n_down = (
            -(-length // (8 * factor))
            for length, factor in zip(frame.size, most, strict=True)
        )
        n_blocks = [math.prod(frame.sampling[component]) for component, _ in chosen]
    else:
        n_across, n_down = (
            math.ceil(math.ceil(length * factor / largest) / 8)
            for length, factor, largest in zip(
                frame.size, frame.sampling[chosen[0][0]], most, strict=True
            )
        )
        n_blocks = [1]
    tables = [
        frame.tables.get(table, bytes(16))
        for (_, table), n in zip(chosen, n_blocks, strict=True)
        for _ in range(n)
    ]
    return MeansScan(start, end, tuple(tables), n_across * n_down, frame.interval)


def _read_segment(frame: _Frame, marker: int, body: bytes) -> str:
    """Note what a segment says; tell what is wrong with it.

    Raises:
        IndexError: It is too short for what it says.
    """
    if marker in SOF:
        if frame.process:
            return "a second picture begins within the first"
        frame.process = marker
        height, width = body[1:3], body[3:5]
        frame.size = int.from_bytes(width, "big"), int.from_bytes(height, "big")
        for k in range(body[5]):
            factors = body[7 + 3 * k]
            frame.sampling[body[6 + 3 * k]] = factors >> 4, factors & 15
        if not all(all(factors) for factors in frame.sampling.values()):
            return "a sampling factor is zero"
    elif marker == DHT:
        while body:
            n_symbols = sum(body[1:17])
            frame.tables[body[0]] = body[1 : 17 + n_symbols]
            if len(body) < 17 + n_symbols:
                return "a table is cut short"
            body = body[17 + n_symbols :]
    elif marker == DQT:
        while body:
            n_bytes = 128 if body[0] >> 4 else 64
            table = body[1 : 1 + n_bytes]
            if len(table) < n_bytes or (n_bytes == 64 and 0 in table):
                return "a quantisation table is not whole"
            body = body[1 + n_bytes :]
    elif marker == DRI:
        frame.interval = (body[0] << 8) + body[1]
    elif marker == SOS and not frame.process:
        return "a scan comes before the picture's size"
    return ""


def _scan_damage(frame: _Frame, header: bytes, scan: bytes, next_marker: int) -> str:
    """Tell what is wrong with a scan, of what its header says and its data show."""
    n_components = header[0] if header else 0
    if not 1 <= n_components <= 4 or len(header) != 4 + 2 * n_components:
        return "the header of a scan is not whole"
    chosen = {header[1 + 2 * k]: header[2 + 2 * k] for k in range(n_components)}
    first, last, bits = header[-3:]
    if not set(chosen) <= set(frame.sampling):
        return "a scan is of no part of the picture"
    if frame.process in SEQUENTIAL:
        first, last, bits = 0, 0, 0  # all at once, whatever some encoders write here
    before = bits >> 4 or -1  # bits left by the scan that this one refines
    for component in chosen:
        for k in range(first, min(last, 63) + 1):
            if frame.low_bits.get((component, k), -1) != before:
                return "a scan is missing before this one"
            frame.low_bits[component, k] = bits & 15
    if next_marker not in AFTER_A_SCAN:
        return (
            f"there is a marker in its data that has no place there ({next_marker:X})"
        )
    if restarts := b"".join(RESTART.findall(scan))[1::2]:
        cycle = bytes(range(0xD0, 0xD8)) * (len(restarts) // 8 + 1)
        if not frame.interval or restarts != cycle[: len(restarts)]:
            return "restart markers are missing or out of order"
    shortest = _implausible_run(
        frame, set(chosen.values()), first=first, high_bit=bits >> 4
    )
    if shortest and bytes(shortest) in _without_padding(scan):
        return "a part of its data is zeroed"
    return ""


def _implausible_run(
    frame: _Frame, tables: set[int], *, first: int, high_bit: int
) -> int:
    """Tell how many zero bytes on end a scan cannot have; 0 if it can have any number.

    The code of zeros is that of a table's first symbol. In a flat area the mean does
    not change (symbol 0) and no detail follows (symbol 0, end of block). If only the
    first symbol of means is another, zeros are a ramp, which ends with the range of
    levels. The details of a progressive picture are coded by runs: there zeros on end
    mean neither.
    """

    def is_zero_first(table: int) -> bool:
        return frame.tables.get(table, bytes(17))[16:17] in (b"\0", b"")

    if frame.process in SEQUENTIAL:
        is_detail = not all(is_zero_first(0x10 | table & 15) for table in tables)
    elif frame.process in PROGRESSIVE:
        is_detail = first > 0
        if high_bit and not is_detail:
            return 0  # plain bits
    else:
        return 0  # arithmetic coding and the like
    if is_detail:
        return DETAIL_RUN
    return 0 if all(is_zero_first(table >> 4) for table in tables) else RAMP_RUN

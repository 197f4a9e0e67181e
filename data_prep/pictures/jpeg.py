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

Markers and fields bear the names of the standard, ITU-T T.81: Ss to Se are the
coefficients of a scan, Ah and Al its bits (successive approximation), an MCU is what is
coded in one go.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from data_prep.pictures.huffman import RESTART, DcScan

CUT = "truncated: it ends before the picture does"
TOO_FEW = "damaged: its data end before the picture does"
START, END = b"\xff\xd8", b"\xff\xd9"
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)  # Huffman-coded; else not watched
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
AFTER_A_SCAN = {DHT, EOI, SOS, DQT, DRI, 0xDC, 0xFE, *range(0xE0, 0xF0)}
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in entropy-coded data: its end
# The longest runs of zero bytes that data may have where zeros code detail, and where
# they code a mean that falls from block to block. The longest of 10,406 files was 6.
DETAIL_RUN, RAMP_RUN = 32, 256
# More than this left over, in bytes: the data do not belong to the picture. Fewer are
# some encoders' padding.
MARGIN = 8
ONES = b"\xff\x00" * 8  # codes of ones only are invalid, so these stand for no block


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the markers of a JPEG tell.

    Attributes:
        damage: What is wrong; empty if nothing.
        data: Where the entropy-coded data begin and end, if there is one scan of a kind
            that ``watch_data`` can watch.
        dc_scans: The first scans of a progressive file, with the means of the blocks.
    """

    damage: str = ""
    data: tuple[int, int] | None = None
    dc_scans: tuple[DcScan, ...] = ()


@dataclass
class _Frame:
    """What the segments before a scan tell of it.

    Attributes:
        process: Marker of its start of frame: sequential, progressive or another.
        size: Width and height, in pixels.
        sampling: Factors of each component, across and down.
        tables: Huffman tables, by class (1: AC) and id in one byte.
        interval: MCUs between two restart markers; 0: there are none.
        low_bits: By component and coefficient, Al of the last scan with it: how many
            of its lower bits are still to come.
        scans: Start and end of the data of each scan.
        dc_scans: Those of first DC bits in a progressive file.
    """

    process: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    tables: dict[int, bytes] = field(default_factory=dict)
    interval: int = 0
    low_bits: dict[tuple[int, int], int] = field(default_factory=dict)
    scans: list[tuple[int, int]] = field(default_factory=list)
    dc_scans: list[DcScan] = field(default_factory=list)


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
            return Structure(damage=f"{CUT} (no end marker)")
        marker, position = data[position], position + 1
        if marker == EOI:
            return _finished(frame)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            if frame.process:
                return _broken("a marker is out of place", position)
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        body = data[position + 2 : position + length]
        if length < 2 or position + length > len(data):
            return _broken("a segment has no proper length", position)
        position += length
        try:
            fault = _read_segment(frame, marker, body)
        except IndexError:
            fault = "a table is cut short"
        if fault:
            return _broken(fault, position - length)
        if marker == SOS:
            end = MARKER.search(data, position)
            if end is None:
                return Structure(damage=f"{CUT} (no end marker)")
            scan = data[position : end.start()]
            fault = _scan_damage(frame, body, scan, data[end.start() + 1])
            if fault:
                return _broken(fault, position)
            frame.scans.append((position, end.start()))
            ss, ah = body[-3], body[-1] >> 4
            if frame.process in PROGRESSIVE and ss == ah == 0:
                frame.dc_scans.append(_dc_scan(frame, body, position, end.start()))
            position = end.start()


def watch_data(
    data: bytes, scan: tuple[int, int]
) -> tuple[Callable[[int], bytes], Callable[[], str]]:
    """Hand a JPEG of one scan to Pillow so that one can see how much of it is needed.

    Args:
        data: The file.
        scan: Where its entropy-coded data begin and end.

    Returns:
        ``read``, to be the image's ``load_read``: it gives the file without its last
        bytes, then these, and only then the end marker. And ``damage``, which tells
        after decoding whether the decoder stopped too early or wanted more; its text is
        empty if neither.
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

    def damage() -> str:
        if n_read == 1 and margin > start:
            return "damaged: data are left over when the picture is complete"
        if n_read > 2:
            return TOO_FEW
        return ""

    return read, damage


def data_damage(data: bytes) -> str:
    """Tell what is wrong with a JPEG, decoding it at an eighth of its size to see."""
    structure = read_structure(data)
    if structure.damage or structure.data is None:
        return structure.damage
    read, damage = watch_data(data, structure.data)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            image.draft(image.mode, (1, 1))
            image.load_read = read  # type: ignore[attr-defined]
            image.load()
    except (OSError, SyntaxError) as error:
        return f"damaged: {error}"
    return damage()


def _without_padding(scan: bytes) -> bytes:
    """Take off what may be padding by a camera, and may be data."""
    return scan.rstrip(b"\xff").rstrip(b"\0")


def _broken(fault: str, position: int) -> Structure:
    return Structure(damage=f"damaged: {fault} (byte {position:,})")


def _finished(frame: _Frame) -> Structure:
    """Check at the end marker that every coefficient came with its lowest bit."""
    if not frame.scans:
        return Structure(damage=f"{CUT} (no data)")
    is_missing = any(
        frame.low_bits.get((component, k), -1) != 0
        for component in frame.sampling
        for k in range(1 if frame.process in SEQUENTIAL else 64)
    )
    if is_missing and frame.process in (*SEQUENTIAL, *PROGRESSIVE):
        return Structure(damage=f"{CUT} (a scan is missing)")
    is_watched = frame.process in SEQUENTIAL and len(frame.scans) == 1
    return Structure(
        data=frame.scans[0] if is_watched else None, dc_scans=tuple(frame.dc_scans)
    )


def _dc_scan(frame: _Frame, header: bytes, start: int, end: int) -> DcScan:
    """Work out how many MCUs a first DC scan has, and the table of each block (A.2)."""
    components = [(header[1 + 2 * k], header[2 + 2 * k] >> 4) for k in range(header[0])]
    largest = [max(factors) for factors in zip(*frame.sampling.values(), strict=True)]
    if len(components) > 1:
        # Interleaved: an MCU has as many blocks of a component as its factors say.
        n_across, n_down = (
            -(-length // (8 * factor))
            for length, factor in zip(frame.size, largest, strict=True)
        )
        n_blocks = [math.prod(frame.sampling[component]) for component, _ in components]
    else:
        # A component alone is coded block by block, in its sampled size.
        n_across, n_down = (
            math.ceil(math.ceil(length * factor / most) / 8)
            for length, factor, most in zip(
                frame.size, frame.sampling[components[0][0]], largest, strict=True
            )
        )
        n_blocks = [1]
    tables = [
        frame.tables.get(table, bytes(16))
        for (_, table), n in zip(components, n_blocks, strict=True)
        for _ in range(n)
    ]
    return DcScan(
        start=start,
        end=end,
        tables=tuple(tables),
        n_units=n_across * n_down,
        interval=frame.interval,
    )


def _read_segment(frame: _Frame, marker: int, body: bytes) -> str:
    """Keep in ``frame`` what a segment tells; return its fault, empty if it has none.

    Raises:
        IndexError: It is too short for what it tells.
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
    """Tell what is wrong with a scan: with its header, or with its data."""
    n_components = header[0] if header else 0
    if not 1 <= n_components <= 4 or len(header) != 4 + 2 * n_components:
        return "the header of a scan is not whole"
    tables = {header[1 + 2 * k]: header[2 + 2 * k] for k in range(n_components)}
    ss, se, ah_al = header[-3:]
    if not set(tables) <= set(frame.sampling):
        return "a scan is of no part of the picture"
    if frame.process in SEQUENTIAL:
        ss, se, ah_al = 0, 0, 0  # all at once, whatever some encoders write here
    ah, al = ah_al >> 4, ah_al & 15
    for component in tables:
        for k in range(ss, min(se, 63) + 1):
            # A scan refines the bits that the one before it left, or begins.
            if frame.low_bits.get((component, k), -1) != (ah or -1):
                return "a scan is missing before this one"
            frame.low_bits[component, k] = al
    if next_marker not in AFTER_A_SCAN:
        return (
            f"there is a marker in its data that has no place there ({next_marker:X})"
        )
    if restarts := b"".join(RESTART.findall(scan))[1::2]:
        cycle = bytes(range(0xD0, 0xD8)) * (len(restarts) // 8 + 1)  # RST0 to RST7
        if not frame.interval or restarts != cycle[: len(restarts)]:
            return "restart markers are missing or out of order"
    n_zeros = _implausible_run(frame, set(tables.values()), ss=ss, ah=ah)
    if n_zeros and bytes(n_zeros) in _without_padding(scan):
        return "a part of its data is zeroed"
    return ""


def _implausible_run(frame: _Frame, tables: set[int], *, ss: int, ah: int) -> int:
    """Tell how many zero bytes on end a scan cannot have; 0 if it can have any number.

    The code of zeros is that of a table's first symbol. In a flat area the mean does
    not change (DC symbol 0) and no detail follows (AC symbol 0, end of block). If only
    the first DC symbol is another, zeros are a ramp, which ends with the range of
    levels. The AC coefficients of a progressive picture are coded by runs: there zeros
    on end mean neither.

    Args:
        frame: With the Huffman tables.
        tables: DC and AC table of each component, in the upper and the lower 4 bits.
        ss: First coefficient of the scan; 0: DC.
        ah: Bits that an earlier scan has brought; 0: this is the first.
    """

    def has_symbol_0_first(table: int) -> bool:
        return frame.tables.get(table, bytes(17))[16:17] in (b"\0", b"")

    if frame.process in SEQUENTIAL:
        codes_detail = not all(has_symbol_0_first(0x10 | t & 15) for t in tables)
    elif frame.process in PROGRESSIVE:
        codes_detail = ss > 0
        if ah and not codes_detail:
            return 0  # plain bits
    else:
        return 0  # arithmetic coding and the like
    if codes_detail:
        return DETAIL_RUN
    return 0 if all(has_symbol_0_first(t >> 4) for t in tables) else RAMP_RUN

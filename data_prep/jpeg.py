"""What a JPEG's bytes tell of damage, beyond what Pillow makes of them.

libjpeg goes on after damage, with a warning that Pillow drops: what it has no data for
comes out grey. The format has no checksum either. But its markers, tables and scans can
be followed from end to end; entropy-coded data has no long runs of zeros unless its
tables make them mean flat areas; and a picture of one scan must need all of its data
and no more, which ``watch_data`` sees while Pillow decodes.

So a cut, zeroed, lost or overwritten part is seen where it breaks any of this. A flipped
bit often breaks none: some blocks come out wrong, and the file cannot tell. Of a
progressive file, or one of several scans, only its structure is checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

CUT = "truncated: it ends before the picture does"
START, END = b"\xff\xd8", b"\xff\xd9"
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE, SEQUENTIAL = (0xC2,), (0xC0, 0xC1)
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
AFTER_A_SCAN = {DHT, EOI, SOS, DQT, DRI, 0xDC, 0xFE, *range(0xE0, 0xF0)}
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in entropy-coded data: its end
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
ZERO_RUN = bytes(64)  # the longest of 10,406 real files was 6
# More than this left over, in bytes: the data do not belong to the picture. Fewer are
# some encoders' padding.
MARGIN = 8
ONES = b"\xff\x00" * 8  # codes of ones only are invalid, so these stand for no block


@dataclass
class _Frame:
    """What the segments before a scan say of it."""

    process: int = 0
    components: list[int] = field(default_factory=list)
    first_symbols: dict[int, int] = field(default_factory=dict)  # by table class and id
    interval: int = 0
    low_bits: dict[tuple[int, int], int] = field(default_factory=dict)
    scans: list[tuple[int, int]] = field(default_factory=list)  # of entropy-coded data


def find_damage(data: bytes) -> tuple[str, tuple[int, int] | None]:
    """Follow the markers of a JPEG from its start to its end.

    Args:
        data: The file; what stands behind the picture's end is not looked at.

    Returns:
        What is wrong, or nothing; and where the entropy-coded data begin and end, if
        the picture has one scan of a kind that ``watch_data`` can watch.
    """
    frame = _Frame()
    position = len(START)
    while True:
        if data[position : position + 1] != b"\xff":
            at_start = not (frame.process or frame.first_symbols)
            found = data.find(b"\xff", position) if at_start else -1
            if found < 0:
                return _broken("its segments do not follow each other", position)
            position = found  # padding between a camera's own segments
        while data[position : position + 1] == b"\xff":
            position += 1
        if position >= len(data):
            return f"{CUT} (no end marker)", None
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
                return f"{CUT} (no end marker)", None
            scan = data[position : end.start()]
            wrong = _scan_damage(frame, body, scan, data[end.start() + 1])
            if wrong:
                return _broken(wrong, position)
            frame.scans.append((position, end.start()))
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
            return "damaged: its data end before the picture does"
        return ""

    return read, verdict


def _without_padding(scan: bytes) -> bytes:
    """Take off what may be padding by a camera, and may be data."""
    return scan.rstrip(b"\xff").rstrip(b"\0")


def _broken(what: str, position: int) -> tuple[str, None]:
    return f"damaged: {what} (byte {position:,})", None


def _finished(frame: _Frame) -> tuple[str, tuple[int, int] | None]:
    if not frame.scans:
        return f"{CUT} (no data)", None
    missing = any(
        frame.low_bits.get((component, k), -1) != 0
        for component in frame.components
        for k in range(1 if frame.process in SEQUENTIAL else 64)
    )
    if missing and frame.process in (*SEQUENTIAL, *PROGRESSIVE):
        return f"{CUT} (a scan is missing)", None
    is_watched = frame.process in SEQUENTIAL and len(frame.scans) == 1
    return "", frame.scans[0] if is_watched else None


def _read_segment(frame: _Frame, marker: int, body: bytes) -> str:
    """Note what a segment says; tell what is wrong with it.

    Raises:
        IndexError: It is too short for what it says.
    """
    if marker in SOF:
        if frame.process:
            return "a second picture begins within the first"
        frame.process = marker
        frame.components = [body[6 + 3 * k] for k in range(body[5])]
    elif marker == DHT:
        while body:
            n_symbols = sum(body[1:17])
            frame.first_symbols[body[0]] = body[17] if n_symbols else 0
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
    if not set(chosen) <= set(frame.components):
        return "a scan is of no part of the picture"
    if frame.process in SEQUENTIAL:
        first, last, bits = 0, 0, 0  # all at once, whatever some encoders write here
    for component in chosen:
        for k in range(first, min(last, 63) + 1):
            frame.low_bits[component, k] = bits & 15
    if next_marker not in AFTER_A_SCAN:
        return f"there is a marker in its data that has no place there ({next_marker:X})"
    restarts = b"".join(RESTART.findall(scan))
    if restarts:
        cycle = bytes(range(0xD0, 0xD8)) * (len(restarts) // 8 + 1)
        if not frame.interval or restarts != cycle[: len(restarts)]:
            return "restart markers are missing or out of order"
    if ZERO_RUN in _without_padding(scan):
        tables = set(chosen.values())
        if not _zeros_are_flat(frame, tables, first=first, high_bit=bits >> 4):
            return "a part of its data is zeroed"
    return ""


def _zeros_are_flat(
    frame: _Frame, tables: set[int], *, first: int, high_bit: int
) -> bool:
    """Tell whether a long run of zero bits can stand for a flat area.

    The code of zeros is that of a table's first symbol. An area is flat where the mean
    does not change (symbol 0) and no detail follows (symbol 0, end of block). The
    details of a progressive picture are coded by runs: there it never is.
    """
    if frame.process in SEQUENTIAL:
        return not any(
            frame.first_symbols.get(table >> 4)
            or frame.first_symbols.get(0x10 | table & 15)
            for table in tables
        )
    if frame.process in PROGRESSIVE:
        is_mean = first == 0
        return is_mean and (
            high_bit > 0
            or not any(frame.first_symbols.get(table >> 4) for table in tables)
        )
    return True  # arithmetic coding and the like

"""How many blocks the first scan of a progressive JPEG holds.

That scan codes the DC coefficient of each block of 8 x 8 pixels, its mean: one Huffman
code and some value bits a block (ITU-T T.81, F.2.2.1 and G.1.2.1). So it can be
followed without decoding a pixel. If its data end early, libjpeg leaves the blocks
after that grey.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESTART = re.compile(rb"\xff[\xd0-\xd7]")
SPARE = 8  # bytes that may be left over: some encoders' padding


@dataclass(frozen=True, kw_only=True)
class DcScan:
    """A scan of DC coefficients, the means of the blocks.

    Attributes:
        start: Where its data begin in the file, in bytes.
        end: Where they end.
        tables: For each block of a coded unit (MCU), its Huffman table: 16 counts of
            code lengths, then the symbols.
        n_units: How many coded units the picture has.
        interval: Units between two restart markers; 0 if there are none.
    """

    start: int
    end: int
    tables: tuple[bytes, ...]
    n_units: int
    interval: int


def holds_all_blocks(data: bytes, scan: DcScan) -> bool:
    """Tell whether a scan has data for just the blocks that there are.

    Args:
        data: The file.
        scan: Where to look, and for how many blocks.
    """
    segments = RESTART.split(data[scan.start : scan.end])
    lengths = [_bits_of_codes(table) for table in scan.tables]
    n_left = scan.n_units
    for segment in segments:
        n_units = min(n_left, scan.interval) if scan.interval else n_left
        # An encoder stuffs a zero after each 0xFF, so that no marker appears in data.
        if not _fills(segment.replace(b"\xff\0", b"\xff"), lengths, n_units):
            return False
        n_left -= n_units
    return n_left == 0


def _fills(segment: bytes, lengths: Sequence[bytes], n_units: int) -> bool:
    """Tell whether the codes of so many units are all that a segment holds."""
    padded, n_bits, position = segment + bytes(4), 8 * len(segment), 0
    for _ in range(n_units):
        for length in lengths:
            byte = position >> 3
            word = int.from_bytes(padded[byte : byte + 4], "big")
            next_16_bits = word >> (16 - (position & 7)) & 0xFFFF
            n = length[next_16_bits]
            if not n:
                return False
            position += n
        if position > n_bits:
            return False
    return n_bits - position < 8 * (SPARE + 1)


@lru_cache(maxsize=16)
def _bits_of_codes(table: bytes) -> bytes:
    """Give, for each 16 bits ahead, the length of code and value; 0 for no code.

    Codes are canonical (T.81, annex C): of each length in turn, counted upwards. So a
    code of n bits owns the next 2^(16 - n) of the 16-bit words. The symbol of a DC code
    is the number of value bits that follow it.
    """
    n_bits = np.zeros(65_536, dtype=np.uint8)
    start, symbol_idx = 0, 16
    for length in range(1, 17):
        for _ in range(table[length - 1]):
            stop = start + (1 << (16 - length))
            n_bits[start:stop] = length + min(table[symbol_idx], 16)
            start, symbol_idx = stop, symbol_idx + 1
    return n_bits.tobytes()

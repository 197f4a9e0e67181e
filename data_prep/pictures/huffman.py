"""How many blocks the first scan of a progressive JPEG holds.

That scan has the mean of each block, one code a block, so it can be read without the
rest. If its data end early, libjpeg leaves the blocks after that grey.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESTART = re.compile(rb"\xff[\xd0-\xd7]")
SPARE = 8  # bytes that may be left over: some encoders' padding


@dataclass(frozen=True)
class MeansScan:
    """A scan of block means.

    Attributes:
        start: Where its data begin in the file.
        end: Where they end.
        tables: For each block of a unit, the Huffman table: 16 counts of code lengths,
            then the symbols.
        n_units: How many units the picture has; a unit is what is coded in one go.
        interval: Units between two restart markers; 0 if there are none.
    """

    start: int
    end: int
    tables: tuple[bytes, ...]
    n_units: int
    interval: int


def holds_all_blocks(data: bytes, scan: MeansScan) -> bool:
    """Tell whether a scan has data for just the blocks that there are."""
    parts = RESTART.split(data[scan.start : scan.end])
    lengths = [_bits_of_codes(table) for table in scan.tables]
    left = scan.n_units
    for part in parts:
        n_units = min(left, scan.interval) if scan.interval else left
        used = _bits_used(part.replace(b"\xff\0", b"\xff"), lengths, n_units)
        if used < 0:
            return False
        left -= n_units
    return left == 0


def _bits_used(part: bytes, lengths: Sequence[bytes], n_units: int) -> int:
    """Count the bits of the codes of so many units; -1 if that is not all there is."""
    padded, n_bits, position = part + bytes(4), 8 * len(part), 0
    for _ in range(n_units):
        for length in lengths:
            byte = position >> 3
            word = int.from_bytes(padded[byte : byte + 4], "big")
            n = length[word >> (16 - (position & 7)) & 0xFFFF]
            if not n:
                return -1
            position += n
        if position > n_bits:
            return -1
    return position if n_bits - position < 8 * (SPARE + 1) else -1


@lru_cache(maxsize=16)
def _bits_of_codes(table: bytes) -> bytes:
    """Give, for each 16 bits ahead, the length of code and value; 0 for no code."""
    bits = np.zeros(65_536, dtype=np.uint8)
    start, k = 0, 16
    for length in range(1, 17):
        for _ in range(table[length - 1]):
            stop = start + (1 << (16 - length))
            bits[start:stop] = length + min(table[k], 16)
            start, k = stop, k + 1
    return bits.tobytes()

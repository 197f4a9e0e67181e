"""TIFFs that no library writes: their directory first, and numbers as one likes."""

import struct


def tiff(
    pixels: bytes,
    size: tuple[int, int],
    n_bits: int,
    order: str = "<",
    *,
    photometric: int = 1,
    sample_format: int = 1,
    n_channels: int = 1,
) -> bytes:
    """Write a TIFF of one uncompressed strip, which stands behind the directory.

    Args:
        pixels: The strip.
        size: Width and height.
        n_bits: Bits of a number.
        order: ``"<"`` or ``">"``.
        photometric: 0: white is zero, 1: black is zero.
        sample_format: 1: unsigned, 2: signed.
        n_channels: 1, or 3 for RGB.
    """
    n_entries = 10
    behind = 8 + 2 + 12 * n_entries + 4
    bits = struct.pack(
        f"{order}HHHH", *(n_bits,) * n_channels, *(0,) * (4 - n_channels)
    )
    bits_value = bits[:4] if n_channels == 1 else struct.pack(f"{order}I", behind)
    photometric = 2 if n_channels == 3 else photometric

    def short(value: int) -> bytes:
        return struct.pack(f"{order}HH", value, 0)

    entries = [
        (256, 3, 1, short(size[0])),
        (257, 3, 1, short(size[1])),
        (258, 3, n_channels, bits_value),
        (259, 3, 1, short(1)),
        (262, 3, 1, short(photometric)),
        (273, 4, 1, struct.pack(f"{order}I", behind + 8)),
        (277, 3, 1, short(n_channels)),
        (278, 3, 1, short(size[1])),
        (279, 4, 1, struct.pack(f"{order}I", len(pixels))),
        (339, 3, 1, short(sample_format)),
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", n_entries)
    for tag, kind, count, value in entries:
        directory += struct.pack(f"{order}HHI", tag, kind, count) + value
    return head + directory + bytes(4) + bits + pixels

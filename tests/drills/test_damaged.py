"""Drill: a thousand damaged files of every format; what share is caught?

Run by ``make drills``; the figures stand in docs/results.md.
"""

import sys

import numpy as np
import pytest
from PIL import Image

from data_prep.errors import UnreadableError
from tests.damaging import (
    BLIND,
    DAMAGES,
    KINDS,
    cut,
    decode,
    encoded,
    flipped,
    overwritten,
    zeroed,
)

PER_CELL = 13  # files of a format and a damage: 1,170 in all
CHECKSUMS = ("PNG", "TIFF, deflate", "JPEG XL", "JPEG XL, lossless")
FILLED = 0.1  # of the picture in one colour: half grey


def share_of_one_colour(image: Image.Image) -> float:
    counts = image.getcolors(image.width * image.height) or []
    return max(n for n, _ in counts) / (image.width * image.height)


@pytest.mark.drill
def test_what_share_of_damaged_files_is_caught(
    capfd: pytest.CaptureFixture[str],
) -> None:
    shares: dict[tuple[str, str], float] = {}
    filled: list[str] = []
    for row, (kind, (_, _, suffix)) in enumerate(KINDS.items()):
        files = [encoded(kind, seed) for seed in range(4)]
        for column, damage in enumerate(DAMAGES):
            rng = np.random.default_rng((row, column))
            n_caught = 0
            for k in range(PER_CELL):
                try:
                    image, _ = decode(damage(files[k % 4], rng), 320, suffix)
                except UnreadableError:
                    n_caught += 1
                    continue
                if share_of_one_colour(image) > FILLED:
                    filled.append(f"{kind}, {damage.__name__} {k}")
            shares[kind, damage.__name__] = n_caught / PER_CELL
    names = [damage.__name__ for damage in DAMAGES]
    lines = [f"{'share caught':18s}" + "".join(f"{name:>12s}" for name in names)]
    for kind in KINDS:
        cells = (f"{shares[kind, name]:12.0%}" for name in names)
        lines.append(f"{kind:18s}" + "".join(cells))
    lines.append(f"let through with a tenth in one colour: {filled or 'none'}")
    with capfd.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    for kind in KINDS:
        assert shares[kind, cut.__name__] == 1, kind
        assert shares[kind, zeroed.__name__] == (kind not in BLIND), kind
        if kind in CHECKSUMS:
            assert shares[kind, flipped.__name__] == 1, kind
            assert shares[kind, overwritten.__name__] == 1, kind
    assert not filled

"""Palettes: the colours of an age, drifting from one to the next."""

from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from data_prep.demo_collection.grain import Floats, Rng


class Palette(NamedTuple):
    """One RGB colour (3,) for each role in a scene."""

    sky: Floats
    haze: Floats
    far: Floats
    near: Floats
    leaf: Floats
    light: Floats
    accent: Floats
    second: Floats
    dark: Floats
    flesh: Floats
    wall: Floats


ROLES = Palette._fields

# The year in which each palette is purest, and one hexadecimal colour per role.
AGE_TABLE = """
1450 7b97b8 e9d9a8 8aa08c 5f7a45 4c6a3c f3e6c0 b5402a 2d4784 3a2a1e e8c39c d3a546
1530 86a3b5 ecdcb4 7c9a9a 6d7c3f 50683a f4e4bb a8362a 3c5a7d 33241a e5ba90 7a5a3a
1640 8496a0 d9c49a 75806e 5a4e2c 4c4d26 f2dca8 9c3020 c08a38 1d140e dfae82 3b2a1c
1745 a9c4d4 f3dfc8 a9bcae 8fa074 7a9468 fbf3df d07f7c d9b368 5a4538 f3cfb4 b9c3b4
1815 8fb0c9 f4cf9c 8199a3 77804c 566b3a fdeec4 b8503c 3f6b86 2f2a2c e9bd98 8a8f86
1885 8ec1e2 fbd9c0 9a97c6 7fae68 4f935f fff3b8 ee8a4a 7467b0 3c3a63 f6c7a6 c9b5d6
1935 3f8fae f6d98a 2f6f8f d9822b 2c7a5c fbe7b0 d43d2a 1f4e8c 1b1b24 eea878 e9c46a
"""
AGES = {int(row[:4]): row[5:] for row in AGE_TABLE.strip().splitlines()}


def palette_of(year: float, rng: Rng) -> Palette:
    """Mix the palette of a year, a little different each time."""
    pure = np.array(
        [[ImageColor.getrgb("#" + c) for c in AGES[age].split()] for age in AGES]
    )
    flat = pure.reshape(len(AGES), -1) / 255
    channels = [np.interp(year, list(AGES), channel) for channel in flat.T]
    colours = np.reshape(channels, (len(ROLES), 3))
    # One cast for the whole picture and a smaller one per colour keep it in harmony.
    cast = rng.normal(0, 0.025, 3) + rng.normal(0, 0.02, colours.shape)
    grey = colours.mean(axis=1, keepdims=True)
    vivid = grey + (colours - grey) * rng.uniform(0.75, 1.2)
    return Palette(*np.clip(vivid + cast, 0, 1).astype(np.float32))

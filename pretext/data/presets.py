"""Views by the name of how strong they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pretext.data.augment import AugmentParams
from pretext.data.occlusion import HoleParams, ShuffleParams
from pretext.data.randaugment import RandParams
from pretext.data.warps import WarpParams


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a name adds to crop, turn and colour of a view.

    Attributes:
        colour: Times the usual change of brightness, contrast and saturation.
        hue: Change of the hue, as a share of that.
        blur: Probability of a blur.
        warp: How far views are shifted, zoomed and rotated; None: they are not.
        shuffle: How often cells change places; None: never.
        holes: What is hidden; None: nothing.
        has_rand: Operations are drawn for each picture, as many as the user says.
    """

    colour: float = 1.0
    hue: float = 0.0
    blur: float = 0.0
    warp: WarpParams | None = None
    shuffle: ShuffleParams | None = None
    holes: HoleParams | None = None
    has_rand: bool = False


# at the usual colour = 0.1, strong changes colours as SimCLR does: 0.4, and hue by 0.1
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "none": Preset(),
        "light": Preset(
            hue=0.2, warp=WarpParams(p=0.5, rotate=10, zoom=0.1, shift=0.05)
        ),
        "medium": Preset(
            colour=2,
            hue=0.25,
            warp=WarpParams(p=0.5, rotate=20, zoom=0.15, shift=0.06),
            holes=HoleParams(p=0.5, n=4, smallest=0.1, largest=0.2),
        ),
        "strong": Preset(
            colour=4,
            hue=0.25,
            blur=0.2,
            warp=WarpParams(p=0.5, rotate=30, zoom=0.2, shift=0.1),
            shuffle=ShuffleParams(p=0.25),
            holes=HoleParams(p=0.5, n=8, smallest=0.1, largest=0.2),
        ),
        "randaugment": Preset(has_rand=True),
    }
)


def preset(
    name: str, *, min_area: float, d4: bool, colour: float, rand: tuple[int, int]
) -> AugmentParams:
    """Say how far views may leave the picture, by the name of a preset.

    Args:
        name: Of ``PRESETS``.
        min_area: Smallest share of the picture's area that a crop keeps.
        d4: Draw one of the eight flips and rotations; else mirror left-right only.
        colour: Usual change of the colours, as a share; 0: colours are kept, whatever
            the name.
        rand: Operations of ``randaugment`` for each picture, and their magnitude.
    """
    chosen = PRESETS[name]
    change = min(1.0, chosen.colour * colour)
    n, magnitude = rand
    return AugmentParams(
        min_area=min_area,
        d4=d4,
        brightness=change,
        contrast=change,
        saturation=change,
        hue=min(0.5, chosen.hue * chosen.colour * colour),
        blur=chosen.blur,
        warp=chosen.warp,
        rand=RandParams(n=n, magnitude=magnitude, colours=colour > 0)
        if chosen.has_rand
        else None,
        shuffle=chosen.shuffle,
        holes=chosen.holes,
    )

"""The settings of the tasks that look at random views."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from data_prep.errors import UserError
from data_prep.ranges import OR_ZERO, Area
from data_prep.settings import Example
from pretext.pretext_settings import PretextSettings

if TYPE_CHECKING:
    from pretext.data.augment import AugmentParams

COLLAPSED = 0.3  # of the spread that a sphere filled evenly has
RATE_IS_FOR = 256  # pictures per step: Goyal et al. 2017, arXiv 1706.02677
CROP = {"ratio": 4 / 3, "tries": 10}  # torchvision's RandomResizedCrop
COLOUR_CHANGES: dict[str, dict[str, float]] = {
    "keep": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "grey": 0.1},
    "strong": {  # of SimCLR, arXiv 2002.05709, as MoCo v2, SimSiam and others took it
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "colour_p": 0.8,
        "grey": 0.2,
        "blur": 0.5,
    },
}


@dataclass(frozen=True, kw_only=True)
class ViewSettings(PretextSettings):
    """How the views are made that are to agree."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 0.05
    side: Annotated[
        int,
        "side of the views, px; 0: that of the pictures",
        Ge(32),
        OR_ZERO,
        Example(112),
    ] = 0
    min_area: Annotated[Area, "smallest share of the picture in a view"] = 0.3
    colour: Annotated[
        Literal["keep", "strong"],
        "changes of the colour: keep (weak, where it may carry the label) or strong"
        " (of the papers: weights that do not look at colour; blurs too)",
    ] = "keep"
    turns: Annotated[bool, "flip and rotate the views: pictures without an up"] = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.colour not in COLOUR_CHANGES:
            raise UserError(
                f"colour = {self.colour!r}: give {' or '.join(COLOUR_CHANGES)}"
            )

    @property
    def views_per_picture(self) -> float:
        """What a step costs, in views forward and backward of each picture."""
        return 2.0

    @property
    def peak_rate(self) -> float:
        """The highest learning rate, in proportion to the pictures of a step."""
        return self.learning_rate * self.pictures_per_step / RATE_IS_FOR

    def augment_params(self, min_area: float, max_area: float = 1.0) -> "AugmentParams":
        """Say how far views may leave the picture.

        Args:
            min_area: Smallest share of the picture in a view.
            max_area: Largest share.
        """
        from pretext.data.augment import AugmentParams

        return AugmentParams(
            min_area=min_area,
            max_area=max_area,
            d4=self.turns,
            **CROP,  # type: ignore[arg-type]
            **COLOUR_CHANGES[self.colour],  # type: ignore[arg-type]
        )


def spread_verdict(last: Mapping[str, float]) -> str:
    """Say what the spread of the outputs means.

    Args:
        last: The last of each metric of a training; ``spread`` is 1 when the outputs
            fill the sphere, and 0 when all pictures give the same.
    """
    spread = last.get("spread", float("nan"))
    sentence = f"spread of the outputs {spread:.2f} of 1/sqrt(d)"
    if spread >= COLLAPSED:
        return sentence
    return (
        f"{sentence}: the outputs have COLLAPSED: try a smaller --learning-rate,"
        " stronger views"
    )

"""The settings of the tasks that look at views of two sizes: DINO, VISReg and SwAV."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from data_prep.errors import UserError
from data_prep.ranges import OR_ZERO, Area
from data_prep.settings import Example
from pretext.preflight import network_of
from pretext.view_settings import ViewSettings

if TYPE_CHECKING:
    from data_prep.outlook import Outlook
    from pretext.methods.crops import Crops

LOCAL_MIN_AREA = 0.05  # share of the picture


@dataclass(frozen=True, kw_only=True)
class MultiCropSettings(ViewSettings):
    """How views of two sizes are made: two large ones, and small ones."""

    side: Annotated[
        int,
        "side of the global views, px; 0: that of the pictures",
        Ge(32),
        OR_ZERO,
        Example(112),
    ] = 0
    min_area: Annotated[
        Area, "smallest share of the picture in a global view, largest in a local one"
    ] = 0.4
    local_crops: Annotated[
        int, "local views of each picture, 3/7 of the side", Ge(0)
    ] = 6

    @property
    def views_per_picture(self) -> float:
        """Two global views, and local ones by their area."""
        return 2 + self.local_crops * (3 / 7) ** 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.min_area <= LOCAL_MIN_AREA:
            raise UserError(
                f"min_area = {self.min_area}: give more than {LOCAL_MIN_AREA}, the"
                " smallest share in a local view"
            )

    def crops(self, picture_px: int) -> "Crops":
        """Say how the views of pictures of a side are cut."""
        from pretext.methods.crops import Crops

        return Crops(
            side_px=self.side or picture_px,
            global_params=self.augment_params(self.min_area),
            local_params=self.augment_params(LOCAL_MIN_AREA, self.min_area),
            n_local=self.local_crops,
        )

    def check_libraries(self, outlook: "Outlook") -> None:
        """Try also whether the network takes the local views."""
        super().check_libraries(outlook)
        from pretext.networks.backbones import build_backbone

        name = network_of(self.init, self.backbone, outlook)
        if name is not None:
            crops = self.crops(outlook.metadata["side"])
            crops.check(build_backbone(name, crops.side_px))

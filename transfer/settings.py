"""The settings of the transfer."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from data_prep.outlook import Outlook
from data_prep.ranges import OR_ZERO, Area, Share
from data_prep.settings import NOT_HASHED
from pretext.preflight import check_first_weights, check_larger_views, check_names
from pretext.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(TrainingSettings):
    """Train nets on the labels, one per sub-task and fold, from pretext weights.

    python -m transfer.finetune --experiment experiments/demo.toml
    """

    batch_size: Annotated[int, "pictures per step", Ge(2)] = 32
    init: Annotated[
        str, "first weights: a pretext stage, scratch, or a .safetensors file"
    ] = "pretext.jigsaw"
    backbone: Annotated[
        str, "name of a timm network; left out: that of the first weights"
    ] = ""
    joint: Annotated[bool, "one net with a head per task, not a net per task"] = False
    tasks: Annotated[
        tuple[str, ...], "tasks to train, such as target,date; left out: all"
    ] = ()
    folds: Annotated[
        tuple[str, ...], "folds to train, such as 0,1; left out: each"
    ] = ()
    all: Annotated[bool, "add a net trained on every labelled row"] = False
    side: Annotated[
        int, "side of the training views, px; 0: that of the pictures", Ge(32), OR_ZERO
    ] = 0
    min_area: Annotated[Area, "smallest share of the picture in a view"] = 0.6
    turns: Annotated[bool, "flip and rotate the views all eight ways"] = True
    colour: Annotated[
        Share, "largest change of brightness, contrast, saturation: 0.1 is 10 %"
    ] = 0.1
    dropout: Annotated[Share, "share of features dropped before the heads"] = 0.2
    keep_epochs: Annotated[
        int, "weights of the last N epochs kept in epochs/; 0: none", NOT_HASHED, Ge(0)
    ] = 1

    score_every: Annotated[
        int,
        "score the held-out fold after every n-th epoch, for the record alone; 0: only"
        " at the end",
        NOT_HASHED,
        Ge(0),
    ] = 0

    def check_data(self, outlook: Outlook) -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them.
        """
        from transfer.jobs import check_plan

        picture_px = outlook.metadata["side"]
        final_px = self.net_side_px(picture_px, self.final_scale)
        check_larger_views(final_px, picture_px, self.final_scale)
        check_first_weights(self.init, self.backbone, outlook)
        check_plan(outlook, self)

    def check_libraries(self, outlook: Outlook) -> None:
        """Ask libraries what they know, and try the network; it loads torch.

        Raises:
            UserError: A name is unknown, or the network does not take what will come.
        """
        check_names(self.backbone, self.optimizer)
        from pretext.networks.trial import try_training

        try_training(self, outlook)

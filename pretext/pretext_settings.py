"""The settings that every pretext task has, and what a task adds to them.

A task is a subclass: its fields are its settings, ``build_learner`` says what is
learnt, ``summary`` what came out, ``questions`` what guessing would give.
``docs/new_pretext_task.md`` adds one.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from data_prep.errors import UserError
from data_prep.file_paths import MayBePath
from data_prep.settings import Example
from pretext.data.training_data import n_held_out
from pretext.preflight import check_first_weights, check_larger_views, check_names
from pretext.ready_weights import is_path
from pretext.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import nn

    from data_prep.outlook import Outlook
    from pretext.data.training_data import TrainingData
    from pretext.engine.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked about each picture of a task that has right answers.

    Attributes:
        per_picture: How many questions.
        choices: How many answers each has.
    """

    per_picture: int
    choices: int

    @property
    def chance(self) -> float:
        """Share of them that guessing gets right."""
        return 1 / self.choices


@dataclass(frozen=True, kw_only=True)
class PretextSettings(TrainingSettings):
    """The settings of a pretext task, and the task itself: a learner and a summary."""

    backbone: Annotated[
        str,
        "name of a timm network; left out: that of the first weights, or resnet34",
        Example("resnet18"),
    ] = ""
    init: Annotated[
        str,
        "first weights: scratch, another pretext stage, timm:NAME, or a file or folder",
        Example("timm:resnet18.a1_in1k"),
        MayBePath(is_path=is_path),
    ] = "scratch"
    inductive: Annotated[bool, "leave the pictures of the test table out"] = False
    health_every: Annotated[
        int, "epochs between two measurements of the health; 0: never", Ge(0)
    ] = 5
    stop: Annotated[
        Literal["never", "collapse", "plateau", "both"],
        "end early when the health says so",
    ] = "never"
    keep: Annotated[
        Literal["last", "best-probe"],
        "weights to keep: the last, or those that a probe of the labels likes best",
    ] = "last"

    held_out = 0.0  # share of the pictures that only measure; no setting of most tasks

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.health_every == 0 and (self.stop != "never" or self.keep != "last"):
            name = "stop" if self.stop != "never" else "keep"
            raise UserError(
                f"{name} = {getattr(self, name)!r} needs the health, but"
                " health_every = 0; give it 1 or more"
            )

    @abstractmethod
    def build_learner(self, backbone: "nn.Module", data: "TrainingData") -> "Learner":
        """Make what is trained; its ``backbone`` attribute is kept in the end.

        Args:
            backbone: With its first weights.
            data: Pictures, and which of them train.
        """

    @abstractmethod
    def summary(self, last: Mapping[str, float]) -> str:
        """Put the last metrics of a training into a sentence; say what chance is.

        Args:
            last: The last value of each metric, by name.
        """

    @property
    def questions(self) -> Questions | None:
        """What ``held_out`` among the metrics is the accuracy of; None: of nothing."""
        return None

    def check_data(self, outlook: "Outlook") -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them.
        """
        picture_px = outlook.metadata["side"]
        self.net_side_px(picture_px, 1.0)  # some refuse the side of the pictures
        final_px = self.net_side_px(picture_px, self.final_scale)
        check_larger_views(final_px, picture_px, self.final_scale)
        check_first_weights(self.init, self.backbone, outlook)
        visible_mask = outlook.table["split"] != "test"
        n_pictures = int(visible_mask.sum()) if self.inductive else len(visible_mask)
        n_pictures -= n_held_out(self.held_out, n_pictures)
        self.check_enough(n_pictures, "the collection")
        if self.keep == "best-probe" and not outlook.metadata["n_folds"]:
            raise UserError(
                "keep = 'best-probe' chooses by labels, and there are no folds of any;"
                " name train and target in [data] and prepare again, or leave --keep"
                " out"
            )

    def check_libraries(self, outlook: "Outlook") -> None:
        """Ask libraries what they know, and try the network; it loads torch.

        Raises:
            UserError: A name is unknown, or the network does not take what will come.
        """
        check_names(self.backbone, self.optimizer, self.logger)
        from pretext.networks.trial import try_training

        try_training(self, outlook)

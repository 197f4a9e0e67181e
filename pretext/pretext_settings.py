"""The settings that every pretext task has, and what a task adds to them.

A task is a subclass: its fields are its settings, ``build_learner`` says what is
learnt, ``summary`` what came out, ``questions`` what guessing would give.
``docs/new_pretext_task.md`` adds one.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.file_paths import MayBePath
from data_prep.settings import Example, recorded
from pretext.data.training_data import n_held_out
from pretext.init_weights import fingerprint_of
from pretext.preflight import (
    check_devices,
    check_first_weights,
    check_larger_views,
    check_names,
    network_of,
)
from pretext.ready_weights import is_path
from pretext.settings import TrainingSettings

if TYPE_CHECKING:
    from torch import nn

    from data_prep.experiment import Experiment
    from data_prep.outlook import Outlook
    from data_prep.run_folders.runs import Run
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


START_S = 5.0  # opening, auditing and writing
N_LABELLED = 2000  # pictures that the health is measured on, at most


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
        "first weights: scratch, another pretext stage, timm:NAME, package:NAME, a file"
        " or a folder",
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

    def config(self, experiment: "Experiment", run: "Run") -> dict[str, Any]:
        """Say what decides the result besides the stages that are read."""
        del experiment, run
        return recorded(self) | fingerprint_of(self.init)

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
        self.check_enough(self.n_trained_on(outlook), "the collection")
        if self.keep == "best-probe" and not outlook.metadata["n_folds"]:
            raise UserError(
                "keep = 'best-probe' chooses by labels, and there are no folds of any;"
                " name train and target in [data] and prepare again, or leave --keep"
                " out"
            )

    @property
    def views_per_picture(self) -> float:
        """What a step costs, in views forward and backward of each picture."""
        return 1.0

    def n_trained_on(self, outlook: "Outlook") -> int:
        """Count the pictures that it trains on."""
        visible_mask = outlook.table["split"] != "test"
        n_pictures = int(visible_mask.sum()) if self.inductive else len(visible_mask)
        return n_pictures - n_held_out(self.held_out, n_pictures)

    def workload(self, outlook: "Outlook") -> Workload:
        """Say what there is to train, and to measure between epochs."""
        n = self.n_trained_on(outlook)
        n_seen = self.total_steps(n) * self.pictures_per_step
        n_epochs = n_seen / n
        measured = n_epochs * n_held_out(self.held_out, len(outlook.table))
        if self.health_every:
            n_measured = min(n, N_LABELLED)
            measured += n_measured * (2 + n_epochs // self.health_every)
        return Workload(
            network=network_of(self.init, self.backbone, outlook) or "",
            side_px=self.net_side_px(outlook.metadata["side"], 1.0),
            batch_size=self.batch_size,
            trained=n_seen * self.views_per_picture * self.passes_per_step,
            inferred=measured,
            seconds=START_S,
            weights_kept=1,
        )

    def check_libraries(self, outlook: "Outlook") -> None:
        """Ask libraries what they know, and try the network; it loads torch.

        Raises:
            UserError: A name is unknown, or the network does not take what will come.
        """
        check_names(self.backbone, self.optimizer, self.logger)
        check_devices(self)
        from pretext.networks.trial import try_training

        try_training(self, outlook)

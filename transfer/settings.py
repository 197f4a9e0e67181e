"""The settings of the transfer."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from data_prep.effort import FORWARDS, Workload
from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.outlook import Outlook
from data_prep.ranges import OR_ZERO, Area, Share
from data_prep.run_folders.runs import Run
from data_prep.settings import NOT_HASHED, SWITCH, Example, recorded
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
from transfer.mix_settings import MixSettings
from transfer.networks.moving import ALL, HEAD, Moving, check_train
from transfer.teacher import Teacher, is_run

JIGSAW = "pretext.jigsaw"


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(ExecutorSettings, MixSettings, TrainingSettings):
    """Train nets on the labels, one per sub-task and fold, from pretext weights.

    python -m transfer.finetune --experiment experiments/demo.toml
    """

    batch_size: Annotated[int, "pictures per step", Ge(2)] = 32
    init: Annotated[
        str,
        "first weights: a pretext stage, scratch, timm:NAME, package:NAME, a file or a"
        " folder",
        MayBePath(is_path=is_path),
    ] = JIGSAW
    backbone: Annotated[
        str,
        "name of a timm network; left out: that of the first weights",
        Example("resnet18"),
    ] = ""
    joint: Annotated[bool, "one net with a head per task, not a net per task"] = False
    tasks: Annotated[
        tuple[str, ...],
        "tasks to train, such as target,date; left out: all",
        Example(["target", "date"]),
    ] = ()
    folds: Annotated[
        tuple[str, ...],
        "folds to train, such as 0,1, beside the nets that there are; left out: each",
        Example(["0", "1"]),
    ] = ()
    all: Annotated[bool, "add a net trained on every labelled row"] = False
    side: Annotated[
        int,
        "side of the training views, px; 0: that of the pictures",
        Ge(32),
        OR_ZERO,
        Example(112),
    ] = 0
    min_area: Annotated[Area, "smallest share of the picture in a view"] = 0.6
    turns: Annotated[bool, "flip and rotate the views all eight ways"] = True
    colour: Annotated[
        Share, "largest change of brightness, contrast, saturation: 0.1 is 10 %"
    ] = 0.1
    augment: Annotated[
        Literal["none", "light", "medium", "strong", "randaugment"],
        "stronger views: light (shifts, zooms, rotations, hue), medium (and holes),"
        " strong (and blur, shuffled cells), each with more changes of colour, or"
        " randaugment (operations drawn for each picture); colour = 0 keeps the colours"
        " with all of them",
        Example("randaugment"),
        SWITCH,
    ] = "none"
    rand_operations: Annotated[
        int,
        "operations of randaugment for each picture",
        Ge(1),
        Le(8),
        Example(3),
        SWITCH,
    ] = 2
    rand_magnitude: Annotated[
        int, "how strong they are, 0 to 30", Ge(0), Le(30), Example(15), SWITCH
    ] = 9
    dropout: Annotated[Share, "share of features dropped before the heads"] = 0.2
    columns: Annotated[
        tuple[str, ...],
        "columns of your table that join the features at the heads, such as size,kind",
        Example(["size", "kind"]),
    ] = ()
    head_width: Annotated[
        int,
        "hidden units of each head, an MLP with a skip connection; 0: linear heads",
        Ge(0),
        Example(128),
    ] = 0
    train: Annotated[
        str,
        "what moves: all, head, the last layers (last-2), or parts of the network"
        " (layer3+layer4); the heads always do",
        Example("head"),
    ] = ALL
    unfreeze_after: Annotated[
        int, "epochs after which all else moves too; 0: never", Ge(0), Example(2)
    ] = 0
    layer_decay: Annotated[
        float,
        "rate of a layer, as a share of that of the layer above it; 1: all alike",
        Gt(0),
        Le(1),
        Example(0.75),
    ] = 1.0
    keep_pretext: Annotated[
        float,
        "weight of the jigsaw's loss beside those of the tasks, such as 0.3: its"
        " puzzles go on, at twice the time of a step; 0: they do not",
        Ge(0),
        Example(0.3),
    ] = 0.0
    pseudo_labels: Annotated[
        str,
        "run whose nets label the pictures without label, which are learned too: each"
        " net by the net of the same fold there",
        MayBePath(is_path=is_run),
        Example("../runs/first"),
        SWITCH,
    ] = ""
    pseudo_weight: Annotated[
        float,
        "what a picture that is so labelled weighs beside one of the table",
        Gt(0),
        Le(1),
        Example(0.5),
        SWITCH,
    ] = 1.0
    pseudo_min_confidence: Annotated[
        Share,
        "least probability of its most probable class, to be learned; 0: any",
        Example(0.8),
        SWITCH,
    ] = 0.0
    select: Annotated[
        Literal["last", "inner", "fold"],
        "epoch to keep: the last, or the best on a share of the training rows that"
        " does not train, or on the held-out fold, whose scores are then too good",
        Example("inner"),
    ] = "last"
    inner_share: Annotated[
        float, "share of the training rows kept back by select = inner", Gt(0), Lt(1)
    ] = 0.15
    patience: Annotated[
        int,
        "end after N epochs that are no better, by select; 0: never",
        Ge(0),
        Example(5),
    ] = 0
    average_epochs: Annotated[
        int,
        "keep the mean weights of N epochs, up to the one to keep",
        Ge(1),
        Example(3),
    ] = 1
    keep_epochs: Annotated[
        int, "weights of the last N epochs kept in epochs/; 0: none", NOT_HASHED, Ge(0)
    ] = 1
    score_every: Annotated[
        int,
        "score the held-out fold after every n-th epoch, for the record alone; 0: only"
        " at the end",
        NOT_HASHED,
        Ge(0),
        Example(1),
    ] = 0

    def __post_init__(self) -> None:
        """Check the ranges, and what is to move when.

        Raises:
            UserError: They do not go together.
        """
        super().__post_init__()
        if self.kind != "here" and self.world_size > 1:
            nodes = f", num_nodes = {self.num_nodes}" if self.num_nodes > 1 else ""
            jobs = f" with jobs = {self.jobs}" if self.jobs else ""
            raise UserError(
                f"devices = {self.devices}{nodes} share one net after another, and"
                f" executor = {self.kind!r}{jobs} trains several at"
                " once: the two do not go together, leave one out (or give executor ="
                " 'here')"
            )
        check_train(self.train)
        if self.unfreeze_after and self.train == ALL:
            raise UserError(
                f"unfreeze_after = {self.unfreeze_after}: nothing is frozen, as train ="
                f" {ALL!r}; give train = {HEAD!r}, or take it out"
            )
        if not self.steps and self.unfreeze_after >= self.epochs:
            raise UserError(
                f"unfreeze_after = {self.unfreeze_after}, but the training has"
                f" {self.epochs} epochs; give fewer, or 0 for never"
            )
        if self.keep_pretext and self.init != JIGSAW:
            raise UserError(
                f"keep_pretext = {self.keep_pretext} goes on with the puzzles of"
                f" {JIGSAW}, but init = {self.init!r}; begin from that stage"
            )
        if self.keep_pretext and self.train == HEAD and not self.unfreeze_after:
            raise UserError(
                f"keep_pretext = {self.keep_pretext} is for the network below the"
                f" heads, which train = {HEAD!r} holds still; take one of them out"
            )
        for name in ("pseudo_weight", "pseudo_min_confidence"):
            value = getattr(self, name)
            if value != getattr(type(self), name) and not self.has_teacher:
                raise UserError(
                    f"{name} = {value} is for what a teacher labels, and pseudo_labels"
                    " names none; give a run, or take it out"
                )
        self._check_views()
        self._check_choice()
        self._check_mix()

    def _check_views(self) -> None:
        """Check what a preset of the views needs."""
        for name in ("rand_operations", "rand_magnitude"):
            value = getattr(self, name)
            if value != getattr(type(self), name) and self.augment != "randaugment":
                raise UserError(
                    f"{name} = {value} is for augment = 'randaugment', but augment ="
                    f" {self.augment!r}; give that, or take it out"
                )

    def _check_choice(self) -> None:
        """Check what chooses the epoch."""
        share = self.inner_share
        if share != type(self).inner_share and self.select != "inner":
            raise UserError(
                f"inner_share = {share} keeps rows back for select = 'inner', but"
                f" select = {self.select!r}; give that, or take it out"
            )
        if self.patience and self.select == "last":
            raise UserError(
                f"patience = {self.patience} waits for a better score, but select ="
                " 'last' measures none; give select = 'inner'"
            )
        if self.select == "fold" and (self.all or "all" in self.folds):
            raise UserError(
                "select = 'fold', but the net of all rows holds out no fold to choose"
                " by; give select = 'inner' or 'last'"
            )
        if not self.steps and self.average_epochs > self.epochs:
            raise UserError(
                f"average_epochs = {self.average_epochs}, but there are only"
                f" {self.epochs} epochs; give fewer"
            )

    def _check_mix(self) -> None:
        """Check what mixes the pictures."""
        if self.mix == "snapmix" and self.head_width:
            raise UserError(
                "mix = 'snapmix' reads maps of classes off linear heads, but head_width"
                f" = {self.head_width}; give 0, or mix = 'cutmix'"
            )
        if not self.steps and self.mix_last_plain >= self.epochs:
            raise UserError(
                f"mix_last_plain = {self.mix_last_plain}, but the training has"
                f" {self.epochs} epochs; give fewer, or take mix out"
            )

    @property
    def has_teacher(self) -> bool:
        """Whether other nets label pictures without label."""
        return bool(self.pseudo_labels)

    @property
    def moving(self) -> Moving:
        """What moves of the nets."""
        return Moving(
            train=self.train,
            unfreeze_after=self.unfreeze_after,
            layer_decay=self.layer_decay,
        )

    def work_share(self, n_epochs: float) -> float:
        """Say what a step costs, of one that trains all of the network.

        Args:
            n_epochs: Of the whole training.
        """
        n_frozen = self.unfreeze_after or n_epochs
        share = 1.0
        if self.train == HEAD:  # forward only, for as long as the rest is frozen
            frozen_share = min(1.0, n_frozen / n_epochs) if n_epochs else 1.0
            share = 1 - frozen_share * (1 - 1 / FORWARDS)
        share *= 2 if self.keep_pretext else 1
        if self.mix == "snapmix":  # for maps of the classes
            share += self.mix_share / FORWARDS
        return share * self.passes_per_step

    @property
    def role_of_fold(self) -> str:
        """What its nets know of the labels of the rows they hold out."""
        return "oof_selected" if self.select == "fold" else "oof"

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Say what decides the result besides the stages that are read.

        Its folds are all that the stage will hold, with those that are kept.
        """
        from transfer.kept_folds import find_kept

        tasks = {name: task.recorded() for name, task in experiment.tasks.items()}
        config = (
            recorded(self) | {"tasks_of_experiment": tasks} | fingerprint_of(self.init)
        )
        if self.pseudo_labels:
            config["pseudo_labels"] = Teacher.open(self.pseudo_labels, run).identity
        return config | {"folds": find_kept(self, run, config).folds}

    def check_data(self, outlook: Outlook) -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them.
        """
        from transfer.jobs import check_plan
        from transfer.networks.columns import check_columns

        picture_px = outlook.metadata["side"]
        final_px = self.net_side_px(picture_px, self.final_scale)
        check_larger_views(final_px, picture_px, self.final_scale)
        check_first_weights(self.init, self.backbone, outlook)
        check_plan(outlook, self)
        check_columns(outlook, self.columns, self.tasks)

    def workload(self, outlook: Outlook) -> Workload:
        """Say what there is to train and to score, of all nets."""
        from transfer.jobs import count_work

        return count_work(outlook, self)

    def check_libraries(self, outlook: Outlook) -> None:
        """Ask libraries what they know, and try the network; it loads torch.

        Raises:
            UserError: A name is unknown, the network does not take what will come, or
                there is no cluster.
        """
        self.check_cluster()
        check_names(self.backbone, self.optimizer, self.logger)
        check_devices(self)
        from pretext.networks.backbones import build_backbone
        from pretext.networks.trial import try_training

        try_training(self, outlook)
        name = network_of(self.init, self.backbone, outlook)
        side_px = self.net_side_px(outlook.metadata["side"], 1.0)
        if name and not self.moving.is_plain:
            self.moving.check(build_backbone(name, side_px))
        if name and self.mix == "snapmix":
            from transfer.networks.class_maps import check_maps

            check_maps(build_backbone(name, side_px), name, side_px)

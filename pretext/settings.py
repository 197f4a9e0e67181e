"""The settings that every training has, pretext or transfer."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from data_prep.errors import UserError
from data_prep.ranges import Ranged, Share
from data_prep.settings import NOT_HASHED, SWITCH, Example
from pretext.init_weights import check_init, reads_of
from pretext.names import SCRATCH


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Ranged):
    """What any training needs to be told; stages add their own to it."""

    epochs: Annotated[int, "passes over the pictures", Gt(0)] = 30
    steps: Annotated[
        int, "optimiser steps, instead of epochs; 0: by epochs", Ge(0), Example(2000)
    ] = 0
    batch_size: Annotated[int, "pictures per forward", Ge(2)] = 64
    accumulate: Annotated[int, "forwards per optimiser step", Gt(0)] = 1
    optimizer: Annotated[
        str,
        "optimiser: adamw, sgd (momentum 0.9), or a name of pytorch-optimizer, such as"
        " adabelief, radam, adabound; lookahead:NAME wraps one of them",
    ] = "adamw"
    sam_rho: Annotated[
        float,
        "sharpness-aware steps (SAM) over the optimiser: the gradient is taken so far"
        " uphill, at twice the time of a step; 0: no",
        Ge(0),
        Example(0.05),
        SWITCH,
    ] = 0.0
    learning_rate: Annotated[float, "peak of the schedule", Gt(0)] = 1e-3
    weight_decay: Annotated[
        float, "decay of all weights but biases and norms", Ge(0)
    ] = 0.05
    schedule: Annotated[
        Literal[
            "cosine",
            "linear",
            "exponential",
            "constant",
            "one-cycle",
            "restarts",
            "cyclic",
            "halving",
            "plateau",
        ],
        "learning rate after the warm-up: cosine or linear to 0, exponential to"
        " a thousandth, constant, one-cycle (cosine, and so is its warm-up: give it"
        " 0.3), restarts (several cosines), cyclic (triangles down to a quarter),"
        " halving with each epoch, or plateau (halved when the training loss stays)",
    ] = "cosine"
    cycles: Annotated[int, "how often restarts and cyclic let the rate fall", Gt(0)] = 3
    plateau_patience: Annotated[
        int, "epochs without a lower training loss that plateau lets pass", Ge(0)
    ] = 2
    warmup: Annotated[Share, "share of the steps with a rising learning rate"] = 0.1
    clip: Annotated[float, "gradients are clipped to this norm; 0: never", Ge(0)] = 5.0
    ema: Annotated[
        Share,
        "keep weights averaged with this decay, such as 0.999, which it nears from 0.2"
        " as (1 + step) / (10 + step); 0: the last ones",
        Example(0.999),
    ] = 0.0
    final_scale: Annotated[
        float,
        "the last part is trained on views larger by this factor; 1: not",
        Gt(0),
        Example(1.25),
    ] = 1.0
    final_share: Annotated[Share, "share of the steps that are that last part"] = 0.2
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "arithmetic: bf16 (mixed), fp32, or auto: bf16 where the hardware has it",
    ] = "auto"
    compile: Annotated[bool, "compile the learner: slow to start, may be faster"] = (
        False
    )
    logger: Annotated[
        Literal["none", "mlflow", "wandb"],
        "where the numbers of the training go besides CSV and TensorBoard; offline, in"
        " the folder of the run",
        NOT_HASHED,
    ] = "none"
    seed: Annotated[int, "seed of the weights and of every random draw"] = 0
    threads: Annotated[int, "CPU threads; 0: all cores", NOT_HASHED, Ge(0)] = 0
    devices: Annotated[
        int,
        "GPUs that share each batch, or processes on a machine without one",
        NOT_HASHED,
        Gt(0),
        Example(2),
    ] = 1
    num_nodes: Annotated[
        int,
        "machines with so many devices each, on all of which the command is started",
        NOT_HASHED,
        Gt(0),
        Example(2),
    ] = 1
    sync_batchnorm: Annotated[
        bool,
        "batch norms take the statistics of all devices, not of each one's part of the"
        " batch; GPUs only",
        NOT_HASHED,
    ] = False
    allow_other_devices: Annotated[
        bool,
        "go on from a checkpoint that another number of devices made: the weights then"
        " end a little elsewhere",
        NOT_HASHED,
    ] = False
    find_lr: Annotated[
        bool,
        "try learning rates, plot the loss, suggest one; trains nothing",
        NOT_HASHED,
    ] = False

    # of those that have them, settings told in their own words
    init = SCRATCH
    side = 0  # px, of the views; 0: that of the pictures

    def __post_init__(self) -> None:
        """Check the ranges, and the name of the first weights."""
        super().__post_init__()
        check_init(self.init)
        self._check_parts()

    def _check_parts(self) -> None:
        """Check that the devices can share a batch, with two pictures or more each."""
        n = self.world_size
        if n == 1 or (self.batch_size % n == 0 and self.batch_size >= 2 * n):
            return
        devices = f"devices = {self.devices}"
        if self.num_nodes > 1:
            devices += f" on each of num_nodes = {self.num_nodes}"
        # the nearest that can be shared
        whole = max(2, round(self.batch_size / n)) * n
        raise UserError(
            f"batch_size = {self.batch_size} is shared by {devices}, each with two"
            f" pictures or more and all with the same number; give {whole}"
        )

    @property
    def world_size(self) -> int:
        """How many processes share a training."""
        return self.devices * self.num_nodes

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return reads_of(self.init)

    @property
    def idle_by(self) -> str:
        """The setting by which the stage leaves nothing to read; empty: it does."""
        return "find_lr" if self.find_lr else ""

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        return self.learning_rate

    @property
    def passes_per_step(self) -> int:
        """How often a step sends its pictures forward and backward."""
        return 2 if self.sam_rho else 1

    @property
    def pictures_per_step(self) -> int:
        """Pictures that one optimiser step sees."""
        return self.batch_size * self.accumulate

    def net_side_px(self, picture_px: int, scale: float) -> int:
        """Give the side of the network's input, px, in views larger by ``scale``."""
        return round((self.side or picture_px) * scale)

    def steps_per_epoch(self, n_pictures: int) -> int:
        """Count the steps of a pass; pictures that fill no batch wait for the next."""
        return n_pictures // self.pictures_per_step

    def total_steps(self, n_pictures: int) -> int:
        """Count the steps of the training."""
        return self.steps or self.epochs * self.steps_per_epoch(n_pictures)

    def n_epochs(self, n_pictures: int) -> int:
        """Count the passes of the training; the last may be cut short."""
        return -(-self.total_steps(n_pictures) // self.steps_per_epoch(n_pictures))

    def share_done(self, folder: Path, n_nets: int) -> float:
        """Say what share of its trainings an attempt has made, by their epochs.

        Args:
            folder: Of the attempt.
            n_nets: How many it trains.
        """
        n_made = 0.0
        for file in folder.rglob("logs/epochs.csv"):
            net = file.parents[1]
            if (net / "weights.safetensors").exists():  # it may have ended early
                n_made += 1
            elif (net / "checkpoints" / "last.ckpt").exists():  # else it begins anew
                with file.open(newline="", encoding="utf-8") as lines:
                    rows = [*csv.DictReader(lines)]
                for last in rows[-1:]:
                    by_steps = float(last["step"]) / self.steps if self.steps else 0.0
                    n_made += by_steps or int(last["epoch"]) / self.epochs
        return min(1.0, n_made / n_nets)

    def check_enough(self, n_pictures: int, label: str, noun: str = "picture") -> None:
        """Check that there are pictures for one step.

        Args:
            n_pictures: How many there are to train on.
            label: What has them, for the message.
            noun: What is counted.

        Raises:
            UserError: There are fewer.
        """
        if n_pictures >= self.pictures_per_step:
            return
        step, flags = f"batch_size = {self.batch_size}", "--batch-size"
        if self.accumulate > 1:
            step += f" x accumulate = {self.accumulate}"
            flags += " or --accumulate"
        raise UserError(
            f"{step}, but {label} has only {n_pictures}"
            f" {noun}{'s' * (n_pictures != 1)} to train on; give a smaller {flags}"
        )

    def scale_at(self, step: int, total: int) -> float:
        """Say how much larger than usual the views of a step are."""
        is_late = step >= total - round(total * self.final_share)
        return self.final_scale if is_late else 1.0

"""The settings that every training has, pretext or transfer."""

from dataclasses import dataclass
from typing import Annotated, Literal

from data_prep.errors import UserError
from data_prep.settings import NEUTRAL


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What any training needs to be told; stages add their own to it."""

    epochs: Annotated[int, "passes over the pictures"] = 30
    batch_size: Annotated[int, "pictures per step"] = 64
    optimizer: Annotated[
        Literal["adamw", "sgd"], "optimiser: adamw, or sgd with momentum 0.9"
    ] = "adamw"
    learning_rate: Annotated[float, "peak of the cosine schedule"] = 1e-3
    weight_decay: Annotated[float, "decay of all weights but biases and norms"] = 0.05
    warmup: Annotated[float, "share of the steps with a rising learning rate"] = 0.1
    clip: Annotated[float, "gradients are clipped to this norm; 0: never"] = 5.0
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "arithmetic: bf16 (mixed), fp32, or auto: bf16 where the hardware has it",
    ] = "auto"
    seed: Annotated[int, "seed of the weights and of every random draw"] = 0
    threads: Annotated[int, "CPU threads; 0: all cores", NEUTRAL] = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "learning_rate"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} = {getattr(self, name)}: give more than 0")
        if self.batch_size < 2:  # batch normalisation compares pictures
            raise UserError(f"batch_size = {self.batch_size}: give 2 or more")
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup = {self.warmup}: give a share from 0 to below 1")
        for name in ("weight_decay", "clip", "threads"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} = {getattr(self, name)}: give 0 or more")

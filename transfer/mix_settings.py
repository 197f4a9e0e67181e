"""How pictures of a batch are mixed, and whether a net can learn from mixtures.

A row of a mixed batch has the loss by its label and that by its partner's label, each
times its share. So labels of any kind mix that have a loss, but for word vectors: half
a vector of one picture and half of another's is a third word's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from data_prep.errors import UserError
from data_prep.ranges import OR_ZERO, Ranged
from data_prep.settings import SWITCH, Example
from data_prep.task_types.number_column import NumberColumn
from data_prep.tasks import Task

Mix = Literal["none", "mixup", "cutmix", "fmix", "snapmix", "cmixup"]
# of the beta distributions in the papers; that of mixup is of ImageNet
USUAL_ALPHAS = {"mixup": 0.2, "cutmix": 1.0, "fmix": 1.0, "snapmix": 5.0, "cmixup": 2.0}
ACROSS = "cutmix"  # for what it is said that a method does not fit


@dataclass(frozen=True, kw_only=True)
class MixSettings(Ranged):
    """Which pictures of a batch are mixed, and how much."""

    mix: Annotated[
        Mix,
        "pictures of a batch mixed in pairs, and the losses by both labels: mixup,"
        " cutmix, fmix, snapmix (classes) or cmixup (pairs of near numbers)",
        Example("cutmix"),
        SWITCH,
    ] = "none"
    mix_alpha: Annotated[
        float,
        "of the beta distribution of the shares: small, and one picture rules; 0: that"
        " of the method's paper",
        Gt(0),
        OR_ZERO,
        Example(0.4),
        SWITCH,
    ] = 0.0
    mix_share: Annotated[
        float, "share of the batches that are mixed", Gt(0), Le(1), SWITCH
    ] = 0.5
    mix_last_plain: Annotated[
        int, "last epochs, without mixing", Ge(0), Example(2), SWITCH
    ] = 0

    def __post_init__(self) -> None:
        """Check that the others are for a method.

        Raises:
            UserError: There is none.
        """
        super().__post_init__()
        for name in ("mix_alpha", "mix_share", "mix_last_plain"):
            value = getattr(self, name)
            if self.mix == "none" and value != getattr(MixSettings, name):
                raise UserError(
                    f"{name} = {value} is for mixed pictures, but mix = 'none'; give"
                    " mix = 'mixup' or another, or take it out"
                )

    @property
    def alpha(self) -> float:
        """That of the beta distribution."""
        return self.mix_alpha or USUAL_ALPHAS[self.mix]

    def check_mix(self, nets: Sequence[tuple[str, Sequence[Task]]]) -> None:
        """Check that the nets can learn from mixtures.

        Args:
            nets: Names, and what each learns.

        Raises:
            UserError: The method does not fit one, or there is none to learn from them.
        """
        if self.mix == "none":
            return
        mixed = [(name, tasks) for name, tasks in nets if can_mix(tasks)]
        if not mixed:
            raise UserError(
                f"mix = {self.mix!r}, but word vectors are never mixed, and the nets"
                " learn nothing else; take mix out"
            )
        for name, tasks in mixed:
            self._check_method(name, tasks)
            for task in (
                tasks if self.mix_share == 1 and not self.mix_last_plain else ()
            ):
                if reason := why_plain(task):
                    raise UserError(
                        f"[tasks.{task.name}]: {reason}, and mix_share = 1 leaves no"
                        " plain batch; give mix_share = 0.5, or mix_last_plain"
                    )

    def _check_method(self, name: str, tasks: Sequence[Task]) -> None:
        kinds = [task.task_type.name for task in tasks]
        if self.mix == "cmixup" and number_of(tasks) is None:
            raise UserError(
                f"mix = 'cmixup' pairs pictures by a number, and net {name!r} learns"
                f" none; give mix = {ACROSS!r}, or name the other tasks with --tasks"
            )
        if self.mix == "snapmix" and kinds != ["classes"]:
            raise UserError(
                "mix = 'snapmix' weighs labels by what shows a class, so each net has"
                f" to learn classes alone, and {name!r} learns {', '.join(kinds)};"
                f" give mix = {ACROSS!r}, or name the other tasks with --tasks"
            )


def can_mix(tasks: Sequence[Task]) -> bool:
    """Tell whether a net learns anything of mixtures."""
    return any(task.task_type.mixes for task in tasks)


def number_of(tasks: Sequence[Task]) -> Task | None:
    """Give the first task of a number, by which near pictures are paired."""
    numbers = [task for task in tasks if isinstance(task.task_type, NumberColumn)]
    return numbers[0] if numbers else None


def why_plain(task: Task) -> str:
    """Say why a task, or a part of its loss, needs plain batches; empty: no need."""
    if not task.task_type.mixes:
        return f"{task.task_type.name} are learned of plain pictures alone"
    if task.task_type.head_loss().needs_features:
        return "ranksim compares plain pictures alone"
    return ""

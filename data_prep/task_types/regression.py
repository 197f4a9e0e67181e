"""A number: the target, or any column of numbers."""

from dataclasses import dataclass
from typing import ClassVar

from data_prep.task_types.base import TargetOutputs
from data_prep.task_types.number_column import NumberColumn


@dataclass(frozen=True, kw_only=True)
class Regression(NumberColumn):
    """One number for each row, in the user's unit."""

    name = "regression"
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ("number",)


TASK_TYPE = Regression

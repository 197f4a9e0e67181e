"""Ranges of settings, declared with the fields: ``Annotated[float, "help", Ge(0)]``."""

import operator
from dataclasses import asdict
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from data_prep.errors import UserError
from data_prep.settings import fields_of

OR_ZERO = "or zero"  # a further annotation: 0 is allowed, too
Share = Annotated[float, Ge(0), Lt(1)]
Area = Annotated[float, Gt(0), Le(1)]  # the share of a picture that is seen
HOLDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


class Ranged:
    """A dataclass that refuses values outside the ranges of its fields."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, field in fields_of(type(self)).items():
            value, or_zero = getattr(self, name), OR_ZERO in field.annotations
            bounds: dict[str, Any] = {}
            for annotation in field.annotations:
                if isinstance(annotation, Ge | Gt | Le | Lt):
                    bounds |= asdict(annotation)
            if value is None or (or_zero and value == 0):
                continue
            # a NaN holds nothing
            if not all(
                HOLDS[relation](value, bound) for relation, bound in bounds.items()
            ):
                text = _range_text(bounds) + ", or 0" * or_zero
                raise UserError(f"{name} = {value}: give {text}")


def _range_text(bounds: dict[str, Any]) -> str:
    """Say what is allowed.

    >>> _range_text({"ge": 0, "lt": 1}), _range_text({"gt": 0, "le": 1})
    ('0 to below 1', 'above 0, at most 1')
    """
    match bounds:
        case {"ge": low, "le": high}:
            return f"{low} to {high}"
        case {"ge": low, "lt": high}:
            return f"{low} to below {high}"
        case {"gt": low, "le": high}:
            return f"above {low}, at most {high}"
        case {"gt": low, "lt": high}:
            return f"above {low}, below {high}"
        case {"ge": low}:
            return f"{low} or more"
        case {"gt": low}:
            return f"more than {low}"
    raise ValueError(f"{bounds}: no text for this range")

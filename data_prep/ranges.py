"""Ranges of settings, declared with the fields: ``Annotated[float, "help", Ge(0)]``."""

import operator
from dataclasses import asdict
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from data_prep.errors import UserError
from data_prep.settings import Field, fields_of

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
            if value is None or (or_zero and value == 0):
                continue
            bounds = _bounds_of(field)
            # a NaN holds nothing
            if not all(
                HOLDS[relation](value, bound) for relation, bound in bounds.items()
            ):
                raise UserError(f"{name} = {value}: give {range_of(field)}")


def _bounds_of(field: Field) -> dict[str, Any]:
    """Give the bounds of a setting by their relations."""
    bounds: dict[str, Any] = {}
    for annotation in field.annotations:
        if isinstance(annotation, Ge | Gt | Le | Lt):
            bounds |= asdict(annotation)
    return bounds


def range_of(field: Field) -> str:
    """Say which values a setting may have; empty: any."""
    bounds = _bounds_of(field)
    if not bounds:
        return ""
    return _range_text(bounds) + ", or 0" * (OR_ZERO in field.annotations)


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

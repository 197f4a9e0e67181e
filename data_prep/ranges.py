"""Ranges of settings, declared with the fields: ``Annotated[float, "help", Ge(0)]``."""

import operator
from dataclasses import asdict
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from data_prep.errors import UserError

OR_ZERO = "or zero"  # a further annotation: 0 is allowed, too
Share = Annotated[float, Ge(0), Lt(1)]
Area = Annotated[float, Gt(0), Le(1)]  # the share of a picture that is seen
HOLDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


class Ranged:
    """A dataclass that refuses values outside the ranges of its fields."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, (bounds, or_zero) in _ranges_of(type(self)).items():
            value = getattr(self, name)
            if value is None or (or_zero and value == 0):
                continue
            # a NaN holds nothing
            if not all(
                HOLDS[relation](value, bound) for relation, bound in bounds.items()
            ):
                text = _range_text(bounds) + ", or 0" * or_zero
                raise UserError(f"{name} = {value}: give {text}")


def _ranges_of(settings_class: type[Any]) -> dict[str, tuple[dict[str, Any], bool]]:
    ranges = {}
    for name, hint in get_type_hints(settings_class, include_extras=True).items():
        annotations = get_args(hint)[1:]
        bounds: dict[str, Any] = {}
        for annotation in annotations:
            if isinstance(annotation, Ge | Gt | Le | Lt):
                bounds |= asdict(annotation)
        if bounds:
            ranges[name] = bounds, OR_ZERO in annotations
    return ranges


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

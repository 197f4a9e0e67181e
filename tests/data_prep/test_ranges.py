"""Tests of data_prep.ranges."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Le, Lt

from data_prep.errors import UserError
from data_prep.ranges import OR_ZERO, Area, Ranged, Share


@dataclass(frozen=True, kw_only=True)
class Ranges(Ranged):
    """A field for each sort of range."""

    from_two: Annotated[int, "help", Ge(2)] = 2
    above: Annotated[float, "help", Gt(0)] = 1.0
    between: Annotated[int, "help", Ge(2), Le(4)] = 2
    strictly: Annotated[float, "help", Gt(0), Lt(1)] = 0.5
    share: Annotated[Share, "help"] = 0.0
    area: Annotated[Area, "help"] = 1.0
    large: Annotated[int, "help", Ge(32), OR_ZERO] = 0
    maybe: Annotated[int | None, "help", Ge(1)] = None
    free: Annotated[int, "help"] = -9


@dataclass(frozen=True, kw_only=True)
class Narrower(Ranges):
    """A field with another range than that of its base."""

    from_two: Annotated[int, "help", Ge(3)] = 3


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "text"),
    [
        ("from_two", [2, 9], [1, -3], "2 or more"),
        ("above", [1e-9, 5.0], [0.0, -1.0, float("nan")], "more than 0"),
        ("between", [2, 3, 4], [1, 5], "2 to 4"),
        ("strictly", [0.1, 0.9], [0.0, 1.0], "above 0, below 1"),
        ("share", [0.0, 0.99], [-0.1, 1.0, float("nan")], "0 to below 1"),
        ("area", [0.01, 1.0], [0.0, 1.1], "above 0, at most 1"),
        ("large", [0, 32], [1, 31, -1], "32 or more, or 0"),
        ("maybe", [None, 1], [0], "1 or more"),
    ],
)
def test_a_value_outside_its_range_is_refused_with_the_range(
    name: str, allowed: list[Any], refused: list[Any], text: str
) -> None:
    for value in allowed:
        assert getattr(Ranges(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(UserError) as caught:
            Ranges(**{name: value})
        assert str(caught.value) == f"{name} = {value}: give {text}"


def test_a_subclass_may_declare_another_range() -> None:
    with pytest.raises(UserError, match=r"^from_two = 2: give 3 or more$"):
        Narrower(from_two=2)
    with pytest.raises(UserError, match=r"^share = 1: give 0 to below 1$"):
        Narrower(share=1)

"""A machine that goes off in the middle of a call."""

from collections.abc import Callable
from typing import Any


class PowerCutError(Exception):
    """The machine goes off."""


def fail_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that works until it is called for the n-th time, from 1."""
    calls = 0

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise PowerCutError
        return function(*arguments, **named)

    return failing

"""Cases of a test that ``make drills`` alone runs, beside those that the suite has."""

from typing import Any

import pytest


def in_drills(*values: Any) -> Any:
    """Give the parameters of a case that takes too long for the suite."""
    return pytest.param(*values, marks=pytest.mark.drill)

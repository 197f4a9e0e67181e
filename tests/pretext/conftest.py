"""What the tests of pretraining share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretext.evaluation import monitor


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Spare the tests the drawing of curves, which takes longer than all else.

    Whoever wants them drawn puts back what this gives.
    """
    draw = monitor.draw_curves

    def note(*_: Any, path: Path, **__: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr(monitor, "draw_curves", note)
    return draw

"""Tests of stacking.ensemble.score_table: lines of the same predictions are one."""

import numpy as np
import pytest

from data_prep.scoring.scores import FoldScores, Interval
from stacking.ensemble.score_table import Line, distinct

GAIN = Interval(value=0.1, low=0.0, high=0.2)


def line(
    title: str,
    prediction: list[float],
    apparent: float | None = None,
    *,
    gain: Interval | None = GAIN,
    is_off: bool = False,
) -> Line:
    """Make up a line; what it scores is the sum of its predictions."""
    pooled = sum(prediction)
    return Line(
        name=title.partition(":")[0],
        title=title,
        pred=np.array(prediction),
        prediction=np.array(prediction),
        scores=FoldScores(by_fold={}, mean=pooled, pooled=pooled),
        interval=GAIN,
        gain=gain,
        apparent=apparent,
        is_off=is_off,
    )


def titles(*lines: Line) -> list[str]:
    return [one_line.title for one_line in distinct(lines)]


def test_lines_of_the_same_predictions_are_named_together_where_the_last_stood() -> (
    None
):
    first, other = [1.0, 2.0], [2.0, 1.0]  # which score alike
    assert titles(
        line("blend of all", first, 2.5),
        line("ridge", other),
        line("selected: blend of all", first, 2.5),
        line("+ a rising curve", first, 2.5, is_off=True),
        line("final prediction", first, 2.5),
    ) == [
        "ridge",
        "+ a rising curve",
        "blend of all = selected = final prediction",
    ]


def test_a_member_alone_has_the_apparent_score_of_what_is_selected() -> None:
    rows = [1.0, 2.0]
    assert titles(
        line("plain net", rows),
        line("ridge", rows),
        line("selected: ridge", rows, 3.0),
        line("final prediction", rows, 3.0),
    ) == ["plain net = ridge = selected = final prediction"]


@pytest.mark.parametrize(
    ("prediction", "apparent"), [([1.0, 2.0 + 1e-12], 2.5), ([1.0, 2.0], 2.4)]
)
def test_what_differs_in_anything_stays_a_line(
    prediction: list[float], apparent: float
) -> None:
    both = ["blend of all", "selected: ridge"]
    lines = line(both[0], [1.0, 2.0], 2.5), line(both[1], prediction, apparent)
    assert titles(*lines) == both


def test_what_is_the_baseline_gains_nothing() -> None:
    rows = [1.0, 2.0]
    lines = line("plain net", rows, gain=None), line("final prediction", rows)
    (joined,) = distinct(lines)
    assert joined.gain is None
    assert joined.name == "final prediction"

"""A part of reports: what to do next, in plain words, of what the others show.

Each sentence names what was seen and the setting, or the table, to change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from data_prep.pictures.copies import NearCopies
from data_prep.pictures.fit import PADDING
from data_prep.reporting.report import Section, prose
from data_prep.reporting.target_by_date import Drift
from data_prep.reporting.train_against_test import Shift
from data_prep.schemes import is_drawn
from data_prep.tables.spelling import class_text

MOST_STEPS = 6
NEAR = 0.05  # below the likeness of copies, in which pairs are doubtful
BLURRED = 0.05  # of the median sharpness
BLANK = 0.9  # of a picture that is border
TINY = 0.5  # of the stored side
LARGE = 4.0  # times the stored side
LEAST_ROWS = 10  # of a class
UNBALANCED = 10.0  # times the rarest class, of the most frequent
NARROW = 0.5  # of the square that padded pictures fill
KNOWN_BY_DATE = 0.9  # a drift so strong is no drift: the date is the target
STEP_PX = 16  # sides are told in multiples of it
LATER = 0.9  # of test dates that are later than all of training
MOST = 0.5  # more than half: most originals, most names
PREPARE = "[data_prep.prepare]"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the parts of the report found.

    Attributes:
        rows: N rows as prepared.
        metadata: Of the preparation.
        measured: Of ``picture_measures``, N rows.
        drift: Of the target; None: there are no dates or no target.
        shift: Of the test part; None: there is none.
        near: Pairs of near copies.
        names: Of ``WordVectors.of_names``, with n_pictures.
    """

    rows: pd.DataFrame
    metadata: Mapping[str, Any]
    measured: pd.DataFrame
    drift: Drift | None = None
    shift: Shift | None = None
    near: NearCopies = field(default_factory=NearCopies)
    names: pd.DataFrame = field(default_factory=pd.DataFrame)


def next_steps(seen: Seen) -> list[str]:
    """Say what to do, the more urgent first; six sentences at most.

    Args:
        seen: What was found.

    Returns:
        Sentences; none: nothing asks for action.
    """
    sentences = [sentence for rule in RULES for sentence in rule(seen)]
    return sentences[:MOST_STEPS]


def next_steps_section(advice: Sequence[str]) -> Section:
    """Show what to do next, by what ``next_steps`` gave."""
    sentences = advice or ["Nothing here asks for action: go on with the next stage."]
    return Section("What to do next", prose(*sentences))


def _later_share(seen: Seen) -> float:
    """Say what share of the dated test rows is later than all training rows."""
    dates, splits = seen.rows["date"], seen.rows["split"]
    train, test = (dates[splits == name].dropna() for name in ("train", "test"))
    return float((test > train.max()).mean()) if len(train) and len(test) else 0.0


def _of_test(seen: Seen) -> list[str]:
    """Where predictions are asked for pictures of another kind."""
    share, cv = _later_share(seen), seen.metadata["cv"]
    if share >= LATER and cv and is_drawn(cv):
        return [
            f"{share:.0%} of the test pictures are later than all others;"
            f' set cv = "time3" in {PREPARE}, so that folds look ahead too.'
        ]
    if share >= LATER:
        return []
    if seen.shift is None or not seen.shift.is_large:
        return []
    return [
        f"Test pictures differ from training pictures (AUC {seen.shift.auc:.2f}): see"
        " Test against training. If you know why (other places, years, cameras), name"
        " that column as group in [data], or give folds of your own by folds in"
        f" {PREPARE}, so that each fold is as new to its net."
    ]


def _of_drift(seen: Seen) -> list[str]:
    """Where the target goes with the date."""
    drift, cv = seen.drift, seen.metadata["cv"]
    if drift is None or not drift.is_drift or not cv or not is_drawn(cv):
        return []
    size = f"{abs(drift.strength):.2f}"
    if abs(drift.strength) >= KNOWN_BY_DATE:
        return [
            f"The date nearly is the target (correlation {size}): keep date out of"
            " columns in [stacking.fit], unless it is known when you predict."
        ]
    if _later_share(seen) >= LATER:  # that asks for folds in time already
        return []
    return [
        f"The target changes in time ({size}): if you will predict later pictures than"
        f' these, set cv = "time3" in {PREPARE}.'
    ]


def _of_classes(seen: Seen) -> list[str]:
    """Where some names of a target have few rows."""
    metadata = seen.metadata
    if metadata["classes"] is None or metadata["target_kind"] == "numeric":
        return []
    labels = seen.rows["class_index"][seen.rows["fold"] >= 0]
    counts = labels[labels >= 0].value_counts().sort_values(kind="stable")
    if not len(counts):
        return []
    rare = [
        class_text(metadata["classes"][k]) for k in counts.index[counts < LEAST_ROWS]
    ]
    if rare:
        have = "1 class has" if len(rare) == 1 else f"{len(rare):,} classes have"
        return [
            f"{have} fewer than {LEAST_ROWS} rows ({_few(rare)}): hardly to be learned;"
            " join them with others in the table, or get more pictures of them."
        ]
    if counts.iloc[-1] >= UNBALANCED * counts.iloc[0]:
        return [
            f"The most frequent class has {counts.iloc[-1]:,} rows, the rarest"
            f' {counts.iloc[0]:,}: if both matter alike, set metric = "macro_f1" in'
            " [stacking.fit]."
        ]
    return []


def _of_near_copies(seen: Seen) -> list[str]:
    """Where pairs are nearly copies, and are not kept together."""
    likeness, least = seen.near.pairs["likeness"], seen.near.likeness - NEAR
    n_below = int(((likeness < seen.near.likeness) & (likeness >= least)).sum())
    if not n_below:
        return []
    are = "pair of pictures is" if n_below == 1 else "pairs of pictures are"
    return [
        f"{n_below:,} {are} nearly alike enough to be kept in one fold: look at Near"
        f" copies, and set likeness = {least:g} in {PREPARE} if they are copies."
    ]


def _of_bad_pictures(seen: Seen) -> list[str]:
    """Where pictures show nothing, or are blurred."""
    border, sharpness = seen.measured["border"], seen.measured["sharpness"]
    n_blank = int((border >= BLANK).sum())
    n_blurred = int(
        ((sharpness < BLURRED * sharpness.median()) & (border < BLANK)).sum()
    )
    remedy = (
        "look at them in Measures of the pictures, and take those that show nothing"
        " out of the table, or give them less weight by sample_weights in [data]."
    )
    sentences = []
    if n_blank:
        is_ = "picture is" if n_blank == 1 else "pictures are"
        sentences.append(f"{n_blank:,} {is_} blank, or nearly: {remedy}")
    if n_blurred:
        has = "picture has" if n_blurred == 1 else "pictures have"
        start = f"{n_blurred:,} {has} a twentieth of the usual sharpness or less"
        sentences.append(
            f"{start}: {remedy}" if not n_blank else f"{start}: see there."
        )
    return sentences


def _of_side(seen: Seen) -> list[str]:
    """Where the stored side does not fit the originals."""
    sides, side = seen.measured["side"], seen.metadata["side"]
    median = float(sides.median()) if len(sides) else float(side)
    share = float((sides < side).mean())
    better = max(STEP_PX, int(median // STEP_PX) * STEP_PX)
    if share > MOST and better < side:
        return [
            f"{share:.0%} of the originals are smaller than side = {side}: they are"
            f" enlarged, which shows nothing new; set side = {better} in {PREPARE}."
        ]
    if n_tiny := int((sides < TINY * side).sum()):
        is_ = "original is" if n_tiny == 1 else "originals are"
        return [
            f"{n_tiny:,} {is_} smaller than half of side = {side}, and blurred when"
            " enlarged: get larger files of them, or give them less weight by"
            " sample_weights in [data]."
        ]
    if median >= LARGE * side:
        return [
            f"Originals have {median:,.0f} px at the median, and side = {side}: if"
            f" small details tell the target, set side = {2 * side} in {PREPARE}, at"
            " four times the computing."
        ]
    return []


def _of_shape(seen: Seen) -> list[str]:
    """Where padding takes most of the square."""
    if seen.metadata["fit"] not in PADDING or not len(seen.measured):
        return []
    aspect = seen.measured["aspect"].to_numpy()
    filled = float(np.median(np.minimum(aspect, 1 / aspect)))
    if filled >= NARROW:
        return []
    return [
        f"Pictures fill {filled:.0%} of their square at the median, the rest is"
        f' padding: try fit = "squash" in {PREPARE}, or "crop" if the middle is what'
        " counts."
    ]


def _of_names(seen: Seen) -> list[str]:
    """Where most names teach nothing."""
    n_names = len(seen.names)
    n_lone = int((seen.names["n_pictures"] == 1).sum()) if n_names else 0
    if n_lone <= MOST * n_names:
        return []
    return [
        f"{n_lone:,} of {n_names:,} names stand at one picture each, and teach nothing"
        f" of others: set min_count = 2 in {PREPARE}."
    ]


RULES: Sequence[Callable[[Seen], list[str]]] = (
    _of_test,
    _of_drift,
    _of_classes,
    _of_near_copies,
    _of_bad_pictures,
    _of_side,
    _of_shape,
    _of_names,
)


def _few(names: Sequence[str], n_shown: int = 3) -> str:
    return ", ".join(names[:n_shown]) + (" ..." if len(names) > n_shown else "")

"""A part of the report: which of the user's names are predicted worse than others."""

from collections.abc import Sequence

import numpy as np

from data_prep.reporting.report import Section, folded, prose, subheading, together
from stacking.analysis.residuals import (
    Subgroup,
    errors_or_hits,
    row_losses,
    subgroups_of_masks,
)
from stacking.ensemble.stack import Stacked
from stacking.reporting.named_rows import NamedRows
from stacking.reporting.sections.failures import error_chart, score_name
from stacking.reporting.wording import listed, number, signed, unit_digits

MOST_NAMES = 20  # of one chart; of more, the most frequent
MOST_LISTED = 5  # names of one sentence
CHANCE = 20  # of so many 95 % intervals one misses by chance
MUCH_WORSE = 1.2  # times the score of all rows


def by_name(stacked: Stacked, sources: Sequence[NamedRows]) -> Section:
    """Show the errors by value of the user's columns and by attribute; none: nothing.

    Args:
        stacked: The result of the stack.
        sources: Of the rows of the stack.
    """
    pieces, folds = [], []
    for source in sources:
        scored = subgroups_of_masks(stacked, source.masks[:MOST_NAMES])
        more = f"The {len(scored)} most frequent of {len(source.masks)}. "
        more *= len(source.masks) > len(scored)
        chart = error_chart(stacked, scored)
        if not off_names(stacked, scored):
            title = f"By {source.title}: no name is off for certain"
            sentences = prose(more + verdict(stacked, scored))
            folds.append(folded(title, together(chart, sentences)))
            continue
        pieces += [
            subheading(f"By {source.title}"),
            chart,
            prose(more + verdict(stacked, scored)),
        ]
    return Section(
        "By your columns and attributes",
        together(*pieces, *folds),
        "Values of your columns and your attributes, of five rows or more; dots as in"
        " the part before. If a name is off, and will be known of new pictures too,"
        " give its column to the stack (columns of [stacking.fit]); else teach it to"
        " the nets as a sub-task, or collect more pictures of it.",
    )


def off_names(stacked: Stacked, scored: Sequence[Subgroup]) -> list[Subgroup]:
    """Give those that are predicted too high or too low, or are right too seldom.

    For certain, by their intervals: the worst first.
    """
    if stacked.objective.is_number:
        off = [s for s in scored if s.value.excludes_zero]
        return sorted(off, key=lambda s: -abs(s.value.value))
    overall = float(errors_or_hits(stacked).mean())
    off = [s for s in scored if s.value.high < overall]
    return sorted(off, key=lambda s: s.value.value)


def verdict(stacked: Stacked, scored: Sequence[Subgroup]) -> str:
    """Say which names are off for certain, and which is hardest."""
    off, digits = off_names(stacked, scored), unit_digits(stacked)
    if not stacked.objective.is_number:
        overall = float(errors_or_hits(stacked).mean())
        texts = [f"{s.name} ({s.value.value:.0%})" for s in off]
        fault = f"right less often than the {overall:.0%} of all rows"
        return _off_text(texts, len(scored), fault)
    texts = [f"{s.name} ({signed(s.value.value, digits)})" for s in off]
    sentences = [_off_text(texts, len(scored), "off the line")]
    loss = float(row_losses(stacked).mean())
    overall = loss if stacked.objective.name == "mae" else float(np.sqrt(loss))
    hardest = max(scored, key=lambda s: s.score)
    if hardest.score > MUCH_WORSE * overall:
        sentences.append(
            f"The {score_name(stacked)} is largest of {hardest.name}:"
            f" {number(hardest.score, digits)}, against {number(overall, digits)} of"
            " all rows."
        )
    return " ".join(sentences)


def _off_text(texts: Sequence[str], n_names: int, fault: str) -> str:
    """Name what is off, and say how many would be by chance."""
    if not texts:
        return f"No name is {fault} for certain."
    shown = list(texts[:MOST_LISTED])
    if len(texts) > MOST_LISTED:
        shown.append(f"{len(texts) - MOST_LISTED} more")
    by_chance = ""
    if n_names >= CHANCE / 2:
        n_chance = max(1, round(n_names / CHANCE))
        by_chance = f" (of {n_names} names about {n_chance} would be by chance)"
    verb = "is" if len(texts) == 1 else "are"
    return f"{listed(shown)} {verb} {fault}{by_chance}."

"""A part of the report: what the stages say of their own numbers, and what to do."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from data_prep.reporting.report import Section, prose, subheading, together
from pretext.evaluation.verdicts import HELPS


def verdicts(records: Sequence[Mapping[str, Any]], of_stack: Sequence[str]) -> Section:
    """Show the verdicts of all stages; none: nothing.

    Args:
        records: Of the stages before the stack.
        of_stack: Its own.
    """
    by_stage = {"stacking.fit": of_stack}
    by_stage |= {r["stage"]: r["facts"].get("verdicts") or () for r in records}
    # what may stay as it is comes last
    in_order = sorted(by_stage.items(), key=lambda item: all(map(_is_well, item[1])))
    pieces = [
        together(subheading(stage), prose(*map(_as_sentence, sentences)))
        for stage, sentences in in_order
        if sentences
    ]
    return Section(
        "What to do about it",
        together(*pieces) if pieces else Markup(),
        "What the stages say of their own numbers, and what to do.",
    )


def _is_well(sentence: str) -> bool:
    """Tell whether a sentence says that nothing need be changed."""
    return sentence.startswith(HELPS)


def _as_sentence(text: str) -> str:
    """Begin with a capital, unless a name is first, and end it."""
    word = text.partition(" ")[0]
    return f"{text[0].upper() if word.isalpha() else text[0]}{text[1:]}."

"""A part of the report: what the figures mean, and what was checked."""

import pandas as pd
from markupsafe import Markup

from data_prep.reporting.report import Section, folded, prose, table, together
from stacking.analysis.findings import Findings
from stacking.ensemble.stack import Stacked
from stacking.inputs.alignment import MIN_COMMON
from stacking.reporting.sections.glance import LEAKY
from stacking.reporting.wording import (
    before_rounding,
    better,
    gain_text,
    number,
    score_digits,
)

METHODS = {
    "none": "not aligned",
    "moments": "by mean and deviation",
    "rank": "by quantiles",
}


def meaning(
    stacked: Stacked, findings: Findings, *, is_leaky: bool, is_by_all: bool
) -> Section:
    """Say in plain words what was measured, and what was not.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        is_leaky: By the protocol ``insample``.
        is_by_all: The net of all rows predicts, not those of the folds.
    """
    return Section(
        "What these figures mean",
        together(
            prose(
                *([LEAKY] if is_leaky else []),
                *stacked.data.info.messages,
                *_on_nets(stacked, is_by_all=is_by_all),
                *([] if is_by_all else _on_averaging(stacked, findings)),
                *_on_folds(stacked),
                "The rules of post-processing are chosen without any label of the fold"
                " they are scored on; whether a step is on is decided by all rows.",
                "Where the pretext stage saw all pictures, the score speaks of pictures"
                " that were there, unlabelled, when the features were learned. Pictures"
                " that come later may do a little worse.",
                *_on_control(stacked, findings),
                *_on_alignment(stacked),
            ),
            _tried(stacked),
        ),
    )


def _on_nets(stacked: Stacked, *, is_by_all: bool) -> list[str]:
    data = stacked.data
    if data.info.is_label_free:
        return [
            "The features come from one net that saw no label, so the folds hold rows"
            " out from the stack alone. A picture without label is predicted by the"
            f" models of all {data.rows.n_folds} folds, averaged."
        ]
    n_nets = len(data.common.nets) or data.rows.n_folds
    predicted = (
        "the net that was trained on every labelled row. The stack has learned from"
        " other nets, so look how its outputs differ from theirs."
        if is_by_all
        else f"all {n_nets} nets, averaged, which is usually a little better than what"
        " is measured here."
    )
    return [
        "Cross-validation measures a prediction by one net per picture, the one that"
        f" never saw it, trained on {n_nets - 1} of {n_nets} folds. A picture without"
        f" label is predicted by {predicted}"
    ]


def _on_folds(stacked: Stacked) -> list[str]:
    if stacked.data.info.is_label_free:
        return []
    return [
        "The stack learns from outputs of nets whose training labels include those of"
        " other folds; strict honesty would need a net per pair of folds."
    ]


def _on_averaging(stacked: Stacked, findings: Findings) -> list[str]:
    averaging, digits = findings.averaging, score_digits(stacked)
    if averaging is None:
        return []
    scored = number(averaging.single_net, digits)
    expected = number(averaging.averaged, digits)
    return [
        "How much better: on the pictures without label the nets differ by"
        f" {number(averaging.disagreement, digits)} from their mean, an error that the"
        f" mean does not make. One net per picture{before_rounding(stacked)} scored"
        f" {stacked.objective.title} {scored} here; of the mean about {expected} may be"
        " expected, if those pictures are like these. A better score on them is then no"
        " surprise."
    ]


def _on_control(stacked: Stacked, findings: Findings) -> list[str]:
    if findings.control is None:
        return []
    gain = gain_text(findings.control, score_digits(stacked))
    verdict = (
        f"but does: its gain is {gain}. Something leaks, and no score can be trusted."
        if findings.control.low > 0
        else f"and does not: its gain is {gain}. So nothing leaks from row to row."
    )
    return [
        "Control: the same stack was fitted to labels permuted within the folds."
        f" It must not beat a constant, {verdict}"
    ]


def _on_alignment(stacked: Stacked) -> list[str]:
    features = stacked.features
    if features.data.info.is_label_free:
        return []
    method = features.alignment.method
    if method == "none" and not features.tried:
        n_common = len(features.data.common.ids)
        reason = (
            f" Alignment takes {MIN_COMMON} pictures that all nets have in common; here"
            f" there are {n_common:,}."
            if n_common < MIN_COMMON
            else ""
        )
        return ["The nets were not aligned, so each has a scale of its own." + reason]
    chosen = (
        "left on scales of their own, which scored best"
        if method == "none"
        else f"brought to one scale {METHODS[method]}, without a label, on the"
        f" {len(features.data.common.ids):,} pictures that all have in common"
    )
    return [f"The nets were {chosen}."]


def _tried(stacked: Stacked) -> Markup:
    tried = stacked.features.tried
    if not tried:
        return Markup()
    title, method = stacked.objective.title, stacked.features.alignment.method
    frame = pd.DataFrame(
        {"alignment": [METHODS[name] for name in tried], title: list(tried.values())}
    )
    chosen = [row for row, name in enumerate(tried) if name == method]
    shown = table(
        frame,
        f"Quick boosted trees, out of fold; {better(stacked.objective)}.",
        digits=score_digits(stacked),
        strong=chosen,
    )
    return folded("The alignments that were tried", shown)

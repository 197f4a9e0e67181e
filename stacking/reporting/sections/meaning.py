"""A part of the report: what the figures mean, and what was checked."""

import pandas as pd
from markupsafe import Markup

from data_prep.reporting.report import Section, folded, prose, table, together
from stacking.analysis.diagnostics import Averaging
from stacking.analysis.findings import Findings
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.stack import Stacked
from stacking.inputs.alignment import MIN_COMMON, MIN_HELD_OUT
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


def meaning(stacked: Stacked, findings: Findings) -> Section:
    """Say in plain words what was measured, and what was not.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
    """
    is_label_free, rows = stacked.data.info.is_label_free, stacked.data.rows
    sentences = [*stacked.data.info.messages, _on_nets(stacked, findings)]
    if findings.averaging and not findings.is_by_all:
        sentences.append(_on_averaging(stacked, findings.averaging))
    if not is_label_free and not rows.in_time:
        sentences.append(
            "The stack learns from outputs of nets whose training labels include those"
            " of other folds; strict honesty would need a net per pair of folds."
        )
    sentences += [
        "The rules of post-processing are chosen without any label of the fold they are"
        " scored on; whether a step is on is decided by all rows.",
        "Where the pretext stage saw all pictures, the score speaks of pictures that"
        " were there, unlabelled, when the features were learned. Pictures that come"
        " later may do a little worse.",
    ]
    if findings.control:
        gain = gain_text(findings.control, score_digits(stacked))
        within = "within" if stacked.data.info.has_like_folds else "over"
        sentences.append(
            f"Control: the same stack was fitted to labels permuted {within} the folds."
            " It must not beat a constant, and does not: its gain is"
            f" {gain}. So nothing leaks from row to row."
        )
    if not is_label_free:
        sentences.append(_on_alignment(stacked.features))
    body = together(prose(*sentences), _tried(stacked))
    return Section("What these figures mean", body)


def _on_nets(stacked: Stacked, findings: Findings) -> str:
    data = stacked.data
    if data.info.is_label_free:
        return (
            "The features come from one net that saw no label, so the folds hold rows"
            " out from the stack alone. A picture without label is predicted by the"
            f" models of all {data.rows.n_folds} folds, averaged."
        )
    n_deals = data.info.deal[1]
    n_nets = len(data.common.nets) or data.rows.n_folds
    if data.rows.in_time:
        by_all = "the net that was trained on every labelled row, also the latest."
        by_each = (
            f"all {n_nets} nets, averaged, of which the first learned from the oldest"
            " rows alone: the net of all rows (transfer.finetune --all, then test_nets"
            " = 'all') knows the latest too."
        )
        return (
            "Cross-validation measures a prediction by one net per picture, which was"
            " trained on earlier pictures alone, few of them for the first fold. A"
            f" picture without label is predicted by"
            f" {by_all if findings.is_by_all else by_each}"
        )
    predicted = (
        "the net that was trained on every labelled row. The stack has learned from"
        " other nets, so look how its outputs differ from theirs."
        if findings.is_by_all
        else f"all {n_deals * n_nets} nets, averaged, which is usually a little better"
        " than what is measured here."
    )
    by_deal = f" in each of {n_deals} deals" * (n_deals > 1)
    return (
        f"Cross-validation measures a prediction by one net per picture{by_deal}, the"
        f" one that never saw it, trained on {n_nets - 1} of {n_nets} folds. A picture"
        f" without label is predicted by {predicted}"
    )


def _on_averaging(stacked: Stacked, averaging: Averaging) -> str:
    digits = score_digits(stacked)
    scored = number(averaging.single_net, digits)
    expected = number(averaging.averaged, digits)
    return (
        "How much better: on the pictures without label the nets differ by"
        f" {number(averaging.disagreement, digits)} from their mean, an error that the"
        f" mean does not make. One net per picture{before_rounding(stacked)} scored"
        f" {stacked.objective.title} {scored} here; of the mean about {expected} may be"
        " expected, if those pictures are like these. A better score on them is then no"
        " surprise."
    )


def _on_alignment(features: AlignedFeatures) -> str:
    method, n_common = features.alignment.method, len(features.data.common.ids)
    noun = features.data.info.noun
    if method != "none" and features.is_by_held_out:
        return (
            f"The nets were brought to one scale {METHODS[method]}, without a label, by"
            f" the {noun}s that each held out, which are alike as far as folds are."
        )
    if method != "none":
        return (
            f"The nets were brought to one scale {METHODS[method]}, without a label, on"
            f" the {n_common:,} {noun}s that none of them learned from."
        )
    if features.tried:
        return "The nets were left on scales of their own, which scored best."
    or_held_out = f", or {MIN_HELD_OUT} in each fold"
    if not features.data.info.has_like_folds:
        or_held_out = "; what each net held out tells nothing, for folds are not alike"
    reason = (
        f" That takes {MIN_COMMON} {noun}s that none of them learned from, such as"
        f" those of a test table (here there are {n_common:,}){or_held_out}."
    )
    return "The nets were not aligned, so each has a scale of its own." + reason * (
        n_common < MIN_COMMON
    )


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

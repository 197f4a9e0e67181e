"""The report of the stack: how good it is, why, and where it fails.

Opens with the figures a reader wants first; ends with what they mean and the settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.charts import Rung, ladder
from data_prep.report import (
    Section,
    Tile,
    definitions,
    prose,
    subheading,
    table,
    tiles,
    together,
    write_report,
)
from data_prep.runs import Finished
from stacking import sections
from stacking.alignment import MIN_COMMON
from stacking.outputs import Asked
from stacking.residuals import other_scores
from stacking.stack import Line, Stacked

LEAKY = (
    "In-sample protocol, for comparison only: the boosters learned from what each net"
    " says of its own training pictures, and stopped early on the fold that is scored."
    " Neither figure nor prediction should be relied on."
)
TO = "\u2060\u2013\u2060"  # a dash at which no line is broken
Floats = NDArray[np.float64]


def write(
    path: Path,
    stacked: Stacked,
    common: Mapping[str, Floats],
    asked: Asked,
    prepared: Finished,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write the report.

    Args:
        path: The file.
        stacked: What came out.
        common: (M, ...) predictions by name, of the pictures all nets have in common.
        asked: The ids of predictions.csv.
        prepared: The finished ``data_prep.prepare``, for the pictures.
        settings: What the stage was asked for.
        versions: Of the packages.
    """
    pixels = np.load(prepared.folder / "images.npy", mmap_mode="r")
    is_leaky = settings["protocol"] == "insample"
    target = prepared.facts["target_column"]
    parts = [
        _glance(stacked, is_leaky),
        _steps(stacked),
        sections.pictures_by_prediction(stacked, pixels),
        sections.classes(stacked),
        sections.importance(stacked),
        sections.worst(stacked, pixels),
        *sections.predicted(stacked, common, asked.unreadable),
        _meaning(stacked, is_leaky),
        Section(
            "Settings",
            definitions(
                {name: value for name, value in settings.items() if name != "tasks"}
                | {"fold hash": stacked.scales.rows.fold_hash[:16]}
                | dict(versions)
            ),
        ),
    ]
    rows = stacked.scales.rows
    write_report(
        path,
        f"Predicting {target}" + (" (in-sample)" if is_leaky else ""),
        f"{len(rows.ids):,} pictures, {rows.n_folds} folds ({rows.cv}),"
        f" {len(rows.columns)} feature columns",
        [part for part in parts if part.body],
    )


def _glance(stacked: Stacked, is_leaky: bool) -> Section:
    loss, final = stacked.loss, stacked.final
    interval = f"95 %: {final.interval.low:.3f} to {final.interval.high:.3f}"
    figures = [Tile(f"{loss.title}, out of fold", _3(final), interval, is_strong=True)]
    if stacked.baseline == "plain":
        figures.append(
            Tile("the plain net", _3(stacked.line("plain")), "mean of 8 views")
        )
    figures.append(Tile("a constant", _3(stacked.line("constant")), "knows nothing"))
    others = other_scores(stacked)
    if not loss.is_squared:
        share = f"{others.pop('accuracy'):.1%}"
        figures.append(Tile("accuracy", share, "of the most probable class"))
    on = [step.name for step in stacked.steps if step.is_on]
    sentences = []
    if final.gain is not None:
        gain = final.gain
        verdict = (
            "which counts: the interval excludes zero."
            if gain.excludes_zero
            else "which does not count: the interval includes zero."
        )
        how = "better" if gain.value >= 0 else "worse"
        than = "plain net" if stacked.baseline == "plain" else "constant"
        sentences.append(
            f"The final prediction is {how} than the {than} by {abs(gain.value):.4f}"
            f" (gain, 95 %: {gain.low:+.4f} to {gain.high:+.4f}), {verdict}"
        )
    if stacked.remark:
        sentences.append(stacked.remark)
    sentences.append(
        f"Post-processing that pays, and is on: {', '.join(on)}."
        if on
        else "No post-processing pays on these rows, so all of it is off."
    )
    return Section(
        "At a glance",
        together(
            tiles(figures),
            prose(*([LEAKY] if is_leaky else []), *sentences),
            definitions(others) if others else Markup(),
        ),
        "Every figure but those called apparent is of pictures whose label the nets,"
        " the stack and the tuning did not see; only whether a step is on was decided"
        " on all rows. Lower is better."
        if not is_leaky
        else "",
    )


def _3(line: Line) -> str:
    return f"{line.scores.pooled:.3f}"


def _steps(stacked: Stacked) -> Section:
    title = stacked.loss.title
    scores = [
        Rung(
            line.label,
            line.scores.pooled,
            line.interval.low,
            line.interval.high,
            is_strong=line is stacked.final,
        )
        for line in stacked.lines
    ]
    gains = [
        Rung(
            line.label,
            line.gain.value,
            line.gain.low,
            line.gain.high,
            is_strong=line is stacked.final,
            text=f"{line.gain.value:+.4f}",
        )
        for line in stacked.lines
        if line.gain is not None and line.name != "constant"
    ]
    than = "the plain net" if stacked.baseline == "plain" else "the constant"
    folds = range(stacked.scales.rows.n_folds)
    figures = pd.DataFrame(
        [
            {
                "step": line.label,
                "apparent": np.nan if line.apparent is None else line.apparent,
                "nested": line.scores.pooled,
                "95 %": f"{line.interval.low:.4f}{TO}{line.interval.high:.4f}",
                "mean of folds": line.scores.mean,
                **{f"fold {k}": line.scores.by_fold[k] for k in folds},
            }
            for line in stacked.lines
        ]
    )
    return Section(
        "Step by step",
        together(
            ladder(scores, label=f"{title}, lower is better"),
            subheading(f"Gain over {than}, on the same pictures"),
            ladder(gains, label=f"{title} saved", guide=0.0),
            table(figures, digits=4, strong=[len(figures) - 1]),
        ),
        "Dots are scores of all rows at once, lines their 95 % intervals over clusters"
        " of pictures. What was tuned is scored nested; apparent is the score on the"
        " rows it was tuned on. A step whose gain may be zero is off.",
    )


def _meaning(stacked: Stacked, is_leaky: bool) -> Section:
    return Section(
        "What these figures mean",
        prose(
            *([LEAKY] if is_leaky else []),
            *stacked.scales.rows.notes,
            *_on_scales(stacked),
            *_on_nets(stacked),
            "The rules of post-processing are chosen without any label of the fold they"
            " are scored on; whether a step is on is decided by all rows.",
            "Where the pretext stage saw all pictures, the score speaks of pictures"
            " that were there, unlabelled, when the features were learned. Pictures"
            " that come later may do a little worse.",
        ),
    )


def _on_nets(stacked: Stacked) -> list[str]:
    rows = stacked.scales.rows
    if rows.is_label_free:
        return [
            "The features come from one net that saw no label, so the folds hold rows"
            " out from the stack alone. A picture without label is predicted by the"
            f" models of all {rows.n_folds} folds, averaged."
        ]
    n_nets = len(rows.nets) or rows.n_folds
    return [
        "Cross-validation measures a prediction by one net per picture, the one that"
        f" never saw it, trained on {n_nets - 1} of {n_nets} folds. A picture without"
        f" label is predicted by all {n_nets} nets, averaged, which is usually a little"
        " better than what is measured here.",
        "The stack learns from outputs of nets whose training labels include those of"
        " other folds; strict honesty would need a net per pair of folds.",
    ]


def _on_scales(stacked: Stacked) -> list[str]:
    rows = stacked.scales.rows
    if stacked.scales.alignment.method != "none" or rows.is_label_free:
        return []
    return [
        "The nets were not aligned, so each speaks on a scale of its own. Alignment"
        f" takes {MIN_COMMON} pictures that all nets have in common; here there are"
        f" {len(rows.common_ids):,}."
    ]

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

from data_prep.charts import Rung as Line
from data_prep.charts import ladder
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
from stacking.residuals import other_scores
from stacking.stack import Rung, Stacked

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
    prepared: Finished,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write the report.

    Args:
        path: The file.
        stacked: What came out.
        common: (M, ...) predictions by name, of the pictures all nets have in common.
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
        *sections.predicted(stacked, common),
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
            Tile("the plain net", _3(stacked.rung("plain")), "mean of 8 views")
        )
    figures.append(Tile("a constant", _3(stacked.rung("constant")), "knows nothing"))
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
        than = "plain net" if stacked.baseline == "plain" else "constant"
        sentences.append(
            f"The final prediction is better than the {than} by {gain.value:.4f}"
            f" (95 %: {gain.low:+.4f} to {gain.high:+.4f}), {verdict}"
        )
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
        "Every figure is of pictures whose label the nets, the stack and the tuning did"
        " not see. Lower is better."
        if not is_leaky
        else "",
    )


def _3(rung: Rung) -> str:
    return f"{rung.scores.pooled:.3f}"


def _steps(stacked: Stacked) -> Section:
    title = stacked.loss.title
    lines = [
        Line(
            rung.title + (" (off)" if rung.is_off else ""),
            rung.scores.pooled,
            rung.interval.low,
            rung.interval.high,
            is_strong=rung is stacked.final,
        )
        for rung in stacked.rungs
    ]
    gains = [
        Line(
            rung.title + (" (off)" if rung.is_off else ""),
            rung.gain.value,
            rung.gain.low,
            rung.gain.high,
            is_strong=rung is stacked.final,
            text=f"{rung.gain.value:+.4f}",
        )
        for rung in stacked.rungs
        if rung.gain is not None and rung.name != "constant"
    ]
    than = "the plain net" if stacked.baseline == "plain" else "the constant"
    folds = range(stacked.scales.rows.n_folds)
    figures = pd.DataFrame(
        [
            {
                "step": line.name,
                "apparent": np.nan if rung.apparent is None else rung.apparent,
                "nested": rung.scores.pooled,
                "95 %": f"{rung.interval.low:.4f}{TO}{rung.interval.high:.4f}",
                "mean of folds": rung.scores.mean,
                **{f"fold {k}": rung.scores.by_fold[k] for k in folds},
            }
            for rung, line in zip(stacked.rungs, lines, strict=True)
        ]
    )
    return Section(
        "Step by step",
        together(
            ladder(lines, label=f"{title}, lower is better"),
            subheading(f"Gain over {than}, on the same pictures"),
            ladder(gains, label=f"{title} saved", guide=0.0),
            table(figures, digits=4, strong=[len(figures) - 1]),
        ),
        "Dots are scores of all rows at once, lines their 95 % intervals over clusters"
        " of pictures. What was tuned is scored nested; apparent is the score on the"
        " rows it was tuned on. A step whose gain may be zero is off.",
    )


def _meaning(stacked: Stacked, is_leaky: bool) -> Section:
    n_nets = stacked.scales.rows.n_folds
    return Section(
        "What these figures mean",
        prose(
            *([LEAKY] if is_leaky else []),
            *stacked.scales.rows.notes,
            *_on_scales(stacked),
            "Cross-validation measures a prediction by one net per picture, the one"
            f" that never saw it, trained on {n_nets - 1} of {n_nets} folds. A picture"
            f" without label is predicted by all {n_nets} nets, averaged, which is"
            " usually a little better than what is measured here.",
            "The stack learns from outputs of nets whose training labels include those"
            " of other folds; strict honesty would need a net per pair of folds. The"
            " rules of post-processing are chosen without any label of the fold they"
            " are scored on; whether a step is on is decided by all rows.",
            "Where the pretext stage saw all pictures, the score speaks of pictures"
            " that were there, unlabelled, when the features were learned. Pictures"
            " that come later may do a little worse.",
        ),
    )


def _on_scales(stacked: Stacked) -> list[str]:
    rows = stacked.scales.rows
    if stacked.scales.alignment.method != "none" or len(rows.nets) == 1:
        return []
    return [
        "The nets were not aligned, so each speaks on a scale of its own. Alignment"
        f" takes {MIN_COMMON} pictures that all nets have in common; here there are"
        f" {len(rows.common_ids):,}."
    ]

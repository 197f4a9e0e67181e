"""A part of reports: the target in the largest groups, and what a group tells of it.

Shapes: N rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.arrays import Floats, Ints
from data_prep.reporting.numerals import decimals_for, with_decimals
from data_prep.reporting.report import Section, prose, table, together
from data_prep.reporting.target_by_date import labelled_rows
from data_prep.tables.spelling import class_text

MOST_GROUPS = 12
OF_NUMBERS = ("mean", "10 %", "median", "90 %")


def share_between(values: Floats, groups: Ints) -> float:
    """Say what share of the variance lies between groups (intraclass correlation).

    Args:
        values: (N,).
        groups: (N,) numbers of groups.

    Returns:
        ICC(1) by the analysis of variance, 0 at least: 1, all rows of a group are
        alike; 0, groups say nothing. NaN without groups of several rows.
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, n_groups = len(values), len(sizes)
    if n_groups < 2 or n_groups == n:
        return float("nan")
    scale = values.std() or 1.0  # in any unit
    centred = (values - values.mean()) / scale
    means = np.bincount(codes, centred) / sizes
    between = float((sizes * means**2).sum()) / (n_groups - 1)
    within = float(((centred - means[codes]) ** 2).sum()) / (n - n_groups)
    size = (n - (sizes**2).sum() / n) / (n_groups - 1)
    total = between + (size - 1) * within
    return max((between - within) / total, 0.0) if total > 0 else float("nan")


def groups_section(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> Section:
    """Show the target in the largest groups; without groups of several rows: nothing.

    Args:
        rows: N rows with split, target or class_index, and group or object if there
            are any.
        metadata: Of the preparation.
    """
    labelled = labelled_rows(rows, metadata)
    by = next((name for name in ("group", "object") if name in labelled), None)
    grouped = labelled[labelled[by].notna()] if by else labelled.iloc[:0]
    sizes = grouped[by].value_counts() if by else pd.Series(dtype=np.int64)
    if not (sizes > 1).any() or len(sizes) < 2:
        return Section("", Markup())
    codes = pd.factorize(grouped[by])[0]
    labels = grouped["label"].to_numpy()
    lines = []
    for name in sizes.index[:MOST_GROUPS]:
        within = labels[(grouped[by] == name).to_numpy()]
        line: dict[str, Any] = {str(by): name, "rows": len(within)}
        if metadata["target_kind"] == "numeric":
            ends = np.quantile(within, [0.1, 0.5, 0.9])
            line |= dict(zip(OF_NUMBERS, [within.mean(), *ends], strict=True))
        else:
            values, counts = np.unique(within.astype(np.int64), return_counts=True)
            most = int(values[counts.argmax()])
            line |= {
                "classes": len(values),
                "most frequent": class_text(metadata["classes"][most]),
                "its share": counts.max() / len(within),
            }
        lines.append(line)
    caption = f"the {len(lines)} largest of {len(sizes):,}"
    decimals = max(decimals_for(float(labels.std())) - 1, 0)
    formats = {name: lambda v: with_decimals(v, decimals) for name in OF_NUMBERS}
    formats["its share"] = "{:.0%}".format
    return Section(
        "Target by group",
        together(
            prose(_on_groups(labels, codes, metadata)),
            table(pd.DataFrame(lines), caption, formats=formats),
        ),
        "Groups are never split over folds.",
    )


def _on_groups(labels: Floats, codes: Ints, metadata: Mapping[str, Any]) -> str:
    """Say in a sentence what a group tells of the label."""
    if metadata["target_kind"] == "numeric":
        share = share_between(labels, codes)
        return (
            f"{share:.0%} of the target's variance lies between groups: so much would a"
            " net that merely knows a group again seem to know, if groups were split."
        )
    counts = pd.crosstab(codes, labels).to_numpy()
    repeated = counts[counts.sum(axis=1) > 1]
    n_pure = int((repeated.max(axis=1) == repeated.sum(axis=1)).sum())
    return (
        f"{n_pure:,} of {_counted(len(repeated), 'group')} of several rows"
        f" {'has' if n_pure == 1 else 'have'} one class only: there a net that merely"
        " knows a group again would be right, if groups were split."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"

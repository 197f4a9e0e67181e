"""A part of reports: the target by date, and whether it drifts in time.

Rows of one cv group are not independent, so all that is tested is tested on cv groups.

Shapes: N rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from scipy.stats import kruskal, spearmanr

from data_prep.arrays import Floats, Ints
from data_prep.reporting.charts import ForestRow, forest_plot
from data_prep.reporting.numerals import decimals_for
from data_prep.reporting.periods import stretches_of
from data_prep.reporting.report import Section, heat_table, prose, together
from data_prep.tables.spelling import class_text

LEAST_GROUPS = 20  # below nothing can be said
LEAST_STRENGTH, MOST_P = (
    0.2,
    0.01,
)  # a drift that asks for action, and is none of chance
MOST_CLASSES = 12
Z = 1.96  # of an interval of 95 %


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the target goes with the date.

    Attributes:
        strength: Of a quantity Spearman's correlation with the date; of classes the
            root of the share of the dates' rank variance between them (eta squared of
            Kruskal and Wallis). NaN: too few cv groups, or all alike.
        p_value: Of no connection at all.
        n_groups: cv groups.
        is_quantity: Whether the strength has a sign.
    """

    strength: float
    p_value: float
    n_groups: int
    is_quantity: bool

    @property
    def is_drift(self) -> bool:
        """Whether it is large enough to matter and no chance."""
        return abs(self.strength) >= LEAST_STRENGTH and self.p_value < MOST_P

    def sentence(self) -> str:
        """Tell it."""
        if not np.isfinite(self.strength):
            return "Too few dated groups, or all alike: whether it drifts is not told."
        size = f"{abs(self.strength):.2f}, {self.n_groups:,} groups"
        if not self.is_drift:
            return f"The target does not drift in time in a way that matters ({size})."
        if not self.is_quantity:
            return f"Classes come from different times (strength {size})."
        way = "rises" if self.strength > 0 else "falls"
        return f"The target {way} in time (rank correlation {size})."


def labelled_rows(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Give the training rows with a label, and the label as a number in ``label``."""
    is_quantity = metadata["target_kind"] == "numeric"
    name = "target" if is_quantity else "class_index"
    label = rows[name].astype(np.float64)
    kept = rows.assign(label=label if is_quantity else label.where(label >= 0))
    return kept[(kept["split"] == "train") & kept["label"].notna()]


def drift_of(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> Drift | None:
    """Measure how the target goes with the date.

    Args:
        rows: N rows with split, cv_group, date, and target or class_index.
        metadata: Of the preparation.

    Returns:
        None where there is no target, no training row with a date, or the date is the
        target.
    """
    if not metadata["target_kind"]:
        return None
    labelled = labelled_rows(rows, metadata)
    dated = labelled[labelled["date"].notna()]
    if dated.empty or metadata["target_column"] == metadata["date_column"]:
        return None
    is_quantity = metadata["target_kind"] == "numeric"
    by_group = dated.groupby("cv_group")
    dates = by_group["date"].mean()
    nothing = {"strength": np.nan, "p_value": np.nan, "is_quantity": is_quantity}
    if len(dates) < LEAST_GROUPS or dates.nunique() < 2:
        return Drift(n_groups=len(dates), **nothing)
    if is_quantity:
        labels = by_group["label"].mean()
        if labels.nunique() < 2:
            return Drift(n_groups=len(dates), **nothing)
        strength, p_value = spearmanr(dates, labels)
    else:
        labels = _most_frequent(dated)
        of_classes = [part.to_numpy() for _, part in dates.groupby(labels)]
        n_classes = len(of_classes)
        if n_classes < 2 or n_classes == len(dates):
            return Drift(n_groups=len(dates), **nothing)
        h, p_value = kruskal(*of_classes)
        between = (h - n_classes + 1) / (len(dates) - n_classes)
        strength = np.sqrt(max(between, 0.0))
    return Drift(
        strength=float(strength),
        p_value=float(p_value),
        n_groups=len(dates),
        is_quantity=is_quantity,
    )


def _most_frequent(labelled: pd.DataFrame) -> "pd.Series[float]":
    """Give the most frequent label of each cv group, the least of several."""
    counts = labelled.groupby(["cv_group", "label"]).size().rename("n").reset_index()
    ordered = counts.sort_values(
        ["cv_group", "n", "label"], ascending=[True, False, True]
    )
    return ordered.drop_duplicates("cv_group").set_index("cv_group")["label"]


def date_section(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> Section:
    """Show the target by period; without two periods, or of the date: nothing.

    Args:
        rows: As for ``drift_of``, with a target.
        metadata: Of the preparation.
    """
    drift, labelled = drift_of(rows, metadata), labelled_rows(rows, metadata)
    dated = labelled[labelled["date"].notna()]
    periods = stretches_of(dated["date"].to_numpy(np.float64))
    if drift is None or len(periods.names) < 2:
        return Section("", Markup())
    is_quantity = metadata["target_kind"] == "numeric"
    if is_quantity:
        chart = _means(dated, periods.numbers, periods.names)
        note = "Mean of each period, with its 95 % interval by groups."
    else:
        chart = _classes_by_period(dated, periods.numbers, periods.names, metadata)
        note = "Training rows of each class in each period, and their share of it."
    return Section("Target by date", together(prose(drift.sentence()), chart), note)


def _means(dated: pd.DataFrame, numbers: Ints, names: Any) -> Markup:
    labels = dated["label"].to_numpy()
    lines = []
    for k, name in enumerate(names):
        mask = numbers == k
        mean, half = mean_by_groups(labels[mask], dated["cv_group"].to_numpy()[mask])
        lines.append(
            ForestRow(
                name=name,
                value=mean,
                low=mean - half,
                high=mean + half,
                note=f"{_counted(int(mask.sum()), 'row')}",
            )
        )
    digits = max(decimals_for(float(labels.std())) - 1, 0)
    mean = float(labels.mean())
    return forest_plot(lines, label="target", digits=digits, guide=mean)


def mean_by_groups(values: Floats, groups: Ints) -> tuple[float, float]:
    """Give the mean of values, and half of its 95 % interval by groups.

    Args:
        values: (N,), N >= 1.
        groups: (N,) numbers of groups.

    Returns:
        The mean, and Z times the cluster-robust standard error of it; NaN of one group.
    """
    mean = float(values.mean())
    _, codes = np.unique(groups, return_inverse=True)
    sums = np.bincount(codes, values - mean)
    n_groups = len(sums)
    if n_groups < 2:
        return mean, float("nan")
    variance = (sums**2).sum() * n_groups / (n_groups - 1) / len(values) ** 2
    return mean, float(Z * np.sqrt(variance))


def _classes_by_period(
    dated: pd.DataFrame, numbers: Ints, names: Any, metadata: Mapping[str, Any]
) -> Markup:
    counts = pd.crosstab(numbers, dated["label"].to_numpy().astype(np.int64))
    largest = counts.sum().sort_values(ascending=False, kind="stable").index
    shown = counts[sorted(largest[:MOST_CLASSES])]
    columns = [class_text(metadata["classes"][code]) for code in shown.columns]
    values = shown.to_numpy()
    if counts.shape[1] > MOST_CLASSES:
        n_others = counts.to_numpy().sum(axis=1) - values.sum(axis=1)
        values, columns = np.column_stack([values, n_others]), [*columns, "others"]
    return heat_table(values, list(names), columns, corner="period")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"

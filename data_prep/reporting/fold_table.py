"""What each fold holds: rows, groups, classes or quantiles, for the log and the report.

Shapes: N rows, F folds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data_prep.folds import TRAIN_FROM, fold_columns, fold_masks
from data_prep.reporting.numerals import decimals_for, with_decimals
from data_prep.reporting.report import Section, table
from data_prep.tables.dates import date_text
from data_prep.tables.spelling import class_text

MOST_CLASSES = 12
QUANTILES = {"10 %": 0.1, "median": 0.5, "90 %": 0.9}
OF_TARGET = ("mean", "deviation", *QUANTILES)
BEFORE, ALL_ROWS = "before", "all"

Formats = Mapping[str, Callable[[Any], str]]


def fold_table(rows: pd.DataFrame, classes: Sequence[Any] | None) -> pd.DataFrame:
    """Count what each fold holds.

    Args:
        rows: N rows with split, fold, cv group, and class_index or target where there
            are any.
        classes: What the class indices mean; None for a quantity.

    Returns:
        A row per fold, with its deal if there are several, and one of all of them:
        rows, their share in percent, cv groups and the largest; of classes the share of
        each in percent (of the twelve largest), of a quantity mean, deviation and
        quantiles. Where folds are forward in time also the row before the first fold,
        the dates of each, and how many rows its net may be trained on.
    """
    folds, deals = rows["fold"].to_numpy(), fold_columns(rows)
    n_of_deal = int(folds.max()) + 1
    masks = {
        str(fold): (rows[column] == fold).to_numpy()
        for deal, column in enumerate(deals)
        for fold in range(deal * n_of_deal, (deal + 1) * n_of_deal)
    }
    is_in_time = TRAIN_FROM in rows
    if is_in_time:
        is_before = (rows["split"] == "train").to_numpy() & (folds < 0)
        masks = {BEFORE: is_before & ~rows["is_excluded"].to_numpy(dtype=bool)} | masks
    masks[ALL_ROWS] = folds >= 0
    largest = _largest_classes(rows[folds >= 0]) if classes is not None else []
    lines = []
    for name, mask in masks.items():
        within = rows[mask]
        sizes = within["cv_group"].value_counts()
        line: dict[str, Any] = {
            "fold": name,
            "rows": len(within),
            "rows %": 100 * len(within) / max(int((folds >= 0).sum()), 1),
            "cv groups": len(sizes),
            "largest group": int(sizes.max()) if len(sizes) else 0,
        }
        if len(deals) > 1:
            deal = str(int(name) // n_of_deal) if name.isdigit() else ""
            line = {"deal": deal} | line
        if is_in_time:
            line |= {"from": within["date"].min(), "to": within["date"].max()}
            is_fold = name.isdigit()
            n_seen = fold_masks(rows, name)[1].sum() if is_fold else np.nan
            line["learned from"] = n_seen
        if classes is not None:
            labels = within["class_index"][within["class_index"] >= 0]
            for index in largest:
                share = 100 * (labels == index).mean() if len(labels) else np.nan
                line[f"{class_text(classes[index])} %"] = share
        elif "target" in rows:
            target = within["target"].dropna()
            line |= {"mean": target.mean(), "deviation": target.std()}
            line |= {name: target.quantile(q) for name, q in QUANTILES.items()}
        lines.append(line)
    counted = pd.DataFrame(lines)
    if (counted["largest group"] <= 1).all():
        del counted["largest group"]
    return counted


def _largest_classes(rows: pd.DataFrame) -> list[int]:
    """List the largest classes, in their order."""
    labels = rows["class_index"][rows["class_index"] >= 0]
    return sorted(labels.value_counts().index[:MOST_CLASSES].tolist())


def formats_of(counted: pd.DataFrame) -> Formats:
    """Say how the columns of a ``fold_table`` are written."""

    def written(style: Callable[[Any], str]) -> Callable[[Any], str]:
        return lambda value: "" if pd.isna(value) else style(value)

    of_target = 0
    is_quantity = "deviation" in counted  # a class may be called as a quantile is
    if is_quantity:
        of_target = max(decimals_for(float(counted["deviation"].max())) - 1, 0)
    formats: dict[str, Callable[[Any], str]] = {}
    for name in counted.columns:
        if is_quantity and name in OF_TARGET:
            formats[name] = written(lambda value: with_decimals(value, of_target))
        elif name in ("from", "to"):
            formats[name] = written(date_text)
        elif name == "learned from":
            formats[name] = written(lambda value: f"{value:,.0f}")
        elif name.endswith(" %"):
            formats[name] = written(lambda value: f"{value:.1f}")
    return formats


def as_lines(counted: pd.DataFrame) -> str:
    """Set the table in plain text."""
    return counted.to_string(
        index=False, na_rep="", formatters=dict(formats_of(counted))
    )


def folds_section(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> Section:
    """Show the table in the report.

    Args:
        rows: As ``fold_table`` takes them.
        metadata: Of the preparation.
    """
    counted = fold_table(rows, metadata["classes"])
    kept = "Copies of one picture are"
    if metadata["has_group"]:
        kept = "Rows of one group, and copies of one picture, are"
    note = f"{metadata['cv']}: {kept} in one fold. Every later stage obeys these folds."
    if len(fold_columns(rows)) > 1:
        note += (
            " Each deal holds every row out once, beside other rows; what its nets and"
            " its stack say is averaged over the deals."
        )
    if TRAIN_FROM in rows:
        note += (
            " They are forward in time: the net of a fold learns from rows dated before"
            f" it alone; those before fold 0 ({BEFORE}) are never held out. A group of"
            " several dates is held out with its earliest row."
        )
    return Section(
        "Folds",
        table(counted, formats=formats_of(counted), strong=[len(counted) - 1]),
        note=note,
    )

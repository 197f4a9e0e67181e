"""The page of the label issues: their pictures, and how to go on."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from data_prep.prepared import Prepared
from data_prep.reporting.report import (
    Section,
    Tile,
    picture_grid,
    prose,
    table,
    tiles,
    together,
    write_report,
)
from data_prep.run_folders.damage import map_array

N_SHOWN = 60  # pictures, and rows of the table
MOST_CLASSES = 50
WHAT_TO_DO = (
    "Nothing has been changed. To act on the issues, look at the pictures and correct"
    " labels in your own table where you can. Copy label_issues.csv beside the"
    " experiment file, without the rows whose label is right, and name it there: [data]"
    ' sample_weights = "label_issues.csv". Rows of weight 0 are then left out of all'
    " training, others count by their weight."
)
CAVEATS = (
    "A label listed here may be right: rare and hard pictures are listed too. If a"
    " class stands out, dropping its rows would remove what is hard and not what"
    " is wrong.",
    "Rows with an issue stay in the folds and are scored with their labels. Yet the"
    " nets that contradict a label have learned the labels of the other folds, which"
    " then score nets trained without it: after dropping rows, cross-validation is a"
    " little too good. Whether it helps, unseen groups say.",
)


def write_page(
    path: Path, issues: pd.DataFrame, prepared: Prepared, weight: float
) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        issues: A row per label, as ``stacking.noise.issue_table`` gives them.
        prepared: The finished ``data_prep.prepare``, for the pictures.
        weight: What is suggested for flagged rows.
    """
    is_flagged = issues["weight"] < 1
    n_issues, n_flagged = int(issues["is_issue"].sum()), int(is_flagged.sum())
    figures = [
        Tile(label="labels", value=f"{len(issues):,}", note="scored out of fold"),
        Tile(
            label="issues", value=f"{n_issues:,}", note=f"{n_issues / len(issues):.1%}"
        ),
        Tile(
            label="flagged",
            value=f"{n_flagged:,}",
            note=f"suggested weight {weight:g}",
            is_strong=True,
        ),
    ]
    shown = issues.head(N_SHOWN)
    formats = {"weight": "{:g}".format}
    sections = [
        Section("At a glance", together(tiles(figures), prose(WHAT_TO_DO))),
        Section(
            "The likeliest issues",
            _pictures(shown, prepared),
            "Label → prediction of a net that never saw the picture. Flagged ones"
            " come with their suggested weight.",
        ),
        Section(
            "In words",
            table(shown.drop(columns="is_issue"), formats=formats),
            f"The first {len(shown)} of {len(issues):,}; all are in label_issues.csv.",
        ),
    ]
    if issues["target"].nunique() <= MOST_CLASSES:
        counts = issues.assign(flagged=is_flagged).groupby("target")
        by_label = counts[["is_issue", "flagged"]].sum().astype(int)
        by_label = by_label.rename(columns={"is_issue": "issues"})
        by_label.insert(0, "rows", counts.size())
        sections.append(Section("By label", table(by_label, shows_index=True)))
    sections.append(Section("What to make of it", prose(*CAVEATS)))
    write_report(
        path,
        "Label issues",
        f"{prepared.metadata['target_column']}, by out-of-fold predictions",
        sections,
    )


def _pictures(shown: pd.DataFrame, prepared: Prepared) -> Markup:
    """Show the pictures; nothing if they are no longer there."""
    if not prepared.images_path.exists():
        return Markup()
    pixels = map_array(prepared.images_path)
    columns = ["id", "target", "prediction", "weight"]
    captions = [
        f"{id_}\n{target} → {prediction}" + f"\nweight {weight:g}" * (weight < 1)
        for id_, target, prediction, weight in shown[columns].to_numpy(object).tolist()
    ]
    rows = prepared.rows_by_name()["image_row"][list(shown["id"])]
    return picture_grid(pixels[rows.to_numpy()], captions)

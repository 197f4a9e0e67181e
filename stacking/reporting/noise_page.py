"""The page of the doubted labels: their pictures, and how to go on."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

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
from data_prep.run_folders.damage import map_array, read_frame
from data_prep.run_folders.runs import Finished

N_SHOWN = 60  # pictures, and rows of the table
MOST_CLASSES = 50
HOW = (
    "Nothing has been changed. To act on the doubts, look at the pictures and correct"
    " labels in your own table where you can. Copy doubts.csv beside the experiment"
    " file, without the rows whose label is right, and name it there: [data]"
    ' sample_weights = "doubts.csv". Rows of weight 0 are then left out of all'
    " training, others count by their weight."
)
CAVEATS = (
    "A doubted label may be right: rare and hard pictures are doubted too. If a class"
    " stands out below, dropping its rows would remove what is hard and not what is"
    " wrong.",
    "Doubted rows stay in the folds and are scored with their labels. Yet the nets that"
    " doubt a row have learned the labels of the other folds, which then score nets"
    " trained without it: after dropping rows, cross-validation is a little too good."
    " Whether it helps, unseen groups say.",
)


def write_page(
    path: Path, doubted: pd.DataFrame, prepared: Finished, weight: float
) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        doubted: What ``stacking.noise`` found of every row, the most doubted first.
        prepared: The finished ``data_prep.prepare``, for the pictures.
        weight: What is suggested for flagged rows.
    """
    is_flagged = doubted["weight"] < 1
    n_doubtful, n_flagged = int(doubted["is_doubtful"].sum()), int(is_flagged.sum())
    figures = [
        Tile("labels", f"{len(doubted):,}", "scored out of fold"),
        Tile("doubtful", f"{n_doubtful:,}", f"{n_doubtful / len(doubted):.1%}"),
        Tile("flagged", f"{n_flagged:,}", f"suggested weight {weight:g}", True),
    ]
    shown = doubted.head(N_SHOWN)
    formats = {"weight": "{:g}".format}
    sections = [
        Section("At a glance", together(tiles(figures), prose(HOW))),
        Section(
            "The most doubted",
            _pictures(shown, prepared),
            "Label → prediction of a net that never saw the picture. Flagged ones"
            " come with their suggested weight.",
        ),
        Section(
            "In words",
            table(shown.drop(columns="is_doubtful"), formats=formats),
            f"The first {len(shown)} of {len(doubted):,}; all are in doubts.csv.",
        ),
    ]
    if doubted["target"].nunique() <= MOST_CLASSES:
        counts = doubted.assign(flagged=is_flagged).groupby("target")
        by_label = counts[["is_doubtful", "flagged"]].sum().astype(int)
        by_label = by_label.rename(columns={"is_doubtful": "doubtful"})
        by_label.insert(0, "rows", counts.size())
        sections.append(Section("By label", table(by_label, shows_index=True)))
    sections.append(Section("What to make of it", prose(*CAVEATS)))
    parts = [section for section in sections if section.body]
    subtitle = f"{prepared.facts['target_column']}, by out-of-fold predictions"
    write_report(path, "Doubted labels", subtitle, parts)


def _pictures(shown: pd.DataFrame, prepared: Finished) -> Markup:
    """Show the pictures; nothing if they are no longer there."""
    file = prepared.folder / "images.npy"
    if not file.exists():
        return Markup()
    pixels = map_array(file)
    rows = read_frame(prepared.folder / "table.parquet", ["id", "image_row"])
    image_row = rows.set_index("id")["image_row"]
    captions = []
    for id_, target, said, weight in zip(
        *(shown[name] for name in ("id", "target", "prediction", "weight")), strict=True
    ):
        mark = f"\nweight {weight:g}" if weight < 1 else ""
        captions.append(f"{id_}\n{target} → {said}{mark}")
    return picture_grid(pixels[image_row[shown["id"]].to_numpy()], captions)

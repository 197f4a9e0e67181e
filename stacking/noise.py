"""List the labels that are probably wrong, by the out-of-fold predictions.

    python -m stacking.noise

Reads ``stacking.fit`` and, for the pictures, ``data_prep.prepare``; writes
``stacking.noise/``: label_issues.csv (every scored row, the likeliest issue first) and
report.html. Nothing is changed by it. Whoever agrees with the issues copies the file
beside the experiment and names it there::

    [data]
    sample_weights = "label_issues.csv"

Rows of weight 0 are then left out of all training, and those between 0 and 1 count
less. They are still held out and scored, with their labels as they are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from data_prep.command import open_command, run_command
from data_prep.prepared import PREPARED, Prepared, name_column
from data_prep.ranges import Ranged, Share
from data_prep.run_folders.damage import read_frame
from data_prep.settings import recorded
from data_prep.tables.spelling import class_names, write_csv
from stacking.analysis.label_issues import (
    LabelIssues,
    class_issues,
    combine,
    flag_worst,
    numeric_issues,
    ranking,
)
from stacking.oof import EXACT, probability_column, with_name_of_ids

if TYPE_CHECKING:
    import pandas as pd

STAGE = "stacking.noise"
FIT = "stacking.fit"
SCORED = ("target", "prediction")
N_LOGGED = 10  # rows
ISSUES_FILE = "label_issues.csv"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(Ranged):
    """List the labels that are probably wrong by the predictions; change nothing.

    python -m stacking.noise
    """

    share: Annotated[
        float, "largest share of the rows that is flagged", Gt(0), Le(0.5)
    ] = 0.02
    weight: Annotated[
        Share, "suggested weight of flagged rows: 0 drops them, 0.5 softens them"
    ] = 0.0

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return [PREPARED, FIT]


def main(argv: Sequence[str] | None = None) -> Path:
    """List the label issues of a run; return the folder of the stage."""
    settings, run, _ = open_command(NoiseSettings, STAGE, argv)
    prepared, fitted = run.finished(PREPARED), run.finished(FIT)
    config, reads = recorded(settings), settings.reads
    if done := run.current(STAGE, config, reads):
        return done.folder
    from stacking.reporting.noise_page import write_page

    oof_path = fitted.folder / EXACT
    # what may be refused comes first, and leaves no unfinished stage behind
    opened = Prepared.open(prepared)
    table = issue_table(oof_path, prepared.metadata, settings)
    with run.stage(STAGE, config, reads) as stage:
        listed = with_name_of_ids(table, name_column(prepared.metadata))
        write_csv(stage.folder / ISSUES_FILE, listed.drop(columns="is_issue"))
        shown = for_people(table)
        write_page(stage.folder / "report.html", shown, opened, settings.weight)
        stage.metadata = {
            "rows": len(table),
            "issues": int(table["is_issue"].sum()),
            "flagged": int((table["weight"] < 1).sum()),
        }
    _log(shown, settings, run.folder / STAGE)
    return run.folder / STAGE


def issue_table(
    path: Path, metadata: Mapping[str, Any], settings: NoiseSettings
) -> "pd.DataFrame":
    """Rank the rows of out-of-fold predictions by how likely their label is wrong.

    Args:
        path: The out-of-fold predictions of ``stacking.fit``, see ``stacking.oof``.
        metadata: Those of ``data_prep.prepare``.
        settings: How many rows are flagged, and what weight is suggested.

    Returns:
        id, target, prediction, issue_score, weight, reason and is_issue of every row,
        the likeliest issue first.
    """
    import pandas as pd

    from data_prep.tables.cells import as_numbers, as_texts

    oof = read_frame(path)
    ids = as_texts(oof["id"])
    issues = combine(find_issues(oof, metadata))
    order = ranking(issues.score, ids)
    is_flagged = flag_worst(issues, order, settings.share)
    is_numeric = metadata["target_kind"] == "numeric"
    scored = {
        name: as_numbers(oof[name]) if is_numeric else as_texts(oof[name])
        for name in SCORED
    }
    table = pd.DataFrame(
        {
            "id": ids,
            **scored,
            "issue_score": issues.score,
            "weight": np.where(is_flagged, settings.weight, 1.0),
            "reason": issues.reasons,
            "is_issue": issues.is_issue,
        }
    )
    return table.iloc[order].reset_index(drop=True)


def for_people(table: "pd.DataFrame") -> "pd.DataFrame":
    """Give the numbers of a table of issues the digits that people are shown."""
    from data_prep.tables.spelling import DIGITS_SHOWN, number_texts

    numbers = [name for name in SCORED if table[name].dtype.kind == "f"]
    return table.assign(
        **{name: number_texts(table[name], DIGITS_SHOWN) for name in numbers}
    )


def find_issues(oof: "pd.DataFrame", metadata: Mapping[str, Any]) -> list[LabelIssues]:
    """Judge a numeric target by the residual, and any target by its classes.

    A numeric target is judged by classes only if the file has their probabilities.

    Returns:
        One or two judgements of the N rows, in the order of the file.
    """
    from data_prep.tables.cells import as_numbers, as_texts

    issues = []
    classes = class_names(metadata["classes"])
    is_numeric = metadata["target_kind"] == "numeric"
    columns = [probability_column(name) for name in classes]
    if is_numeric:
        y_true, y_pred = (as_numbers(oof[name]) for name in SCORED)
        issues.append(numeric_issues(y_true, y_pred))
    if classes and (not is_numeric or set(columns) <= set(oof)):
        proba = np.stack([as_numbers(oof[name]) for name in columns], axis=1)
        if is_numeric:
            class_values = np.array([float(name) for name in classes])
            class_idx = np.abs(y_true[:, None] - class_values).argmin(axis=1)
        else:
            number_of = {name: k for k, name in enumerate(classes)}
            labels = as_texts(oof["target"])
            class_idx = np.array([number_of[name] for name in labels], dtype=np.int64)
        issues.append(class_issues(class_idx, proba, classes))
    return issues


def _log(table: "pd.DataFrame", settings: NoiseSettings, folder: Path) -> None:
    for row in table[table["is_issue"]].head(N_LOGGED).itertuples():
        log.info(
            "  %s: labelled %s, predicted %s; %s",
            row.id,
            row.target,
            row.prediction,
            row.reason,
        )
    log.info(
        "label issues: %d of %d labels; flagged: %d (a share of %g at most), weight %g",
        table["is_issue"].sum(),
        len(table),
        (table["weight"] < 1).sum(),
        settings.share,
        settings.weight,
    )
    key = "[data] sample_weights"
    log.info('to use that, copy the file and name it: %s = "%s"', key, ISSUES_FILE)
    log.info("-> %s", folder / ISSUES_FILE)
    log.info("-> %s", folder / "report.html")


if __name__ == "__main__":
    run_command(main)

"""List the labels that the out-of-fold predictions doubt, and suggest what they weigh.

    python -m stacking.noise

Reads ``stacking.fit`` and, for the pictures, ``data_prep.prepare``; writes
``stacking.noise/``: doubts.csv (every scored row, the most doubted first) and
report.html. Nothing is changed by it. Whoever agrees with the doubts copies the file
beside the experiment and names it there::

    [data]
    sample_weights = "doubts.csv"

Rows of weight 0 are then left out of all training, and those between 0 and 1 count
less. They are still held out and scored, with their labels as they are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.settings import recorded
from data_prep.tables.spelling import class_names, write_csv
from stacking.analysis.label_issues import (
    Doubts,
    doubt_classes,
    doubt_numbers,
    either,
    flagged,
    ranking,
)
from stacking.oof import oof_file, probability_column, read_oof

if TYPE_CHECKING:
    import pandas as pd

STAGE = "stacking.noise"
PREPARED = "data_prep.prepare"
FIT = "stacking.fit"
AGAIN = "again: python -m stacking.fit --overwrite"
SCORED = ("target", "prediction")
N_TOLD = 10  # rows of the log
Floats = NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """List the labels that the out-of-fold predictions doubt; nothing is changed.

    python -m stacking.noise
    """

    share: Annotated[float, "largest share of the rows that is flagged"] = 0.02
    weight: Annotated[
        float, "suggested weight of flagged rows: 0 drops them, 0.5 softens them"
    ] = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.share <= 0.5:
            raise UserError(f"share = {self.share}: give above 0, at most 0.5")
        if not 0 <= self.weight < 1:
            raise UserError(f"weight = {self.weight}: give 0 to below 1")

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return [PREPARED, FIT]


def main(argv: Sequence[str] | None = None) -> Path:
    """Doubt the labels as the command line says; return the folder of the stage."""
    settings, run, _ = open_command(NoiseSettings, STAGE, argv)
    prepared, fitted = run.finished(PREPARED), run.finished(FIT)
    key, reads = recorded(settings), settings.reads
    if done := run.current(STAGE, key, reads):
        return done.folder
    from stacking.reporting.noise_page import write_page

    oof = oof_file(fitted.folder)
    with run.stage(STAGE, key, reads) as stage:
        table = doubt_table(oof, prepared.facts, settings)
        write_csv(stage.folder / "doubts.csv", table.drop(columns="is_doubtful"))
        shown = for_people(table)
        write_page(stage.folder / "report.html", shown, prepared, settings.weight)
        stage.facts = {
            "rows": len(table),
            "doubtful": int(table["is_doubtful"].sum()),
            "flagged": int((table["weight"] < 1).sum()),
        }
    _tell(shown, settings, run.folder / STAGE)
    return run.folder / STAGE


def doubt_table(
    path: Path, facts: Mapping[str, Any], settings: NoiseSettings
) -> "pd.DataFrame":
    """Rank the rows of out-of-fold predictions by how far they doubt the label.

    Args:
        path: The out-of-fold predictions of ``stacking.fit``, see ``stacking.oof``.
        facts: Those of ``data_prep.prepare``.
        settings: How many rows are flagged, and what weight is suggested.

    Returns:
        id, target, prediction, doubt, weight, reason and is_doubtful of every row, the
        most doubted first.

    Raises:
        UserError: The file lacks what it needs.
    """
    import pandas as pd

    from data_prep.tables.cells import as_ids, as_numbers, as_texts

    oof = read_oof(path, facts)
    for name in ("id", *SCORED):
        if name not in oof:
            raise UserError(f"{path}: there is no column {name!r}; {AGAIN}")
    ids = as_ids(oof["id"])
    views = read_views(oof, facts, path)
    doubts = either(views)
    order = ranking(doubts.doubt, ids)
    is_flagged = flagged(doubts, order, settings.share)
    is_numeric = facts["target_kind"] == "numeric"
    scored = {
        name: as_numbers(oof[name]) if is_numeric else as_texts(oof[name])
        for name in SCORED
    }
    table = pd.DataFrame(
        {
            "id": ids,
            **scored,
            "doubt": doubts.doubt,
            "weight": np.where(is_flagged, settings.weight, 1.0),
            "reason": doubts.reasons,
            "is_doubtful": doubts.is_doubtful,
        }
    )
    return table.iloc[order].reset_index(drop=True)


def for_people(table: "pd.DataFrame") -> "pd.DataFrame":
    """Give the numbers of a table of doubts the digits that people are shown."""
    from data_prep.tables.spelling import DIGITS_SHOWN, number_texts

    numbers = [name for name in SCORED if table[name].dtype.kind == "f"]
    return table.assign(
        **{name: number_texts(table[name], DIGITS_SHOWN) for name in numbers}
    )


def read_views(
    oof: "pd.DataFrame", facts: Mapping[str, Any], path: Path
) -> list[Doubts]:
    """Doubt a numeric target by the residual, and any target by its classes.

    The classes of a numeric target are asked only if the file has their probabilities.

    Raises:
        UserError: A value is missing, or probabilities are none.
    """
    from data_prep.tables.cells import as_texts

    views = []
    classes = class_names(facts["classes"])
    is_numeric = facts["target_kind"] == "numeric"
    columns = [probability_column(name) for name in classes]
    if is_numeric:
        target, said = (_numbers(oof, [name], path)[:, 0] for name in SCORED)
        views.append(doubt_numbers(target, said))
    if classes and (not is_numeric or set(columns) <= set(oof)):
        probabilities = _numbers(oof, columns, path)
        sums = probabilities.sum(axis=1)
        if (probabilities < 0).any() or not np.allclose(sums, 1, atol=1e-3):
            raise UserError(
                f"{path}: the probabilities of a row are not from 0 to 1, or do not sum"
                f" to 1; {AGAIN}"
            )
        if is_numeric:
            values = np.array([float(name) for name in classes])
            labels = np.abs(target[:, None] - values).argmin(axis=1)
        else:
            number = {name: k for k, name in enumerate(classes)}
            texts = as_texts(oof["target"])
            if unknown := sorted(set(texts) - set(number)):
                raise UserError(f"{path}: there is no class {unknown[0]!r}; {AGAIN}")
            labels = np.array([number[text] for text in texts], dtype=np.int64)
        views.append(doubt_classes(labels, probabilities, classes))
    return views


def _numbers(oof: "pd.DataFrame", columns: Sequence[str], path: Path) -> Floats:
    """Give (N, C) columns as numbers, none of them missing."""
    from data_prep.tables.cells import as_numbers

    for name in columns:
        if name not in oof:
            raise UserError(f"{path}: there is no column {name!r}; {AGAIN}")
    values = np.stack([as_numbers(oof[name]) for name in columns], axis=1)
    if n_bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise UserError(f"{path}: {n_bad} rows lack a number; {AGAIN}")
    return values


def _tell(table: "pd.DataFrame", settings: NoiseSettings, folder: Path) -> None:
    n_doubtful, n_flagged = table["is_doubtful"].sum(), (table["weight"] < 1).sum()
    for row in table[table["is_doubtful"]].head(N_TOLD).itertuples():
        log.info("  %s: %s -> %s, %s", row.id, row.target, row.prediction, row.reason)
    log.info(
        "doubtful: %d of %d labels; flagged: %d (a share of %g at most), weight %g",
        *(n_doubtful, len(table), n_flagged, settings.share, settings.weight),
    )
    log.info(
        'to use that, copy the file and name it: [data] sample_weights = "doubts.csv"'
    )
    log.info("-> %s", folder / "doubts.csv")
    log.info("-> %s", folder / "report.html")


if __name__ == "__main__":
    run_command(main)

"""The files of the stage: models, predictions, importance, and all that was chosen."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.damage import intact
from data_prep.run_folders.runs import Finished, write_json
from data_prep.tables.spelling import write_csv
from stacking.analysis.findings import Findings
from stacking.ensemble.final_step import end_prediction, labels_of
from stacking.ensemble.stack import Stacked
from stacking.inputs.leak_guards import check_sample, named
from stacking.oof import probability_column, write_oof

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """The ids of predictions.csv.

    Attributes:
        ids: In the order of the sample, or of the test table, or as they are; none: no
            file is written.
        unreadable: Those of them whose picture cannot be read.
    """

    ids: list[str]
    unreadable: list[str]


def read_order(prepared: Finished, predicted: Sequence[str]) -> Asked:
    """Give the ids to predict in the order of the sample, or of the test table.

    Without both they are as they are.

    Args:
        prepared: The finished ``data_prep.prepare``, with sample.csv or test_ids.csv if
            there is one.
        predicted: Ids that can be predicted.

    Raises:
        UserError: The sample asks for other ids than those and the ones left out, or
            names none.
    """
    from data_prep.tables.cells import as_texts, read_table

    path = prepared.folder / "sample.csv"
    tested = prepared.folder / "test_ids.csv"
    if not len(predicted) or not (path.exists() or tested.exists()):
        return Asked(list(predicted), [])
    if not path.exists():
        with intact(tested), tested.open(encoding="utf-8", newline="") as file:
            ids = [row["id"] for row in csv.DictReader(file)]
        known = set(predicted)
        return Asked(ids, [id_ for id_ in ids if id_ not in known])
    with intact(path):
        sample = read_table(path)
    column = prepared.metadata["id_column"]
    if column not in sample:
        raise UserError(f"{path}: there is no column {column!r}; it names the ids")
    ids = as_texts(sample[column])
    with intact(prepared.folder / "left_out.csv") as file:
        left_out = set(as_texts(read_table(file)["id"]))
    unreadable = [id_ for id_ in ids if id_ in left_out]
    check_sample(ids, [*predicted, *unreadable], path)
    return Asked(ids, unreadable)


def oof_table(stacked: Stacked) -> "pd.DataFrame":
    """Collect every step's out-of-fold prediction, a row per id."""
    import pandas as pd

    rows = stacked.features.rows
    table = pd.DataFrame({"id": rows.ids, "fold": rows.folds, "target": rows.target})
    for line in stacked.lines:
        table[line.name] = labels_of(line.prediction, rows.classes)
    shares = stacked.features.target_columns.shares(rows.X)
    if not stacked.objective.is_number:
        shares = stacked.final.prediction
    if shares is not None:
        for k, name in enumerate(rows.classes):
            table[probability_column(name)] = shares[:, k]
    return table


def constant_of(stacked: Stacked) -> float | str:
    """Give the mean target, ended as what was scored, or the most frequent class."""
    rows = stacked.features.rows
    if rows.target_range is not None:
        mean = np.array([rows.target.mean()])
        return float(
            end_prediction(mean, stacked.features.target_columns, stacked.objective)[0]
        )
    return rows.classes[int(np.bincount(rows.class_index).argmax())]


def stand_in(stacked: Stacked, unreadable: Sequence[str]) -> str:
    """Say what is predicted of pictures that cannot be read."""
    constant = constant_of(stacked)
    if not isinstance(constant, float):
        what = f"the most frequent class, {constant!r}"
    elif stacked.objective.is_of_ordered:
        what = f"the class nearest to the training targets' mean, {constant:g}"
    else:
        what = f"the mean of the training targets, {four_digits(constant)}"
    have, their = ("has", "its") if len(unreadable) == 1 else ("have", "their")
    return (
        f"{named(unreadable)} to predict {have} no picture that can be read (see"
        f" left_out.csv); {their} prediction is {what}"
    )


def write_predictions(
    path: Path,
    stacked: Stacked,
    prediction: Floats,
    asked: Asked,
    columns: tuple[str, str],
) -> None:
    """Write ``id,target`` in the order asked for; the constant where no picture is."""
    import pandas as pd

    rows = stacked.features.rows
    labels = labels_of(prediction, rows.classes)
    by_id = dict(zip(rows.common_ids, labels.tolist(), strict=True))
    by_id |= dict.fromkeys(asked.unreadable, constant_of(stacked))
    values = [by_id[id_] for id_ in asked.ids]
    write_csv(path, pd.DataFrame({columns[0]: asked.ids, columns[1]: values}))


def write_probabilities(
    path: Path, stacked: Stacked, prediction: Floats, asked: Asked, id_column: str
) -> None:
    """Write the class probabilities that predictions.csv is the top of.

    They are what log-loss and AUC have judged. Where no picture is, they are the
    shares of the classes.
    """
    import pandas as pd

    rows = stacked.features.rows
    by_id = dict(zip(rows.common_ids, prediction, strict=True))
    by_id |= dict.fromkeys(asked.unreadable, stacked.features.target().mean(axis=0))
    table = pd.DataFrame(
        [by_id[id_] for id_ in asked.ids],
        columns=[probability_column(name) for name in rows.classes],
    )
    table.insert(0, id_column, asked.ids)
    write_csv(path, table)


def summary(stacked: Stacked, findings: Findings) -> dict[str, Any]:
    """Collect all that was chosen and scored, as JSON values."""
    features, rows = stacked.features, stacked.features.rows
    shifts = features.alignment.shifts()
    return {
        "metric": stacked.objective.name,
        "cv": rows.cv,
        "fold_hash": rows.fold_hash,
        "rows": len(rows.ids),
        "columns": [column.name for column in rows.columns],
        "baseline": stacked.baseline,
        "alignment": {
            "method": features.alignment.method,
            "common_pictures": len(rows.common_ids),
            "tried": dict(features.tried),
            "shift_in_spreads": {
                column.name: np.round(shifts[:, place], 4).tolist()
                for place, column in enumerate(rows.columns)
            }
            if shifts.any()
            else {},
        },
        "fits": {
            name: member.fit.metadata
            for name, member in stacked.members.items()
            if any(member.fit.metadata)
        },
        "means": {name: dict(weights) for name, weights in stacked.means.items()},
        "winner": stacked.selected,
        "winners_by_fold": list(stacked.selected_by_fold),
        "steps": [
            {
                "name": step.name,
                "is_on": step.is_on,
                "rule": step.rule,
                "rules_by_fold": step.rules,
                "gain": asdict(step.gain),
                "gain_alone": asdict(step.alone),
            }
            for step in stacked.steps
        ],
        "scores": {
            line.name: {
                "nested": line.scores.pooled,
                "apparent": line.apparent,
                "mean_of_folds": line.scores.mean,
                "by_fold": list(line.scores.by_fold.values()),
                "interval": [line.interval.low, line.interval.high],
                "gain": None if line.gain is None else asdict(line.gain),
            }
            for line in stacked.lines
        },
        "optimism": stacked.optimism,
        "averaging": asdict(findings.averaging) if findings.averaging else None,
        "leave_one_task_out": {
            task: asdict(gain) for task, gain in findings.task_gains.items()
        },
        "shift": {
            "fold_nets": [asdict(one) for one in findings.shift],
            "all_net": [asdict(one) for one in findings.shift_of_all],
        },
        "control": asdict(findings.control) if findings.control else None,
        "notes": list(stacked.notes),
    }


def write_all(
    folder: Path,
    stacked: Stacked,
    findings: Findings,
    asked: Asked,
    metadata: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write everything but the report.

    Args:
        folder: Where.
        stacked: What came out.
        findings: What was found beside the scores.
        asked: The ids of predictions.csv.
        metadata: Those of ``data_prep.prepare``.
        settings: For the record of what was chosen.
    """
    stacked.predictor.save(folder)
    write_json(
        folder / "stacking.json",
        {"settings": dict(settings)}
        | summary(stacked, findings)
        | {"constant_for": asked.unreadable},
    )
    write_oof(folder, oof_table(stacked))
    if findings.column_gains is not None:
        write_csv(folder / "importance.csv", findings.column_gains)
    if asked.ids:
        names = (metadata["id_column"], metadata["target_column"])
        path = folder / "predictions.csv"
        prediction = findings.predicted["prediction"]
        write_predictions(path, stacked, prediction, asked, names)
        if not stacked.objective.is_number:
            path = folder / "probabilities.csv"
            write_probabilities(path, stacked, prediction, asked, names[0])

"""The files of the stage: models, predictions, importance, and all that was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.damage import intact
from data_prep.errors import UserError
from data_prep.runs import Finished, write_json
from stacking.findings import Findings
from stacking.guards import check_sample, named
from stacking.importance import gain_table
from stacking.stack import Stacked

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """The ids of predictions.csv.

    Attributes:
        ids: In the order of the sample, or as they are; none: no file is written.
        unreadable: Those of them whose picture cannot be read.
    """

    ids: list[str]
    unreadable: list[str]


def read_order(prepared: Finished, predicted: Sequence[str]) -> Asked:
    """Give the ids to predict in the order of the sample, or as they are.

    Args:
        prepared: The finished ``data_prep.prepare``, with sample.csv if there is one.
        predicted: Ids that can be predicted.

    Raises:
        UserError: The sample asks for other ids than those and the ones left out, or
            names none.
    """
    from data_prep.cells import as_ids, read_table

    path = prepared.folder / "sample.csv"
    if not path.exists() or not len(predicted):
        return Asked(list(predicted), [])
    with intact(path):
        sample = read_table(path)
    column = prepared.facts["id_column"]
    if column not in sample:
        raise UserError(f"{path}: there is no column {column!r}; it names the ids")
    ids = as_ids(sample[column])
    with intact(prepared.folder / "left_out.csv") as file:
        left_out = set(as_ids(read_table(file)["id"]))
    unreadable = [id_ for id_ in ids if id_ in left_out]
    check_sample(ids, [*predicted, *unreadable], path)
    return Asked(ids, unreadable)


def labels_of(prediction: Floats, stacked: Stacked) -> NDArray[Any]:
    """Give numbers as they are, and of probabilities the most probable class."""
    if prediction.ndim == 1:
        return prediction
    names = np.array(stacked.scales.rows.classes, dtype=object)
    chosen: NDArray[Any] = names[prediction.argmax(axis=1)]
    return chosen


def oof_table(stacked: Stacked) -> "pd.DataFrame":
    """Collect every step's out-of-fold prediction, a row per id."""
    import pandas as pd

    rows = stacked.scales.rows
    table = pd.DataFrame({"id": rows.ids, "fold": rows.folds, "target": rows.target})
    for line in stacked.lines:
        table[line.name] = labels_of(line.prediction, stacked)
    shares = stacked.scales.reading.shares(rows.X)
    if not stacked.loss.is_number:
        shares = stacked.final.prediction
    if shares is not None:
        for k, name in enumerate(rows.classes):
            table[f"probability_{name}"] = shares[:, k]
    return table


def constant_of(stacked: Stacked) -> float | str:
    """Give the mean target, or the most frequent class."""
    rows = stacked.scales.rows
    if rows.target_range is not None:
        return float(rows.target.mean())
    return rows.classes[int(np.bincount(rows.class_index).argmax())]


def stand_in(stacked: Stacked, unreadable: Sequence[str]) -> str:
    """Say what is predicted of pictures that cannot be read."""
    constant = constant_of(stacked)
    what = (
        f"the mean of the training targets, {constant:.4f}"
        if isinstance(constant, float)
        else f"the most frequent class, {constant!r}"
    )
    return (
        f"{named(unreadable)} of the sample have no picture that can be read (see"
        f" left_out.csv); their prediction is {what}"
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

    rows = stacked.scales.rows
    labels = labels_of(prediction, stacked)
    by_id = dict(zip(rows.common_ids, labels.tolist(), strict=True))
    by_id |= dict.fromkeys(asked.unreadable, constant_of(stacked))
    values = [by_id[id_] for id_ in asked.ids]
    _write_csv(path, pd.DataFrame({columns[0]: asked.ids, columns[1]: values}))


def summary(stacked: Stacked, findings: Findings) -> dict[str, Any]:
    """Collect all that was chosen and scored, as JSON values."""
    scales, rows = stacked.scales, stacked.scales.rows
    shifts = scales.alignment.shifts()
    return {
        "metric": stacked.loss.name,
        "cv": rows.cv,
        "fold_hash": rows.fold_hash,
        "rows": len(rows.ids),
        "columns": [column.name for column in rows.columns],
        "baseline": stacked.baseline,
        "alignment": {
            "method": scales.alignment.method,
            "common_pictures": len(rows.common_ids),
            "tried": dict(scales.tried),
            "shift_in_spreads": {
                column.name: np.round(shifts[:, place], 4).tolist()
                for place, column in enumerate(rows.columns)
            }
            if shifts.any()
            else {},
        },
        "fits": {
            name: member.fit.notes
            for name, member in stacked.members.items()
            if any(member.fit.notes)
        },
        "means": {name: dict(weights) for name, weights in stacked.means.items()},
        "winner": stacked.winner,
        "winners_by_fold": list(stacked.winners),
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
            task: asdict(gain) for task, gain in findings.without.items()
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
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write everything but the report.

    Args:
        folder: Where.
        stacked: What came out.
        findings: What was found beside the scores.
        asked: The ids of predictions.csv.
        facts: Those of ``data_prep.prepare``.
        settings: For the record of what was chosen.
    """
    stacked.predictor.save(folder)
    write_json(
        folder / "stacking.json",
        {"settings": dict(settings)}
        | summary(stacked, findings)
        | {"constant_for": asked.unreadable},
    )
    _write_csv(folder / "oof.csv", oof_table(stacked))
    gains = gain_table(stacked.scales, stacked.members)
    if gains is not None:
        _write_csv(folder / "importance.csv", gains)
    if asked.ids:
        names = (facts["id_column"], facts["target_column"])
        path = folder / "predictions.csv"
        prediction = findings.predicted["prediction"]
        write_predictions(path, stacked, prediction, asked, names)


def _write_csv(path: Path, table: "pd.DataFrame") -> None:
    table.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")

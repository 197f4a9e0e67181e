"""The files of the stage: models, predictions, importance, and all that was chosen."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats
from data_prep.errors import UserError, named
from data_prep.prepared import name_column, pages_of
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.damage import intact
from data_prep.run_folders.runs import Finished, write_json
from data_prep.tables.spelling import write_csv
from stacking.analysis.findings import Findings
from stacking.ensemble.deals import DealPredictors
from stacking.ensemble.final_step import end_prediction, labels_of
from stacking.ensemble.postprocess import Step
from stacking.ensemble.score_table import Line
from stacking.ensemble.stack import Stacked
from stacking.inputs.leak_guards import check_sample
from stacking.oof import probability_column, write_oof

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class RequestedIds:
    """The ids of predictions.csv.

    Attributes:
        ids: In the order of the sample, or of the test table, or as they are; none: no
            file is written.
        unreadable: Those of them whose picture cannot be read.
    """

    ids: Sequence[str]
    unreadable: Sequence[str] = ()


def read_order(prepared: Finished, predictable: Sequence[str]) -> RequestedIds:
    """Give the ids to predict in the order of the sample, or of the test table.

    Without both they are as they are.

    Args:
        prepared: The finished ``data_prep.prepare``, with sample.csv or test_ids.csv if
            there is one.
        predictable: Ids that can be predicted.

    Raises:
        UserError: The sample asks for other ids than those and the ones left out, or
            names none.
    """
    from data_prep.tables.cells import as_texts, read_table

    folder = prepared.folder
    sample_path, test_path = folder / "sample.csv", folder / "test_ids.csv"
    if not len(predictable) or not (sample_path.exists() or test_path.exists()):
        return RequestedIds(ids=list(predictable))
    if not sample_path.exists():
        with intact(test_path), test_path.open(encoding="utf-8", newline="") as file:
            ids = [row["id"] for row in csv.DictReader(file)]
        readable = set(predictable)
        unreadable = [id_ for id_ in ids if id_ not in readable]
        return RequestedIds(ids=ids, unreadable=unreadable)
    with intact(sample_path):
        sample = read_table(sample_path)
    column = name_column(prepared.metadata)
    if column not in sample:
        raise UserError(
            f"{sample_path}: there is no column {column!r}; it names the ids"
        )
    ids = as_texts(sample[column])
    has_pages = pages_of(prepared.record) == "all"
    if has_pages or prepared.metadata.get("object_column"):  # a picture may lack
        left_out = set(ids) - set(predictable)
    else:
        with intact(folder / "left_out.csv") as file:
            left_out = set(as_texts(read_table(file)["id"]))
    unreadable = [id_ for id_ in ids if id_ in left_out]
    check_sample(ids, [*predictable, *unreadable], sample_path)
    return RequestedIds(ids=ids, unreadable=unreadable)


def oof_table(stacked: Stacked) -> "pd.DataFrame":
    """Collect every step's out-of-fold prediction, a row per id."""
    import pandas as pd

    data = stacked.data
    table = pd.DataFrame(
        {"id": data.info.ids, "fold": data.rows.folds, "target": data.info.target}
    )
    for line in stacked.lines:
        table[line.name] = labels_of(line.prediction, data.classes)
    if stacked.deals:
        table["spread_deals"] = stacked.spread_deals
    proba = stacked.net_proba
    if not stacked.objective.is_number:
        proba = stacked.final.prediction
    if proba is not None:
        for k, name in enumerate(data.classes):
            table[probability_column(name)] = proba[:, k]
    return table


def constant_prediction(stacked: Stacked) -> float | str:
    """Give the best constant, ended as what was scored, or the most frequent class."""
    data, objective = stacked.data, stacked.objective
    if data.target_range is None:
        return data.classes[int(np.bincount(data.info.class_index).argmax())]
    best = objective.best_constant(data.rows.y)[None]
    ended = end_prediction(best, stacked.features.target_columns, objective)
    return float(ended[0])


def describe_unreadable(stacked: Stacked, unreadable: Sequence[str]) -> str:
    """Say what is predicted of pictures that cannot be read."""
    constant = constant_prediction(stacked)
    if not isinstance(constant, float):
        prediction = f"the most frequent class, {constant!r}"
    elif stacked.objective.counts_right:
        prediction = f"the most frequent class, {constant:g}"
    elif stacked.objective.is_of_ordered:
        prediction = f"the class nearest to the training targets' mean, {constant:g}"
    else:
        prediction = f"the mean of the training targets, {four_digits(constant)}"
    have, their = ("has", "its") if len(unreadable) == 1 else ("have", "their")
    return (
        f"{named(unreadable)} to predict {have} no picture that can be read (see"
        f" left_out.csv); {their} prediction is {prediction}"
    )


def write_predictions(
    folder: Path,
    stacked: Stacked,
    y_pred: Floats,
    requested: RequestedIds,
    metadata: Mapping[str, Any],
) -> None:
    """Write predictions.csv in the order requested; the constant where no picture is.

    Of classes also probabilities.csv, which log-loss and AUC have judged; where no
    picture is, they are the shares of the classes.
    """
    import pandas as pd

    def write(file: str, of_row: Iterable[Any], columns: list[str], gap: Any) -> None:
        pairs = zip(data.common.ids, of_row, strict=True)
        by_id = dict(compress(pairs, data.common.is_predicted))
        by_id |= dict.fromkeys(requested.unreadable, gap)
        table = pd.DataFrame([by_id[id_] for id_ in requested.ids], columns=columns)
        table.insert(0, name_column(metadata), requested.ids)
        write_csv(folder / file, table)

    data = stacked.data
    labels, columns = labels_of(y_pred, data.classes), [metadata["target_column"]]
    gap = constant_prediction(stacked)
    write("predictions.csv", labels.tolist(), columns, gap)
    if y_pred.ndim == 2:
        columns = [probability_column(name) for name in data.classes]
        write("probabilities.csv", y_pred, columns, data.rows.y.mean(axis=0))


def summary(stacked: Stacked, findings: Findings) -> dict[str, Any]:
    """Collect all that was chosen and scored, as JSON values."""
    features, data = stacked.features, stacked.data
    shifts = features.alignment.shifts()
    deals = [_described_deal(deal) for deal in stacked.deals]
    return {
        "metric": stacked.objective.name,
        "cv": data.info.cv,
        "fold_hash": data.info.fold_hash,
        "rows": len(data.info.ids),
        "columns": [column.name for column in data.columns],
        "baseline": stacked.baseline,
        "alignment": {
            "method": features.alignment.method,
            "common_pictures": len(data.common.ids),
            "by_held_out": features.is_by_held_out,
            "tried": dict(features.tried),
            "shift_in_spreads": {
                column.name: np.round(shifts[:, col_idx], 4).tolist()
                for col_idx, column in enumerate(data.columns)
            }
            if shifts.any()
            else {},
        },
        "fits": {
            name: member.fit.metadata
            for name, member in stacked.members.items()
            if any(member.fit.metadata)
        },
        "means": dict(stacked.weights_by_mean),
        "selected": stacked.selected,
        "selected_by_fold": list(stacked.selected_by_fold),
        "steps": [_described_step(step) for step in stacked.steps],
        "scores": {line.name: _described_line(line) for line in stacked.lines},
        "optimism": stacked.optimism,
        "averaging": findings.averaging and asdict(findings.averaging),
        "leave_one_task_out": {
            task: asdict(gain) for task, gain in findings.task_gains.items()
        },
        "shift": {
            "fold_nets": [asdict(shift) for shift in findings.shift],
            "all_net": [asdict(shift) for shift in findings.shift_of_all],
        },
        "control": findings.control and asdict(findings.control),
        "notes": list(data.info.messages),
        **({"deals": deals} if deals else {}),
    }


def _described_deal(stacked: Stacked) -> dict[str, Any]:
    """Collect what one of several deals chose and scored."""
    return {
        "alignment": stacked.features.alignment.method,
        "means": dict(stacked.weights_by_mean),
        "selected": stacked.selected,
        "selected_by_fold": list(stacked.selected_by_fold),
        "steps": [_described_step(step) for step in stacked.steps],
        "scores": {line.name: _described_line(line) for line in stacked.lines},
    }


def _described_step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "column": step.column,
        "is_on": step.is_on,
        "rule": step.rule,
        "rules_by_fold": step.rules,
        "gain": asdict(step.gain),
        "gain_alone": asdict(step.alone),
    }


def _described_line(line: Line) -> dict[str, Any]:
    return {
        "nested": line.scores.pooled,
        "apparent": line.apparent,
        "mean_of_folds": line.scores.mean,
        "by_fold": list(line.scores.by_fold.values()),
        "interval": [line.interval.low, line.interval.high],
        "gain": line.gain and asdict(line.gain),
    }


def write_all(
    folder: Path,
    stacked: Stacked,
    findings: Findings,
    requested: RequestedIds,
    *,
    metadata: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write everything but the report.

    Args:
        folder: Folder of the stage.
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        requested: The ids of predictions.csv.
        metadata: Of ``data_prep.prepare``.
        settings: Of the stage, for the record of what was chosen.
    """
    DealPredictors.of(stacked).save(folder)
    chosen = {"settings": dict(settings), **summary(stacked, findings)}
    chosen["constant_for"] = list(requested.unreadable)
    write_json(folder / "stacking.json", chosen)
    write_oof(folder, oof_table(stacked), name_column(metadata))
    if findings.column_gains is not None:
        write_csv(folder / "importance.csv", findings.column_gains)
    if not requested.ids:
        return
    prediction = findings.predicted["prediction"]
    write_predictions(folder, stacked, prediction, requested, metadata=metadata)

"""What is asked of which net about which picture, and the maps that answer it.

Shapes: N rows of the prepared table, n of them, F outputs of a task, L columns of its
labels, H side of the pictures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError
from data_prep.folds import ALL, fold_columns
from data_prep.prepared import Prepared
from data_prep.reporting.numerals import four_digits
from data_prep.tasks import Task
from pretext.data.pictures import Pictures
from pretext.device import pick_device
from transfer.networks.columns import columns_of
from transfer.results.gradcam import LOWERS, RAISES, ExplainedTask, maps_of, overlay
from transfer.results.trained_nets import TrainedNets
from transfer.training.learner import predict_rows

SEEN = "\nby a net that has seen its label"
CAM_BLOCK = 8  # pictures of a forward whose gradients are kept


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A picture with the map of one output.

    Attributes:
        id_: Of the picture.
        pixels: (H, H, 3).
        overlay: (H, H, 3) the picture in grey, the map over it.
        caption: Label and prediction, and what was asked.
    """

    id_: str
    pixels: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    caption: str


def worst_misses(trained: TrainedNets, prepared: Prepared, task: Task, n: int) -> Ints:
    """Find the (n,) labelled rows that the nets that never saw them miss by most.

    Raises:
        UserError: No net held out a labelled row.
    """
    folds = _folds_of(trained, prepared)
    idx = np.flatnonzero(task.has_label & _is_held_out(folds, prepared))
    if not len(idx):
        raise UserError(
            f"no net of {trained.finished.folder} held out a picture with a label of"
            f" {task.name!r}; give --ids"
        )
    device = pick_device()
    pictures = _pictures(trained, prepared, device)
    y_pred = np.empty((len(idx), len(task.outputs)))
    for fold in np.unique(folds[idx]):
        (record,) = trained.of_fold(fold).nets
        net = trained.load(record)[0].to(device)
        is_of_fold = folds[idx] == fold
        outputs = predict_rows(net, pictures, idx[is_of_fold])
        y_pred[is_of_fold] = outputs[task.name]
    worst: Ints = idx[np.argsort(-_misses(task, idx, y_pred), kind="stable")[:n]]
    return worst


def explain(
    trained: TrainedNets, prepared: Prepared, task: Task, rows: Ints
) -> list[Explanation]:
    """Explain (n,) rows, in their order."""
    folds = _folds_of(trained, prepared)
    pictures = _pictures(trained, prepared, torch.device("cpu"))
    pixels = pictures.pixels
    ids = prepared.table["id"].to_numpy()
    is_unseen = _is_held_out(folds, prepared) | ~task.has_label
    answers: dict[int, Explanation] = {}
    for fold in np.unique(folds[rows]):
        of_fold = rows[folds[rows] == fold]
        (record,) = trained.of_fold(fold).nets
        net, config = trained.load(record)
        (described,) = (t for t in config["tasks"] if t["name"] == task.name)
        explained = ExplainedTask(net, described)
        for start in range(0, len(of_fold), CAM_BLOCK):
            block = of_fold[start : start + CAM_BLOCK]
            y_pred = predict_rows(net, pictures, block)[task.name].astype(np.float64)
            output_idx = _output_idx(task, y_pred)
            signs = _signs(task, block, y_pred)
            maps = maps_of(
                explained,
                pictures.take(block),
                output_idx,
                signs=signs,
                columns=pictures.take_columns(block),
            )
            for k, row in enumerate(block):
                answers[int(row)] = Explanation(
                    id_=str(ids[row]),
                    pixels=pixels[row],
                    overlay=overlay(pixels[row], maps[k]),
                    caption=_caption(
                        task, int(row), y_pred[k], output_idx[k], sign=signs[k]
                    )
                    + ("" if is_unseen[row] else SEEN),
                )
    return [answers[int(row)] for row in rows]


def _folds_of(trained: TrainedNets, prepared: Prepared) -> NDArray[np.str_]:
    """Name for each of N rows the fold whose net is asked."""
    usual = next((fold for fold in trained.folds if fold != ALL), ALL)
    names = np.full(len(prepared.table), usual)
    for column in fold_columns(prepared.table)[::-1]:  # of several the first deal
        folds = prepared.table[column].astype(str).to_numpy()
        names = np.where(np.isin(folds, trained.folds), folds, names)
    return names


def _is_held_out(folds: NDArray[np.str_], prepared: Prepared) -> Bools:
    """Tell of N rows whether the net that is asked held them out."""
    table = prepared.table
    of_deals = table[fold_columns(table)].astype(str).to_numpy()
    is_held_out: Bools = (of_deals == folds[:, None]).any(axis=1)
    return is_held_out


def _pictures(
    trained: TrainedNets, prepared: Prepared, device: torch.device
) -> Pictures:
    """Open the pictures, with what the nets are given of the user's table."""
    columns = columns_of(trained.finished)
    values = columns.apply(prepared.table) if columns else None
    return Pictures.open(prepared.folder, device, values)


def _misses(task: Task, rows: Ints, y_pred: Floats) -> Floats:
    """Give (n,) distances between labels and outputs: of the number, else of them all.

    Args:
        task: The task.
        rows: (n,) rows with a label.
        y_pred: (n, F) outputs for them.
    """
    if "" in task.outputs:
        number = y_pred[:, task.outputs.index("")]
        distances: Floats = np.abs(number - task.values[rows, 0])
        return distances
    y_true = task.task_type.probe_target(task.values[rows], y_pred.shape[1])
    sums: Floats = np.abs(y_pred - y_true).sum(axis=1)
    return sums


def _output_idx(task: Task, y_pred: Floats) -> Ints:
    """Choose for each picture the output that is explained: (n,) of F.

    It is the number where there is one, else the most probable class or tag.
    """
    if "" in task.outputs:
        return np.full(len(y_pred), task.outputs.index(""))
    likeliest: Ints = y_pred.argmax(axis=1)
    return likeliest


def _signs(task: Task, rows: Ints, y_pred: Floats) -> Floats:
    """Ask of a number that is too low what lowers it, of any other what raises it."""
    if "" not in task.outputs:
        return np.full(len(rows), RAISES)
    is_low = y_pred[:, task.outputs.index("")] < task.values[rows, 0]
    return np.where(is_low & task.has_label[rows], LOWERS, RAISES)


def _caption(
    task: Task, row: int, y_pred: Floats, output_idx: int, *, sign: float
) -> str:
    """Say label and prediction, and what the map shows."""
    has_label = bool(task.has_label[row])
    if "" in task.outputs:
        label = f"{task.values[row, 0]:.7g} → " if has_label else ""
        question = "what raises it" if sign == RAISES else "what lowers it"
        return f"{label}{four_digits(float(y_pred[output_idx]))}\n{question}"
    name = task.classes[output_idx]
    share = f"{name} ({y_pred[output_idx]:.0%})"
    if task.values.shape[1] == 1 and has_label:
        return f"{task.classes[int(task.values[row, 0])]} → {share}"
    return share

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
from data_prep.folds import ALL
from data_prep.prepared import Prepared
from data_prep.reporting.numerals import four_digits
from data_prep.tasks import Task
from pretext.data.pictures import Pictures
from pretext.device import pick_device
from transfer.networks.columns import columns_of
from transfer.networks.task_net import TaskNet
from transfer.results.gradcam import LOWERS, RAISES, ExplainedTask, maps_of, overlay
from transfer.results.trained_nets import TrainedNets
from transfer.training.learner import BLOCK, in_unit

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
    pictures = _pictures(trained, prepared)
    y_pred = np.empty((len(idx), len(task.outputs)))
    for fold in np.unique(folds[idx]):
        (record,) = trained.of_fold(fold).nets
        net = trained.load(record)[0].to(pick_device())
        is_of_fold = folds[idx] == fold
        y_pred[is_of_fold] = _predict(net, task, pictures, idx[is_of_fold])
    worst: Ints = idx[np.argsort(-_misses(task, idx, y_pred), kind="stable")[:n]]
    return worst


def explain(
    trained: TrainedNets, prepared: Prepared, task: Task, rows: Ints
) -> list[Explanation]:
    """Explain (n,) rows, in their order."""
    folds, pictures = _folds_of(trained, prepared), _pictures(trained, prepared)
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
            y_pred = _predict(net, task, pictures, block)
            output_idx = _output_idx(task, y_pred)
            signs = _signs(task, block, y_pred)
            images = torch.from_numpy(pixels[block]).permute(0, 3, 1, 2)
            columns = pictures.take_columns(block)
            maps = maps_of(explained, images, output_idx, signs=signs, columns=columns)
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
    folds = prepared.table["fold"].astype(str).to_numpy()
    usual = next((fold for fold in trained.folds if fold != ALL), ALL)
    names: NDArray[np.str_] = np.where(np.isin(folds, trained.folds), folds, usual)
    return names


def _is_held_out(folds: NDArray[np.str_], prepared: Prepared) -> Bools:
    """Tell of N rows whether the net that is asked held them out."""
    is_held_out: Bools = prepared.table["fold"].astype(str).to_numpy() == folds
    return is_held_out


def _pictures(trained: TrainedNets, prepared: Prepared) -> Pictures:
    """Open the pictures, with what the nets are given of the user's table."""
    columns = columns_of(trained.finished)
    values = columns.apply(prepared.table) if columns else None
    return Pictures.open(prepared.folder, torch.device("cpu"), values)


def _predict(net: TaskNet, task: Task, pictures: Pictures, rows: Ints) -> Floats:
    """Give the (n, F) outputs of a net for (n,) rows, in the unit of the labels."""
    device = next(net.parameters()).device
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            columns = pictures.take_columns(block)
            outputs = net.predict(
                pictures.take(block).to(device),
                None if columns is None else columns.to(device),
            )[task.name]
            blocks.append(in_unit(net, task.name, outputs.float().cpu().numpy()))
    y_pred: Floats = np.concatenate(blocks).astype(np.float64)
    return y_pred


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

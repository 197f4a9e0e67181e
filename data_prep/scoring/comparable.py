"""Targets and predictions made comparable, or refused before they are scored.

Numbers are compared with numbers, names of classes with names of classes, and class
numbers with the probabilities of the classes.

Shapes: N rows, K classes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.arrays import Ints
from data_prep.errors import UserError

SUM_TOLERANCE = 1e-3  # of the probabilities of a row

Compared = Literal["numbers", "classes", "probabilities"]
Rows = NDArray[Any]


def comparable(
    y_true: ArrayLike, y_pred: ArrayLike, compared: Compared
) -> tuple[Rows, Rows]:
    """Make arrays of targets and predictions, and check that they can be compared.

    Args:
        y_true: (N,).
        y_pred: (N,), or (N, K) probabilities.
        compared: What the metric compares.

    Returns:
        ``y_true`` (N,) and ``y_pred`` (N,) or (N, K): numbers as float64, the class
        numbers beside probabilities as int64, names of classes as text.

    Raises:
        UserError: There are no rows, the lengths differ, values are missing, or they
            are not what is compared: numbers, classes or probabilities.
    """
    y_true = _rows(y_true, "target", 1)
    y_pred = _rows(y_pred, "prediction", 2 if compared == "probabilities" else 1)
    if len(y_true) != len(y_pred):
        raise UserError(f"{len(y_true)} targets for {len(y_pred)} predictions")
    if compared == "probabilities":
        _check_probabilities(y_pred)
        return _class_numbers(y_true, y_pred.shape[1]), y_pred
    is_number = [array.dtype.kind == "f" for array in (y_true, y_pred)]
    if compared == "numbers" and not all(is_number):
        name, array = ("prediction", y_pred) if is_number[0] else ("target", y_true)
        raise UserError(
            f"{name} holds texts such as {str(array[0])!r}, and numbers are compared;"
            " choose a metric of classes, or give numbers"
        )
    if is_number[0] != is_number[1]:
        contents = ["numbers" if is_float else "texts" for is_float in is_number]
        raise UserError(
            f"target holds {contents[0]} and prediction {contents[1]}; name the classes"
            " alike"
        )
    return y_true, y_pred


def _rows(values: ArrayLike, name: str, n_dimensions: int) -> Rows:
    """Make an array of finite float64 numbers, or of texts."""
    array = np.asarray(values)
    if array.ndim != n_dimensions or array.size == 0:
        expected = "value" if n_dimensions == 1 else "probability for each class"
        raise UserError(f"{name} of shape {array.shape}; give one {expected} per row")
    n_missing = 0
    if array.dtype.kind == "O":
        n_missing = sum(value is None or value != value for value in array.flat)
        array = array if n_missing else np.array(array.tolist())
    if array.dtype.kind in "fiub":
        array = array.astype(np.float64)
        n_missing = int((~np.isfinite(array)).sum())
    if n_missing:
        raise UserError(
            f"{n_missing} of {array.size} values of {name} are missing or not finite;"
            " leave those rows out"
        )
    return array


def _check_probabilities(proba: Rows) -> None:
    """Refuse (N, K) rows that are no distribution, and show the first of them."""
    if proba.dtype.kind != "f" or proba.shape[1] < 2:
        raise UserError(
            f"prediction of shape {proba.shape} and type {proba.dtype}; give a column"
            " of numbers for each class, for two classes both"
        )
    off_one = np.abs(proba.sum(axis=1) - 1)
    wrong_idx = np.flatnonzero((proba < 0).any(axis=1) | (off_one > SUM_TOLERANCE))
    if len(wrong_idx):
        first = wrong_idx[0]
        raise UserError(
            f"{len(wrong_idx)} of {len(proba)} rows of prediction are no probabilities;"
            f" the first, row {first}, is {proba[first].round(4).tolist()}; give shares"
            " from 0 to 1 that sum to 1"
        )


def _class_numbers(y_true: Rows, n_classes: int) -> Ints:
    strange = y_true[~np.isin(y_true, np.arange(n_classes, dtype=np.float64))]
    if len(strange):
        raise UserError(
            f"target {strange[0]} is the number of none of the {n_classes} columns of"
            f" prediction; number the classes 0 to {n_classes - 1}"
        )
    return y_true.astype(np.int64)

"""Targets and predictions made comparable, or refused before they are scored.

Numbers are compared with numbers, names of classes with names of classes, and class
numbers with the probabilities of the classes.

Shapes: N rows, K classes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.arrays import Floats, Ints
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
    y_true = _values(y_true, "target", n_dimensions=1)
    n_dimensions = 2 if compared == "probabilities" else 1
    y_pred = _values(y_pred, "prediction", n_dimensions)
    _check_finite(y_true, "target")
    if compared != "probabilities":
        _check_finite(y_pred, "prediction")
    if len(y_true) != len(y_pred):
        raise UserError(f"{len(y_true)} targets for {len(y_pred)} predictions")
    if compared == "probabilities":
        _check_probabilities(y_pred)
        return _class_numbers(y_true, y_pred.shape[1]), y_pred
    if compared == "numbers":
        _check_numbers(y_true, "target")
        _check_numbers(y_pred, "prediction")
    elif compared == "classes" and y_true.dtype.kind != y_pred.dtype.kind:
        raise UserError(
            f"target holds {_content(y_true)} and prediction {_content(y_pred)}; name"
            " the classes alike"
        )
    return y_true, y_pred


def _values(rows: ArrayLike, name: str, n_dimensions: int) -> Rows:
    array = np.asarray(rows)
    if array.ndim != n_dimensions or array.size == 0:
        expected = "value" if n_dimensions == 1 else "probability for each class"
        raise UserError(f"{name} of shape {array.shape}; give one {expected} per row")
    if array.dtype.kind == "O":
        n_missing = sum(value is None or value != value for value in array.flat)
        if n_missing:
            raise _missing(n_missing, array.size, name)
        array = np.array(array.tolist())
    return array.astype(np.float64) if array.dtype.kind in "fiub" else array


def _check_finite(array: Rows, name: str) -> None:
    is_number = array.dtype.kind == "f"
    if is_number and (n_missing := int((~np.isfinite(array)).sum())):
        raise _missing(n_missing, array.size, name)


def _missing(n_missing: int, n: int, name: str) -> UserError:
    return UserError(
        f"{n_missing} of {n} values of {name} are missing or not finite; leave those"
        " rows out"
    )


def _content(array: Rows) -> str:
    return "numbers" if array.dtype.kind == "f" else "texts"


def _check_numbers(array: Rows, name: str) -> None:
    if array.dtype.kind != "f":
        raise UserError(
            f"{name} holds texts such as {str(array.flat[0])!r}, and numbers are"
            " compared; choose a metric of classes, or give numbers"
        )


def _check_probabilities(proba: Rows) -> None:
    """Refuse (N, K) rows that are no distribution, and name the worst of them."""
    _check_numbers(proba, "prediction")
    if proba.shape[1] < 2:
        raise UserError(
            f"prediction of shape {proba.shape}; give a column for each class, for two"
            " classes both"
        )
    # How wrong a row is: not a number, then below 0, then another sum than 1.
    is_missing = np.asarray(~np.isfinite(proba).all(axis=1))
    filled = np.where(is_missing[:, None], 0, proba)
    sums = filled.sum(axis=1)
    below_zero: Floats = np.maximum(-filled.min(axis=1), 0)
    off_one = np.abs(sums - 1)
    is_wrong = is_missing | (below_zero > 0) | (off_one > SUM_TOLERANCE)
    if not is_wrong.any():
        return
    worst = int(np.lexsort((off_one, below_zero, is_missing))[-1])
    if is_missing[worst]:
        fault = "holds values that are missing or not finite"
    elif below_zero[worst]:
        fault = f"holds {proba[worst].min():.4g}"
    else:
        fault = f"sums to {sums[worst]:.4g}"
    raise UserError(
        f"{int(is_wrong.sum())} of {len(proba)} rows of prediction are no"
        f" probabilities; the worst, row {worst}, {fault}; give shares from 0 to 1"
        " that sum to 1"
    )


def _class_numbers(y_true: Rows, n_classes: int) -> Ints:
    strange = y_true[~np.isin(y_true, np.arange(n_classes, dtype=np.float64))]
    if len(strange):
        raise UserError(
            f"target {strange[0]} is the number of none of the {n_classes} columns of"
            f" prediction; number the classes 0 to {n_classes - 1}"
        )
    return y_true.astype(np.int64)

"""Targets and predictions made comparable, or refused before they are scored.

Numbers are compared with numbers, names of classes with names of classes, and class
numbers with the probabilities of the classes.

Shapes: N rows, K classes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import UserError

SUM_TOLERANCE = 1e-3  # of the probabilities of a row

Compared = Literal["numbers", "classes", "probabilities"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[Any]
_DIMENSIONS: dict[Compared | None, tuple[int, ...]] = {
    "numbers": (1,),
    "classes": (1,),
    "probabilities": (2,),
    None: (1, 2),
}


def comparable(
    target: ArrayLike, prediction: ArrayLike, of: Compared | None
) -> tuple[Rows, Rows]:
    """Make arrays of both, numbers as float64, and check that they can be compared.

    Args:
        target: (N,).
        prediction: (N,), or (N, K) probabilities.
        of: What is compared; None: unknown, so only lengths and gaps are checked.

    Raises:
        UserError: There are no rows, the lengths differ, values are missing, or they
            are not what is compared: numbers, classes or probabilities.
    """
    wanted = _values(target, "target", (1,))
    said = _values(prediction, "prediction", _DIMENSIONS[of])
    _check_finite(wanted, "target")
    if of != "probabilities":
        _check_finite(said, "prediction")
    if len(wanted) != len(said):
        raise UserError(f"{len(wanted)} targets for {len(said)} predictions")
    if of == "probabilities":
        _check_probabilities(said)
        return _class_numbers(wanted, said.shape[1]), said
    if of == "numbers":
        _check_numbers(wanted, "target")
        _check_numbers(said, "prediction")
    elif of == "classes" and wanted.dtype.kind != said.dtype.kind:
        raise UserError(
            f"target holds {_kind(wanted)} and prediction {_kind(said)}; name the"
            " classes alike"
        )
    return wanted, said


def _values(rows: ArrayLike, name: str, dimensions: tuple[int, ...]) -> Rows:
    array = np.asarray(rows)
    if array.ndim not in dimensions or array.size == 0:
        wanted = "value" if 1 in dimensions else "probability for each class"
        raise UserError(f"{name} of shape {array.shape}; give one {wanted} per row")
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


def _kind(array: Rows) -> str:
    return "numbers" if array.dtype.kind == "f" else "texts"


def _check_numbers(array: Rows, name: str) -> None:
    if array.dtype.kind != "f":
        raise UserError(
            f"{name} holds texts such as {str(array.flat[0])!r}, and numbers are"
            " compared; choose a metric of classes, or give numbers"
        )


def _check_probabilities(said: Rows) -> None:
    _check_numbers(said, "prediction")
    if said.shape[1] < 2:
        raise UserError(
            f"prediction of shape {said.shape}; give a column for each class, for two"
            " classes both"
        )
    # How wrong a row is: not a number, then below 0, then another sum than 1.
    is_lost = np.asarray(~np.isfinite(said).all(axis=1))
    shares = np.where(is_lost[:, None], 0, said)
    sums = shares.sum(axis=1)
    below: Floats = np.maximum(-shares.min(axis=1), 0)
    off = np.abs(sums - 1)
    is_wrong = is_lost | (below > 0) | (off > SUM_TOLERANCE)
    if not is_wrong.any():
        return
    worst = int(np.lexsort((off, below, is_lost))[-1])
    if is_lost[worst]:
        fault = "holds values that are missing or not finite"
    elif below[worst]:
        fault = f"holds {said[worst].min():.4g}"
    else:
        fault = f"sums to {sums[worst]:.4g}"
    raise UserError(
        f"{int(is_wrong.sum())} of {len(said)} rows of prediction are no probabilities;"
        f" the worst, row {worst}, {fault}; give shares from 0 to 1 that sum to 1"
    )


def _class_numbers(target: Rows, n_classes: int) -> Ints:
    strange = target[~np.isin(target, np.arange(n_classes, dtype=np.float64))]
    if len(strange):
        raise UserError(
            f"target {strange[0]} is the number of none of the {n_classes} columns of"
            f" prediction; number the classes 0 to {n_classes - 1}"
        )
    return target.astype(np.int64)

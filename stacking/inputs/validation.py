"""What the estimators are given: checked, and brought to numbers.

Shapes: N rows, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError


def check_table(model: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """Check a table as scikit-learn does, and say in one line what is wrong with it.

    Args:
        model: The estimator, which keeps the names and the number of columns.
        X: (N, C) numbers.
        *y: (N,) targets, when it learns.
        **options: Further arguments of ``validate_data``.

    Returns:
        X as float64, and y if it was given.

    Raises:
        UserError: It is no table of finite numbers, or has other columns than when the
            model learned.
    """
    try:
        return validate_data(model, X, *y, dtype=np.float64, **options)
    except ValueError as error:
        text = " ".join(str(error).split())
    if text.startswith("The feature names"):
        text += " Give X[list(model.feature_names_in_)]."
    elif text.startswith(("Input X contains", "could not convert")):
        cells = np.asarray(X, dtype=object)
        names = list(getattr(X, "columns", range(cells.shape[1])))
        for row, column in np.argwhere(~_is_finite(cells))[:1]:
            text = (
                f"X: {cells[row, column]!r} in row {row}, column {names[column]!r} is"
                " no finite number; fill it in, or leave the row or the column out"
            )
    raise UserError(text)


def _is_finite(cells: NDArray[Any]) -> Bools:
    import pandas as pd

    from data_prep.tables.cells import as_numbers

    columns = (pd.Series(column, dtype=object) for column in cells.T)
    return np.isfinite([as_numbers(column) for column in columns]).T


def check_target(y: ArrayLike) -> None:
    """Refuse targets that are missing; scikit-learn checks all else.

    Raises:
        UserError: Some are missing.
    """
    import pandas as pd

    is_present = np.asarray(pd.notna(np.asarray(y)), dtype=np.bool_)
    if is_present.ndim == 1 and not is_present.all():
        raise UserError(
            f"y: {(~is_present).sum()} of {len(is_present)} targets are missing, the"
            f" first in row {is_present.argmin()}; leave those rows out"
        )


def classes_of(y: NDArray[Any]) -> NDArray[Any]:
    """Give the (K,) classes of (N,) targets, in their order.

    Raises:
        UserError: They have none, because their kinds differ.
    """
    try:
        return np.unique(y)
    except TypeError:
        types = ", ".join(sorted({type(value).__name__ for value in y.tolist()}))
        raise UserError(
            f"y: classes of several kinds ({types}) have no common order; make all of"
            " them texts"
        ) from None


def cv_groups_of(groups: ArrayLike, n: int) -> Ints:
    """Number the groups of n rows; a row without a group is one of its own.

    Args:
        groups: (n,) names of any kind, in their order where they have one; None, NaN,
            NaT or an empty text: the row has none.
        n: How many there must be.

    Raises:
        UserError: There are others, or some are no names.

    Example:
        >>> cv_groups_of(["b", None, "a", "b", None], 5)
        array([1, 2, 0, 1, 3])
    """
    import pandas as pd

    if np.ndim(groups) != 1 or len(groups) != n:  # type: ignore[arg-type]
        raise UserError(
            f"groups: an array of shape {np.shape(groups)} for {n} rows; give one for"
            " each row"
        )
    values = pd.Series(groups)  # as an array, None and NaN could become texts
    try:
        codes, names = pd.factorize(values.where(values != ""))
    except TypeError:
        raise UserError("groups: some of them are lists; give names") from None
    listed = names.tolist()
    try:
        order = sorted(range(len(listed)), key=listed.__getitem__)
    except TypeError:  # of kinds without a common order: as they come
        order = list(range(len(listed)))
    is_present = codes >= 0
    numbers = np.empty(n, dtype=np.int64)
    numbers[is_present] = np.argsort(order)[codes[is_present]]
    numbers[~is_present] = len(listed) + np.arange((~is_present).sum())
    return numbers


def folds_of(folds: ArrayLike, cv_groups: Ints) -> Ints:
    """Check the (N,) folds of the rows.

    Args:
        folds: One for each row, from 0.
        cv_groups: (N,) what no fold may tear.

    Raises:
        UserError: They are not numbered so, or tear a group.
    """
    fold_of_row = np.asarray(folds, dtype=np.int64)
    numbers = sorted(set(fold_of_row.tolist()))
    if len(fold_of_row) != len(cv_groups) or numbers != list(range(len(numbers))):
        raise UserError(
            f"folds: {len(fold_of_row)} for {len(cv_groups)} rows, numbered"
            f" {numbers[:5]}; number them from 0 without a gap, one for each row"
        )
    pairs = np.unique(np.stack([cv_groups, fold_of_row]), axis=1)
    n_torn = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    if n_torn:
        raise UserError(
            f"folds: the rows of {n_torn} groups lie in several folds; give those of a"
            " group one fold, or leave folds out"
        )
    return fold_of_row


def weights_of(sample_weight: ArrayLike, n: int) -> Floats:
    """Check the sample weights of n rows, and give them as (n,) floats.

    Raises:
        UserError: They are not n finite numbers from 0, not all 0.
    """
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,):
        raise UserError(
            f"sample_weight: an array of shape {weights.shape} for {n} rows; give one"
            " for each row"
        )
    is_weight = np.isfinite(weights) & (weights >= 0)
    if not is_weight.all() or not weights.any():
        row = int(is_weight.argmin())
        raise UserError(
            f"sample_weight: {weights[row]} in row {row}; give numbers from 0, not all"
            " of them 0"
        )
    return weights

"""Folds of the estimators from all that scikit-learn calls ``cv``.

Shapes: N rows.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.folds import assign_folds, strata
from data_prep.schemes import count_deals, parse_scheme


def make_folds(
    cv: Any, y: NDArray[Any], cv_groups: Ints | None, *, is_number: bool, seed: int
) -> Ints:
    """Give the (N,) folds of the rows, from 0.

    Args:
        cv: The name of a scheme; a number of folds, which keep groups together where
            there are some, and the shares of classes; or whatever scikit-learn's
            ``check_cv`` takes: a splitter, such as ``PredefinedSplit``, or pairs of
            training and test rows.
        y: (N,) targets.
        cv_groups: (N,) what no fold may tear; None: each row for itself.
        is_number: The targets are numbers, and not classes.
        seed: Of the schemes.

    Raises:
        UserError: There is no such scheme, or some rows are not in exactly one fold.
    """
    groups = np.arange(len(y)) if cv_groups is None else cv_groups
    if isinstance(cv, int) and not isinstance(cv, bool):
        prefix = "s" * (not is_number) + "g" * (cv_groups is not None)
        cv = f"{prefix}kfold{cv}"
    if isinstance(cv, str):
        parse_scheme(cv)
        if count_deals(cv) > 1:
            raise UserError(
                f"cv = {cv!r} deals folds several times, which only a run does, whose"
                f" nets are trained by them; give cv = {cv.partition('x')[0]!r}, and"
                " fit once for each seed"
            )
        labels = strata(y if is_number else y.astype(str))
        return assign_folds(cv, labels, groups, seed)
    return _folds_of_splitter(cv, y, cv_groups, is_number=is_number)


def _folds_of_splitter(
    cv: Any, y: NDArray[Any], cv_groups: Ints | None, *, is_number: bool
) -> Ints:
    from sklearn.model_selection import check_cv

    try:
        splitter = check_cv(cv, y, classifier=not is_number)
        with warnings.catch_warnings():  # of groups it does not heed: torn ones are
            warnings.simplefilter("ignore", UserWarning)  # refused by folds_of
            splits = list(splitter.split(np.zeros((len(y), 1)), y, cv_groups))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cv = {cv!r}: {reason}") from None
    times_held_out, folds = np.zeros(len(y), np.int64), np.full(len(y), -1)
    for fold, (_, held_out) in enumerate(splits):
        times_held_out[held_out] += 1
        folds[held_out] = fold
    n_wrong = int((times_held_out != 1).sum())
    if n_wrong:
        raise UserError(
            f"cv = {cv!r} does not hold each row out once: {n_wrong} rows are held out"
            f" {times_held_out[times_held_out != 1][0]} times; leave those rows out of"
            " X and y, or give folds, a number for each row"
        )
    for fold, (train, _) in enumerate(splits):
        if len(train) != (folds != fold).sum() or (folds[train] == fold).any():
            raise UserError(
                f"cv = {cv!r}: fold {fold} is not trained on all rows that it does not"
                " hold out, as a stack needs it; give folds, a number for each row"
            )
    return folds

"""Pool what pictures were pooled to: from the views of a picture to those of an object.

The views of all its pictures count alike, and each picture has as many, so the mean of
an object is the mean of its pictures' means, and its variance is, by the law of total
variance, the mean of their variances and the variance of their means.

Shapes: P pictures, N objects, C columns.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.arrays import Floats
from data_prep.errors import UserError
from stacking.inputs.data import Column
from stacking.inputs.objects import Objects

AVERAGED = ("mean", "identity", "")  # of pictures, for an object
SPREADS = {"var": 1, "std": 2}  # the power that makes them a variance
POOLED = (*AVERAGED, *SPREADS, "max", "min")
REMEDY = "extract what can: python -m features.extract --statistics mean,var,max,min"


def check_statistics(columns: Sequence[Column]) -> None:
    """Refuse statistics that those of pictures do not give.

    Raises:
        UserError: There is one, or a variance without the mean beside it.
    """
    names = {column.name for column in columns}
    for column in columns:
        statistic = column.statistic
        if statistic not in POOLED:
            raise UserError(
                f"column {column.name!r}: the {statistic} over all pictures of an"
                f" object cannot be had from the {statistic} of each; {REMEDY}"
            )
        if statistic in SPREADS and _mean_of(column) not in names:
            raise UserError(
                f"column {column.name!r}: the {statistic} over all pictures of an"
                f" object needs their means, {_mean_of(column)}, too; {REMEDY}"
            )


def pool_pictures(
    values: Floats, columns: Sequence[Column], objects: Objects
) -> Floats:
    """Pool the columns of pictures over those of each object.

    Args:
        values: (P, C) statistics over the views of each picture.
        columns: C columns.
        objects: Which pictures show which object.

    Returns:
        (N, C) the same statistics over the views of all its pictures.

    Raises:
        UserError: A statistic cannot be had so.

    Example:
        Two pictures of one object, whose views are 1, 3 and 5, 7:

        >>> columns = [
        ...     Column(name=f"y__{s}", task="y", output="", statistic=s)
        ...     for s in ("mean", "var", "max")
        ... ]
        >>> values = np.array([[2.0, 1.0, 3.0], [6.0, 1.0, 7.0]])
        >>> objects = Objects(names=("a",), of_picture=np.array([0, 0]))
        >>> pool_pictures(values, columns, objects)
        array([[4., 5., 7.]])
    """
    if objects.are_pictures or not len(values):
        return values
    check_statistics(columns)
    number_of = {column.name: number for number, column in enumerate(columns)}
    pooled = objects.mean(values)
    for number, column in enumerate(columns):
        of_pictures = values[:, number]
        if column.statistic in ("max", "min"):
            extreme = np.maximum if column.statistic == "max" else np.minimum
            in_order = of_pictures[objects.order]
            pooled[:, number] = extreme.reduceat(in_order, objects.starts)
        elif power := SPREADS.get(column.statistic):
            mean = number_of[_mean_of(column)]
            deviations = values[:, mean] - pooled[objects.of_picture, mean]
            within_and_between = objects.mean(of_pictures**power + deviations**2)
            pooled[:, number] = within_and_between ** (1 / power)
    return pooled


def _mean_of(column: Column) -> str:
    """Name the column of the mean of the same output."""
    return f"{column.name.removesuffix(column.statistic)}mean"

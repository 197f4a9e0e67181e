"""A date, as a year with its fraction: 1890.5 is the middle of 1890."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_prep.arrays import Floats
from data_prep.task_types.regression import Regression

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Date(Regression):
    """One date for each row, learned as a number of years."""

    name = "date"
    target_outputs = ()

    usual_column = "date"
    noun = "dates"

    def parse(self, cells: "pd.Series[Any]") -> Floats:
        """Read (N,) cells as years; NaN where they are no dates."""
        from data_prep.tables.dates import as_years

        return as_years(cells)[0]


TASK_TYPE = Date

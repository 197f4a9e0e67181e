"""The out-of-fold predictions of a run: a csv for people, exact numbers for commands.

No command reads back what was rounded.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.tables.spelling import write_csv

if TYPE_CHECKING:
    import pandas as pd

SHOWN, EXACT = "oof.csv", "oof.parquet"


def probability_column(name: str) -> str:
    """Name the column of the probability of a class, the same in every file."""
    return f"probability_{name}"


def write_oof(folder: Path, table: "pd.DataFrame", name: str = "id") -> None:
    """Write oof.csv for people, and the parquet file with all digits.

    Args:
        folder: Of the stage.
        table: With a column ``id``, which stays so in the parquet file.
        name: What the user calls the ids.
    """
    write_csv(folder / SHOWN, with_name_of_ids(table, name))
    table.to_parquet(folder / EXACT, index=False)


def with_name_of_ids(table: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """Call the column ``id`` as the user does, so that files of people join.

    predictions.csv does too, for it has the columns of the sample. Where another column
    of the table has that name already, it stays.
    """
    return table if name in table else table.rename(columns={"id": name})

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


def write_oof(folder: Path, table: "pd.DataFrame") -> None:
    """Write oof.csv for people, and the parquet file with all digits."""
    write_csv(folder / SHOWN, table)
    table.to_parquet(folder / EXACT, index=False)

"""The out-of-fold predictions of a run: a csv for people, exact numbers for commands.

No command reads back what was rounded. Runs that were made before there was the exact
file have the csv alone, and are read from it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.run_folders.damage import intact
from data_prep.tables.spelling import class_text, write_csv

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


def oof_file(folder: Path) -> Path:
    """Give the more exact file that a run has."""
    exact = folder / EXACT
    return exact if exact.exists() else folder / SHOWN


def read_oof(path: Path, metadata: Mapping[str, Any]) -> "pd.DataFrame":
    """Read one of the two files.

    Args:
        path: Of ``oof_file``.
        metadata: Those of ``data_prep.prepare``, for the classes.

    Raises:
        UserError: There is no such file, or it is no table.
    """
    from data_prep.tables.cells import read_table

    older = {  # once, class 2 was spelled "2.0" here
        probability_column(str(value)): probability_column(class_text(value))
        for value in metadata["classes"] or []
    }
    with intact(path):
        return read_table(path).rename(columns=older)

"""A made-up collection of sheets with two pictures each, for the tests of prepare."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.errors import UserError
from data_prep.prepare import main

N = 48
IDS = [f"p{number:03d}" for number in range(N)]


def picture(seed: int) -> Image.Image:
    """Draw noise."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (20, 26, 3)).astype(np.uint8))


def make_sheets(folder: Path) -> Path:
    """Draw pictures p000 to p047 of four grades, two to a sheet, and their table."""
    (folder / "pictures").mkdir()
    for seed, id_ in enumerate(IDS):
        picture(seed).save(folder / "pictures" / f"{id_}.png")
    write_table(folder)
    return folder


def write_table(folder: Path, **columns: list[Any]) -> None:
    """Write the table, with other columns where they are given."""
    index = np.arange(N)
    table = {"id": IDS, "grade": index // 2 % 4, "sheet": [f"s{k // 2}" for k in index]}
    pd.DataFrame(table | columns).to_csv(folder / "train.csv", index=False)


def prepare(folder: Path, *flags: str, data: str = "", run: str = "run") -> Path:
    """Prepare them at 16 px, by sheets unless flags or ``data`` say otherwise."""
    is_plain = "skfold" in " ".join(flags) or "object" in data
    grouped = "" if is_plain else 'group = "sheet"\n'
    (folder / "x.toml").write_text(
        '[data]\nimages = "pictures"\ntrain = "train.csv"\ntarget = "grade"\n'
        f"{grouped}{data}\n"
    )
    flags_of_paths = [f"--experiment={folder / 'x.toml'}", f"--run={folder / run}"]
    return main([*flags_of_paths, "--side=16", "--workers=1", *flags])


def table_of(stage: Path) -> pd.DataFrame:
    """Read the prepared rows, by id."""
    return pd.read_parquet(stage / "table.parquet").set_index("id")


def refused(folder: Path, *flags: str, **more: str) -> str:
    """Give the one line of a mistake."""
    with pytest.raises(UserError) as caught:
        prepare(folder, *flags, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)

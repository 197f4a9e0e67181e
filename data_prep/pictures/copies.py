"""Copies: pictures that are stored as the same pixels, whatever their files are.

What is compared are the stored squares, for that is what a net sees: pictures that are
equal there are one to it, and a label that it learned for one it knows for the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_prep.pictures.printable import shown

MANY = 5  # ids under one picture before it is taken for a placeholder


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One picture under several ids.

    Attributes:
        ids: Its ids.
        file: The file of the first.
        n_groups: Groups of the training split that it is in; 0 where there are none.
        n_targets: Values of the target that it has.
    """

    ids: Sequence[str]
    file: str
    n_groups: int
    n_targets: int

    @property
    def is_placeholder(self) -> bool:
        """Whether so many different rows can hardly show the same."""
        return len(self.ids) >= MANY and max(self.n_groups, self.n_targets) > 1

    def __str__(self) -> str:
        """Tell what it is."""
        n_others = len(self.ids) - 1
        text = f"{self.file} and {n_others:,} other{'s' if n_others > 1 else ''}"
        text += " are one picture"
        if self.n_groups > 1:
            text += f", in {self.n_groups:,} groups"
        if self.n_targets > 1:
            text += f", with {self.n_targets:,} values of the target"
        return text


def count_copies(rows: pd.DataFrame) -> tuple[int, int]:
    """Count copies among the pictures, and those that cross from training to test.

    Args:
        rows: With split and pixels_sha256.

    Returns:
        How many pictures repeat an earlier one, and how many of the test split repeat
        one of the training split.
    """
    pixels, is_train = rows["pixels_sha256"], rows["split"] == "train"
    crossing = pixels[rows["split"] == "test"].isin(pixels[is_train])
    return int(pixels.duplicated().sum()), int(crossing.sum())


def repeats_of(
    rows: pd.DataFrame, pictures: Mapping[str, Path], *, has_group: bool
) -> list[Repeat]:
    """List the pictures that are there under several ids, the most frequent first.

    Args:
        rows: With id, split, group ("" for none of its own), pixels_sha256 and maybe
            target.
        pictures: The file of each id.
        has_group: The groups are the user's.
    """
    repeated = rows[rows["pixels_sha256"].duplicated(keep=False)]
    is_train, is_alone = repeated["split"] == "train", repeated["group"] == ""
    # a row without a group is its own; a count by pandas, not by picture: there may be
    # a hundred thousand pictures, of a millisecond each
    groups = repeated["group"].where(~is_alone, "\0" + repeated["id"]).where(is_train)
    counted = repeated.assign(group=groups if has_group else None)
    by_pixels = counted.groupby("pixels_sha256", sort=False)
    n_groups = by_pixels["group"].nunique()
    n_targets = by_pixels["target"].nunique() if "target" in rows else 0 * n_groups
    repeats = [
        Repeat(
            ids=tuple(ids),
            file=shown(pictures[ids[0]].name),
            n_groups=of_groups,
            n_targets=of_targets,
        )
        for ids, of_groups, of_targets in zip(
            by_pixels["id"].agg(list),
            n_groups.tolist(),
            n_targets.tolist(),
            strict=True,
        )
    ]
    return sorted(repeats, key=lambda repeat: -len(repeat.ids))


def count_groups(groups: "pd.Series[str]") -> int:
    """Count groups, where each row without one is its own."""
    is_empty = groups == ""
    return int(groups[~is_empty].nunique() + is_empty.sum())

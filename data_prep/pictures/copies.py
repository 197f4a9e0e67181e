"""Copies: pictures that are stored as the same pixels, or nearly, whatever their files.

What is compared are the stored squares, for that is what a net sees: pictures that are
equal there are one to it, and a label that it learned for one it knows for the other.
So it does where only light, size, direction or a narrow rim differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from data_prep.pictures.pages import PictureFile
from data_prep.pictures.printable import shown
from data_prep.processes import n_cores

MANY = 5  # ids under one picture before it is taken for a placeholder
USUAL_LIKENESS = 0.85  # from which two pictures are near copies
LISTED_LIKENESS = 0.6  # from which a pair is told, whether it is a copy or not
LEAST_SIDE_PX = 48  # of a stored square; in less, copies and look-alikes are one
PICTURE_S, PAIR_S = 2.0e-3, 5.7e-8  # on one core: of a picture, of any two of them
NEAR_COLUMNS = ("id", "other", "view", "likeness", "is_joined")


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


@dataclass(frozen=True, kw_only=True)
class NearCopies:
    """Pictures that are, or might be, copies but for small changes.

    Attributes:
        pairs: Columns id, other, view (as which the other looks like it), likeness and
            is_joined (they are kept in one fold as copies); the most alike first.
        likeness: From which on two are copies.
        notes: What a person should know of the search.
    """

    pairs: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=NEAR_COLUMNS)
    )
    likeness: float = USUAL_LIKENESS
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class CopyCounts:
    """How many pictures are copies.

    Attributes:
        n_equal: Pictures whose pixels are those of an earlier one.
        n_near: Pictures that are nearly an earlier one, and no earlier one's equal.
        n_crossing: Pictures of the test split that are, or nearly are, one of the
            training split.
    """

    n_equal: int
    n_near: int
    n_crossing: int


def search_seconds(n_pictures: int, workers: int = 0) -> float:
    """Say how long a search for near copies takes, about.

    Args:
        n_pictures: How many there are.
        workers: Threads; 0: one for each core at hand.
    """
    on_one_core = PICTURE_S * n_pictures + PAIR_S * n_pictures**2
    return on_one_core / (workers or n_cores())


def count_copies(rows: pd.DataFrame) -> CopyCounts:
    """Count copies among the pictures, and those that cross from training to test.

    Args:
        rows: With split, pixels_sha256 and same_as.
    """
    is_train, is_test = rows["split"] == "train", rows["split"] == "test"
    is_crossing = pd.Series(False, index=rows.index)
    for name in ("pixels_sha256", "same_as"):
        is_crossing |= is_test & rows[name].isin(rows[name][is_train])
    is_equal = rows["pixels_sha256"].duplicated()
    return CopyCounts(
        n_equal=int(is_equal.sum()),
        n_near=int(rows["same_as"][~is_equal].duplicated().sum()),
        n_crossing=int(is_crossing.sum()),
    )


def repeats_of(
    rows: pd.DataFrame, pictures: Mapping[str, PictureFile], *, has_group: bool
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

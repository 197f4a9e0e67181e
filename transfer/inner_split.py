"""An inner split: a share of a net's training rows, kept back to choose by.

Whatever is chosen on labels, such as an epoch or a learning rate, is chosen on these
rows and never on the fold that the net holds out. Torch-free.
"""

from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.folds import strata
from pretext.data.keyed_rng import keys_of, uniforms

if TYPE_CHECKING:
    import pandas as pd


def inner_split(
    table: "pd.DataFrame", rows: Ints, *, seed: int, share: float
) -> tuple[Ints, Ints]:
    """Split training rows by cv groups: most train, a share is chosen by.

    It is a function of these rows' ids, groups and targets alone, whatever their order
    and the unit of the target. Every stratum of the target gives about its share, and
    a group that is larger than the whole share stays in training.

    Args:
        table: N rows as prepared, with ``id``, ``cv_group`` and maybe ``target``.
        rows: (n,) rows that a net may be trained on.
        seed: Draws the groups.
        share: Of the n rows that are kept back, at most; one group in any case.

    Returns:
        The rows that train and those kept back, both rising.

    Raises:
        UserError: All the rows are one group.
    """
    chosen = table.iloc[rows]
    groups = chosen["cv_group"].to_numpy()
    if len(np.unique(groups)) < 2:
        raise UserError(
            f"{len(rows)} rows to train on are one group, so none can be kept back to"
            " choose by; name a finer column in [data] group"
        )
    target = chosen["target"] if "target" in chosen else np.zeros(len(chosen))
    u = uniforms(
        keys_of(chosen["id"].tolist()), 1, seed=seed, epoch=0, purpose="inner split"
    )
    drawn = chosen[["id", "cv_group"]].assign(stratum=strata(target), u=u[:, 0])
    # a group is where its first id is
    of_groups = drawn.sort_values("id").groupby("cv_group", sort=False).first()
    of_groups["size"] = drawn["cv_group"].value_counts()
    # the place of a group among those of its stratum, from 0 to 1: a share of them all
    # is the same share of each
    of_groups["place"] = of_groups.groupby("stratum")["u"].rank(pct=True)
    of_groups = of_groups.sort_values(["place", "u", "id"])
    numbers, sizes = of_groups.index.tolist(), of_groups["size"].tolist()
    n_left, kept_back = share * len(rows), []
    for number, size in zip(numbers, sizes, strict=True):
        if size <= n_left:
            kept_back.append(number)
            n_left -= size
    if not kept_back:
        kept_back.append(numbers[int(np.argmin(sizes))])
    is_inner = np.isin(groups, kept_back)
    return np.sort(rows[~is_inner]), np.sort(rows[is_inner])

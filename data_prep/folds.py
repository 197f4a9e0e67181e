"""Folds: with which other rows each row is held out.

A split is a column of the table, not a loop over indices: it is made once, stored,
joined by id, and obeyed by every stage that looks at labels. The splitters are
scikit-learn's; its versions differ in what they assign, so several shuffles are tried,
the best balanced is kept, and the result is checked here.

Shapes: N rows, F folds, S strata.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from data_prep.arrays import Bools, Ints
from data_prep.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"  # the fold of a net trained on every labelled row
SCHEMES = ("kfold", "skfold", "gkfold", "sgkfold")
N_TRIALS = 8  # shuffles tried
MAX_CLASSES = 20  # a numeric target with more values is a quantity only
MIN_ROWS = 20  # with a target and a fold; fewer cannot be stacked
N_BINS = 10  # of a target or date that has no classes


def parse_scheme(cv: str) -> tuple[str, int]:
    """Split the name of a scheme: ``"sgkfold3"`` is ``("sgkfold", 3)``.

    Raises:
        UserError: There is no such scheme, or there are fewer than two folds.
    """
    match = re.fullmatch(r"([a-z]+)([0-9]+)", cv)
    if match is None or match[1] not in SCHEMES or int(match[2]) < 2:
        raise UserError(
            f"cv = {cv!r}: give {', '.join(SCHEMES)} and 2 or more folds,"
            " such as sgkfold3"
        )
    return match[1], int(match[2])


def is_grouped(cv: str) -> bool:
    """Tell whether the scheme needs the user's groups."""
    return parse_scheme(cv)[0] in ("gkfold", "sgkfold")


def check_scheme(cv: str, *, has_group: bool) -> None:
    """Refuse a scheme that needs groups where there are none.

    Raises:
        UserError: The scheme needs groups, or there is no such scheme.
    """
    if is_grouped(cv) and not has_group:
        plain = cv.replace("gkfold", "kfold")
        raise UserError(
            f"cv = {cv!r} keeps groups together, but [data] group names no column;"
            f" name it, or set cv = {plain!r} in [data_prep.prepare]"
        )


def check_groups(cv: str, kept_together: tuple[str, str] | None) -> None:
    """Refuse a scheme that needs groups where there are none, or tears those there are.

    Args:
        cv: The scheme.
        kept_together: Role and column of what the user wants kept together, such as
            ``("group", "sheet")``; None: nothing.

    Raises:
        UserError: The scheme does not fit the groups, or there is no such scheme.
    """
    check_scheme(cv, has_group=kept_together is not None)
    if kept_together is not None and not is_grouped(cv):
        role, column = kept_together
        grouped = cv.replace("kfold", "gkfold")
        raise UserError(
            f"cv = {cv!r} would tear the {role}s of column {column!r} apart; set"
            f" cv = {grouped!r} in [data_prep.prepare], or take {role} out of [data]"
        )


def check_count(cv: str, n: int, noun: str = "groups") -> None:
    """Refuse fewer groups, or rows, than folds.

    Raises:
        UserError: There are fewer.
    """
    n_folds = parse_scheme(cv)[1]
    if n < n_folds:
        counted = f"1 {noun[:-1]} does" if n == 1 else f"{n} {noun} do"
        raise UserError(
            f"cv = {cv!r}: {counted} not fill {n_folds} folds;"
            f" take fewer folds, or give more {noun}"
        )


def too_few_rows(folds: ArrayLike) -> str:
    """Say why there are too few rows to be stacked; empty: there are enough.

    Args:
        folds: (N,) fold of each row that has a target.

    Example:
        >>> too_few_rows([0, 1] * 10)
        ''
    """
    folds = np.asarray(folds, dtype=np.int64)
    sizes = np.bincount(folds) if len(folds) else np.array([0])
    if len(sizes) >= 2 and sizes.min() >= 2 and len(folds) >= MIN_ROWS:
        return ""
    return (
        f"{len(folds)} rows have a target and a fold ({sizes.tolist()} by"
        f" fold); give {MIN_ROWS} or more, and two in every fold, in the table of"
        " [data] train"
    )


def lone_cv_group(folds: ArrayLike, cv_groups: ArrayLike) -> str:
    """Say which fold is a single cv group; empty: none is.

    Args:
        folds: (N,) fold of each row that has a target.
        cv_groups: (N,) what no fold tears.
    """
    pairs = np.unique(np.stack([np.asarray(folds), np.asarray(cv_groups)]), axis=1)
    numbers, n_cv_groups = np.unique(pairs[0], return_counts=True)
    for fold in numbers[n_cv_groups < 2]:
        return (
            f"fold {fold} is one group, so its score tells how one group fares, and no"
            " more; name a finer column in [data] group, or fewer folds"
        )
    return ""


def assign_folds(
    cv: str, labels: ArrayLike, groups: ArrayLike | None = None, seed: int = 0
) -> Ints:
    """Give every row the number of the fold that holds it out.

    Args:
        cv: Scheme and number of folds, such as ``"sgkfold3"``. The schemes with an
            ``s`` give each fold the same share of every stratum.
        labels: (N,) stratum of each row, see ``strata``; only its equalities count.
        groups: (N,) what must not be torn apart, or None. The schemes with a ``g``
            need it; the other two keep together what it says, such as duplicates.
        seed: Seed of the shuffles.

    Returns:
        (N,) fold of each row, 0 to F - 1.

    Raises:
        UserError: The scheme is unknown, its groups are missing or too few.

    Example:
        >>> folds = assign_folds("gkfold2", [0, 1, 0, 1], ["a", "a", "b", "b"])
        >>> folds[0] == folds[1] != folds[2] == folds[3]
        np.True_
    """
    scheme, n_folds = parse_scheme(cv)
    check_scheme(cv, has_group=groups is not None)
    strata_codes = _codes(labels)
    n_rows = len(strata_codes)
    group_codes = np.arange(n_rows) if groups is None else _codes(groups)
    n_groups = int(group_codes.max()) + 1 if n_rows else 0
    check_count(cv, n_groups, "rows" if n_groups == n_rows else "groups")
    # No assignment is better than this: only a stratum within one group lies in one
    # fold, and each of the F x S cells is off by less than a row.
    best_possible = (
        len(strata_of_one_fold(group_codes, strata_codes)),
        n_folds * (int(strata_codes.max()) + 1) / n_rows,
    )
    best, least_faults = None, (0, 0.0)
    for trial_seed in np.random.SeedSequence(seed).generate_state(N_TRIALS):
        folds = _assign_once(
            scheme, n_folds, strata_codes, group_codes, seed=int(trial_seed)
        )
        if len(np.unique(folds)) < n_folds:  # scikit-learn issue 34828
            continue
        faults = (
            len(strata_of_one_fold(folds, strata_codes)),
            imbalance(folds, strata_codes),
        )
        if best is None or faults < least_faults:
            best, least_faults = folds, faults
        if faults <= best_possible:
            break
    if best is None:
        raise UserError(f"cv = {cv!r}: a fold stays empty; take fewer folds")
    fold_of_group = np.full(n_groups, -1)
    fold_of_group[group_codes] = best
    if (fold_of_group[group_codes] != best).any():
        raise RuntimeError(f"{cv}: a group was torn apart")
    return best


def strata_of_one_fold(folds: ArrayLike, labels: ArrayLike) -> list[int]:
    """List the strata that lie in one fold: its net never sees one of them.

    Args:
        folds: (N,) fold of each row.
        labels: (N,) stratum of each row.

    Example:
        >>> strata_of_one_fold(folds=[0, 1, 1, 0], labels=[5, 5, 6, 5])
        [6]
    """
    pairs = np.unique(np.stack([np.asarray(labels), np.asarray(folds)]), axis=1)
    present, n_folds = np.unique(pairs[0], return_counts=True)
    return [int(label) for label in present[n_folds == 1]]


def imbalance(folds: ArrayLike, labels: ArrayLike) -> float:
    """Measure how far the folds are from equal shares of rows and of every stratum.

    Returns:
        Rows that are where they should not be, as shares of all: 0 is perfect.
    """
    folds = np.asarray(folds)
    codes = _codes(labels)
    n_rows_FS = np.zeros((folds.max() + 1, codes.max() + 1))
    np.add.at(n_rows_FS, (folds, codes), 1)
    strata_off = np.abs(n_rows_FS - n_rows_FS.mean(axis=0)).sum()
    sizes = n_rows_FS.sum(axis=1)
    return float((strata_off + np.abs(sizes - sizes.mean()).sum()) / len(folds))


def _codes(values: ArrayLike) -> Ints:
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)


def _assign_once(
    scheme: str, n_folds: int, strata_codes: Ints, group_codes: Ints, *, seed: int
) -> Ints:
    """Give (N,) folds by one shuffle of scikit-learn's splitter."""
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    splitters: dict[tuple[bool, bool], Any] = {
        (False, False): KFold,
        (True, False): StratifiedKFold,
        (False, True): GroupKFold,
        (True, True): StratifiedGroupKFold,  # stratifies when shuffled since 1.8
    }
    has_groups = int(group_codes.max()) + 1 < len(group_codes)  # some have two rows
    splitter_class = splitters[scheme in ("skfold", "sgkfold"), has_groups]
    splitter = splitter_class(n_folds, shuffle=True, random_state=seed)
    folds = np.full(len(strata_codes), -1, dtype=np.int64)
    labels = _without_rare(strata_codes, n_folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        splits = splitter.split(folds, labels, group_codes if has_groups else None)
        for fold, (_, val_idx) in enumerate(splits):
            folds[val_idx] = fold
    return folds


def _without_rare(codes: Ints, n_folds: int) -> Ints:
    """Make one stratum of all those that have too few rows to be in every fold."""
    n_rows = np.bincount(codes)
    merged = np.where(n_rows[codes] < n_folds, -1, codes)
    is_enough = np.unique(merged, return_counts=True)[1].max() >= n_folds
    return merged if is_enough else np.zeros_like(codes)


def strata(values: ArrayLike) -> Ints:
    """Number the strata of a target: its classes, or quantile bins of a quantity.

    Args:
        values: (N,) numbers or texts; NaN or None for rows without. Of numbers, more
            than ``MAX_CLASSES`` different ones are a quantity.

    Returns:
        (N,) stratum from 0; rows without a value are a stratum of their own, -1.

    Example:
        >>> strata([3.0, 7.0, float("nan"), 3.0])
        array([ 0,  1, -1,  0])
    """
    import pandas as pd

    column: pd.Series[Any] = pd.Series(np.asarray(values))
    is_number = pd.api.types.is_numeric_dtype(column)
    if is_number and column.nunique() > MAX_CLASSES:
        column = (column.rank(pct=True) * N_BINS).apply(np.ceil)
    codes: Ints = pd.factorize(column, sort=True)[0].astype(np.int64)
    return codes


def join_cv_groups(*names: Sequence[str]) -> Ints:
    """Join rows that share a name, directly or by way of others.

    Args:
        *names: (N,) names of each row, such as its group, its object and the digest of
            its pixels; "" for none.

    Returns:
        (N,) number of the cv group, from 0 in order of appearance.

    Example:
        >>> join_cv_groups(["a", "a", "b", "c"], ["x", "y", "y", "z"])
        array([0, 0, 0, 1])
    """
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A graph of rows and of the names they bear: rows of one name meet in its node.
    n_rows = len(names[0])
    n_nodes, edges = n_rows, []
    for of_rows in names:
        row_idx = np.flatnonzero(np.array([bool(name) for name in of_rows], dtype=bool))
        codes, values = pd.factorize(np.asarray(of_rows, dtype=object)[row_idx])
        edges.append(np.stack([row_idx, n_nodes + codes]))
        n_nodes += len(values)
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), (n_nodes, n_nodes))
    _, components = connected_components(graph, directed=False)
    cv_groups: Ints = pd.factorize(components[:n_rows])[0].astype(np.int64)
    return cv_groups


def fold_masks(table: "pd.DataFrame", fold: str) -> tuple[Bools, Bools]:
    """Tell which rows are held out with a fold, and which may be trained on.

    A row that is never validated may still be a copy of a row that is, or be of its
    group: then it is neither held out nor trained on.

    Args:
        table: N rows as prepared, with ``split``, ``fold`` and ``cv_group``.
        fold: Number of a fold, or ``all``, which holds out none.

    Returns:
        ``val_mask`` and ``train_mask``, both (N,).
    """
    is_train = (table["split"] == "train").to_numpy()
    if fold == ALL:
        return np.zeros(len(table), dtype=np.bool_), is_train
    val_mask = is_train & (table["fold"] == int(fold)).to_numpy()
    cv_groups = table["cv_group"].to_numpy()
    return val_mask, is_train & ~np.isin(cv_groups, cv_groups[val_mask])


def fold_hash(ids: Iterable[str], folds: Iterable[int]) -> str:
    """Hash who is held out where, whatever the order of the rows; -1 does not count."""
    pairs = zip(ids, folds, strict=True)
    lines = sorted(f"{id_},{int(fold)}\n" for id_, fold in pairs if fold >= 0)
    return hashlib.sha256("".join(lines).encode()).hexdigest()

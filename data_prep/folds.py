"""Folds: with which other rows each row is held out.

A split is a column of the table, not a loop over indices: it is made once, stored,
joined by id, and obeyed by every stage that looks at labels. The splitters are
scikit-learn's; its versions differ in what they assign, so several shuffles are tried
beside what it gives without, the best balanced is kept, and the result is checked here.

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
from data_prep.schemes import SCHEMES, TIME, check_count, check_scheme, parse_scheme

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"  # the fold of a net trained on every labelled row
FOLD = "fold"  # column: the fold that holds the row out; fold_1: that of deal 1
TRAIN_FROM = "train_from"  # column: the first fold whose net may train on the row
N_TRIALS = 8  # shuffles tried
FEW_ROWS = 1000  # of which the best of all shuffles is soon known
DECIMALS = 9  # of an imbalance: beyond them two are the same
MAX_CLASSES = 20  # a numeric target with more values is a quantity only
MIN_ROWS = 20  # with a target and a fold; fewer cannot be stacked
N_BINS = 10  # of a target or date that has no classes


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
    cv: str,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    seed: int = 0,
    *,
    is_shuffled: bool = False,
) -> Ints:
    """Give every row the number of the fold that holds it out.

    Args:
        cv: Scheme and number of folds, such as ``"sgkfold3"``. The schemes with an
            ``s`` give each fold the same share of every stratum.
        labels: (N,) stratum of each row, see ``strata``; only its equalities count.
        groups: (N,) what must not be torn apart, or None. The schemes with a ``g``
            need it; the other two keep together what it says, such as duplicates.
        seed: Seed of the shuffles.
        is_shuffled: Never take what the splitter gives without, the same for any seed.

    Returns:
        (N,) fold of each row, 0 to F - 1; of a scheme that is dealt several times the
        first deal, see ``data_prep.deals``.

    Raises:
        UserError: The scheme is unknown, its groups are missing or too few.

    Example:
        >>> folds = assign_folds("gkfold2", [0, 1, 0, 1], ["a", "a", "b", "b"])
        >>> folds[0] == folds[1] != folds[2] == folds[3]
        np.True_
    """
    scheme, n_folds = parse_scheme(cv)
    if scheme == TIME:
        raise UserError(
            f"cv = {cv!r} holds out by date, which only data_prep.prepare reads; give"
            f" {', '.join(SCHEMES)} and a number"
        )
    check_scheme(cv, has_group=groups is not None)
    strata_codes = _codes(labels)
    n_rows = len(strata_codes)
    group_codes = np.arange(n_rows) if groups is None else _codes(groups)
    n_groups = int(group_codes.max()) + 1 if n_rows else 0
    check_count(cv, n_groups, "rows" if n_groups == n_rows else "groups")
    # Of many rows none is much better than this: only a stratum within one group lies
    # in one fold, and each of the F x S cells is off by less than a row.
    best_possible = (
        len(strata_of_one_fold(group_codes, strata_codes)),
        n_folds * (int(strata_codes.max()) + 1) / n_rows,
    )
    best, least_faults = None, (0, 0.0)
    seeds = np.random.SeedSequence(seed).generate_state(N_TRIALS).tolist()
    # unshuffled, rows alone would be cut in their order, which may mean something
    is_cut = n_groups == n_rows and scheme in ("kfold", "gkfold")
    for trial_seed in (*seeds, *([] if is_cut or is_shuffled else [None])):
        if best is not None and n_rows > FEW_ROWS and least_faults <= best_possible:
            break
        folds = _assign_once(
            scheme, n_folds, strata_codes, group_codes, seed=trial_seed
        )
        if len(np.unique(folds)) < n_folds:  # scikit-learn issue 34828
            continue
        faults = (
            len(strata_of_one_fold(folds, strata_codes)),
            round(imbalance(folds, strata_codes), DECIMALS),
        )
        if best is None or faults < least_faults:
            best, least_faults = folds, faults
    if best is None:  # by sizes alone none can be empty
        best = _assign_once("gkfold", n_folds, strata_codes, group_codes, seed=seeds[0])
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
    scheme: str,
    n_folds: int,
    strata_codes: Ints,
    group_codes: Ints,
    *,
    seed: int | None,
) -> Ints:
    """Give (N,) folds by one shuffle of scikit-learn's splitter; None: unshuffled.

    Shuffled, ``GroupKFold`` would forget the sizes of the groups. So it is left to deal
    the largest first, and the names are shuffled, by which it chooses among equals.
    """
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    n_groups = int(group_codes.max()) + 1
    has_groups = n_groups < len(group_codes)  # some have two rows
    is_stratified, is_shuffled = scheme in ("skfold", "sgkfold"), seed is not None
    if has_groups and not is_stratified:
        splitter: Any = GroupKFold(n_folds)
        if is_shuffled:
            group_codes = np.random.default_rng(seed).permutation(n_groups)[group_codes]
    else:
        splitter_class: Any = KFold
        if is_stratified:
            # the first stratifies when shuffled since 1.8
            splitter_class = StratifiedGroupKFold if has_groups else StratifiedKFold
        splitter = splitter_class(n_folds, shuffle=is_shuffled, random_state=seed)
    folds = np.full(len(strata_codes), -1, dtype=np.int64)
    labels = _without_rare(strata_codes, n_folds, is_merged=is_shuffled)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        splits = splitter.split(folds, labels, group_codes if has_groups else None)
        for fold, (_, val_idx) in enumerate(splits):
            folds[val_idx] = fold
    return folds


def _without_rare(codes: Ints, n_folds: int, *, is_merged: bool) -> Ints:
    """Make one stratum of all those that have too few rows to be in every fold.

    Args:
        codes: (N,) stratum of each row.
        n_folds: How many folds there are.
        is_merged: Do so; else only where no stratum has enough.
    """
    n_rows = np.bincount(codes)
    merged = np.where(n_rows[codes] < n_folds, -1, codes) if is_merged else codes
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


def fold_columns(table: "pd.DataFrame") -> list[str]:
    """List the columns of folds, one for each deal: ``fold``, ``fold_1``, ...

    The folds of all deals are numbered on: those of deal d of F folds from d F.
    """
    names = [name for name in table.columns if re.fullmatch("fold_[0-9]+", str(name))]
    return [FOLD, *sorted(names, key=lambda name: int(name.removeprefix("fold_")))]


def fold_masks(table: "pd.DataFrame", fold: str) -> tuple[Bools, Bools]:
    """Tell which rows are held out with a fold, and which may be trained on.

    A row that is never validated may still be a copy of a row that is, or be of its
    group: then it is neither held out nor trained on. Nor is a row that comes later,
    where folds are forward in time.

    Args:
        table: N rows as prepared, with ``split``, ``fold``, ``cv_group`` and maybe
            ``train_from``, or the folds of further deals.
        fold: Number of a fold of any deal, or ``all``, which holds out none.

    Returns:
        ``val_mask`` and ``train_mask``, both (N,).
    """
    is_train = (table["split"] == "train").to_numpy()
    if fold == ALL:
        return np.zeros(len(table), dtype=np.bool_), is_train
    is_in_fold = table[fold_columns(table)].to_numpy() == int(fold)
    val_mask: Bools = is_train & is_in_fold.any(axis=1)
    cv_groups = table["cv_group"].to_numpy()
    train_mask = is_train & ~np.isin(cv_groups, cv_groups[val_mask])
    if TRAIN_FROM in table:
        train_mask &= (table[TRAIN_FROM] <= int(fold)).to_numpy()
    return val_mask, train_mask


def count_folds(table: "pd.DataFrame") -> int:
    """Count the folds of all deals of a prepared table."""
    return int(table[fold_columns(table)].to_numpy().max()) + 1


def unseen_classes(table: "pd.DataFrame") -> list[int]:
    """List the classes that some net is judged on and has never seen.

    Args:
        table: Rows with ``class_index``, and what ``fold_masks`` takes.
    """
    codes, unseen = table["class_index"].to_numpy(), set[int]()
    for fold in range(count_folds(table)):
        val_mask, train_mask = fold_masks(table, str(fold))
        unseen |= set(codes[val_mask].tolist()) - set(codes[train_mask].tolist())
    return sorted(unseen - {-1})


def hash_of_folds(table: "pd.DataFrame") -> str:
    """Hash who is held out where, and who is trained on where not all others are.

    Args:
        table: Rows with ``id``, ``fold`` and maybe ``train_from``, or the folds of
            further deals.
    """
    if TRAIN_FROM not in table:
        columns = fold_columns(table)
        ids = np.tile(table["id"].to_numpy(dtype=object), len(columns))
        return fold_hash(ids, table[columns].to_numpy().T.ravel())
    rows = table[table["split"] == "train"]
    firsts = zip(rows["id"], rows[TRAIN_FROM], strict=True)
    return fold_hash((f"{id_},{first}" for id_, first in firsts), rows["fold"] + 1)


def fold_hash(ids: Iterable[str], folds: Iterable[int]) -> str:
    """Hash who is held out where, whatever the order of the rows; -1 does not count."""
    pairs = zip(ids, folds, strict=True)
    lines = sorted(f"{id_},{int(fold)}\n" for id_, fold in pairs if fold >= 0)
    return hashlib.sha256("".join(lines).encode()).hexdigest()

"""What stacking refuses: inputs that would make a score a lie, each by its name."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import compress, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError, named
from data_prep.folds import fold_columns, lone_cv_group, too_few_rows
from data_prep.schemes import is_in_time
from data_prep.task_types.registry import TASK_TYPES
from features.header import HELD_OUT, SELECTED, UNTRAINED

if TYPE_CHECKING:
    import pandas as pd

    from features.store import Store

HONEST = ("oof", "oof_selected", "label_free")  # roles of rows that may be learned from
SLACK = 0.01  # of a sum of probabilities, some of them rounded to 16 bits
AT_ONCE = 4096  # rows looked at at a time
EXTRACT = "again: python -m features.extract --overwrite"
PREPARE = "again: python -m data_prep.prepare --overwrite"
TRAIN = (
    "train the missing folds: python -m transfer.finetune (without --folds), then"
    " python -m features.extract"
)


def check_folds(table: "pd.DataFrame", stored_hash: str, path: Path) -> None:
    """Check that the folds are those that were made, and tear no cv group.

    Args:
        table: The rows of ``data_prep.prepare``.
        stored_hash: The hash it recorded.
        path: The table's file.
    """
    from data_prep.folds import hash_of_folds

    if table["id"].duplicated().any():
        repeated = set(table["id"][table["id"].duplicated()])
        raise UserError(f"{path}: {named(repeated)} occur twice; {PREPARE}")
    if hash_of_folds(table) != stored_hash:
        raise UserError(
            f"{path}: its folds are not the ones data_prep.prepare made; {PREPARE}"
        )
    assigned = table[table["fold"] >= 0]
    n_folds = assigned.groupby("cv_group")[fold_columns(table)].nunique().max(axis=1)
    torn = n_folds.index[n_folds > 1]
    if len(torn):
        ids = assigned["id"][assigned["cv_group"].isin(torn)]
        raise UserError(
            f"{path}: {len(torn)} cv groups are torn over folds, with"
            f" {named(ids)}; {PREPARE}"
        )


def check_objects(table: "pd.DataFrame", path: Path) -> None:
    """Refuse objects with several labels, or torn over folds.

    Args:
        table: The rows of ``data_prep.prepare``, with target and maybe object.
        path: The table's file.
    """
    if "object" not in table:
        return
    labelled = table[table["split"] == "train"].groupby("object")
    held_out = table[table["fold"] >= 0].groupby("object")
    for n_values, fault in (
        (labelled["target"].nunique(), "several labels"),
        (held_out["fold"].nunique(), "pictures in several folds"),
    ):
        if wrong := list(n_values.index[n_values > 1]):
            noun = "object has" if len(wrong) == 1 else "objects have"
            raise UserError(
                f"{path}: {len(wrong)} {noun} {fault}, such as {wrong[0]!r}; mend the"
                f" tables of [data]; {PREPARE}"
            )


def check_scheme(cv: str, stored: str, *, is_label_free: bool) -> bool:
    """Tell whether to assign new folds: only features without labels allow it.

    Args:
        cv: The scheme in the settings; empty: the stored one.
        stored: The run's scheme.
        is_label_free: The features come from one net that saw no label.
    """
    if cv in ("", stored):
        return False
    if is_in_time(cv):
        command = f"python -m data_prep.prepare --cv {cv}"
        raise UserError(f"cv = {cv!r}: folds in time are of the preparation: {command}")
    if is_label_free:
        return True
    raise UserError(
        f"cv = {cv!r}: the run's folds are {stored}, and its nets were trained by them;"
        " leave --cv out, or make other folds and train anew:"
        f" python -m data_prep.prepare --cv {cv}"
    )


def check_groups(cv: str, *, has_group: bool) -> None:
    """Refuse the schemes that ``data_prep.prepare`` refuses.

    Args:
        cv: The scheme of new folds.
        has_group: The table has groups of the user's.
    """
    from data_prep.schemes import is_grouped

    if is_grouped(cv) == has_group:
        return
    reason, scheme = "keeps groups, but [data] group names no column", "kfold"
    if has_group:
        reason = "would tear the groups of [data] group or object apart"
        scheme = "gkfold"
    fitting = cv.replace("gkfold", "kfold").replace("kfold", scheme)
    raise UserError(f"cv = {cv!r} {reason}; give --cv {fitting}")


def check_protocol(
    protocol: str, *, is_label_free: bool, in_time: bool = False
) -> None:
    """Refuse to look for a leak where no net saw a label, or none of later rows."""
    if protocol == "insample" and in_time:
        raise UserError(
            "protocol = 'insample' learns from what each net says of all rows but its"
            " fold's, and the nets of folds in time were trained on earlier rows alone;"
            " leave --protocol out"
        )
    if protocol == "insample" and is_label_free:
        raise UserError(
            "protocol = 'insample': the features come from a net that saw no label, so"
            " nothing can leak; leave --protocol out"
        )


def check_net_of_all(test_nets: str, *, is_there: bool) -> None:
    """Refuse to predict by the net that saw every label where there is none."""
    if test_nets == "all" and not is_there:
        raise UserError(
            "test_nets = 'all': no net saw every label; train one:"
            " python -m transfer.finetune --all (or all = true in [transfer.finetune]),"
            " then python -m features.extract; or leave test_nets out"
        )


def check_roles(store: "Store", ids: Sequence[str], allowed: Collection[str]) -> None:
    """Check that the nets knew of these rows' labels what they may know."""
    roles = store.roles[store.rows_of(ids)]
    for role in sorted({*np.unique(roles).tolist()} - set(allowed)):
        wrong = list(compress(ids, roles == role))
        why = (
            ": their nets were trained on their labels, so every score would be a lie"
            if role == "insample"
            else ""
        )
        raise UserError(
            f"{store.path}: {named(wrong)} have role {role!r} where"
            f" {' or '.join(allowed)} is needed{why}; {EXTRACT}"
        )


def check_not_selected(store: "Store") -> None:
    """Refuse features of a backbone whose epoch was chosen by these rows' labels."""
    if np.any(store.roles == SELECTED):
        raise UserError(
            f"{store.path}: its rows have role {SELECTED!r}: a probe of their labels"
            " chose the epoch of the backbone, so every score would be too good;"
            " pretrain with --keep last and --stop never, then extract again"
        )


def check_ids(
    store: "Store", *, needed: Collection[str], allowed: Collection[str], title: str
) -> None:
    """Check that a store has all the rows needed, and none that is not allowed.

    Args:
        store: Of features.
        needed: Ids that it must have.
        allowed: Ids that it may have.
        title: Of the rows, for the message.
    """
    if missing := {id_ for id_ in needed if id_ not in store}:
        failures = store.header.get("failures") or {}
        reasons = sorted({failures[id_] for id_ in missing if id_ in failures})
        why = f" ({'; '.join(reasons[:2])})" if reasons else ""
        is_untrained = any(reason.startswith(UNTRAINED) for reason in reasons)
        raise UserError(
            f"{store.path}: it lacks {named(missing)} of {title}{why};"
            f" {TRAIN if is_untrained else EXTRACT}"
        )
    if surplus := set(store.ids).difference(allowed):
        raise UserError(
            f"{store.path}: {named(surplus)} are not among {title}; {EXTRACT}"
        )


def check_fold_of_rows(store: "Store", fold_of: "pd.Series[int]", stored: str) -> None:
    """Check that each row was held out with the fold the table says.

    Args:
        store: Of features, all ids of which are in the table.
        fold_of: Folds of the table by id.
        stored: Hash of these folds.
    """
    if np.all(store.roles == "label_free"):
        return
    if store.header.get("fold_hash") not in (None, stored):
        raise UserError(
            f"{store.path}: it was made with other folds than data_prep.prepare's"
            f" (fold_hash differs); {EXTRACT}, after transfer.finetune"
        )
    expected = fold_of.loc[list(store.ids)].to_numpy()
    is_wrong = np.isin(store.roles, HELD_OUT) & (store.folds != expected)
    if wrong := list(compress(store.ids, is_wrong)):
        raise UserError(
            f"{store.path}: {named(wrong)} were held out with another fold than the"
            f" table's; {EXTRACT}, after transfer.finetune"
        )


def check_of_outputs(folder: Path) -> None:
    """Refuse an extraction of inner layers, which mean something else in every net."""
    if not (folder / "features.pkl").exists():
        raise UserError(
            f"{folder} has no features.pkl: its columns are inner layers (--layer), of"
            " which no two nets share a space; without --layer: python -m"
            " features.extract"
        )


def check_pooled(store: "Store") -> None:
    """Check that there is one value per column, and not one per view."""
    if store.values.ndim != 2:
        raise UserError(f"{store.path}: its views are not pooled; {EXTRACT}")


def check_same_columns(store: "Store", other_store: "Store") -> None:
    """Check that two stores have the same columns in the same spaces."""
    columns, other_columns = store.header["columns"], other_store.header["columns"]
    gap: dict[str, str] = {}
    for column, other_column in zip_longest(columns, other_columns, fillvalue=gap):
        if column.get("name") != other_column.get("name"):
            raise UserError(
                f"{other_store.path}: its column {other_column.get('name')!r} stands"
                f" where {store.path.name} has {column.get('name')!r}; {EXTRACT}"
            )
        spaces = column.get("space") or "", other_column.get("space") or ""
        if spaces[0] != spaces[1]:
            raise UserError(
                f"{other_store.path}: column {column['name']!r} is of several spaces:"
                f" {spaces[1]!r} here and {spaces[0]!r} in {store.path.name}; {EXTRACT}"
            )


def check_through_net(
    store: "Store", net: "Store", fold: str, ids: Sequence[str]
) -> None:
    """Check the common pictures as one net sees them.

    Args:
        store: Of the labelled rows.
        net: Of the common pictures.
        fold: Of the net.
        ids: Of the common pictures.
    """
    check_same_columns(store, net)
    title = "the test and unlabelled rows"
    check_ids(net, needed=ids, allowed=ids, title=title)
    check_roles(net, net.ids, ("test", "label_free"))
    check_net(net, fold)


def check_net(store: "Store", fold: str) -> None:
    """Check that a file of one net was not made by the nets of other folds alone."""
    folds = {str(net.get("fold")) for net in store.header.get("nets") or []}
    if folds and fold not in folds:
        raise UserError(
            f"{store.path}: it holds outputs of the nets of folds"
            f" {', '.join(sorted(folds))} and not of fold {fold}; {EXTRACT}"
        )


def check_sample(
    sample_ids: Sequence[str], predicted: Collection[str], path: Path
) -> None:
    """Check that the sample of the prediction file asks for just the test rows.

    Args:
        sample_ids: Ids of the sample.
        predicted: Ids that can be given a prediction.
        path: The sample's file.
    """
    requested = set(sample_ids)
    remedy = f"mend the table of [data] sample; {PREPARE}"
    if len(requested) < len(sample_ids):
        repeated = [id_ for id_, times in Counter(sample_ids).items() if times > 1]
        raise UserError(f"{path}: {named(repeated)} occur twice; {remedy}")
    if missing := requested - set(predicted):
        raise UserError(
            f"{path}: {named(missing)} are neither in the test split nor in"
            f" left_out.csv; {remedy}"
        )
    if surplus := set(predicted) - requested:
        raise UserError(
            f"{path}: it lacks {named(surplus)} of the test split; {remedy}"
        )


def check_finite(store: "Store") -> None:
    """Refuse values that are no numbers."""
    for start in range(0, len(store), AT_ONCE):
        chunk = store.values[start : start + AT_ONCE]
        not_finite = np.argwhere(~np.isfinite(chunk))
        if len(not_finite):
            row, column = not_finite[0]
            raise UserError(
                f"{store.path}: {store.columns[column]} of"
                f" {store.ids[start + row]!r} is {chunk[row, column]}; a value that is"
                f" no number would spoil every score; {EXTRACT}"
            )


def check_varying(X: Floats, names: Sequence[str]) -> None:
    """Refuse features that are the same for every row.

    Args:
        X: (N, C).
        names: Of the C columns.
    """
    if not len(X) or (np.ptp(X, axis=0) > 0).any():
        return
    raise UserError(
        f"all {len(names)} feature columns ({names[0]}, ...) are the same for every"
        " row, so there is nothing to learn from; the nets say nothing: train them"
        " anew, python -m transfer.finetune --overwrite"
    )


def check_proba(means: Floats, task: str, ids: Sequence[str]) -> None:
    """Refuse class probabilities that are none.

    Args:
        means: (N, K) means over the views of the class outputs.
        task: Their sub-task.
        ids: Of the N rows.
    """
    totals = means.sum(axis=1)
    is_wrong = (means < -SLACK).any(axis=1) | (np.abs(totals - 1) > SLACK)
    if not is_wrong.any():
        return
    worst = int(np.abs(totals - 1).argmax())
    kinds = [
        repr(name)
        for name, task_type in TASK_TYPES.items()
        if "probabilities" in task_type.target_outputs
    ]
    raise UserError(
        f"the outputs of {task!r} are no probabilities in {int(is_wrong.sum())} of"
        f" {len(means)} rows: those of {ids[worst]!r} add up to {totals[worst]:.4g}; a"
        f" task of kind {' or '.join(kinds)} gives some: train it, or name the task"
        " otherwise so that its outputs are taken for plain numbers"
    )


def check_targets(table: "pd.DataFrame", path: Path) -> None:
    """Refuse a target that is no finite number.

    Args:
        table: The rows of ``data_prep.prepare``.
        path: The table's file.
    """
    if table["target"].dtype.kind != "f":
        return
    is_infinite = np.isinf(table["target"])
    if is_infinite.any():
        raise UserError(
            f"{path}: the target of {named(table['id'][is_infinite])} is infinite;"
            f" mend the table of [data] train; {PREPARE}"
        )


def check_enough(folds: Ints, cv_groups: Ints, path: Path) -> None:
    """Check that there is something to learn in every fold, from several cv groups.

    Args:
        folds: (N,) fold of each row that has a target.
        cv_groups: (N,) what no fold tears.
        path: The table's file.
    """
    if fault := too_few_rows(folds) or lone_cv_group(folds, cv_groups):
        raise UserError(f"{path}: {fault}; {PREPARE}")

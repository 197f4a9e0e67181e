"""Join features and table by id into what is to be learned, and refuse what would leak.

Rows are brought into the order of their ids, so that the order of a table changes no
figure.

Shapes: N scored rows, C columns, K nets, M pictures that all nets have in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Ints
from data_prep.prepared import Prepared
from data_prep.rows import weights_of
from data_prep.run_folders.runs import Finished
from data_prep.user_columns import UserColumns
from stacking.cross_fitting import TrainingRows
from stacking.inputs import leak_guards
from stacking.inputs.data import Column, CommonRows, RunInfo, StackingData
from stacking.inputs.sources import Source, side_by_side

if TYPE_CHECKING:
    import pandas as pd

Protocol = Literal["oof", "insample"]
WITHOUT = "{} labelled rows have no target: they are neither learned from nor scored."
USER_TASK = "columns"  # the task of columns that are the user's own


def assemble(
    prepared: Finished,
    extracted: Finished,
    cv: str = "",
    protocol: Protocol = "oof",
    *,
    also: Mapping[str, Finished] | None = None,
    columns: Sequence[str] = (),
) -> StackingData:
    """Join the stages of a run into what the stackers learn from and predict.

    Args:
        prepared: The finished ``data_prep.prepare``.
        extracted: The finished ``features.extract``.
        cv: Scheme of the folds; empty: the stored one.
        protocol: ``insample`` reads each net's outputs on its own training rows too.
        also: By name, ``features.extract`` of other runs of the same rows and folds.
        columns: The user's own columns that the stackers see too.

    Raises:
        UserError: Something would leak, is missing, or was made from something else.
    """
    opened = Prepared.open(prepared)
    fold_hash, stored_cv = opened.metadata["fold_hash"], opened.metadata["cv"]
    leak_guards.check_folds(opened.table, fold_hash, opened.table_path)
    table = opened.table.sort_values("id", kind="stable").set_index("id", drop=False)
    stage_by_name = {"": extracted} | dict(also or {})
    sources = [
        Source.open(stage, table, opened.metadata, name)
        for name, stage in stage_by_name.items()
    ]
    is_label_free = all(source.is_label_free for source in sources)
    leak_guards.check_protocol(protocol, is_label_free=is_label_free)
    if leak_guards.check_scheme(cv, stored_cv, is_label_free=is_label_free):
        table, fold_hash = _with_new_folds(table, cv, prepared)
    leak_guards.check_targets(table, opened.table_path)
    scored = table[(table["fold"] >= 0) & table["target"].notna()]
    common = table[table["split"].isin(["test", "unlabelled"])]
    folds, cv_groups = scored["fold"].to_numpy(), scored["cv_group"].to_numpy()
    leak_guards.check_enough(folds, cv_groups, opened.table_path)
    split = "test" if (common["split"] == "test").any() else "unlabelled"
    is_predicted = (common["split"] == split).to_numpy(dtype=bool)
    user_columns, messages = None, _messages(sources, table, scored)
    if columns:
        user_columns = UserColumns.learn(scored, common[is_predicted], columns)
        messages += user_columns.messages(scored, "to learn from")
        messages += user_columns.messages(common[is_predicted], "to predict")
    data = StackingData(
        rows=_training_rows(sources, scored, opened),
        columns=tuple(column for source in sources for column in source.columns()),
        classes=opened.classes,
        target_range=opened.target_range,
        common=_common_rows(sources, common, is_predicted),
        info=RunInfo(
            ids=tuple(scored["id"]),
            target=_target(scored, opened),
            class_index=_class_index(scored, opened),
            image_rows=scored["image_row"].to_numpy(dtype=np.int64),
            cv=cv or stored_cv,
            fold_hash=fold_hash,
            is_label_free=is_label_free,
            messages=tuple(dict.fromkeys(messages)),
            user_columns=user_columns,
        ),
        in_sample=sources[0].in_sample(scored) if protocol == "insample" else (),
    )
    if user_columns is None:
        return data
    return _with_user_columns(data, user_columns, scored, common)


def _messages(
    sources: Sequence[Source], table: "pd.DataFrame", scored: "pd.DataFrame"
) -> list[str]:
    """Say what a reader should know of the features, and of rows without a target."""
    messages = [text for source in sources for text in source.messages(scored["id"])]
    if n_without_target := int((table["fold"] >= 0).sum()) - len(scored):
        messages.append(WITHOUT.format(n_without_target))
    return messages


def _training_rows(
    sources: Sequence[Source], scored: "pd.DataFrame", opened: Prepared
) -> TrainingRows:
    """Read the N rows through the nets that did not see them."""
    X = np.concatenate([source.rows(list(scored["id"])) for source in sources], axis=1)
    names = [column.name for source in sources for column in source.columns()]
    leak_guards.check_varying(X, names)
    y = _target(scored, opened)
    if opened.target_range is None:
        y = np.eye(len(opened.classes))[_class_index(scored, opened)]
    return TrainingRows(
        X=X,
        y=y,
        folds=scored["fold"].to_numpy(dtype=np.int64),
        groups=scored["cv_group"].to_numpy(dtype=np.int64),
        sample_weight=weights_of(scored),
    )


def _common_rows(
    sources: Sequence[Source], common: "pd.DataFrame", is_predicted: Bools
) -> CommonRows:
    """Read the M pictures that no net was trained on, through every net."""
    ids = list(common["id"])
    of_all = [source.of_all(ids) for source in sources]
    return CommonRows(
        ids=tuple(ids),
        nets=side_by_side([source.nets(ids) for source in sources]),
        is_predicted=is_predicted,
        cv_groups=common["cv_group"].to_numpy(dtype=np.int64),
        of_all=of_all[0] if len(of_all) == 1 else None,
    )


def _target(scored: "pd.DataFrame", opened: Prepared) -> NDArray[Any]:
    is_number = opened.target_range is not None
    return scored["target"].to_numpy(dtype=np.float64 if is_number else object)


def _class_index(scored: "pd.DataFrame", opened: Prepared) -> Ints:
    if not opened.classes:
        return np.full(len(scored), -1, dtype=np.int64)
    return scored["class_index"].to_numpy(dtype=np.int64)


def _with_user_columns(
    data: StackingData,
    user_columns: UserColumns,
    scored: "pd.DataFrame",
    common: "pd.DataFrame",
) -> StackingData:
    """Put the user's own columns beside those of the nets, the same for each net."""
    of_rows, of_common = user_columns.apply(scored), user_columns.apply(common)
    of_all = data.common.of_all
    if of_all is not None:
        of_all = np.hstack([of_all, of_common])
    nets = tuple(np.hstack([net, of_common]) for net in data.common.nets)
    columns = [
        Column(name=name, task=USER_TASK, output=name, statistic="")
        for name in user_columns.names
    ]
    return replace(
        data,
        rows=replace(data.rows, X=np.hstack([data.rows.X, of_rows])),
        columns=(*data.columns, *columns),
        common=replace(data.common, nets=nets, of_all=of_all),
        in_sample=tuple(
            replace(sample, X=np.hstack([sample.X, of_rows[sample.idx]]))
            for sample in data.in_sample
        ),
    )


def _with_new_folds(
    table: "pd.DataFrame", cv: str, prepared: Finished
) -> tuple["pd.DataFrame", str]:
    """Assign the rows that have a fold to others, as ``data_prep.prepare --cv`` would.

    Returns:
        The table, and the hash of its folds.
    """
    from data_prep.folds import fold_hash
    from data_prep.rows import with_folds

    has_group = bool(prepared.metadata["has_group"])
    leak_guards.check_groups(cv, has_group=has_group)
    # A row without a group is stored with its id for one; cv groups need no guess.
    rows = table.assign(
        group=table["cv_group"].astype(str), is_excluded=table["fold"] < 0
    )
    seed = prepared.record["settings"]["seed"]
    folds = with_folds(rows, cv, has_group=has_group, seed=seed)["fold"]
    return table.assign(fold=folds), fold_hash(table["id"], folds)

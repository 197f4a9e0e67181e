"""Join features and table by id into what is to be learned, and refuse what would leak.

Rows are brought into the order of their ids, so that the order of a table changes no
figure. Where ``[data] object`` names things of several pictures, a row is an object:
all before this module is by picture, all after it by object.

Shapes: N scored rows, C columns, K nets, M pictures or objects that all nets have in
common, P pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints
from data_prep.deals import table_of_deal
from data_prep.folds import TRAIN_FROM, fold_columns
from data_prep.prepared import Prepared
from data_prep.rows import weights_of
from data_prep.run_folders.damage import map_array
from data_prep.run_folders.runs import Finished
from data_prep.user_columns import UserColumns
from features.pixel_columns import pixel_columns
from stacking.cross_fitting import TrainingRows
from stacking.inputs import leak_guards
from stacking.inputs.data import (
    Column,
    CommonRows,
    InSample,
    PixelColumns,
    RunInfo,
    StackingData,
)
from stacking.inputs.object_pooling import pool_pictures
from stacking.inputs.objects import Objects, with_labels_of_objects
from stacking.inputs.sources import Source, beside, side_by_side

if TYPE_CHECKING:
    import pandas as pd

Protocol = Literal["oof", "insample"]
WITHOUT = "{} labelled rows have no target: they are neither learned from nor scored."
OF_OBJECTS = (
    "A row is an object, of [data] object or a file of pages: {:,} pictures of {:,}"
    " objects, {} to {} each. Its features are pooled over the views of all its"
    " pictures, and scores, intervals and predictions are of objects."
)
IN_TIME = (
    "The folds are forward in time: what predicts a fold has learned from earlier rows"
    " alone. {:,} labelled rows before the first fold are in no score."
)
OF_DEALS = (
    "The folds are dealt {} times. Each deal has nets and a stack of its own, in which"
    " all is chosen, and a prediction is the mean over the deals: of the scored rows"
    " too, whose labels no model behind it saw. Weights, steps, importance and shift"
    " are those of the first deal."
)
USER_TASK = "columns"  # the task of columns that are the user's own


def assemble_deals(
    prepared: Finished,
    extracted: Finished,
    cv: str = "",
    protocol: Protocol = "oof",
    *,
    also: Mapping[str, Finished] | None = None,
    columns: Sequence[str] = (),
) -> list[StackingData]:
    """Join the stages of a run for each deal of its folds; see ``assemble``."""
    read = partial(
        assemble, prepared, extracted, cv, protocol, also=also, columns=columns
    )
    first = read()
    deals = range(1, first.info.deal[1])
    return [first, *(read(deal=deal, same_pixels=first) for deal in deals)]


def assemble(
    prepared: Finished,
    extracted: Finished,
    cv: str = "",
    protocol: Protocol = "oof",
    *,
    also: Mapping[str, Finished] | None = None,
    columns: Sequence[str] = (),
    deal: int = 0,
    same_pixels: StackingData | None = None,
) -> StackingData:
    """Join the stages of a run into what the stackers learn from and predict.

    Args:
        prepared: The finished ``data_prep.prepare``.
        extracted: The finished ``features.extract``.
        cv: Scheme of the folds; empty: the stored one.
        protocol: ``insample`` reads each net's outputs on its own training rows too.
        also: By name, ``features.extract`` of other runs of the same rows and folds.
        columns: The user's own columns that the stackers see too.
        deal: Which deal, where folds are dealt several times: its folds and its nets.
        same_pixels: Another deal, whose columns of pixels are these too; None: they are
            made.

    Raises:
        UserError: Something would leak, is missing, or was made from something else.
    """
    opened = Prepared.open(prepared)
    fold_hash, stored_cv = opened.metadata["fold_hash"], opened.metadata["cv"]
    leak_guards.check_folds(opened.table, fold_hash, opened.table_path)
    table = opened.table.sort_values("id", kind="stable").set_index("id", drop=False)
    stage_by_name = {"": extracted} | dict(also or {})
    sources = [
        Source.open(stage, table, opened.metadata, name, deal)
        for name, stage in stage_by_name.items()
    ]
    is_label_free = all(source.is_label_free for source in sources)
    in_time = TRAIN_FROM in table
    leak_guards.check_protocol(protocol, is_label_free=is_label_free, in_time=in_time)
    if leak_guards.check_scheme(cv, stored_cv, is_label_free=is_label_free):
        table, fold_hash = _with_new_folds(table, cv, prepared)
    deals = (deal, len(fold_columns(table)))
    table = _with_labels(table_of_deal(table, deal), opened.table_path)
    scored = Pictures.of(table[(table["fold"] >= 0) & table["target"].notna()])
    common = Pictures.of(table[table["split"].isin(["test", "unlabelled"])])
    folds, cv_groups = scored.rows["fold"], scored.rows["cv_group"]
    leak_guards.check_enough(folds.to_numpy(), cv_groups.to_numpy(), opened.table_path)
    pixels, of_common = _pixels_of(scored, common, opened, same_pixels)
    user_columns, of_user_columns = _learn_user_columns(columns, scored, common)
    messages = [*_messages(sources, table, scored, deals[1]), *of_user_columns]
    data = StackingData(
        rows=_training_rows(sources, scored, opened),
        columns=_columns(sources),
        classes=opened.classes,
        target_range=opened.target_range,
        common=replace(_common_rows(sources, common), pixels=of_common),
        info=RunInfo(
            ids=scored.objects.names,
            target=_target(scored.rows, opened),
            class_index=_class_index(scored.rows, opened),
            objects=scored.objects if "object" in table else None,
            cv=cv or stored_cv,
            fold_hash=fold_hash,
            deal=deals,
            is_label_free=is_label_free,
            messages=tuple(dict.fromkeys(messages)),
            user_columns=user_columns,
        ),
        pixels=pixels,
        in_sample=_in_sample(sources[0], scored) if protocol == "insample" else (),
    )
    if user_columns is None:
        return data
    return _with_user_columns(data, user_columns, scored, common)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """P pictures of the prepared table, and what they show.

    Attributes:
        table: (P) rows, a row per picture.
        objects: Which of them show which object.
        rows: (N) rows, a row per object.
    """

    table: "pd.DataFrame"
    objects: Objects
    rows: "pd.DataFrame"

    @classmethod
    def of(cls, table: "pd.DataFrame") -> "Pictures":
        """Find the objects of P rows."""
        objects = Objects.of(table)
        return cls(table=table, objects=objects, rows=objects.rows(table))

    @property
    def ids(self) -> list[str]:
        """P ids of pictures."""
        return list(self.table["id"])

    @property
    def predicted_split(self) -> str:
        """Which split is predicted, of pictures without a label."""
        return "test" if (self.table["split"] == "test").any() else "unlabelled"

    def pool(self, values: Floats, columns: Sequence[Column]) -> Floats:
        """Pool (P, C) columns over the pictures of each object, (N, C)."""
        return pool_pictures(values, columns, self.objects)

    def pixel_columns(self, opened: Prepared) -> PixelColumns | None:
        """Give what needs no net, of objects averaged; None: the pixels are gone."""
        if not opened.images_path.exists():
            return None
        image_rows = self.table["image_row"].to_numpy(dtype=np.int64)
        X: PixelColumns = pixel_columns(map_array(opened.images_path), image_rows)
        return self.objects.mean(X).astype(np.float32, copy=False)


def _with_labels(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """Check the labels, and give those of an object to all its pictures."""
    leak_guards.check_targets(table, path)
    leak_guards.check_objects(table, path)
    return with_labels_of_objects(table)


def _columns(sources: Sequence[Source]) -> tuple[Column, ...]:
    return tuple(column for source in sources for column in source.columns())


def _messages(
    sources: Sequence[Source], table: "pd.DataFrame", scored: Pictures, n_deals: int
) -> list[str]:
    """Say what a reader should know of the features, and of rows without a target."""
    messages = [text for source in sources for text in source.messages(scored.ids)]
    if n_without_target := int((table["fold"] >= 0).sum()) - len(scored.ids):
        messages.append(WITHOUT.format(n_without_target))
    if "object" in table:
        n = scored.objects.n_pictures
        messages.append(OF_OBJECTS.format(len(scored.ids), len(n), n.min(), n.max()))
    if n_deals > 1:
        messages.append(OF_DEALS.format(n_deals))
    if TRAIN_FROM in table:
        is_first = (table["split"] == "train") & (table["fold"] < 0)
        n_first = int((is_first & table["target"].notna()).sum())
        messages.append(IN_TIME.format(n_first))
    return messages


def _training_rows(
    sources: Sequence[Source], scored: Pictures, opened: Prepared
) -> TrainingRows:
    """Read the N rows through the nets that did not see them."""
    columns, rows = _columns(sources), scored.rows
    X = beside([source.rows(scored.ids) for source in sources])
    X = scored.pool(X, columns)
    leak_guards.check_varying(X, [column.name for column in columns])
    y = _target(rows, opened)
    if opened.target_range is None:
        y = np.eye(len(opened.classes))[_class_index(rows, opened)]
    return TrainingRows(
        X=X,
        y=y,
        folds=rows["fold"].to_numpy(dtype=np.int64),
        groups=rows["cv_group"].to_numpy(dtype=np.int64),
        sample_weight=weights_of(rows),
        train_from=rows[TRAIN_FROM].to_numpy() if TRAIN_FROM in rows else None,
    )


def _common_rows(sources: Sequence[Source], common: Pictures) -> CommonRows:
    """Read the M rows that no net was trained on, through every net."""
    ids, columns, rows = common.ids, _columns(sources), common.rows
    nets = side_by_side([source.nets(ids) for source in sources])
    of_all = [source.of_all(ids) for source in sources]
    through_all = of_all[0] if len(of_all) == 1 else None
    return CommonRows(
        ids=common.objects.names,
        nets=tuple(common.pool(net, columns) for net in nets),
        is_predicted=(rows["split"] == common.predicted_split).to_numpy(dtype=bool),
        cv_groups=rows["cv_group"].to_numpy(dtype=np.int64),
        of_all=None if through_all is None else common.pool(through_all, columns),
    )


def _in_sample(source: Source, scored: Pictures) -> tuple[InSample, ...]:
    """Read each net's outputs on the rows that it was trained on."""
    by_net = []
    for sample in source.in_sample(scored.table):
        objects, object_idx = scored.objects.take(sample.idx)
        X = pool_pictures(sample.X, source.columns(), objects)
        by_net.append(InSample(idx=object_idx, X=X))
    return tuple(by_net)


def _target(scored: "pd.DataFrame", opened: Prepared) -> NDArray[Any]:
    is_number = opened.target_range is not None
    return scored["target"].to_numpy(dtype=np.float64 if is_number else object)


def _class_index(scored: "pd.DataFrame", opened: Prepared) -> Ints:
    if not opened.classes:
        return np.full(len(scored), -1, dtype=np.int64)
    return scored["class_index"].to_numpy(dtype=np.int64)


def _pixels_of(
    scored: Pictures,
    common: Pictures,
    opened: Prepared,
    same_pixels: StackingData | None,
) -> tuple[PixelColumns | None, PixelColumns | None]:
    """Describe the pixels of both, or take them over from another deal."""
    if same_pixels is not None:
        return same_pixels.pixels, same_pixels.common.pixels
    return scored.pixel_columns(opened), common.pixel_columns(opened)


def _learn_user_columns(
    names: Sequence[str], scored: Pictures, common: Pictures
) -> tuple[UserColumns | None, list[str]]:
    """Learn how the user's own columns are made numbers, and say what they lack."""
    if not names:
        return None, []
    to_predict = common.table[common.table["split"] == common.predicted_split]
    user_columns = UserColumns.learn(scored.table, to_predict, names)
    messages = [
        *user_columns.messages(scored.table, "to learn from"),
        *user_columns.messages(to_predict, "to predict"),
    ]
    return user_columns, messages


def _with_user_columns(
    data: StackingData, user_columns: UserColumns, scored: Pictures, common: Pictures
) -> StackingData:
    """Put the user's own columns beside those of the nets, the same for each net.

    Of an object they are the means over its pictures.
    """
    of_rows, of_common = (
        pictures.objects.mean(user_columns.apply(pictures.table))
        for pictures in (scored, common)
    )
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
    from data_prep.folds import hash_of_folds
    from data_prep.rows import with_folds

    has_group = bool(prepared.metadata["has_group"])
    leak_guards.check_groups(cv, has_group=has_group)
    table = table.drop(columns=[*fold_columns(table)[1:], TRAIN_FROM], errors="ignore")
    # A row without a group is stored with its id for one; cv groups need no guess.
    cv_groups = table["cv_group"].astype(str)
    rows = table.assign(
        group=cv_groups, same_as=cv_groups, is_excluded=table["fold"] < 0
    )
    seed = prepared.record["settings"]["seed"]
    rows = with_folds(rows, cv, has_group=has_group, seed=seed)
    folds = {column: rows[column] for column in fold_columns(rows)}
    table = table.assign(**folds)
    return table, hash_of_folds(table)

"""Join features and table by id into what is to be learned, and refuse what would leak.

Rows are brought into the order of their ids, so that the order of a table changes no
figure.

Shapes: N scored rows, C columns, K nets, M pictures that all nets have in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.prepared import Prepared
from data_prep.rows import weights_of
from data_prep.run_folders.runs import Finished
from stacking.inputs import leak_guards
from stacking.inputs.baseline_columns import OwnColumns
from stacking.inputs.data import Assembled, Column, InSample
from stacking.inputs.sources import Source, joined

if TYPE_CHECKING:
    import pandas as pd

Protocol = Literal["oof", "insample"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WITHOUT = "{} labelled rows have no target: they are neither learned from nor scored."
OWN = "columns"  # the task of columns that are the user's own


def assemble(
    prepared: Finished,
    extracted: Finished,
    cv: str = "",
    protocol: Protocol = "oof",
    *,
    others: Mapping[str, Finished] | None = None,
    columns: Sequence[str] = (),
) -> Assembled:
    """Join the stages.

    Args:
        prepared: The finished ``data_prep.prepare``.
        extracted: The finished ``features.extract``.
        cv: Scheme of the folds; empty: the stored one.
        protocol: ``insample`` reads each net's outputs on its own training rows too.
        others: By name, ``features.extract`` of other runs of the same rows and folds.
        columns: The user's own columns that the stackers see too.

    Raises:
        UserError: Something would leak, is missing, or was made from something else.
    """
    leak_guards.check_of_outputs(extracted.folder)
    opened = Prepared.open(prepared)
    metadata, table, place = prepared.metadata, opened.table, opened.table_path
    if "target" not in table or metadata.get("target_kind") is None:
        raise UserError(
            f"{place}: there is no target to predict; name its column in [data] target,"
            " then: python -m data_prep.prepare --experiment FILE"
        )
    digest = metadata["fold_hash"]
    leak_guards.check_folds(table, digest, place)
    table = table.sort_values("id", kind="stable").set_index("id", drop=False)
    named = {"": extracted} | dict(others or {})
    sources = [Source.open(one, table, metadata, name) for name, one in named.items()]
    is_label_free = all(source.is_label_free for source in sources)
    leak_guards.check_protocol(protocol, is_label_free=is_label_free)
    if leak_guards.check_scheme(cv, metadata["cv"], is_label_free=is_label_free):
        table, digest = _dealt_anew(table, cv, prepared)
    leak_guards.check_targets(table, place)
    scored = table[(table["fold"] >= 0) & table["target"].notna()]
    n_without = int((table["fold"] >= 0).sum()) - len(scored)
    common = table[table["split"].isin(["test", "unlabelled"])]
    leak_guards.check_enough(
        scored["fold"].to_numpy(), scored["cv_group"].to_numpy(), place
    )
    ids, common_ids = list(scored["id"]), list(common["id"])
    asked = "test" if (common["split"] == "test").any() else "unlabelled"
    is_predicted = (common["split"] == asked).to_numpy(dtype=bool)
    own = OwnColumns.learn(scored, common[is_predicted], columns) if columns else None
    X = np.concatenate([source.rows(ids) for source in sources], axis=1)
    nets = joined([source.nets(common_ids) for source in sources])
    every = [source.of_all(common_ids) for source in sources]
    weights = weights_of(scored)
    names = [column for source in sources for column in source.columns()]
    leak_guards.check_varying(X, [column.name for column in names])
    is_number = metadata["target_kind"] == "numeric"
    found = Assembled(
        ids=tuple(ids),
        X=X,
        target=scored["target"].to_numpy(dtype=np.float64 if is_number else object),
        class_index=_class_index(scored, bool(opened.classes)),
        classes=opened.classes,
        folds=scored["fold"].to_numpy(dtype=np.int64),
        cv_groups=scored["cv_group"].to_numpy(dtype=np.int64),
        image_rows=scored["image_row"].to_numpy(dtype=np.int64),
        columns=tuple(names),
        common_ids=tuple(common_ids),
        nets=nets,
        is_predicted=is_predicted,
        target_range=opened.target_range,
        cv=cv or metadata["cv"],
        fold_hash=digest,
        is_label_free=is_label_free,
        in_sample=sources[0].in_sample(scored) if protocol == "insample" else (),
        notes=(
            *dict.fromkeys(note for source in sources for note in source.notes(ids)),
            *[WITHOUT.format(n_without)] * bool(n_without),
            *(own.notes(scored, "to learn from") if own else ()),
            *(own.notes(common[is_predicted], "to predict") if own else ()),
        ),
        weights=weights if (weights != 1).any() else None,
        of_all=every[0] if len(every) == 1 else None,
        common_cv_groups=common["cv_group"].to_numpy(dtype=np.int64),
    )
    return found if own is None else _with_own(found, own, scored, common)


def _with_own(
    rows: Assembled, own: "OwnColumns", scored: "pd.DataFrame", common: "pd.DataFrame"
) -> Assembled:
    """Put the user's own columns beside those of the nets; each net says the same."""
    mine, beside = own.apply(scored), own.apply(common)
    named = tuple(Column(name, OWN, name, "") for name in own.names)
    return replace(
        rows,
        X=np.concatenate([rows.X, mine], axis=1),
        columns=(*rows.columns, *named),
        nets=tuple(np.concatenate([net, beside], axis=1) for net in rows.nets),
        in_sample=tuple(
            InSample(
                seen.rows,
                np.concatenate([seen.values, mine[seen.rows]], axis=1),
            )
            for seen in rows.in_sample
        ),
        of_all=None
        if rows.of_all is None
        else np.concatenate([rows.of_all, beside], axis=1),
        own=own,
    )


def _dealt_anew(
    table: "pd.DataFrame", cv: str, prepared: Finished
) -> tuple["pd.DataFrame", str]:
    """Deal the rows that have a fold anew, as ``data_prep.prepare --cv`` would.

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


def _class_index(scored: "pd.DataFrame", has_classes: bool) -> Ints:
    if not has_classes:
        return np.full(len(scored), -1, dtype=np.int64)
    return scored["class_index"].to_numpy(dtype=np.int64)

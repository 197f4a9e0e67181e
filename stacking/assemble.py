"""Join features and table by id into what is to be learned, and refuse what would leak.

Shapes: N scored rows, C columns, K nets, M pictures that all nets have in common.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.runs import Finished
from stacking import guards
from stacking.rows import Assembled, Column, InSample

if TYPE_CHECKING:
    import pandas as pd

    from features.store import Store

Protocol = Literal["oof", "insample"]
Ints = NDArray[np.int64]


def assemble(
    prepared: Finished, extracted: Finished, cv: str = "", protocol: Protocol = "oof"
) -> Assembled:
    """Join the two stages.

    Args:
        prepared: The finished ``data_prep.prepare``.
        extracted: The finished ``features.extract``.
        cv: Scheme of the folds; empty: the stored one.
        protocol: ``insample`` reads each net's outputs on its own training rows too.

    Raises:
        UserError: Something would leak, is missing, or was made from something else.
    """
    import pandas as pd

    from features.store import open_store

    guards.check_of_outputs(extracted.folder)
    facts, place = prepared.facts, prepared.folder / "table.parquet"
    table = pd.read_parquet(place)
    if "target" not in table or facts.get("target_kind") is None:
        raise UserError(
            f"{place}: there is no target to predict; name its column in [data] target,"
            " then: python -m data_prep.prepare --experiment FILE"
        )
    digest = facts["fold_hash"]
    guards.check_folds(table, digest, place)
    table = table.set_index("id", drop=False)
    store = open_store(extracted.folder / "features.pkl")
    guards.check_pooled(store)
    guards.check_not_selected(store)
    is_label_free = bool(np.all(store.roles == "label_free"))
    guards.check_protocol(protocol, is_label_free=is_label_free)
    dealt = table[table["fold"] >= 0]
    others = table[table["part"].isin(["test", "unlabelled"])]
    wanted = [*dealt["id"], *others["id"]]
    guards.check_ids(store, wanted, list(table["id"]), "the run's rows")
    guards.check_fold_of_rows(store, dict(table["fold"]), digest)
    if guards.check_scheme(cv, facts["cv"], is_label_free=is_label_free):
        table, digest = _dealt_anew(table, cv, prepared)
    scored = table[(table["fold"] >= 0) & table["target"].notna()]
    guards.check_roles(store, list(scored["id"]), guards.HONEST)
    guards.check_roles(store, list(others["id"]), ("test", "label_free"))
    guards.check_enough(scored["fold"].to_numpy(), place)
    nets = _nets(extracted.folder, store, list(others["id"]), facts)
    asked = "test" if (others["part"] == "test").any() else "unlabelled"
    classes = facts.get("classes") or []
    is_number = facts["target_kind"] == "numeric"
    low, high = facts["target_range"] if is_number else (0.0, 0.0)
    return Assembled(
        ids=tuple(scored["id"]),
        X=store.matrix(scored["id"]).astype(np.float64),
        target=scored["target"].to_numpy(dtype=np.float64 if is_number else object),
        class_index=_class_index(scored, bool(classes)),
        classes=tuple(map(str, classes)),
        folds=scored["fold"].to_numpy(dtype=np.int64),
        clusters=scored["cluster"].to_numpy(dtype=np.int64),
        image_rows=scored["image_row"].to_numpy(dtype=np.int64),
        columns=_columns(store),
        common_ids=tuple(others["id"]),
        nets=tuple(net.matrix(others["id"]).astype(np.float64) for net in nets),
        is_predicted=(others["part"] == asked).to_numpy(dtype=bool),
        target_range=(float(low), float(high)) if is_number else None,
        cv=cv or facts["cv"],
        fold_hash=digest,
        is_label_free=is_label_free,
        in_sample=_in_sample(extracted.folder, store, scored, facts)
        if protocol == "insample"
        else (),
        notes=_notes(store, list(scored["id"])),
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

    has_group = bool(prepared.facts["has_group"])
    guards.check_groups(cv, has_group=has_group)
    # A row without a group is stored with its id for one; clusters need no guess.
    rows = table.assign(
        group=table["cluster"].astype(str), is_excluded=table["fold"] < 0
    )
    seed = prepared.record["settings"]["seed"]
    folds = with_folds(rows, cv, has_group=has_group, seed=seed)["fold"]
    return table.assign(fold=folds), fold_hash(table["id"], folds)


def _class_index(scored: "pd.DataFrame", has_classes: bool) -> Ints:
    if not has_classes:
        return np.full(len(scored), -1, dtype=np.int64)
    return scored["class_index"].to_numpy(dtype=np.int64)


def _columns(store: "Store") -> tuple[Column, ...]:
    return tuple(
        Column(
            column["name"],
            str(column.get("task") or column["name"].partition("__")[0]),
            "" if column.get("output") is None else str(column["output"]),
            str(column.get("statistic") or ""),
        )
        for column in store.header["columns"]
    )


def _nets(
    folder: Path, store: "Store", ids: Sequence[str], facts: dict[str, Any]
) -> list["Store"]:
    """Open what each fold net says of the pictures they have in common."""
    from features.store import open_store

    if not ids:
        return []
    if np.all(store.roles == "label_free"):
        return [store]
    nets = []
    for fold in range(facts["n_folds"]):
        path = folder / "nets" / f"fold{fold}.pkl"
        if not path.exists():
            raise UserError(f"{path} is missing; {guards.EXTRACT}")
        net = open_store(path)
        guards.check_same_columns(store, net)
        guards.check_ids(net, ids, ids, "the test and unlabelled rows")
        guards.check_roles(net, net.ids, ("test", "label_free"))
        guards.check_net(net, fold)
        nets.append(net)
    return nets


def _in_sample(
    folder: Path, store: "Store", scored: "pd.DataFrame", facts: dict[str, Any]
) -> tuple[InSample, ...]:
    """Read what each net says of the rows it was trained on."""
    from features.store import open_store

    folds = scored["fold"].to_numpy()
    found = []
    for fold in range(facts["n_folds"]):
        path = folder / "insample" / f"fold{fold}.pkl"
        if not path.exists():
            raise UserError(f"{path} is missing; {guards.EXTRACT} --insample")
        seen = open_store(path)
        guards.check_same_columns(store, seen)
        guards.check_net(seen, fold)
        guards.check_roles(seen, seen.ids, ("insample",))
        rows = np.flatnonzero(folds != fold)
        ids = list(scored["id"].iloc[rows])
        held_out = set(scored["id"].iloc[np.flatnonzero(folds == fold)])
        if unseen := held_out & set(seen.ids):
            raise UserError(
                f"{path}: {guards.named(unseen)} are held out with fold {fold}; its net"
                f" was not trained on them; {guards.EXTRACT} --insample"
            )
        found.append(InSample(rows, seen.matrix(ids).astype(np.float64)))
    return tuple(found)


def _notes(store: "Store", ids: Sequence[str]) -> tuple[str, ...]:
    """Say what the features owe to labels that a reader should know of."""
    role_of = dict(zip(store.ids, store.roles.tolist(), strict=True))
    roles = {role_of[id_] for id_ in ids}
    notes = []
    if "oof_selected" in roles:
        notes.append(
            "Out-of-fold, selected: the epoch of each net was chosen on the rows that"
            " it is scored on here, so the scores are somewhat too good."
        )
    if store.header.get("selected_with_labels"):
        notes.append(
            "The pretext checkpoint was chosen by a probe that saw labels of all folds,"
            " so the scores are slightly too good."
        )
    return tuple(notes)

"""Tests of assemble and leak_guards: what is joined, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.folds import fold_hash
from data_prep.rows import with_folds
from data_prep.run_folders.runs import Run
from features.store import open_store, write_store
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.inputs.leak_guards import check_enough, check_sample
from tests.drilled import in_drills
from tests.prepared_runs import whole_header

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]


def assembled(folder: Path, cv: str = "", protocol: Any = "oof") -> StackingData:
    run = Run(folder)
    prepared, extracted = run.finished("data_prep.prepare"), "features.extract"
    return assemble(prepared, run.finished(extracted), cv, protocol)


def edit_table(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "data_prep.prepare" / "table.parquet"
    change(pd.read_parquet(path)).to_parquet(path)


def edit_facts(folder: Path, **metadata: Any) -> None:
    path = folder / "data_prep.prepare" / "record.json"
    record = json.loads(path.read_text())
    record["facts"] |= metadata
    path.write_text(json.dumps(record))


def edit_seed(folder: Path, seed: int) -> None:
    path = folder / "data_prep.prepare" / "record.json"
    record = json.loads(path.read_text())
    record["settings"]["seed"] = seed
    path.write_text(json.dumps(record))


def edit_store(
    path: Path, change: Callable[[dict[str, Any]], Any], ids: Any = None
) -> None:
    """Rewrite a store with a changed header, for ``ids`` only where they are given."""
    store = open_store(path)
    header = json.loads(json.dumps(whole_header(store)))
    chosen = list(store.ids) if ids is None else ids
    values = store.matrix([id_ if id_ in store else store.ids[0] for id_ in chosen])
    change(header)
    if ids is not None:
        rows = [store.ids.index(id_) if id_ in store else 0 for id_ in chosen]
        for key in ("roles", "folds"):
            header[key] = [header[key][row] for row in rows]
    write_store(path, chosen, values, header)


def features(folder: Path) -> Path:
    return folder / "features.extract" / "features.pkl"


def test_rows_are_joined_by_id_whatever_their_order(make_run: MakeRun) -> None:
    folder = make_run()
    first = assembled(folder)
    edit_table(folder, lambda table: table.sample(frac=1, random_state=0))
    other = assembled(folder)
    place = {id_: row for row, id_ in enumerate(other.info.ids)}
    order = [place[id_] for id_ in first.info.ids]
    assert sorted(first.info.ids) == sorted(other.info.ids)
    for name in ("X", "y", "folds", "groups", "sample_weight"):
        before, after = (getattr(data.rows, name) for data in (first, other))
        assert np.array_equal(before, after[order])
    for name in ("target", "class_index"):
        before, after = (getattr(data.info, name) for data in (first, other))
        assert np.array_equal(before, after[order])
    assert first.pixels is not None
    assert other.pixels is not None
    assert np.array_equal(first.pixels, other.pixels[order])
    columns = {id_: row for row, id_ in enumerate(other.common.ids)}
    order = [columns[id_] for id_ in first.common.ids]
    for net in range(3):
        assert np.array_equal(first.common.nets[net], other.common.nets[net][order])


def test_each_row_is_seen_through_the_net_that_never_saw_it(make_run: MakeRun) -> None:
    folder = make_run()
    data = assembled(folder)
    store = open_store(features(folder))
    assert set(store.roles[np.isin(store.ids, data.info.ids)]) == {"oof"}
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    table = table.set_index("id")
    assert data.rows.folds.tolist() == table.loc[list(data.info.ids), "fold"].tolist()
    assert np.array_equal(data.rows.X, store.matrix(data.info.ids).astype(np.float64))


def test_rows_without_a_target_or_a_fold_are_not_scored(make_run: MakeRun) -> None:
    folder = make_run()
    ids = assembled(folder).info.ids
    blank = ids[:5]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(target=table["target"].mask(table["id"].isin(blank)))

    edit_table(folder, change)
    assert set(assembled(folder).info.ids) == set(ids[5:])


def test_unlabelled_pictures_are_predicted_only_without_a_test_part(
    make_run: MakeRun, tmp_path: Path
) -> None:
    data = assembled(make_run())
    assert (len(data.common.ids), data.common.is_predicted.sum()) == (90, 80)
    Path(tmp_path / "run").rename(tmp_path / "first")
    data = assembled(make_run(n_test=0))
    assert (len(data.common.ids), data.common.is_predicted.sum()) == (10, 10)


def test_a_run_without_pictures_to_predict_has_no_nets(make_run: MakeRun) -> None:
    data = assembled(make_run(n_test=0, n_unlabelled=0))
    assert data.common.nets == ()
    assert data.common.ids == ()


@pytest.mark.parametrize("tasks", [("target",), ("onehot", "date"), ("words",)])
def test_fewer_tasks_are_fewer_columns(make_run: MakeRun, tasks: Any) -> None:
    data = assembled(make_run(tasks=tasks))
    assert {column.task for column in data.columns} == set(tasks)
    assert data.rows.X.shape[1] == len(data.columns)


# What is refused, each by its name.


def test_other_folds_than_stored_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(
        UserError, match=r"the run's folds are sgkfold3.*data_prep.prepare --cv gkfold5"
    ):
        assembled(make_run(), cv="gkfold5")


def test_the_stored_scheme_may_be_named(make_run: MakeRun) -> None:
    assert assembled(make_run(), cv="sgkfold3").info.cv == "sgkfold3"


def test_features_that_saw_no_label_may_be_given_new_folds(make_run: MakeRun) -> None:
    data = assembled(make_run(is_label_free=True), cv="gkfold5")
    assert data.rows.n_folds == 5
    assert data.info.is_label_free
    assert len(data.common.nets) == 1
    torn = pd.Series(data.rows.folds).groupby(data.rows.groups).nunique()
    assert torn.max() == 1


@pytest.mark.parametrize("seed", [3, in_drills(0)])
@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize(
    ("stored", "cv", "has_group"),
    [
        ("sgkfold3", "gkfold5", True),
        ("gkfold3", "sgkfold4", True),
        ("skfold3", "kfold3", False),
        ("kfold5", "skfold2", False),
    ],
)
def test_new_folds_are_those_that_prepare_deals_under_that_name(
    make_run: MakeRun, stored: str, cv: str, has_group: bool, is_text: bool, seed: int
) -> None:
    folder = make_run(is_label_free=True, is_text=is_text)
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    number = np.arange(len(table))
    rows = table.assign(
        group=table["group"].where(number % 7 > 0, "") if has_group else "",
        same_as=table["sha256"].where(number % 9 > 0, "copies"),
        pixels_sha256=table["sha256"],
        is_excluded=(table["split"] == "train") & (number % 11 == 0),
        target=table["target"].mask(number % 13 == 0),
    )

    def dealt(scheme: str) -> pd.DataFrame:
        return with_folds(rows, scheme, has_group=has_group, seed=seed)

    before, expected = dealt(stored), dealt(cv)
    edit_table(folder, lambda _: before.drop(columns="is_excluded"))
    digest = fold_hash(before["id"], before["fold"])
    edit_facts(folder, has_group=has_group, cv=stored, fold_hash=digest)
    edit_seed(folder, seed)
    found = assembled(folder, cv=cv)
    scored = expected[(expected["fold"] >= 0) & expected["target"].notna()]
    assert list(found.info.ids) == scored["id"].tolist()
    assert found.rows.folds.tolist() == scored["fold"].tolist()
    assert found.info.fold_hash == fold_hash(expected["id"], expected["fold"])
    assert found.info.fold_hash != digest


@pytest.mark.parametrize(
    ("cv", "has_group", "message"),
    [
        ("gkfold5", False, r"'gkfold5' keeps groups, but .* give --cv kfold5$"),
        ("sgkfold4", False, r"'sgkfold4' keeps groups, but .* give --cv skfold4$"),
        ("kfold5", True, r"'kfold5' would tear the groups .* give --cv gkfold5$"),
        ("skfold4", True, r"'skfold4' would tear the groups .* give --cv sgkfold4$"),
        ("fold4", True, r"cv = 'fold4': give kfold, skfold"),
    ],
)
def test_schemes_that_prepare_refuses_are_refused(
    make_run: MakeRun, cv: str, has_group: bool, message: str
) -> None:
    folder = make_run(is_label_free=True)
    edit_facts(folder, has_group=has_group)
    with pytest.raises(UserError, match=message):
        assembled(folder, cv=cv)


def test_features_that_saw_no_label_have_no_leak_to_show(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match=r"saw no label.*leave --protocol out"):
        assembled(make_run(is_label_free=True), protocol="insample")


@pytest.mark.parametrize("role", ["insample", "test"])
def test_rows_of_a_wrong_role_are_refused(make_run: MakeRun, role: str) -> None:
    folder = make_run()
    wrong = assembled(folder).info.ids[:2]

    def change(header: dict[str, Any]) -> None:
        for row, id_ in enumerate(header["ids"]):
            if id_ in wrong:
                header["roles"][row] = role

    edit_store(features(folder), change)
    with pytest.raises(UserError, match=rf"2 ids \('{wrong[0]}'.* role '{role}'"):
        assembled(folder)


def test_test_rows_of_a_wrong_role_are_refused(make_run: MakeRun) -> None:
    folder = make_run()

    def change(header: dict[str, Any]) -> None:
        header["roles"] = ["insample" for _ in header["roles"]]

    edit_store(folder / "features.extract" / "nets" / "fold1.pkl", change)
    with pytest.raises(UserError, match=r"fold1.pkl: 90 ids .* role 'insample'"):
        assembled(folder)


@pytest.mark.parametrize(
    ("views", "text"),
    [
        (["e", "h"], "each picture as it is and mirrored left-right, and not turned"),
        (["e"], "each picture as it is, and not turned"),
        (["e", "hv", "r", "hvr"], None),
    ],
)
def test_nets_that_were_shown_no_turned_picture_are_told_of(
    make_run: MakeRun, views: list[str], text: str | None
) -> None:
    folder = make_run()

    def change(header: dict[str, Any]) -> None:
        header["pooled_over"] = views

    edit_store(features(folder), change)
    messages = assembled(folder).info.messages
    assert len(messages) == (text is not None)
    assert text is None or text in messages[0]


def test_rows_whose_epoch_was_chosen_on_them_are_named(make_run: MakeRun) -> None:
    folder = make_run()

    def change(header: dict[str, Any]) -> None:
        header["roles"] = [r.replace("oof", "oof_selected") for r in header["roles"]]
        header["selected_with_labels"] = True

    edit_store(features(folder), change)
    messages = assembled(folder).info.messages
    assert any("Out-of-fold, selected" in text for text in messages)
    assert any("chosen by a probe" in text for text in messages)


@pytest.mark.parametrize("cv", ["", "gkfold5"])
@pytest.mark.parametrize("protocol", ["oof", "insample"])
def test_features_whose_backbone_was_chosen_by_labels_are_refused_by_name(
    make_run: MakeRun, cv: str, protocol: str
) -> None:
    folder = make_run(is_label_free=True)

    def change(header: dict[str, Any]) -> None:
        header["roles"] = ["selected_with_labels"] * len(header["roles"])

    edit_store(features(folder), change)
    message = r"features.pkl: its rows have role 'selected_with_labels': a probe .*last"
    with pytest.raises(UserError, match=message):
        assembled(folder, cv=cv, protocol=protocol)


def test_features_of_other_folds_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edit_store(features(folder), lambda header: header.update(fold_hash="other"))
    with pytest.raises(UserError, match=r"made with other folds.*fold_hash differs"):
        assembled(folder)


def test_rows_held_out_with_another_fold_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    wrong = assembled(folder).info.ids[0]

    def change(header: dict[str, Any]) -> None:
        row = header["ids"].index(wrong)
        header["folds"][row] = (header["folds"][row] + 1) % 3

    edit_store(features(folder), change)
    with pytest.raises(UserError, match=rf"'{wrong}'.* held out with another fold"):
        assembled(folder)


def test_a_table_with_edited_folds_is_refused(make_run: MakeRun) -> None:
    folder = make_run()

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(fold=table["fold"].replace({0: 1, 1: 0}))

    edit_table(folder, change)
    with pytest.raises(UserError, match=r"not the ones data_prep\.prepare made"):
        assembled(folder)


def test_a_cv_group_torn_over_folds_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    ids = assembled(folder).info.ids

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(cv_group=table["cv_group"].mask(table["fold"] >= 0, 7))

    edit_table(folder, change)
    with pytest.raises(UserError, match="1 cv groups are torn over folds") as caught:
        assembled(folder)
    assert repr(min(ids)) in str(caught.value)


def test_an_id_that_occurs_twice_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edit_table(
        folder,
        lambda table: pd.concat([table, table[:1].assign(image_row=len(table))]),
    )
    with pytest.raises(UserError, match=r"1 id \('p0000'\) occur twice"):
        assembled(folder)


def test_missing_rows_are_refused_with_the_reason(make_run: MakeRun) -> None:
    folder = make_run()
    ids = list(open_store(features(folder)).ids)
    failures = {ids[-1]: "it broke"}
    edit_store(features(folder), lambda h: h.update(failures=failures), ids[:-1])
    remedy = r"again: python -m features\.extract --overwrite$"
    match = rf"lacks 1 id \('{ids[-1]}'\) of the run's rows \(it broke\); {remedy}"
    with pytest.raises(UserError, match=match):
        assembled(folder)


def test_rows_of_a_fold_that_was_not_trained_are_to_be_trained(
    make_run: MakeRun,
) -> None:
    folder = make_run()
    ids = list(open_store(features(folder)).ids)
    failures = {ids[0]: "no net of fold 1 was trained"}
    edit_store(features(folder), lambda h: h.update(failures=failures), ids[1:])
    match = (
        r"no net of fold 1 was trained\); train the missing folds: python -m"
        r" transfer\.finetune \(without --folds\), then python -m features\.extract$"
    )
    with pytest.raises(UserError, match=match):
        assembled(folder)


def test_surplus_rows_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    ids = [*open_store(features(folder)).ids, "stranger"]
    edit_store(features(folder), lambda _: None, ids)
    with pytest.raises(UserError, match=r"1 id \('stranger'\) are not among"):
        assembled(folder)


def test_spaces_that_differ_from_net_to_net_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edit_store(
        folder / "features.extract" / "nets" / "fold2.pkl",
        lambda h: h["columns"][0].update(space="net 2"),
    )
    with pytest.raises(UserError, match="'target__mean' is of several spaces"):
        assembled(folder)


def test_nets_with_other_columns_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edit_store(
        folder / "features.extract" / "nets" / "fold2.pkl",
        lambda h: h["columns"][0].update(name="other__mean"),
    )
    with pytest.raises(UserError, match=r"fold2.pkl: its column 'other__mean' stands"):
        assembled(folder)


def test_a_file_of_another_net_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    edit_store(
        folder / "features.extract" / "nets" / "fold2.pkl",
        lambda h: h.update(nets=[{"task": "target", "fold": "1"}]),
    )
    with pytest.raises(UserError, match="nets of folds 1 and not of fold 2"):
        assembled(folder)


def test_views_that_are_not_pooled_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    store = open_store(features(folder))
    header = whole_header(store) | {"views": ["e"]}
    values = np.array(store.values)[:, None, :]
    write_store(features(folder), store.ids, values, header)
    with pytest.raises(UserError, match="views are not pooled; again: python -m fea"):
        assembled(folder)


def test_a_net_that_is_missing_is_named(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "features.extract" / "nets" / "fold1.pkl").unlink()
    with pytest.raises(UserError, match=r"fold1.pkl is missing; again: python -m fe"):
        assembled(folder)


def test_too_few_rows_are_refused() -> None:
    place, remedy = Path("t.parquet"), r".*\[data\] train; again: python -m data_prep"
    with pytest.raises(UserError, match=f"^t.parquet: 10 rows have a target{remedy}"):
        check_enough(np.arange(10) % 3, np.arange(10), place)
    with pytest.raises(UserError, match=r"\[29, 1\] by fold"):
        check_enough(np.array([0] * 29 + [1]), np.arange(30), place)
    with pytest.raises(UserError, match="0 rows have a target"):
        check_enough(np.array([], dtype=np.int64), np.array([]), place)


def test_a_fold_that_is_one_group_is_refused() -> None:
    folds = np.arange(30) % 3
    with pytest.raises(UserError, match=r"^t.parquet: fold 1 is one group.*finer col"):
        check_enough(folds, np.where(folds == 1, 7, np.arange(30)), Path("t.parquet"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["a", "b", "b"], r"1 id \('b'\) occur twice"),
        (["a", "b", "c"], r"1 id \('c'\) are neither in the test split nor in left_"),
        (["a"], r"it lacks 1 id \('b'\) of the test split"),
    ],
)
def test_a_sample_of_other_ids_is_refused(asked: list[str], message: str) -> None:
    remedy = r".*; mend the table of \[data\] sample; again: python -m data_prep\.prep"
    with pytest.raises(UserError, match=f"^sample.csv: .*{message}{remedy}"):
        check_sample(asked, ["a", "b"], Path("sample.csv"))


def test_the_in_sample_protocol_needs_its_files(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match=r"fold0.pkl is missing.*--insample"):
        assembled(make_run(), protocol="insample")


def test_in_sample_rows_are_those_of_the_other_folds(make_run: MakeRun) -> None:
    data = assembled(make_run(has_insample=True), protocol="insample")
    for fold, seen in enumerate(data.in_sample):
        assert seen.idx.tolist() == np.flatnonzero(data.rows.folds != fold).tolist()
        assert (data.rows.X[seen.idx] != seen.X).any(axis=1).all()


def test_in_sample_rows_that_the_net_never_saw_are_refused(make_run: MakeRun) -> None:
    folder = make_run(has_insample=True)
    held_out = [
        id_
        for id_, fold in zip(
            assembled(folder).info.ids, assembled(folder).rows.folds, strict=True
        )
        if fold == 0
    ]
    path = folder / "features.extract" / "insample" / "fold0.pkl"
    ids = [*open_store(path).ids, held_out[0]]
    edit_store(path, lambda _: None, ids)
    with pytest.raises(UserError, match=rf"'{held_out[0]}'\) are held out with fold 0"):
        assembled(folder, protocol="insample")


def test_the_hash_of_the_made_up_run_is_that_of_its_folds(make_run: MakeRun) -> None:
    data = assembled(make_run())
    assert data.info.fold_hash == fold_hash(data.info.ids, data.rows.folds.tolist())

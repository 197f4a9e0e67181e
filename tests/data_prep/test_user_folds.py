"""Tests of data_prep.user_folds: checked, and then taken as they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import TRAIN_FROM, fold_masks
from data_prep.run_folders.runs import Run
from data_prep.user_folds import UserFolds, read_user_folds
from tests.data_prep.sheets import IDS, N, prepare, refused, table_of, write_table

SHEETS = np.arange(N) // 2  # two pictures to a sheet
OWN = SHEETS % 4


def write_folds(folder: Path, name: str = "own.csv", **columns: object) -> str:
    """Write a table of folds, and give the flag that takes it."""
    pd.DataFrame({"id": IDS, "fold": OWN} | columns).to_csv(folder / name, index=False)
    return f"--folds={folder / name}"


def facts_of(stage: Path) -> dict[str, object]:
    run = Run(stage.parent)
    return run.finished("data_prep.prepare", check_inputs=False).metadata


def test_a_file_is_taken_as_it_is(folder: Path) -> None:
    stage = prepare(folder, write_folds(folder))
    assert_array_equal(table_of(stage)["fold"].loc[IDS], OWN)
    facts = facts_of(stage)
    assert facts["cv"] == "own4"
    assert facts["n_folds"] == 4


def test_what_prepare_writes_can_be_given_back(folder: Path) -> None:
    drawn = prepare(folder)
    written = drawn / "folds.csv"
    lines = written.read_text().splitlines()
    assert lines[0] == "id,fold"
    assert len(lines) == N + 1
    again = prepare(folder, f"--folds={written}", run="again")
    assert_array_equal(table_of(again)["fold"], table_of(drawn)["fold"])
    assert (again / "folds.csv").read_bytes() == written.read_bytes()
    assert facts_of(again)["fold_hash"] == facts_of(drawn)["fold_hash"]


def test_so_can_folds_in_time_and_they_still_are(folder: Path) -> None:
    write_table(folder, made=[1900 + k // 2 for k in range(N)])
    drawn = prepare(folder, "--cv=time3", "--gap=2", data='date = "made"')
    flag = f"--folds={drawn / 'folds.csv'}"
    again = prepare(folder, flag, data='date = "made"', run="again")
    assert facts_of(again)["fold_hash"] == facts_of(drawn)["fold_hash"]
    for fold in range(3):
        for mask, other in zip(
            fold_masks(table_of(drawn), str(fold)),
            fold_masks(table_of(again), str(fold)),
            strict=True,
        ):
            assert_array_equal(mask, other)
    assert (again / "folds.csv").read_bytes() == (drawn / "folds.csv").read_bytes()


def test_a_scheme_beside_them_is_told_to_be_unused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_table(folder, part=[f"part {'CAB'[k]}" for k in SHEETS % 3])
    with caplog.at_level("INFO"):
        prepare(folder, "--folds=part")
    assert "is not used" not in caplog.text
    with caplog.at_level("INFO"):
        prepare(folder, "--folds=part", "--cv=gkfold4", run="both")
    note = "note: cv = 'gkfold4' is not used, for folds says what is held out: train"
    assert note in caplog.text


def test_a_column_of_the_training_table_does_too(folder: Path) -> None:
    write_table(folder, part=[f"part {'CAB'[k]}" for k in SHEETS % 3])
    table = table_of(prepare(folder, "--folds=part"))
    assert_array_equal(table["fold"].loc[IDS], np.array([2, 0, 1])[SHEETS % 3])


def test_a_fold_that_is_one_group_is_refused_by_its_name(folder: Path) -> None:
    write_table(folder, sheet=[f"s{k % 5}" for k in SHEETS])
    names = [f"part {'EDCBA'[k]}" for k in SHEETS % 5]
    text = refused(folder, write_folds(folder, fold=names))
    assert "own.csv: fold 'part A' has" in text
    assert "rows, of one group, so its score would tell how one group fares" in text


def test_numbers_keep_their_order_and_others_are_numbered(folder: Path) -> None:
    names = np.array(["10", "9", "2", ""])
    stage = prepare(folder, write_folds(folder, fold=names[OWN]))
    table = table_of(stage)
    assert_array_equal(table["fold"].loc[IDS], np.array([2, 1, 0, -1])[OWN])
    assert "folds &#39;2&#39;, &#39;9&#39;, &#39;10&#39; are" in (
        stage / "report.html"
    ).read_text(encoding="utf-8")


def test_a_row_in_no_fold_is_learned_from_and_never_held_out(folder: Path) -> None:
    folds = np.where(OWN == 3, -1, OWN)
    table = table_of(prepare(folder, write_folds(folder, fold=folds))).reset_index()
    for fold in range(3):
        val_mask, train_mask = fold_masks(table, str(fold))
        assert_array_equal(val_mask, folds == fold)
        assert_array_equal(train_mask, folds != fold)


def test_a_change_of_the_file_makes_the_stage_stale(folder: Path) -> None:
    flag = write_folds(folder)
    first = prepare(folder, flag)
    record = (first / "record.json").read_bytes()
    assert (prepare(folder, flag) / "record.json").read_bytes() == record
    write_folds(folder, fold=SHEETS % 3)
    table = table_of(prepare(folder, flag))
    assert_array_equal(table["fold"].loc[IDS], SHEETS % 3)


def test_all_problems_of_a_file_are_one_message(folder: Path) -> None:
    write_table(folder, never=[int(k < 2) for k in range(N)])
    ids = [*IDS[:-3], "q1", "q2"]
    folds = [*OWN[:-3], 0, 1]
    folds[4:7] = [0, 1, 2]  # sheets 2 and 3 are torn
    ids[10] = ids[11]
    pd.DataFrame({"id": ids, "fold": folds}).to_csv(folder / "own.csv", index=False)
    data = 'exclude_from_validation = "never"'
    text = refused(folder, f"--folds={folder / 'own.csv'}", data=data)
    for part in (
        "own.csv: 1 id ('p011') is there twice",
        "2 ids ('q1', 'q2') are not in the train table",
        "4 ids ('p010', 'p045', 'p046' ...) are in the train table and not here; give",
        "2 ids ('p000', 'p001') are in a fold, and column 'never' says never to hold",
        "2 groups of column 'sheet' torn over folds ('s2' in 0, 1; 's3' in 2, 3); give",
    ):
        assert part in text
    assert not list(folder.rglob("images.npy"))


def test_a_single_fold_is_refused(folder: Path) -> None:
    flag = write_folds(folder, fold="A")
    assert "own.csv: one fold only ('A'); give two or more" in refused(folder, flag)
    flag = write_folds(folder, fold="")
    assert "own.csv: no fold; give two or more" in refused(folder, flag)


def test_objects_are_not_torn_either(folder: Path) -> None:
    flag = write_folds(folder, fold=np.arange(N) % 3)
    text = refused(folder, flag, data='object = "sheet"')
    assert "24 objects of column 'sheet' torn over folds ('s0' in 0, 1; " in text


def test_what_is_no_table_and_no_column(folder: Path) -> None:
    assert "has no such column beside" in refused(folder, "--folds=parts")
    assert "there is no such table" in refused(folder, "--folds=parts.csv")
    flag = write_folds(folder, "other.csv", part=0).replace("other", "bare")
    pd.DataFrame({"id": IDS}).to_csv(folder / "bare.csv", index=False)
    assert "no column 'fold'" in refused(folder, flag)


def test_folds_of_nothing_to_learn_are_refused(folder: Path) -> None:
    flag = write_folds(folder)
    (folder / "x.toml").write_text('[data]\nimages = "pictures"\n')
    from data_prep.prepare import main

    with pytest.raises(UserError, match="nothing is learned from a table, so nothing"):
        main([f"--experiment={folder / 'x.toml'}", flag])


def test_a_copy_goes_where_most_of_its_group_is_and_that_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # p000 of sheet 0 is p003 of sheet 1 again: four rows, three of them in fold 2
    folds = OWN.copy()
    folds[:2], folds[2:4] = [2, -1], [1, 1]
    picture = Image.open(folder / "pictures" / "p000.png")
    picture.save(folder / "pictures" / "p003.png")
    with caplog.at_level("INFO"):
        table = table_of(prepare(folder, write_folds(folder, fold=folds)))
    assert table["fold"].loc[IDS[:4]].tolist() == [1, -1, 1, 1]
    assert_array_equal(table["fold"].loc[IDS[4:]], OWN[4:])
    assert "1 row ('p000') is in another fold than was given, that of" in caplog.text


def rows_of(cv_group: list[int]) -> pd.DataFrame:
    ids = [f"p{k}" for k in range(len(cv_group))]
    return pd.DataFrame({"id": ids, "split": "train", "cv_group": cv_group})


def user_folds(fold: list[int], train_from: list[int] | None = None) -> UserFolds:
    table = pd.DataFrame({"fold": fold}, index=[f"p{k}" for k in range(len(fold))])
    if train_from:
        table[TRAIN_FROM] = train_from
    return UserFolds(source="f.csv", path=None, table=table, names=("0", "1"))


def test_folds_in_time_are_not_mended() -> None:
    given = user_folds([0, 0, 1, 1], [1, 1, 2, 2])
    assert given.assigned_to(rows_of([0, 1, 2, 3]))[TRAIN_FROM].tolist() == [1, 1, 2, 2]
    with pytest.raises(UserError, match=r"2 rows \('p1', 'p2'\) are tied so; give"):
        given.assigned_to(rows_of([0, 1, 1, 3]))


def test_a_fold_without_a_picture_is_named() -> None:
    with pytest.raises(UserError, match="no picture of fold '1' is left to hold out"):
        user_folds([0, 0, 1, 1]).assigned_to(rows_of([0, 1]))


@pytest.mark.parametrize("seed", range(20))
def test_no_cv_group_is_torn_whatever_is_given(seed: int) -> None:
    rng = np.random.default_rng(seed)
    folds, groups = rng.integers(-1, 2, 40), rng.integers(0, 30, 40)
    folds[:2], groups[:2] = [0, 1], [100, 101]
    rows = rows_of(groups.tolist())
    assigned = user_folds(folds.tolist()).assigned_to(rows)["fold"].to_numpy()
    assert_array_equal(assigned < 0, folds < 0)
    for group in set(groups):
        of_group = folds[(groups == group) & (folds >= 0)]
        kept = set(assigned[(groups == group) & (folds >= 0)])
        assert len(kept) == min(1, len(of_group))
        if len(of_group):
            most = np.bincount(of_group).argmax()
            assert kept == {most}


def test_a_net_of_its_own_fold_may_not_learn_from_a_row(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("id,fold,train_from\na,0,1\nb,1,1\nc,1,x\nd,,0\n")
    rows = pd.DataFrame(
        {"id": list("abcd"), "split": "train", "is_excluded": False, "group": ""}
    )
    data = DataSettings(train=Path("train.csv"))
    with pytest.raises(UserError) as caught:
        read_user_folds(str(path), data, rows, np.ones(4, dtype=bool))
    text = str(caught.value)
    assert "1 value ('x') is no number of a fold" in text
    assert "1 id ('b') is trained on by the net of the fold that holds it out" in text
    path.write_text("id,fold,train_from\na,0,1\nb,1,2\nc,1,\nd,,0\n")
    given = read_user_folds(str(path), data, rows, np.ones(4, dtype=bool))
    assert given.table[TRAIN_FROM].tolist() == [1, 2, 2, 0]

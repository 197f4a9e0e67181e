"""Tests of data_prep.prepare, data_prep.rows and data_prep.reporting.overview."""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from data_prep.errors import UserError
from data_prep.folds import fold_hash
from data_prep.prepare import main
from data_prep.row_metadata import hash_of_labels
from data_prep.run_folders.runs import Run
from tests.drilled import in_drills

N_TRAIN, N_TEST = 36, 6


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (20, 26, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures 00 to 35 with rows, 36 to 41 to predict, x1 and x2 without a row."""
    monkeypatch.chdir(tmp_path)  # which run was the last worked on is noted here
    (tmp_path / "pictures").mkdir()
    ids = [f"{index:02d}" for index in range(N_TRAIN + N_TEST)]
    for seed, id_ in enumerate([*ids, "x1", "x2"]):
        draw(tmp_path / "pictures" / f"{id_}.png", seed)
    index = np.arange(N_TRAIN)
    train = pd.DataFrame(
        {
            "id": ids[:N_TRAIN],
            "grade": index // 3 % 3,
            "sheet": [f"s{row // 2}" for row in index],
            "made": 1880 + index,
            "maker": "M",
        }
    )
    train.to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"id": ids[N_TRAIN:]}).to_csv(tmp_path / "test.csv", index=False)
    (tmp_path / "sample.csv").write_text(
        "id,grade\n"
        + "".join(f"{id_},0\n" for id_ in ids[:N_TRAIN:-1])
        + f"{ids[N_TRAIN]},0\n"
    )
    names = [f"{id_},{name}\n" for id_ in ids[:9] for name in ("apple", f"of {id_}")]
    (tmp_path / "names.csv").write_text("id,name\n" + "".join(names) + "zz,apple\n")
    return tmp_path


DATA = {
    "images": '"pictures"',
    "train": '"train.csv"',
    "test": '"test.csv"',
    "sample": '"sample.csv"',
    "target": '"grade"',
    "group": '"sheet"',
    "date": '"made"',
    "attributes": '"names.csv"',
}


def prepare(folder: Path, *flags: str, **changed: str | None) -> Path:
    lines = [
        f"{setting} = {value}" for setting, value in (DATA | changed).items() if value
    ]
    (folder / "x.toml").write_text("[data]\n" + "\n".join(lines))
    run = ["--experiment", str(folder / "x.toml"), "--run", str(folder / "run")]
    return main([*run, "--side", "16", "--workers", "1", *flags])


def table_of(stage: Path) -> pd.DataFrame:
    return pd.read_parquet(stage / "table.parquet")


def facts_of(stage: Path) -> dict[str, object]:
    metadata: dict[str, object] = json.loads((stage / "record.json").read_text())[
        "facts"
    ]
    return metadata


def test_everything_is_written(folder: Path) -> None:
    stage = prepare(folder)
    table, metadata = table_of(stage), facts_of(stage)
    assert list(table.columns) == [
        *("id", "split", "image_row", "target", "class_index", "group", "cv_group"),
        *("date", "fold", "weight", "sha256", "width", "height"),
        *("pixels_sha256", "same_as", "given.maker"),
    ]
    assert table["id"].tolist() == sorted(table["id"])
    assert table["id"].iloc[:2].tolist() == ["00", "01"]
    assert table["split"].value_counts().to_dict() == {
        "train": N_TRAIN,
        "test": N_TEST,
        "unlabelled": 2,
    }
    types = table.dtypes.astype(str).to_dict()
    for name in ("image_row", "class_index", "cv_group", "fold", "width", "height"):
        assert types[name] == "int64"
    assert types["target"] == types["date"] == types["weight"] == "float64"
    assert (table["weight"] == 1).all()
    is_train = table["split"] == "train"
    assert_array_equal(table["target"][is_train], np.arange(N_TRAIN) // 3 % 3)
    assert table["target"][~is_train].isna().all()
    assert (table["class_index"][~is_train] == -1).all()
    assert (table["fold"][~is_train] == -1).all()
    assert set(table["fold"][is_train]) == {0, 1, 2}
    assert table["group"].tolist()[-3:] == ["41", "x1", "x2"]

    array = np.load(stage / "images.npy", mmap_mode="r")
    assert array.shape == (len(table), 16, 16, 3)
    mean = [array[..., channel].mean() for channel in range(3)]
    assert_allclose(metadata.pop("mean"), mean)
    assert len(metadata.pop("std")) == 3
    assert metadata.pop("fold_hash") == fold_hash(table["id"], table["fold"])
    assert metadata.pop("label_hash") == hash_of_labels(table)
    assert metadata == {
        "side": 16,
        "fit": "pad",
        "cv": "sgkfold3",
        "n_folds": 3,
        "classes": [0, 1, 2],
        "target_kind": "numeric",
        "target_range": [0, 2],
        "counts": {"train": 36, "test": 6, "unlabelled": 2, "left_out": 0},
        "copies": 0,
        "near_copies": 0,
        "copies_of_train_in_test": 0,
        "placeholders": [],
        "dropped": 0,
        "softened": 0,
        "words": 20,
        "has_group": True,
        "id_column": "id",
        "target_column": "grade",
        "object_column": None,
        "group_column": "sheet",
        "date_column": "made",
    }
    words = pd.read_parquet(stage / "words.parquet")
    assert list(words.columns) == ["id", *(f"w{index}" for index in range(20))]
    assert words["id"].tolist() == [f"{index:02d}" for index in range(9)]
    assert len(pd.read_parquet(stage / "attributes.parquet")) == 18
    assert (stage / "sample.csv").read_bytes() == (folder / "sample.csv").read_bytes()
    assert (stage / "left_out.csv").read_text() == "id,file,reason\n"
    assert "Folds" in (stage / "report.html").read_text()
    assert sorted(path.name for path in stage.iterdir()) == sorted(
        [
            *("table.parquet", "images.npy", "words.parquet", "attributes.parquet"),
            *("left_out.csv", "sample.csv", "report.html", "record.json", "logs"),
            *("folds.csv", "names.parquet"),
        ]
    )


def test_without_a_sample_the_order_of_the_test_table_is_kept(folder: Path) -> None:
    ids = ["40", "gone", "36", "41", "007", "37"]
    lines = "".join(f" {id_} ,x\n" for id_ in ids)
    (folder / "test.csv").write_text("id,note\n" + lines)
    (folder / "pictures" / "36.png").write_bytes(b"damaged")
    stage = prepare(folder, sample=None)
    assert (stage / "test_ids.csv").read_text().split() == ["id", *ids]
    is_test = table_of(stage)["split"] == "test"
    assert table_of(stage)["id"][is_test].tolist() == ["37", "40", "41"]
    stage = prepare(folder, sample=None, test=None)
    assert not (stage / "test_ids.csv").exists()


def test_an_image_row_holds_the_picture_of_its_id(folder: Path) -> None:
    (folder / "pictures" / "05.png").write_bytes(b"damaged")
    (folder / "pictures" / "07.png").unlink()
    stage = prepare(folder)
    table, array = table_of(stage), np.load(stage / "images.npy")
    assert len(table) == len(array) == N_TRAIN + N_TEST + 2 - 2
    for row in table.itertuples():
        with Image.open(folder / "pictures" / f"{row.id}.png") as image:
            small = np.asarray(image.resize((16, 12), Image.Resampling.LANCZOS))
        assert_array_equal(array[row.image_row][2:14], small)
    left_out = pd.read_csv(stage / "left_out.csv", dtype=str, keep_default_na=False)
    assert left_out[["id", "file"]].to_numpy().tolist() == [
        ["07", ""],
        ["05", "05.png"],
    ]
    assert facts_of(stage)["counts"]["left_out"] == 2  # type: ignore[index]


def test_what_is_left_out_is_named_with_its_folder(folder: Path) -> None:
    pictures = folder / "pictures"
    (pictures / "late").mkdir()
    (pictures / "05.png").unlink()
    (pictures / "late" / "05.png").write_bytes(b"damaged")
    stage = prepare(folder)
    assert "05,late/05.png," in (stage / "left_out.csv").read_text()


def test_copies_of_a_file_and_groups_stay_in_one_fold(folder: Path) -> None:
    for copy in range(2, 8, 2):  # sheet after sheet is tied to the first
        shutil.copy(
            folder / "pictures" / "00.png", folder / "pictures" / f"{copy:02d}.png"
        )
    shutil.copy(folder / "pictures" / "00.png", folder / "pictures" / "40.png")
    for cv in ("sgkfold3", "gkfold2"):
        stage = prepare(folder, "--cv", cv)
        table = table_of(stage)
        validated = table[table["fold"] >= 0]
        assert validated.groupby("sha256")["fold"].nunique().max() == 1
        assert validated["cv_group"].iloc[:8].nunique() == 1
        assert validated.groupby("group")["cv_group"].nunique().max() == 1
        assert validated.groupby("cv_group")["fold"].nunique().max() == 1
        assert facts_of(stage)["copies"] == 4
        assert facts_of(stage)["copies_of_train_in_test"] == 1


def test_near_copies_are_kept_in_one_fold_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pictures = folder / "pictures"
    for copy, turn in (("21", Image.Transpose.ROTATE_90), ("40", None)):
        with Image.open(pictures / "02.png") as image:
            turned = image.transpose(turn) if turn is not None else image
            turned.save(pictures / f"{copy}.jpg", quality=95)
        (pictures / f"{copy}.png").unlink()
    for copies, is_joined in (("near", True), ("equal", False), ("none", False)):
        stage = prepare(folder, "--side", "48", "--copies", copies)
        table = table_of(stage).set_index("id")
        same_as, groups = table["same_as"], table["cv_group"]
        assert (same_as[["21", "40"]] == "02").all() == is_joined
        assert (groups["02"] == groups["21"]) == is_joined
        assert (groups["02"] == groups["21"] == groups["40"]) == is_joined
        assert facts_of(stage)["near_copies"] == 2 * is_joined
        assert facts_of(stage)["copies_of_train_in_test"] == is_joined
        assert (stage / "near_copies.csv").exists() == is_joined
        assert ("Near copies" in (stage / "report.html").read_text()) == is_joined
        validated = table[table["fold"] >= 0]
        assert validated.groupby("cv_group")["fold"].nunique().max() == 1
        assert validated.groupby("group")["cv_group"].nunique().max() == 1
    assert "2 pictures nearly the same as another" in caplog.text
    assert "has different labels, such as 02, 21, 40: 0, 1" in caplog.text
    assert "1 picture to be predicted equal to one of the training" in caplog.text
    stage = prepare(folder, "--side", "48")
    pairs = pd.read_csv(stage / "near_copies.csv", dtype={"id": str, "other": str})
    assert pairs["is_joined"].all()
    views = dict(
        zip(zip(pairs["id"], pairs["other"], strict=True), pairs["view"], strict=True)
    )
    assert views["02", "21"] == "r"  # turned left, it looks like the other turned right
    assert views["02", "40"] == "e"


def test_near_copies_need_a_side_that_shows_them(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = prepare(folder)
    assert (
        "note: equal pictures alone are taken for copies: at side = 16" in caplog.text
    )
    assert not (stage / "near_copies.csv").exists()


def test_a_folder_alone_is_enough(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nothing = dict.fromkeys(DATA, None) | {"images": '"pictures"'}
    stage = prepare(folder, **nothing)
    table, metadata = table_of(stage), facts_of(stage)
    assert set(table["split"]) == {"unlabelled"}
    assert "target" not in table
    assert "class_index" not in table
    assert (table["fold"] == -1).all()
    assert metadata["cv"] is metadata["fold_hash"] is metadata["classes"] is None
    assert metadata["n_folds"] == metadata["words"] == 0
    assert not (stage / "words.parquet").exists()
    assert (stage / "report.html").exists()
    assert "folds: none" in caplog.text


@pytest.mark.parametrize(
    "missing",
    [
        ["test", "sample"],
        ["date"],
        ["attributes"],
        ["target"],
        ["target", "date"],
        ["target", "attributes", "sample"],
    ],
)
def test_parts_may_be_absent(folder: Path, missing: list[str]) -> None:
    stage = prepare(folder, **dict.fromkeys(missing, None))
    table = table_of(stage)
    assert set(table["fold"]) == {-1, 0, 1, 2}
    assert ("target" in table) == ("target" not in missing)
    assert table["date"].isna().all() == ("date" in missing)


def test_a_table_with_nothing_to_learn_has_no_folds(folder: Path) -> None:
    none = dict.fromkeys(("target", "date", "attributes"))
    stage = prepare(folder, **none)
    assert (table_of(stage)["fold"] == -1).all()
    assert set(table_of(stage)["split"]) == {"train", "test", "unlabelled"}
    tasks = '"sheet"\n[tasks.maker]\nkind = "classes"\ncolumn = "maker"'
    assert set(table_of(prepare(folder, **(none | {"group": tasks})))["fold"]) >= {0}


def test_quantities_have_no_classes(folder: Path) -> None:
    stage = prepare(folder, target='"made"', date=None)
    assert facts_of(stage)["classes"] is None
    assert facts_of(stage)["target_range"] == [1880, 1915]
    table = table_of(stage)
    assert "class_index" not in table
    means = table[table["fold"] >= 0].groupby("fold")["target"].mean()
    assert np.ptp(means) < 5


def test_texts_are_classes(folder: Path) -> None:
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["grade"] = train["grade"].map({"0": "pear", "1": "apple", "2": None})
    train.to_csv(folder / "train.csv", index=False)
    table = table_of(stage := prepare(folder))
    assert facts_of(stage)["classes"] == ["apple", "pear"]
    assert facts_of(stage)["target_range"] is None
    is_train = table["split"] == "train"
    expected = np.array([1, 0, -1])[np.arange(N_TRAIN) // 3 % 3]
    assert_array_equal(table["class_index"][is_train], expected)
    assert (table["fold"][is_train] >= 0).all()


def test_codes_are_classes_where_they_are_said_to_be(folder: Path) -> None:
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["grade"] = train["grade"].map({"0": "10", "1": "9", "2": "1"})
    train.to_csv(folder / "train.csv", index=False)
    stage = prepare(folder, target_kind='"classes"')
    assert facts_of(stage)["classes"] == ["1", "9", "10"]  # in the order of numbers
    assert facts_of(stage)["target_kind"] == "classes"
    table = table_of(stage)
    is_train = table["split"] == "train"
    assert_array_equal(
        table["class_index"][is_train],
        np.array([2, 1, 0])[np.arange(N_TRAIN) // 3 % 3],
    )
    settings = json.loads((stage / "record.json").read_text())["settings"]
    assert settings["data"]["target_kind"] == "classes"
    assert facts_of(prepare(folder))["classes"] == [1.0, 9.0, 10.0]


def test_excluded_rows_are_in_no_fold(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["extra"] = (train.index % 6 == 0).astype(int)
    train.to_csv(folder / "train.csv", index=False)
    table = table_of(prepare(folder, exclude_from_validation='"extra"'))
    is_train = table["split"] == "train"
    assert_array_equal(table["fold"][is_train] == -1, np.arange(N_TRAIN) % 6 == 0)
    assert "6 rows for learning only, never scored" in caplog.text
    assert "6 rows of these in a group or of a file that is scored" in caplog.text


def test_doubted_rows_weigh_less_and_stay_in_their_folds(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = table_of(prepare(folder))
    assert "[data] sample_weights" not in caplog.text
    (folder / "pictures" / "07.png").unlink()
    issues = "id,reason,weight\n03,odd,0\n07,gone,0\n05,odd,0.5\n04,right,1\n06,odd,0\n"
    (folder / "issues.csv").write_text(issues)
    stage = prepare(folder, sample_weights='"issues.csv"')
    table = table_of(stage).set_index("id")
    assert table["weight"][table["weight"] < 1].to_dict() == {
        **{"03": 0.0, "05": 0.5, "06": 0.0}
    }
    assert (table["fold"][table["split"] == "train"] >= 0).all()
    kept = before.set_index("id")["target"].drop("07")
    pd.testing.assert_series_equal(table["target"], kept)
    metadata = facts_of(stage)
    assert (metadata["dropped"], metadata["softened"]) == (2, 1)
    expected_line = (
        "3 rows weighed by [data] sample_weights: 2 dropped from training,"
        " 1 softened; all"
    )
    assert expected_line in caplog.text
    assert expected_line in (stage / "report.html").read_text()


def test_a_changed_doubt_is_seen_and_no_doubt_is_as_before(folder: Path) -> None:
    path, named = folder / "issues.csv", {"sample_weights": '"issues.csv"'}
    stage = prepare(folder)
    plain = (stage / "table.parquet").read_bytes()
    path.write_text("id,weight\n03,1\n")
    assert (prepare(folder, **named) / "table.parquet").read_bytes() == plain
    path.write_text("id,weight\n03,0\n")
    assert (prepare(folder, **named) / "table.parquet").read_bytes() != plain
    assert (prepare(folder) / "table.parquet").read_bytes() == plain


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    stage = prepare(folder)
    record = (stage / "record.json").stat().st_mtime_ns
    prepare(folder, "--workers", "2")
    assert (stage / "record.json").stat().st_mtime_ns == record
    for again in (["--side", "18"], ["--overwrite"]):
        prepare(folder, *again)
        assert (stage / "record.json").stat().st_mtime_ns != record
    digest = json.loads((stage / "record.json").read_text())["digest"]
    prepare(folder, "--overwrite")
    assert json.loads((stage / "record.json").read_text())["digest"] == digest


@pytest.mark.parametrize(
    "change", ["picture", "table", *map(in_drills, ["names", "new picture"])]
)
def test_a_changed_source_is_seen(folder: Path, change: str) -> None:
    stage = prepare(folder)
    before = (stage / "record.json").read_text()
    if change == "picture":
        draw(folder / "pictures" / "03.png", 99)
    elif change == "new picture":
        draw(folder / "pictures" / "x3.png", 99)
    else:
        path = folder / ("train.csv" if change == "table" else "names.csv")
        path.write_text(path.read_text().replace("s0", "s1").replace("zz", "00"))
    prepare(folder)
    assert (stage / "record.json").read_text() != before


def test_what_is_damaged_is_made_anew_if_it_is_stale(folder: Path) -> None:
    table = prepare(folder) / "table.parquet"
    table.write_bytes(table.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"table\.parquet is cut or changed"):
        prepare(folder)
    assert len(table_of(prepare(folder, "--side", "20"))) == N_TRAIN + N_TEST + 2
    table.unlink()
    draw(folder / "pictures" / "x1.png", seed=99)
    assert len(table_of(prepare(folder, "--side", "20"))) == N_TRAIN + N_TEST + 2


def test_a_moved_run_is_current(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stage = prepare(folder)
    record = (stage / "record.json").read_text()
    assert str(folder) not in json.dumps(json.loads(record)["settings"])
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "all"
    shutil.move(folder, elsewhere)
    assert (prepare(elsewhere) / "record.json").read_text() == record
    shutil.rmtree(elsewhere / "pictures")
    Run(elsewhere / "run").finished("data_prep.prepare")
    with pytest.raises(
        UserError, match=r"no such folder .* is finished and can be used"
    ):
        prepare(elsewhere)


def test_an_interrupted_run_leaves_what_was_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = prepare(folder)
    record = (stage / "record.json").read_text()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match="the disk has no room"):
        prepare(folder, "--side", "20")
    assert (stage / "record.json").read_text() == record
    assert not list(folder.glob("run/*.partial/*.npy"))
    assert np.load(stage / "images.npy").shape[1] == 16


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": '"gone"'}, r"gone: there is no such folder \(\[data\] images"),
        ({"images": None}, r"\[data\] images is missing"),
        ({"train": '"gone.csv"'}, r"gone.csv: there is no such table \(\[data\] train"),
        ({"target": '"grad"'}, r"no column 'grad' .*did you mean 'grade'"),
        ({"target": '"maker"'}, r"'maker' has the one value 'M' in all 36 rows"),
        ({"group": None}, r"'sgkfold3' keeps groups together, .*set cv = 'skfold3'"),
        ({"group": '"maker"'}, r"'sgkfold3': 1 group does not fill 3 folds"),
        ({"sample": '"train.csv"'}, r"36 ids .* are not in .*test.csv"),
        ({"test": '"train.csv"', "sample": None}, r"36 ids .* are in both"),
        (
            {"sample_weights": '"gone.csv"'},
            r"gone.csv: there is no such table \(\[data\] sam",
        ),
        (
            {"sample_weights": '"test.csv"'},
            r"no column 'weight' \(\[data\] sample_weights\)",
        ),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, changed: dict[str, str | None], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        prepare(folder, **changed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--side", "4"], "side = 4: give 16 to 2048"),
        (["--cv", "skfold3"], "would tear the groups .*set cv = 'sgkfold3'"),
        (["--cv", "sgk3"], "cv = 'sgk3': give kfold, skfold"),
        (["--seed", "-1"], "seed = -1"),
        (["--word-dimensions", "0"], "word_dimensions = 0"),
        (["--workers", "-1"], "workers = -1"),
    ],
)
def test_settings_are_checked(folder: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(folder, *flags)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda id_: f"{id_}.png", "an id is without extension"),
        (lambda id_: f"x{id_}", r"an id is 'x00', a picture '00'; the id is the file"),
        (lambda id_: f"{int(id_)}" if id_ > "09" else "", "row"),
    ],
)
def test_ids_that_match_no_picture_are_explained(
    folder: Path, change: object, message: str
) -> None:
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["id"] = train["id"].map(change)
    train.to_csv(folder / "train.csv", index=False)
    with pytest.raises(UserError, match=message):
        prepare(folder)


def test_lost_zeros_are_noticed(folder: Path) -> None:
    for path in sorted((folder / "pictures").iterdir()):
        path.rename(path.with_name(f"00{path.name}"))
    with pytest.raises(UserError, match="the ids have lost their leading zeros"):
        prepare(folder)


def test_a_part_without_a_readable_picture_is_an_error(folder: Path) -> None:
    for index in range(N_TRAIN, N_TRAIN + N_TEST):
        (folder / "pictures" / f"{index}.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"test.csv: no picture .* 36: the file is empty"
    ):
        prepare(folder)


def test_one_value_left_is_an_error(folder: Path) -> None:
    for index in range(N_TRAIN):
        if index // 3 % 3:
            (folder / "pictures" / f"{index:02d}.png").write_bytes(b"")
    with pytest.raises(UserError, match="the target 'grade' has not two values"):
        prepare(folder)


def test_names_of_no_picture_are_an_error_only_if_all_are(folder: Path) -> None:
    (folder / "names.csv").write_text("id,name\n1,a\n2,b\n")
    with pytest.raises(UserError, match=r"names\.csv: none of its 2 ids has a picture"):
        prepare(folder)


def test_the_log_tells_what_a_person_should_know(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (folder / "pictures" / "05.png").write_bytes(b"")
    (folder / "pictures" / "07.png").unlink()
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train.loc[0, "grade"], train.loc[1, "grade"] = "9", None
    train.to_csv(folder / "train.csv", index=False)
    prepare(folder)
    for line in (
        "pictures: 42, 26 by 20 px, padded to 16x16 px",
        "splits: train 34, test 6, unlabelled 2, left out 2",
        "target: 4 classes, 0 (10), 1 (11), 2 (11), 9 (1)",
        "dates: 34, from 1880 to 1915",
        "note: 1 id left out: no picture of this name (07)",
        "note: 1 id left out: the file is empty (05.png)",
        "note: 2 ids of the attribute tables without a picture",
        "note: train.csv: target: 1 row without (1 empty)",
        "1 class (9) in a single group: the net",
    ):
        assert line in caplog.text


@pytest.mark.parametrize("names", ["one each", "all the same"])
def test_names_that_teach_nothing_make_no_words(
    folder: Path, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    words_of = ["leaf"] if names == "all the same" else ["oak", "elm"]
    rows = "".join(f"{k:02d},{words_of[k % len(words_of)]}\n" for k in range(9))
    (folder / "names.csv").write_text("id,name\n" + rows)
    stage = prepare(folder)
    assert facts_of(stage)["words"] == 0
    assert not (stage / "words.parquet").exists()
    assert len(pd.read_parquet(stage / "attributes.parquet")) == 9
    expected_line = "no word vectors and no task of words: the 9 pictures with names"
    assert expected_line in caplog.text
    assert expected_line[3:] in (stage / "report.html").read_text()
    tasks = '"names.csv"\n[tasks.w]\nkind = "words"'
    with pytest.raises(
        UserError, match=r"\[tasks.w\] kind = 'words', but of \[data\] a"
    ):
        prepare(folder, attributes=tasks)


def test_a_group_called_na_is_not_torn(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train = pd.read_csv(folder / "train.csv", dtype=str)
    sheets = ["NA", "EU", "AS", "AF"]
    train["sheet"] = [sheets[k // 4 % 4] if k < 30 else None for k in range(N_TRAIN)]
    train.to_csv(folder / "train.csv", index=False)
    stage = prepare(folder)
    table = table_of(stage).set_index("id")
    is_na = table["group"] == "NA"
    assert is_na.sum() == 8
    assert table["fold"][is_na].nunique() == 1
    assert (table["group"] == table.index).sum() == 6 + N_TEST + 2
    expected_line = (
        "train.csv: group: 6 rows without (6 empty), each a group of its own"
    )
    assert expected_line in caplog.text
    assert expected_line in (stage / "report.html").read_text().replace(
        "Train.csv", "train.csv"
    )


def test_rows_without_a_group_fill_folds(folder: Path) -> None:
    train = pd.read_csv(folder / "train.csv", dtype=str)
    train["sheet"] = ["one" if k < 4 else None for k in range(N_TRAIN)]
    train.to_csv(folder / "train.csv", index=False)
    assert set(table_of(prepare(folder))["fold"]) == {-1, 0, 1, 2}


def test_a_parquet_sample_of_floats_keeps_its_ids(folder: Path) -> None:
    for old in sorted((folder / "pictures").glob("4*.png")):
        old.rename(old.with_name(f"{old.stem}0.png"))
    float_sample = pd.DataFrame({"id": [410.0, 400.0], "grade": 0})
    float_sample.to_parquet(folder / "sample.parquet")
    stage = prepare(folder, test=None, sample='"sample.parquet"')
    assert (stage / "sample.csv").read_text() == "id,grade\n410,0\n400,0\n"
    assert facts_of(stage)["counts"]["test"] == 2  # type: ignore[index]


def test_targets_far_from_zero_are_shown_apart(folder: Path) -> None:
    train = pd.read_csv(folder / "train.csv", dtype=str)
    stamps = [str(20240101120000 + 7 * row) for row in range(N_TRAIN)]
    train.assign(grade=stamps).to_csv(folder / "train.csv", index=False)
    page = (prepare(folder) / "report.html").read_text()
    assert sum(f"\n{stamp}" in page for stamp in stamps) > 5  # some are drawn

"""Tests of data_prep.start: from folders of each layout to an experiment that runs."""

import html
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep import prepare, start
from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.up import check_learned

N_TRAIN, N_TEST = 36, 6
WORDS = ("oak", "elm", "ash")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw(folder: Path, names: Sequence[str], size: tuple[int, int] = (48, 48)) -> None:
    """Write pictures of noise, no two alike."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = zlib.crc32(f"{folder.name}/{name}".encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def ids(n: int, first: int = 0) -> list[str]:
    return [f"p{number:03d}" for number in range(first, first + n)]


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)


def begun(folder: Path, *flags: str) -> Experiment:
    """Begin with a folder, and read what was written."""
    file = start.main([str(folder), *flags])
    assert file == Path("experiments") / f"{folder.name}.toml"
    return read_experiment(file, Path("run"))


def prepared(folder: Path) -> pd.DataFrame:
    """Prepare what was written for a folder, and give the rows."""
    file = Path("experiments") / f"{folder.name}.toml"
    stage = prepare.main(["--experiment", str(file), "--run", "run"])
    return pd.read_parquet(stage / "table.parquet").set_index("id")


@pytest.fixture
def works(tmp_path: Path) -> Path:
    """Pictures with all that a table may have: like the watercolours, but 42."""
    folder = tmp_path / "works"
    names = ids(N_TRAIN + N_TEST)
    draw(folder / "images", [f"{name}.png" for name in names], (48, 72))
    train = names[:N_TRAIN]
    write(
        folder / "train.csv",
        {
            "id": train,
            "target": [k % 4 for k in range(N_TRAIN)],
            "year": [1890 + k for k in range(N_TRAIN)],
            "series": [f"s{k // 2 if k < 24 else k}" for k in range(N_TRAIN)],
            "artist": [f"artist {k % 3}" for k in range(N_TRAIN)],
        },
    )
    write(folder / "test.csv", {"id": names[N_TRAIN:]})
    write(
        folder / "sample_submission.csv",
        {"id": names[N_TRAIN:], "target": [1.5] * N_TEST},
    )
    write(
        folder / "subjects.csv",
        {
            "id": [name for name in train for _ in range(2)],
            "name": [
                word
                for k in range(N_TRAIN)
                for word in (WORDS[k % 3], f"{WORDS[k % 3]} {k % 2}")
            ],
        },
    )
    return folder


def test_tables_and_columns_of_works_are_told(works: Path) -> None:
    experiment = begun(works)
    data = experiment.data
    assert [path.resolve() for path in data.images] == [works / "images"]
    named = [data.train, data.test, data.sample, *data.attributes]
    files = ("train.csv", "test.csv", "sample_submission.csv", "subjects.csv")
    assert [path.resolve() for path in named if path] == [works / f for f in files]
    assert (data.id, data.target, data.target_kind) == ("id", "target", "numbers")
    assert (data.group, data.date) == ("series", "year")
    kinds = {name: task.name for name, task in experiment.tasks.items()}
    assert kinds == {
        "target": "regression",
        "onehot": "classes",
        "date": "date",
        "artist": "classes",
        "words": "words",
    }
    target = experiment.tasks["target"]
    assert (target.loss_name, target.weight) == ("histogram", 0.3)
    assert experiment.stages["data_prep.prepare"]["cv"] == "sgkfold3"
    assert experiment.stages["data_prep.prepare"]["fit"] == "squash"
    rows = prepared(works)
    assert (rows["split"] == "train").sum() == N_TRAIN
    assert rows.loc[rows["split"] == "train", "target"].tolist() == [
        k % 4 for k in range(N_TRAIN)
    ]


def test_a_number_with_a_value_of_one_row_is_not_learned_as_classes(
    works: Path,
) -> None:
    table = pd.read_csv(works / "train.csv")
    table.loc[0, "target"] = 7
    table.to_csv(works / "train.csv", index=False)
    experiment = begun(works)
    assert {"target", "onehot"} & set(experiment.tasks) == {"target"}
    text = " ".join(Path("experiments/works.toml").read_text().split())
    assert "as one of its values has a single row" in text.replace("# ", "")
    assert len(prepared(works)) == N_TRAIN + N_TEST


def test_the_file_says_why_and_offers_the_other_way(works: Path) -> None:
    begun(works)
    text = " ".join(Path("experiments/works.toml").read_text().split()).replace(
        "# ", ""
    )
    assert "the column of sample_submission.csv" in text
    assert "sample_submission.csv has 1.5, so they are numbers" in text
    assert 'for the other way write "classes" and take [tasks.target] out' in text
    assert "24 values, 12 of them with several pictures" in text
    assert "up = true" in text


@pytest.mark.parametrize(
    ("n_values", "kind", "reason"),
    [
        (2, "classes", "0 and 1 alone are taken for names of two classes"),
        (4, "numbers", "4 whole numbers may be numbers"),
        (30, None, "30 whole numbers, 0 to 29"),
    ],
)
def test_few_whole_numbers_are_asked_about(
    tmp_path: Path, n_values: int, kind: str | None, reason: str
) -> None:
    folder = tmp_path / "grades"
    draw(folder, [f"{name}.png" for name in ids(N_TRAIN + 2)])
    grades = [k % n_values for k in range(N_TRAIN)]
    write(folder / "grades.csv", {"id": ids(N_TRAIN), "grade": grades})
    assert begun(folder).data.target_kind == kind
    text = Path("experiments/grades.toml").read_text().replace("\n# ", " ")
    assert reason in text
    assert "38 pictures, 2 of them in no table" in text
    other = {"classes": "numbers", "numbers": "classes", None: "?"}[kind]
    assert (f'for the other way write "{other}"' in text) == (kind is not None)


@pytest.mark.parametrize("n_values", [4, 12])
@pytest.mark.parametrize("step", [1, 0.5])
def test_numbers_are_names_where_the_user_says_so(
    tmp_path: Path, n_values: int, step: float
) -> None:
    folder = tmp_path / "grades"
    draw(folder, [f"{name}.png" for name in ids(N_TRAIN)])
    grades = [step * (k % n_values) for k in range(N_TRAIN)]
    write(folder / "grades.csv", {"id": ids(N_TRAIN), "grade": grades})
    experiment = begun(folder, "--classes", "grade")
    assert (experiment.data.target, experiment.data.target_kind) == ("grade", "classes")
    text = Path("experiments/grades.toml").read_text().replace("\n# ", " ")
    assert f" by --classes: {n_values} names\ntarget_kind = " in text
    assert "target" not in experiment.tasks
    target = prepared(folder)["target"].tolist()
    assert len(set(target)) == n_values
    assert all(isinstance(name, str) for name in target)


def test_the_column_of_classes_is_named_once_and_is_there(works: Path) -> None:
    with pytest.raises(UserError, match="--target year and --classes artist both name"):
        begun(works, "--target", "year", "--classes", "artist")
    with pytest.raises(UserError, match=r"--classes artits: no such .* 'artist'\?"):
        begun(works, "--classes", "artits")
    with pytest.raises(
        UserError, match=r"'year' has 36 different texts in 36 rows, too"
    ):
        begun(works, "--classes", "year")
    experiment = begun(works, "--classes", "artist")
    assert (experiment.data.target, experiment.data.target_kind) == ("artist", None)


def test_classes_without_a_table_are_asked_for_by_their_flag(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    draw(folder, [f"{name}.png" for name in ids(3)])
    with pytest.raises(UserError, match="--classes kind: no table is given"):
        begun(folder, "--classes", "kind")
    assert begun(folder, "--classes", "none").data.train is None


def test_the_other_way_runs_as_the_comment_says(works: Path) -> None:
    begun(works)
    file = Path("experiments/works.toml")
    text = file.read_text().replace(
        'target_kind = "numbers"', 'target_kind = "classes"'
    )
    before, _, after = text.partition("\n[tasks.target]")
    file.write_text(before + after[after.index("[tasks.onehot]") :])
    start._check(file, start.STAGES_OF_LABELS)
    assert prepared(works)["target"].dropna().unique().tolist() == list("0123")


def test_class_folders_become_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    for k, word in enumerate(WORDS):
        draw(folder / word, [f"{name}.png" for name in ids(12, 12 * k)])
    draw(folder, ["loose.png"])
    experiment = begun(folder)
    assert "group" not in Path("experiments/trees.toml").read_text().split("\n")
    assert experiment.stages["data_prep.prepare"]["cv"] == "skfold3"
    table = pd.read_csv("experiments/trees/train.csv")
    assert table["target"].tolist() == [word for word in WORDS for _ in range(12)]
    rows = prepared(folder)
    assert rows["target"].value_counts().to_dict() == dict.fromkeys(WORDS, 12)
    assert rows.loc["p013", "target"] == "elm"
    assert rows.loc["loose", "split"] == "unlabelled"


@pytest.mark.parametrize("layout", ["folders", "table"])
def test_a_class_that_may_be_misspelled_is_asked_about(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder, names = tmp_path / "works", ids(N_TRAIN)
    classes = [("Pencil", "Pastel")[k % 2] for k in range(N_TRAIN)]
    classes[0] = "Pencill"
    if layout == "folders":
        draw(
            folder, [f"{c}/{name}.png" for c, name in zip(classes, names, strict=True)]
        )
    else:
        draw(folder, [f"{name}.png" for name in names])
        write(folder / "train.csv", {"id": names, "medium": classes})
    begun(folder)
    question = "'Pencill' (1): did you mean 'Pencil' (17)?"
    assert caplog.text.count(question) == 1
    text = Path("experiments/works.toml").read_text().replace("\n# ", " ")
    assert text.count(question) == 1
    caplog.clear()
    prepared(folder)
    assert caplog.text.count(question) == 1
    assert html.unescape(
        Path("run/data_prep.prepare/report.html").read_text()
    ).count(question) == 1  # fmt: skip


def test_classes_may_have_pictures_of_the_same_names(tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    for word in WORDS:
        draw(folder / "images" / word, [f"{k}.png" for k in range(12)])
    begun(folder)
    rows = prepared(folder)
    assert rows["target"].value_counts().to_dict() == dict.fromkeys(WORDS, 12)
    assert rows.loc["oak/7", "target"] == "oak"


def test_class_folders_within_folders_of_splits(tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    for k, word in enumerate(WORDS):
        draw(folder / "train" / word, [f"{name}.png" for name in ids(9, 20 * k)])
        draw(folder / "val" / word, [f"{name}.png" for name in ids(3, 20 * k + 9)])
        draw(folder / "test" / word, [f"{name}.png" for name in ids(2, 20 * k + 12)])
    begun(folder)
    rows = prepared(folder)
    assert rows["split"].value_counts().to_dict() == {"train": 36, "test": 6}
    assert rows.loc[rows["split"] == "train", "target"].value_counts().eq(12).all()
    assert rows.loc[rows["split"] == "test", "target"].isna().all()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_imagefolder_of_hugging_face(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "leaves"
    names = [f"{'ab'[k % 2]}/{name}.png" for k, name in enumerate(ids(N_TRAIN))]
    draw(folder, names)
    table = {"file_name": names, "label": [WORDS[k % 3] for k in range(N_TRAIN)]}
    if ending == "csv":
        write(folder / "metadata.csv", table)
    else:
        lines = [
            json.dumps({"file_name": name, "label": label, "objects": {"n": [1]}})
            for name, label in zip(*table.values(), strict=True)
        ]
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    experiment = begun(folder)
    assert experiment.data.target == "label"
    rows = prepared(folder)
    assert len(rows) == N_TRAIN
    assert (rows["split"] == "train").all()
    assert rows.loc["p004", "target"] == "elm"


def test_ids_with_extension_are_copied_without(works: Path) -> None:
    for name in ("train", "test", "sample_submission", "subjects"):
        table = pd.read_csv(works / f"{name}.csv").rename(columns={"id": "image"})
        table["image"] = "images/" + table["image"] + ".png"
        if name == "subjects":
            table = table.rename(columns={"name": "subject"})
        table.to_csv(works / f"{name}.csv", index=False)
    experiment = begun(works)
    assert experiment.data.id == "id"
    rows = prepared(works)
    assert rows["split"].value_counts().to_dict() == {"train": N_TRAIN, "test": N_TEST}
    sample = pd.read_csv("experiments/works/sample.csv")
    assert sample.columns.tolist() == ["id", "target"]
    assert sample["id"].tolist() == ids(N_TEST, N_TRAIN)
    names = pd.read_parquet("run/data_prep.prepare/attributes.parquet")
    assert set(names["name"]) == {*WORDS, *(f"{w} {k}" for w in WORDS for k in (0, 1))}


OF_A_PRETEXT = {"source": "pretext.jigsaw", "views": "flip"}


def test_a_folder_without_a_table_gives_features_alone(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    draw(folder, [f"{name}.png" for name in ids(12)])
    experiment = begun(folder)
    assert experiment.data.train is None
    assert experiment.stages["pipeline"]["stages"] == list(start.STAGES)
    assert experiment.stages["features.extract"] == OF_A_PRETEXT
    turns = experiment.stages["pretext.jigsaw"].get("turns", False)
    check_learned("flip", "pretext.jigsaw", turns)
    assert "transfer.finetune" not in experiment.stages
    assert (prepared(folder)["split"] == "unlabelled").all()


def test_a_target_may_be_refused(works: Path) -> None:
    experiment = begun(works, "--target", "none")
    assert experiment.data.train is None
    assert experiment.stages["features.extract"] == OF_A_PRETEXT


N_PHOTOS, N_PHOTOS_TEST = 48, 4


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """24 houses to learn from and two to predict, of two rooms each."""
    folder = tmp_path / "houses"
    names = ids(N_PHOTOS + N_PHOTOS_TEST)
    draw(folder, [f"{name}.png" for name in names])
    house = [f"h{k // 2}" for k in range(N_PHOTOS + N_PHOTOS_TEST)]
    room = [("bath", "hall")[k % 2] for k in range(N_PHOTOS + N_PHOTOS_TEST)]
    table = pd.DataFrame({"photo": names, "house_id": house, "room": room})
    train, test = table[:N_PHOTOS], table[N_PHOTOS:]
    price = [1000.5 * (k // 2) for k in range(N_PHOTOS)]
    train.assign(price=price).to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    sample: dict[str, list[object]] = {
        "house_id": ["h24", "h25"],
        "price": [0.5, 0.5],
    }
    write(folder / "sample_submission.csv", sample)
    return folder


def test_a_thing_of_several_pictures_is_an_object(houses: Path) -> None:
    data = begun(houses).data
    assert (data.id, data.target) == ("photo", "price")
    assert (data.object, data.group) == ("house_id", None)
    assert data.sample is not None
    assert data.sample.resolve() == houses / "sample_submission.csv"
    text = Path("experiments/houses.toml").read_text().replace("\n# ", " ")
    assert "24 of them in 48 pictures, and all pictures of one have the same" in text
    rows = prepared(houses)
    train = rows[rows["split"] == "train"]
    assert train.groupby("object")["fold"].nunique().eq(1).all()


@pytest.mark.parametrize("change", ["labels", "test", "sample"])
def test_what_is_no_object_is_a_group(houses: Path, change: str) -> None:
    (houses / "sample_submission.csv").unlink()
    train, test = (pd.read_csv(houses / f"{s}.csv") for s in ("train", "test"))
    if change == "labels":
        train.assign(price=range(N_PHOTOS)).to_csv(houses / "train.csv", index=False)
    elif change == "test":
        test.drop(columns="house_id").to_csv(houses / "test.csv", index=False)
    else:
        test[["photo"]].assign(price=0.5).to_csv(houses / "sample.csv", index=False)
    data = begun(houses, "--target", "price").data
    assert (data.object, data.group) == (None, "house_id")
    rows = prepared(houses)
    assert rows[rows["split"] == "train"].groupby("group")["fold"].nunique().eq(1).all()


@pytest.mark.parametrize("n_streets", [2, 8])
def test_words_that_few_objects_have_are_no_task(houses: Path, n_streets: int) -> None:
    table = pd.read_csv(houses / "train.csv")
    number = table["house_id"].str[1:].astype(int)
    street = number * n_streets // (N_PHOTOS // 2)  # 24 or 6 photos, 12 or 3 houses
    table = table.assign(street=[f"street {k}" for k in street])
    table.to_csv(houses / "train.csv", index=False)
    tasks = begun(houses, "--target", "price").tasks
    assert ("street" in tasks) == (n_streets == 2)
    assert len(prepared(houses)) == N_PHOTOS + N_PHOTOS_TEST


def test_a_class_of_one_row_is_told_with_the_users_column(works: Path) -> None:
    table = pd.read_csv(works / "train.csv")
    kind = ["rare", *(f"kind {k % 2}" for k in range(1, N_TRAIN))]
    table.assign(target=kind).to_csv(works / "train.csv", index=False)
    (works / "sample_submission.csv").unlink()
    with pytest.raises(UserError, match="column 'target': 'rare' is the label of a si"):
        begun(works)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90s", 1.5), ("1.5h", 90), ("2h30m", 150), ("45", 45), ("1h 5m 30sec", 65.5)],
)
def test_times_are_read_as_people_write_them(text: str, minutes: float) -> None:
    settings = start.StartSettings(folder=Path(), for_=text)
    assert settings.minutes == pytest.approx(minutes)


@pytest.mark.parametrize("flags", [(), ("--up",)])
def test_the_user_may_say_that_pictures_have_an_up(
    works: Path, flags: Sequence[str]
) -> None:
    assert begun(works, *flags).data.up == (True if flags else None)


def test_an_object_may_be_named_and_refused(houses: Path) -> None:
    data = begun(houses, "--object", "none", "--test", str(houses / "test.csv")).data
    assert (data.object, data.group) == (None, "house_id")
    table = pd.read_csv(houses / "train.csv")
    table.assign(price=range(N_PHOTOS)).to_csv(houses / "train.csv", index=False)
    text = refused(houses, "--object", "house_id", "--overwrite", "--name", "two")
    assert "24 objects have several labels" in text


def test_flags_name_what_is_meant(works: Path) -> None:
    flags = ("--target", "artist", "--group", "none", "--date", "none")
    experiment = begun(works, *flags, "--for", "2h")
    assert (experiment.data.target, experiment.data.group) == ("artist", None)
    assert experiment.data.date is None


def test_tables_beside_the_folder_are_given(works: Path) -> None:
    file = start.main([str(works / "images"), str(works / "train.csv"), "--name", "x"])
    assert file == Path("experiments/x.toml")
    data = read_experiment(file, Path("run")).data
    assert data.train is not None
    assert data.train.resolve() == works / "train.csv"
    assert data.test is None


def test_what_was_written_before_is_no_table(
    works: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in works.glob("*.csv"):
        table = pd.read_csv(path)
        table.assign(id=table["id"] + ".png").to_csv(path, index=False)
    monkeypatch.chdir(works)
    start.main([".", "--name", "first"])
    prepare.main(["--experiment", "experiments/first.toml"])
    start.main([".", "--name", "first", "--overwrite"])
    data = read_experiment(Path("experiments/first.toml"), Path("run")).data
    assert [path.resolve() for path in data.images] == [works / "images"]
    assert pd.read_csv("experiments/first/train.csv")["id"].tolist() == ids(N_TRAIN)


def test_splits_with_a_metadata_file_each(tmp_path: Path) -> None:
    folder = tmp_path / "leaves"
    for split, names in (("train", ids(N_TRAIN)), ("test", ids(N_TEST, N_TRAIN))):
        files = [f"{name}.png" for name in names]
        draw(folder / split, files)
        labels = [WORDS[k % 3] for k in range(len(names))]
        write(folder / split / "metadata.csv", {"file_name": files, "label": labels})
    begun(folder)
    rows = prepared(folder)
    assert rows["split"].value_counts().to_dict() == {"train": N_TRAIN, "test": N_TEST}


def refused(folder: Path, *flags: str) -> str:
    """Give the one line of a mistake; nothing is written."""
    before = set(Path("experiments").glob("*"))
    with pytest.raises(UserError) as caught:
        start.main([str(folder), *flags])
    assert set(Path("experiments").glob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    write(folder / "train.csv", {"id": [1]})
    assert "no pictures in it nor in folders within (1 other files)" in refused(folder)
    assert "there is no such folder" in refused(tmp_path / "nowhere")


def test_two_tables_that_could_be_the_training_table_are_refused(works: Path) -> None:
    table = pd.read_csv(works / "train.csv")
    (works / "train.csv").rename(works / "first.csv")
    table.assign(height=1.5).to_csv(works / "second.csv", index=False)
    text = refused(works)
    assert "first.csv (36 rows; target, year, series, artist columns) could" in text
    assert "could both be the training table; write --train " in text
    assert text.endswith("second.csv")  # it tells the most, so it is named first
    assert begun(works, "--train", str(works / "first.csv")).data.target == "target"
    (works / "first.csv").rename(works / "train_a.csv")
    (works / "second.csv").rename(works / "train_b.csv")
    assert "could both be the training table" in refused(works, "--overwrite")


def test_a_target_that_nobody_can_tell_is_refused(works: Path) -> None:
    table = pd.read_csv(works / "train.csv").rename(columns={"target": "period"})
    table.to_csv(works / "train.csv", index=False)
    (works / "sample_submission.csv").unlink()
    text = refused(works)
    assert "period (4 whole numbers, 0 to 3), year (dates, 1890 to 1925)" in text
    assert "write --target period, or --target none" in text
    assert begun(works, "--target", "period").data.target == "period"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "perod"], "--target perod: no such column in"),
        (["--for", "soon"], "--for soon: write 30m, 90s, 1.5h or 2h30m"),
        (["--for", "0m"], "--for 0m: write 30m, 90s, 1.5h or 2h30m"),
        (["--for", "30m2h"], "--for 30m2h: write 30m, 90s, 1.5h or 2h30m"),
        (["--name", "a/b"], "'a/b' is no name of an experiment"),
        (["--train", "nowhere.csv"], "nowhere.csv: there is no such table"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    works: Path, flags: list[str], message: str
) -> None:
    assert message in refused(works, *flags)


def test_ids_that_name_no_picture_are_told(works: Path) -> None:
    for path in works.glob("*.csv"):
        if path.name != "train.csv":
            path.unlink()
    table = pd.read_csv(works / "train.csv")
    table.assign(id=range(N_TRAIN)).to_csv(works / "train.csv", index=False)
    text = refused(works)
    assert "no column holds names of pictures (id is '0', a picture is 'p000')" in text


def test_pictures_of_one_id_are_refused(works: Path) -> None:
    draw(works / "thumbs", ["p001.png"])
    assert "have the same id 'p001'" in refused(works)


def test_a_training_table_with_a_picture_twice_is_refused(works: Path) -> None:
    table = pd.read_csv(works / "train.csv")
    pd.concat([table, table[:3]]).to_csv(works / "train.csv", index=False)
    assert "3 of its 39 rows repeat a picture" in refused(works)


def test_a_broken_table_that_nobody_named_may_be_left_out(works: Path) -> None:
    (works / "notes.csv").write_bytes(b"caf\xe9,b\n1,2\n")
    text = refused(works)
    assert "notes.csv: not in UTF-8" in text
    assert "or name the tables that are meant" in text
    assert start.main([str(works), str(works / "train.csv")]).exists()


def test_an_experiment_is_replaced_only_if_told_so(works: Path) -> None:
    begun(works)
    with pytest.raises(UserError, match=r"works\.toml is there already; give --overw"):
        start.main([str(works)])
    assert "did you mean 'target'" in refused(works, "--target", "tarket")
    assert begun(works, "--overwrite").data.target == "target"


def test_what_the_stages_would_refuse_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    for word in WORDS:
        draw(folder / word, [f"{word}{k}.png" for k in range(3)])
    assert "9 rows have a target" in refused(folder)
    assert not Path("experiments").exists()


def test_what_is_refused_leaves_the_experiment_before(tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    for k, word in enumerate(WORDS):
        draw(folder / word, [f"{name}.png" for name in ids(12, 12 * k)])
    begun(folder)
    files = [Path("experiments/trees.toml"), Path("experiments/trees/train.csv")]
    before = [path.read_bytes() for path in files]
    for word in WORDS:
        for path in sorted((folder / word).iterdir())[3:]:
            path.unlink()
    assert "9 rows have a target" in refused(folder, "--overwrite")
    assert [path.read_bytes() for path in files] == before

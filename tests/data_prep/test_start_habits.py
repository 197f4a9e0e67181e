"""Tests of data_prep.start and --plan on what people have: odd tables and folders."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pipeline
from data_prep import prepare, start
from data_prep.effort import estimate_speed
from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.first_look.schedule import Schedule, schedule
from data_prep.stage_plan import Speeds, StagePlan
from tests.data_prep.test_start import draw, ids

N = 30
CELLS = {
    "id": ids(N),
    "price": [k + 0.5 for k in range(N)],
    "artist": ["Müller", "Größe", "Çelik"] * (N // 3),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty pictures in a folder, whose name somebody gave."""
    folder = tmp_path / "Netz Laufwerk" / "Blätter 2024 #1"
    draw(folder, [f"{id_}.png" for id_ in ids(N)])
    return folder


def table(**changed: object) -> pd.DataFrame:
    return pd.DataFrame(CELLS | changed)


def begun(folder: Path, *flags: str) -> Experiment:
    return read_experiment(start.main([str(folder), *flags]), Path("run"))


def refused(folder: Path, *flags: str) -> str:
    """Give the one line of a refusal, which leaves nothing behind."""
    with pytest.raises(UserError) as caught:
        start.main([str(folder), *flags])
    assert "\n" not in str(caught.value)
    assert not Path("experiments").exists()
    return str(caught.value)


def prepared(folder: Path, *flags: str) -> pd.DataFrame:
    """Begin, prepare, and give the rows by id."""
    file = start.main([str(folder), *flags])
    stage = prepare.main([f"--experiment={file}", "--run=run", "--side=32"])
    return pd.read_parquet(stage / "table.parquet").set_index("id")


def test_three_pictures_are_enough_for_features(tmp_path: Path) -> None:
    draw(tmp_path / "three", ["a.png", "b.png", "c.png"])
    file = start.main(["three"])
    assert "\nbatch_size = 3\n" in file.read_text()
    rows = prepared(tmp_path / "three", "--overwrite")
    assert set(rows.index) == {"a", "b", "c"}


def test_three_rows_are_too_few_to_learn(pictures: Path) -> None:
    table()[:3].to_csv(pictures / "train.csv", index=False)
    assert "3 rows have a target and a fold; give 20 or more" in refused(
        pictures, "--target=price"
    )
    experiment = begun(pictures, "--target=none")
    assert experiment.data.target is None


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_a_folder_of_broken_pictures_is_told_at_once(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for id_ in ids(12):
        (tmp_path / "broken" / f"{id_}.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / "broken" / f"{id_}.jpg").write_bytes(content)
    message = refused(tmp_path / "broken")
    assert re.search(r"p000\.jpg: .*; none of 8 pictures looked at can be re", message)
    Path("x.toml").write_text(
        '[data]\nimages = "broken"\n[pipeline]\nstages = ["data_prep.prepare"]\n'
    )
    pipeline.main(["x.toml", "--plan"])
    assert "none of 5 pictures looked at can be read" in caplog.text
    draw(tmp_path / "broken", ["p003.jpg"])
    assert begun(tmp_path / "broken").data.images


@pytest.mark.parametrize("flags", [(), ("--train",)])
def test_a_workbook_is_to_be_saved_as_csv(
    pictures: Path, flags: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    workbook = pictures / "train.xlsx"
    workbook.write_bytes(b"PK\x03\x04 and more")
    message = refused(pictures, *flags, str(workbook))
    assert "not a csv file but a workbook (.xlsx); save the sheet as CSV" in message
    assert begun(pictures).data.train is None
    assert "train.xlsx: a workbook is not read; save the sheet as CSV UTF-8" in (
        caplog.text
    )


def test_a_table_in_an_old_encoding_is_to_be_saved_anew(pictures: Path) -> None:
    german = {"sep": ";", "decimal": ",", "index": False}
    table().to_csv(pictures / "train.csv", encoding="latin-1", **german)
    message = refused(pictures, "--target=price")
    assert "train.csv: not in UTF-8: byte 0xfc in line 2, as Latin-1" in message
    assert "save it as CSV UTF-8" in message
    table().to_csv(pictures / "train.csv", encoding="utf-8-sig", **german)
    rows = prepared(pictures, "--target=price")
    assert rows["target"].tolist() == CELLS["price"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_ids_may_stand_in_a_column_without_a_name(pictures: Path, name: str) -> None:
    table().rename(columns={"id": name}).to_csv(pictures / "train.csv", index=False)
    rows = prepared(pictures, "--target=price")
    assert rows["target"].to_dict() == dict(zip(ids(N), CELLS["price"], strict=True))


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_the_index_that_pandas_writes_is_no_column(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It names pictures only where nothing else does, also if they are numbers."""
    caplog.set_level("INFO")
    folder = tmp_path / "numbered"
    draw(folder, [f"{k}.png" for k in range(N)])
    names = [f"{(7 * k) % N}.png" for k in range(N)]  # in another order than the rows
    numbered = table(id=names).drop(columns="artist").rename_axis(name or None)
    numbered.to_csv(folder / "train.csv")
    rows = prepared(folder)
    prices = dict(zip([n[:-4] for n in names], CELLS["price"], strict=True))
    assert rows["target"].to_dict() == prices
    assert "only counts the rows; left out" in caplog.text
    shutil.rmtree("experiments")
    numbered.drop(columns="id").to_csv(folder / "train.csv")
    rows = prepared(folder)
    assert rows["target"].to_dict() == {str(k): k + 0.5 for k in range(N)}


@pytest.mark.parametrize("has_same_names", [False, True])
@pytest.mark.parametrize("where", ["{}.csv", "{0}/{0}.csv", "{}_labels.csv"])
def test_pictures_in_train_and_test_with_a_table_each(
    tmp_path: Path, has_same_names: bool, where: str
) -> None:
    folder = tmp_path / "kaggle"
    of_test = ids(6, 0 if has_same_names else N)
    draw(folder / "train", [f"{id_}.png" for id_ in ids(N)])
    draw(folder / "test", [f"{id_}.png" for id_ in of_test])
    rows = table()
    rows.to_csv(folder / where.format("train"), index=False)
    rows[:6].drop(columns="price").assign(id=of_test).to_csv(
        folder / where.format("test"), index=False
    )
    pd.DataFrame({"id": of_test, "price": 0.5}).to_csv(
        folder / "sample_submission.csv", index=False
    )
    stored = prepared(folder)
    is_test = stored["split"] == "test"
    assert len(stored) == N + 6
    expected = {f"test/{id_}" if has_same_names else id_ for id_ in of_test}
    assert set(stored.index[is_test]) == expected
    named = stored[~is_test].rename(lambda id_: id_.rpartition("/")[2])
    assert named["target"].to_dict() == dict(zip(ids(N), CELLS["price"], strict=True))


def test_two_formats_of_one_picture_are_refused(pictures: Path) -> None:
    table().to_csv(pictures / "train.csv", index=False)
    draw(pictures, ["p003.jpg", "p004.jpg"])
    message = refused(pictures, "--target=price")
    assert re.search(r"p003\.jpg and .*p003\.png have the same id 'p003' \(2 ", message)
    assert message.endswith("; rename one")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_cannot_be_written_to_is_told_before_any_look(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool
) -> None:
    folder = tmp_path / "experiments"
    if is_there:
        folder.mkdir()
    read_only = folder if is_there else tmp_path

    def access(path: Path, mode: int) -> bool:  # whoever runs this may write anywhere
        return not (mode & os.W_OK and Path(path).samefile(read_only))

    monkeypatch.setattr("data_prep.start.os.access", access)
    monkeypatch.setattr("data_prep.first_look.look.list_folder", pytest.fail)
    with pytest.raises(UserError, match="nothing can be written there; go to a fol"):
        start.main([str(pictures)])


def test_a_folder_with_blanks_and_umlauts_is_planned(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table().to_csv(pictures / "Tabelle für Änne.csv", index=False)
    file = start.main([str(pictures), "--target=price"])
    run = pipeline.main([str(file), "--plan"])
    assert run.name == file.stem == "Blätter_2024_1"
    assert re.search(r"data_prep\.prepare .* not there yet", caplog.text)


@pytest.mark.parametrize("flag", ["id", "target", "group", "object", "date"])
@pytest.mark.parametrize("has_classes", [False, True])
def test_a_column_without_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, has_classes: bool
) -> None:
    photos = tmp_path / "my photos"
    where = ("oak/", "elm/") if has_classes else ("", "")
    draw(photos, [f"{where[k % 2]}{id_}.png" for k, id_ in enumerate(ids(N))])
    message = refused(Path("my photos"), f"--{flag}=price")
    command = f"python -m data_prep.start 'my photos' TABLE --{flag} price"
    assert message == (
        f"--{flag} price: no table is given, and there is none in my photos; give one"
        f" (csv, parquet, jsonl): {command}"
    )
    table().to_csv("train.csv", index=False)
    (tmp_path / "test.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    message = refused(Path("my photos"), f"--{flag}=price")
    assert (
        "test.jsonl, train.csv lie beside my photos: python -m data_prep.start"
        in message
    )
    monkeypatch.chdir(photos)
    message = refused(Path(), f"--{flag}=price")
    assert message.endswith(f" . ../test.jsonl ../train.csv --{flag} price")
    assert begun(Path(), f"--{flag}=none").data


def test_a_column_that_no_table_beside_class_folders_has_is_refused(
    tmp_path: Path,
) -> None:
    names = [f"{'oak' if k % 2 else 'elm'}/{id_}.png" for k, id_ in enumerate(ids(N))]
    draw(tmp_path / "leaves", names)
    strange = pd.DataFrame({"town": ["Ulm", "Bonn"], "price": [1, 2]})
    strange.to_csv(tmp_path / "leaves" / "towns.csv", index=False)
    assert "no column holds names of pictures" in refused(
        Path("leaves"), "--target=price"
    )
    assert begun(Path("leaves")).data.target == "target"


def test_a_table_beside_the_folder_is_told_and_is_used_as_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    draw(tmp_path / "photos", [f"{id_}.png" for id_ in ids(N)])
    table().to_csv("train.csv", index=False)
    assert begun(Path("photos")).data.train is None
    note = "\ntrain.csv lies beside photos and is not used; to use it: python -m"
    assert note in caplog.text
    command = re.search(r"data_prep\.start (photos train\.csv)\n", caplog.text)
    assert command
    file = start.main([*command[1].split(), "--target=price", "--overwrite"])
    assert read_experiment(file, Path("run")).data.target == "price"
    caplog.clear()
    start.main(["photos", "--target=none", "--overwrite"])
    assert "train.csv" not in caplog.text


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    draw(tmp_path / "one", ["a.png"])
    assert refused(Path("one")).startswith("one: 1 picture; give at least 2")
    draw(tmp_path / "one", ["b.png"])
    assert begun(Path("one")).data.images


@pytest.mark.parametrize(
    ("minutes", "text", "is_told"),
    [
        (1.0, "", False),
        (1.04, "", False),
        (1.2, "1.2 minutes", True),
        (12.4, "12 minutes", True),
        (0.4, "25 seconds", False),
    ],
)
def test_too_little_time_is_told_where_it_is_less(
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    minutes: float,
    text: str,
    is_told: bool,
) -> None:
    caplog.set_level("INFO")

    def of_time(*parts: Any) -> Schedule:
        return replace(schedule(*parts), minutes=minutes)

    monkeypatch.setattr("data_prep.first_look.schedule.schedule", of_time)
    file = start.main([str(pictures), "--for=1m"])
    written = " ".join(file.read_text().replace("# ", "").split())
    assert f"about {text or 'a minute'} for all stages on this machine" in written
    told = f"all stages will take about {text}, and --for 1m is less"
    assert (told in caplog.text) == is_told
    assert ("all stages will take" in caplog.text) == is_told


@pytest.mark.parametrize(
    ("target", "limit", "limit_s"),
    [("price", "1m", 60), ("price", "4m", 240), ("none", "1m", 60)],
)
def test_the_time_that_is_told_is_that_of_the_plan(
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    limit: str,
    limit_s: float,
) -> None:
    table().to_csv(pictures / "train.csv", index=False)
    monkeypatch.setattr("data_prep.effort.measure_speed", lambda: 60.0)

    def speeds_of(*_: object, **__: object) -> Speeds:
        return lambda name, side_px: estimate_speed(name, side_px, gmac_per_s=60.0)

    chosen: list[Schedule] = []
    plans: list[StagePlan] = []

    def of_time(*parts: Any) -> Schedule:
        chosen.append(schedule(*parts))
        return chosen[0]

    def plan_of(*parts: Any, **more: Any) -> StagePlan:
        plans.append(whole_plan(*parts, **more))
        return plans[0]

    whole_plan = pipeline.plan_of
    monkeypatch.setattr("data_prep.first_look.schedule.schedule", of_time)
    monkeypatch.setattr(pipeline, "plan_of", plan_of)
    monkeypatch.setattr(pipeline, "speeds_of", speeds_of)
    file = start.main([str(pictures), f"--target={target}", f"--for={limit}"])
    pipeline.main([str(file), "--plan"])
    seconds, is_more = plans[0].left()
    assert not is_more
    assert 60 * chosen[0].minutes == pytest.approx(seconds, rel=0.15)
    assert seconds <= 1.1 * limit_s


def test_in_the_folder_of_experiments_it_is_written_there(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table().to_csv(pictures / "train.csv", index=False)
    (tmp_path / "experiments").mkdir()
    monkeypatch.chdir(tmp_path / "experiments")
    flags = [str(pictures), "--target=price", "--name=x"]
    assert start.main(flags) == Path("x.toml")
    assert [path.name for path in Path().iterdir()] == ["x.toml"]
    data = read_experiment(Path("x.toml"), Path("run")).data
    assert data.train
    assert data.train.samefile(pictures / "train.csv")
    assert pipeline.main(["x.toml", "--plan"]).absolute() == tmp_path / "runs" / "x"
    with pytest.raises(UserError, match=r"^x\.toml is there already"):
        start.main(flags)

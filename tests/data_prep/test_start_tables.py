"""Tests of data_prep.start with tables of several kinds in the folder of pictures."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep import start
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.first_look.columns import look_at
from data_prep.first_look.toml_text import comment
from tests.data_prep.test_start import begun, draw, ids, prepared, refused, write

N_TRAIN, N_NEW = 36, 6
STYLES = ("oil; canvas", "ink; paper", "ink; canvas", "chalk")
MONTHS = ("01.01", "20.12", "15.06")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    """Pictures and four tables, of which the one to learn from is the last by name."""
    folder = tmp_path / "b"
    names = ids(N_TRAIN + N_NEW)
    draw(folder, [f"{name}.png" for name in names])
    train, k = names[:N_TRAIN], range(N_TRAIN)
    write(
        folder / "works.csv",
        {
            "id": train,
            "Period": [f"period {n % 3}" for n in k],
            "height": [40.5 + n for n in k],
            "made": [f"{MONTHS[n % 3]}.{1890 + 7 * n % 50}" for n in k],
        },
    )
    columns = {
        "material": [STYLES[n % 4] for n in k],
        "title": [f"View no. {n}" for n in k],
    }
    write(folder / "names.csv", {"id": train, **columns})
    write(folder / "new.csv", {"id": names[N_TRAIN:]})
    write(folder / "myfolds.csv", {"id": train, "fold": [n // 3 % 3 for n in k]})
    return folder


def check_roles(experiment: Experiment, b: Path) -> None:
    data = experiment.data
    assert data.train
    assert data.test
    assert data.train.samefile(b / "works.csv")
    assert data.test.samefile(b / "new.csv")
    assert [path.name for path in data.attributes] == ["names.csv"]
    kinds = {name: task.name for name, task in experiment.tasks.items()}
    assert kinds["words"] == "words"
    assert kinds["onehot"] == "classes"


def test_each_table_gets_its_role(b: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check_roles(begun(b, "--target", "Period"), b)
    text = Path("experiments/b.toml").read_text()
    assert '# folds = "../b/myfolds.csv"\n' in text
    assert "words of names.csv, by column (material, title); 36 pictures" in " ".join(
        text.replace("\n#", "").split()
    )
    caplog.clear()
    stage = prepared(b)
    assert stage["fold"].nunique() == 4  # three, and -1
    assert "no task learns the names" not in caplog.text
    names = pd.read_parquet("run/data_prep.prepare/attributes.parquet")["name"]
    assert set(names) == {"oil", "canvas", "ink", "paper", "chalk"}


def test_the_folds_that_are_offered_are_those_of_the_table(b: Path) -> None:
    begun(b, "--target", "Period")
    file = Path("experiments/b.toml")
    file.write_text(file.read_text().replace("# folds =", "folds ="))
    given = pd.read_csv(b / "myfolds.csv").set_index("id")["fold"]
    assert prepared(b).loc[given.index, "fold"].tolist() == given.tolist()


@pytest.mark.parametrize("lists", [True, False])
def test_the_training_table_is_told_or_named_first(b: Path, *, lists: bool) -> None:
    if not lists:  # now its words could be classes
        table = pd.read_csv(b / "names.csv")
        table["material"] = table["material"].str.partition(";")[0]
        table.to_csv(b / "names.csv", index=False)
        text = refused(b)
        assert "works.csv (36 rows; Period, height, made columns) and" in text
        assert "names.csv (36 rows; material, title columns) could both be" in text
        assert "new.csv" not in text
        assert "myfolds.csv" not in text
        assert text.endswith(f"write --train {b / 'works.csv'}")
    else:
        assert "which column is to be predicted cannot be told" in refused(b)
    assert begun(b, "--target", "Period").data.target == "Period"


def test_a_column_of_two_tables_settles_nothing(b: Path) -> None:
    pd.read_csv(b / "works.csv").to_csv(b / "old.csv", index=False)
    assert "could both be the training table" in refused(b, "--target", "Period")


def test_candidates_are_all_named_up_to_four(b: Path) -> None:
    table = pd.read_csv(b / "works.csv")
    for n in range(1, 4):
        table.assign(width=n)[: 36 - n].to_csv(b / f"w{n}.csv", index=False)
    text = refused(b)
    order = [text.index(f"{name}.csv (") for name in ("w1", "w2", "w3", "works")]
    assert order == sorted(order)
    assert "more" not in text
    table.assign(width=1, depth=2).to_csv(b / "z.csv", index=False)
    text = refused(b)
    assert " and 1 more could each be" in text
    assert text.endswith(f"--train {b / 'z.csv'}")


def test_a_wide_table_with_ids_of_its_own_spelling_is_copied(b: Path) -> None:
    table = pd.read_csv(b / "names.csv")
    table.assign(id=table["id"] + ".png").to_csv(b / "names.csv", index=False)
    data = begun(b, "--target", "Period").data
    copy = pd.read_csv(data.attributes[0])
    assert copy["id"].tolist() == ids(N_TRAIN)
    assert copy["material"].equals(table["material"])


def test_a_table_of_numbers_is_none_of_names(b: Path) -> None:
    table = pd.read_csv(b / "names.csv")
    table.assign(weight=range(N_TRAIN)).to_csv(b / "names.csv", index=False)
    assert begun(b, "--target", "Period").data.attributes == ()


def test_names_that_no_task_learns_are_told(
    b: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    begun(b, "--target", "Period")
    file = Path("experiments/b.toml")
    file.write_text(file.read_text().replace('kind = "words"', 'kind = "classes"'))
    file.write_text(file.read_text().replace("[tasks.words]", "[tasks.again]"))
    prepared(b)
    assert "no task learns the names of [data] attributes" in caplog.text
    assert 'add [tasks.words] with kind = "words"' in caplog.text


def test_dates_are_told_from_the_earliest_to_the_latest() -> None:
    cells = ["01.01.1916", "", "28.12.1910", "05.06.1950"]
    column = look_at(pd.Series(cells, dtype=object), "made")
    assert column.text == "dates, 28.12.1910 to 05.06.1950"
    rng = np.random.default_rng(0)
    years = rng.permutation(np.arange(1900, 1990)).tolist()
    column = look_at(pd.Series([f"3.{1 + y % 12}.{y}" for y in years]), "made")
    assert (column.low[-4:], column.high[-4:]) == ("1900", "1989")


def test_a_file_in_place_of_the_folder_is_called_a_file(b: Path) -> None:
    with pytest.raises(UserError, match=r"works\.csv: it is a file and no folder; "):
        start.main([str(b / "works.csv")])


def test_a_command_in_a_comment_is_not_torn() -> None:
    commands = ["python -m data_prep.start ../b", "python -m pipeline x/b.toml --plan"]
    for n in range(1, 90):
        text = f"{'x' * n} is {commands[0]}, {commands[1]} and --for 1m is less"
        lines = comment(text)
        for whole in (*commands, "--for 1m"):
            assert sum(whole in line for line in lines) == 1, n
        assert max(map(len, lines)) <= max(88, n + 2)
        assert " ".join(line.removeprefix("# ") for line in lines) == text


def test_pictures_of_one_name_need_no_table(tmp_path: Path) -> None:
    folder = tmp_path / "years"
    draw(folder, [f"{year}/{k}.png" for year in (2019, 2020) for k in range(4)])
    begun(folder, "--target", "none")
    assert sorted(prepared(folder).index) == [
        f"{year}/{k}" for year in (2019, 2020) for k in range(4)
    ]

"""Tests of transfer.networks.columns, and of columns in the stages after it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.testing import assert_close

from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.pictures.folders import Folders
from data_prep.pictures.pages import PagedPictures
from data_prep.prepared import Prepared
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.runs import Run
from features import fresh, watch
from features.extraction import find_extraction
from features.passes import views_of
from features.store import Store, open_store
from tests.prepared_runs import (
    elsewhere,
    extract,
    finetune,
    make_run,
    pixels_of,
    table_of,
)
from transfer import export
from transfer.networks.columns import NetColumns
from transfer.networks.heads import SkipMlp
from transfer.networks.task_net import load_net
from transfer.results.explanations import explain, worst_misses
from transfer.results.trained_nets import TrainedNets

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

FLAGS = ("--joint", "--columns=size,rare", "--head-width=4", "--learning-rate=0.01")


def table(numbers: list[float | None], texts: list[str | None]) -> pd.DataFrame:
    """Make a prepared table whose last row alone is of the test table."""
    splits = ["train"] * (len(numbers) - 1) + ["test"]
    return pd.DataFrame(
        {
            "split": splits,
            "image_row": range(len(numbers)),
            "given.size": np.array([None if n is None else str(n) for n in numbers]),
            "given.kind": np.array(texts, dtype=object),
        }
    )


def test_numbers_are_standardised_and_what_is_missing_is_zero() -> None:
    numbers = [1.0, 2, 3, 4, None, 10, 7, 3, 7]
    texts = ["a", "a", "a", "a", "b", "a", None, "c", "a"]
    rows = table(numbers, texts)
    columns = NetColumns.learn(rows, ["size", "kind"])
    assert columns.names == ("size", "size_missing", "kind_a")  # b and c are rare
    filled = np.array([1, 2, 3, 4, 3, 10, 7, 3.0])  # the median of seven is 3
    size = (np.array([*filled, 7]) - 3) / filled.std()
    made = columns.apply(rows)
    np.testing.assert_allclose(made[:, 0], size, rtol=1e-6)
    assert made[4].tolist() == [0, 1, 0]  # it is missing, and its text is rare
    assert made[6, 2] == 0
    assert made[:, 2].tolist() == [1, 1, 1, 1, 0, 1, 0, 0, 1]
    again = NetColumns.from_json(json.loads(json.dumps(columns.to_json())))
    assert again == columns


def test_the_unit_of_a_column_decides_nothing() -> None:
    numbers = np.random.default_rng(0).normal(5, 3, 20)
    metres = table(list(numbers), ["a"] * 20)
    moved = table(list(numbers * 1000 + 1e7), ["a"] * 20)
    ours, theirs = (NetColumns.learn(t, ["size"]).apply(t) for t in (metres, moved))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Joint nets with columns, of two folds, and what they give."""
    run = make_run(tmp_path_factory.mktemp("run"), n_folds=2)
    finetune(run, *FLAGS)
    extract(run, "--views=flip")
    return run


def net_file(run: Run, fold: int) -> Path:
    return run.folder / f"transfer.finetune/joint/fold{fold}/weights.safetensors"


def test_a_net_keeps_what_its_columns_are(run: Run) -> None:
    net, about = load_net(net_file(run, 1))
    expected = NetColumns.learn(table_of(run), ["size", "rare"])
    assert net.columns == NetColumns.from_json(about["user_columns"]) == expected
    head, n_columns = net.head("target"), len(expected.names)
    assert about["head_width"] == 4
    assert isinstance(head.mlp, SkipMlp)
    assert n_columns == 4  # size, whether it is missing, and two frequent texts
    assert head.linear.in_features == 96 + n_columns
    record = json.loads((run.folder / "transfer.finetune/record.json").read_text())
    assert record["facts"]["user_columns"] == about["user_columns"]
    # each column counts, and a net that has some does not go without
    images = torch.from_numpy(pixels_of(run)[:1].transpose(0, 3, 1, 2))
    made = torch.zeros(n_columns + 1, n_columns)
    made[1:] = torch.eye(n_columns)
    with torch.no_grad():
        outputs = net.predict(images.expand(len(made), -1, -1, -1), made)["target"]
        assert len({float(value) for value in outputs}) == len(made)
        with pytest.raises(AssertionError):
            net.predict(images)


def store_of(run: Run, name: str) -> Store:
    return open_store(run.folder / "features.extract" / "views" / name)


def test_extract_gives_each_picture_its_own_columns(run: Run) -> None:
    rows = table_of(run)
    made = NetColumns.learn(rows, ["size", "rare"]).apply(rows)
    images = torch.from_numpy(pixels_of(run).transpose(0, 3, 1, 2))
    for fold in range(2):
        net, _ = load_net(net_file(run, fold))
        for name, row_idx in (
            ("target.oof.pkl", np.flatnonzero(rows["fold"] == fold)),
            (f"target.test.fold{fold}.pkl", np.flatnonzero(rows["split"] != "train")),
        ):
            views = views_of(images[row_idx], VIEW_SETS["flip"])
            columns = torch.from_numpy(made[row_idx]).repeat_interleave(2, dim=0)
            with torch.no_grad():
                expected = net.predict(views, columns)["target"].view(-1, 2, 1)
            stored = store_of(run, name).matrix(list(rows["id"].iloc[row_idx]))
            assert_close(torch.from_numpy(stored), expected, rtol=1e-4, atol=1e-4)


def test_a_watcher_gives_the_columns_too(run: Run) -> None:
    with elsewhere(run):
        settings = watch.WatchSettings(views="e", precision="fp32")
        _, _, experiment = watch.open_command(
            watch.WatchSettings, watch.STAGE, [f"--run={run.folder}"]
        )
        record = json.loads((run.folder / "transfer.finetune/record.json").read_text())
        trained_with = record["settings"]
        scorer = watch.Scorer.of(settings, run, experiment, trained_with)
    for fold, net in enumerate(record["facts"]["nets"]):
        entries = scorer.score(net_file(run, fold), "joint", str(fold), 1)
        scores = {entry.score: entry.value for entry in entries}
        assert scores == pytest.approx(net["held_out_scores"], rel=1e-4)


def ask(run: Run, folder: Path, table: Path | None) -> Path:
    flags = [f"--run={run.folder}", "--threads=1", f"--images={folder}"]
    with elsewhere(run):
        return fresh.main([*flags, *([f"--table={table}"] if table else [])])


def values(store: Store, ids: list[str]) -> NDArray[np.float64]:
    return store.matrix(ids).astype(np.float64)


def test_fresh_pictures_need_a_table_and_are_given_its_cells(
    run: Run, tmp_path: Path
) -> None:
    rows = table_of(run)
    test = rows[rows["split"] == "test"].reset_index(drop=True)
    folder, file = tmp_path / "new", tmp_path / "cells.csv"
    folder.mkdir()
    for id_, image_row in zip(test["id"], test["image_row"], strict=True):
        Image.fromarray(pixels_of(run)[image_row]).save(folder / f"{id_}.png")
    with pytest.raises(UserError, match="nets learned from size, rare too; give --tab"):
        ask(run, folder, None)
    cells = test[["id", "given.size", "given.rare"]]
    cells = cells.rename(columns=lambda name: name.removeprefix("given."))
    cells.drop(columns="rare").to_csv(file, index=False)
    with pytest.raises(UserError, match="no column 'rare', which the nets learned fr"):
        ask(run, folder, file)
    cells[1:].to_csv(file, index=False)
    with pytest.raises(UserError, match=r"--table .* has no row for 1 id"):
        ask(run, folder, file)
    cells.to_csv(file, index=False)
    out = ask(run, folder, file)
    ids = list(test["id"])
    ours = values(open_store(out / "features.pkl"), ids)
    theirs = values(open_store(run.folder / "features.extract/features.pkl"), ids)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    # another cell makes another picture of it, and leaves the others as they are
    cells.loc[2, "size"] = "99.5"
    cells.to_csv(file, index=False)
    again = values(open_store(ask(run, folder, file) / "features.pkl"), ids)
    is_same = (again == ours).all(axis=1)
    assert is_same.tolist() == [k != 2 for k in range(len(ids))]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--columns=sise"], "there is no column 'sise'; did you mean 'size'"),
        (["--columns=kind"], "column 'kind' is empty in all 6 rows to predict"),
        (["--columns=width"], "column 'width' is '32' in all 24 rows to learn from"),
        (
            ["--columns=date"],
            r"columns = 'date' is what \[tasks.date\] learns; take it",
        ),
    ],
)
def test_columns_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    run = make_run(tmp_path)
    path = run.folder / "data_prep.prepare/table.parquet"
    rows = table_of(run)
    rows["date"] = rows["date"].fillna(1900.5)
    rows.to_parquet(path, index=False)
    with pytest.raises(UserError, match=message):
        finetune(run, *flags)
    assert not (run.folder / "transfer.finetune.partial").exists()


def test_of_a_table_that_is_not_called_for_only_ids_are_used(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extraction = find_extraction(run)
    without = replace(extraction, trained=run.finished("data_prep.prepare"))
    pictures = {"a": tmp_path / "a.jpg"}
    folders = Folders(pictures=pictures, unusable={}, other_names=())
    paged = PagedPictures(pictures=pictures)
    assert fresh.read_columns_of_nets(None, paged, folders, without) is None
    with caplog.at_level("INFO"):
        cells = tmp_path / "cells.csv"
        assert not fresh.read_columns_of_nets(cells, paged, folders, without)
    assert "cells.csv: the nets were given no column of yours: its ids" in caplog.text


def test_a_net_with_columns_is_explained_but_no_graph_has_them(run: Run) -> None:
    prepared = Prepared.open(run.finished("data_prep.prepare"))
    trained = TrainedNets.of(run).of_task("target")
    (task,) = trained.tasks(prepared, "target")
    rows = worst_misses(trained, prepared, task, 3)
    stored = store_of(run, "target.oof.pkl")
    for explanation in explain(trained, prepared, task, rows):
        plain_view = float(stored[explanation.id_][0, 0])
        assert f" → {four_digits(plain_view)}\n" in explanation.caption
    with pytest.raises(
        UserError, match=r"to = 'onnx': the nets learned from col.*size"
    ):
        export.main([f"--run={run.folder}"])

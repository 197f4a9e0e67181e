"""Tests of features.extract and of what it is made of."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from numpy.typing import NDArray
from timm.models import save_for_hf
from torch import Tensor
from tqdm import tqdm

from data_prep.dihedral import VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run, write_json
from data_prep.within_pipeline import pipeline_at_work
from features import merge, passes
from features import store as stores
from features.passes import run_pass, views_of
from features.settings import ExtractSettings
from features.store import Store, open_store, verify
from features.watch import Scorer, WatchSettings
from pretext.data.pictures import Pictures
from pretext.networks.backbones import load_backbone
from tests.drilled import in_drills
from tests.power_cut import PowerCutError
from tests.prepared_runs import (
    STAGE,
    elsewhere,
    extract,
    finetune,
    make_pretext,
    make_run,
    pixels_of,
    table_of,
)
from transfer.networks.task_net import load_net

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

TASKS = ("target", "onehot", "date", "words")
OUTPUTS = {"target": 1, "onehot": 4, "date": 1, "words": 3}
NAMES = ["target", *(f"onehot_{k}" for k in range(4)), "date", "words_0", "words_1"]
NAMES += ["words_2"]
STATISTICS = ("mean", "var", "max", "min")
REPLACED = (
    r"source = 'pretext.jigsaw' would replace .*features\.extract, the features of"
    r" '.*kept\.safetensors' \(one that took .*--overwrite$"
)


@pytest.fixture(scope="module", params=["joint", "apart"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run with nets of three folds and one of all rows, extracted."""
    run = make_run(tmp_path_factory.mktemp("run"), n_train=30, n_excluded=3)
    # long and fast enough for nets that differ by far more than rounding does
    flags = ["--batch-size=4", "--learning-rate=0.03"]
    finetune(run, "--all", *flags, *(["--joint"] if request.param == "joint" else []))
    extract(run, "--insample")
    return run


@pytest.fixture(scope="module")
def expected(run: Run) -> Callable[[str, str], NDArray[Any]]:
    """What a fold's net says of all pictures, one view at a time: (N, 8, F)."""
    cache: dict[tuple[str, str], NDArray[Any]] = {}

    def of(fold: str, task: str) -> NDArray[Any]:
        if (fold, task) not in cache:
            is_joint = place(run, "joint", fold).exists()
            tasks = TASKS if is_joint else (task,)
            net, _ = load_net(place(run, "joint" if is_joint else task, fold))

            def ask(images: Tensor) -> Tensor:
                outputs = net.predict(images)
                return torch.cat([outputs[name] for name in tasks], dim=1)

            answers = plain_outputs(pixels_of(run), ask)
            starts = np.cumsum([OUTPUTS[name] for name in tasks])[:-1]
            by_task = np.split(answers, starts, axis=2)
            cache.update({(fold, n): a for n, a in zip(tasks, by_task, strict=True)})
        return cache[fold, task]

    return of


def place(run: Run, name: str, fold: str) -> Path:
    folder = "all" if fold == "all" else f"fold{fold}"
    return run.folder / "transfer.finetune" / name / folder / "weights.safetensors"


def plain_outputs(
    pixels: NDArray[np.uint8], ask: Callable[[Tensor], Tensor]
) -> NDArray[Any]:
    """Ask about every view of every picture by itself: (N, 8, F)."""
    rows = []
    with torch.no_grad():
        for picture in pixels:
            views = [apply_view(view, picture, axes=(0, 1)) for view in VIEWS]
            images = np.stack([view.transpose(2, 0, 1) for view in views])
            rows.append(ask(torch.from_numpy(images)).numpy())
    return np.array(rows)


def store_of(run: Run, name: str) -> Store:
    return open_store(run.folder / "features.extract" / name)


def rows_of(run: Run, store: Store) -> list[int]:
    """Find a store's rows in the prepared table."""
    row_of = {id_: row for row, id_ in enumerate(table_of(run)["id"])}
    return [row_of[id_] for id_ in store.ids]


def pooled(values: NDArray[Any]) -> NDArray[Any]:
    """Pool (N, 8, F) in the order of the columns, by a loop."""
    columns = []
    for output in range(values.shape[2]):
        seen = values[:, :, output]
        columns += [seen.mean(1), seen.var(1), seen.max(1), seen.min(1)]
    return np.stack(columns, axis=1)


def all_outputs(expected: Callable[[str, str], NDArray[Any]], fold: str) -> Any:
    return np.concatenate([expected(fold, task) for task in TASKS], axis=2)


def assert_like(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Compare up to what float32 loses when pictures go through in other batches."""
    assert ours.shape == theirs.shape
    assert difference(ours, theirs) < 0.02


def difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Measure the largest difference of a column, in units of its spread."""
    flat = theirs.reshape(-1, theirs.shape[-1]).astype(np.float64)
    errors = np.abs(ours.reshape(flat.shape) - flat).max(axis=0)
    is_dead = flat.std(axis=0) == 0  # a feature behind a ReLU may be 0 everywhere
    assert not errors[is_dead].any()
    return float((errors[~is_dead] / flat.std(axis=0)[~is_dead]).max())


def test_every_file_is_whole_and_no_other_is_there(run: Run) -> None:
    folder = run.folder / "features.extract"
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    folds = ("fold0", "fold1", "fold2", "all")
    views = {
        f"views/{task}.{role}.{fold}.pkl"
        for task in TASKS
        for role in ("test", "insample")
        for fold in folds
    }
    parts = {f"{name}/{fold}.pkl" for name in ("nets", "insample") for fold in folds}
    oof = {f"views/{task}.oof.pkl" for task in TASKS}
    assert found == {"record.json", "features.pkl"} | views | parts | oof
    for name in found - {"record.json"}:
        verify(folder / name)
        store = open_store(folder / name)
        assert list(store.ids) == sorted(store.ids)
        assert store.values.dtype == np.float32


@pytest.mark.parametrize("task", TASKS)
def test_an_oof_row_is_what_the_net_of_its_own_fold_says(
    run: Run, expected: Callable[[str, str], NDArray[Any]], task: str
) -> None:
    store, table = store_of(run, f"views/{task}.oof.pkl"), table_of(run)
    rows = rows_of(run, store)
    assert rows == np.flatnonzero(table["fold"] >= 0).tolist()
    folds = table["fold"].iloc[rows].to_numpy()
    assert (store.folds == folds).all()
    assert set(store.roles) == {"oof"}
    theirs = [expected(str(f), task)[row] for row, f in zip(rows, folds, strict=True)]
    assert store.values.shape == (len(rows), 8, OUTPUTS[task])
    assert_like(store.values, np.array(theirs))
    # and of no other
    others = [
        expected(str((f + 1) % 3), task)[row]
        for row, f in zip(rows, folds, strict=True)
    ]
    assert difference(store.values, np.array(others)) > 0.5
    assert store.header["views"] == ["e", "h", "v", "hv", "r", "hr", "vr", "hvr"]


@pytest.mark.parametrize("fold", ["0", "1", "2", "all"])
@pytest.mark.parametrize("role", ["test", "insample"])
def test_what_a_net_says_of_test_pictures_and_of_its_own_rows(
    run: Run, expected: Callable[[str, str], NDArray[Any]], role: str, fold: str
) -> None:
    table = table_of(run)
    is_train = table["split"] == "train"
    number = int(fold) if fold != "all" else "all"
    held_out = table["cv_group"][table["fold"] == number]
    wanted = ~is_train
    if role == "insample":
        wanted = is_train & ~table["cv_group"].isin(held_out)
    name = f"fold{fold}" if fold != "all" else "all"
    folder = {"test": "nets", "insample": "insample"}[role]
    flat = store_of(run, f"{folder}/{name}.pkl")
    rows = rows_of(run, flat)
    assert rows == np.flatnonzero(wanted).tolist()
    assert set(flat.roles) == {role}
    assert_like(flat.values, pooled(all_outputs(expected, fold)[rows]))
    assert {net["fold"] for net in flat.header["nets"]} == {number}
    for task in TASKS:
        views = store_of(run, f"views/{task}.{role}.{name}.pkl")
        assert views.ids == flat.ids
        assert_like(views.values, expected(fold, task)[rows])
        assert [(n["task"], n["fold"]) for n in views.header["nets"]] == [
            (task, number)
        ]
    expected_folds = table["fold"].iloc[rows] if role == "insample" else -1
    assert (flat.folds == expected_folds).all()


def test_features_are_each_rows_own_nets_and_the_mean_of_the_nets_statistics(
    run: Run, expected: Callable[[str, str], NDArray[Any]]
) -> None:
    store, table = store_of(run, "features.pkl"), table_of(run)
    rows = np.array(rows_of(run, store))
    split, fold = table["split"].iloc[rows], table["fold"].iloc[rows].to_numpy()
    # rows that are trained on but never validated have no honest features
    missing = table[~table["id"].isin(store.ids)]
    assert (missing["split"] == "train").all()
    assert (missing["fold"] == -1).all()
    assert len(missing) == 3
    assert (store.roles == np.where(split == "train", "oof", "test")).all()
    assert (store.folds == fold).all()
    by_net = [pooled(all_outputs(expected, str(k))) for k in range(3)]
    of_mean = pooled(np.mean([all_outputs(expected, str(k)) for k in range(3)], axis=0))
    is_test = store.roles == "test"
    theirs = np.array([by_net[k][row] for row, k in zip(rows, fold, strict=True)])
    assert_like(store.values[~is_test], theirs[~is_test])
    assert_like(store.values[is_test], np.mean(by_net, axis=0)[rows[is_test]])
    variances = [k for k, name in enumerate(store.columns) if name.endswith("__var")]
    apart = store.values[is_test][:, variances] / of_mean[rows[is_test]][:, variances]
    assert apart.mean() > 1.1  # the mean of nets spreads less than a net
    assert {net["fold"] for net in store.header["nets"]} == {0, 1, 2}


def test_columns_and_header(run: Run) -> None:
    store, metadata = store_of(run, "features.pkl"), run.finished(STAGE).metadata
    assert store.columns == [f"{name}__{s}" for name in NAMES for s in STATISTICS]
    for column in store.header["columns"]:
        task, output = column["task"], column["output"]
        name, statistic = column["name"].rsplit("__", 1)
        assert name == (f"{task}_{output}" if output else task)
        assert column["statistic"] == statistic
        softmax = "softmax" if task == "onehot" else "identity"
        assert (column["activation"], column["space"]) == (softmax, "outputs")
    views = store_of(run, "views/onehot.oof.pkl")
    assert views.columns == [f"onehot_{k}" for k in range(4)]
    assert {column["statistic"] for column in views.header["columns"]} == {None}
    np.testing.assert_allclose(views.values.sum(axis=2), 1, rtol=1e-5)
    header = store.header
    assert header["fold_hash"] == metadata["fold_hash"]
    assert header["cv"] == "sgkfold3"
    assert header["selected_with_labels"] is False
    assert header["transform"] == {
        k: metadata[k] for k in ("side", "fit", "mean", "std")
    }
    assert header["precision"] == "fp32"
    assert (header["failures"], header["n_expected"]) == ({}, len(store))
    assert "created" not in header  # the same rows again are the same bytes
    assert {"torch", "timm", "numpy"} <= header["versions"].keys()
    files = run.finished("transfer.finetune").record["files"]
    assert {net["digest"] for net in header["nets"]} <= set(files.values())


def test_a_notebook_needs_no_package_of_ours(run: Run) -> None:
    path = run.folder / "features.extract" / "features.pkl"
    with path.open("rb") as file:
        plain = pickle.load(file)
    store = open_store(path)
    assert list(plain) == list(store.ids)
    assert all((plain[id_] == store[id_]).all() for id_ in plain)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with joint nets, not extracted."""
    run = make_run(tmp_path_factory.mktemp("small"), n_train=30)
    finetune(run, "--joint")
    return run


def payloads(run: Run) -> dict[str, str]:
    """Give the digests of all values by file."""
    folder = run.folder / "features.extract"
    return {
        path.relative_to(folder).as_posix(): open_store(path).header["payload_sha256"]
        for path in folder.rglob("*.pkl")
    }


@pytest.fixture(scope="module")
def whole(small: Run) -> dict[str, str]:
    """Give the digests of what an extraction in blocks of four leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "BLOCK", 4)
        extract(small, "--overwrite")
    return payloads(small)


@pytest.mark.parametrize(
    ("killed_at", "seconds", "most_repeated"),
    [
        (5, 0.0, 0),
        (10, 1e9, 2),
        *(
            in_drills(*moment)
            for moment in (
                *((1, 0.0, 0), (3, 0.0, 0), (10, 0.0, 0)),
                *((1, 1e9, 2), (3, 1e9, 2), (5, 1e9, 2)),
            )
        ),
    ],
)
def test_killed_and_resumed_gives_the_same_bytes(
    small: Run,
    whole: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    seconds: float,
    most_repeated: int,
) -> None:
    monkeypatch.setattr(passes, "BLOCK", 4)
    monkeypatch.setattr(passes, "JOURNAL_EVERY_S", seconds)
    calls: list[int] = []

    def failing(images: Tensor, names: tuple[str, ...]) -> Tensor:
        calls.append(len(images))
        if len(calls) == killed_at:
            raise PowerCutError
        return views_of(images, names)

    monkeypatch.setattr(passes, "views_of", failing)
    with pytest.raises(PowerCutError):
        extract(small, "--overwrite")
    n_killed = len(calls)
    extract(small, "--overwrite")
    assert payloads(small) == whole
    # 3 folds of 10 rows are 3 blocks each; 8 test pictures, once for all nets, are 2
    repeated = len(calls) - (11 + 1)
    assert n_killed == killed_at
    assert 0 <= repeated <= most_repeated  # at most those of one pass
    assert not (small.folder / "features.extract" / "checkpoints").exists()


def linear(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda images: factor * images.float().mean(dim=(2, 3))


def pass_of(
    forward: Callable[[Tensor], Tensor],
    work: Path,
    rows: Sequence[int] = range(10),
    **options: Any,
) -> NDArray[np.float32]:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    with tqdm(disable=True) as bar:
        return run_pass(
            forward,
            width=3,
            pictures=Pictures(pixels),
            rows=np.array(rows),
            work=work,
            **{"weights": "a", "bf16": False, "count": bar.update} | options,
        )


def cut_after(blocks: int, forward: Callable[..., Tensor]) -> Any:
    calls = 0

    def cut(*given: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > blocks:
            raise PowerCutError
        return forward(*given)

    return cut


@pytest.fixture
def blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BLOCK", 2)
    monkeypatch.setattr(passes, "JOURNAL_EVERY_S", 0.0)


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize(
    "change", [{"weights": "b"}, {"bf16": True}, {"rows": range(9, -1, -1)}]
)
def test_a_pass_of_something_else_begins_anew(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(PowerCutError):
        pass_of(cut_after(3, linear(1.0)), tmp_path / "a.npy")
    resumed = pass_of(linear(2.0), tmp_path / "a.npy", **change)
    anew = pass_of(linear(2.0), tmp_path / "b.npy", **change)
    assert (resumed == anew).all()
    with pytest.raises(PowerCutError):
        pass_of(cut_after(3, linear(1.0)), tmp_path / "c.npy")
    goes_on = pass_of(linear(2.0), tmp_path / "c.npy")
    assert (goes_on[:6] == pass_of(linear(1.0), tmp_path / "d.npy")[:6]).all()
    assert (goes_on[6:] == pass_of(linear(2.0), tmp_path / "e.npy")[6:]).all()


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize("done", [3, 5])
def test_a_pass_that_is_done_may_be_of_another_device(
    tmp_path: Path, done: int
) -> None:
    work = tmp_path / "a.npy"
    with suppress(PowerCutError):
        pass_of(cut_after(done, linear(1.0)), work)
    journal = work.with_suffix(".json")
    state = json.loads(journal.read_text())
    state["key"]["device"] = "cuda"
    write_json(journal, state)
    ended = pass_of(linear(2.0), work)
    factor = 1.0 if done == 5 else 2.0
    assert (ended == pass_of(linear(factor), tmp_path / "b.npy")).all()


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize("ending", [".npy", ".json"])
@pytest.mark.parametrize("harm", ["cut", "emptied", "something else"])
def test_a_pass_whose_work_was_cut_begins_anew(
    tmp_path: Path, ending: str, harm: str
) -> None:
    work = tmp_path / "a.npy"
    with pytest.raises(PowerCutError):
        pass_of(cut_after(3, linear(1.0)), work)
    file = work.with_suffix(ending)
    content = file.read_bytes()
    harmed = {"cut": content[:-9], "emptied": b"", "something else": b"[3]"}
    file.write_bytes(harmed[harm])
    whole = pass_of(linear(1.0), tmp_path / "b.npy")
    assert (pass_of(linear(1.0), work) == whole).all()


@pytest.mark.usefixtures("blocks_of_two")
def test_a_journal_never_counts_the_blocks_of_others(tmp_path: Path) -> None:
    work = tmp_path / "a.npy"
    for blocks, weights in ((3, "a"), (0, "b")):
        with pytest.raises(PowerCutError):
            pass_of(cut_after(blocks, linear(1.0)), work, weights=weights)
    whole = pass_of(linear(1.0), tmp_path / "b.npy")
    assert (pass_of(linear(1.0), work) == whole).all()


@pytest.mark.usefixtures("blocks_of_two")
def test_a_pass_has_the_seconds_of_all_attempts(tmp_path: Path) -> None:
    work = tmp_path / "a.npy"
    with pytest.raises(PowerCutError):
        pass_of(cut_after(3, linear(1.0)), work)
    journal = work.with_suffix(".json")
    state = json.loads(journal.read_text())
    assert 0 < state["seconds"] < 2
    write_json(journal, {**state, "seconds": 100.0})
    pass_of(linear(1.0), work)
    assert passes.seconds_of_pass(work) == pytest.approx(100.0, abs=2)
    pass_of(linear(1.0), work)  # all there
    assert passes.seconds_of_pass(work) == pytest.approx(100.0, abs=2)
    pass_of(linear(1.0), work, weights="b")
    assert passes.seconds_of_pass(work) < 2


@pytest.mark.usefixtures("blocks_of_two")
def test_a_killed_pass_leaves_what_its_journal_counts(tmp_path: Path) -> None:
    for blocks in range(5):
        work = tmp_path / f"{blocks}.npy"
        with pytest.raises(PowerCutError):
            pass_of(cut_after(blocks, linear(1.0)), work)
        journal = work.with_suffix(".json")
        done = json.loads(journal.read_text())["done"] if journal.exists() else 0
        assert done == blocks
        kept = np.load(work)[: 2 * done]
        assert (kept == pass_of(linear(1.0), tmp_path / "whole.npy")[: 2 * done]).all()


def test_views_are_channels_last_and_in_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    images = Pictures(pixels).take(np.arange(3))
    views = views_of(images)
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert views.data_ptr() != images.data_ptr()
    for number, view in enumerate(views.numpy()):
        picture, name = divmod(number, 8)
        theirs = apply_view(VIEWS[name], images[picture].numpy())
        assert (view == theirs).all()


def test_partial_folds_say_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, words=0)
    finetune(run, "--joint", "--folds=2,0")
    with caplog.at_level("INFO"):
        extract(run)
    assert "through 2 nets, " in caplog.text, "a joint net is one, whatever its tasks"
    store, table = store_of(run, "features.pkl"), table_of(run)
    missing = table["id"][table["fold"] == 1]
    kept = table["id"][table["fold"] != 1]
    assert set(store.ids) == set(kept)
    assert store.header["failures"] == dict.fromkeys(
        missing, "no net of fold 1 was trained"
    )
    assert store.header["n_expected"] == len(table)
    nets = [store_of(run, f"nets/fold{k}.pkl") for k in (0, 2)]
    mean = np.mean([net.values for net in nets], axis=0)
    np.testing.assert_allclose(store.matrix(nets[0].ids), mean, rtol=1e-6)
    assert not any("words" in column for column in store.columns)


def test_only_a_net_of_all_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_folds=0, target="classes", dates=False, words=0)
    finetune(run, "--all")
    extract(run)
    store = store_of(run, "features.pkl")
    assert set(store.roles) == {"test"}
    assert (store.values == store_of(run, "nets/all.pkl").values).all()
    assert store.columns == [f"onehot_{k}__{s}" for k in range(4) for s in STATISTICS]
    assert store.header["fold_hash"] is None


def test_without_test_pictures_there_are_oof_rows_only(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_test=0, n_unlabelled=0, words=0)
    finetune(run, "--joint")
    folder = extract(run)
    assert set(store_of(run, "features.pkl").roles) == {"oof"}
    assert not (folder / "nets").exists()
    assert len(list((folder / "views").iterdir())) == 3
    shutil.rmtree(run.folder / "transfer.finetune")  # whose folds would be kept
    finetune(run, "--joint", "--folds=all")
    with pytest.raises(UserError, match=r"nothing to extract: .*train the folds, or"):
        extract(run)


def test_nets_trained_at_another_side_are_asked_at_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, side=48, words=0, dates=False)
    finetune(run, "--joint", "--folds=0", "--side=32")
    extract(run)
    store = store_of(run, "views/target.oof.pkl")
    net, _ = load_net(place(run, "joint", "0"))
    outputs = plain_outputs(pixels_of(run), lambda image: net.predict(image)["target"])
    assert_like(store.values, outputs[rows_of(run, store)])


@pytest.mark.parametrize(
    ("backbone", "side_px", "asked_px"),
    [("test_resnet", 64, 32), ("test_vit", 64, 64), ("test_vit", 32, 32)],
)
def test_features_of_a_pretext_stage_are_label_free(
    tmp_path: Path, backbone: str, side_px: int, asked_px: int
) -> None:
    run = make_run(tmp_path, n_folds=0, target=None, dates=False, words=0, n_train=4)
    weights = make_pretext(run, backbone, side_px)
    folder = extract(run, "--source=pretext.jigsaw")
    assert sorted(p.name for p in folder.rglob("*.pkl")) == [
        "embedding.pkl",
        "features.pkl",
    ]
    views, store = store_of(run, "views/embedding.pkl"), store_of(run, "features.pkl")
    table, metadata = table_of(run), run.finished(STAGE).metadata
    assert list(views.ids) == list(store.ids) == table["id"].tolist()
    assert set(store.roles) == {"label_free"}
    net, _ = load_backbone(weights, backbone, asked_px)
    mean, std = (torch.tensor(metadata[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    size = (asked_px, asked_px)

    def ask(image: Tensor) -> Tensor:
        resized = torch.nn.functional.interpolate(
            image.float(), size, mode="bilinear", antialias=True
        )
        features: Tensor = net.eval()((resized - mean) / std)
        return features

    theirs = plain_outputs(pixels_of(run), ask)
    np.testing.assert_allclose(views.values, theirs, rtol=1e-3, atol=1e-4)
    assert_like(store.values, pooled(theirs))
    (digest,) = {column["space"] for column in store.header["columns"]}
    assert digest == store.header["nets"][0]["digest"]
    assert store.columns[:2] == ["embedding_0__mean", "embedding_0__var"]


def test_features_of_ready_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run", n_train=6, n_test=2)
    torch.manual_seed(4)
    network = timm.create_model("test_resnet", num_classes=5).eval()
    network.pretrained_cfg.update(mean=(0.2, 0.3, 0.4), std=(0.3, 0.2, 0.1))
    save_for_hf(network, tmp_path / "ready", safe_serialization=True)
    folder = extract(run, f"--source={tmp_path / 'ready'}")
    views, store = store_of(run, "views/embedding.pkl"), store_of(run, "features.pkl")
    assert set(store.roles) == {"label_free"}
    assert list(store.ids) == table_of(run)["id"].tolist()

    def ask(image: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([2, 3, 4], [3, 2, 1]))
        features = network.forward_features((image / 255 - mean / 10) / (std / 10))
        pooled: Tensor = network.forward_head(features, pre_logits=True)
        return pooled

    expected = plain_outputs(pixels_of(run), ask)
    np.testing.assert_allclose(views.values, expected, rtol=1e-3, atol=1e-4)
    header, record = store.header, run.finished("features.extract").record
    assert header["transform"]["mean"] == pytest.approx([51, 76.5, 102])
    files = record["files"]
    assert header["nets"][0]["digest"] == files["backbone.safetensors"]
    assert header["source"]["stage"] == "ready"
    assert header["source"]["digest"] == record["settings"]["weights"]["sha256"]
    assert list(record["reads"]) == [STAGE]
    # what is kept is a backbone of ours: by it the features are the same
    values = store.matrix()
    kept = (folder / "backbone.safetensors").rename(tmp_path / "kept.safetensors")
    (folder / "backbone.json").rename(tmp_path / "kept.json")
    extract(run, f"--source={kept}", "--overwrite")
    np.testing.assert_array_equal(store_of(run, "features.pkl").matrix(), values)
    # of another source only where somebody says so, and the copies of a run too
    make_pretext(run)
    before = (folder / "features.pkl").read_bytes()
    with pytest.raises(UserError, match=REPLACED):
        extract(run, "--source=pretext.jigsaw")
    assert (folder / "features.pkl").read_bytes() == before
    extract(run, "--source=pretext.jigsaw", "--layers")
    with pipeline_at_work():
        extract(run, "--source=pretext.jigsaw")
    assert store_of(run, "features.pkl").header["source"]["stage"] == "pretext.jigsaw"
    caplog.clear()
    with caplog.at_level("INFO"):
        extract(run, "--source=pretext.jigsaw", "--views=flip")
    assert 'features.extract is made anew: views "d4" -> "flip"' in caplog.text
    layer = r"inner layers would replace .*extract, which are outputs \(one that"
    with pytest.raises(UserError, match=layer):
        extract(run, "--source=pretext.jigsaw", "--views=flip", "--layer=layer3")
    for shard in ("0/2", "1/2"):
        extract(run, f"--source={kept}", f"--shard={shard}")
    with elsewhere(run), pytest.raises(UserError, match=r"kept\.safetensors' would"):
        merge.main([f"--run={run.folder}"])
    assert store_of(run, "features.pkl").header["source"]["stage"] == "pretext.jigsaw"


def test_mistakes_about_ready_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n_train=6, n_test=2)
    bare = tmp_path / "bare.pth"
    torch.save({"a": torch.zeros(2)}, bare)
    for flags, message in (
        ([f"--source={bare}"], "source = .*bare.pth': no JSON beside it names its net"),
        (["--source=no/such"], "source = 'no/such': there is no such file or folder"),
        ([f"--source={bare}", "--backbone=test_resnet"], "does not fit 'test_resnet'"),
        (["--backbone=resnet18"], "transfer.finetune has a network of its own"),
        ([f"--source={bare}", "--insample"], "saw no label at all"),
    ):
        with pytest.raises(UserError, match=message):
            extract(run, *flags)


def select_with_labels(run: Run) -> None:
    """Let the pretext stage say that a probe chose its epoch."""
    note = run.folder / "pretext.jigsaw" / "backbone.json"
    about = json.loads(note.read_text()) | {"selected_with_labels": True}
    note.write_text(json.dumps(about))


def test_pictures_are_found_by_image_row_and_not_by_the_place_in_the_table(
    tmp_path: Path,
) -> None:
    stores = []
    for name in ("sorted", "shuffled"):
        run = make_run(tmp_path / name, n_folds=0, target=None, dates=False, words=0)
        if name == "shuffled":
            table = table_of(run).sample(frac=1, random_state=0)
            assert (table["image_row"].to_numpy() != np.arange(len(table))).any()
            table.to_parquet(run.folder / STAGE / "table.parquet", index=False)
        make_pretext(run)
        out = extract(run, "--source=pretext.jigsaw", "--views=e")
        stores.append(open_store(out / "features.pkl"))
    ours, theirs = stores[1].matrix(), stores[0].matrix()
    assert stores[1].ids == stores[0].ids
    assert all(name.endswith("__mean") for name in stores[0].columns)
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours - theirs[::-1]).max() > 0.01  # pictures do differ


def test_the_statistics_of_one_view_are_those_that_tell_something() -> None:
    table, objects = pd.DataFrame({"id": ["a"]}), pd.DataFrame({"object": ["x"]})
    usual = ExtractSettings().statistics
    assert ExtractSettings(views="flip").statistics_of(table) == usual
    assert ExtractSettings(views="e").statistics_of(table) == ("mean",)
    assert ExtractSettings(views="e").statistics_of(objects) == usual, "they differ"
    message = r"statistics = var, std: with views = 'e' there is one view, which has no"
    with pytest.raises(UserError, match=message):
        ExtractSettings(views="e", statistics=("var", "std"))


def test_nets_are_not_asked_in_views_that_they_never_learned(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    finetune(run, "--joint", "--no-turns")
    for flags in ([], ["--views=c4"]):
        with pytest.raises(
            UserError, match=r"views = '.*', but the nets of transfer.finetune were not"
        ):
            extract(run, *flags)
    assert not (run.folder / "features.extract").exists()
    extract(run, "--views=flip")
    assert store_of(run, "features.pkl").header["pooled_over"] == ["e", "h"]
    trained_with = run.finished("transfer.finetune").record["settings"]
    experiment = Experiment(data=DataSettings())
    scorer = Scorer.of(WatchSettings(), run, experiment, trained_with)
    assert scorer.views == ("e", "h")
    with pytest.raises(UserError, match=r"views = 'd4', but the nets"):
        Scorer.of(WatchSettings(views="d4"), run, experiment, trained_with)


@pytest.mark.parametrize("turns", [True, False])
def test_a_pretext_that_never_turned_pictures_is_asked_but_told(
    turns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, n_folds=0, target=None, dates=False, words=0)
    make_pretext(run)
    record = run.folder / "pretext.jigsaw" / "record.json"
    note = json.loads(record.read_text())
    note["settings"]["turns"] = turns
    record.write_text(json.dumps(note))
    extract(run, "--source=pretext.jigsaw")
    told = [text for text in caplog.messages if "[data] up" in text]
    assert told == [
        "views = 'd4', but the nets of pretext.jigsaw were not trained on turned"
        " pictures (turns = false); give views = 'flip', or 'e', or [data] up = true"
        " where pictures have an up"
    ] * (not turns)


def test_a_backbone_that_labels_chose_is_not_called_label_free(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_pretext(run)
    extract(run, "--source=pretext.jigsaw")
    free = store_of(run, "features.pkl")
    assert (set(free.roles), free.header["selected_with_labels"]) == (
        {"label_free"},
        False,
    )
    values = free.matrix()
    select_with_labels(run)
    extract(run, "--source=pretext.jigsaw", "--overwrite")
    store = store_of(run, "features.pkl")
    assert set(store.roles) == {"selected_with_labels"}
    assert store.header["selected_with_labels"] is True
    assert set(store_of(run, "views/embedding.pkl").roles) == {"selected_with_labels"}
    assert store.ids == free.ids
    np.testing.assert_array_equal(store.matrix(), values)


@pytest.mark.parametrize(
    ("is_selected", "is_stage"), [(True, True), (True, False), (False, False)]
)
def test_nets_that_began_from_such_a_backbone_say_so(
    tmp_path: Path, is_selected: bool, is_stage: bool
) -> None:
    run = make_run(tmp_path)
    make_pretext(run)
    weights = run.folder / "pretext.jigsaw" / "backbone.safetensors"
    if is_selected:
        select_with_labels(run)
    finetune(run, "--joint", f"--init={'pretext.jigsaw' if is_stage else weights}")
    extract(run)
    store = store_of(run, "features.pkl")
    assert set(store.roles) == {"oof", "test"}
    assert store.header["selected_with_labels"] is is_selected


def test_written_in_pieces_it_is_the_same(
    small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(small, "--overwrite")
    whole = payloads(small)
    monkeypatch.setattr(stores, "AT_ONCE", 3)
    monkeypatch.setattr("features.net_passes.CHUNK", 3)
    extract(small, "--overwrite")
    assert payloads(small) == whole


def test_a_finished_extraction_is_not_repeated(
    small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = extract(small)
    monkeypatch.setattr(passes, "views_of", cut_after(0, views_of))
    assert extract(small) == folder
    with pytest.raises(PowerCutError):
        extract(small, "--insample")


def test_mistakes(small: Run, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"source = 'pretext.jigsav': did you mean 'pre"
    ):
        extract(small, "--source=pretext.jigsav")
    with pytest.raises(UserError, match=r"the nets of pretext.jigsaw saw no label"):
        extract(small, "--source=pretext.jigsaw", "--insample")
    with pytest.raises(UserError, match=r"first: python -m transfer.finetune --run"):
        extract(make_run(tmp_path))


def test_bf16_is_near_and_told(small: Run) -> None:
    extract(small)
    exact = store_of(small, "features.pkl").frame()
    extract(small, "--precision=bf16", "--overwrite")
    store = store_of(small, "features.pkl")
    assert store.header["precision"] == "bf16"
    near = store.frame()
    pd.testing.assert_index_equal(exact.index, near.index)
    means = [name for name in store.columns if name.endswith("__mean")]
    spread = exact[means].std() + 1e-3
    assert ((exact[means] - near[means]).abs() / spread).median().max() < 0.5

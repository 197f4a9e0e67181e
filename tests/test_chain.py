"""The whole chain, end to end on a tiny drawn collection, as a user would type it."""

import importlib
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pipeline
from data_prep.chain import LEARNING, stages_of
from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.run_folders.damage import digest_of
from features import extract
from stacking import fit

ROOT = Path(__file__).parents[1]
TINY = """
[pipeline]
stages = [
    "data_prep.demo", "data_prep.prepare", "pretext.jigsaw", "transfer.finetune",
    "features.extract", "stacking.fit",
]
[data]
images = "{run}/data_prep.demo/images"
train = "{run}/data_prep.demo/train.csv"
test = "{run}/data_prep.demo/test.csv"
sample = "{run}/data_prep.demo/sample_submission.csv"
target = "target"
group = "series"
date = "year"
attributes = [
    "{run}/data_prep.demo/materials.csv", "{run}/data_prep.demo/techniques.csv",
]
[data_prep.demo]
n_train = 48
n_test = 16
side = 64
[data_prep.prepare]
side = 48
workers = 1
[pretext.jigsaw]
backbone = "test_resnet"
epochs = 1
batch_size = 16
threads = 1
[transfer.finetune]
joint = true
epochs = 1
batch_size = 16
threads = 1
[features.extract]
threads = 1
insample = true
[stacking.fit]
seeds = 1
max_rounds = 40
"""


def run_python(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours in a folder, as a user would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file, and its run made by the pipeline."""
    place = tmp_path_factory.mktemp("place")
    (place / "demo.toml").write_text(TINY)
    with chdir(place):  # as typed it is run below; starting torch takes long
        pipeline.main(["demo.toml"])
    return place


def test_every_stage_leaves_what_the_design_names(place: Path) -> None:
    for name in (
        *("data_prep.prepare/table.parquet", "data_prep.prepare/images.npy"),
        *("data_prep.prepare/words.parquet", "data_prep.prepare/report.html"),
        *("pretext.jigsaw/backbone.safetensors", "pretext.jigsaw/record.json"),
        "transfer.finetune/joint/fold2/weights.safetensors",
        *("features.extract/features.pkl", "features.extract/views/date.oof.pkl"),
        "features.extract/views/words.test.fold0.pkl",
        *("stacking.fit/oof.csv", "stacking.fit/predictions.csv"),
        *("stacking.fit/stacking.json", "stacking.fit/report.html"),
    ):
        assert (place / "runs/demo" / name).is_file(), name
    assert not list((place / "runs/demo").glob("*.partial"))


def test_predictions_follow_the_sample(place: Path) -> None:
    run = place / "runs/demo"
    sample = pd.read_csv(run / "data_prep.demo/sample_submission.csv")
    predictions = pd.read_csv(run / "stacking.fit/predictions.csv")
    assert predictions.columns.tolist() == ["id", "target"]
    assert predictions["id"].tolist() == sample["id"].tolist()
    assert predictions["target"].between(0, 3).all()


def test_oof_covers_every_labelled_picture_that_can_be_read(place: Path) -> None:
    run = place / "runs/demo"
    train = pd.read_csv(run / "data_prep.demo/train.csv")
    left_out = pd.read_csv(run / "data_prep.prepare/left_out.csv")
    oof = pd.read_csv(run / "stacking.fit/oof.csv")
    assert len(left_out) == 1
    assert set(oof["id"]) == set(train["id"]) - set(left_out["id"])


def test_the_store_is_a_plain_pickle(place: Path) -> None:
    path = place / "runs/demo/features.extract/features.pkl"
    with path.open("rb") as file:
        features = pickle.load(file)
    assert type(features) is dict
    assert {row.shape for row in features.values()} == {((1 + 4 + 1 + 20) * 4,)}
    assert all(np.isfinite(row).all() for row in features.values())


def test_the_same_again_does_nothing(place: Path) -> None:
    record = place / "runs/demo/stacking.fit/record.json"
    before = record.stat().st_mtime_ns
    done = run_python(place, "pipeline", "demo.toml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already done") == 6
    assert "report: runs/demo/stacking.fit/report.html" in done.stderr
    assert record.stat().st_mtime_ns == before


def test_commands_work_as_typed_on_the_last_run(place: Path) -> None:
    for command in (["pretext.jigsaw"], ["stacking.fit", "--cv", "sgkfold3"]):
        done = run_python(place, *command)
        assert done.returncode == 0, done.stderr
        assert "runs/demo" in done.stderr


def test_the_leaky_protocol_is_labelled_as_such(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with chdir(place), caplog.at_level(logging.INFO):
        fit.main(["--protocol", "insample"])
    assert "leak" in caplog.text
    assert (place / "runs/demo/stacking.fit.insample/record.json").is_file()


@pytest.mark.drill
def test_pictures_that_come_later_are_predicted_as_test_pictures_are(
    place: Path,
) -> None:
    run, new = place / "runs/demo", place / "new"
    expected = pd.read_csv(run / "stacking.fit/predictions.csv", index_col="id")
    new.mkdir()
    drawn = sorted((run / "data_prep.demo/images").iterdir())
    for file in [one for one in drawn if one.stem in expected.index][:9]:
        shutil.copy(file, new)
    (new / "broken.jpg").write_bytes(b"no picture")
    done = run_python(place, "stacking.predict", "--images", "new")
    assert done.returncode == 0, done.stderr
    assert "1 id ('broken') has no prediction" in done.stderr
    found = pd.read_csv(run / "stacking.predict/new.csv", index_col="id")
    assert len(found) == 9
    # other pictures stand beside it in its block, which moves its last bits
    difference = found["prediction"] - expected["target"][found.index]
    assert difference.abs().max() < 0.05
    assert found["prediction"].between(found["low"], found["high"]).all()
    (new / f"{found.index[0]}{drawn[0].suffix}").unlink()
    shutil.copy([one for one in drawn if one.stem in expected.index][9], new)
    (new / "broken.jpg").unlink()
    done = run_python(place, "stacking.predict", "--images", "new")
    assert done.returncode == 0, done.stderr
    assert "8 pictures have features already, which are kept, 1 are new" in done.stderr
    grown = pd.read_csv(run / "stacking.predict/new.csv", index_col="id")
    assert list(grown.index) == sorted(path.stem for path in new.iterdir())
    kept = found.index[1:]
    pd.testing.assert_frame_equal(grown.loc[kept], found.loc[kept])
    assert not (run / "stacking.predict/new.left_out.csv").exists()


def test_other_folds_are_refused(place: Path) -> None:
    done = run_python(place, "stacking.fit", "--cv", "sgkfold5")
    assert done.returncode == 2
    run, error = done.stderr.splitlines()  # and no store was read
    assert run.startswith("run: ")
    assert error.startswith("error: cv = 'sgkfold5'")
    assert "sgkfold3" in error


def test_a_moved_run_goes_on(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(place / "runs/demo", tmp_path / "elsewhere")
    with chdir(tmp_path), caplog.at_level(logging.INFO):
        fit.main(["--run", "elsewhere"])
    assert "already done" in caplog.text


def test_a_stage_made_from_something_replaced_is_refused(
    place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "stale"
    shutil.copytree(place / "runs/demo", run)
    file = run / "pretext.jigsaw/record.json"
    record = json.loads(file.read_text())
    del record["record_sha256"], record["files"]["backbone.json"]
    file.write_text(json.dumps(record | {"digest": digest_of(record["files"])}))
    remedy = "python -m transfer.finetune --run stale"
    with chdir(tmp_path), pytest.raises(UserError, match=remedy):
        extract.main(["--overwrite", "--run", "stale"])


OF_NET = "transfer.finetune/joint/fold1/weights"
FINETUNE = ("transfer.finetune", "--overwrite", "--backbone", "test_resnet")
EXTRACT = ("features.extract", "--overwrite")
FIT = ("stacking.fit", "--overwrite")
NOISE = ("stacking.noise", "--overwrite")
PREDICT = ("stacking.predict", "--images", "new_ones")
EXPORT = ("pretext.export", "--weights", "pretext.jigsaw")
FRESH = ("features.fresh", "--images", "new_ones")
# file of the run: commands that open it
OPENED_BY: dict[str, Sequence[tuple[str, ...]]] = {
    "data_prep.prepare/record.json": (FINETUNE, EXTRACT, FIT, NOISE, PREDICT, FRESH),
    "data_prep.prepare/table.parquet": (FINETUNE, EXTRACT, FIT, NOISE, FRESH),
    "data_prep.prepare/images.npy": (
        ("pretext.jigsaw", "--overwrite"),
        FINETUNE,
        EXTRACT,
    ),
    "data_prep.prepare/words.parquet": (FINETUNE,),
    "pretext.jigsaw/record.json": (FINETUNE, EXPORT),
    "pretext.jigsaw/backbone.safetensors": (FINETUNE, EXPORT),
    "pretext.jigsaw/backbone.json": (FINETUNE, EXTRACT, EXPORT),
    "transfer.finetune/record.json": (EXTRACT, FRESH, PREDICT),
    f"{OF_NET}.safetensors": (EXTRACT, FRESH),
    f"{OF_NET}.json": (EXTRACT, FRESH),
    "features.extract/record.json": (FIT, FRESH),
    "features.extract/features.pkl": (FIT, ("features.inspect", "--verify")),
    "features.extract/nets/fold2.pkl": (FIT, ("features.inspect", "--verify")),
    "features.extract/views/date.oof.pkl": (("features.inspect", "--verify"),),
    "stacking.fit/record.json": (PREDICT, NOISE),
    "stacking.fit/predictor.json": (PREDICT,),
    "stacking.fit/alignment.npz": (PREDICT,),
    "stacking.fit/model_fold0.txt": (PREDICT,),
    "stacking.fit/ridge_fold1.npz": (PREDICT,),
    "stacking.fit/oof.parquet": (NOISE, PREDICT),
}


def cut(content: bytes) -> bytes:
    return content[: 2 * len(content) // 3]


def changed(content: bytes) -> bytes:
    """Another digit, so that text and JSON are as whole as before."""
    numbers = [match.span() for match in re.finditer(rb"[0-9]+", content)]
    start, end = numbers[len(numbers) // 2]
    place = min(end - 1, start + 3)  # of a float not the last, which may change nothing
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("harm", ["cut", "emptied", "changed", "missing"])
@pytest.mark.parametrize(
    ("name", "command"),
    [(name, command) for name, commands in OPENED_BY.items() for command in commands],
)
def test_a_broken_file_of_a_run_is_one_line_that_names_it(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    command: tuple[str, ...],
    harm: str,
) -> None:
    monkeypatch.chdir(place)
    (place / "new_ones").mkdir(exist_ok=True)
    drawn = min((place / "runs/demo/data_prep.demo/images").iterdir())
    shutil.copy(drawn, place / "new_ones" / drawn.name)
    path = Path("runs/demo") / name
    module, *flags = command
    flags = [str(path), *flags] if module == "features.inspect" else flags
    flags += [] if module == "features.inspect" else ["--run", "runs/demo"]
    if module == "pretext.export":
        flags += ["--to", "timm", "--out", str(place / "out.safetensors")]
    whole = path.read_bytes()
    harmed = {"cut": cut(whole), "emptied": b"", "changed": changed(whole)}
    path.unlink()
    if harm != "missing":
        path.write_bytes(harmed[harm])
    main = importlib.import_module(module).main
    try:
        with pytest.raises(UserError, match=re.escape(name)) as told:
            main(flags)
    finally:
        path.write_bytes(whole)
        for folder in Path("runs/demo").glob("*.partial"):
            shutil.rmtree(folder)
    assert "\n" not in str(told.value)


def test_a_fresh_folder_says_what_to_type(tmp_path: Path) -> None:
    done = run_python(tmp_path, "pretext.jigsaw")
    assert done.returncode == 2
    assert "there is no run yet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.drill
def test_the_notebook_runs_on_the_demo(place: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks/reuse_features.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    (place / "notebooks").mkdir(exist_ok=True)
    resources = {"metadata": {"path": str(place / "notebooks")}}
    client = NotebookClient(notebook, timeout=120, resources=resources)
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        client.execute()
    finally:
        os.environ.pop("PYTHONPATH") if old is None else os.environ.update(
            PYTHONPATH=old
        )
    assert "RMSE" in str(notebook.cells[-1].outputs)


def blocks_of_readme(language: str) -> list[str]:
    """Give the code blocks of README.md in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for found, block in blocks if found == language]


# One line reads a store, and leaves closing the file to Python.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_python_of_the_readme_runs_on_the_demo(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found: dict[str, Any] = {}
    for block in blocks_of_readme("python"):
        exec(block, found)
    assert set(found["store"]) == set(found["features"])


def test_the_experiment_of_the_readme_is_valid(tmp_path: Path) -> None:
    (block,) = blocks_of_readme("toml")
    file = tmp_path / "leaves.toml"
    file.write_text(block)
    experiment = read_experiment(file, tmp_path)
    assert experiment.data.group == "plant"
    assert stages_of(experiment)[2:] == [*LEARNING]


HELP_OF_EACH = """
import contextlib, io, json, runpy, sys
found = {}
for module in sys.argv[1:]:
    sys.argv, text = [module, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        assert not left.code, module
    found[module] = text.getvalue()
print(json.dumps(found))
"""


def test_the_commands_of_the_readme_are_there() -> None:
    lines = re.findall(r"^python -m (\S+)(.*)$", "".join(blocks_of_readme("")), re.M)
    assert len(lines) >= 6
    modules = sorted({module for module, _ in lines})
    command = [sys.executable, "-c", HELP_OF_EACH, *modules]
    asked = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    helps = json.loads(asked.stdout)
    for module, rest in lines:
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in helps[module]


def test_the_experiments_that_come_along_are_valid(tmp_path: Path) -> None:
    for file in sorted((ROOT / "experiments").glob("*.toml")):
        experiment = read_experiment(file, tmp_path)
        pipeline.check_settings(experiment, stages_of(experiment))

"""Tessera: an experiment file and two commands.

Variants: ``scratch``, ``jigsaw`` and ``ready``, which differ in the first weights;
``original``, the way of the 18th place of atmaCup #11, in-sample stack and all. Two
ways of each: its plain net, the mean over the views, and its stack.

The pictures that are held out lie in a folder of their own, which ``stacking.predict``
is given when all is trained and stacked. Only the in-sample stack of the original takes
them as its test table, as the original did; its pretext does not see them
(``inductive``).
"""

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from exchange import RESERVE_S, Assignment, cpu_seconds

import pipeline
from benchmarks.compare_pretexts import link_stages
from data_prep import prepare
from data_prep.run_folders.runs import Run
from features.store import open_store

FILE = """
# user
[data]
images = "{images}"
train = "train.csv"
{test}target = "target"
group = "group"
{tasks}[data_prep.prepare]
side = {side}
fit = "squash"
{pretext}[transfer.finetune]
init = "{init}"
{transfer}epochs = {epochs}
[features.extract]
views = "{views}"
{extract}{stack}# end
"""
PRETEXT = """[pretext.jigsaw]
backbone = "tf_efficientnet_lite0"
epochs = {epochs}
inductive = true
"""
OF_ORIGINAL = """[tasks.target]
kind = "regression"
loss = "unscaled"
[tasks.onehot]
kind = "classes"
loss = "mse"
"""
SCHEDULE = 'schedule = "exponential"\nwarmup = 0\nweight_decay = 0\nclip = 0\n'
NAMED = 'backbone = "tf_efficientnet_lite0"\n'
SHARE_OF_VIEWS = 0.25  # of the time, at most, else there are two views, not eight
TRIAL_STEPS = 24
PRETRAINED = ("jigsaw", "original")
VIEWS = {"d4": 8, "flip": 2}
TRAINED_ON, HELD_OUT = "pictures", "held_out"  # folders


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What fits into the time.

    Attributes:
        epochs: Of the fine-tuning.
        pretext_epochs: Of the pretext; 0: there is none.
        views: Of the extraction.
    """

    epochs: int = 1
    pretext_epochs: int = 0
    views: str = "flip"


def experiment_of(todo: Assignment, plan: Plan) -> str:
    """Write the experiment file."""
    is_original = todo.variant == "original"
    pretext, transfer, stack, tasks = "", "joint = true\n", "", ""
    if todo.variant in PRETRAINED:
        pretext = PRETEXT.format(epochs=plan.pretext_epochs)
    if is_original:
        pretext += "exact_original = true\n" + SCHEDULE
        transfer = SCHEDULE + "min_area = 1\ncolour = 0\ndropout = 0\n"
        stack = '[stacking.fit]\nprotocol = "insample"\n'
        stack += 'postprocess = ["blend", "round"]\n'
        tasks = OF_ORIGINAL
    inits = {"scratch": "scratch", "ready": str(todo.weights)}
    if todo.variant == "scratch":
        transfer += NAMED
    return FILE.format(
        images=TRAINED_ON if not is_original else Path(todo.train["path"][0]).parent,
        test='test = "test.csv"\n' * is_original,
        side=todo.side,
        tasks=tasks,
        pretext=pretext,
        init=inits.get(todo.variant, "pretext.jigsaw"),
        transfer=transfer,
        epochs=plan.epochs,
        views=plan.views,
        extract="insample = true\n" * is_original,
        stack=stack,
    )


def stack_of(todo: Assignment) -> str:
    """Name the stage of the stack."""
    return "stacking.fit" + ".insample" * (todo.variant == "original")


def link_pictures(table: pd.DataFrame, folder: Path) -> None:
    """Give pictures a folder that holds no others."""
    for path, id_ in zip(table["path"], table["id"], strict=True):
        link = folder / f"{id_}{Path(path).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def seconds_per_picture(stage: str, trial: Path, flags: list[str]) -> float:
    """Train a few steps, and give the CPU seconds of a picture, start left out."""
    cpu, clock = cpu_seconds(), time.monotonic()
    size = ["--run", str(trial), "--steps", str(TRIAL_STEPS), "--overwrite"]
    folder = import_module(stage).main([*flags, *size])
    share = (cpu_seconds() - cpu) / (time.monotonic() - clock)
    metadata = Run(trial).finished(folder.name).metadata
    of_training = metadata["nets"][0] if "nets" in metadata else metadata
    return share / of_training["images_per_s"]


def plan_of(todo: Assignment, trial: Path, flags: list[str]) -> Plan:
    """Say by two short trainings what fits into the time that is left.

    Args:
        todo: Of the peer.
        trial: A run of prepared pictures.
        flags: Of a stage.
    """
    n, n_folds, n_nets = len(todo.train), 3, 1
    is_original = todo.variant == "original"
    if is_original:
        n_nets = 2  # one for the number, one for its classes
    of_pretext, pretext_epochs = 0.0, 0
    if todo.variant in PRETRAINED:
        quiet = [*flags, "--health-every=0"]
        of_pretext = seconds_per_picture("pretext.jigsaw", trial, quiet)
    of_net = seconds_per_picture("transfer.finetune", trial, [*flags, "--folds=0"])
    # a third of a training step is its forward; a net reads the rows that it holds out,
    # those to predict and, for the in-sample stack, those that it was trained on
    read = n + n_folds * len(todo.held_out) + (n_folds - 1) * n * is_original
    of_views = {views: k * n_nets * read * of_net / 3 for views, k in VIEWS.items()}
    left_s = todo.left_s - RESERVE_S  # for the stack, and to load all for the held-out
    views = "d4" if of_views["d4"] < SHARE_OF_VIEWS * left_s else "flip"
    left_s -= of_views[views] + n_nets * n * of_net / 3  # each net scores its fold
    if of_pretext:
        pretext_epochs = max(1, int(left_s / 2 / of_pretext / n))
        left_s -= pretext_epochs * of_pretext * n
    epochs = int(left_s / (n_nets * (n_folds - 1) * n * of_net))
    return Plan(epochs=max(1, epochs), pretext_epochs=pretext_epochs, views=views)


def main() -> None:
    """Run it."""
    todo = Assignment.read()
    file, run, trial = (todo.folder / name for name in ("peer.toml", "run", "trial"))
    todo.train[["id", "target", "group"]].to_csv(todo.folder / "train.csv", index=False)
    todo.held_out[["id"]].to_csv(todo.folder / "test.csv", index=False)
    folders = {TRAINED_ON: todo.train, HELD_OUT: todo.held_out}
    for folder in (run, trial, *(todo.folder / name for name in folders)):
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was stopped
    for name, table in folders.items():
        link_pictures(table, todo.folder / name)
    file.write_text(experiment_of(todo, Plan(pretext_epochs=1)))
    flags = ["--experiment", str(file)]
    prepare.main([*flags, "--run", str(run)])
    link_stages(run, trial, ["data_prep.prepare"])
    plan = plan_of(todo, trial, flags)
    file.write_text(experiment_of(todo, plan))
    pipeline.main([str(file), "--run", str(run)])
    stack_s = Run(run).finished(stack_of(todo)).record["seconds"]
    features_minutes = (cpu_seconds() - stack_s) / 60

    name, column = stack_of(todo), "prediction"
    store = new_store = open_store(run / "features.extract" / "features.pkl")
    if todo.variant == "original":
        column = "target"
        file = run / name / "predictions.csv"
    else:
        file = todo.folder / "stacked.csv"
        command = [sys.executable, "-m", "stacking.predict", "--run", str(run)]
        command += ["--images", str(todo.folder / HELD_OUT), "--out", str(file)]
        subprocess.run(command, check=True)
        new_store = open_store(run / "fresh" / HELD_OUT / "features.pkl")
    metadata = Run(run).finished(name).metadata
    stacked = pd.read_csv(file, dtype={"id": str}).set_index("id")[column]
    kept = todo.train.loc[todo.train["id"].isin(store.ids), "id"]  # not broken
    X = pd.DataFrame(store.matrix(kept), kept).reindex(todo.train["id"]).to_numpy()
    X_new = new_store.matrix(todo.held_out["id"])
    np.savez(todo.folder / "features.npz", train=X, held_out=X_new)
    plain = X_new[:, new_store.columns.index("target__mean")]
    todo.write(
        {
            "plain net": plain.clip(
                todo.train["target"].min(), todo.train["target"].max()
            ),
            "stack": stacked.loc[todo.held_out["id"]],
        },
        {"plain net": metadata["plain"] or np.nan, "stack": metadata["score"]},
        **vars(plan),
        features_minutes=round(features_minutes, 2),
    )


if __name__ == "__main__":
    main()

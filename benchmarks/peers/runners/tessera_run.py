"""Tessera: an experiment file and one command.

Variants: ``scratch``, ``jigsaw`` and ``ready``, which differ in the first weights;
``original``, the way of the 18th place of atmaCup #11, in-sample stack and all. Two
ways of each: its plain net, the mean over the views, and its stack.

The pictures that are held out are its test table: no pretext sees them (``inductive``).
"""

import shutil
from pathlib import Path

import numpy as np
from exchange import Assignment, cpu_seconds

FILE = """
# user
[data]
images = "{images}"
train = "train.csv"
test = "test.csv"
target = "target"
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
STACK_S = 40  # CPU seconds to keep for the stack
SHARE_OF_VIEWS = 0.25  # of the time, at most, else there are two views, not eight
TRIAL_STEPS = (4, 16)


def experiment_of(
    todo: Assignment, epochs: int, pretext_epochs: int, views: str
) -> str:
    """Write the experiment file."""
    is_original = todo.variant == "original"
    has_pretext = is_original or todo.variant == "jigsaw"
    pretext, transfer, stack, tasks = "", "joint = true\n", "", ""
    if has_pretext:
        pretext = PRETEXT.format(epochs=pretext_epochs)
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
        images=Path(todo.train["path"][0]).parent,
        side=todo.side,
        tasks=tasks,
        pretext=pretext,
        init=inits.get(todo.variant, "pretext.jigsaw"),
        transfer=transfer,
        epochs=epochs,
        views=views,
        extract="insample = true\n" * is_original,
        stack=stack,
    )


def seconds_per_picture(stage: str, flags: list[str]) -> float:
    """Time two short trainings, and give the CPU seconds of a picture between them."""
    from importlib import import_module

    main, ends = import_module(stage).main, []
    for steps in TRIAL_STEPS:
        began = cpu_seconds()
        main([*flags, "--steps", str(steps), "--overwrite"])
        ends.append(cpu_seconds() - began)
    batch = 64 if stage == "pretext.jigsaw" else 32
    return (ends[1] - ends[0]) / (TRIAL_STEPS[1] - TRIAL_STEPS[0]) / batch


def main() -> None:
    """Run it."""
    from data_prep import prepare

    import pipeline
    from benchmarks.compare_pretexts import link_stages
    from data_prep.run_folders.runs import Run
    from features.store import open_store

    todo = Assignment.read()
    file, run, trial = (todo.folder / name for name in ("peer.toml", "run", "trial"))
    shutil.rmtree(trial, ignore_errors=True)
    todo.train[["id", "target", "group"]].to_csv(todo.folder / "train.csv", index=False)
    todo.held_out[["id"]].to_csv(todo.folder / "test.csv", index=False)
    has_pretext = todo.variant in ("jigsaw", "original")

    file.write_text(experiment_of(todo, 1, 1, "flip"))
    prepare.main(["--experiment", str(file), "--run", str(run)])
    link_stages(run, trial, ["data_prep.prepare"])
    flags = ["--experiment", str(file), "--run", str(trial)]
    n, n_held_out, n_nets = len(todo.train), len(todo.held_out), 1
    if todo.variant == "original":
        n_nets = 2  # one for the number, one for its classes
    pretext_epochs = 1
    if has_pretext:
        of_pretext = seconds_per_picture("pretext.jigsaw", [*flags, "--health-every=0"])
    of_net = seconds_per_picture("transfer.finetune", [*flags, "--folds=0"])
    per_view = of_net / 3 * n_nets * (n + 3 * n_held_out)
    if todo.variant == "original":
        per_view += of_net / 3 * n_nets * 2 * n
    left_s = todo.left_s - STACK_S
    views, n_views = "d4", 8
    if n_views * per_view > SHARE_OF_VIEWS * left_s:
        views, n_views = "flip", 2
    left_s -= n_views * per_view
    if has_pretext:
        pretext_epochs = max(1, int(left_s / 2 / of_pretext / n))
        left_s -= pretext_epochs * of_pretext * n
    epochs = max(1, int(left_s / (n_nets * 2 * n * of_net)))
    file.write_text(experiment_of(todo, epochs, pretext_epochs, views))
    pipeline.main([str(file), "--run", str(run)])

    is_leaky = todo.variant == "original"
    stacked = run / ("stacking.fit.insample" if is_leaky else "stacking.fit")
    metadata = Run(run).finished(stacked.name).metadata
    store = open_store(run / "features.extract" / "features.pkl")
    X, X_new = store.matrix(todo.train["id"]), store.matrix(todo.held_out["id"])
    np.savez(todo.folder / "features.npz", train=X, held_out=X_new)
    plain = X_new[:, store.columns.index("target__mean")]
    import pandas as pd

    predicted = pd.read_csv(stacked / "predictions.csv", dtype={"id": str})
    todo.write(
        {
            "plain net": plain.clip(*todo.train["target"].agg(["min", "max"])),
            "stack": predicted.set_index("id")["target"].loc[todo.held_out["id"]],
        },
        {"plain net": metadata["plain"], "stack": metadata["score"]},
        epochs=epochs,
        pretext_epochs=pretext_epochs if has_pretext else 0,
        views=n_views,
    )


if __name__ == "__main__":
    main()

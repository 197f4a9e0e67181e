"""What is each part worth? Arms that differ in one thing, scored on the same folds.

    python -m benchmarks.compare_arms experiments/compare/target.toml
    python -m benchmarks.compare_arms FILE.toml dropout kept --folds 0,1,2 --jobs 8
    python -m benchmarks.compare_arms FILE.toml --experiment experiments/leaves.toml

``benchmarks/arms.py`` says what stands in such a file. Each training is a run beside
the base run, sharing its prepared pictures and its pretext weights by hard links, so a
killed comparison goes on where it was. Scored is the mean over the views (and over the
seeds, of arms that have several) of the task that learned the target, clipped to the
target's range, on the held-out folds; intervals are 95 %, resampling whole cv groups,
and those of the differences are paired by picture.
"""

import importlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.arms import Arm, Training, check_arms, read_arms
from benchmarks.compare_pretexts import link_stages
from benchmarks.cpu_time import cpu_seconds
from benchmarks.differences import told
from data_prep import prepare
from data_prep.command import run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from data_prep.experiment import Experiment, read_experiment
from data_prep.prepared import PREPARED, Prepared
from data_prep.processes import n_cores
from data_prep.run_folders.drafts import drafted
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import run_of
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import group_bootstrap, paired_bootstrap
from data_prep.settings import Parser
from pretext.init_weights import fingerprint_of, pretexts
from transfer.settings import FinetuneSettings

FINETUNE = "transfer.finetune"
# (n, V) predictions by view, and CPU minutes
Outcome = tuple[NDArray[np.float64], float]


def run_folder(training: Training, base: Path, folds: Sequence[str]) -> Path:
    """Make the run of a training from hard links to the base run's stages."""
    folder = base.with_name(f"{base.name}.{training.slug}.folds{'_'.join(folds)}")
    link_stages(base, folder, [PREPARED, *pretexts()])
    return folder


def fit_and_predict(
    training: Training,
    experiment: Path,
    base: Path,
    folds: Sequence[str],
    *,
    threads: int,
) -> Outcome:
    """Train nets, and predict the rows that they hold out.

    Args:
        training: What is trained.
        experiment: File of the experiment.
        base: Run of its stages before.
        folds: Which are held out.
        threads: Of torch; trainings side by side would wait for each other's.

    Returns:
        (n, V) predictions of the labelled rows of the folds, in the order of the table,
        by the V views that the nets learn, and the CPU minutes of the fine-tuning; NaN
        where it was done at several times.
    """
    from transfer import finetune

    folder = run_folder(training, base, folds)
    flags = ["--experiment", str(experiment), "--run", str(folder), *training.flags]
    is_whole = not any(folder.glob(f"{FINETUNE}*"))
    began = cpu_seconds()
    finetune.main([*flags, "--folds", ",".join(folds), "--threads", str(threads)])
    minutes = (cpu_seconds() - began) / 60 if is_whole else np.nan
    run = Run(folder)
    stage = run.finished(FINETUNE)
    kept = folder / f"views.{stage.record['digest'][:12]}.npz"
    if not kept.exists():
        table = rows_of(run, folds)
        by_view = np.full((len(table), len(VIEW_SETS[training.views])), np.nan)
        for fold in folds:
            is_held_out = (table["fold"] == int(fold)).to_numpy()
            held_out = table[is_held_out]
            y_by_view = predict_views(stage, training, fold, held_out, threads=threads)
            by_view[is_held_out] = y_by_view
        with drafted(kept) as file:
            np.savez(file, by_view=by_view, minutes=minutes)
    with np.load(kept) as arrays:
        return arrays["by_view"], float(arrays["minutes"])


def rows_of(run: Run, folds: Sequence[str]) -> pd.DataFrame:
    """Give the labelled rows of some folds."""
    table = Prepared.open(run.finished(PREPARED)).table
    is_scored = table["fold"].isin([int(fold) for fold in folds])
    return table[is_scored & table["target"].notna()].reset_index(drop=True)


def predict_views(
    stage: Finished,
    training: Training,
    fold: str,
    table: pd.DataFrame,
    *,
    threads: int,
) -> NDArray[np.float64]:
    """Predict the target of rows that a net held out, in each view; (n, V).

    A number is taken as it is, probabilities of the target's classes as the expected
    value.
    """
    from tqdm import tqdm

    from features.passes import run_pass
    from features.sources import joined_outputs
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from transfer.networks.task_net import load_net

    device, task = pick_device(), training.scored_task
    set_threads(threads)
    (place,) = (
        net["place"]
        for net in stage.metadata["nets"]
        if str(net["fold"]) == fold and task in [of["name"] for of in net["tasks"]]
    )
    net, config = load_net(stage.folder / place / "weights.safetensors")
    columns = [column for of in config["tasks"] for column in of["columns"]]
    prepared = Prepared.open(Run(stage.folder.parent).finished(PREPARED))
    pictures = Pictures.open(prepared.folder, device)
    with tempfile.TemporaryDirectory() as scratch, tqdm(disable=True) as bar:
        views = run_pass(
            joined_outputs([net.to(device)]),
            width=len(columns),
            pictures=pictures,
            rows=table["image_row"].to_numpy(),
            work=Path(scratch) / "pass.npy",
            weights="",
            bf16=use_bf16("auto", device),
            count=bar.update,
            views=VIEW_SETS[training.views],
        )
        outputs = np.array(views).astype(float)  # (n, V, columns)
    if task in columns:
        return outputs[:, :, columns.index(task)]
    classes = np.array(prepared.classes, dtype=float)
    idx = [columns.index(f"{task}_{k}") for k in range(len(classes))]
    y_by_view: NDArray[np.float64] = outputs[:, :, idx] @ classes
    return y_by_view


def prediction_of(
    arm: Arm, outcomes: Mapping[str, Outcome], target_range: tuple[float, float]
) -> Outcome | None:
    """Average the trainings of an arm over its views and seeds.

    Args:
        arm: What is averaged.
        outcomes: Of trainings, by slug.
        target_range: To which the average is clipped.

    Returns:
        (n,) predictions, and the CPU minutes of its trainings; None: one of them
        failed.
    """
    slugs = [training.slug for training in arm.trainings]
    if not outcomes.keys() >= set(slugs):
        return None
    by_view = np.mean([outcomes[slug][0] for slug in slugs], axis=0)
    y_pred = by_view[:, arm.view_indices].mean(axis=1).clip(*target_range)
    return y_pred, sum(outcomes[slug][1] for slug in slugs)


def run_all(
    trainings: Sequence[Training],
    experiment: Path,
    *,
    base: Path,
    folds: Sequence[str],
    jobs: int,
) -> dict[str, Outcome]:
    """Train, each in a process of its own; what failed is named and left out.

    Returns:
        Predictions by view and CPU minutes, by slug.
    """
    from pretext.device import visible_gpus

    threads = max(1, n_cores() // jobs)
    works = [
        Work(
            name=slug,
            function=partial(_work, training, experiment, base, folds, threads),
            log_file=base.parent / "logs" / f"{base.name}.{slug}.log",
        )
        for slug, training in {each.slug: each for each in trainings}.items()
    ]
    pool = Pool(
        executor="processes",
        n_at_once=jobs,
        threads=threads,
        gpus=visible_gpus(),
    )
    logs = base.parent / "logs" / f"{base.name}.TRAINING.log"
    outcome = run(works, pool, noun="training", logs=logs)
    for slug, reason in outcome.failures.items():
        print(f"{slug} failed: {reason}", flush=True)
    return {slug: result.value for slug, result in outcome.results.items()}


def _work(
    training: Training,
    experiment: Path,
    base: Path,
    folds: Sequence[str],
    threads: int,
    report: Report | None,
) -> Result:
    """Train and predict, wherever this is."""
    del report  # its training has a bar, in the log
    by_view, minutes = fit_and_predict(
        training, experiment, base, folds, threads=threads
    )
    return Result(scores={"minutes": minutes}, value=(by_view, minutes))


def report(
    groups: Mapping[str, Sequence[Arm]],
    outcomes: Mapping[str, Outcome],
    table: pd.DataFrame,
    target_range: tuple[float, float],
) -> None:
    """Print a table for each group, whose first arm the others are held against."""
    y_true, cv_groups = table["target"].to_numpy(), table["cv_group"].to_numpy()
    rmse = METRICS["rmse"]
    for group, arms in groups.items():
        averaged = [(arm, prediction_of(arm, outcomes, target_range)) for arm in arms]
        there = [(arm, outcome) for arm, outcome in averaged if outcome is not None]
        for row, (arm, (y_pred, minutes)) in enumerate(there):
            if row == 0:
                first, reference = arm, y_pred
                head = f"| {group} | RMSE | 95 % | against {arm.name} | CPU minutes |"
                print(f"\n{head}")
                print("|---|---|---|---|---|")
            score = group_bootstrap(rmse, y_true, y_pred, cv_groups)
            against = ""
            if arm is not first:
                gain = paired_bootstrap(rmse, y_true, y_pred, reference, cv_groups)
                against = told(gain)
            print(
                f"| {arm.name} | {score.value:.4f} | {score.low:.4f} to"
                f" {score.high:.4f} | {against} | {_minutes(minutes)} |",
                flush=True,
            )


def _minutes(minutes: float) -> str:
    return "" if np.isnan(minutes) else f"{minutes:.1f}"


def usual_of(experiment: Experiment) -> list[str]:
    """Give what arms are scored by that do not name it, as settings of all of them.

    Args:
        experiment: Whose nets may learn upright pictures alone, or score another task.
    """
    settings = experiment.settings_of(FINETUNE, FinetuneSettings, {})
    tasks = [*(settings.tasks or experiment.tasks or ["target"])]
    of_tasks = [f"tasks={json.dumps(tasks)}"] * (tasks[0] != "target")
    return [*(["turns=false"] * (not settings.turns)), *of_tasks]


def check_inits(inits: Iterable[str]) -> None:
    """Check that first weights which are files or packages are there.

    Raises:
        UserError: Some are not.
    """
    for init in filter(None, inits):  # empty: the first pretext of the run
        fingerprint_of(init)


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = Parser(prog="python -m benchmarks.compare_arms", description=__doc__)
    parser.add_argument("comparison", type=Path, help="file of comparisons (TOML)")
    parser.add_argument("groups", nargs="*", help="groups of arms (default: all)")
    parser.add_argument(
        "--experiment", type=Path, help="of your data, in place of the one in the file"
    )
    parser.add_argument("--folds", default="0", help="such as 0,1,2 (default: 0)")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of all arms that do not name it, such as init=lite0.pth,"
        " turns=false or 'tasks=[\"target\"]'",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings at once (default: 1)"
    )
    parsed = parser.parse(None)
    folds = parsed["folds"].split(",")
    comparison, common = parsed["comparison"], parsed["with"]
    experiment, _ = read_arms(comparison, parsed["groups"], common)
    experiment = parsed["experiment"] or experiment
    base = run_of(experiment)
    source = read_experiment(experiment, base)
    _, groups = read_arms(comparison, parsed["groups"], [*usual_of(source), *common])
    check_arms(parsed["comparison"], groups, source)
    arms = [arm for group in groups.values() for arm in group]
    usual = source.stages.get(FINETUNE, {})
    inits = {arm.settings.get("init", usual.get("init", "")) for arm in arms}
    check_inits(inits)
    prepare.main(["--experiment", str(experiment)])
    for stage in pretexts():
        if stage in inits or (stage == "pretext.jigsaw" and "" in inits):
            importlib.import_module(stage).main(["--experiment", str(experiment)])
    outcomes = run_all(
        [training for arm in arms for training in arm.trainings],
        experiment,
        base=base,
        folds=folds,
        jobs=parsed["jobs"],
    )
    run = Run(base)
    table = rows_of(run, folds)
    print(f"folds {parsed['folds']}: {len(table)} pictures", end="")
    print(f", constant {np.std(table['target']):.4f}")
    target_range = Prepared.open(run.finished(PREPARED)).target_range
    assert target_range is not None
    report(groups, outcomes, table, target_range)


if __name__ == "__main__":
    run_command(main)

"""What is each part worth? Arms that differ in one thing, scored on the same folds.

    python -m benchmarks.compare_arms experiments/pomological_compare.toml weights
    python -m benchmarks.compare_arms FILE.toml target dropout --folds 0,1,2 --jobs 8

``benchmarks/arms.toml`` lists the arms in groups, by the settings of
``[transfer.finetune]`` that differ from the experiment's; the first of a group is what
the others are held against. Each arm is a run beside the base run, sharing its prepared
pictures and its pretext weights by hard links, so a killed comparison goes on where it
was. Scored is the 8-view mean (the plain view of nets without turns) of the task that
learned the target, clipped to the target's range, on the held-out folds; intervals are
95 %, resampling whole cv groups, and those of the differences are paired by picture.
"""

import importlib
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.compare_pretexts import link_stages
from data_prep import prepare
from data_prep.command import run_command
from data_prep.dihedral import VIEWS
from data_prep.errors import UserError
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from data_prep.experiment import read_experiment
from data_prep.prepared import PREPARED, Prepared
from data_prep.processes import n_cores
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import run_of
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import group_bootstrap, paired_bootstrap
from data_prep.settings import Parser, nearest
from pretext.init_weights import pretexts

ARMS = Path(__file__).with_name("arms.toml")
FINETUNE = "transfer.finetune"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A fine-tuning that differs from the experiment's in some settings."""

    name: str
    settings: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Part of the name of its run; arms of equal settings share it."""
        words = [f"{key}_{value}" for key, value in sorted(self.settings.items())]
        return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_") or "as_it_is"

    @property
    def flags(self) -> list[str]:
        """Its settings as arguments of ``transfer.finetune``."""
        return [_flag(key, value) for key, value in self.settings.items()]

    @property
    def views(self) -> tuple[str, ...]:
        """Those that its nets have learned."""
        return VIEWS if self.settings.get("turns", True) else VIEWS[:1]

    @property
    def scored_task(self) -> str:
        """The task whose outputs are scored."""
        tasks = self.settings.get("tasks", ["target"])
        return str(tasks[0])

    def run(self, base: Path, folds: Sequence[str]) -> Path:
        """Make its run from hard links to the base run's stages."""
        folder = base.with_name(f"{base.name}.{self.slug}.folds{'_'.join(folds)}")
        link_stages(base, folder, [PREPARED, *pretexts()])
        return folder


def _flag(key: str, value: Any) -> str:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"--{name}={text}"


def read_arms(
    file: Path, groups: Sequence[str], common: Mapping[str, str]
) -> dict[str, list[Arm]]:
    """Read the arms of some groups; ``common`` are settings that each has.

    Raises:
        UserError: A group is not in the file.
    """
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    for group in groups:
        if group not in tables:
            raise UserError(
                f"{file}: no group of arms {group!r}; {nearest(group, tables)}"
            )
    return {
        group: [
            Arm(name=name, settings={**common, **settings})
            for name, settings in tables[group].items()
        ]
        for group in groups
    }


def fit_and_score(
    arm: Arm, experiment: Path, base: Path, folds: Sequence[str]
) -> tuple[NDArray[np.float64], float]:
    """Train the nets of an arm, and predict the rows that they hold out.

    Returns:
        (n,) predictions of the labelled rows of the folds, in the order of the table,
        and the minutes of the fine-tuning.
    """
    from transfer import finetune

    folder = arm.run(base, folds)
    flags = ["--experiment", str(experiment), "--run", str(folder), *arm.flags]
    finetune.main([*flags, "--folds", ",".join(folds)])
    run = Run(folder)
    stage = run.finished(FINETUNE)
    kept = folder / "predictions.npy"
    if not kept.exists() or kept.stat().st_mtime < stage.folder.stat().st_mtime:
        table = rows_of(run, folds)
        predictions = np.full(len(table), np.nan)
        for fold in folds:
            is_held_out = (table["fold"] == int(fold)).to_numpy()
            predictions[is_held_out] = view_mean(stage, arm, fold, table[is_held_out])
        np.save(kept, predictions)
    return np.load(kept), stage.record["seconds"] / 60


def rows_of(run: Run, folds: Sequence[str]) -> pd.DataFrame:
    """Give the labelled rows of some folds."""
    table = Prepared.open(run.finished(PREPARED)).table
    is_scored = table["fold"].isin([int(fold) for fold in folds])
    return table[is_scored & table["target"].notna()].reset_index(drop=True)


def view_mean(
    stage: Finished, arm: Arm, fold: str, table: pd.DataFrame
) -> NDArray[np.float64]:
    """Give the mean of the views of the target for rows that a net held out, clipped.

    A number is taken as it is, probabilities of the target's classes as the expected
    value.
    """
    from tqdm import tqdm

    from features.passes import run_pass
    from features.sources import joined_outputs
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from transfer.networks.task_net import load_net

    device, task = pick_device(), arm.scored_task
    set_threads(0)
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
            views=arm.views,
        )
        means = np.array(views).astype(float).mean(axis=1)
    target_range = prepared.target_range
    assert target_range is not None
    if task in columns:
        y_pred = means[:, columns.index(task)]
    else:
        classes = np.array(prepared.classes, dtype=float)
        idx = [columns.index(f"{task}_{k}") for k in range(len(classes))]
        y_pred = means[:, idx] @ classes
    clipped: NDArray[np.float64] = y_pred.clip(*target_range)
    return clipped


def run_all(
    arms: Sequence[Arm], experiment: Path, base: Path, folds: Sequence[str], jobs: int
) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Train and score arms, several at once; those that failed are named and left out.

    Returns:
        Predictions and minutes by slug.
    """
    gpus: Sequence[str] = ()
    if jobs > 1:
        from pretext.device import visible_gpus

        gpus = visible_gpus()
    works = [
        Work(
            name=slug,
            function=partial(_work, arm, experiment, base, folds),
            log_file=base.parent / "logs" / f"{base.name}.{slug}.log",
        )
        for slug, arm in {arm.slug: arm for arm in arms}.items()
    ]
    pool = Pool(
        executor="here" if jobs == 1 else "processes",
        n_at_once=jobs,
        threads=max(1, n_cores() // jobs),
        gpus=gpus,
    )
    logs = base.parent / "logs" / f"{base.name}.ARM.log"
    outcome = run(works, pool, noun="arm", logs=logs)
    for slug, reason in outcome.failures.items():
        print(f"{slug} failed: {reason}", flush=True)
    return {slug: result.value for slug, result in outcome.results.items()}


def _work(
    arm: Arm, experiment: Path, base: Path, folds: Sequence[str], report: Report | None
) -> Result:
    """Train and score an arm, wherever this is."""
    del report  # its training has a bar, in the log
    y_pred, minutes = fit_and_score(arm, experiment, base, folds)
    return Result(scores={"minutes": minutes}, value=(y_pred, minutes))


def report(
    groups: Mapping[str, Sequence[Arm]],
    outcomes: Mapping[str, tuple[NDArray[np.float64], float]],
    table: pd.DataFrame,
) -> None:
    """Print a table for each group, whose first arm the others are held against."""
    y, cv_groups = table["target"].to_numpy(), table["cv_group"].to_numpy()
    rmse = METRICS["rmse"]
    for group, arms in groups.items():
        first = next((arm for arm in arms if arm.slug in outcomes), None)
        if first is None:
            continue
        print(f"\n| {group} | RMSE | 95 % | against {first.name} | minutes |")
        print("|---|---|---|---|---|")
        reference = outcomes[first.slug][0]
        for arm in arms:
            if arm.slug not in outcomes:
                continue
            y_pred, minutes = outcomes[arm.slug]
            score = group_bootstrap(rmse, y, y_pred, cv_groups)
            against = ""
            if arm is not first:
                gain = paired_bootstrap(rmse, y, y_pred, reference, cv_groups)
                against = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
            print(
                f"| {arm.name} | {score.value:.4f} | {score.low:.4f} to"
                f" {score.high:.4f} | {against} | {minutes:.1f} |",
                flush=True,
            )


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = Parser(prog="python -m benchmarks.compare_arms", description=__doc__)
    parser.add_argument("experiment", type=Path, help="experiment file (TOML)")
    parser.add_argument("groups", nargs="+", help="groups of arms")
    parser.add_argument("--arms", type=Path, default=ARMS, help="file of the arms")
    parser.add_argument("--folds", default="0", help="such as 0,1,2 (default: 0)")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of all arms that do not name it, such as init=lite0.pth",
    )
    parser.add_argument("--jobs", type=int, default=1, help="arms at once (default: 1)")
    parsed = parser.parse(None)
    experiment, folds = parsed["experiment"], parsed["folds"].split(",")
    common = dict(word.split("=", 1) for word in parsed["with"])
    groups = read_arms(parsed["arms"], parsed["groups"], common)
    base = run_of(experiment)
    prepare.main(["--experiment", str(experiment)])
    arms = [arm for group in groups.values() for arm in group]
    usual = read_experiment(experiment, base).stages.get(FINETUNE, {})
    inits = {arm.settings.get("init", usual.get("init", "")) for arm in arms}
    for stage in pretexts():
        if stage in inits or (stage == "pretext.jigsaw" and "" in inits):
            importlib.import_module(stage).main(["--experiment", str(experiment)])
    outcomes = run_all(arms, experiment, base, folds, parsed["jobs"])
    table = rows_of(Run(base), folds)
    print(f"folds {parsed['folds']}: {len(table)} pictures", end="")
    print(f", constant {np.std(table['target']):.4f}")
    report(groups, outcomes, table)


if __name__ == "__main__":
    run_command(main)

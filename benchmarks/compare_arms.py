"""What is each part worth? Arms that differ in one thing, scored on the same folds.

    python -m benchmarks.compare_arms experiments/pomological_compare.toml --folds 0,1,2

An arm is one of the names below, or a file of weights to begin from (.safetensors).
Each arm and fold is a run beside the base run, sharing its prepared pictures and its
pretext weights by hard links, so a killed comparison goes on where it was. Scored is
the 8-view mean of the plain regression on the held-out folds, clipped to the target's
range; intervals are 95 %, resampling whole cv groups, and those of the differences are
paired by picture.
"""

import importlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep import prepare
from data_prep.command import RUNS, run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import group_bootstrap, paired_bootstrap
from data_prep.settings import Parser, nearest
from pretext.init_weights import pretexts

ARMS = {  # name: flags of transfer.finetune
    "scratch": ["--init", "scratch", "--backbone", "resnet18"],
    "jigsaw": ["--init", "pretext.jigsaw"],
    "simsiam": ["--init", "pretext.simsiam"],
    "jigsaw, target alone": [
        *("--init", "pretext.jigsaw", "--no-joint", "--tasks", "target"),
    ],
}


def arm_run(base: Path, name: str, fold: str) -> Path:
    """Make the run of an arm and fold from hard links to the base run's stages."""
    # a file of weights: .../runs/BASE.NAME/pretext.X/backbone.safetensors
    path = Path(name).parent.as_posix() if name.endswith(".safetensors") else name
    arm = re.sub(r"[^A-Za-z0-9]+", "_", path)
    folder = base.with_name(f"{base.name}.{arm}.fold{fold}")
    for stage in ("data_prep.prepare", "pretext.jigsaw", "pretext.simsiam"):
        if (base / stage).exists() and not (folder / stage).exists():
            draft = folder / f"{stage}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(base / stage, draft, copy_function=os.link)
            draft.replace(folder / stage)
    return folder


def plain_net(run: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    """Give the 8-view mean of the regression for the rows of the fold, clipped."""
    from tqdm import tqdm

    from features.passes import run_pass
    from features.sources import joined_outputs
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from transfer.networks.task_net import load_net

    device = pick_device()
    set_threads(0)
    stage = Run(run).finished("transfer.finetune")
    net_path = stage.metadata["nets"][0]["place"]
    net, config = load_net(stage.folder / net_path / "weights.safetensors")
    columns = [column for task in config["tasks"] for column in task["columns"]]
    pictures = Pictures.open(run / "data_prep.prepare", device)
    with tempfile.TemporaryDirectory() as scratch, tqdm(disable=True) as bar:
        views = run_pass(
            joined_outputs([net.to(device)]),
            width=len(columns),
            pictures=pictures,
            rows=table["image_row"].to_numpy(),
            work=Path(scratch) / "pass.npy",
            weights="",
            bf16=use_bf16("auto", device),
            bar=bar,
        )
        values = np.array(views[:, :, columns.index("target")]).mean(axis=1)
    clipped: NDArray[np.float64] = values.astype(float).clip(
        table["target"].min(), table["target"].max()
    )
    return clipped


def main() -> None:
    """Train what is missing, then print the table."""
    parser = Parser(prog="python -m benchmarks.compare_arms", description=__doc__)
    parser.add_argument("experiment", type=Path, help="experiment file (TOML)")
    parser.add_argument(
        "arms", nargs="*", help=f"some of: {', '.join(ARMS)}; or files of weights"
    )
    parser.add_argument("--folds", default="0", help="such as 0,1,2 (default: 0)")
    parsed = parser.parse(None)
    experiment, names = parsed["experiment"], parsed["arms"] or list(ARMS)
    for name in names:
        if name not in ARMS and not name.endswith(".safetensors"):
            raise UserError(f"no arm {name!r}; {nearest(name, ARMS)}")
    base = RUNS / experiment.stem
    prepare.main(["--experiment", str(experiment)])
    from transfer import finetune

    table = Prepared.open(Run(base).finished(PREPARED)).table
    folds = parsed["folds"].split(",")
    scored = table["fold"].isin([int(fold) for fold in folds])
    table = table[scored & table["target"].notna()].reset_index(drop=True)
    y, cv_groups = table["target"].to_numpy(), table["cv_group"].to_numpy()
    rmse = METRICS["rmse"]
    print(
        f"folds {', '.join(folds)}: {len(table)} pictures, constant {np.std(y):.4f}",
        flush=True,
    )
    first: NDArray[np.float64] | None = None
    for name in names:
        given_flags = ARMS.get(name, ["--init", name])
        for stage in given_flags:
            if stage in pretexts():
                importlib.import_module(stage).main(["--experiment", str(experiment)])
        predicted, seconds = np.full(len(table), np.nan), 0.0
        for fold in folds:
            run = arm_run(base, name, fold)
            flags = ["--experiment", str(experiment), "--run", str(run)]
            finetune.main([*flags, "--folds", fold, *given_flags])
            part = (table["fold"] == int(fold)).to_numpy()
            predicted[part] = plain_net(run, table[part])
            seconds += Run(run).finished("transfer.finetune").record["seconds"]
        score = group_bootstrap(rmse, y, predicted, cv_groups)
        line = f"{name:<22} {score.value:.4f} ({score.low:.4f} to {score.high:.4f})"
        if first is None:
            first = predicted
        else:
            gain = paired_bootstrap(rmse, y, predicted, first, cv_groups)
            line += f"  against {names[0]} {gain.value:+.4f}"
            line += f" ({gain.low:+.4f} to {gain.high:+.4f})"
        print(f"{line}  {seconds / 60:.1f} minutes of fine-tuning", flush=True)


if __name__ == "__main__":
    run_command(main)

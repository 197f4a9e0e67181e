"""What is each part worth? Arms that differ in one thing, scored on the same fold.

    python -m benchmarks.compare_arms experiments/pomological_compare.toml

Each arm is a run beside the base run, sharing its prepared pictures and pretext weights
by hard links, so a killed comparison goes on where it was. Scored is the 8-view mean of
the plain regression on the held-out fold, clipped to the target's range; intervals are
95 %, resampling whole clusters, and those of the differences are paired by picture.
"""

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep import prepare
from data_prep.command import RUNS, run_command
from data_prep.runs import Run

FOLD = "0"
ARMS = {  # name: flags of transfer.finetune
    "scratch": ["--init", "scratch", "--backbone", "resnet18"],
    "jigsaw": ["--init", "pretext.jigsaw"],
    "simsiam": ["--init", "pretext.simsiam"],
    "jigsaw, target alone": [
        *("--init", "pretext.jigsaw", "--no-joint", "--tasks", "target"),
    ],
}


def arm_run(base: Path, name: str) -> Path:
    """Make the run of an arm from hard links to the base run's finished stages."""
    folder = base.with_name(f"{base.name}.{name.replace(', ', '_').replace(' ', '_')}")
    for stage in ("data_prep.prepare", "pretext.jigsaw", "pretext.simsiam"):
        if (base / stage).exists() and not (folder / stage).exists():
            shutil.copytree(base / stage, folder / stage, copy_function=os.link)
    return folder


def plain_net(run: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    """Give the 8-view mean of the regression for the rows of the fold, clipped."""
    from tqdm import tqdm

    from features.passes import run_pass
    from features.sources import joined
    from pretext.pictures import Pictures
    from pretext.training import pick_device, set_threads, use_bf16
    from transfer.nets import load_net

    device = pick_device()
    set_threads(0)
    stage = Run(run).finished("transfer.finetune")
    place = stage.facts["nets"][0]["place"]
    net, about = load_net(stage.folder / place / "weights.safetensors")
    columns = [column for task in about["tasks"] for column in task["columns"]]
    pictures = Pictures.open(run / "data_prep.prepare", device)
    with tempfile.TemporaryDirectory() as scratch, tqdm(disable=True) as bar:
        views = run_pass(
            *(joined([net.to(device)]), len(columns), pictures),
            *(table["image_row"].to_numpy(), Path(scratch) / "pass.npy"),
            weights="",
            bf16=use_bf16("auto", device),
            bar=bar,
        )
        values = np.array(views[:, :, columns.index("target")]).mean(axis=1)
    clipped: NDArray[np.float64] = values.astype(float).clip(
        table["target"].min(), table["target"].max()
    )
    return clipped


def interval(a: np.ndarray, b: np.ndarray | None, clusters: np.ndarray) -> str:
    """Give the 95 % interval of an RMSE from squared errors, or of a difference."""
    codes = np.unique(clusters, return_inverse=True)[1]
    n = codes.max() + 1
    sums = [np.bincount(codes, e, n) for e in ((a,) if b is None else (a, b))]
    sizes = np.bincount(codes, minlength=n)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=4000)
    scores = [np.sqrt(weights @ part / (weights @ sizes)) for part in sums]
    drawn = scores[0] if b is None else scores[0] - scores[1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{low:+.4f} to {high:+.4f}" if b is not None else f"{low:.4f} to {high:.4f}"


def main() -> None:
    """Train what is missing, then print the table."""
    experiment = Path(sys.argv[1])
    wanted = sys.argv[2:] or list(ARMS)
    base = RUNS / experiment.stem
    prepare.main(["--experiment", str(experiment)])
    from transfer import finetune

    errors: dict[str, np.ndarray] = {}
    table = pd.read_parquet(base / "data_prep.prepare/table.parquet")
    table = table[(table["fold"] == int(FOLD)) & table["target"].notna()]
    y = table["target"].to_numpy()
    for name in wanted:
        for stage in ARMS[name]:
            if stage.startswith("pretext."):
                importlib.import_module(stage).main(["--experiment", str(experiment)])
        run = arm_run(base, name)
        flags = ["--experiment", str(experiment), "--run", str(run)]
        finetune.main([*flags, "--folds", FOLD, *ARMS[name]])
        errors[name] = (plain_net(run, table) - y) ** 2
        minutes = Run(run).finished("transfer.finetune").record["seconds"] / 60
        print(
            f"{name}: {np.sqrt(errors[name].mean()):.4f}, {minutes:.1f} minutes",
            flush=True,
        )
    clusters = table["cluster"].to_numpy()
    print(f"\nfold {FOLD}, {len(table)} pictures, constant {np.std(y):.4f}")
    first = wanted[0]
    for name, squared in errors.items():
        rmse = np.sqrt(squared.mean())
        line = f"{name:<22} {rmse:.4f} ({interval(squared, None, clusters)})"
        if name != first:
            gain = rmse - np.sqrt(errors[first].mean())
            paired = interval(squared, errors[first], clusters)
            line += f"   against {first} {gain:+.4f} ({paired})"
        print(line)


if __name__ == "__main__":
    run_command(main)

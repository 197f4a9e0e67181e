"""How long the stack takes, how it grows, and what scikit-learn does with the columns.

    python -m benchmarks.stacking
    python -m benchmarks.stacking --run runs/pomological

``stacking.fit`` as a user calls it, on made-up runs of 26 outputs in four statistics
(104 columns) and three folds: seconds until its first line and in all, and the most
memory of its own. The default stackers on 4,000 rows; then its growth, with boosters of
100 rounds at the most and one seed, where the last figure is the time per row against
that of the first size: 1 is linear.

Then, on 4,000 rows or on a run, scikit-learn's ``StackingRegressor`` on the same
columns and folds: LightGBM and ridge below, ridge above, fitted around each fold in
turn, its inner parts by cv group.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.memory import anonymous_of
from data_prep.command import run_command
from data_prep.run_folders.runs import Run
from data_prep.settings import Parser

CAPPED = ("--seeds", "1", "--max-rounds", "100")
N_WORDS = 20  # outputs; with target, four classes and date 26
ROOT = Path(__file__).parents[1]


def timed(folder: Path, *flags: str) -> tuple[float, float, float]:
    """Stack a run; give seconds to the first line, in all, and MB of its own."""
    command = [
        sys.executable,
        "-m",
        "stacking.fit",
        "--run",
        str(folder),
        "--overwrite",
    ]
    began, first, most = time.perf_counter(), 0.0, 0.0
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen([*command, *flags], cwd=ROOT, stderr=log)
        while process.poll() is None:
            most = max(most, anonymous_of(process.pid))
            if not first and (folder / "log").stat().st_size:
                first = time.perf_counter() - began
            time.sleep(0.02)
    if process.returncode:
        sys.exit((folder / "log").read_text(encoding="utf-8")[-2000:])
    return first, time.perf_counter() - began, most


def compare(folder: Path) -> None:
    """Print our score and scikit-learn's, on the same columns and folds."""
    import lightgbm
    from sklearn.ensemble import StackingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold, PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from stacking.inputs.assemble import assemble

    run = Run(folder)
    data = assemble(run.finished("data_prep.prepare"), run.finished("features.extract"))
    target = data.rows.y
    scores = json.loads((folder / "stacking.fit/stacking.json").read_text())["scores"]
    for name in ("plain", "lightgbm", "ridge", "prediction"):
        if name in scores:
            print(f"  ours, {name}: {scores[name]['nested']:.4f}")
    for title, parameters in (
        ("usual parameters", {}),
        ("our parameters", {"num_leaves": 8, "learning_rate": 0.03,
                            "n_estimators": 400, "min_child_samples": 40,
                            "colsample_bytree": 0.4, "subsample": 0.7,
                            "subsample_freq": 1, "reg_lambda": 5.0}),
    ):  # fmt: skip
        trees = lightgbm.LGBMRegressor(verbosity=-1, n_jobs=2, **parameters)
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
        began, oof_pred = time.perf_counter(), np.empty(len(target))
        for train_idx, val_idx in PredefinedSplit(data.rows.folds).split():
            groups = data.rows.groups[train_idx]
            split = GroupKFold(4).split(train_idx, groups=groups)
            model = StackingRegressor(
                [("trees", trees), ("ridge", ridge)], RidgeCV(), cv=[*split]
            )
            model.fit(data.rows.X[train_idx], target[train_idx])
            oof_pred[val_idx] = model.predict(data.rows.X[val_idx])
        seconds = time.perf_counter() - began
        assert data.target_range is not None
        error = np.clip(oof_pred, *data.target_range) - target
        print(
            f"  StackingRegressor, {title}: {np.sqrt((error**2).mean()):.4f},"
            f" {seconds:.1f} s",
            flush=True,
        )


def main() -> None:
    """Measure each size, then compare."""
    parser = Parser(prog="python -m benchmarks.stacking", description=__doc__)
    parser.add_argument("--sizes", default="4000,40000,400000", help="labelled rows")
    parser.add_argument(
        "--run", type=Path, help="compare on this run, which has been stacked, alone"
    )
    arguments = parser.parse(None)
    if arguments["run"]:
        compare(arguments["run"])
        return
    from tests.stacking.conftest import FakeRun

    sizes = [int(size) for size in arguments["sizes"].split(",")]
    per_row = 0.0
    for size, flags in [(4000, ()), *((size, CAPPED) for size in sizes)]:
        with tempfile.TemporaryDirectory() as scratch:
            fake_run = FakeRun(n_train=size, n_test=size // 4, n_words=N_WORDS)
            folder = fake_run.write(Path(scratch) / "run")
            first, seconds, most = timed(folder, *flags)
            title = "boosters capped" if flags else "default stackers"
            line = f"{size:>8,} x 104, {title}:"
            line += f" first line after {first:.1f} s, {seconds:.1f} s in all,"
            line += f" {most:.0f} MB of its own"
            if flags:
                per_row = per_row or seconds / size
                line += f", {seconds / size / per_row:.2f} of the time per row"
            print(line, flush=True)
            if not flags:
                compare(folder)


if __name__ == "__main__":
    run_command(main)

"""Are the results of two commits the same, byte for byte? For changes that only reword.

    python tools/same_bytes.py COMMIT [--rename OLD=NEW ...]

A tiny collection is drawn by COMMIT, then the whole chain runs on it twice, on one
thread: once with the code of COMMIT, once with that of the working tree. Arrays,
weights, stores and csv files are compared; of tables, weights and stores the content is
compared where only a name in them changed (``--rename`` says which names may).
"""

import argparse
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
SUFFIXES = (".csv", ".npy", ".npz", ".parquet", ".pkl", ".safetensors", ".txt")
STAGES = (
    "data_prep.prepare",
    "pretext.jigsaw",
    "pretext.simsiam",
    "pretext.dino",
    "pretext.rotation",
    "pretext.probe",
    "transfer.finetune",
    "features.extract",
    "stacking.fit",
)
EXPERIMENT = """
[pipeline]
stages = [{stages}]
[data]
images = "../collection/images"
train = "../collection/train.csv"
test = "../collection/test.csv"
sample = "../collection/sample_submission.csv"
target = "target"
{target_kind}
group = "series"
date = "year"
attributes = ["../collection/materials.csv", "../collection/techniques.csv"]
[data_prep.prepare]
side = 48
workers = 1
[transfer.finetune]
init = "pretext.jigsaw"
joint = {joint}
epochs = 2
batch_size = 16
threads = 1
[features.extract]
threads = 1
insample = true
"""
PRETEXT = """
[{stage}]
backbone = "test_resnet"
epochs = 1
batch_size = 16
threads = 1
"""
VARIANTS = {
    "numbers": {"target_kind": 'target_kind = "numbers"', "joint": "true"},
    "classes": {"target_kind": 'target_kind = "classes"', "joint": "false"},
}


def run(code: Path, folder: Path, *command: str) -> None:
    """Run a command of the packages in ``code``, on one thread."""
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{code}: {' '.join(command)}\n{done.stderr}")


def write_experiment(folder: Path, variant: dict[str, str]) -> Path:
    """Write the experiment file of a variant into its folder."""
    folder.mkdir()
    text = EXPERIMENT.format(stages=", ".join(f'"{s}"' for s in STAGES), **variant)
    for stage in STAGES[1:5]:
        text += PRETEXT.format(stage=stage)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def content(path: Path, renames: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Give (name, digest of the values) of what a file holds.

    Args:
        path: The file.
        renames: New names of what it holds.
    """
    named: dict[str, np.ndarray | str]
    if path.suffix in (".csv", ".parquet"):
        read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
        table = read(path, dtype=str) if path.suffix == ".csv" else read(path)
        named = {str(name): repr(table[name].tolist()) for name in table}
    elif path.suffix == ".safetensors":
        named = dict(load_file(path))
    elif path.suffix == ".npz":
        named = dict(np.load(path, allow_pickle=False))
    elif path.suffix == ".pkl":
        store = pickle.loads(path.read_bytes())
        values = np.stack([np.asarray(row) for row in store.values()])
        named = {"ids": repr(list(store)), "values": values}
    else:
        named = {"all": hashlib.sha256(path.read_bytes()).hexdigest()}
    for name, values in named.items():
        raw = values.encode() if isinstance(values, str) else values.tobytes()
        yield renames.get(name, name), hashlib.sha256(raw).hexdigest()


def compare(old: Path, new: Path, renames: dict[str, str]) -> list[str]:
    """Compare two folders; print a line per file, return those that differ."""
    different = []
    for path in sorted(p for p in old.rglob("*") if p.suffix in SUFFIXES):
        name = path.relative_to(old)
        twin = new / renames.get(str(name), str(name))
        if "logs" in name.parts:  # times
            continue
        if not twin.is_file():
            verdict = "MISSING"
        elif path.read_bytes() == twin.read_bytes():
            verdict = "equal"
        elif sorted(content(path, renames)) == sorted(content(twin, {})):
            verdict = "equal but for names"
        else:
            verdict = "DIFFERENT"
        if verdict.isupper():
            different.append(str(name))
        print(f"{verdict:20}{name}")
    return different


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW")
    parser.add_argument("--keep", type=Path, help="folder for the runs, kept")
    flags = parser.parse_args()
    renames = dict(pair.split("=") for pair in flags.rename)
    folder = flags.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "base"
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "-q", "--detach", base, flags.commit], check=True)
    different = []
    try:
        run(
            base,
            folder,
            *("data_prep.demo", "--run", "drawn", "--n-train", "72"),
            *("--n-test", "24", "--side", "64"),
        )
        (folder / "drawn" / "data_prep.demo").rename(folder / "collection")
        for name, variant in VARIANTS.items():
            experiment = write_experiment(folder / name, variant)
            for code, out in ((base, "old"), (ROOT, "new")):
                run(code, folder, "pipeline", str(experiment), "--run", f"{name}/{out}")
            print(f"\n{name}")
            different += compare(folder / name / "old", folder / name / "new", renames)
    finally:
        subprocess.run([*git, "remove", "--force", base], check=True)
    print(json.dumps({"different": different}))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()

"""Which pretext? Each gets the same compute; what it learnt is probed by folds.

    python -m benchmarks.compare_pretexts experiments/pomological_compare.toml

Compute is CPU minutes of all threads, whatever else the machine does. How many steps
that is, two short trials of each pretext say; it is written down, so that a comparison
that was killed goes on with the same numbers. Random weights stand in the table too. To
fine-tune from the best, name its file as the ``init`` of an arm of
``benchmarks.compare_arms``.
"""

import importlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cpu_time import cpu_seconds
from data_prep import prepare
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.run_folders.damage import RECORD, read_record
from data_prep.run_folders.runs import write_json
from data_prep.run_places import run_of
from data_prep.settings import Parser, nearest
from pretext.device import set_threads

TRIAL_STEPS = (4, 28)
PREPARED = "data_prep.prepare"
ARMS = {  # name: the command and its flags
    "places": ["pretext.jigsaw"],
    "orders": ["pretext.jigsaw", "--form", "orders"],
    "exact_original": ["pretext.jigsaw", "--exact-original"],
    "rotation": ["pretext.rotation"],
    "simsiam": ["pretext.simsiam"],
    "dino": ["pretext.dino"],
    "visreg": ["pretext.visreg"],
    "swav": ["pretext.swav"],
    "diet": ["pretext.diet"],
}


def arm_run(base: Path, name: str) -> Path:
    """Make the run of an arm from hard links to the prepared pictures."""
    folder = base.with_name(f"{base.name}.{name}")
    link_stages(base, folder, [PREPARED])
    return folder


def link_stages(base: Path, folder: Path, stages: Iterable[str]) -> None:
    """Give a run the stages that another run has, by hard links.

    What was linked before the other run made its stage anew is replaced: what stands
    on it is then stale, and made anew too.
    """
    for stage in stages:
        digests = [_digest(of / stage) for of in (base, folder)]
        if None not in digests and digests[0] != digests[1]:
            shutil.rmtree(folder / stage)
        if (base / stage).exists() and not (folder / stage).exists():
            draft = folder / f"{stage}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(base / stage, draft, copy_function=os.link)
            draft.replace(folder / stage)


def _digest(stage: Path) -> str | None:
    record = stage / RECORD
    return read_record(record).get("digest") if record.exists() else None


def trial_seconds(base: Path, name: str, flags: list[str], n_steps: int) -> float:
    """Train an arm for a few steps, and give what that took of the cores."""
    trial = arm_run(base, f"{name}.trial")
    command, *settings = ARMS[name]
    size = ["--steps", str(n_steps), "--overwrite"]
    began = cpu_seconds()
    module = importlib.import_module(command)
    module.main(["--run", str(trial), *flags, *settings, *size])
    seconds = cpu_seconds() - began
    shutil.rmtree(trial)
    return seconds


def steps_for(minutes: float, base: Path, name: str, flags: list[str]) -> int:
    """Give the number of steps that takes so many CPU minutes.

    Two trials differ by steps alone: what a training takes besides cancels out.
    """
    few, many = TRIAL_STEPS
    trial_seconds(base, name, flags, few)  # the first loads what later ones have
    seconds = [trial_seconds(base, name, flags, n_steps) for n_steps in (few, many)]
    step_s = (seconds[1] - seconds[0]) / (many - few)
    return max(1, round(minutes * 60 / step_s))


def main() -> None:
    """Train what is missing, then probe all of it."""
    parser = Parser(prog="python -m benchmarks.compare_pretexts", description=__doc__)
    parser.add_argument("experiment", type=Path, help="experiment file (TOML)")
    parser.add_argument("--arms", help=f"some of: {','.join(ARMS)} (default: all)")
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="CPU minutes of each (15)"
    )
    parsed = parser.parse(None)
    experiment, names = parsed["experiment"], list(ARMS)
    if parsed["arms"]:
        names = parsed["arms"].split(",")
    for name in names:
        if name not in ARMS:
            raise UserError(f"no arm {name!r}; {nearest(name, ARMS)}")
    base = run_of(experiment)
    prepare.main(["--experiment", str(experiment)])
    set_threads(0)
    digest = _digest(base / PREPARED)  # as many steps take other times on others
    plan_file = base / "compare_pretexts.json"
    plan = json.loads(plan_file.read_text()) if plan_file.exists() else {}
    flags = ["--experiment", str(experiment), "--health-every", "0"]
    weights = []
    for name in names:
        title = f"{name}, {parsed['minutes']:g} minutes"
        key = f"{title}, of {digest}"
        if key not in plan:
            plan[key] = steps_for(parsed["minutes"], base, name, flags)
            write_json(plan_file, plan)
        command, *settings = ARMS[name]
        print(f"{title}: {plan[key]} steps", flush=True)
        arm_flags = ["--run", str(arm_run(base, name)), "--steps", str(plan[key])]
        folder = importlib.import_module(command).main([*arm_flags, *flags, *settings])
        weights.append(str(folder / "backbone.safetensors"))
    probe = importlib.import_module("pretext.probe")
    probe.main(["--run", str(base), "--weights", ",".join(weights), "--overwrite"])


if __name__ == "__main__":
    run_command(main)

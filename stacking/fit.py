"""Stack the nets' outputs into a prediction, and say honestly how good it is.

    python -m stacking.fit --cv sgkfold3

Reads ``data_prep.prepare`` and ``features.extract``; writes ``stacking.fit/``:
model_fold0.txt ... (LightGBM), stacking.json (all that was chosen), oof.csv,
predictions.csv (if there are pictures to predict), importance.csv, report.html. What
the sample asks for without a picture that can be read gets the mean of the training
targets, or the most frequent class.

Rows are learned from through the net that never saw them, by the run's own folds.
``--protocol insample`` reproduces the leak of the original instead, for comparison, and
writes ``stacking.fit.insample/``.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.settings import NEUTRAL, recorded

if TYPE_CHECKING:
    from data_prep.experiment import Experiment
    from stacking.outputs import Asked
    from stacking.stack import Stacked

STAGE = "stacking.fit"
PREPARED = "data_prep.prepare"
EXTRACTED = "features.extract"
LEAKY = "in-sample protocol: it leaks, and is for comparison only"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Stack the nets' outputs, tune the post-processing, score it honestly, predict.

    python -m stacking.fit --cv sgkfold3
    """

    cv: Annotated[
        str, "scheme of the folds; another than the run's only for label-free features"
    ] = ""
    protocol: Annotated[
        Literal["oof", "insample"], "insample: the original's leak, for comparison"
    ] = "oof"
    align: Annotated[
        Literal["rank", "moments", "none"],
        "one scale for all fold nets: rank (quantiles), moments (mean, deviation) or"
        " none (protocol oof only)",
    ] = "rank"
    seeds: Annotated[int, "boosters averaged per fold (protocol oof only)"] = 3
    max_rounds: Annotated[int, "cap on the boosting rounds (protocol oof only)"] = 2000
    seed: Annotated[int, "seed of the boosters and of the inner splits"] = 0
    threads: Annotated[int, "threads of LightGBM; 0: by table size", NEUTRAL] = 0

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        for name in ("seeds", "max_rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: give 1 or more")
        for name in ("seed", "threads"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} = {getattr(self, name)}: give 0 or more")


def main(argv: Sequence[str] | None = None) -> Path:
    """Fit as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(FitSettings, STAGE, argv)
    prepared, extracted = run.finished(PREPARED), run.finished(EXTRACTED)
    is_leaky = settings.protocol == "insample"
    name = f"{STAGE}.insample" if is_leaky else STAGE
    key: dict[str, Any] = recorded(settings) | {
        "cv": settings.cv or prepared.facts["cv"],
        "tasks": {task: asdict(one) for task, one in experiment.tasks.items()},
    }
    reads = [PREPARED, EXTRACTED]
    if done := run.current(name, key, reads):
        return done.folder
    # Before LightGBM loads: threads that wait must not keep the others' cores busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from stacking.assemble import assemble
    from stacking.outputs import read_order, write_all
    from stacking.report import write
    from stacking.stack import predict_common

    rows = assemble(prepared, extracted, settings.cv, settings.protocol)
    predicted = [
        id_
        for id_, flag in zip(rows.common_ids, rows.is_predicted, strict=True)
        if flag
    ]
    asked = read_order(prepared, predicted)
    with run.stage(name, key, reads) as stage:
        stacked = fit(rows, settings, experiment)
        common = predict_common(stacked, own=is_leaky)
        write_all(stage.folder, stacked, common, asked, prepared.facts, key)
        path = stage.folder / "report.html"
        write(path, stacked, common, asked, prepared, key, _versions())
        stage.facts = _facts(stacked, settings, len(asked.ids))
    _tell(stacked, is_leaky, asked, run.folder / name)
    return run.folder / name


def fit(rows: Any, settings: FitSettings, experiment: "Experiment") -> "Stacked":
    """Fit the members and the post-processing on what was assembled."""
    from stacking.boosting import Boosting, threads_for
    from stacking.insample import fit_insample
    from stacking.members import Scales, find_roles, fit_members
    from stacking.stack import stack

    roles = find_roles(experiment.tasks, experiment.data.target, rows)
    n_threads = settings.threads or threads_for(rows.X.size)
    if settings.protocol == "insample":
        scales = Scales.of(rows, roles, "none")
        members = fit_insample(scales, settings.seed, n_threads)
    else:
        scales = Scales.of(rows, roles, settings.align)
        boosting = Boosting(
            n_classes=0 if rows.target_range is not None else len(rows.classes),
            n_seeds=settings.seeds,
            max_rounds=settings.max_rounds,
            n_threads=n_threads,
        )
        members = fit_members(scales, boosting, settings.seed)
        if scales.alignment.method != settings.align and not rows.is_label_free:
            log.info(
                "the nets are not aligned: they have %d pictures in common",
                len(rows.common_ids),
            )
    return stack(scales, members, settings.seed)


def _facts(stacked: "Stacked", settings: FitSettings, n: int) -> dict[str, Any]:
    final = stacked.final
    return {
        "protocol": settings.protocol,
        "metric": stacked.loss.name,
        "score": final.scores.pooled,
        "interval": [final.interval.low, final.interval.high],
        "apparent": final.apparent,
        "plain": stacked.line("plain").scores.pooled
        if stacked.baseline == "plain"
        else None,
        "constant": stacked.line("constant").scores.pooled,
        "steps": [step.name for step in stacked.steps if step.is_on],
        "predictions": n,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("lightgbm", "scikit-learn", "numpy", "pandas")
    return {name: version(name) for name in names}


def table_of(stacked: "Stacked") -> str:
    """Write the steps as a table that is read in a terminal."""
    folds = range(stacked.scales.rows.n_folds)
    wide = max(len(line.title) for line in stacked.lines) + 6
    head = f"{stacked.loss.title:<{wide}} apparent  nested  95 % interval   "
    head += "".join(f" fold {k} " for k in folds)
    texts = [f"{head} gain over {stacked.baseline}"]
    for line in stacked.lines:
        apparent = "       -" if line.apparent is None else f"{line.apparent:8.4f}"
        text = f"{line.label:<{wide}} {apparent}  {line.scores.pooled:.4f}"
        text += f"  {line.interval.low:.4f}..{line.interval.high:.4f} "
        text += "".join(f" {score:.4f} " for score in line.scores.by_fold.values())
        if line.gain is not None:
            gain = line.gain
            text += f" {gain.value:+.4f} ({gain.low:+.4f}..{gain.high:+.4f})"
        texts.append(text)
    return "\n".join(texts)


def _tell(stacked: "Stacked", is_leaky: bool, asked: "Asked", folder: Path) -> None:
    from stacking.outputs import stand_in

    log.info("%s", table_of(stacked))
    if is_leaky:
        log.info("%s", LEAKY)
    for note in stacked.notes:
        log.info("%s", note)
    if asked.unreadable:
        log.warning("%s", stand_in(stacked, asked.unreadable))
    if not asked.ids:
        log.info("there is no picture to predict, so there is no predictions.csv")
    log.info("-> %s", folder / "report.html")


if __name__ == "__main__":
    run_command(main)

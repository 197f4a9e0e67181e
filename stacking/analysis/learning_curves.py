"""The losses of the nets over their training, as ``transfer.finetune`` logged them.

Only a training that these features come from is read, with the scores of its epochs,
and of ``features.watch`` only scores of that training.
"""

import csv
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.reporting.charts import ChartLine
from data_prep.run_folders.damage import RECORD, intact, read_json, read_record

TRAINED, EXTRACTED = "transfer.finetune", "features.extract"
WATCHED = "features.watch"
MOST_POINTS = 60  # of a curve; more are averaged
RATE, TOTAL = "learning_rate", "loss"
ACCURACY = "jigsaw_accuracy"  # of kept puzzles, beside their loss

Curves = dict[str, list[ChartLine]]
ScoresByFold = dict[tuple[str, str], dict[int, float]]
"""By score and fold: values by epoch."""


def training_losses(run: Path) -> Curves:
    """Read the losses by sub-task, a curve per fold; the total where it is a sum.

    They are by epoch, as the scores are, so that both can be read side by side.
    """
    from pretext.engine.epochs import read_epochs
    from pretext.engine.history import read_metrics

    record = _training(run)
    curves: Curves = {}
    for net in _nets(record):
        folder = run / TRAINED / net["place"]
        ends = {0: 0.0} | {e: row["step"] for e, row in read_epochs(folder).items()}
        logged = read_metrics(folder / "logs" / "metrics.csv")
        # names with a slash: rates of groups, and what was measured after an epoch
        no_task = (RATE, TOTAL, ACCURACY)
        tasks = [name for name in logged if name not in no_task and "/" not in name]
        for task in [TOTAL, *tasks] if len(tasks) > 1 else tasks:
            losses = _averaged(logged[task])
            epochs = np.interp(list(losses), list(ends.values()), list(ends))
            curve = dict(zip(epochs.tolist(), losses.values(), strict=True))
            if len(curve) > 1:
                curves.setdefault(task, []).append(_curve(net["fold"], curve))
    return curves


def kept_epochs(run: Path) -> int:
    """Count the epochs whose weights each net has kept, if there are several.

    ``features.watch`` can score those. Of one, which a training keeps if nothing else
    is asked for, there is no curve.
    """
    nets = [net for net in _nets(_training(run)) if net["fold"].isdigit()]
    pattern = "epochs/epoch*.safetensors"
    counts = [len([*(run / TRAINED / net["place"]).glob(pattern)]) for net in nets]
    n_kept = min(counts, default=0)
    return n_kept if n_kept > 1 else 0


def held_out_scores(run: Path) -> Curves:
    """Read the scores of the held-out fold by epoch, a curve per fold.

    They are those of ``features.watch``, of all views; if it did not watch, those that
    the training was told to make by ``score_every``, of the plain view.
    """
    record = _training(run)
    if not record:
        return {}
    by_fold = _watched_scores(run, record) or _scores_of_epochs(run, record)
    curves: Curves = {}
    for (score, fold), values in sorted(by_fold.items(), key=_by_score_and_fold):
        if len(values) > 1:
            curve = _curve(fold, dict(sorted(values.items())))
            curves.setdefault(score, []).append(curve)
    return curves


def _by_score_and_fold(
    entry: tuple[tuple[str, str], dict[int, float]],
) -> tuple[str, int]:
    """Sort by score, then by the number of the fold."""
    score, fold = entry[0]
    return score, _number(fold)


def _watched_scores(run: Path, record: Mapping[str, Any]) -> ScoresByFold:
    """Read what ``features.watch`` scored of this training; nothing of another."""
    path, sidecar = (run / WATCHED / name for name in ("scores.csv", "training.json"))
    if not path.exists() or not sidecar.exists():
        return {}
    training = read_json(sidecar)
    if any(record[key] != training.get(key) for key in ("settings", "reads")):
        return {}
    by_fold: ScoresByFold = {}
    with intact(path), path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = by_fold.setdefault((row["score"], row["fold"]), {})
            if math.isfinite(value := float(row["value"])):
                values[int(row["epoch"])] = value
    return by_fold


def _scores_of_epochs(run: Path, record: Mapping[str, Any]) -> ScoresByFold:
    """Read what the training itself scored after its epochs."""
    from pretext.engine.epochs import HELD_OUT, read_epochs

    by_fold: ScoresByFold = {}
    for net in _nets(record):
        for epoch, row in read_epochs(run / TRAINED / net["place"]).items():
            for name, value in row.items():
                if name.startswith(HELD_OUT) and math.isfinite(value):
                    score = name.removeprefix(HELD_OUT)
                    by_fold.setdefault((score, net["fold"]), {})[epoch] = value
    return by_fold


def _training(run: Path) -> dict[str, Any] | None:
    """Give the record of the training that the features come from, if there is one."""
    paths = [run / name / RECORD for name in (TRAINED, EXTRACTED)]
    if not all(path.exists() for path in paths):
        return None
    trained, extracted = map(read_record, paths)
    return trained if extracted["reads"].get(TRAINED) == trained["digest"] else None


def _nets(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """List the nets of a training: those of the folds in order, that of all rows last.

    So the colours of their curves are the same in every chart.
    """
    nets = record["facts"]["nets"] if record else []
    return sorted(nets, key=lambda net: _number(net["fold"]))


def _number(fold: str) -> int:
    """Give the number of a fold; all rows are behind the last."""
    return int(fold) if fold.isdigit() else sys.maxsize


def _averaged(values: Mapping[int, float]) -> dict[int, float]:
    """Average stretches of a curve, so that it has few points and no noise."""
    points = [(step, value) for step, value in values.items() if math.isfinite(value)]
    size = -(-len(points) // MOST_POINTS) or 1
    pieces = [points[start : start + size] for start in range(0, len(points), size)]
    return {
        piece[-1][0]: sum(value for _, value in piece) / len(piece) for piece in pieces
    }


def _curve(fold: str, values: Mapping[int, float] | Mapping[float, float]) -> ChartLine:
    name = f"fold {fold}" if fold.isdigit() else f"{fold} rows"
    return ChartLine(name=name, x=[float(x) for x in values], y=list(values.values()))

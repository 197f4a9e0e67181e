"""The scores of a training that is watched: a CSV file, a table and a plot.

Torch-free.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from data_prep.reporting.numerals import style_for
from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import drafted, write_text
from data_prep.run_folders.runs import json_text
from pretext.evaluation.curves import INK, LINE_COLOURS, style_panel

SHOWN_EPOCHS = 12  # last ones of the table


@dataclass(frozen=True, kw_only=True)
class EpochScore:
    """One score of one net after one epoch; its fields are the columns of the file.

    Attributes:
        net: Name of its task, or ``joint``.
        fold: The fold that it never saw, and is scored on.
        epoch: Counted from 1.
        score: Name of the score, such as ``target_rmse``.
        value: Of the mean over the views; of an RMSE in the unit of the labels.
        pictures: Number of pictures scored.
        seconds: Time that the scoring took.
    """

    net: str
    fold: str
    epoch: int
    score: str
    value: float
    pictures: int
    seconds: float

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> "EpochScore":
        """Read a row of the file."""
        return cls(
            net=row["net"],
            fold=row["fold"],
            epoch=int(row["epoch"]),
            score=row["score"],
            value=float(row["value"]),
            pictures=int(row["pictures"]),
            seconds=float(row["seconds"]),
        )


class Scoreboard:
    """Scores by epoch and fold, the same on the disk.

    Args:
        folder: Where ``scores.csv`` and ``scores.png`` go.
        training: What the training is made from; scores of another are dropped.
        overwrite: Drop those of this one too.
    """

    def __init__(
        self, folder: Path, training: Mapping[str, object], *, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self.entries: list[EpochScore] = []
        folder.mkdir(parents=True, exist_ok=True)
        sidecar, file = folder / "training.json", folder / "scores.csv"
        text = json_text(training)
        is_same = sidecar.exists() and sidecar.read_bytes() == text.encode()
        if overwrite or not is_same:
            # first, because the sidecar says what the scores are of
            file.unlink(missing_ok=True)
        write_text(sidecar, text)
        if file.exists():
            with intact(file), file.open(newline="", encoding="utf-8") as rows:
                self.entries = [EpochScore.from_row(r) for r in csv.DictReader(rows)]

    def has(self, net: str, fold: str, epoch: int) -> bool:
        """Tell whether an epoch of a net is there."""
        return any((e.net, e.fold, e.epoch) == (net, fold, epoch) for e in self.entries)

    def add(self, entries: list[EpochScore]) -> None:
        """Put in the scores of an epoch, and write the file anew."""
        self.entries += entries
        names = [field.name for field in fields(EpochScore)]
        rows = [names, *([getattr(e, name) for name in names] for e in self.entries)]
        lines = [",".join(map(str, row)) + "\n" for row in rows]
        with drafted(self.folder / "scores.csv") as file:
            file.write("".join(lines).encode())

    def by_epoch(self, score: str) -> dict[int, dict[str, float]]:
        """Give a score by epoch and fold, both in order."""
        by_epoch: dict[int, dict[str, float]] = {}
        for entry in sorted(self.entries, key=lambda e: (e.epoch, e.fold)):
            if entry.score == score:
                by_epoch.setdefault(entry.epoch, {})[entry.fold] = entry.value
        return by_epoch

    def scores(self) -> list[str]:
        """Give the names of the scores, in the order they came."""
        return list(dict.fromkeys(entry.score for entry in self.entries))

    def best(self, score: str) -> tuple[int, float]:
        """Give the epoch whose mean over all folds is best, and that mean."""
        complete = complete_means(self.by_epoch(score))
        sign = -1 if is_error(score) else 1
        epoch = max(complete, key=lambda e: sign * complete[e])
        return epoch, complete[epoch]

    def text(self) -> str:
        """Set the last epochs as a table: the mean over the folds, and the folds."""
        blocks = []
        for score in self.scores():
            by_epoch = self.by_epoch(score)
            folds = _folds(by_epoch)
            head = "".join(f"{'fold ' + fold:>10}" for fold in folds)
            lines = [f"{score:<22}{'mean':>10}{head}"]
            style = style_for(
                *[v for by_fold in by_epoch.values() for v in by_fold.values()]
            )
            for epoch in list(by_epoch)[-SHOWN_EPOCHS:]:
                by_fold = by_epoch[epoch]
                mean = sum(by_fold.values()) / len(by_fold)
                cells = "".join(
                    f"{_shown(by_fold.get(fold), style):>10}" for fold in folds
                )
                mark = "" if len(by_fold) == len(folds) else f" of {len(by_fold)}"
                lines.append(f"  epoch {epoch:<14}{mean:>10{style}}{cells}{mark}")
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def draw(self) -> None:
        """Draw each score over the epochs: folds thin, their mean thick."""
        from matplotlib.figure import Figure

        scores = self.scores()
        columns = min(3, len(scores))
        rows = -(-len(scores) // columns)
        figure = Figure((4.2 * columns, 3.1 * rows), dpi=110, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis in axes[len(scores) :]:
            axis.set_visible(False)
        for axis, score in zip(axes, scores, strict=False):
            by_epoch = self.by_epoch(score)
            folds = _folds(by_epoch)
            for number, fold in enumerate(folds):
                curve = {e: v[fold] for e, v in by_epoch.items() if fold in v}
                epochs, values = list(curve), list(curve.values())
                colour = LINE_COLOURS[number % len(LINE_COLOURS)]
                axis.plot(epochs, values, color=colour, linewidth=1, marker=".")
                axis.annotate(
                    f"fold {fold}",
                    (epochs[-1], values[-1]),
                    color=colour,
                    fontsize=8,
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                )
            means = complete_means(by_epoch)
            if len(folds) > 1 and means:
                axis.plot([*means], [*means.values()], color=INK, linewidth=2.2)
            better = "lower is better" if is_error(score) else "higher is better"
            style_panel(axis, f"{score} ({better})")
            axis.margins(x=0.12)
        with drafted(self.folder / "scores.png") as file:
            figure.savefig(file, format="png")


def complete_means(by_epoch: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Average the epochs that all folds have, or all if there is none."""
    most = max((len(values) for values in by_epoch.values()), default=0)
    return {
        epoch: sum(values.values()) / len(values)
        for epoch, values in by_epoch.items()
        if len(values) == most
    }


def is_error(score: str) -> bool:
    """Tell whether a lower score is better."""
    return score.endswith("_rmse")


def _shown(value: float | None, style: str) -> str:
    return "" if value is None or math.isnan(value) else format(value, style)


def _folds(by_epoch: Mapping[int, Mapping[str, float]]) -> list[str]:
    return sorted({fold for by_fold in by_epoch.values() for fold in by_fold})

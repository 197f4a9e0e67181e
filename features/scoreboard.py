"""The scores of a training that is watched: a CSV file, a table and a plot.

Torch-free.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from data_prep.reporting.numerals import style_for
from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import drafted, write_text
from data_prep.run_folders.runs import json_text
from pretext.evaluation.curves import INK, LINE_COLOURS, style_panel

if TYPE_CHECKING:
    import pandas as pd

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
            types = get_type_hints(EpochScore)
            with intact(file), file.open(newline="", encoding="utf-8") as rows:
                self.entries = [
                    EpochScore(**{name: types[name](row[name]) for name in types})
                    for row in csv.DictReader(rows)
                ]

    def has(self, net: str, fold: str, epoch: int) -> bool:
        """Tell whether an epoch of a net is there."""
        return any((e.net, e.fold, e.epoch) == (net, fold, epoch) for e in self.entries)

    def add(self, entries: list[EpochScore]) -> None:
        """Put in the scores of an epoch, and write the file anew."""
        import pandas as pd

        self.entries += entries
        text = pd.DataFrame(self.entries).to_csv(index=False, lineterminator="\n")
        write_text(self.folder / "scores.csv", text)

    def table(self, score: str) -> "pd.DataFrame":
        """Give a score: a row for each epoch, a column for each fold, NaN for none."""
        import pandas as pd

        frame = pd.DataFrame([e for e in self.entries if e.score == score])
        return frame.pivot(index="epoch", columns="fold", values="value")

    def scores(self) -> list[str]:
        """Give the names of the scores, in the order they came."""
        return list(dict.fromkeys(entry.score for entry in self.entries))

    def best(self, score: str) -> tuple[int, float]:
        """Give the epoch whose mean over all folds is best, and that mean."""
        means = complete_means(self.table(score))
        goodness = -means if is_error(score) else means
        row = int(goodness.fillna(-math.inf).to_numpy().argmax())
        return int(means.index[row]), float(means.iloc[row])

    def text(self) -> str:
        """Set the last epochs as a table: the mean over the folds, and the folds."""
        blocks = []
        for score in self.scores():
            table = self.table(score)
            style = style_for(*table.to_numpy().ravel())
            shown = table.tail(SHOWN_EPOCHS)
            n_folds = shown.notna().sum(axis=1)
            lines = shown.add_prefix("fold ")
            lines.insert(0, "mean", shown.mean(axis=1))
            lines[""] = ["" if n == table.shape[1] else f"of {n}" for n in n_folds]
            lines.index = [f"epoch {epoch}" for epoch in shown.index]
            lines.columns.name = score
            number = f"{{:{style}}}".format
            blocks.append(lines.to_string(float_format=number, na_rep=""))
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
            table = self.table(score)
            for number, fold in enumerate(table):
                curve = table[fold].dropna()
                colour = LINE_COLOURS[number % len(LINE_COLOURS)]
                axis.plot(curve, color=colour, linewidth=1, marker=".")
                axis.annotate(
                    f"fold {fold}",
                    (curve.index[-1], curve.iloc[-1]),
                    color=colour,
                    fontsize=8,
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                )
            if table.shape[1] > 1:
                axis.plot(complete_means(table), color=INK, linewidth=2.2)
            better = "lower is better" if is_error(score) else "higher is better"
            style_panel(axis, f"{score} ({better})")
            axis.margins(x=0.12)
        with drafted(self.folder / "scores.png") as file:
            figure.savefig(file, format="png")


def complete_means(table: "pd.DataFrame") -> "pd.Series[float]":
    """Average the epochs that all folds have, or as many as any has."""
    n_folds = table.notna().sum(axis=1)
    means: pd.Series[float] = table[n_folds == n_folds.max()].mean(axis=1)
    return means


def is_error(score: str) -> bool:
    """Tell whether a lower score is better."""
    return score.endswith("_rmse")

"""What a search for a recipe says: its table, how much of it is luck, and the lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import UserError
from data_prep.reporting.numerals import style_for
from transfer.search.trials import Trial

REMARKS = {1: "the settings as they are", 2: "as trial 1, with another seed"}
N_NEXT = 3  # trials behind the best that are told of


@dataclass(frozen=True, kw_only=True)
class RecipeReport:
    """The trials of a search.

    Attributes:
        trials: By number.
        higher_is_better: Of the score.
        fold: That was held out.
        epochs: Of a trial.
    """

    trials: Sequence[Trial]
    higher_is_better: bool
    fold: int
    epochs: int

    @property
    def ranked(self) -> list[Trial]:
        """Those that were not ended early, best first; of equals the earlier.

        Raises:
            UserError: There are none.
        """
        sign = -1 if self.higher_is_better else 1
        whole = [trial for trial in self.trials if not trial.ended]
        if not whole:
            reason = self.trials[0].ended
            raise UserError(
                f"none of the {len(self.trials)} trials came to its end (the first:"
                f" {reason}); give another learning_rate or batch_size in"
                " [transfer.finetune]"
            )
        return sorted(whole, key=lambda trial: sign * trial.score)

    def text(self) -> str:
        """Write the table as it is read in a terminal, best first."""
        best = self.ranked[0]
        head = ["trial", best.metric, *best.recipe, "epochs", "seconds", ""]
        in_order = [*self.ranked, *(trial for trial in self.trials if trial.ended)]
        rows = [head, *map(self._cells, in_order)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = zip(row[:-1], widths, strict=False)
            padded = [f"{cell:>{width}}" for cell, width in cells]
            lines.append("  ".join([*padded, row[-1]]).rstrip())
        return "\n".join(lines)

    def verdict(self) -> list[str]:
        """Say which trial is best, and how much of its lead may be luck."""
        best, *behind = self.ranked
        style = style_for(best.score)
        lines = [
            f"best of {len(self.trials)}: trial {best.number}, {best.metric}"
            f" {best.score:{style}}"
        ]
        usual = [trial for trial in self.ranked if trial.is_as_they_are]
        if best.is_as_they_are:
            lines.append("no trial was better than the settings as they are; keep them")
            return lines
        if len(usual) < len(REMARKS):
            lines.append("the settings as they are did not come to their end")
            return lines
        first, second = sorted(usual, key=lambda trial: trial.number)
        lead = abs(best.score - (first.score + second.score) / 2)
        by_seed = abs(first.score - second.score)
        lines.append(
            f"the settings as they are: {first.score:{style}}, and"
            f" {second.score:{style}} with another seed"
        )
        if lead <= by_seed:
            lines.append(
                f"a lead of {lead:{style}} is no more than the seed changes"
                f" ({by_seed:{style}}); keep them, or try more"
            )
        gaps = [f"{abs(t.score - best.score):{style}}" for t in behind[:N_NEXT]]
        lines.append(
            f"the next are behind by {', '.join(gaps)}; which of close ones is best"
            " is luck, and the score of the best too good"
        )
        return lines

    def toml(self) -> str:
        """Write the lines to paste into an experiment, after what is known of them."""
        notes = [
            *self.verdict(),
            f"scored after {self.epochs} epochs on training rows of fold {self.fold},"
            " which other folds hold",
            f"out: only the score of fold {self.fold} knows nothing of this choice",
        ]
        recipe = self.ranked[0].recipe.items()
        lines = [*(f"# {note}" for note in notes), "[transfer.finetune]"]
        return "\n".join([*lines, *(f"{name} = {value}" for name, value in recipe)])

    def rows(self) -> list[list[Any]]:
        """Give the table for a file, the header first, by number."""
        names = list(self.trials[0].recipe)
        head = ["trial", "score", *names, "epochs", "seconds", "ended"]
        rows: list[list[Any]] = [head]
        for trial in self.trials:
            values = [trial.recipe[name] for name in names]
            row = [trial.number, trial.score, *values, trial.epochs, trial.seconds]
            rows.append([*row, trial.ended])
        return rows

    def _cells(self, trial: Trial) -> list[str]:
        style = style_for(self.ranked[0].score)
        remark = REMARKS.get(trial.number, "")
        if trial.ended:
            remark = f"{remark}; {trial.ended}" if remark else trial.ended
        return [
            str(trial.number),
            f"{trial.score:{style}}",
            *(f"{value:.4g}" for value in trial.recipe.values()),
            str(trial.epochs),
            f"{trial.seconds:.0f}",
            remark,
        ]

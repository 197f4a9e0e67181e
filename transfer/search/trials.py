"""A trial of a search: what it tries, what stops it, how it went. Torch-free."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_prep.executors.progress import Report
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.runs import read_state, write_json
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.pruners import MedianPruner
    from optuna.trial import FrozenTrial

Recipe = Mapping[str, float]  # values of settings by name
Judge = Callable[[int, Mapping[str, float]], bool]

N_AS_THEY_ARE = 2  # trials, the second with another seed
STARTUP = 6  # trials before which none is stopped, nor drawn by what was better
KEPT = "trial.json"  # in the folder of a trial: how it went


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training that was tried.

    Attributes:
        number: From 1.
        recipe: Its settings.
        metric: The score that decides, such as ``target_rmse``.
        score: After the last epoch that it made; NaN: it made none.
        epochs: How many it made.
        seconds: How long it took.
        ended: Why it ended early; empty: it did not.
    """

    number: int
    recipe: Recipe
    metric: str
    score: float
    epochs: int
    seconds: float
    ended: str = ""

    def __str__(self) -> str:
        """Say what was tried and how it went, in a line."""
        recipe = ", ".join(f"{name} {value:.4g}" for name, value in self.recipe.items())
        score = f"{self.metric} {four_digits(self.score)}" if self.metric else ""
        outcome = ", ".join(filter(None, (score, self.ended)))
        return f"trial {self.number}: {outcome} by {recipe}"

    @property
    def is_as_they_are(self) -> bool:
        """Whether it had the settings as they are."""
        return self.number <= N_AS_THEY_ARE


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A trial to make.

    Attributes:
        number: From 1.
        recipe: What it tries, rounded.
        params: The same as it was drawn.
        space: What may be tried.
        settings: Of the training.
        earlier: Trials that it was drawn by, and is judged by.
        higher_is_better: Of the score.
        folder: Of its own.
    """

    number: int
    recipe: Recipe
    params: Mapping[str, Any]
    space: "Mapping[str, BaseDistribution]"
    settings: FinetuneSettings
    earlier: "Sequence[FrozenTrial]"
    higher_is_better: bool
    folder: Path

    def kept(self) -> dict[str, Any] | None:
        """Give what an earlier attempt said of it; None: it made no such trial."""
        kept = read_state(self.folder / KEPT)
        return kept if kept.get("recipe") == self.recipe else None

    def make(self, try_settings: "TrySettings", report: Report) -> dict[str, Any]:
        """Train, and say how it went; that is kept, too."""
        shutil.rmtree(self.folder, ignore_errors=True)
        study = study_of(self.earlier, higher_is_better=self.higher_is_better)
        study.pruner = _pruner(self.settings.epochs)
        study.enqueue_trial(dict(self.params))
        trial = study.ask(dict(self.space))
        began = time.monotonic()
        ended = try_settings(self, _judge(trial, self.settings.epochs), report)
        frozen = study.trials[trial.number]
        attempt = {
            "recipe": self.recipe,
            "metric": frozen.user_attrs.get("metric", ""),
            "scores": [[k, v] for k, v in frozen.intermediate_values.items()],
            "seconds": round(time.monotonic() - began, 1),
            "ended": ended,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / KEPT, attempt)
        return attempt

    def ended_by(self, attempt: Mapping[str, Any]) -> "FrozenTrial":
        """Give the trial as it is kept; without a score it is as one that was stopped.

        Args:
            attempt: How it went.
        """
        from optuna.trial import TrialState, create_trial

        scores = dict(attempt["scores"])
        score = scores[max(scores)] if scores else math.nan
        ended = attempt["ended"] or ("" if math.isfinite(score) else "no score")
        return create_trial(
            state=TrialState.PRUNED if ended else TrialState.COMPLETE,
            value=None if ended else score,
            params=dict(self.params),
            distributions=dict(self.space),
            intermediate_values=scores,
            user_attrs={
                "recipe": self.recipe,
                "metric": attempt["metric"],
                "seconds": attempt["seconds"],
                "ended": ended,
            },
        )


TrySettings = Callable[[Draft, Judge, Report], str]


def ended_in(study: "optuna.Study") -> "list[FrozenTrial]":
    """Give the trials of a study that have ended, as they are kept, by number."""
    from optuna.trial import TrialState

    return study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])


def trials_of(study: "optuna.Study") -> list[Trial]:
    """Give the trials of a study that have ended, by number."""
    return [
        Trial(
            number=number,
            recipe=trial.user_attrs["recipe"],
            metric=trial.user_attrs.get("metric", ""),
            score=trial.intermediate_values.get(trial.last_step or 0, math.nan),
            epochs=trial.last_step or 0,
            seconds=trial.user_attrs["seconds"],
            ended=trial.user_attrs["ended"],
        )
        for number, trial in enumerate(ended_in(study), start=1)
    ]


def study_of(
    earlier: "Sequence[FrozenTrial]", *, higher_is_better: bool
) -> "optuna.Study":
    """Give a study in memory that knows some trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction_of(higher_is_better))
    study.add_trials(earlier)
    return study


def direction_of(higher_is_better: bool) -> Literal["minimize", "maximize"]:
    """Name the direction as optuna does."""
    return "maximize" if higher_is_better else "minimize"


def _pruner(n_epochs: int) -> "MedianPruner":
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=max(1, n_epochs // 3))


def _judge(trial: "optuna.Trial", n_epochs: int) -> Judge:
    """Give what stops a trial that is worse than the median was at that epoch."""

    def judge(epoch: int, scores: Mapping[str, float]) -> bool:
        metric, score = next(iter(scores.items()))
        if epoch == 1:
            trial.set_user_attr("metric", metric)
        trial.report(score, epoch)
        return epoch == n_epochs or not trial.should_prune()

    return judge

"""A search for the recipe of a training: which settings are tried, and in what order.

The first trial has the settings as they are, the second the same with another seed, so
that the difference of the two says how much of any other difference is luck. The others
are drawn by optuna's tree of Parzen estimators (Bergstra et al. 2011), and those worse
than the median of earlier ones at an epoch are stopped. A trial is a function of the
seed and of the trials before it: a search that was killed goes on as if it had not
been, the trial that it was at begun anew. Torch-free.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.executors.progress import Progress, Report, duration
from data_prep.reporting.numerals import four_digits
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from tqdm import tqdm

Recipe = Mapping[str, float]  # values of settings by name
Judge = Callable[[int, Mapping[str, float]], bool]
TrySettings = Callable[[int, FinetuneSettings, Judge, Report], str]

N_AS_THEY_ARE = 2  # trials, the second with another seed
STARTUP = 6  # trials before which none is stopped, nor drawn by what was better
BATCH_SIZES = (16, 32, 64)
ESTIMATE_AFTER_STEPS = 8
AROUND = 10.0  # times the usual rate or decay, and this part of it
log = logging.getLogger(__name__)


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


def space_around(usual: FinetuneSettings, n_rows: int) -> "dict[str, BaseDistribution]":
    """Say what may be tried: values around the usual ones.

    A weight decay of 0 has nothing around it and stays; so do batches of more pictures
    than there are.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    sizes = [
        size
        for size in sorted({*BATCH_SIZES, usual.batch_size})
        if size * usual.accumulate <= n_rows
    ]
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(value / AROUND, value * AROUND, log=True)
        for name in ("learning_rate", "weight_decay")
        if (value := getattr(usual, name))
    }
    return space | {
        "batch_size": CategoricalDistribution(sizes),
        "dropout": FloatDistribution(0.0, max(0.5, usual.dropout)),
        "min_area": FloatDistribution(min(0.2, usual.min_area), 1.0),
    }


def search(
    try_settings: TrySettings,
    usual: FinetuneSettings,
    space: "Mapping[str, BaseDistribution]",
    *,
    n_trials: int,
    higher_is_better: bool,
    journal: Path,
) -> list[Trial]:
    """Try recipes, going on with the trials of an earlier attempt.

    Args:
        try_settings: Trains, for the number of a trial; asks the judge after each epoch
            whether to go on, and says why it ended early. The first score that the
            judge is given decides.
        usual: The settings as they are; with the epochs of a trial.
        space: What may be tried.
        n_trials: With those of an earlier attempt.
        higher_is_better: Of the score.
        journal: File that keeps the trials.

    Returns:
        All trials, by number.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState
    from tqdm import tqdm

    study = _open(journal, usual.epochs, higher_is_better=higher_is_better)
    usual_recipe = {name: getattr(usual, name) for name in space}
    n_done = len(trials_of(study))
    with tqdm(total=n_trials, initial=n_done, desc="trials", unit="trial") as bar:
        for number in range(n_done + 1, n_trials + 1):
            # a function of what is known by then, whether the process was killed or not
            study.sampler = TPESampler(
                n_startup_trials=STARTUP, seed=1_000 * usual.seed + number
            )
            is_waiting = study.get_trials(states=[TrialState.WAITING])
            if number <= N_AS_THEY_ARE and not is_waiting:
                study.enqueue_trial(usual_recipe)
            trial = study.ask(dict(space))
            recipe: dict[str, Any] = {
                name: value if value == usual_recipe[name] else _short(value)
                for name, value in trial.params.items()
            }
            trial.set_user_attr("recipe", recipe)
            watch = _Watch(bar, n_trials + 1 - number)
            seed = usual.seed + (number == N_AS_THEY_ARE)
            tried = replace(usual, **recipe, seed=seed)
            ended = try_settings(number, tried, _judge(trial, usual.epochs), watch)
            _end(study, trial, ended, watch.seconds())
            bar.update()
            log.info("%s", trials_of(study)[-1])
    return trials_of(study)


def trials_of(study: "optuna.Study") -> list[Trial]:
    """Give the trials of a study that have ended, by number."""
    from optuna.trial import TrialState

    ended = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])
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
        for number, trial in enumerate(ended, start=1)
    ]


class _Watch:
    """Shows a trial on the bar of the search, and tells how long the search may take.

    Args:
        bar: Of the trials.
        n_left: Trials to make, with this one.
    """

    def __init__(self, bar: "tqdm[Any]", n_left: int) -> None:
        self.bar, self.n_left, self.is_told = bar, n_left, False
        self.began = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Show how far the trial is."""
        self.bar.set_postfix_str(f"epoch {progress.epoch} of {progress.n_epochs}")
        is_first = self.bar.n == self.bar.initial
        is_known = progress.step >= ESTIMATE_AFTER_STEPS or progress.is_epoch_end
        if is_first and not self.is_told and is_known and progress.seconds_left:
            self.is_told = True
            log.info(
                "about %s for %d trials, less by those that are stopped",
                duration((self.seconds() + progress.seconds_left) * self.n_left),
                self.n_left,
            )

    def seconds(self) -> float:
        """Give the time since the trial began."""
        return time.monotonic() - self.began


def _open(journal: Path, n_epochs: int, *, higher_is_better: bool) -> "optuna.Study":
    """Open the study of a journal; a trial that a killed process was at is dropped."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=journal.stem,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize" if higher_is_better else "minimize",
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=STARTUP, n_warmup_steps=max(1, n_epochs // 3)
        ),
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _judge(trial: "optuna.Trial", n_epochs: int) -> Judge:
    """Give what stops a trial that is worse than the median was at that epoch."""

    def judge(epoch: int, scores: Mapping[str, float]) -> bool:
        metric, score = next(iter(scores.items()))
        if epoch == 1:
            trial.set_user_attr("metric", metric)
        trial.report(score, epoch)
        return epoch == n_epochs or not trial.should_prune()

    return judge


def _end(
    study: "optuna.Study", trial: "optuna.Trial", ended: str, seconds: float
) -> None:
    """Keep how a trial ended; what has no score is as one that was stopped."""
    from optuna.trial import TrialState

    scores = study.trials[trial.number].intermediate_values
    score = scores[max(scores)] if scores else math.nan
    if not ended and not math.isfinite(score):
        ended = "no score"
    trial.set_user_attr("seconds", round(seconds, 1))
    trial.set_user_attr("ended", ended)
    if ended:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, score)


def _short(value: float) -> float:
    """Round to what a person would type."""
    return value if isinstance(value, int) else float(f"{value:.3g}")

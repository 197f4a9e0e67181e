"""A search for the recipe of a training: which settings are tried, and in what order.

The first trial has the settings as they are, the second the same with another seed, so
that the difference of the two says how much of any other difference is luck. The others
are drawn by optuna's tree of Parzen estimators (Bergstra et al. 2011), and those worse
than the median of earlier ones at an epoch are stopped. Trials come in rounds: each is
a function of the seed, its number and the rounds before its own, so a round may be made
side by side, and a search gives the same trials however many go at once. One that was
killed goes on as if it had not been, the trials it was at begun anew. Torch-free.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.executors.pool import Pool
from data_prep.executors.progress import Progress, Report, duration
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from transfer.search.trials import (
    N_AS_THEY_ARE,
    STARTUP,
    Draft,
    Trial,
    TrySettings,
    direction_of,
    ended_in,
    study_of,
    trials_of,
)
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial
    from tqdm import tqdm


REMEDY = "the others are kept, and the same command tries what is missing"
BATCH_SIZES = (16, 32, 64)
ESTIMATE_AFTER_STEPS = 8
AROUND = 10.0  # times the usual rate or decay, and this part of it
log = logging.getLogger(__name__)


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
    round_size: int,
    pool: Pool,
    reads: Sequence[Path] = (),
) -> list[Trial]:
    """Try recipes, going on with the trials of an earlier attempt.

    Args:
        try_settings: Trains; asks the judge after each epoch whether to go on, and says
            why it ended early. The first score that the judge is given decides. For
            other processes it has to be picklable.
        usual: The settings as they are; with the epochs of a trial.
        space: What may be tried.
        n_trials: With those of an earlier attempt.
        higher_is_better: Of the score.
        journal: File that keeps the trials; the folder of each is beside it.
        round_size: Trials that are drawn together.
        pool: Where the trials are made.
        reads: Files that a training reads.

    Returns:
        All trials, by number.

    Raises:
        UserError: A process failed. The other trials of its round are kept.
    """
    from tqdm import tqdm

    study = _open(journal, higher_is_better=higher_is_better)
    n_done = len(ended_in(study))
    is_here = pool.executor == "here"
    with tqdm(
        total=n_trials, initial=n_done, desc="trials", unit="trial", disable=not is_here
    ) as bar:
        watch = _Watch(bar, n_trials - n_done)
        while (number := len(ended_in(study)) + 1) <= n_trials:
            first, after = round_of(number, round_size)
            drafts = [
                _draft(
                    ended_in(study)[: first - 1],
                    k,
                    usual,
                    space,
                    higher_is_better=higher_is_better,
                    folder=journal.parent / "logs" / f"trial{k:03d}",
                )
                for k in range(number, min(after, n_trials + 1))
            ]
            for draft, attempt in _attempts(
                drafts, try_settings, pool, watch, reads=reads
            ):
                study.add_trial(draft.ended_by(attempt))
                bar.update()
                if is_here:
                    log.info("%s", trials_of(study)[-1])
    return trials_of(study)


def round_of(number: int, round_size: int) -> tuple[int, int]:
    """Give the first trial of the round of a trial, and the first after it.

    >>> [round_of(number, 4) for number in (1, 6, 7, 11)]
    [(1, 7), (1, 7), (7, 11), (11, 15)]
    """
    if number <= STARTUP:
        return 1, STARTUP + 1
    first = number - (number - STARTUP - 1) % round_size
    return first, first + round_size


def _draft(
    earlier: "Sequence[FrozenTrial]",
    number: int,
    usual: FinetuneSettings,
    space: "Mapping[str, BaseDistribution]",
    *,
    higher_is_better: bool,
    folder: Path,
) -> Draft:
    """Draw what a trial tries: a function of its number and of earlier rounds."""
    from optuna.samplers import TPESampler

    study = study_of(earlier, higher_is_better=higher_is_better)
    study.sampler = TPESampler(
        n_startup_trials=STARTUP, seed=1_000 * usual.seed + number
    )
    usual_recipe = {name: getattr(usual, name) for name in space}
    if number <= N_AS_THEY_ARE:
        study.enqueue_trial(usual_recipe)
    params = study.ask(dict(space)).params
    recipe: dict[str, Any] = {
        name: value if value == usual_recipe[name] else _short(value)
        for name, value in params.items()
    }
    seed = usual.seed + (number == N_AS_THEY_ARE)
    return Draft(
        number=number,
        recipe=recipe,
        params=params,
        space=space,
        settings=replace(usual, **recipe, seed=seed),
        earlier=earlier,
        higher_is_better=higher_is_better,
        folder=folder,
    )


def _attempts(
    drafts: Sequence[Draft],
    try_settings: TrySettings,
    pool: Pool,
    watch: "_Watch",
    *,
    reads: Sequence[Path],
) -> Iterator[tuple[Draft, dict[str, Any]]]:
    """Make the trials of a round, and say how each went, by number."""
    missing = [draft for draft in drafts if not draft.kept()]
    if pool.for_missing(len(missing)).executor == "here":
        for draft in drafts:
            watch.begin()
            yield draft, draft.kept() or draft.make(try_settings, watch)
        return
    works = [
        Work(
            name=f"trial {draft.number}",
            function=partial(_make, draft, try_settings),
            log_file=draft.folder.with_suffix(".log"),
            reads=reads,
            writes=draft.folder,
        )
        for draft in missing
    ]
    logs = drafts[0].folder.with_name("TRIAL.log")
    run(works, pool, noun="trial", logs=logs).check(works, "trial", REMEDY)
    for draft in drafts:
        yield draft, draft.kept() or draft.make(try_settings, watch)


def _make(draft: Draft, try_settings: TrySettings, report: Report | None) -> Result:
    """Make a trial in its process."""
    assert report
    attempt = draft.make(try_settings, report)
    scores = dict(attempt["scores"])
    metric = attempt["metric"]
    return Result(scores={metric: scores[max(scores)]} if scores else {})


class _Watch:
    """Shows a trial on the bar of the search, and tells how long the search may take.

    Args:
        bar: Of the trials.
        n_left: Trials to make.
    """

    def __init__(self, bar: "tqdm[Any]", n_left: int) -> None:
        self.bar, self.n_left, self.is_told = bar, n_left, False
        self.n_begun, self.began = 0, time.monotonic()

    def begin(self) -> None:
        """Take note that a trial begins."""
        self.n_begun, self.began = self.n_begun + 1, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Show how far the trial is."""
        self.bar.set_postfix_str(f"epoch {progress.epoch} of {progress.n_epochs}")
        is_known = progress.step >= ESTIMATE_AFTER_STEPS or progress.is_epoch_end
        if (
            self.n_begun == 1
            and not self.is_told
            and is_known
            and progress.seconds_left
        ):
            self.is_told = True
            seconds = time.monotonic() - self.began
            log.info(
                "about %s for %d trials, less by those that are stopped",
                duration((seconds + progress.seconds_left) * self.n_left),
                self.n_left,
            )


def _open(journal: Path, *, higher_is_better: bool) -> "optuna.Study":
    """Open the study of a journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=journal.stem,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction=direction_of(higher_is_better),
        load_if_exists=True,
    )


def _short(value: float) -> float:
    """Round to what a person would type."""
    return value if isinstance(value, int) else float(f"{value:.3g}")

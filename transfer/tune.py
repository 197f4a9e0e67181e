"""Search the settings of the transfer by short trainings, scored on an inner split.

    python -m transfer.tune --experiment experiments/demo.toml --trials 30

The trials train the net of one fold: on most of its training rows, scored on a share of
them that is kept back in whole cv groups. No label of the held-out fold is read. The
first trial has the settings as they are in ``[transfer.finetune]``. Writes
``transfer.tune/``: ``trials.csv``, and ``best.toml`` with the lines to paste. A search
that was killed goes on, and more ``--trials`` go on with a finished one; ``--jobs 2``
makes the same trials two at a time.

The rows of one fold's training are held out by the other folds, so the scores of those
know a little of the search; that of ``--fold`` knows nothing of it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import Experiment
from data_prep.prepared import PREPARED
from data_prep.run_folders.drafts import drafted, write_rows, write_text
from data_prep.run_folders.runs import Run
from data_prep.settings import NOT_HASHED, Example, nearest, recorded
from data_prep.waiting import settle_waiting
from pretext.init_weights import find_weights, fingerprint_of
from pretext.preflight import check_names
from transfer.search.recipe_report import RecipeReport
from transfer.search.recipe_search import search, space_around
from transfer.search.trials import STARTUP, Trial
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    from data_prep.outlook import Outlook
    from data_prep.tasks import Task
    from transfer.jobs import Job
    from transfer.training.finetune_data import FinetuneData

STAGE, FINETUNE = "transfer.tune", "transfer.finetune"
JOURNAL, BEST, TABLE = "trials.log", "best.toml", "trials.csv"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TuneSettings(ExecutorSettings):
    """Search the settings of the transfer by short trainings; no net is kept."""

    trials: Annotated[
        int, "trainings to try, with those of an earlier attempt", NOT_HASHED, Ge(3)
    ] = 20
    epochs: Annotated[
        int,
        "epochs of each; 0: a third of those in [transfer.finetune]",
        Ge(0),
        Example(5),
    ] = 0
    fold: Annotated[int, "fold that is held out: none of its labels is read", Ge(0)] = 0
    task: Annotated[
        str, "task whose score decides; left out: the first", Example("target")
    ] = ""
    inner_share: Annotated[
        float, "share of the training rows kept back to score by", Gt(0), Lt(1)
    ] = 0.25
    round_size: Annotated[
        int,
        "trials drawn together after the first 6: as many may go side by side, and none"
        " of them knows of the others",
        Gt(0),
    ] = 2

    @property
    def reads(self) -> list[str]:
        """The stages that it reads for certain."""
        return [PREPARED]

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Say what decides the trials besides the stages that are read."""
        del run
        base = base_of(experiment)
        of_base = recorded(self.of_fold(base, base.tasks)).items()
        tasks = {name: task.recorded() for name, task in experiment.tasks.items()}
        return {
            **recorded(self),
            **{f"[{FINETUNE}] {name}": value for name, value in of_base},
            "tasks_of_experiment": tasks,
            **fingerprint_of(base.init),
        }

    def has_enough(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether a finished search has made the trials: more go on with it."""
        return bool(metadata["trials"] >= self.trials)

    def check_data(self, outlook: "Outlook") -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: There is no such fold or task, or a net cannot be trained.
        """
        base, n_folds = base_of(outlook.experiment), outlook.metadata["n_folds"]
        if not n_folds:
            raise UserError(
                "the run has no folds, so nothing is held out; give a train table and"
                " a target in [data] and prepare again"
            )
        if self.fold >= n_folds:
            raise UserError(f"fold = {self.fold}: give 0 to {n_folds - 1}")
        names = [task.name for task in outlook.tasks(base.tasks)]
        if self.task not in ("", *names):
            raise UserError(
                f"task = {self.task!r}: no such task; {nearest(self.task, names)}"
            )
        task = self.task or names[0]
        self.of_fold(base, (task,)).check_data(outlook)

    def check_libraries(self, outlook: "Outlook") -> None:
        """Knock at the cluster.

        Raises:
            UserError: There is none.
        """
        del outlook
        self.check_cluster()

    def tasks_of(self, outlook: "Outlook", base: FinetuneSettings) -> "list[Task]":
        """Give the tasks of the net, the one that decides first."""
        tasks = outlook.tasks(base.tasks)
        name = self.task or tasks[0].name
        tasks.sort(key=lambda task: task.name != name)
        return tasks if base.joint else tasks[:1]

    def of_fold(
        self, base: FinetuneSettings, tasks: tuple[str, ...]
    ) -> FinetuneSettings:
        """Give the settings of a training of one fold, its epoch not chosen.

        Args:
            base: As they are in the experiment.
            tasks: Of a net that is not joint.
        """
        return replace(
            base,
            tasks=base.tasks if base.joint else tasks,
            folds=(str(self.fold),),
            all=False,
            select="inner",
            inner_share=self.inner_share,
            patience=0,
            average_epochs=1,
            logger="none",
            find_lr=False,
            pseudo_labels="",  # trials compare recipes on what the table labels
            pseudo_weight=1.0,
            pseudo_min_confidence=0.0,
            devices=1,  # a trial is small
            num_nodes=1,
        )

    def shortened(self, whole: FinetuneSettings, n_rows: int) -> FinetuneSettings:
        """Give the settings of a trial on so many rows, with its parts as long."""
        n_epochs = whole.n_epochs(n_rows)
        epochs = self.epochs or -(-n_epochs // 3)
        unfreeze_after = whole.unfreeze_after
        if unfreeze_after:
            in_time = max(1, round(unfreeze_after * epochs / n_epochs))
            unfreeze_after = min(in_time, epochs - 1)
        last_plain = whole.mix_last_plain
        if last_plain:
            last_plain = min(max(1, last_plain * epochs // n_epochs), epochs - 1)
        return replace(
            whole,
            steps=0,
            epochs=epochs,
            unfreeze_after=unfreeze_after,
            mix_last_plain=last_plain,
        )


def base_of(experiment: Experiment) -> FinetuneSettings:
    """Read the settings of the transfer as they are."""
    return experiment.settings_of(FINETUNE, FinetuneSettings, {})


def main(argv: Sequence[str] | None = None) -> Path:
    """Search as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(TuneSettings, STAGE, argv)
    base = base_of(experiment)
    first_weights = find_weights(base.init, run)
    config = settings.config(experiment, run)
    done = run.current(STAGE, config, reads=base.reads)
    if done and settings.has_enough(done.metadata):
        log.info("%s", (done.folder / BEST).read_text(encoding="utf-8"))
        return done.folder
    settings.check_cluster()
    prepared = run.finished(PREPARED)
    from data_prep.outlook import Outlook

    outlook = Outlook.of_prepared(prepared, run, experiment)
    settings.check_data(outlook)
    settle_waiting(base.threads * (settings.jobs or 1))
    check_names(base.backbone, base.optimizer)

    from transfer.jobs import hide_labels, plan

    tasks = settings.tasks_of(outlook, base)
    whole = settings.of_fold(base, (tasks[0].name,))
    jobs = plan(outlook.table, tasks, whole, prepared.metadata["n_folds"])
    job = hide_labels(jobs[0])
    usual = settings.shortened(whole, len(job.train_idx))

    from transfer.training.finetune_data import FinetuneData

    data = FinetuneData.open(
        usual,
        first_weights,
        prepared=prepared,
        table=outlook.table,
        run=run,
        folder=run.folder,
    )
    log_plan(job, settings, usual.epochs)
    with run.stage(STAGE, config, reads=base.reads) as stage:
        journal = stage.folder / JOURNAL
        if done and not journal.exists():  # more trials than it was made with
            with drafted(journal) as file:
                file.write((done.folder / JOURNAL).read_bytes())
        trials = run_trials(stage.folder, job, data, settings)
        report = RecipeReport(
            trials=trials,
            higher_is_better=tasks[0].task_type.higher_is_better,
            fold=settings.fold,
            epochs=usual.epochs,
        )
        write_rows(stage.folder / TABLE, report.rows())
        write_text(stage.folder / BEST, report.toml())
        stage.device = str(data.pictures.device)
        stage.metadata = {"trials": len(trials)}
    log.info("%s\n\n%s", report.text(), report.toml())
    log.info("-> %s", run.folder / STAGE)
    return run.folder / STAGE


def log_plan(job: "Job", settings: TuneSettings, n_epochs: int) -> None:
    """Say what the trials are to be."""
    log.info(
        "%s: %d trials of %d epochs, each on %d rows and scored on %d; the labels of"
        " fold %d are not read",
        job.path,
        settings.trials,
        n_epochs,
        len(job.train_idx),
        len(job.choice_idx),
        settings.fold,
    )


def run_trials(
    folder: Path, job: "Job", data: "FinetuneData", settings: TuneSettings
) -> list[Trial]:
    """Train and score by one setting after another; go on with the journal, if any.

    Args:
        folder: Where the journal is, and the logs go.
        job: The net, whose first task decides.
        data: Of the net, with the settings that the search begins from.
        settings: Of the search.
    """
    from pretext.device import pool_of, set_threads
    from transfer.training.train_net import try_draft

    n_works = max(STARTUP, settings.round_size)
    pool = pool_of(settings, n_works, data.settings.threads)
    set_threads(pool.threads)
    usual = replace(data.settings, threads=pool.threads)
    return search(
        partial(try_draft, job, data),
        usual,
        space_around(usual, len(job.train_idx)),
        n_trials=settings.trials,
        higher_is_better=job.tasks[0].task_type.higher_is_better,
        journal=folder / JOURNAL,
        round_size=settings.round_size,
        pool=pool,
        reads=data.files,
    )


if __name__ == "__main__":
    run_command(main)

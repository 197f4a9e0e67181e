"""Distill: one net in place of those of all folds, taught by them.

    python -m transfer.distill
    python -m stacking.predict --net distilled --images new_leaves

Reads ``data_prep.prepare`` and ``transfer.finetune`` (and the stage of ``--init``);
writes ``transfer.distill/``:

- ``joint/all/``: the net that is served. It learns all labelled rows and the pictures
  without label, by what the nets of ``transfer.finetune`` say of them, their mean,
- ``joint/foldK/``: what says how good that is. It learns the same way, but that fold K
  is held out, and taught by the net of fold K alone, which never saw its labels,
- ``oof.parquet``: the predictions of the held-out rows.

Settings are those of ``[transfer.finetune]``, but for what stands under
``[transfer.distill]``.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Le

from data_prep.command import open_command, run_command
from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED, Prepared
from data_prep.waiting import settle_waiting
from pretext.init_weights import SELECTED, find_weights, is_selected
from pretext.preflight import check_devices, check_names, log_ignored_tag
from transfer.settings import FinetuneSettings
from transfer.teacher import STAGE as FINETUNE
from transfer.teacher import Teacher, check_role, is_of_target

if TYPE_CHECKING:
    from transfer.jobs import Job
    from transfer.teacher import PseudoRows

STAGE = "transfer.distill"
OOF = "oof.parquet"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DistillSettings(FinetuneSettings):
    """Train one net by what those of all folds say; what is not set is as in finetune.

    python -m transfer.distill
    """

    taken_from: ClassVar[str] = FINETUNE
    not_taken: ClassVar[tuple[str, ...]] = (
        *("joint", "all", "folds", "find_lr", "select", "inner_share", "patience"),
        *("pseudo_labels", "pseudo_weight", "pseudo_min_confidence"),
    )

    joint: Annotated[bool, "one net with a head per task; it is always that"] = True
    all: Annotated[bool, "the net of all rows, which is always trained"] = True
    teacher_share: Annotated[
        float,
        "share of what the nets say in the label of a row that has one",
        Ge(0),
        Le(1),
    ] = 0.5

    def __post_init__(self) -> None:
        """Check that it is one net, scored on all folds.

        Raises:
            UserError: A setting is of other nets.
        """
        super().__post_init__()
        if not (self.joint and self.all) or self.folds or self.find_lr:
            wrong = "find_lr" if self.find_lr else "folds" if self.folds else "joint"
            wrong = wrong if self.joint else "joint"
            wrong = wrong if self.all else "all"
            raise UserError(
                f"{wrong} is not for {STAGE}: it trains a joint net of all rows, and"
                " one for each fold to score it by; leave it out"
            )
        if self.pseudo_labels:
            raise UserError(
                f"pseudo_labels = {self.pseudo_labels!r}: the nets of {FINETUNE} of the"
                " run itself teach here; leave it out"
            )

    @property
    def has_teacher(self) -> bool:
        """Whether other nets label pictures without label."""
        return True

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return [*super().reads, FINETUNE]

    def check_data(self, outlook: Outlook) -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them, or nothing is taught.
        """
        super().check_data(outlook)
        select = outlook.setting(FINETUNE, "select")
        check_role("oof_selected" if select == "fold" else "oof", FINETUNE)
        if folds := outlook.setting(FINETUNE, "folds"):
            raise UserError(
                f"[{FINETUNE}] folds = {','.join(folds)}: a net of each fold has to"
                f" teach the distilled one; train all"
            )
        column = outlook.metadata.get("target_column")
        only = outlook.setting(FINETUNE, "tasks") or ()
        if not any(
            is_of_target(task, column) and (not only or task.name in only)
            for task in outlook.tasks(self.tasks)
        ):
            raise UserError(
                f"tasks = {','.join(self.tasks)}: none of them is the target and one"
                f" that {FINETUNE} learns, so there is nothing to distill; name it too"
            )
        if not self.teacher_share and (outlook.table["split"] == "train").all():
            raise UserError(
                "teacher_share = 0, and no picture is without label: there is nothing"
                " to teach; give teacher_share, such as 0.5"
            )

    def workload(self, outlook: Outlook) -> Workload:
        """Say what there is to train and to score, of all nets."""
        plain = super().workload(outlook)
        if self.steps:
            return plain
        n_train = max(1, int((outlook.table["split"] == "train").sum()))
        return replace(plain, trained=plain.trained * len(outlook.table) / n_train)


def main(argv: Sequence[str] | None = None) -> Path:
    """Distill as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(DistillSettings, STAGE, argv)
    first_weights = find_weights(settings.init, run)
    config, reads = settings.config(experiment, run), settings.reads
    if done := run.current(STAGE, config, reads=reads):
        return done.folder
    prepared = run.finished(PREPARED)
    outlook = Outlook.of_prepared(prepared, run, experiment)
    jobs, pseudo = plan_jobs(settings, outlook)
    settle_waiting(settings.threads * (settings.jobs or 1) * settings.devices)
    settings.check_cluster()
    check_names(settings.backbone, settings.optimizer, settings.logger)
    check_devices(settings)
    log_ignored_tag(settings.init, settings.backbone)

    from transfer.results.distilled import (
        DistilledScore,
        HeldOutRows,
        TargetTasks,
        oof_table,
    )
    from transfer.results.teaching import teach
    from transfer.training.finetune_data import FinetuneData
    from transfer.training.many_nets import run_jobs

    table = outlook.table
    with run.stage(STAGE, config, reads=reads) as stage:
        data = FinetuneData.open(
            settings,
            first_weights,
            prepared=prepared,
            table=table,
            run=run,
            folder=stage.folder,
        )
        nets = run_jobs(teach(jobs, pseudo, data), data)
        target = TargetTasks.of(pseudo, jobs)
        held_out = HeldOutRows.of(jobs, pseudo, data, nets=nets, target=target)
        score = DistilledScore.of(held_out, table)
        classes = Prepared.open(prepared).classes
        oof_table(held_out, table, classes).to_parquet(stage.folder / OOF, index=False)
        stage.device = str(data.pictures.device)
        stage.metadata = {
            "nets": nets,
            "role_of_fold": settings.role_of_fold,
            SELECTED: is_selected(first_weights),
            "side_px": data.final_side_px,
            "init": settings.init,
            **target.names,
            **score.to_json(),
            **({"user_columns": data.columns.to_json()} if data.columns else {}),
        }
    log.info("%s", score.text())
    log.info("-> %s", run.folder / STAGE)
    return run.folder / STAGE


def plan_jobs(
    settings: DistillSettings, outlook: Outlook
) -> "tuple[list[Job], PseudoRows]":
    """Plan the nets, and what the nets of the run are to teach them.

    Raises:
        UserError: A setting does not fit the run.
    """
    from transfer.jobs import folds_of, plan

    settings.check_data(outlook)
    table, metadata = outlook.table, outlook.metadata
    teacher = Teacher.of_run(outlook.run)
    teacher.check_folds(table, metadata, folds_of(settings, metadata["n_folds"]))
    tasks = outlook.tasks(settings.tasks)
    pseudo = teacher.teaches(
        table,
        tasks,
        metadata.get("target_column"),
        min_confidence=settings.pseudo_min_confidence,
        share=settings.teacher_share,
    )
    return plan(table, tasks, settings, metadata["n_folds"], pseudo=pseudo), pseudo


if __name__ == "__main__":
    run_command(main)

"""A teacher: another run whose nets label the pictures without label.

The nets of all folds together have seen every label. Were the net of fold k taught by
them, it would learn at second hand the labels that it is scored by. So it is taught by
the teacher's net of fold k alone, which held out the same rows; the net of all rows,
which is never scored, by the mean over those of all folds. Torch-free.

Source: Lee 2013, "Pseudo-Label: the simple and efficient semi-supervised learning
method"; Xie et al. 2020, "Self-training with Noisy Student", arXiv 1911.04252.
Differs: there one teacher labels for all, and nothing is cross-validated.

Shapes: N rows of the run that is taught, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.folds import ALL, fold_masks
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Finished, Run
from data_prep.tasks import Task
from pretext.init_weights import chosen_with_labels

if TYPE_CHECKING:
    import pandas as pd

STAGE = "transfer.finetune"
SETTING = "pseudo_labels"
Outputs = Mapping[str, NDArray[np.floating[Any]]]  # (n, F) of tasks by name
SAME = ("target_column", "target_kind", "classes")  # what is known of the target


def is_run(text: str, _folder: Path) -> bool:
    """Tell the folder of a run from no run at all."""
    return bool(text)


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """Probabilities of classes in place of labels, for one task.

    Attributes:
        proba: (N, K), all 0 in a row that has no such label.
        values: (K,) labels of the classes.
    """

    proba: Floats
    values: Floats


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A run with finished nets that teach.

    Attributes:
        folder: Of the run.
        named: How it is named in messages.
        finetuned: Its ``transfer.finetune``.
        prepared: Its ``data_prep.prepare``.
    """

    folder: Path
    named: str
    finetuned: Finished
    prepared: Prepared

    @classmethod
    def open(cls, path: str, run: Run) -> "Teacher":
        """Open a run as the teacher of another.

        Args:
            path: Folder of the teacher.
            run: The one to teach.

        Raises:
            UserError: It is no other run, has no finished nets, or these know more of
                the labels than they say.
        """
        folder = Path(path)
        named = f"{SETTING} = '{path}'"
        if not folder.is_dir():
            raise UserError(f"{named}: there is no such run")
        if folder.resolve() == run.folder.resolve():
            raise UserError(
                f"{named} is the run itself, whose nets would be replaced by what they"
                " teach; give a run of another name to the experiment that is taught"
            )
        return cls.of_run(Run(folder), named)

    @classmethod
    def of_run(cls, run: Run, named: str = STAGE) -> "Teacher":
        """Take the finished nets of a run as teachers.

        Args:
            run: Has them.
            named: How the run is named in messages.

        Raises:
            UserError: There are none, or they know more of the labels than they say.
        """
        finetuned = run.finished(STAGE)
        check_role(finetuned.metadata["role_of_fold"], named)
        if chosen_with_labels(run, finetuned):
            raise UserError(
                f"{named}: its pretext ended by a probe on all labels, those that are"
                " to be scored too; train it without plateau, or begin from other"
                " weights"
            )
        return cls(
            folder=run.folder,
            named=named,
            finetuned=finetuned,
            prepared=Prepared.open(run.finished(PREPARED)),
        )

    @property
    def identity(self) -> dict[str, str]:
        """Identify it for a record: its nets, and the pictures that they look at."""
        return {
            "run": self.folder.resolve().name,
            "nets": self.finetuned.record["digest"],
            "pictures": self.prepared.record["digest"],
        }

    def check_target(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a teacher of another target, or of another scheme of folds.

        Args:
            metadata: Of the preparation of the run that is taught.

        Raises:
            UserError: It is one.
        """
        metadata_there = self.prepared.metadata
        for name in SAME:
            if metadata_there.get(name) != metadata.get(name):
                shown = name.replace("_", " ")
                raise UserError(
                    f"{self.named} learned another target: its {shown} is"
                    f" {_short(metadata_there.get(name))}, and here it is"
                    f" {_short(metadata.get(name))}"
                )
        if metadata_there["cv"] != metadata["cv"]:
            raise UserError(
                f"{self.named} has other folds: cv = {metadata_there['cv']!r}, and here"
                f" {metadata['cv']!r}; prepare both with the same"
            )

    def check_folds(
        self, table: "pd.DataFrame", metadata: Mapping[str, Any], folds: Sequence[str]
    ) -> None:
        """Refuse a teacher whose nets of some folds learned what is held out here.

        Args:
            table: (N) rows as prepared.
            metadata: Of their preparation.
            folds: That are to be taught.

        Raises:
            UserError: A label would come back to the fold that is scored by it.
        """
        if self.prepared.metadata["fold_hash"] != metadata["fold_hash"]:
            raise UserError(
                f"{self.named} has other folds than this run, so its net of a fold"
                " learned labels that are held out here; prepare both from the same"
                " tables with the same cv and seed, or give its folds to"
                " [data_prep.prepare] folds"
            )
        nets = {str(net["fold"]) for net in self.finetuned.metadata["nets"]}
        for fold in folds:
            if fold not in nets and (fold != ALL or not nets - {ALL}):
                there = ", ".join(sorted(nets))
                raise UserError(
                    f"{self.named} has no net of fold {fold} (there are: {there}), and"
                    " no other may teach it; train that there too"
                )
            val_mask, _ = fold_masks(table, fold)
            cv_groups = table["cv_group"]
            is_near = cv_groups.isin(cv_groups[val_mask])
            _, seen_mask = fold_masks(self.prepared.table, fold)
            seen = self.prepared.table["id"][seen_mask]
            near = table["id"][is_near & table["id"].isin(seen)]
            if len(near):
                raise UserError(
                    f"{self.named}: its net of fold {fold} learned {near.iloc[0]!r},"
                    " which is a copy of what that fold holds out here, or of its"
                    " group; prepare both with the same groups and copies"
                )

    def teaches(
        self,
        table: "pd.DataFrame",
        tasks: Sequence[Task],
        target_column: str | None,
        *,
        min_confidence: float = 0.0,
        share: float | None = None,
    ) -> "PseudoRows":
        """Say which rows and tasks it can label: those of the target alone.

        A row that has, or might have, a label in either run keeps it.

        Args:
            table: (N) rows.
            tasks: Of the run that is taught.
            target_column: The user's name of the target.
            min_confidence: That will be asked for, of classes.
            share: Of its predictions in the labels of the table; None: it is not asked
                about rows that have one.

        Raises:
            UserError: There are none, or no confidence of them.
        """
        table_there = self.prepared.table
        unlabelled = table_there["id"][table_there["split"] != "train"]
        is_free = (table["split"] != "train") & table["id"].isin(unlabelled)
        rows = np.flatnonzero(is_free.to_numpy())
        if not len(rows) and not share:
            n = int((table["split"] != "train").sum())
            raise UserError(
                f"{self.named} has nothing to label: of the {n} pictures without label"
                " here, none is one without label there; add a test table, or pictures"
                " that are in no table, to both"
            )
        learned = {
            task["name"]: task
            for net in self.finetuned.metadata["nets"]
            for task in net["tasks"]
        }
        recorded = self.finetuned.record["settings"].get("tasks_of_experiment", {})
        columns = {name: table.get("column") for name, table in recorded.items()}
        of_target = [task for task in tasks if is_of_target(task, target_column)]
        names = [
            task.name
            for task in of_target
            if _fits(task, learned) and columns.get(task.name) in (None, target_column)
        ]
        if not names:
            listed = ", ".join(task.name for task in of_target) or "none"
            raise UserError(
                f"{self.named} learned the tasks {', '.join(learned)}, and those of the"
                f" target here are: {listed}; give both runs one of the same name,"
                " column, kind and classes"
            )
        has_classes = any(
            "probabilities" in task.task_type.target_outputs
            for task in of_target
            if task.name in names
        )
        if min_confidence and not has_classes:
            raise UserError(
                f"pseudo_min_confidence = {min_confidence} is of probabilities of"
                f" classes, and {', '.join(names)} is a number, which has none; leave"
                " it out"
            )
        is_train = (table["split"] == "train").to_numpy()
        return PseudoRows(
            teacher=self,
            rows=rows,
            tasks=tuple(names),
            labelled=np.flatnonzero(is_train if share is not None else False),
            share=share or 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class PseudoRows:
    """What a teacher is to label.

    Attributes:
        teacher: It.
        rows: Rows without label, rising.
        tasks: Names of the tasks that it teaches.
        labelled: Rows with one that it is asked about too.
        share: Of its predictions in the labels of those.
    """

    teacher: Teacher
    rows: Ints
    tasks: tuple[str, ...]
    labelled: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    share: float = 0.0

    @property
    def all_rows(self) -> Ints:
        """All rows that it is asked about, rising."""
        return np.union1d(self.rows, self.labelled)

    def of_rows(self, outputs: Outputs, rows: Ints) -> Outputs:
        """Give the outputs of (n,) rows among those of all that it is asked about."""
        idx = np.searchsorted(self.all_rows, rows)
        return {name: y[idx] for name, y in outputs.items()}


def check_role(role: str, named: str) -> None:
    """Refuse nets whose epochs were chosen by what is to be scored.

    Args:
        role: Of the rows that they hold out.
        named: How they are named in messages.

    Raises:
        UserError: They were.
    """
    if role != "oof":
        raise UserError(
            f"{named}: the epochs of its nets were chosen on the folds that they hold"
            " out, so they would teach what is to be scored; train them with select ="
            " 'last' or 'inner'"
        )


def is_of_target(task: Task, target_column: str | None) -> bool:
    """Tell whether a task learns the target itself."""
    kind = task.task_type
    return bool(kind.target_outputs) and kind.column in (None, target_column)


def _fits(task: Task, learned: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a task of that name and kind has the same outputs and classes."""
    if task.name not in learned:
        return False
    described = learned[task.name]
    return (
        described["kind"] == task.task_type.name
        and tuple(described["outputs"]) == task.outputs
        and tuple(described["classes"]) == task.classes
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."

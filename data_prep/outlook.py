"""What is known before a stage begins: the settings, the tables, and who reads whom.

A setting that cannot fit the tables is told before the first stage and not after hours
of training. So the settings of a stage may have a method ``check_data``, which is given
an ``Outlook``: the rows as ``data_prep.prepare`` stored them or, before it has run, as
the tables and the names of the pictures have them. Then it may only refuse what no
picture can mend: of those rows some are lost to files that cannot be read, and pictures
that are the same join cv groups.

Shapes: N rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.experiment import Experiment
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import NOT_HASHED, fields_of, recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The rows that the stages of an experiment will see, and the settings of those.

    Attributes:
        experiment: What the user wrote.
        run: Where the stages write.
        table: (N) rows, a row per picture: id, split, group, date, weight, and maybe
            object, target, class_index and ``given.NAME``; once prepared also fold,
            cv_group.
        metadata: Of what ``data_prep.prepare`` records: side, cv, n_folds, classes,
            target_kind, has_group, words, and ``NAME_column``.
        prepared: Folder of the finished ``data_prep.prepare``; None: not yet.
        attributes: Columns id and name, where nothing is prepared.
        settings: Of the stages that are to run, by their names.
    """

    experiment: Experiment
    run: Run
    table: "pd.DataFrame"
    metadata: Mapping[str, Any]
    prepared: Path | None = None
    attributes: "pd.DataFrame | None" = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_prepared(
        cls,
        prepared: Finished,
        run: Run,
        experiment: Experiment,
        settings: Mapping[str, Any] | None = None,
    ) -> "Outlook":
        """Make it of what is prepared."""
        return cls(
            experiment=experiment,
            run=run,
            table=Prepared.open(prepared).table,
            metadata=prepared.metadata,
            prepared=prepared.folder,
            settings=settings or {},
        )

    @classmethod
    def of_tables(
        cls, run: Run, experiment: Experiment, settings: Mapping[str, Any]
    ) -> "Outlook":
        """Read the tables and the names of the pictures.

        Raises:
            UserError: A folder or table is missing, or has problems.
        """
        from data_prep.rows import with_classes
        from data_prep.tables.words import frequent

        prepare = settings[PREPARED]
        inputs = prepare.read(experiment, run)
        rows, _, _ = inputs.match()
        rows, classes = with_classes(rows, inputs.tables.target_kind)
        attributes = inputs.attributes
        attributes = attributes[attributes["id"].isin(rows["id"])]
        metadata = inputs.metadata(
            frequent(attributes, prepare.min_count),
            classes,
            side_px=prepare.side,
            word_dimensions=prepare.word_dimensions,
        )
        # The folder tells nothing of these columns before the pictures are decoded.
        rows = rows.assign(image_row=-1, width=math.nan, height=math.nan)
        return cls(
            experiment=experiment,
            run=run,
            table=rows,
            metadata=metadata,
            attributes=attributes,
            settings=settings,
        )

    def scored(self) -> "pd.DataFrame":
        """Give the rows that are held out with a fold and have a target."""
        table = self.table
        if "target" not in table:
            return table[:0]
        if self.prepared:
            return table[(table["fold"] >= 0) & table["target"].notna()]
        is_validated = (table["split"] == "train") & ~table["is_excluded"].astype(bool)
        return table[is_validated & table["target"].notna() & bool(self.metadata["cv"])]

    def predicted(self) -> "pd.DataFrame":
        """Give the rows to predict: those of the test table, or those in no table."""
        split = "test" if (self.table["split"] == "test").any() else "unlabelled"
        return self.table[self.table["split"] == split]

    def n_predictable(self, rows: "pd.DataFrame") -> int:
        """Count what is predicted among some rows: objects, or pictures."""
        return int(rows["object"].nunique()) if "object" in rows else len(rows)

    def n_groups(self, rows: "pd.DataFrame") -> int:
        """Count what no fold tears among some rows, at most."""
        if self.prepared:
            return int(rows["cv_group"].nunique())
        from data_prep.pictures.copies import count_groups

        if not self.metadata["has_group"]:
            return len(rows)
        return count_groups(rows["group"])

    def tasks(self, only: Sequence[str] = ()) -> "list[Task]":
        """Build the sub-tasks; before anything is prepared, words are all zero.

        Args:
            only: Names of the tasks to build; none: all.

        Raises:
            UserError: A task or its column is unknown, or its labels do not fit.
        """
        from data_prep.tasks import build_tasks

        return build_tasks(
            self.experiment.tasks,
            self.table,
            self.prepared,
            self.metadata,
            only=only,
            words=self._zero_vectors(),
            attributes=self.attributes,
        )

    def _zero_vectors(self) -> "pd.DataFrame | None":
        """Stand in for word vectors that are still to be learned; None: not needed."""
        if self.attributes is None or not self.metadata["words"]:
            return None
        import numpy as np
        import pandas as pd

        from data_prep.tables.words import columns

        names = columns(self.metadata["words"])
        ids = self.attributes["id"].unique()
        zeros = np.zeros((len(ids), len(names)), dtype=np.float32)
        return pd.DataFrame(zeros, columns=names).assign(id=ids)

    def setting(self, stage: str, name: str) -> Any:
        """Give a setting that a stage will have, or was made with; None: neither."""
        if stage in self.settings:
            return getattr(self.settings[stage], name, None)
        if not self.run.has(stage):
            return None
        return self.run.recorded(stage).record["settings"].get(name)

    def is_made(self, stage: str) -> bool:
        """Tell whether a stage is finished with the settings that it is to have.

        Then what they alone decide is decided, and no library need be loaded for it.
        """
        if not self.run.has(stage):
            return False
        made_with = self.run.recorded(stage).record["settings"]
        settings = recorded(self.settings[stage])
        return all(
            made_with.get(name) == settings.get(name)
            for name, declared in fields_of(type(self.settings[stage])).items()
            if name != "init" and NOT_HASHED not in declared.annotations
        )

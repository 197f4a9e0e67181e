"""What is known before any picture is opened: folders and tables, joined by id.

``data_prep.prepare`` begins with it, and so does the pipeline, which tells what cannot
fit before the first stage runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from data_prep.task_types.words import Words

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.pictures.folders import Folders, LeftOut
    from data_prep.pictures.pages import PagedPictures, Pages
    from data_prep.tables.user_tables import Tables
    from data_prep.user_folds import UserFolds


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Folders and tables of an experiment, read and checked.

    Attributes:
        data: Where they lie and what the columns are called.
        cv: The scheme of the folds; None: nothing is learned from a table.
        user_folds: The user's own, if there are any; then ``cv`` is their name.
        are_names_unused: There are names of pictures, and tasks, and none learns them.
        folders: The files of pictures, by id.
        paged: The pictures, by id: files, or all their pages.
        tables: The tables, whose rows are of files.
        has_pages: Each page is a picture, and a file is an object.
        unused_cv: A scheme that was given beside the user's own folds; or empty.
    """

    data: DataSettings
    cv: str | None
    folders: "Folders"
    paged: "PagedPictures"
    tables: "Tables"
    user_folds: "UserFolds | None" = None
    are_names_unused: bool = False
    has_pages: bool = False
    unused_cv: str = ""

    @classmethod
    def read(
        cls,
        experiment: Experiment,
        run: Run,
        cv: str,
        folds: str = "",
        page: "Pages" = "first",
    ) -> "Inputs":
        """Search the folders and read the tables; no picture is decoded.

        Args:
            experiment: What the user wrote.
            run: Where the stages write.
            cv: The scheme of the settings.
            folds: A table of the user's own folds, or a column; empty: there are none.
            page: Which pages of a file are pictures.

        Raises:
            UserError: One is missing or has problems, the scheme or the folds do not
                fit them, or names of pictures teach nothing to a task of words.
        """
        from data_prep.pictures.folders import search_folders
        from data_prep.pictures.pages import PagedPictures
        from data_prep.schemes import USUAL_CV, check_columns
        from data_prep.tables.user_tables import read_tables
        from data_prep.user_folds import read_user_folds

        data = experiment.data
        check_paths(experiment, run)
        labels = (data.target, data.date, data.attributes, experiment.tasks)
        has_folds = data.train is not None and any(labels)
        if folds and not has_folds:
            raise UserError(
                f"{experiment.source} [{PREPARED}]: folds = {folds!r}: nothing is"
                " learned from a table, so nothing is held out; name train and target"
                " in [data], or take folds out"
            )
        if has_folds and not folds:
            try:
                check_columns(
                    cv, data.kept_together, data.date, has_pages=page == "all"
                )
            except UserError as error:
                raise UserError(f"{experiment.source} [{PREPARED}]: {error}") from None
        tables = read_tables(data)
        ids = {*tables.rows["id"], *tables.attributes["id"]}
        folders = search_folders(data.images, ids=ids)
        _check_words(experiment, tables.attributes, folders.pictures)
        paged = PagedPictures.find(folders.pictures, page, ids)
        user_folds, unused_cv = None, ""
        if folds:
            unused_cv = cv if cv != USUAL_CV else ""
            has_picture = tables.rows["id"].isin(list(folders.pictures)).to_numpy()
            user_folds = read_user_folds(folds, data, tables.rows, has_picture)
            user_folds = user_folds.of_pages(paged)
            cv = user_folds.cv
        return cls(
            data=data,
            cv=cv if has_folds else None,
            folders=folders,
            paged=paged,
            tables=tables,
            user_folds=user_folds,
            are_names_unused=bool(data.attributes and experiment.tasks)
            and not any(t.needs_attributes for t in experiment.tasks.values()),
            has_pages=page == "all",
            unused_cv=unused_cv,
        )

    @property
    def n_folds(self) -> int:
        """How many folds there are to be, of all deals."""
        from data_prep.schemes import count_deals, parse_scheme

        if self.user_folds is not None:
            return len(self.user_folds.names)
        return parse_scheme(self.cv)[1] * count_deals(self.cv) if self.cv else 0

    @property
    def has_group(self) -> bool:
        """Whether pictures are kept together by groups, objects or files."""
        return self.data.kept_together is not None or self.has_pages

    @property
    def attributes(self) -> "pd.DataFrame":
        """The names of pictures, id and name; a page has those of its file."""
        names = self.tables.attributes
        if not self.paged.pages:
            return names
        ids, idx = self.paged.spread(names["id"])
        return names.iloc[idx].assign(id=ids).reset_index(drop=True)

    @property
    def notes(self) -> list[str]:
        """What a person should know of how folders and tables were read."""
        notes = [*self.folders.notes, *self.paged.notes, *self.tables.notes]
        if self.unused_cv and self.user_folds:
            notes.append(
                f"cv = {self.unused_cv!r} is not used, for folds says what is held out:"
                f" {self.user_folds.source}"
            )
        if self.are_names_unused:
            notes.append(
                "no task learns the names of [data] attributes, as tasks are listed and"
                ' none is of them: add [tasks.words] with kind = "words", or "tags"'
            )
        return notes

    def match(self) -> "tuple[pd.DataFrame, list[LeftOut], int]":
        """Join tables and pictures by id.

        Returns:
            A row per picture, the ids without a usable picture, and how many ids of
            the attribute tables have none.

        Raises:
            UserError: No id of a table has a picture, or some nearly have one.
        """
        from data_prep.matching import match_attributes, match_pictures

        rows, left_out = match_pictures(self.tables.rows, self.folders, self.data)
        n_unknown = match_attributes(self.tables.attributes, self.folders, self.data)
        return self._by_page(rows), left_out, n_unknown

    def _by_page(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Give each page of a file its row; the file is its object if nothing else is.

        So it is where no file has several: what is predicted later may have.

        Args:
            rows: N rows, a row per file.
        """
        if not self.has_pages:
            return rows
        if "object" not in rows:
            rows = rows.assign(object=rows["id"])
        if self.data.group is None:
            in_tables = rows["split"] != "unlabelled"
            rows = rows.assign(group=rows["object"].where(in_tables, ""))
        ids, idx = self.paged.spread(rows["id"])
        return rows.iloc[idx].assign(id=ids).sort_values("id", ignore_index=True)

    def metadata(
        self,
        attributes: "pd.DataFrame",
        classes: Sequence[Any] | None,
        *,
        side_px: int,
        word_dimensions: int,
    ) -> dict[str, Any]:
        """Record what settings and tables tell, before or after any picture is opened.

        Args:
            attributes: Names of the pictures that there are.
            classes: Of the target, in order; None: it has none.
            side_px: Side of the stored pictures.
            word_dimensions: Of the word vectors, if the names can teach any.

        Returns:
            JSON values, a part of the metadata of ``data_prep.prepare``.
        """
        from data_prep.tables.words import why_no_vectors

        return {
            "side": side_px,
            "cv": self.cv,
            "n_folds": self.n_folds,
            "classes": classes,
            "target_kind": self.tables.target_kind,
            "has_group": self.has_group,
            "words": 0 if why_no_vectors(attributes) else word_dimensions,
            "id_column": self.data.id,
            "target_column": self.data.target,
            "group_column": self.data.group,
            "object_column": self.data.object,
            "date_column": self.data.date,
        }


def check_paths(experiment: Experiment, run: Run) -> None:
    """Check that all folders and tables of the experiment are there.

    Raises:
        UserError: One is not; the message says if what it was for is done already.
    """
    data = experiment.data
    if not data.images:
        raise UserError(
            f"{experiment.source}: [data] images is missing; name the folder:"
            ' images = "pictures"'
        )
    named = [("images", path) for path in data.images]
    tables = ("train", "test", "sample", "sample_weights")
    named += [(name, path) for name in tables if (path := getattr(data, name))]
    named += [("attributes", path) for path in data.attributes]
    for name, path in named:
        is_folder = name == "images"
        if path.is_dir() if is_folder else path.is_file():
            continue
        message = (
            f"{path}: there is no such {'folder' if is_folder else 'table'} ([data]"
            f" {name}; paths are relative to the experiment file)"
        )
        if run.has(PREPARED):
            message += f"; {run.folder / PREPARED} is finished and can be used as it is"
        raise UserError(message)


def _check_words(
    experiment: Experiment, attributes: "pd.DataFrame", pictures: Mapping[str, Path]
) -> None:
    """Refuse a task of words where the names can teach none.

    Raises:
        UserError: There is a task of words, and names of pictures never go together,
            or are the same for all.
    """
    from data_prep.tables.words import why_no_vectors

    of_words = [
        (name, task.name)
        for name, task in experiment.tasks.items()
        if isinstance(task, Words)
    ]
    if not of_words or not experiment.data.attributes:
        return
    reason = why_no_vectors(attributes[attributes["id"].isin(list(pictures))])
    if reason:
        name, task_kind = of_words[0]
        raise UserError(
            f"[tasks.{name}] kind = {task_kind!r}, but of [data] attributes {reason};"
            " take the task out, or give several names to a picture, a row each"
        )

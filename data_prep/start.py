"""Write an experiment for a folder of pictures, with or without tables.

    python -m data_prep.start pictures/leaves
    python -m pipeline experiments/leaves.toml

Looks at names, tables and a few headers, and writes ``experiments/leaves.toml``, ready
to run, with the reasons beside its lines. What cannot be told is asked for in a line.
"""

import logging
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.experiment import read_experiment, settings_class
from data_prep.experiment_files import EXPERIMENTS
from data_prep.run_folders.drafts import write_rows, write_text
from data_prep.run_folders.runs import Run
from data_prep.run_places import run_of
from data_prep.settings import POSITIONAL, from_flags, from_table

if TYPE_CHECKING:
    from data_prep.first_look.proposal import CopiedTable, Section
    from data_prep.first_look.seen import Seen

NO_NAME = re.compile(r"[^\w.-]+")
TABLE_FLAGS = ("train", "test", "sample")
COLUMN_FLAGS = ("id", "target", "classes", "group", "object", "date")
STAGES = ("data_prep.prepare", "pretext.jigsaw", "features.extract")
STAGES_OF_LABELS = (
    *STAGES[:2],
    "transfer.finetune",
    "features.extract",
    "stacking.fit",
)
TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(h|min|m|sec|s)?\s*")
MINUTES = {"h": 60.0, "s": 1 / 60, "sec": 1 / 60}  # of a unit; else it is minutes
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """Write experiments/NAME.toml for a folder of pictures, ready to run.

    python -m data_prep.start FOLDER [TABLE ...]
    """

    folder: Annotated[Path, "folder of the pictures, perhaps of tables too", POSITIONAL]
    tables: Annotated[
        tuple[Path, ...],
        "tables (csv, parquet, jsonl); left out: those in it",
        POSITIONAL,
    ] = ()
    name: Annotated[str, "name of the experiment (default: that of the folder)"] = ""
    train: Annotated[Path | None, "the table of the labelled pictures"] = None
    test: Annotated[Path | None, "the table of the pictures to predict"] = None
    sample: Annotated[Path | None, "the sample of the prediction file"] = None
    id: Annotated[str | None, "column of the names of the pictures"] = None
    target: Annotated[str | None, "column to predict; none: there is none"] = None
    classes: Annotated[
        str | None, "the same, and what it holds are names of classes, even numbers"
    ] = None
    group: Annotated[str | None, "column of what no fold tears; none"] = None
    object: Annotated[
        str | None, "column of what several pictures show, a house; none"
    ] = None
    date: Annotated[str | None, "column of the year or date; none"] = None
    up: Annotated[
        bool, "pictures have an up, such as rooms or people: none is turned"
    ] = False
    for_: Annotated[
        str, "time that all stages may take, such as 90s, 30m, 1.5h or 2h30m"
    ] = "30m"
    overwrite: Annotated[bool, "replace the experiment that is there"] = False

    @property
    def minutes(self) -> float:
        """The time that there is.

        Raises:
            UserError: It is not written as a time.
        """
        text = self.for_.strip().lower()
        parts = [(float(n), MINUTES.get(unit, 1.0)) for n, unit in TIME.findall(text)]
        units = [unit for _, unit in parts]
        is_time = not TIME.sub("", text) and units == sorted(set(units), reverse=True)
        minutes = sum(number * unit for number, unit in parts)
        if not is_time or minutes <= 0:
            raise UserError(f"--for {self.for_}: write 30m, 90s, 1.5h or 2h30m")
        return minutes


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the experiment, say what it holds and why, and return the file."""
    settings = from_flags(StartSettings, "data_prep.start", argv)
    minutes = settings.minutes
    if settings.target and settings.classes:
        raise UserError(
            f"--target {settings.target} and --classes {settings.classes} both name the"
            " column to predict; give one, --classes if it holds names of classes"
        )
    home = _folder_of_experiments()
    file = home / f"{_name_of(settings)}.toml"
    _check_writable(home)
    from data_prep.first_look.data_section import data_section
    from data_prep.first_look.look import look
    from data_prep.first_look.toml_text import toml_text

    seen = look(
        settings.folder,
        settings.tables,
        named_tables={role: getattr(settings, role) for role in TABLE_FLAGS},
        named_columns={role: getattr(settings, role) for role in COLUMN_FLAGS},
    )
    if file.exists() and not settings.overwrite:  # after what is wrong with the flags
        raise UserError(
            f"{file} is there already; give --overwrite to replace it, or --name NAME"
        )
    seen = replace(seen, is_up=settings.up)
    of_stages, notes = _propose_trainings(seen, settings, minutes)
    title = (
        f"Written by python -m data_prep.start for {settings.folder}, to be run as it"
        f" is or changed: python -m pipeline {file}"
    )

    def experiment(folder: Path) -> "tuple[list[Section], str, list[CopiedTable]]":
        """Give the tables of the file, its text, and what it copies into a folder."""
        data, copies = data_section(seen, folder)
        sections = [data, *of_stages]
        return sections, toml_text(sections, [title, *notes], file.parent), copies

    draft = file.with_name(f".{file.stem}.draft.toml")
    _, text, copies = experiment(draft.with_suffix(""))
    sections, final_text, _ = experiment(file.with_suffix(""))
    try:
        _write(draft, text, copies)
        _check(draft, STAGES_OF_LABELS if seen.n_labelled else STAGES)
        _write(file, final_text, copies)
    except UserError as error:
        shown = str(error).replace(
            str(draft.with_suffix("")), str(file.with_suffix(""))
        )
        raise UserError(shown) from None
    finally:
        draft.unlink(missing_ok=True)
        shutil.rmtree(draft.with_suffix(""), ignore_errors=True)
        with suppress(OSError):  # it holds experiments
            home.rmdir()
    _tell(file, sections, notes, has_labels=seen.n_labelled > 0)
    return file


def _propose_trainings(
    seen: "Seen", settings: StartSettings, minutes: float
) -> "tuple[list[Section], list[str]]":
    """Propose the tables of tasks and stages; say what was seen and not used."""
    from data_prep.effort import measure_speed
    from data_prep.first_look.schedule import Load, schedule
    from data_prep.first_look.training_sections import training_sections

    load = Load(n_pictures=seen.listing.n_pictures, n_labelled=seen.n_labelled)
    chosen = schedule(load, seen.headers, minutes, measure_speed())
    notes = list(seen.notes)
    if chosen.minutes_told > minutes:
        notes.append(
            f"all stages will take about {chosen.time_text}, and --for"
            f" {settings.for_} is less; nothing quicker is worth training"
        )
    return training_sections(seen, chosen, load), notes


def _write(file: Path, text: str, copies: "Sequence[CopiedTable]") -> None:
    """Write an experiment, and the tables that it copies into a folder beside it."""
    for table in copies:
        path = file.with_suffix("") / table.name
        write_rows(path, [table.header, *table.rows])
    write_text(file, text)


def _name_of(settings: StartSettings) -> str:
    """Give the name of the experiment, which is that of its run, too.

    Raises:
        UserError: None is left of the folder's.
    """
    name = settings.name or settings.folder.resolve().name
    plain = NO_NAME.sub("_", name).strip("_.")
    if not plain or (settings.name and plain != settings.name):
        raise UserError(
            f"{name!r} is no name of an experiment; give one of letters, digits, _ and"
            " -: --name NAME"
        )
    return plain


def _folder_of_experiments() -> Path:
    """Give the folder for the file: the one where one stands, if it is named so."""
    return Path() if Path.cwd().name == EXPERIMENTS else Path(EXPERIMENTS)


def _check_writable(folder: Path) -> None:
    """Check that files can be written into a folder that may be there or not.

    Raises:
        UserError: They cannot.
    """
    target = folder if folder.exists() else folder.absolute().parent
    if not os.access(target, os.W_OK | os.X_OK):
        raise UserError(
            f"{target}: nothing can be written there; go to a folder where you may"
            " write, and name that of the pictures by its whole path"
        )


def _check(file: Path, stages: Sequence[str]) -> None:
    """Ask the stages whether settings and tables fit, as the pipeline does.

    Raises:
        UserError: They do not.
    """
    from data_prep.outlook import Outlook

    run = Run(run_of(file))
    experiment = read_experiment(file, run.folder)
    settings = {
        stage: from_table(
            settings_class(stage), experiment.stages.get(stage, {}), f"[{stage}]", {}
        )
        for stage in stages
    }
    outlook = Outlook.of_tables(run, experiment, settings)
    for stage in stages:
        check = getattr(settings[stage], "check_data", None)
        if check:
            check(outlook)


def _tell(
    file: Path,
    sections: "Sequence[Section]",
    notes: Sequence[str],
    *,
    has_labels: bool,
) -> None:
    """Say what was chosen and why, and how to go on."""
    from data_prep.first_look.toml_text import value_text

    for section in sections:
        log.info("\n[%s]", section.name)
        for entry in section.entries:
            value = " ".join(value_text(entry.value, file.parent).split())
            line = f"{'# ' * entry.is_offered}{entry.key} = {value}"
            log.info("%s%s", line, f"  # {entry.reason}" if entry.reason else "")
    for note in notes:
        log.info("\n%s", note)
    log.info("\nwritten: %s", file)
    log.info("what it makes, and how long: python -m pipeline %s --plan", file)
    log.info("to run it: python -m pipeline %s", file)
    if not has_labels:
        log.info("and then, pictures that are alike: python -m features.similar")


if __name__ == "__main__":
    run_command(main)

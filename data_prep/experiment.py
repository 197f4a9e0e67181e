"""The experiment file: where the data lie, which sub-tasks to learn, settings by stage.

Paths are relative to the file, in every table, and begin with ``{run}`` for the run::

    [data]                       # what to read
    images = "pictures"
    train = "train.csv"
    target = "target"

    [tasks.target]               # what to learn from it; the default is four tasks
    kind = "regression"

    [pretext.jigsaw]             # settings of one stage
    epochs = 20
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from data_prep.errors import UserError
from data_prep.executor_settings import of_all_stages
from data_prep.experiment_files import read_toml
from data_prep.renamed import NAMES
from data_prep.settings import NOT_HASHED, Example, from_table, nearest
from data_prep.task_types.base import TaskType
from data_prep.task_types.registry import TASK_TYPES
from data_prep.up import check_up, implied

RUN_MARK = "{run}"  # a path that begins with it lies in the run
TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
PACKAGES = ("data_prep", "pretext", "transfer", "features", "stacking")
TAKEN_NAMES = ("checkpoints", "epochs", "joint", "logs")

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the pictures and tables lie, and what their columns are called."""

    images: Annotated[
        tuple[Path, ...],
        "folder of pictures, or several; folders within are searched",
        Example("../pictures"),
    ] = ()
    train: Annotated[
        Path | None,
        "table of the labelled pictures (csv, parquet)",
        Example("../train.csv"),
    ] = None
    test: Annotated[
        Path | None, "table of the pictures to predict", Example("../test.csv")
    ] = None
    sample: Annotated[
        Path | None,
        "sample of the prediction file, for its order",
        Example("../sample.csv"),
    ] = None
    id: Annotated[
        str,
        "column of the picture's name without extension; where names repeat, with its"
        " folders, as oak/7",
    ] = "id"
    target: Annotated[str | None, "column to predict", Example("price")] = None
    target_kind: Annotated[
        Literal["numbers", "classes"] | None,
        "what the target is, where numbers are names of classes; left out: seen in it",
        Example("classes"),
    ] = None
    group: Annotated[
        str | None, "column of what must not be split over folds", Example("series")
    ] = None
    object: Annotated[
        str | None,
        "column of the thing that several pictures show, such as a house: one label,"
        " one prediction",
        Example("house"),
    ] = None
    date: Annotated[str | None, "column of the year or date", Example("year")] = None
    up: Annotated[
        bool | None,
        "whether pictures have an up, such as photographs of rooms: true, they are"
        " never turned, only mirrored; false, they are turned everywhere; left out:"
        " trainings on labels turn them, a pretext does not",
        NOT_HASHED,  # of the preparation, which turns nothing
        Example(True),
    ] = None
    attributes: Annotated[
        tuple[Path, ...],
        "tables of names: long, id,name, or wide, an id and a column for each thing",
        Example(["../materials.csv"]),
    ] = ()
    separator: Annotated[
        str | None,
        "what stands between the names in a cell of attributes; left out: ; or |",
        Example(","),
    ] = None
    exclude_from_validation: Annotated[
        str | None,
        "0/1 column: rows that are trained on but never scored",
        Example("is_copy"),
    ] = None
    sample_weights: Annotated[
        Path | None,
        "table id,weight: what training rows weigh, from 0 to 1",
        Example("label_issues.csv"),
    ] = None

    @property
    def kept_together(self) -> tuple[str, str] | None:
        """The role and the column of what folds keep together; None: nothing."""
        for role in ("group", "object"):
            if column := getattr(self, role):
                return role, column
        return None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment file, read and checked.

    Attributes:
        data: The table ``[data]``, its paths resolved.
        tasks: The tables ``[tasks.NAME]``, empty when the file names none.
        stages: Raw settings by stage, such as ``{"pretext.jigsaw": {...}}``.
        source: Where the file came from, for messages.
        base: Folder that its paths are relative to.
        run: Folder of the run, for paths that begin with ``{run}``.
    """

    data: DataSettings
    tasks: dict[str, TaskType] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: str = "no experiment file"
    base: Path = Path()
    run: Path = Path()

    def locate(self, path: Path) -> Path:
        """Resolve a path of the file."""
        return _located(path, self.base, self.run)

    def settings_of(
        self, stage: str, settings_class: type[Settings], flags: Mapping[str, Any]
    ) -> Settings:
        """Build the settings of a stage: by the whole file, its table, and flags.

        A class may name another stage whose table comes before its own
        (``taken_from``), and the keys that it does not take from there
        (``not_taken``).

        Paths of the table are relative to the file, those of flags to where one stands.

        Args:
            stage: Dotted name.
            settings_class: Of its settings.
            flags: Values already checked, which override the table's.

        Raises:
            UserError: The table does not fit, or turns pictures that have an up.
        """
        location = f"{self.source} [{stage}]"
        by_up = implied(self.data.up, settings_class)
        by_pipeline = of_all_stages(
            self.stages.get("pipeline", {}), f"{self.source} [pipeline]", settings_class
        )
        taken = {
            key: value
            for key, value in self.stages.get(
                getattr(settings_class, "taken_from", ""), {}
            ).items()
            if key not in getattr(settings_class, "not_taken", ())
        }
        table = by_up | by_pipeline | taken | self.stages.get(stage, {})
        settings = from_table(
            settings_class, table, location, flags, locate=self.locate
        )
        try:
            check_up(self.data.up, settings)
        except UserError as error:
            raise UserError(f"{location}: {error}") from None
        return settings


def read_experiment(path: Path, run: Path, base: Path | None = None) -> Experiment:
    """Read an experiment file.

    Args:
        path: The TOML file.
        run: Folder of the run, for paths that begin with ``{run}``.
        base: Folder that other paths are relative to; None: the file's own folder.

    Raises:
        UserError: The file is missing, is not TOML, or names an unknown table or key.
    """
    tables = read_toml(path)
    folder = path.parent if base is None else base
    no_stages = {name: tables.pop(name, {}) for name in ("data", "tasks")}
    for name, table in no_stages.items():
        if not isinstance(table, Mapping):
            raise UserError(f"{path}: {name} is not a table; write [{name}]")
    data = from_table(
        DataSettings,
        no_stages["data"],
        f"{path} [data]",
        {},
        locate=lambda within: _located(within, folder, run),
    )
    return Experiment(
        data=data,
        tasks=read_tasks(no_stages["tasks"], str(path)),
        stages=_stages(tables, path),
        source=str(path),
        base=folder,
        run=run,
    )


def read_tasks(tables: Mapping[str, Any], source: str) -> dict[str, TaskType]:
    """Read the tables ``[tasks.NAME]``, of a file or as a record has them.

    Args:
        tables: By name of the task; None as a value means that it is left out.
        source: Where they are from, for messages.

    Raises:
        UserError: A name, kind or key is unknown.
    """
    tasks = {}
    for name, table in tables.items():
        location = f"{source} [tasks.{name}]"
        if not TASK_NAME.fullmatch(name):
            raise UserError(
                f"{location}: a task's name is letters, digits and single _"
            )
        if name in TAKEN_NAMES:
            raise UserError(
                f"{location}: {name!r} is the name of a folder; choose another"
            )
        if not isinstance(table, Mapping) or "kind" not in table:
            raise UserError(
                f"{location}: kind is missing; one of {', '.join(TASK_TYPES)}"
            )
        options = {key: value for key, value in table.items() if value is not None}
        kind = options.pop("kind")
        if kind not in TASK_TYPES:
            raise UserError(
                f"{location}: kind = {kind!r}: {nearest(str(kind), TASK_TYPES)}"
            )
        tasks[name] = from_table(TASK_TYPES[kind], options, location, {})
    return tasks


def _located(path: Path, base: Path, run: Path) -> Path:
    """Resolve a path of an experiment file."""
    is_in_run = path.parts[:1] == (RUN_MARK,)
    return run.joinpath(*path.parts[1:]) if is_in_run else base / path


def _stages(tables: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    stages: dict[str, dict[str, Any]] = {}
    for package, stage_tables in tables.items():
        if package not in ("pipeline", *PACKAGES):
            choices = ("data", "tasks", "pipeline", *PACKAGES)
            raise UserError(
                f"{path}: unknown table [{package}]; {nearest(package, choices)}"
            )
        if not isinstance(stage_tables, Mapping):
            raise UserError(f"{path}: {package} is not a table; write [{package}...]")
        if package == "pipeline":
            stages["pipeline"] = dict(stage_tables)
            continue
        for module, table in stage_tables.items():
            name = f"{package}.{module}"
            if not isinstance(table, Mapping):
                raise UserError(f"{path}: [{package}] has no key {module!r}")
            if name not in commands():
                raise UserError(
                    f"{path}: there is no stage [{name}]; {nearest(name, commands())}"
                )
            if name not in stage_names():
                raise UserError(
                    f"{path}: {name} takes flags only, so [{name}] would be ignored;"
                    f" take it out (tables are read by {', '.join(stage_names())})"
                )
            stages[name] = dict(table)
    return stages


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the source of a command says of it.

    Attributes:
        settings: Name of the dataclass that it gives to ``open_command``, by which it
            is a stage; empty: it is none, and takes flags only.
        trains_backbone: It calls ``pretrain``, so other trainings may begin from it.
    """

    settings: str
    trains_backbone: bool


@cache
def commands() -> dict[str, Command]:
    """Find the modules that can be run; importing them all would be slow."""
    root, by_name = Path(__file__).parents[1], {}
    for package in PACKAGES:
        for module in sorted((root / package).glob("*.py")):
            name, text = f"{package}.{module.stem}", module.read_text(encoding="utf-8")
            # an old name only refuses
            if '\nif __name__ == "__main__":' in text and name not in NAMES:
                opened = re.search(r"\bopen_command\(\s*(\w+)", text)
                by_name[name] = Command(
                    settings=opened[1] if opened else "",
                    trains_backbone=re.search(r"\bpretrain\(", text) is not None,
                )
    return by_name


def stage_names() -> list[str]:
    """List the commands whose settings may stand in an experiment file."""
    return [name for name, command in commands().items() if command.settings]


def settings_class(stage: str) -> type[Any]:
    """Import a stage, and give the dataclass of its settings."""
    settings: type[Any] = getattr(import_module(stage), commands()[stage].settings)
    return settings

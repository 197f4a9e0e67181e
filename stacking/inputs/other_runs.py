"""Other runs of the same rows and folds, whose features join a stack.

A run is named by its folder, or by the experiment file that it is of. The pipeline
makes the features of such files before the stack.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, read_experiment
from data_prep.prepare_settings import PrepareSettings
from data_prep.prepared import PREPARED
from data_prep.run_folders.damage import digest_file
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import run_of
from data_prep.schemes import is_in_time
from features.settings import FINETUNED, ExtractSettings
from stacking.inputs.sources import EXTRACTED

EXPERIMENT = ".toml"
# What decides which rows there are, and which of them are held out together.
DEALT_BY = (
    *("train", "id", "target", "target_kind", "group", "object"),
    "exclude_from_validation",
)


def is_extracted(file: Path) -> bool:
    """Tell whether the run of an experiment file has its features."""
    return Run(run_of(file)).has(EXTRACTED)


def folders_of(also: Sequence[Path], run: Run) -> dict[Path, Path]:
    """Find the folder of each other run, by the path that names it.

    Args:
        also: Folders of runs, or the experiment files that they are of.
        run: The one whose stack they join.

    Raises:
        UserError: A path is no run and no file, or names the run itself, or two runs
            have one name.
    """
    folders: dict[Path, Path] = {}
    for path in also:
        is_file = path.suffix == EXPERIMENT
        if not (path.is_file() if is_file else path.is_dir()):
            kind = "experiment file" if is_file else "run"
            raise UserError(f"also = '{path}': there is no such {kind}")
        folder = run_of(path) if is_file else path
        if folder.resolve() == run.folder.resolve():
            raise UserError(f"also = '{path}' is the run itself; leave it out")
        name = folder.resolve().name
        if name in [earlier.resolve().name for earlier in folders.values()]:
            raise UserError(f"also: two runs are called {name!r}; rename a folder")
        folders[path] = folder
    return folders


def check_folds_to_come(
    file: Path, expected: PrepareSettings, data: DataSettings
) -> None:
    """Check that an experiment will hold out the rows that this one does.

    Only what its file decides alone is known before its preparation: other rows, or
    folds that are drawn otherwise. Users' own folds are compared once they are there.

    Args:
        file: The experiment whose features are to join the stack.
        expected: Settings of the preparation of the run whose stack it is.
        data: The table ``[data]`` of that run's experiment.

    Raises:
        UserError: Its nets would see labels that are held out here.
    """
    experiment = read_experiment(file, run_of(file))
    settings = experiment.settings_of(PREPARED, PrepareSettings, {})
    extraction = experiment.settings_of(EXTRACTED, ExtractSettings, {})
    if extraction.source != FINETUNED or settings.folds or expected.folds:
        return
    in_time = is_in_time(expected.cv)
    for key in [*DEALT_BY, *["date"] * in_time]:
        value, expected_value = getattr(experiment.data, key), getattr(data, key)
        if not _is_same(value, expected_value):
            raise UserError(
                f"also = '{file}': {key} = {_shown(value)} in its [data], and"
                f" {_shown(expected_value)} here: its folds would be of other rows or"
                f" groups; give both the same {key}"
            )
    keys = ["cv", "gap"] if in_time else ["cv", "seed"]
    for key in keys:
        value, expected_value = getattr(settings, key), getattr(expected, key)
        if value != expected_value:
            raise UserError(
                f"also = '{file}': {key} = {value!r} in its [{PREPARED}], and"
                f" {expected_value!r} here: its nets would see labels that are held out"
                f" here; give both the same {key}"
            )


def _is_same(value: object, expected: object) -> bool:
    """Compare settings of ``[data]``; of tables their content, wherever they lie."""
    if isinstance(value, Path) and isinstance(expected, Path):
        if value.is_file() and expected.is_file():
            return digest_file(value) == digest_file(expected)
        return value.resolve() == expected.resolve()
    return value == expected


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(str(value))


def other_runs(also: Sequence[Path], run: Run) -> dict[str, Finished]:
    """Find the extractions of other runs, by the name of the run.

    Args:
        also: Folders of runs, or the experiment files that they are of.
        run: The one whose stack they join.

    Raises:
        UserError: See ``folders_of``, or one has no finished features.
    """
    extractions: dict[str, Finished] = {}
    for path, folder in folders_of(also, run).items():
        if path.suffix == EXPERIMENT and not is_extracted(path):
            raise UserError(
                f"also = '{path}': its features are not there yet; the pipeline makes"
                f" them before the stack, or: python -m pipeline {path}"
            )
        extractions[folder.resolve().name] = Run(folder).finished(EXTRACTED)
    return extractions
